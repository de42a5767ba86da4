"""The device list: filters, orders and pages over both databases, beside what values answer."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from pinnace_contract.ids import VersionName
from pinnace_server.domain import selector
from pinnace_server.domain.queries import DeviceOrder, DeviceQuery, Page
from pinnace_server.domain.records import Device, DeviceState, Status
from pinnace_server.domain.statuses import status_of
from pinnace_server.service.ports import Store
from tests.server.db.contract.rows import DIGITS, NOW, WORDS, assignment, camera, device, slot

EVERY = Page(limit=1000)
GONE = DeviceState.DECOMMISSIONED


class TestMany:
    """Rows are asked in SQL what values answer in Python; both must say the same."""

    @pytest.fixture
    def fleet(self, store: Store) -> list[Device]:
        devices = [
            device(
                n,
                state=state,
                online=online,
                seen_at_s=seen,
                degraded=degraded,
                updating=updating,
                report_every_s=cadence,
                labels={"site": ("lyon", "paris")[n % 2]}
                | ({"camera": "yes"} if n % 3 == 0 else {})
                | ({"tags": ("line-2, wet", "line-20", "wet,line-2", "LINE-2")[n % 4]} if n % 5 else {}),
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

    def test_status_is_the_same(self, store: Store, fleet: list[Device]) -> None:
        with store.read() as tables:
            for status in Status:
                query = DeviceQuery(now_s=NOW, status=status, page=EVERY)
                found = tables.devices.listing(query)
                expected = {each.id for each in fleet if status_of(each, NOW) is status}
                assert {each.id for each in found.rows} == expected
                assert found.total == len(expected)
                assert tables.devices.by_status(query).get(status, 0) == len(expected)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "site=lyon",
            "site in (lyon, paris), has camera",
            "device=camera-3",
            "has nothing",
            "site!=lyon",
            "camera!=yes",
            "site not in (lyon, nice)",
            "lacks camera",
            "lacks nothing",
            "has device",
            "lacks device",
            "device!=camera-3",
            "device not in (camera-3, camera-4), site=lyon",
            "device has camera-3",
            "tags has line-2",
            "tags has line",
            "tags lacks line-2",
            "tags has LINE-2",
            'tags="line-2, wet"',
        ],
    )
    def test_selector_means_the_same(self, store: Store, fleet: list[Device], text: str) -> None:
        parsed = selector.parse(text)
        expected = sorted(each.id for each in fleet if parsed.matches(each.id, each.labels))
        with store.read() as tables:
            assert [each.id for each in tables.devices.matching(parsed)] == expected
            query = DeviceQuery(now_s=NOW, selector=parsed, page=EVERY)
            assert sorted(each.id for each in tables.devices.listing(query).rows) == expected

    @pytest.mark.parametrize("order", DeviceOrder)
    @pytest.mark.parametrize("descending", [False, True])
    def test_pages_cut_one_order_without_gaps(
        self, store: Store, fleet: list[Device], order: DeviceOrder, descending: bool
    ) -> None:
        query = DeviceQuery(now_s=NOW, order=order, descending=descending, page=EVERY)
        with store.read() as tables:
            whole = [each.id for each in tables.devices.listing(query).rows]
            pages = [
                each.id
                for offset in range(0, len(fleet), 7)
                for each in tables.devices.listing(replace(query, page=Page(limit=7, offset=offset))).rows
            ]
        assert pages == whole
        assert len(set(whole)) == len(fleet)

    def test_what_is_not_known_comes_last_either_way(self, store: Store, fleet: list[Device]) -> None:
        with store.read() as tables:
            for descending in (False, True):
                query = DeviceQuery(now_s=NOW, order=DeviceOrder.P95, descending=descending, page=EVERY)
                known = [each.p95_ms is not None for each in tables.devices.listing(query).rows]
                assert known == sorted(known, reverse=True)

    def test_text_with_wildcards_means_itself(self, store: Store, fleet: list[Device]) -> None:
        with store.read() as tables:
            assert tables.devices.listing(DeviceQuery(now_s=NOW, text="%")).total == 0
            assert tables.devices.listing(DeviceQuery(now_s=NOW, text="camera-1")).total > 1


class TestFew:
    @pytest.fixture(autouse=True)
    def fleet(self, store: Store) -> None:
        with store.write() as tables:
            tables.devices.save(
                device(1, name="Hall", serial="X-9", state=DeviceState.PENDING, p95_ms=2.0, labels={"site": "lyon"})
            )
            tables.devices.save(
                device(2, online=True, seen_at_s=NOW, agent_version="2", p95_ms=2.0, labels={"device": "camera-1"})
            )
            tables.devices.save(device(3, name="attic", seen_at_s=NOW - 1, agent_version="10", p95_ms=1.0))
            tables.devices.save(device(4, state=GONE, online=True, seen_at_s=NOW, degraded=True))
            tables.devices.save(device(5, name="Ünder", online=True, seen_at_s=NOW - 9, updating=True))
            tables.devices.save_slots(camera(1), [slot(1, DIGITS, "2"), slot(1, WORDS, "0")])
            tables.devices.save_slots(camera(2), [slot(2, DIGITS, "1")])
            tables.devices.save_slots(camera(3), [slot(3, DIGITS)])
            tables.devices.save_slots(camera(4), [slot(4, DIGITS, "1")])
            tables.assignments.save(assignment(5, WORDS))

    def numbers(self, store: Store, **asked: object) -> list[int]:
        query = replace(DeviceQuery(now_s=NOW, page=EVERY), **asked)  # type: ignore[arg-type]
        with store.read() as tables:
            found = tables.devices.listing(query)
            assert found.total == len(found.rows)
            assert sum(tables.devices.by_status(query).values()) >= found.total
        return [int(each.id.removeprefix("camera-")) for each in found.rows]

    @pytest.mark.parametrize(
        ("asked", "numbers"),
        [
            ({}, {1, 2, 3, 5}),
            ({"states": (GONE,)}, {4}),
            ({"states": tuple(DeviceState)}, {1, 2, 3, 4, 5}),
            ({"states": ()}, set()),
            ({"text": "hALL"}, {1}),
            ({"text": "x-"}, {1}),
            ({"text": "RA-3"}, {3}),
            ({"text": "Ü"}, {5}),
            ({"text": "ü"}, set()),
            ({"text": "_"}, set()),
            ({"status": Status.PENDING}, {1}),
            ({"status": Status.UPDATING}, {5}),
            ({"status": Status.DEGRADED}, set()),
            ({"status": Status.DEGRADED, "states": tuple(DeviceState)}, {4}),
            ({"model": DIGITS}, {1, 2, 3}),
            ({"model": WORDS}, {1, 5}),
            ({"version": VersionName("1")}, {2}),
            ({"version": VersionName("0")}, {1}),
            ({"version": VersionName("0"), "model": DIGITS}, set()),
            ({"version": VersionName("2"), "model": DIGITS}, {1}),
            ({"selector": selector.parse("site=lyon")}, {1}),
            ({"selector": selector.parse("device=camera-1")}, {1}),
            ({"selector": selector.parse("has device")}, {1, 2, 3, 5}),
            ({"selector": selector.parse("device in (camera-2, camera-3, camera-4)"), "text": "attic"}, {3}),
        ],
    )
    def test_filter(self, store: Store, asked: dict[str, object], numbers: set[int]) -> None:
        assert set(self.numbers(store, **asked)) == numbers

    @pytest.mark.parametrize(
        ("order", "ascending", "descending"),
        [
            (DeviceOrder.NAME, [1, 3, 2, 5], [5, 2, 3, 1]),
            (DeviceOrder.STATUS, [5, 2, 3, 1], [1, 3, 2, 5]),
            (DeviceOrder.VERSION, [1, 2, 3, 5], [2, 1, 3, 5]),
            (DeviceOrder.P95, [3, 1, 2, 5], [1, 2, 3, 5]),
            (DeviceOrder.SEEN, [5, 3, 2, 1], [2, 3, 5, 1]),
            (DeviceOrder.AGENT, [1, 5, 3, 2], [2, 3, 1, 5]),
        ],
    )
    def test_order(self, store: Store, order: DeviceOrder, ascending: list[int], descending: list[int]) -> None:
        assert self.numbers(store, order=order) == ascending
        assert self.numbers(store, order=order, descending=True) == descending

    def test_order_by_version_is_of_the_model_asked_for(self, store: Store) -> None:
        assert self.numbers(store, order=DeviceOrder.VERSION, model=DIGITS) == [2, 1, 3]

    def test_count_by_status_leaves_the_status_asked_for_aside(self, store: Store) -> None:
        query = DeviceQuery(now_s=NOW, status=Status.ONLINE, page=Page(limit=1))
        with store.read() as tables:
            assert tables.devices.by_status(query) == {
                Status.PENDING: 1,
                Status.ONLINE: 1,
                Status.OFFLINE: 1,
                Status.UPDATING: 1,
            }

    def test_selector_never_means_a_decommissioned_device(self, store: Store) -> None:
        with store.read() as tables:
            found = tables.devices.matching(selector.parse("device in (camera-4, camera-3, camera-1)"))
        assert [each.id for each in found] == [camera(1), camera(3)]
