"""The latency histogram: exact merging, bounded error, and a wire form that hostile bytes cannot break."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_contract.errors import Malformed
from pinnace_contract.histogram import Histogram, bucket_of, pack_varints, unpack_varints, upper_bound_of
from pinnace_contract.latest import LatencyCounts


@given(st.lists(st.floats(1e-8, 1e5), min_size=1, max_size=200), st.integers(1, 100))
def test_quantile_is_within_its_stated_error(values: list[float], percent: int) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    rank = max(1, math.ceil(percent / 100 * len(values)))
    exact = sorted(values)[rank - 1]
    found = histogram.quantile(percent / 100)
    assert found is not None
    assert abs(found / exact - 1) < 0.0221


@given(st.lists(st.floats(0, 1e7), max_size=100), st.lists(st.floats(0, 1e7), max_size=100))
def test_merging_is_counting_together(left: list[float], right: list[float]) -> None:
    together, a, b = Histogram(), Histogram(), Histogram()
    for value in left:
        a.add(value)
        together.add(value)
    for value in right:
        b.add(value)
        together.add(value)
    a.merge(b)
    assert (a.buckets, a.zero) == (together.buckets, together.zero)
    back = Histogram.from_wire(a.to_wire())
    assert (back.buckets, back.zero) == (a.buckets, a.zero)


def test_bucket_bounds_include_their_upper_end() -> None:
    for index in (-160, -1, 0, 15, 16):
        bound = upper_bound_of(index)
        assert bucket_of(bound * 0.999) == index
        assert bucket_of(bound * 1.001) == index + 1
    assert bucket_of(1.0) == -1  # one second is the upper bound of (2^(-1/16), 1]
    assert bucket_of(0.0) is None
    assert bucket_of(-1.0) is None
    assert bucket_of(float("nan")) is None


def test_600_observations_are_about_a_hundred_bytes() -> None:
    chance = random.Random(7)
    histogram = Histogram()
    for _ in range(600):
        histogram.add(chance.lognormvariate(-4.5, 0.5))
    assert len(histogram.to_wire().counts) < 110


def test_count_above_counts_whole_buckets() -> None:
    histogram = Histogram()
    for value in (0.001, 0.002, 0.010, 0.020):
        histogram.add(value)
    assert histogram.count_above(0.005) == 2


@given(st.lists(st.integers(0, 2**50), max_size=50))
def test_varints_come_back(numbers: list[int]) -> None:
    assert unpack_varints("numbers", pack_varints(numbers)) == numbers


@pytest.mark.parametrize("data", [b"\x80", b"\xff" * 9 + b"\x01"])
def test_broken_varints_are_typed_errors(data: bytes) -> None:
    with pytest.raises(Malformed):
        unpack_varints("numbers", data)


def test_buckets_outside_the_grid_are_refused() -> None:
    with pytest.raises(Malformed, match="buckets"):
        Histogram.from_wire(LatencyCounts(offset=1000, counts=b"\x01"))


def test_an_empty_histogram_has_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None
