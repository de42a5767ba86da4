"""The database file: made, brought up to date, refused when it is newer. What SQL answers is in ``contract``."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError

from pinnace_contract.ids import DeviceId, ModelName
from pinnace_server.db import migrations
from pinnace_server.db.store import SqlStore
from pinnace_server.db.tables import METADATA
from pinnace_server.domain.packed_histogram import PackedHistogram
from pinnace_server.domain.queries import EventQuery
from pinnace_server.errors import Code, StartRefused
from tests.server.db.contract.rows import event


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    return SqlStore(tmp_path / "pinnace.db", durable=False)


def test_migrations_from_nothing_make_the_schema_that_the_tables_declare(tmp_path: Path) -> None:
    SqlStore(tmp_path / "pinnace.db").close()
    with create_engine(f"sqlite:///{tmp_path}/pinnace.db").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_stretches_from_before_latencies_were_kept_come_along_without_any(tmp_path: Path) -> None:
    path = tmp_path / "pinnace.db"
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with create_engine(f"sqlite:///{path}").begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    old = {"device": "camera-1", "model": "digits", "number": 7, "release": "r", "arm": "serving", "reports": 3, "n": 9}
    counted = dict.fromkeys(("errors", "errors_fresh_n", "errors_fresh", "errors_stale", "predictions", "below"), 1)
    gone = dict.fromkeys(("slow", "slow_fresh_n", "slow_fresh", "slow_stale"), 2)
    values = old | counted | gone
    with sqlite3.connect(path) as plain:
        marks = ", ".join("?" for _ in values)
        plain.execute(f"INSERT INTO stretches ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))
    with SqlStore(path).read() as tables:
        (found,) = tables.reports.stretches([DeviceId("camera-1")], ModelName("digits"), 7, 7)
    assert (found.errors.counts.trials, found.latency) == (9, PackedHistogram())
    assert found.latency.above(0) == (0, 0)


def test_what_was_committed_is_there_after_opening_again(tmp_path: Path) -> None:
    first = SqlStore(tmp_path / "pinnace.db")
    with first.write() as tables:
        tables.events.append(event("kept"))
    first.close()
    with SqlStore(tmp_path / "pinnace.db").read() as tables:
        assert [row.summary for row in tables.events.listing(EventQuery()).rows] == ["kept"]


def test_database_of_a_newer_server_is_refused_and_left_alone(tmp_path: Path) -> None:
    SqlStore(tmp_path / "pinnace.db").close()
    with sqlite3.connect(tmp_path / "pinnace.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StartRefused, match="newer server") as refused:
        SqlStore(tmp_path / "pinnace.db")
    assert refused.value.code is Code.SCHEMA_NEWER
    with sqlite3.connect(tmp_path / "pinnace.db") as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pinnace.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(StartRefused, match="cannot be used"):
        SqlStore(tmp_path / "pinnace.db")


def test_commits_wait_for_the_disk_and_readers_do_not_wait_for_writers(tmp_path: Path) -> None:
    store = SqlStore(tmp_path / "pinnace.db")
    with store.read() as tables:
        connection = tables.events._session.connection()
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


@pytest.mark.parametrize("statement", ["DELETE FROM events", "UPDATE events SET summary = 'another'"])
def test_log_cannot_be_rewritten(store: SqlStore, statement: str) -> None:
    with store.write() as tables:
        tables.events.append(event("true"))
    with pytest.raises(IntegrityError, match="append-only"), store.write() as tables:
        tables.events._session.connection().exec_driver_sql(statement)
