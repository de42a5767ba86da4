"""A server of the test's own, in a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinnace_server.db.store import SqlStore
from tests.server.world import Server


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every table and no row: to copy it takes a sixth of the time that the migrations take."""
    made = tmp_path_factory.mktemp("database") / "pinnace.db"
    SqlStore(made, durable=False).close()
    return made


@pytest.fixture
def server(tmp_path: Path, empty_database: Path) -> Iterator[Server]:
    shutil.copy(empty_database, tmp_path)
    made = Server(tmp_path)
    yield made
    made.close()
