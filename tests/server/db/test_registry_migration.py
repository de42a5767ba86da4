"""A database of before the registry kept history: what can be known of it is worked out from the log and the jobs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError

from pinnace_contract import codec
from pinnace_contract.ids import Digest, ModelName, VersionName
from pinnace_server.db import migrations, spelling
from pinnace_server.db.spelling import Stored
from pinnace_server.db.store import SqlStore
from pinnace_server.domain.lineage import Lineage
from pinnace_server.domain.queries import Page
from pinnace_server.service.conversions import ConversionRequest
from tests.server.db.contract.rows import version

DIGITS = ModelName("digits")


@pytest.fixture
def before(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """The database as the step before left it, with two models."""
    path = tmp_path / "pinnace.db"
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with create_engine(f"sqlite:///{path}").begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO models VALUES ('digits', '', 1, 1)")
        yield database


def moved(database: sqlite3.Connection, at_s: float, alias: str, version: str | None) -> None:
    kind = "alias_moved" if version else "alias_removed"
    database.execute(
        "INSERT INTO events (at_s, kind, actor, summary, severity, model, version, data) "
        "VALUES (?, ?, 'ann', '', 'info', 'digits', ?, ?)",
        (at_s, kind, version, json.dumps({"alias": alias})),
    )


def test_history_is_what_the_log_says(before: sqlite3.Connection, tmp_path: Path) -> None:
    moved(before, 10, "production", "1")
    moved(before, 20, "staging", "2")
    moved(before, 30, "production", "2")
    moved(before, 40, "staging", None)
    before.execute("INSERT INTO aliases VALUES ('digits', 'production', '2')")
    before.commit()
    store = SqlStore(tmp_path / "pinnace.db", durable=False)
    with store.read() as tables:
        rows = tables.aliases.history(DIGITS, Page()).rows
    assert [(row.alias, row.version, row.from_s, row.until_s, row.actor, row.ended_by) for row in rows] == [
        ("production", "2", 30, None, "ann", ""),
        ("staging", "2", 20, 40, "ann", "ann"),
        ("production", "1", 10, 30, "ann", "ann"),
    ]
    store.close()


def test_alias_that_the_log_does_not_explain_says_so(before: sqlite3.Connection, tmp_path: Path) -> None:
    moved(before, 10, "production", "1")
    before.execute("INSERT INTO aliases VALUES ('digits', 'production', '2')")
    before.commit()
    store = SqlStore(tmp_path / "pinnace.db", durable=False)
    with store.read() as tables:
        newest, oldest = tables.aliases.history(DIGITS, Page()).rows
    assert (newest.version, newest.until_s) == ("2", None)
    assert "the log does not say why" in newest.reason
    assert oldest.until_s == newest.from_s
    store.close()


def test_what_a_version_was_converted_from_is_known_and_its_files_are_not(
    before: sqlite3.Connection, tmp_path: Path
) -> None:
    added = version("1", 1)
    before.execute(
        "INSERT INTO versions (model, version, release, sequence, epoch, size_bytes, body, created_at_s, actor, card) "
        "VALUES ('digits', '1', ?, 1, 0, 1, ?, 1, 'ann', 'long')",
        (added.release, spelling.body(Stored(release=added.body))),
    )
    request = {"source": "a" * 64, "source_name": "m.onnx", "calibration": "b" * 64, "card": "long"}
    for name, state in (("1", "done"), ("2", "failed")):
        before.execute(
            "INSERT INTO jobs VALUES (?, 'digits', ?, ?, '', 1, '', ?, '{}', 'ann', 1, 2)",
            (f"j-{name}", name, state, json.dumps(request)),
        )
    before.commit()
    store = SqlStore(tmp_path / "pinnace.db", durable=False)
    with store.read() as tables:
        origin = tables.versions.origin(DIGITS, VersionName("1"))
        known = tables.versions.get(DIGITS, VersionName("1"))
        assert tables.versions.origin(DIGITS, VersionName("2")) is None
    store.close()
    assert origin is not None
    assert (origin.kept, origin.report) == (False, "{}")
    assert codec.from_json(ConversionRequest, origin.request.encode()).source == "a" * 64
    assert known is not None
    assert known.lineage == Lineage(source=Digest("a" * 64), source_name="m.onnx")
    assert (known.card, known.card_fields) == ("long", {})


@pytest.mark.parametrize("statement", ["DELETE FROM pointings", "UPDATE pointings SET version = '9'"])
def test_history_cannot_be_rewritten(before: sqlite3.Connection, tmp_path: Path, statement: str) -> None:
    moved(before, 10, "production", "1")
    before.execute("INSERT INTO aliases VALUES ('digits', 'production', '1')")
    before.commit()
    store = SqlStore(tmp_path / "pinnace.db", durable=False)
    with pytest.raises(IntegrityError, match="append-only"), store.write() as tables:
        tables.events._session.connection().exec_driver_sql(statement)
    store.close()
