"""Counts merge exactly, in any grouping."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_contract import codec
from pinnace_contract.errors import BadField
from pinnace_contract.histogram import Histogram, unpack_varints
from pinnace_contract.latest import Arm, Block, ErrorCount, GroupCounts, LatencyCounts, OutcomeCounts, Report
from pinnace_contract.merging import merge_all, merge_blocks, merge_reports
from tests.contract import examples

BLOCK = dataclasses.replace(examples.REPORT.blocks[0], latency=LatencyCounts(offset=-160, counts=bytes([3, 5])))


def test_every_count_is_added() -> None:
    twice = merge_blocks(BLOCK, BLOCK)
    assert (twice.n, twice.slow) == (2 * BLOCK.n, 2 * BLOCK.slow)
    assert twice.errors == (ErrorCount(name="runtime", n=4),)
    assert Histogram.from_wire(twice.latency).n == 16
    assert twice.features is not None
    assert unpack_varints("counts", twice.features.counts) == [2, 4, 6]
    assert twice.features.sums == (3.0,)
    assert twice.predictions is not None
    assert (twice.predictions.n, twice.predictions.below, twice.predictions.confidence) == (1196, 120, (0, 0, 2))
    assert twice.labels is not None
    assert (twice.labels.n, twice.labels.errors) == (100, 2)
    assert twice.groups[0].n == 10


def test_outcomes_of_one_metric_add_and_the_later_metric_takes_the_place_of_another() -> None:
    def block(metric: str, trials: int) -> Block:
        return dataclasses.replace(BLOCK, outcome=OutcomeCounts(metric=metric, trials=trials, successes=1))

    assert merge_blocks(block("a", 5), block("a", 3)).outcome == OutcomeCounts(metric="a", trials=8, successes=2)
    assert merge_blocks(block("a", 5), block("b", 3)).outcome == OutcomeCounts(metric="b", trials=3, successes=1)
    none = dataclasses.replace(BLOCK, outcome=None)
    assert merge_blocks(none, block("a", 5)).outcome == merge_blocks(block("a", 5), none).outcome


def test_more_groups_than_a_block_has_are_counted_together() -> None:
    def block(first: int) -> Block:
        groups = tuple(GroupCounts(name=f"g{n}", n=2, errors=1, positives=1) for n in range(first, first + 12))
        return dataclasses.replace(BLOCK, groups=groups)

    merged = merge_blocks(block(0), block(10)).groups
    assert len(merged) == 16
    assert {each.name: each.n for each in merged} == {
        **{f"g{n}": 4 if n in (10, 11) else 2 for n in range(15)},
        "other": 2 * 7,
    }
    assert codec.from_cbor(
        Report, codec.to_cbor(dataclasses.replace(examples.REPORT, blocks=(merge_blocks(block(0), block(10)),)))
    )


def test_blocks_of_other_arms_are_not_added() -> None:
    shadow = dataclasses.replace(BLOCK, arm=Arm.SHADOW)
    assert len(merge_all([BLOCK, shadow, BLOCK])) == 2
    with pytest.raises(BadField):
        merge_blocks(BLOCK, shadow)


def test_counts_of_another_baseline_are_refused() -> None:
    assert BLOCK.features is not None
    other = dataclasses.replace(BLOCK, features=dataclasses.replace(BLOCK.features, baseline=examples.digest("other")))
    with pytest.raises(BadField, match="baseline"):
        merge_blocks(BLOCK, other)


def report(seq: int, n: int) -> Report:
    return dataclasses.replace(
        examples.REPORT,
        seq_from=seq,
        seq_to=seq,
        from_s=60.0 * seq,
        to_s=60.0 * seq + 60,
        blocks=(dataclasses.replace(BLOCK, n=n),),
    )


@given(st.lists(st.integers(0, 100), min_size=2, max_size=8), st.integers(1, 7))
def test_merging_in_two_steps_is_merging_at_once(counts: list[int], cut: int) -> None:
    reports = [report(seq, n) for seq, n in enumerate(counts)]
    at_once = merge_reports(reports)
    cut = min(cut, len(reports) - 1)
    assert merge_reports([merge_reports(reports[:cut]), merge_reports(reports[cut:])]) == at_once
    assert at_once.blocks[0].n == sum(counts)
    assert (at_once.seq_from, at_once.seq_to) == (0, len(counts) - 1)
    assert codec.from_cbor(Report, codec.to_cbor(at_once)) == at_once


def test_a_gap_in_the_numbers_is_refused() -> None:
    with pytest.raises(BadField):
        merge_reports([report(1, 1), report(3, 1)])
    with pytest.raises(BadField):
        merge_reports([])
