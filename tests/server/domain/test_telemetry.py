"""Reports count once, and add up the same in any order, whatever devices claim."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_contract.errors import Malformed
from pinnace_contract.histogram import Histogram
from pinnace_contract.ids import BootId, DeviceId, Digest, IncarnationId, ModelName, ReleaseId
from pinnace_contract.latest import Block, ErrorCount, FeatureCounts, LatencyCounts, Predictions, Report
from pinnace_server.domain import telemetry
from pinnace_server.domain.records import FeatureTotals, Minute, ReceivedRange
from pinnace_server.domain.telemetry import COUNT_MAX, Coverage

DEVICE, BOOT = DeviceId("camera"), BootId("b" * 32)
MINUTE = Minute(
    device=DEVICE, model=ModelName("digits"), release=ReleaseId("a" * 64), variant=Digest("c" * 64), minute=5
)
counts = st.integers(0, 2**53 - 1)


def known(*ranges: tuple[int, int]) -> list[ReceivedRange]:
    return [ReceivedRange(device=DEVICE, boot=BOOT, seq_from=low, seq_to=high) for low, high in ranges]


@pytest.mark.parametrize(
    ("had", "asked", "coverage"),
    [
        ([], (1, 1), Coverage.NEW),
        ([(1, 3)], (4, 4), Coverage.NEW),
        ([(1, 3)], (2, 2), Coverage.KNOWN),
        ([(1, 3)], (1, 3), Coverage.KNOWN),
        ([(1, 1), (2, 2)], (1, 2), Coverage.KNOWN),
        ([(1, 3)], (3, 4), Coverage.PARTLY_KNOWN),
        ([(1, 1), (3, 3)], (1, 3), Coverage.PARTLY_KNOWN),
    ],
)
def test_numbers_are(had: list[tuple[int, int]], asked: tuple[int, int], coverage: Coverage) -> None:
    assert telemetry.coverage(known(*had), *asked) is coverage


@given(st.lists(st.integers(0, 60), unique=True), st.randoms())
def test_numbers_that_came_in_any_order_are_all_accounted_for(numbers: list[int], random: object) -> None:
    ranges: tuple[ReceivedRange, ...] = ()
    for number in numbers:
        assert telemetry.coverage(ranges, number, number) is Coverage.NEW
        ranges = telemetry.joined([*ranges, *known((number, number))])
    assert sorted(n for each in ranges for n in range(each.seq_from, each.seq_to + 1)) == sorted(numbers)
    assert all(later.seq_from > earlier.seq_to + 1 for earlier, later in pairwise(ranges))


def test_gaps_are_remembered_only_so_far() -> None:
    ranges = telemetry.joined(known(*((n, n) for n in range(0, 4 * telemetry.RANGES_MAX, 2))))
    assert len(ranges) == telemetry.RANGES_MAX
    assert telemetry.coverage(ranges, 1, 1) is Coverage.KNOWN  # the oldest gap is closed
    assert telemetry.coverage(ranges, 4 * telemetry.RANGES_MAX - 3, 4 * telemetry.RANGES_MAX - 3) is Coverage.NEW


@st.composite
def minutes(draw: st.DrawFn) -> Minute:
    return replace(
        MINUTE,
        n=draw(st.integers(0, 1000)),
        errors=draw(st.dictionaries(st.sampled_from(["crash", "timeout"]), st.integers(0, 9))),
        latency=draw(st.dictionaries(st.integers(-480, 319), st.integers(1, 50), max_size=5)),
        predictions=draw(st.integers(0, 1000)),
        confidence=tuple(draw(st.lists(st.integers(0, 9), max_size=16))),
        features=draw(
            st.dictionaries(
                st.sampled_from([Digest("d" * 64)]),
                st.builds(FeatureTotals, counts=st.lists(st.integers(0, 9), max_size=4).map(tuple)),
            )
        ),
    )


@given(minutes(), minutes(), minutes())
def test_minutes_add_up_the_same_in_any_order(one: Minute, two: Minute, three: Minute) -> None:
    merged = telemetry.merged
    assert merged(merged(one, two), three) == merged(one, merged(two, three)) == merged(merged(three, two), one)


@given(st.lists(counts, min_size=1, max_size=3))
def test_whatever_a_device_claims_stays_within_a_database_integer(claimed: list[int]) -> None:
    blocks = [
        Block(
            model=MINUTE.model,
            release=MINUTE.release,
            variant=MINUTE.variant,
            n=n,
            errors=(ErrorCount(name="crash", n=n),),
            predictions=Predictions(n=n, below=n, confidence=(n,) * 16),
        )
        for n in claimed
    ]
    report = Report(
        device=DEVICE,
        incarnation=IncarnationId("e" * 32),
        boot=BOOT,
        seq_from=1,
        seq_to=1,
        from_s=0,
        to_s=60,
        blocks=tuple(blocks),
    )
    total = MINUTE
    for minute in telemetry.minutes_of(DEVICE, report, 60.0):
        total = telemetry.merged(total, minute)
    assert total.n <= COUNT_MAX
    assert sum(total.errors.values()) <= COUNT_MAX
    assert max(total.confidence) <= COUNT_MAX


@pytest.mark.parametrize(
    ("to_s", "received_s", "minute"),
    [
        pytest.param(600.0, 610.0, 10, id="now"),
        pytest.param(600.0, 86_400.0 + 600, 10, id="spooled for a day"),
        pytest.param(0.0, 1.8e9, int(1.8e9 // 60), id="a clock at 1970"),
        pytest.param(2.3e9, 1.8e9, int(1.8e9 // 60), id="a clock in 2042"),
    ],
)
def test_window_belongs_to_the_minute_of_a_clock_that_can_be_right(to_s: float, received_s: float, minute: int) -> None:
    assert telemetry.minute_of(to_s, received_s) == minute


@pytest.mark.parametrize(
    "block",
    [
        {"latency": LatencyCounts(offset=1000, counts=b"\x01")},
        {"latency": LatencyCounts(counts=b"\xff")},
        {"predictions": Predictions(n=1, classes=b"\xff" * 20)},
        {"features": FeatureCounts(baseline=Digest("d" * 64), counts=b"\x80")},
    ],
)
def test_counts_that_cannot_be_read_are_refused(block: dict[str, object]) -> None:
    report = Report(
        device=DEVICE,
        incarnation=IncarnationId("e" * 32),
        boot=BOOT,
        seq_from=1,
        seq_to=1,
        from_s=0,
        to_s=60,
        blocks=(Block(model=MINUTE.model, release=MINUTE.release, variant=MINUTE.variant, **block),),  # type: ignore[arg-type]
    )
    with pytest.raises(Malformed):
        telemetry.minutes_of(DEVICE, report, 60.0)


def test_percentiles_are_those_of_all_minutes_together() -> None:
    fast, slow = Histogram(), Histogram()
    for _ in range(90):
        fast.add(0.001)
    for _ in range(10):
        slow.add(0.1)
    rows = [replace(MINUTE, latency=fast.buckets), replace(MINUTE, latency=slow.buckets)]
    p95 = telemetry.histogram_of(rows).quantile(0.95)
    assert p95 == pytest.approx(0.1, rel=0.03)
