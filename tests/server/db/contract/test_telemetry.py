"""Receipts and reports, over both databases."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from pinnace_contract.histogram import Histogram
from pinnace_contract.ids import BootId, ReceiptId, VersionName
from pinnace_contract.latest import Arm, Outcome
from pinnace_server.domain import telemetry
from pinnace_server.domain.gates.streams import Tally
from pinnace_server.domain.packed_histogram import PackedHistogram
from pinnace_server.domain.queries import Page, ReceiptQuery
from pinnace_server.domain.records import Counts, FeatureTotals, Minute, ReceiptRecord, ReceivedRange
from pinnace_server.service.ports import Store
from tests.server.db.contract.rows import (
    BOOT,
    DIGITS,
    FIRST,
    NOW,
    SECOND,
    VIOLATED,
    WORDS,
    camera,
    digest,
    fleet,
    minute,
    receipt,
    received,
    release,
    stretch,
    undone,
    written,
)


@pytest.fixture(autouse=True)
def devices(store: Store) -> None:
    fleet(store, 3)


def pruned(store: Store, *, minute_before: int = 0, stretch_before: int = 0, raw_before_s: float = 0.0) -> int:
    return written(
        store,
        lambda tables: tables.reports.prune(
            minute_before=minute_before, stretch_before=stretch_before, raw_before_s=raw_before_s
        ),
    )


def add(store: Store, *receipts: ReceiptRecord) -> None:
    with store.write() as tables:
        for each in receipts:
            tables.receipts.add(each)


class TestReceipts:
    def test_receipt_is_found_by_id_and_by_counter(self, store: Store) -> None:
        said = receipt(1, 7, counted=False)
        add(store, said)
        with store.read() as tables:
            assert tables.receipts.get(said.id) == said
            assert tables.receipts.get(ReceiptId("unknown")) is None
            assert tables.receipts.of_counter(camera(1), FIRST, 7) == said
            assert tables.receipts.of_counter(camera(1), SECOND, 7) is None
            assert tables.receipts.of_counter(camera(1), FIRST, 8) is None
            assert tables.receipts.of_counter(camera(2), FIRST, 7) is None

    def test_of_two_with_one_counter_the_first_is_found(self, store: Store) -> None:
        add(store, receipt(1, 7, named="z"), receipt(1, 7, named="a"))
        with store.read() as tables:
            assert tables.receipts.of_counter(camera(1), FIRST, 7) == receipt(1, 7, named="z")

    @pytest.mark.parametrize("wrong", [receipt(1, 1), receipt(9, 1)], ids=["there already", "of nobody"])
    def test_receipt_that_cannot_be_is_refused(self, store: Store, wrong: ReceiptRecord) -> None:
        add(store, receipt(1, 1))
        with pytest.raises(VIOLATED):
            add(store, wrong)

    @pytest.mark.parametrize(
        ("said", "has"),
        [
            ({"counter": 4}, True),
            ({"counter": 5}, False),
            ({"counter": 6}, False),
            ({"counter": 1, "generation": 2}, False),
            ({"counter": 1, "model": WORDS}, False),
            ({"counter": 1, "incarnation": SECOND}, False),
            ({"counter": 1, "device": camera(2)}, False),
            ({"counter": 1, "attempt": 9, "outcome": Outcome.FAILED}, True),
        ],
    )
    def test_later_word_is_of_the_same_store_model_and_generation(
        self, store: Store, said: dict[str, object], has: bool
    ) -> None:
        add(store, receipt(1, 5, named="a"), receipt(1, 3, named="b"))
        undone(store, lambda tables: tables.receipts.add(receipt(1, 9, named="c")))
        with store.read() as tables:
            assert tables.receipts.has_later(replace(receipt(1).body, **said)) is has  # type: ignore[arg-type]

    def test_receipts_of_a_store_that_did_not_count_are_let_count(self, store: Store) -> None:
        doubted = [receipt(1, counter, named=f"r{counter}", counted=False) for counter in (3, 2)]
        twice = receipt(1, 2, named="again", counted=False)
        others = [receipt(1, 2, named="o", incarnation=SECOND, counted=False), receipt(2, 2, named="p", counted=False)]
        add(store, receipt(1, 1, named="counts"), *doubted, twice, *others)
        undone(store, lambda tables: tables.receipts.count(camera(1), FIRST))
        with store.write() as tables:
            assert tables.receipts.count(camera(1), FIRST) == [each.body for each in reversed(doubted)]
        with store.write() as tables:
            assert tables.receipts.count(camera(1), FIRST) == []
            assert [tables.receipts.get(each.id) for each in doubted] == [
                replace(each, counted=True) for each in doubted
            ]
            assert [tables.receipts.get(each.id) for each in (twice, *others)] == [twice, *others]

    def test_highest_attempt_of_each_device(self, store: Store) -> None:
        add(
            store,
            receipt(2, 1, named="a", attempt=3),
            receipt(2, 2, named="b", attempt=2),
            receipt(1, 1, named="c", attempt=1, counted=False),
            receipt(3, 1, named="d", attempt=5, release=release("2")),
            receipt(3, 2, named="e", attempt=7, release=None),
        )
        undone(store, lambda tables: tables.receipts.add(receipt(2, 3, named="f", attempt=9)))
        with store.read() as tables:
            found = tables.receipts.attempts(iter([camera(2), camera(1), camera(3), camera(9)]), release("1"))
            assert list(found.items()) == [(camera(1), 1), (camera(2), 3)]
            assert tables.receipts.attempts([], release("1")) == {}

    def test_outcomes_that_count_by_version(self, store: Store) -> None:
        add(
            store,
            receipt(1, 1, named="a"),
            receipt(2, 1, named="b"),
            receipt(3, 1, named="c", outcome=Outcome.FAILED),
            receipt(3, 2, named="d", version=VersionName("2")),
            receipt(3, 3, named="e", version=None),
            receipt(3, 4, named="f", counted=False),
            receipt(3, 5, named="g", model=WORDS),
        )
        with store.read() as tables:
            one, two = VersionName("1"), VersionName("2")
            expected = {(one, "committed"): 2, (one, "failed"): 1, (two, "committed"): 1}
            assert tables.receipts.outcomes(DIGITS) == expected
            assert tables.receipts.outcomes(WORDS) == {(one, "committed"): 1}

    @pytest.mark.parametrize(
        ("query", "names", "total"),
        [
            (ReceiptQuery(), "dbca", 4),
            (ReceiptQuery(device=camera(1)), "ca", 2),
            (ReceiptQuery(model=WORDS), "b", 1),
            (ReceiptQuery(version=VersionName("2")), "d", 1),
            (ReceiptQuery(outcome=Outcome.FAILED), "c", 1),
            (ReceiptQuery(outcome=Outcome.COMMITTED, device=camera(1)), "a", 1),
            (ReceiptQuery(page=Page(limit=2, offset=1)), "bc", 4),
        ],
    )
    def test_listing_is_newest_first(self, store: Store, query: ReceiptQuery, names: str, total: int) -> None:
        add(
            store,
            receipt(1, 1, named="a", at_s=1.0),
            receipt(1, 2, named="c", at_s=2.0, outcome=Outcome.FAILED),
            receipt(2, 1, named="b", at_s=2.0, model=WORDS),
            receipt(3, 1, named="d", at_s=3.0, version=VersionName("2")),
        )
        with store.read() as tables:
            found = tables.receipts.listing(query)
        assert ("".join(each.id for each in found.rows), found.total) == (names, total)


class TestRanges:
    def ranges(self, store: Store, *added: ReceivedRange) -> list[tuple[int, int, bool]]:
        with store.write() as tables:
            for each in added:
                tables.reports.add_range(each)
        with store.read() as tables:
            found = tables.reports.ranges(camera(1), BOOT)
        return [(each.seq_from, each.seq_to, each.dropped) for each in found]

    def test_numbers_in_a_row_are_one_range(self, store: Store) -> None:
        assert self.ranges(store) == []
        assert self.ranges(store, received(1, 1), received(3, 4)) == [(1, 1, False), (3, 4, False)]
        assert self.ranges(store, received(2, 2)) == [(1, 4, False)]
        assert self.ranges(store, received(3, 6), received(1, 1)) == [(1, 6, False)]

    def test_what_was_dropped_stays_apart(self, store: Store) -> None:
        found = self.ranges(store, received(5, 6), received(7, 8, dropped=True), received(1, 2, dropped=True))
        assert found == [(1, 2, True), (5, 6, False), (7, 8, True)]
        assert self.ranges(store, received(5, 5, dropped=True)) == [
            (1, 2, True),
            (5, 6, False),
            (5, 5, True),
            (7, 8, True),
        ]

    def test_boots_and_devices_are_apart(self, store: Store) -> None:
        other_boot = replace(received(2, 2), boot=BootId("c" * 32))
        assert self.ranges(store, received(1, 1), other_boot, received(2, 2, n=2)) == [(1, 1, False)]

    def test_oldest_gap_is_closed_beyond_the_limit(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(telemetry, "RANGES_MAX", 3)
        found = self.ranges(store, *(received(10 * n, 10 * n) for n in range(5)))
        assert found == [(0, 20, False), (30, 30, False), (40, 40, False)]

    def test_range_that_was_undone_is_not_known(self, store: Store) -> None:
        self.ranges(store, received(1, 1))
        undone(store, lambda tables: tables.reports.add_range(received(2, 2)))
        assert self.ranges(store) == [(1, 1, False)]

    def test_listing_is_by_device_and_boot(self, store: Store) -> None:
        other_boot = replace(received(1, 3), boot=BootId("a" * 32))
        added = [received(5, 5, n=2), received(3, 4), received(1, 1, dropped=True), received(1, 1), other_boot]
        self.ranges(store, *added)
        of_first = (other_boot, received(1, 1), received(1, 1, dropped=True), received(3, 4))
        with store.read() as tables:
            assert tables.reports.received(Page()).rows == (*of_first, received(5, 5, n=2))
            assert tables.reports.received(Page(), camera(1)).rows == of_first
            third = tables.reports.received(Page(limit=1, offset=2))
            assert (third.rows, third.total) == ((received(1, 1, dropped=True),), 5)
            assert tables.reports.received(Page(), camera(3)).total == 0

    def test_range_of_nobody_is_refused(self, store: Store) -> None:
        with pytest.raises(VIOLATED):
            written(store, lambda tables: tables.reports.add_range(received(1, 1, n=9)))


FULL = minute(
    1,
    10,
    n=5,
    errors={"b": 2, "a": 1},
    slow=1,
    latency_zero=1,
    latency={-3: 2, 4: 3},
    predictions=4,
    below=2,
    confidence=(0, 1, 0),
    classes=(7, 0, 0),
    labels=3,
    label_errors=1,
    outcomes={"accepted": (5, 3)},
    groups={"night": (3, 1, 2), "Tag & Nacht": (2, 0, 1)},
    features={digest("baseline"): FeatureTotals(counts=(1, 2), sums=(0.5,), squares=(0.25,))},
)
COUNTED = Counts(n=5, errors=3, predictions=4, below=2, labels=3, label_errors=1)


class TestMinutes:
    def merge(self, store: Store, *minutes: Minute) -> None:
        with store.write() as tables:
            for each in minutes:
                tables.reports.merge(each)

    def counts(self, store: Store, *devices: int, version: str = "1") -> Counts:
        with store.read() as tables:
            return tables.reports.counts(iter([camera(n) for n in devices]), release(version))

    def test_minute_comes_back_whole(self, store: Store) -> None:
        self.merge(store, FULL)
        with store.read() as tables:
            (found,) = tables.reports.minutes(camera(1), None, 10, 10)
        assert found == FULL
        assert [list(found.errors), list(found.latency)] == [["b", "a"], [-3, 4]]

    def test_buckets_without_counts_are_not_kept(self, store: Store) -> None:
        self.merge(store, minute(1, 10, latency={9: 1, 2: 0, 5: 3}))
        with store.read() as tables:
            (found,) = tables.reports.minutes(camera(1), None, 10, 10)
        assert list(found.latency.items()) == [(5, 3), (9, 1)]

    def test_minutes_of_one_key_are_added(self, store: Store) -> None:
        self.merge(store, FULL, FULL)
        with store.read() as tables:
            assert list(tables.reports.minutes(camera(1), DIGITS, 0, 99)) == [telemetry.merged(FULL, FULL)]
        assert self.counts(store, 1) == COUNTED.plus(COUNTED)

    def test_minutes_of_other_keys_stand_apart_and_in_order(self, store: Store) -> None:
        others = [
            replace(FULL, minute=9),
            replace(FULL, model=WORDS),
            replace(FULL, release=release("2")),
            replace(FULL, variant=digest("another")),
            replace(FULL, arm=Arm.SHADOW),
            replace(FULL, minute=11),
        ]
        self.merge(store, *reversed(others), FULL, replace(FULL, device=camera(2)))

        def key(one: Minute) -> tuple[object, ...]:
            return one.minute, one.model, one.release, one.variant, one.arm

        with store.read() as tables:
            assert list(tables.reports.minutes(camera(1), None, 0, 99)) == sorted([*others, FULL], key=key)
            assert list(tables.reports.minutes(camera(1), WORDS, 0, 99)) == [others[1]]
            assert [each.minute for each in tables.reports.minutes(camera(1), DIGITS, 9, 9)] == [9]
            assert [each.minute for each in tables.reports.minutes(camera(1), None, 11, 20)] == [11]
            assert list(tables.reports.minutes(camera(1), None, 12, 20)) == []
            assert list(tables.reports.minutes(camera(1), None, 11, 9)) == []

    def test_minutes_of_the_fleet_are_those_of_every_device(self, store: Store) -> None:
        of_words = minute(2, 11, model=WORDS)
        self.merge(store, FULL, of_words, minute(3, 12))
        with store.read() as tables:
            assert sorted(each.device for each in tables.reports.fleet_minutes(10, 12)) == [
                camera(1),
                camera(2),
                camera(3),
            ]
            assert list(tables.reports.fleet_minutes(10, 11, DIGITS)) == [FULL]
            assert list(tables.reports.fleet_minutes(11, 11)) == [of_words]

    def test_answers_of_a_device_are_counted_by_model_and_without_shadows(self, store: Store) -> None:
        self.merge(store, minute(1, 1, n=3), minute(1, 2, n=4), minute(1, 4, n=100), minute(2, 2, n=100))
        failed = replace(minute(1, 2, release=release("2"), n=5), errors={"runtime": 2, "timeout": 1})
        self.merge(store, failed, minute(1, 2, model=WORDS, n=6))
        self.merge(store, minute(1, 2, arm=Arm.SHADOW, n=100))
        with store.read() as tables:
            assert list(tables.reports.answered(camera(1), 1, 3).items()) == [
                (DIGITS, Counts(n=12, errors=3)),
                (WORDS, Counts(n=6)),
            ]
            assert dict(tables.reports.answered(camera(3), 1, 3)) == {}

    def test_counts_are_of_each_device_once_and_of_one_release(self, store: Store) -> None:
        self.merge(store, FULL, replace(FULL, device=camera(2), arm=Arm.CANDIDATE), minute(3, 1, n=7))
        self.merge(store, minute(1, 3, release=release("2"), n=100), minute(1, 4, model=WORDS, n=2))
        assert self.counts(store, 1) == COUNTED.plus(Counts(n=2))
        assert self.counts(store, 1, 2, 1, 9) == COUNTED.plus(COUNTED).plus(Counts(n=2))
        assert self.counts(store, 1, version="2") == Counts(n=100)
        assert self.counts(store, 2, version="2") == Counts()
        assert self.counts(store) == Counts()

    def test_what_a_shadow_answered_was_given_to_nobody_and_counts_for_nothing(self, store: Store) -> None:
        self.merge(store, FULL, replace(FULL, arm=Arm.SHADOW, pairs=9, disagreements=4))
        self.merge(store, replace(FULL, arm=Arm.SHADOW, pairs=1, disagreements=1))
        assert self.counts(store, 1) == COUNTED
        with store.read() as tables:
            (shadow,) = [each for each in tables.reports.fleet_minutes(0, 99) if each.arm is Arm.SHADOW]
            assert (shadow.pairs, shadow.disagreements) == (10, 5)
        with store.write() as tables:
            tables.reports.prune(minute_before=99, stretch_before=0, raw_before_s=0)
        assert self.counts(store, 1) == Counts()

    def test_counts_stay_within_what_one_minute_may_hold(self, store: Store) -> None:
        most = minute(1, 1, n=telemetry.COUNT_MAX)
        self.merge(store, most, most, minute(1, 2, n=1))
        assert self.counts(store, 1) == Counts(n=telemetry.COUNT_MAX + 1)

    def test_what_was_undone_counts_nowhere(self, store: Store) -> None:
        self.merge(store, FULL)
        undone(store, lambda tables: tables.reports.merge(FULL))
        undone(store, lambda tables: tables.reports.merge(minute(2, 7, n=1)))
        assert self.counts(store, 1, 2) == COUNTED
        with store.read() as tables:
            assert list(tables.reports.fleet_minutes(0, 99)) == [FULL]

    def test_minute_of_nobody_is_refused(self, store: Store) -> None:
        with pytest.raises(VIOLATED):
            self.merge(store, minute(9, 1))

    def test_pruning_forgets_older_minutes_and_what_they_counted(self, store: Store) -> None:
        self.merge(store, FULL, replace(FULL, minute=11), replace(FULL, minute=9, device=camera(2)))
        undone(store, lambda tables: tables.reports.prune(minute_before=99, stretch_before=99, raw_before_s=0))
        assert self.counts(store, 1, 2) == COUNTED.plus(COUNTED).plus(COUNTED)
        assert (
            written(store, lambda tables: tables.reports.prune(minute_before=9, stretch_before=0, raw_before_s=0)) == 0
        )
        assert (
            written(store, lambda tables: tables.reports.prune(minute_before=11, stretch_before=0, raw_before_s=0)) == 2
        )
        assert self.counts(store, 1, 2) == COUNTED
        with store.read() as tables:
            assert list(tables.reports.fleet_minutes(0, 99)) == [replace(FULL, minute=11)]
        self.merge(store, FULL)
        assert self.counts(store, 1) == COUNTED.plus(COUNTED)


class TestRaw:
    def keep(self, store: Store, n: int, *seqs: int, at_s: float | None = None) -> None:
        with store.write() as tables:
            for seq in seqs:
                tables.reports.keep_raw(camera(n), BOOT, seq, NOW + seq if at_s is None else at_s, b"raw")

    def kept(self, store: Store, before_s: float = NOW + 10_000) -> int:
        """How many there are of a time; they stay."""
        gone = 0
        with pytest.raises(ZeroDivisionError), store.write() as tables:  # noqa: PT012
            gone = tables.reports.prune(minute_before=0, stretch_before=0, raw_before_s=before_s)
            raise ZeroDivisionError
        return gone

    def test_newest_of_each_device_are_kept(self, store: Store) -> None:
        more = telemetry.RAW_PER_DEVICE_MAX + 5
        self.keep(store, 1, *range(more))
        self.keep(store, 2, 1, 2)
        assert self.kept(store) == telemetry.RAW_PER_DEVICE_MAX + 2
        assert self.kept(store, NOW + more - 1) == telemetry.RAW_PER_DEVICE_MAX + 1

    def test_older_one_that_comes_late_is_not_kept_beyond_the_limit(self, store: Store) -> None:
        self.keep(store, 1, *range(10, 10 + telemetry.RAW_PER_DEVICE_MAX))
        self.keep(store, 1, 1)
        assert self.kept(store, NOW + 10) == 0
        assert self.kept(store) == telemetry.RAW_PER_DEVICE_MAX

    def test_equally_old_are_kept_together(self, store: Store) -> None:
        self.keep(store, 1, *range(telemetry.RAW_PER_DEVICE_MAX + 3), at_s=NOW)
        assert self.kept(store) == telemetry.RAW_PER_DEVICE_MAX + 3

    def test_same_report_is_kept_once_under_its_newest_time(self, store: Store) -> None:
        self.keep(store, 1, 1, 2)
        self.keep(store, 1, 1, at_s=NOW + 50)
        assert self.kept(store) == 2
        assert self.kept(store, NOW + 3) == 1

    def test_pruning_forgets_older_ones(self, store: Store) -> None:
        self.keep(store, 1, 1, 2)
        self.keep(store, 2, 1)
        assert (
            written(store, lambda tables: tables.reports.prune(minute_before=0, stretch_before=0, raw_before_s=NOW + 2))
            == 2
        )
        assert self.kept(store) == 1

    def test_report_of_nobody_is_refused(self, store: Store) -> None:
        with pytest.raises(VIOLATED):
            self.keep(store, 9, 1)


class TestStretches:
    def test_a_stretch_is_kept_as_it_is_and_the_newest_word_counts(self, store: Store) -> None:
        first = stretch(1, 7)
        latency = PackedHistogram.of(Histogram({-480: 1, 319: 2**40}, 7))
        later = stretch(
            1,
            7,
            errors=Tally(stale=4).after(100, 5),
            latency=latency,
            below=9,
            classes=(3, 0, 4),
            outcomes={"accepted": (5, 3)},
            groups={"night": (3, 1, 2)},
        )
        for word in (first, later):
            written(store, lambda tables, word=word: tables.reports.save_stretch(word))
        with store.read() as tables:
            key = (later.device, later.model, later.release, later.arm)
            assert tables.reports.stretch(*key, 7) == later
            assert tables.reports.stretch(*key, 8) is None

    def test_they_are_found_by_devices_model_and_time_in_order(self, store: Store) -> None:
        words = [stretch(n, number) for n, number in product((2, 1), (9, 7, 8, 3))]
        for word in words:
            written(store, lambda tables, word=word: tables.reports.save_stretch(word))
        with store.read() as tables:
            found = tables.reports.stretches([camera(2), camera(1), camera(9)], DIGITS, 7, 9)
            assert [(each.device, each.number) for each in found] == [
                (camera(n), number) for n, number in product((1, 2), (7, 8, 9))
            ]
            assert tables.reports.stretches([camera(1)], WORDS, 0, 99) == []

    def test_old_ones_are_forgotten(self, store: Store) -> None:
        for number in (1, 2, 3):
            written(store, lambda tables, number=number: tables.reports.save_stretch(stretch(1, number)))
        assert pruned(store, stretch_before=3) == 2
        with store.read() as tables:
            assert [each.number for each in tables.reports.stretches([camera(1)], DIGITS, 0, 99)] == [3]


class TestArrivals:
    @staticmethod
    def count(store: Store, n: int, number: int, reports: int = 1) -> None:
        written(store, lambda tables: tables.reports.count_arrival(camera(n), number, reports))

    def test_they_add_up_and_are_found_by_devices_and_time(self, store: Store) -> None:
        for n, number, reports in ((1, 7, 1), (1, 7, 4), (1, 9, 2), (2, 8, 1), (1, 3, 1)):
            self.count(store, n, number, reports)
        with store.read() as tables:
            found = tables.reports.arrivals([camera(1), camera(2), camera(9)], 7, 9)
            assert found == {camera(1): {7: 5, 9: 2}, camera(2): {8: 1}}
            assert tables.reports.arrivals([camera(2)], 0, 7) == {}

    def test_of_a_device_that_is_not_there_they_are_refused(self, store: Store) -> None:
        with pytest.raises(VIOLATED):
            self.count(store, 9, 1)

    def test_old_ones_are_forgotten_with_the_stretches(self, store: Store) -> None:
        for number in (1, 2, 3):
            self.count(store, 1, number)
        assert pruned(store, stretch_before=3) == 2
        with store.read() as tables:
            assert tables.reports.arrivals([camera(1)], 0, 99) == {camera(1): {3: 1}}
