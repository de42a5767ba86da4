"""The database file: made, brought up to date, refused when it is newer; and SQL beside what values answer."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError

from pinnace_contract.ids import DeviceId, IncarnationId, KeyId
from pinnace_server.db.store import SqlStore
from pinnace_server.db.tables import METADATA
from pinnace_server.domain import selector
from pinnace_server.domain.queries import DeviceOrder, DeviceQuery, EventQuery, Page
from pinnace_server.domain.records import Device, DeviceState, Event, EventKind, Status
from pinnace_server.domain.statuses import status_of
from pinnace_server.errors import Code, StartRefused

NOW = 1_000_000.0


def event(summary: str) -> Event:
    return Event(at_s=NOW, kind=EventKind.MODEL_ADDED, actor="test", summary=summary)


def device(n: int, **changes: object) -> Device:
    made = Device(
        id=DeviceId(f"camera-{n}"),
        key=KeyId(f"{n:064x}"),
        public_key_pem="",
        state=DeviceState.ACTIVE,
        incarnation=IncarnationId("a" * 32),
        enrolled_at_s=0.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    return SqlStore(tmp_path / "pinnace.db", durable=False)


def test_migrations_from_nothing_make_the_schema_that_the_tables_declare(tmp_path: Path) -> None:
    SqlStore(tmp_path / "pinnace.db").close()
    with create_engine(f"sqlite:///{tmp_path}/pinnace.db").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


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


def test_failed_transaction_leaves_nothing(store: SqlStore) -> None:
    def fail() -> None:
        with store.write() as tables:
            tables.events.append(event("never"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.read() as tables:
        assert tables.events.last_number() == 0


@pytest.mark.parametrize("statement", ["DELETE FROM events", "UPDATE events SET summary = 'another'"])
def test_log_cannot_be_rewritten(store: SqlStore, statement: str) -> None:
    with store.write() as tables:
        tables.events.append(event("true"))
    with pytest.raises(IntegrityError, match="append-only"), store.write() as tables:
        tables.events._session.connection().exec_driver_sql(statement)


def test_writers_wait_for_each_other(store: SqlStore) -> None:
    import threading

    def write(n: int) -> None:
        for _ in range(5):
            with store.write() as tables:
                number = tables.events.last_number()
                assert tables.events.append(event(f"of {n}")) == number + 1

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as tables:
        assert tables.events.last_number() == 20


class TestSearch:
    """Rows are asked in SQL what values answer in Python; both must say the same."""

    @pytest.fixture
    def fleet(self, store: SqlStore) -> list[Device]:
        devices = [
            device(
                n,
                state=state,
                online=online,
                seen_at_s=seen,
                degraded=degraded,
                updating=updating,
                report_every_s=cadence,
                labels={"site": ("lyon", "paris")[n % 2]} | ({"camera": "yes"} if n % 3 == 0 else {}),
                p95_ms=None if n % 5 == 0 else float(n % 7),
            )
            for n, (state, online, seen, (degraded, updating), cadence) in enumerate(
                product(
                    (DeviceState.PENDING, DeviceState.ACTIVE, DeviceState.QUARANTINED),
                    (True, False),
                    (None, NOW - 4, NOW - 6, NOW - 179, NOW - 181),
                    ((False, False), (True, False), (False, True)),
                    (1, 60),
                )
            )
        ]
        with store.write() as tables:
            for each in devices:
                tables.devices.save(each)
        return devices

    def test_status_is_the_same(self, store: SqlStore, fleet: list[Device]) -> None:
        with store.read() as tables:
            for status in Status:
                query = DeviceQuery(now_s=NOW, status=status, page=Page(limit=1000))
                found = tables.devices.listing(query)
                expected = {each.id for each in fleet if status_of(each, NOW) is status}
                assert {each.id for each in found.rows} == expected
                assert found.total == len(expected)
                assert tables.devices.by_status(query).get(status, 0) == len(expected)

    @pytest.mark.parametrize(
        "text", ["", "site=lyon", "site in (lyon, paris), has camera", "device=camera-3", "has nothing"]
    )
    def test_selector_means_the_same(self, store: SqlStore, fleet: list[Device], text: str) -> None:
        parsed = selector.parse(text)
        expected = sorted(each.id for each in fleet if parsed.matches(each.id, each.labels))
        with store.read() as tables:
            assert sorted(each.id for each in tables.devices.matching(parsed)) == expected
            query = DeviceQuery(now_s=NOW, selector=parsed, page=Page(limit=1000))
            assert sorted(each.id for each in tables.devices.listing(query).rows) == expected

    @pytest.mark.parametrize("order", DeviceOrder)
    @pytest.mark.parametrize("descending", [False, True])
    def test_pages_cut_one_order_without_gaps(
        self, store: SqlStore, fleet: list[Device], order: DeviceOrder, descending: bool
    ) -> None:
        query = DeviceQuery(now_s=NOW, order=order, descending=descending, page=Page(limit=1000))
        with store.read() as tables:
            whole = [each.id for each in tables.devices.listing(query).rows]
            pages = [
                each.id
                for offset in range(0, len(fleet), 7)
                for each in tables.devices.listing(replace(query, page=Page(limit=7, offset=offset))).rows
            ]
        assert pages == whole
        assert len(set(whole)) == len(fleet)

    def test_what_is_not_known_comes_last_either_way(self, store: SqlStore, fleet: list[Device]) -> None:
        with store.read() as tables:
            for descending in (False, True):
                query = DeviceQuery(now_s=NOW, order=DeviceOrder.P95, descending=descending, page=Page(limit=1000))
                known = [each.p95_ms is not None for each in tables.devices.listing(query).rows]
                assert known == sorted(known, reverse=True)

    def test_text_with_wildcards_means_itself(self, store: SqlStore, fleet: list[Device]) -> None:
        with store.read() as tables:
            assert tables.devices.listing(DeviceQuery(now_s=NOW, text="%")).total == 0
            assert tables.devices.listing(DeviceQuery(now_s=NOW, text="camera-1")).total > 1
