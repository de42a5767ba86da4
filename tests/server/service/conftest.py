"""The services over both databases: SQL, and its twin in memory that the simulator runs on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinnace_sim.memory.store import MemoryStore
from tests.server.world import Server


# What a twin in memory does otherwise, tests/server/db/contract and tests/sim/test_stores.py find; the soak runs all.
@pytest.fixture(params=["sql", pytest.param("memory", marks=pytest.mark.soak)])
def server(request: pytest.FixtureRequest, tmp_path: Path, empty_database: Path) -> Iterator[Server]:
    if request.param == "sql":
        shutil.copy(empty_database, tmp_path)
        made = Server(tmp_path)
    else:
        memory = MemoryStore()  # the disk: it outlives the servers that are started on it
        made = Server(tmp_path, lambda: memory)
    yield made
    made.close()
