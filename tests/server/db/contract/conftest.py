"""The two databases that keep one contract."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinnace_server.db.store import SqlStore
from pinnace_server.service.ports import Store
from pinnace_sim.memory.store import MemoryStore


@pytest.fixture
def sql(tmp_path: Path, empty_database: Path) -> Iterator[SqlStore]:
    made = SqlStore(Path(shutil.copy(empty_database, tmp_path)), durable=False)
    yield made
    made.close()


@pytest.fixture(params=["sql", "memory"])
def store(request: pytest.FixtureRequest) -> Store:
    made: Store = request.getfixturevalue("sql") if request.param == "sql" else MemoryStore()
    return made
