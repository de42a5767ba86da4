"""A database whose disk is full: an error of the port, nothing half-written, and all well again once there is room."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from pinnace_contract.ids import ModelName
from pinnace_server.db.rows import run
from pinnace_server.db.store import SqlStore
from pinnace_server.domain.records import Event, EventKind
from pinnace_server.errors import Unavailable

LARGE = "x" * 200_000


def _event(text: str) -> Event:
    return Event(at_s=1.0, kind=EventKind.MODEL_ADDED, actor="test", summary=text, model=ModelName("digits"))


@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
def test_full_disk_is_unavailable_and_keeps_nothing(tmp_path: Path, together: bool) -> None:
    store = SqlStore(tmp_path / "pinnace.db", durable=False)
    with store.write() as tables:
        tables.events.append(_event("before"))
        session = tables._session
        (pages,) = run(session, "PRAGMA page_count").fetchone()
        run(session, f"PRAGMA max_page_count = {pages}")
    around = store.together() if together else nullcontext()
    with pytest.raises(Unavailable, match="full"), around, store.write() as tables:
        tables.events.append(_event(LARGE))
    with store.read() as tables:
        assert tables.events.last_number() == 1
    with store.write() as tables:
        run(tables._session, "PRAGMA max_page_count = 1000000")
        tables.events.append(_event(LARGE))
    store.close()
