"""Latencies of ten minutes: packed they count as unpacked, add up exactly, and stay readable whatever is claimed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_contract.errors import Malformed
from pinnace_contract.histogram import INDEX_MAX, INDEX_MIN, Histogram
from pinnace_server.domain.packed_histogram import PackedHistogram, together
from pinnace_server.domain.telemetry import COUNT_MAX

histograms = st.builds(
    Histogram,
    st.dictionaries(st.integers(INDEX_MIN, INDEX_MAX), st.integers(0, 1000), max_size=8),
    st.integers(0, 300),
)


def shown(histogram: Histogram) -> tuple[int, dict[int, int]]:
    return histogram.zero, {index: n for index, n in histogram.buckets.items() if n}


@given(histograms)
def test_packed_histogram_comes_back(histogram: Histogram) -> None:
    assert shown(together([PackedHistogram.of(histogram)])) == shown(histogram)


@given(histograms, st.integers(INDEX_MIN - 1, INDEX_MAX))
def test_packed_histogram_counts_as_the_histogram_does(histogram: Histogram, bucket: int) -> None:
    above = sum(n for index, n in histogram.buckets.items() if index > bucket)
    assert PackedHistogram.of(histogram).above(bucket) == (histogram.n, above)


@given(st.lists(histograms, max_size=5), st.randoms())
def test_order_of_adding_does_not_matter(several: list[Histogram], random: object) -> None:
    def added(those: list[Histogram]) -> PackedHistogram:
        total = PackedHistogram()
        for each in those:
            total = total.plus(each.buckets, each.zero)
        return total

    shuffled = several.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert added(several) == added(shuffled)
    assert shown(together([added(several)])) == shown(together(map(PackedHistogram.of, several)))


def test_nothing_is_no_bytes() -> None:
    assert PackedHistogram.of(Histogram({3: 0})) == PackedHistogram()
    assert PackedHistogram().above(0) == (0, 0)


def test_claims_without_measure_stay_readable() -> None:
    total = PackedHistogram()
    for _ in range(3):
        total = total.plus({INDEX_MIN: COUNT_MAX, INDEX_MAX: COUNT_MAX}, COUNT_MAX)
    assert total.above(INDEX_MIN) == (3 * COUNT_MAX, COUNT_MAX)
    assert len(total.packed) < 900


def test_ten_minutes_are_a_few_dozen_bytes() -> None:
    histogram = Histogram()
    for n in range(600):
        histogram.add(0.02 + 0.0001 * (n % 97))
    assert len(PackedHistogram.of(histogram).packed) < 30


def test_broken_bytes_are_a_typed_error() -> None:
    with pytest.raises(Malformed, match="packed latency counts"):
        PackedHistogram(packed=b"\x00\x10\x01\x80").above(0)
