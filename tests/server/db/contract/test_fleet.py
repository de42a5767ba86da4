"""Devices, their stores and their slots, over both databases."""

from __future__ import annotations

import math

import pytest

from pinnace_contract.ids import BootId, KeyId, VersionName
from pinnace_contract.latest import Cause, Runtime
from pinnace_contract.v1.report import Health
from pinnace_server.db import batches
from pinnace_server.domain.records import Device, DeviceState
from pinnace_server.domain.statuses import SILENCE_CADENCES
from pinnace_server.service.ports import Store
from tests.server.db.contract.rows import (
    DIGITS,
    FIRST,
    NOW,
    SECOND,
    VIOLATED,
    WORDS,
    camera,
    device,
    fleet,
    incarnation,
    slot,
    undone,
    written,
)

CADENCE_S = 60
GONE = DeviceState.DECOMMISSIONED


class TestDevices:
    def test_device_comes_back_whole(self, store: Store) -> None:
        said = device(
            1,
            name="hall",
            serial="S1",
            cause=Cause.CLONE_SUSPECTED,
            labels={"site": "lyon", "class": "a"},
            reported_labels={"os": "linux"},
            hardware="board",
            runtimes=(Runtime.ONNX, Runtime.TFLITE),
            agent_version="0.1.0",
            generation=2**40,
            online=True,
            silent=True,
            boot=BootId("b" * 32),
            connection=3,
            seen_at_s=NOW,
            reported_generation=2,
            reported_cause=Cause.NO_FALLBACK,
            reported_detail="why",
            reported_boot=BootId("c" * 32),
            reported_seq=9,
            degraded=True,
            updating=True,
            p95_ms=1.5,
            health=Health(cpu_share=0.5, throttled=False),
            health_at_s=NOW,
        )
        written(store, lambda tables: tables.devices.save(said))
        with store.read() as tables:
            found = tables.devices.get(said.id)
            assert found == said
            assert list(found.labels) == ["class", "site"]
            assert tables.devices.get(camera(2)) is None

    def test_labels_are_replaced_and_are_the_stores_own(self, store: Store) -> None:
        labels = {"site": "lyon"}
        written(store, lambda tables: tables.devices.save(device(1, labels=labels)))
        labels["site"] = "elsewhere"
        with store.read() as tables:
            assert tables.devices.get(camera(1)) == device(1, labels={"site": "lyon"})
        written(store, lambda tables: tables.devices.save(device(1, labels={"class": "a"})))
        with store.read() as tables:
            assert tables.devices.get(camera(1)) == device(1, labels={"class": "a"})
            assert tables.devices.label_keys() == ["class"]
        written(store, lambda tables: tables.devices.save(device(1)))
        with store.read() as tables:
            assert tables.devices.label_keys() == []

    def test_label_keys_are_those_of_every_device(self, store: Store) -> None:
        with store.write() as tables:
            tables.devices.save(device(1, labels={"site": "lyon", "class": "a"}))
            tables.devices.save(device(2, labels={"site": "paris", "b": "x"}, state=GONE))
            assert tables.devices.label_keys() == ["b", "class", "site"]

    def test_key_names_one_device(self, store: Store) -> None:
        fleet(store, 2)
        with store.read() as tables:
            assert tables.devices.of_key(device(2).key) == device(2)
            assert tables.devices.of_key(KeyId("f" * 64)) is None
        with pytest.raises(VIOLATED):
            written(store, lambda tables: tables.devices.save(device(3, key=device(1).key)))
        with pytest.raises(VIOLATED):
            written(store, lambda tables: tables.devices.save(device(2, key=device(1).key)))

    def test_key_that_a_device_gave_up_is_free(self, store: Store) -> None:
        fleet(store, 1)
        changed = device(1, key=KeyId("e" * 64))
        undone(store, lambda tables: tables.devices.save(changed))
        with store.read() as tables:
            assert tables.devices.of_key(device(1).key) == device(1)
        written(store, lambda tables: tables.devices.save(changed))
        written(store, lambda tables: tables.devices.save(device(2, key=device(1).key)))
        with store.read() as tables:
            assert tables.devices.of_key(changed.key) == changed
            assert tables.devices.of_key(device(1).key) == device(2, key=device(1).key)

    def test_some_are_returned_in_the_order_asked_for(self, store: Store) -> None:
        fleet(store, 3)
        with store.read() as tables:
            assert list(tables.devices.some([])) == []
            asked = [camera(3), camera(1), camera(3)]
            assert [each.id for each in tables.devices.some(asked)] == asked
            with pytest.raises(KeyError):
                tables.devices.some([camera(9)])

    def test_decommissioned_are_named(self, store: Store) -> None:
        with store.write() as tables:
            tables.devices.save(device(1, state=GONE))
            tables.devices.save(device(2, state=DeviceState.QUARANTINED))
            assert tables.devices.decommissioned() == {camera(1)}


class TestSilence:
    def silent(self, store: Store, now_s: float, limit: int = 10) -> list[str]:
        with store.read() as tables:
            return [each.id for each in tables.devices.silent(now_s, limit)]

    def online(self, n: int, seen_at_s: float | None = NOW, **changes: object) -> Device:
        return device(n, online=True, seen_at_s=seen_at_s, report_every_s=CADENCE_S, **changes)

    def test_device_is_silent_after_three_of_its_own_cadences(self, store: Store) -> None:
        written(store, lambda tables: tables.devices.save(self.online(1)))
        until = NOW + SILENCE_CADENCES * CADENCE_S
        for _ in range(2):
            assert self.silent(store, until) == []
            assert self.silent(store, math.nextafter(until, math.inf)) == [camera(1)]

    @pytest.mark.parametrize(
        ("changes", "counts"),
        [
            ({}, True),
            ({"state": DeviceState.PENDING}, True),
            ({"state": DeviceState.QUARANTINED}, True),
            ({"state": GONE}, False),
            ({"online": False}, False),
            ({"silent": True}, False),
            ({"seen_at_s": None}, True),
        ],
    )
    def test_silence_is_told_of_devices_that_count_as_there(
        self, store: Store, changes: dict[str, object], counts: bool
    ) -> None:
        made = device(1, **({"online": True, "seen_at_s": NOW, "report_every_s": CADENCE_S} | changes))
        written(store, lambda tables: tables.devices.save(made))
        assert self.silent(store, NOW + 1000) == [camera(1)] * counts

    def test_as_many_as_asked_for_in_the_order_of_ids(self, store: Store) -> None:
        with store.write() as tables:
            for n in (3, 1, 2):
                tables.devices.save(self.online(n, NOW + n))
        assert self.silent(store, NOW + 1000) == [camera(1), camera(2), camera(3)]
        assert self.silent(store, NOW + 1000, limit=2) == [camera(1), camera(2)]

    def test_device_that_is_heard_again_is_silent_later(self, store: Store) -> None:
        written(store, lambda tables: tables.devices.save(self.online(1)))
        assert self.silent(store, NOW + 1000) == [camera(1)]
        written(store, lambda tables: tables.devices.save(self.online(1, NOW + 1000)))
        assert self.silent(store, NOW + 1000) == []
        assert self.silent(store, NOW + 2000) == [camera(1)]
        written(store, lambda tables: tables.devices.save(self.online(1, NOW + 2000, silent=True)))
        assert self.silent(store, NOW + 9000) == []
        written(store, lambda tables: tables.devices.save(self.online(1, NOW + 9000)))
        assert self.silent(store, NOW + 9999) == [camera(1)]

    def test_looking_inside_a_write_that_is_undone_misses_nobody_later(self, store: Store) -> None:
        written(store, lambda tables: tables.devices.save(self.online(1)))

        with pytest.raises(ZeroDivisionError), store.write() as tables:  # noqa: PT012
            tables.devices.save(self.online(1, NOW + 5000))
            assert list(tables.devices.silent(NOW + 1000, 10)) == []
            raise ZeroDivisionError
        assert self.silent(store, NOW + 1000) == [camera(1)]

    def test_device_that_reports_more_often_is_silent_sooner(self, store: Store) -> None:
        written(store, lambda tables: tables.devices.save(self.online(1)))
        assert self.silent(store, NOW) == []
        written(store, lambda tables: tables.devices.save(device(1, online=True, seen_at_s=NOW, report_every_s=1)))
        assert self.silent(store, NOW + 6) == [camera(1)]


class TestIncarnations:
    def test_they_come_in_the_order_of_their_first_words(self, store: Store) -> None:
        fleet(store, 2)
        with store.write() as tables:
            tables.devices.save_incarnation(incarnation(1, SECOND, 1.0))
            tables.devices.save_incarnation(incarnation(1, FIRST, 2.0))
            tables.devices.save_incarnation(incarnation(2, FIRST, 0.0))
        with store.read() as tables:
            found = tables.devices.incarnations(camera(1))
            assert list(found) == [incarnation(1, SECOND, 1.0), incarnation(1, FIRST, 2.0)]
            assert list(tables.devices.incarnations(camera(3))) == []

    def test_equal_times_are_told_apart_by_name_and_saving_again_replaces(self, store: Store) -> None:
        fleet(store, 1)
        with store.write() as tables:
            for which in (SECOND, FIRST, SECOND):
                tables.devices.save_incarnation(incarnation(1, which, 1.0))
            assert [each.incarnation for each in tables.devices.incarnations(camera(1))] == [FIRST, SECOND]

    def test_store_of_a_device_that_is_not_there_is_refused(self, store: Store) -> None:
        with pytest.raises(VIOLATED):
            written(store, lambda tables: tables.devices.save_incarnation(incarnation(1, FIRST, 1.0)))


class TestSlots:
    def test_saving_replaces_everything_known_of_the_device(self, store: Store) -> None:
        fleet(store, 2)
        with store.write() as tables:
            tables.devices.save_slots(camera(1), [slot(1, WORDS), slot(1, DIGITS, "1")])
            tables.devices.save_slots(camera(2), [slot(2, WORDS)])
            tables.devices.save_slots(camera(1), [slot(1, DIGITS, "2")])
        with store.read() as tables:
            assert tables.devices.slot(camera(1), DIGITS) == slot(1, DIGITS, "2")
            assert tables.devices.slot(camera(1), WORDS) is None
            assert tables.devices.slot(camera(3), WORDS) is None
            assert list(tables.devices.slots([camera(1), camera(2)])) == [slot(1, DIGITS, "2"), slot(2, WORDS)]
        written(store, lambda tables: tables.devices.save_slots(camera(1), []))
        with store.read() as tables:
            assert list(tables.devices.slots([camera(1)])) == []

    def test_slots_are_ordered_by_device_and_model_however_they_are_asked_for(self, store: Store) -> None:
        fleet(store, 2)
        with store.write() as tables:
            for n in (2, 1):
                tables.devices.save_slots(camera(n), [slot(n, WORDS), slot(n, DIGITS)])
        with store.read() as tables:
            found = tables.devices.slots(iter([camera(2), camera(1), camera(2)]))
            assert [(each.device, each.model) for each in found] == [
                (camera(n), model) for n in (1, 2) for model in (DIGITS, WORDS)
            ]
            assert list(tables.devices.slots([camera(2), camera(9)], WORDS)) == [slot(2, WORDS)]

    def test_order_holds_over_more_devices_than_one_statement_takes(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batches, "IN_MAX", 2)
        fleet(store, 5)
        with store.write() as tables:
            for n in range(1, 6):
                tables.devices.save_slots(camera(n), [slot(n)])
        asked = [camera(n) for n in (5, 1, 4, 2, 3)]
        with store.read() as tables:
            assert [each.device for each in tables.devices.slots(asked)] == sorted(asked)

    def test_slot_of_a_device_that_is_not_there_is_refused(self, store: Store) -> None:
        written(store, lambda tables: tables.devices.save_slots(camera(1), []))
        with pytest.raises(VIOLATED):
            written(store, lambda tables: tables.devices.save_slots(camera(1), [slot(1)]))

    def test_serving_counts_devices_by_model_and_version(self, store: Store) -> None:
        fleet(store, 4)
        with store.write() as tables:
            for n, version in ((1, "2"), (2, "1"), (3, "1")):
                tables.devices.save_slots(camera(n), [slot(n, DIGITS, version), slot(n, WORDS)])
            tables.devices.save_slots(camera(4), [slot(4, DIGITS, "1")])
            tables.devices.save(device(4, state=GONE))
            tables.devices.save(device(5))
            tables.devices.save_slots(camera(5), [slot(5, DIGITS)])
        digits = [(DIGITS, None, 1), (DIGITS, VersionName("1"), 2), (DIGITS, VersionName("2"), 1)]
        with store.read() as tables:
            assert list(tables.devices.serving()) == [*digits, (WORDS, None, 3)]
            assert list(tables.devices.serving(DIGITS)) == digits
