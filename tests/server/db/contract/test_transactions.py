"""What a transaction keeps, whatever the repository."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import pytest

from pinnace_contract.ids import VersionName
from pinnace_server.domain.queries import EventQuery
from pinnace_server.domain.records import AliasName
from pinnace_server.service.ports import Store, Tables
from pinnace_sim.memory.store import MemoryStore
from tests.server.db.contract.rows import (
    VIOLATED,
    WORDS,
    assignment,
    claim,
    desired,
    device,
    event,
    member,
    minute,
    model,
    receipt,
    received,
    rollout,
    slot,
    undone,
    version,
    written,
)


def version_twice(tables: Tables) -> None:
    tables.versions.add(version("1", 1))
    tables.versions.add(version("1", 1))


def receipt_twice(tables: Tables) -> None:
    tables.receipts.add(receipt(1))
    tables.receipts.add(receipt(1))


def member_that_is_nobody(tables: Tables) -> None:
    tables.rollouts.save(rollout("r1"))
    tables.rollouts.save_members([member("r1", 9)])


WRONG: Final[dict[str, Callable[[Tables], object]]] = {
    "another's key": lambda tables: tables.devices.save(device(2, key=device(1).key)),
    "slot of nobody": lambda tables: tables.devices.save_slots(device(9).id, [slot(9)]),
    "model twice": lambda tables: tables.models.add(model()),
    "alias of nothing": lambda tables: tables.models.point(WORDS, AliasName("stable"), VersionName("1")),
    "version twice": version_twice,
    "another's secret": lambda tables: tables.claims.save(claim("b", secret_hash=claim("a").secret_hash)),
    "assignment of nobody": lambda tables: tables.assignments.save(assignment(9)),
    "set of nobody": lambda tables: tables.assignments.save_desired(desired(9)),
    "member of nothing": lambda tables: tables.rollouts.save_members([member("r1", 1)]),
    "member that is nobody": member_that_is_nobody,
    "receipt twice": receipt_twice,
    "range of nobody": lambda tables: tables.reports.add_range(received(1, 1, n=9)),
    "minute of nobody": lambda tables: tables.reports.merge(minute(9, 1)),
}


def test_failed_transaction_leaves_nothing(store: Store) -> None:
    undone(store, lambda tables: tables.events.append(event("never")))
    with store.read() as tables:
        assert tables.events.last_number() == 0


def test_number_that_was_given_in_a_failed_transaction_is_given_again(store: Store) -> None:
    written(store, lambda tables: tables.events.append(event("first")))
    undone(store, lambda tables: tables.events.append(event("never")))
    assert written(store, lambda tables: tables.events.append(event("second"))) == 2


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_transaction_that_is_stopped_leaves_nothing(store: Store, raised: type[BaseException]) -> None:
    with suppress(raised), store.write() as tables:
        tables.events.append(event("never"))
        raise raised
    with store.read() as tables:
        assert tables.events.last_number() == 0


def test_nothing_written_while_reading_is_kept(store: Store) -> None:
    with store.read() as tables:
        tables.devices.save(device(1))
        assert tables.devices.get(device(1).id) is not None
    with store.read() as tables:
        assert tables.devices.get(device(1).id) is None


def test_transaction_sees_what_it_wrote_itself(store: Store) -> None:
    with store.write() as tables:
        tables.events.append(event("mine"))
        assert [each.summary for each in tables.events.listing(EventQuery()).rows] == ["mine"]


def test_write_goes_on_after_one_that_failed(store: Store) -> None:
    written(store, lambda tables: tables.devices.save(device(1)))
    with pytest.raises(VIOLATED):
        written(store, lambda tables: tables.devices.save(device(2, key=device(1).key)))
    written(store, lambda tables: tables.devices.save(device(2)))
    with store.read() as tables:
        assert tables.devices.get(device(2).id) == device(2)


def test_writers_wait_for_each_other(store: Store) -> None:
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


class TestTogether:
    """Many writes and one commit; each is still by itself."""

    def test_writes_are_there_for_those_that_come_after_and_at_the_end(self, store: Store) -> None:
        with store.together():
            written(store, lambda tables: tables.devices.save(device(1)))
            with store.read() as tables:
                assert tables.devices.get(device(1).id) == device(1)
            written(store, lambda tables: tables.devices.save(device(1, name="hall")))
        with store.read() as tables:
            assert tables.devices.get(device(1).id) == device(1, name="hall")

    def test_write_that_fails_leaves_the_others_alone(self, store: Store) -> None:
        with store.together():
            written(store, lambda tables: tables.events.append(event("first")))
            undone(store, lambda tables: tables.events.append(event("never")))
            assert written(store, lambda tables: tables.events.append(event("second"))) == 2
        with store.read() as tables:
            assert [each.summary for each in tables.events.listing(EventQuery(after=0)).rows] == ["first", "second"]

    @pytest.mark.parametrize("kind", sorted(WRONG))
    def test_write_that_cannot_be_leaves_the_others_alone(self, store: Store, kind: str) -> None:
        with store.write() as tables:
            tables.devices.save(device(1))
            tables.models.add(model())
            tables.claims.save(claim("a"))
        with store.together():
            written(store, lambda tables: tables.devices.save(device(1, name="hall")))
            with pytest.raises(VIOLATED):
                written(store, WRONG[kind])
            written(store, lambda tables: tables.devices.save(device(2)))
        with store.read() as tables:
            assert tables.devices.get(device(1).id) == device(1, name="hall")
            assert tables.devices.get(device(2).id) == device(2)

    def test_nothing_is_kept_when_the_whole_fails(self, store: Store) -> None:
        with pytest.raises(ZeroDivisionError), store.together():  # noqa: PT012
            written(store, lambda tables: tables.devices.save(device(1)))
            raise ZeroDivisionError
        with store.read() as tables:
            assert tables.devices.get(device(1).id) is None
        written(store, lambda tables: tables.devices.save(device(1)))

    def test_what_was_undone_is_not_remembered(self, store: Store) -> None:
        written(store, lambda tables: tables.devices.save(device(1, labels={"site": "lyon"})))
        with store.together():
            undone(store, lambda tables: tables.devices.save(device(1, name="never", labels={})))
            with store.read() as tables:
                assert tables.devices.get(device(1).id) == device(1, labels={"site": "lyon"})
            written(store, lambda tables: tables.devices.save(device(1, labels={"site": "paris"})))
        with store.read() as tables:
            assert tables.devices.get(device(1).id) == device(1, labels={"site": "paris"})


class TestMemory:
    """What the twin has besides: hooks at its commits, and no transaction inside another."""

    def test_writes_together_are_one_commit(self) -> None:
        told: list[int] = []
        store = MemoryStore(before_commit=told.append)
        with store.together():
            for _ in range(3):
                written(store, lambda tables: tables.events.append(event("kept")))
            assert (told, store.commits) == ([], 0)
        assert (told, store.commits) == ([1], 1)

    def test_server_killed_before_the_commit_leaves_nothing(self) -> None:
        store = MemoryStore()

        def kill(commit: int) -> None:
            assert commit == 1
            raise KeyboardInterrupt

        store.before_commit = kill
        with pytest.raises(KeyboardInterrupt):
            written(store, lambda tables: tables.events.append(event("never")))
        assert store.commits == 0
        store.before_commit = None
        assert written(store, lambda tables: tables.events.append(event("first"))) == 1

    def test_server_killed_after_the_commit_leaves_everything(self) -> None:
        def kill(commit: int) -> None:
            assert commit == 1
            raise KeyboardInterrupt

        store = MemoryStore(after_commit=kill)
        with pytest.raises(KeyboardInterrupt):
            written(store, lambda tables: tables.events.append(event("kept")))
        assert store.commits == 1
        with store.read() as tables:
            assert tables.events.last_number() == 1

    def test_hooks_are_told_the_number_of_the_commit(self) -> None:
        told: list[tuple[str, int]] = []
        store = MemoryStore(
            before_commit=lambda commit: told.append(("before", commit)),
            after_commit=lambda commit: told.append(("after", commit)),
        )
        for _ in range(2):
            written(store, lambda tables: tables.events.append(event("kept")))
        undone(store, lambda tables: tables.events.append(event("never")))
        assert told == [("before", 1), ("after", 1), ("before", 2), ("after", 2)]
        assert store.commits == 2

    def test_violation_that_somebody_swallows_is_not_committed(self) -> None:
        store = MemoryStore()
        written(store, lambda tables: tables.devices.save(device(1)))

        def swallow(tables: Tables) -> None:
            tables.events.append(event("never"))
            with suppress(*VIOLATED):
                tables.devices.save(device(2, key=device(1).key))

        with pytest.raises(VIOLATED, match="cannot be committed"):
            written(store, swallow)
        with store.read() as tables:
            assert tables.events.last_number() == 0

    @pytest.mark.parametrize("outer", ["read", "write"])
    @pytest.mark.parametrize("inner", ["read", "write"])
    def test_transaction_inside_another_is_a_bug(self, outer: str, inner: str) -> None:
        store = MemoryStore()
        begin = {"read": store.read, "write": store.write}
        with (
            pytest.raises(AssertionError, match=f"a {inner} was begun inside a {outer}"),
            begin[outer](),
            begin[inner](),
        ):
            pass
        written(store, lambda tables: tables.events.append(event("goes on")))
