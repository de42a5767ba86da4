"""Which variant a device tries first: by a rule, by what was measured, and as released where nothing was."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_contract.ids import Digest, ReleaseId
from pinnace_contract.latest import Blob, Chunk, Parity, Precision, Runtime, Variant
from pinnace_server.domain.variants import (
    AsReleased,
    Choice,
    Fastest,
    Known,
    MostAccurate,
    ProfileSource,
    Smallest,
    VariantProfile,
    VariantRule,
    choose,
)

MB = 1_000_000


def variant(precision: Precision, *, size: int = MB, peak: int = 1, agreement: float | None = None) -> Variant:
    digest = Digest(hashlib.sha256(precision.encode()).hexdigest())
    return Variant(
        blob=Blob(digest=digest, size_bytes=size, chunks=(Chunk(digest=digest, size_bytes=size),)),
        runtime=Runtime.ONNX,
        precision=precision,
        peak_memory_bytes=peak,
        parity=None if agreement is None else Parity(samples=100, agreement=agreement),
    )


FP32 = variant(Precision.FP32, size=4 * MB, peak=4_000)
INT8 = variant(Precision.INT8_STATIC, size=1_200_000, peak=1_000, agreement=0.98)
FP16 = variant(Precision.FP16, size=2 * MB, peak=2_000, agreement=0.999)
ALL = (FP32, INT8, FP16)


def known(p95_ms: float, **changes: object) -> Known:
    return replace(Known(p95_ms=p95_ms, results=212, source=ProfileSource.TRIAL_RECEIPTS), **changes)  # type: ignore[arg-type]


def chosen(
    rule: VariantRule,
    of: dict[Variant, Known] | None = None,
    *,
    among: Sequence[Variant] = ALL,
    memory_bytes: int | None = None,
) -> Choice:
    measured = {each.digest: what for each, what in (of or {}).items()}
    return choose(rule, among, measured, hardware="jetson", memory_bytes=memory_bytes)


def order(*wanted: Variant) -> tuple[Digest, ...]:
    return tuple(each.digest for each in wanted)


@pytest.mark.parametrize("rule", [Fastest(), MostAccurate(p95_ms=10), AsReleased()])
def test_without_data_the_order_is_the_releases(rule: VariantRule) -> None:
    assert chosen(rule) == Choice(variants=order(*ALL), why="")


def test_fastest_says_what_it_goes_by() -> None:
    found = chosen(Fastest(), {FP32: known(11), INT8: known(4.1)})
    assert found.variants == order(INT8, FP32, FP16)
    assert found.why == "int8-static because 4.1 ms p95 on jetson, fp32 11 ms; from 212 receipts"


def test_measured_variants_change_places_among_themselves_only() -> None:
    assert chosen(Fastest(), {FP32: known(11), FP16: known(4)}).variants == order(FP16, INT8, FP32)


def test_one_measured_variant_alone_is_compared_with_nobody() -> None:
    assert chosen(Fastest(), {INT8: known(1)}) == Choice(variants=order(*ALL), why="")


def test_difference_of_less_than_a_tenth_moves_nobody() -> None:
    assert chosen(Fastest(), {FP32: known(10), INT8: known(9.5)}).variants == order(*ALL)
    assert chosen(Fastest(), {FP32: known(10), INT8: known(9.0)}).variants[0] == INT8.digest


def test_smallest_goes_by_bytes() -> None:
    found = chosen(Smallest())
    assert found.variants == order(INT8, FP16, FP32)
    assert found.why == "int8-static because 1.2 MB, fp16 2 MB, fp32 4 MB"


def test_most_accurate_of_those_that_meet_the_target() -> None:
    measured = {FP32: known(30), INT8: known(4), FP16: known(8)}
    found = chosen(MostAccurate(p95_ms=10), measured)
    assert found.variants[0] == FP16.digest
    assert "it meets 10 ms and is right in 99.90%: 8 ms p95 on jetson" in found.why
    assert chosen(MostAccurate(p95_ms=40), measured).variants[0] == FP32.digest
    none = chosen(MostAccurate(p95_ms=1), measured)
    assert none.variants[0] == INT8.digest
    assert none.why.endswith("none meets 1 ms")


def test_what_does_not_fit_goes_last_and_is_said() -> None:
    found = chosen(Fastest(), memory_bytes=3_000)
    assert found.variants == order(INT8, FP16, FP32)
    assert found.why == "int8-static because fp32 does not fit into its memory"
    peaked = chosen(Fastest(), {INT8: known(1, peak_memory_bytes=9_000), FP16: known(5)}, memory_bytes=3_000)
    assert peaked.variants == order(FP16, FP32, INT8), "what was measured counts more than what was declared"


def test_earlier_version_and_measurement_are_named() -> None:
    earlier = known(4, of_version="3", results=1)
    assert chosen(Fastest(), {FP32: known(11), INT8: earlier}).why.endswith("from 1 receipt of version 3")
    measured = known(4, source=ProfileSource.MEASURED_ON_DEVICE)
    assert chosen(Fastest(), {FP32: known(11), INT8: measured}).why.endswith("from measurements on a device")


# --- whatever is known ------------------------------------------------------------------------------------------------

rules = st.one_of(
    st.just(AsReleased()),
    st.just(Fastest()),
    st.just(Smallest()),
    st.builds(MostAccurate, p95_ms=st.floats(0.1, 100)),
)
tables = st.dictionaries(
    st.sampled_from(ALL), st.builds(known, st.floats(0.01, 1_000), peak_memory_bytes=st.none() | st.integers(0, 5_000))
)


@given(rules, tables, st.permutations(ALL), st.none() | st.integers(0, 5_000))
def test_every_variant_stays_and_the_same_is_chosen_again(
    rule: VariantRule, table: dict[Variant, Known], among: Sequence[Variant], memory_bytes: int | None
) -> None:
    found = chosen(rule, table, among=among, memory_bytes=memory_bytes)
    assert sorted(found.variants) == sorted(each.digest for each in among)
    assert chosen(rule, table, among=among, memory_bytes=memory_bytes) == found


@given(tables, st.permutations(ALL))
def test_first_is_never_much_slower_than_another_measured_one(
    table: dict[Variant, Known], among: Sequence[Variant]
) -> None:
    found = chosen(Fastest(), table, among=among)
    if len(table) < 2:
        assert found.variants == order(*among)
        return
    times = {each.digest: what.p95_ms for each, what in table.items()}
    first = next(each for each in found.variants if each in times)
    assert times[first] <= 1.1 * min(times.values()) * (1 + 1e-9)


profiles = st.builds(
    VariantProfile,
    release=st.just(ReleaseId("r")),
    variant=st.just(FP32.digest),
    hardware=st.just("jetson"),
    runtime=st.just("onnxruntime 1.20"),
    source=st.just(ProfileSource.TRIAL_RECEIPTS),
    p50_ms=st.floats(0.1, 100),
    p95_ms=st.floats(0.1, 100),
    peak_memory_bytes=st.none() | st.integers(0, 10),
    inferences=st.integers(0, 100),
    results=st.integers(1, 10),
    at_s=st.floats(0, 10),
)


@given(profiles, profiles)
def test_results_add_up_in_any_order_and_each_counts_once(one: VariantProfile, other: VariantProfile) -> None:
    both, swapped = one.plus(other), other.plus(one)
    assert both.results == one.results + other.results
    assert both.p95_ms * both.results == pytest.approx(one.p95_ms * one.results + other.p95_ms * other.results)
    assert replace(swapped, p50_ms=both.p50_ms, p95_ms=both.p95_ms) == both
    assert swapped.p95_ms == pytest.approx(both.p95_ms)
