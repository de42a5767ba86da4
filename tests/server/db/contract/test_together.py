"""Writes that are committed together: each by itself where it fails, all with one wait for the disk."""

from __future__ import annotations

import threading
from contextlib import suppress
from random import Random

import pytest

from pinnace_server.db.store import SqlStore
from pinnace_server.domain.queries import DeviceQuery
from pinnace_server.service.ports import Store
from pinnace_sim.memory.store import MemoryStore
from tests.server.db.contract.operations import changes
from tests.server.db.contract.rows import NOW, VIOLATED, device, event, model, received, rollout, undone, written
from tests.server.db.contract.test_twins import answers, outcome

GROUPS = 40


class Broken(Exception):
    pass


def names(store: Store) -> list[str]:
    with store.read() as tables:
        return [each.id for each in tables.devices.listing(DeviceQuery(now_s=NOW)).rows]


def test_all_writes_are_kept_and_later_ones_see_earlier_ones(store: Store) -> None:
    with store.together():
        written(store, lambda tables: tables.devices.save(device(1)))
        with store.read() as tables:
            assert tables.devices.get(device(1).id) == device(1)
        written(store, lambda tables: tables.devices.save(device(1, name="renamed")))
        written(store, lambda tables: tables.devices.save(device(2)))
    with store.read() as tables:
        assert tables.devices.some([device(1).id, device(2).id]) == [device(1, name="renamed"), device(2)]


def test_write_that_fails_leaves_nothing_and_the_others_stay(store: Store) -> None:
    with store.together():
        written(store, lambda tables: tables.devices.save(device(1)))
        undone(store, lambda tables: tables.devices.save(device(1, name="renamed")))
        undone(store, lambda tables: tables.devices.save(device(3)))
        with store.read() as tables:
            assert tables.devices.get(device(1).id) == device(1)
            assert tables.devices.get(device(3).id) is None
        written(store, lambda tables: tables.devices.save(device(2)))
    assert names(store) == [device(1).id, device(2).id]


def test_row_that_cannot_be_undoes_its_own_write_alone(store: Store) -> None:
    with store.together():
        written(store, lambda tables: tables.devices.save(device(1)))
        with pytest.raises(VIOLATED):
            written(store, lambda tables: tables.devices.save(device(2, key=device(1).key)))
        written(store, lambda tables: tables.devices.save(device(3)))
    assert names(store) == [device(1).id, device(3).id]


def test_nothing_is_kept_when_the_whole_fails(store: Store) -> None:
    written(store, lambda tables: tables.devices.save(device(1)))
    with suppress(Broken), store.together():
        written(store, lambda tables: tables.devices.save(device(1, name="renamed")))
        written(store, lambda tables: tables.devices.save(device(2)))
        raise Broken
    with store.read() as tables:
        assert tables.devices.get(device(1).id) == device(1)
        assert tables.devices.get(device(2).id) is None


def test_a_transaction_of_its_own_follows(store: Store) -> None:
    with store.together():
        written(store, lambda tables: tables.devices.save(device(1)))
    undone(store, lambda tables: tables.devices.save(device(2)))
    with suppress(Broken), store.together():
        raise Broken
    written(store, lambda tables: tables.devices.save(device(3)))
    assert names(store) == [device(1).id, device(3).id]


def test_numbers_of_events_grow_over_writes_that_were_undone(store: Store) -> None:
    with store.together():
        first = written(store, lambda tables: tables.events.append(event("said")))
        undone(store, lambda tables: tables.events.append(event("said")))
        second = written(store, lambda tables: tables.events.append(event("said")))
    assert second > first


def test_ranges_of_one_boot_join_within_one_commit(store: Store) -> None:
    written(store, lambda tables: tables.devices.save(device(1)))
    with store.together():
        for number in (1, 2, 3):
            written(store, lambda tables, n=number: tables.reports.add_range(received(n, n)))
    with store.read() as tables:
        found = tables.reports.ranges(received(1, 1).device, received(1, 1).boot)
    assert [(each.seq_from, each.seq_to) for each in found] == [(1, 3)]


def test_nobody_else_sees_anything_before_the_end(sql: SqlStore) -> None:
    seen: list[list[str]] = []

    def look() -> None:
        seen.append(names(sql))

    with sql.together():
        written(sql, lambda tables: tables.devices.save(device(1)))
        other = threading.Thread(target=look)
        other.start()
        other.join()
    look()
    assert seen == [[], [device(1).id]]


def test_another_writer_waits_and_goes_on(store: Store) -> None:
    other = threading.Thread(target=lambda: written(store, lambda tables: tables.devices.save(device(2))))
    with store.together():
        written(store, lambda tables: tables.devices.save(device(1)))
        other.start()
        written(store, lambda tables: tables.devices.save(device(3)))
    other.join()
    assert names(store) == [device(n).id for n in (1, 2, 3)]


@pytest.mark.parametrize("seed", range(2))
def test_same_life_in_groups_gives_the_same_answers(sql: SqlStore, seed: int) -> None:
    chance, memory = Random(seed), MemoryStore()
    for store in (sql, memory):
        written(store, lambda tables: tables.devices.save(device(1)))
        written(store, lambda tables: tables.devices.save(device(2)))
        written(store, lambda tables: tables.models.add(model()))
        written(store, lambda tables: tables.rollouts.save(rollout("r1")))
    for group in range(GROUPS):
        parts = [
            ([changes(chance) for _ in range(chance.randint(1, 3))], chance.random() < 0.3)
            for _ in range(chance.randint(1, 5))
        ]
        breaks = chance.random() < 0.2
        ends = []
        for store in (sql, memory):
            told = []
            with suppress(Broken), store.together():
                told = [outcome(store, made, fails=fails) for made, fails in parts]
                if breaks:
                    raise Broken
            ends.append(told)
        assert ends[0] == ends[1], f"seed {seed}, group {group}"
        expected, found = answers(sql), answers(memory)
        wrong = [question for question, answer in expected.items() if found[question] != answer]
        assert not wrong, f"seed {seed}, group {group}: {wrong}"
