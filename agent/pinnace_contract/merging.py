"""Adding what was counted apart: blocks of one (model, release, variant, arm), and reports of one boot.

Counts merge exactly, so minutes merged to hours, and hours to days, lose nothing but their order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from pinnace_contract.errors import BadField
from pinnace_contract.histogram import Histogram, pack_varints, unpack_varints
from pinnace_contract.ids import Digest, ModelName, ReleaseId
from pinnace_contract.v1.enums import Arm
from pinnace_contract.v1.report import (
    Block,
    DroppedRange,
    ErrorCount,
    FeatureCounts,
    GroupCounts,
    Labels,
    LatencyCounts,
    OutcomeCounts,
    Predictions,
    Report,
    ShadowCounts,
)

BlockKey = tuple[ModelName, ReleaseId, Digest, Arm]
ERROR_NAMES_MAX: Final = 16  # the limit of the field; what is beyond is counted under "other"
GROUPS_MAX: Final = 16  # likewise
OTHER_GROUPS: Final = "other"


def block_key(block: Block) -> BlockKey:
    """Return what two blocks must share to be added."""
    return block.model, block.release, block.variant, block.arm


def merge_blocks(a: Block, b: Block) -> Block:
    """Return the counts of both.

    Raises:
        BadField: the blocks are about different things, or binned by different baselines.
        Malformed: counts that are not varints.
    """
    if block_key(a) != block_key(b):
        raise BadField("block", f"the key {block_key(a)}", block_key(b))
    return replace(
        a,
        n=a.n + b.n,
        errors=_merge_errors(a.errors, b.errors),
        slow=a.slow + b.slow,
        latency=_merge_latency(a.latency, b.latency),
        processing=_merge_latency(a.processing, b.processing),
        features=_merge_features(a.features, b.features),
        predictions=_merge_predictions(a.predictions, b.predictions),
        labels=_merge_labels(a.labels, b.labels),
        shadow=_merge_shadow(a.shadow, b.shadow),
        groups=_merge_groups(a.groups, b.groups),
        outcome=_merge_outcome(a.outcome, b.outcome),
    )


def merge_all(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """Return one block for each key, in the order in which the keys first came."""
    merged: dict[BlockKey, Block] = {}
    for block in blocks:
        key = block_key(block)
        merged[key] = merge_blocks(merged[key], block) if key in merged else block
    return tuple(merged.values())


def merge_reports(reports: Sequence[Report]) -> Report:
    """Return one report for consecutive windows of one boot; health is that of the last.

    Raises:
        BadField: none, another boot, or a gap in the numbers.
    """
    if not reports:
        raise BadField("reports", "at least one", 0)
    first, last = reports[0], reports[-1]
    for before, after in itertools.pairwise(reports):
        if after.boot != before.boot or after.seq_from != before.seq_to + 1:
            raise BadField("report.seq_from", f"{before.seq_to + 1} of the same boot", after.seq_from)
    return replace(
        last,
        seq_from=first.seq_from,
        from_s=first.from_s,
        blocks=merge_all(block for report in reports for block in report.blocks),
        dropped=_distinct(gap for report in reports for gap in report.dropped),
    )


def _distinct(gaps: Iterable[DroppedRange]) -> tuple[DroppedRange, ...]:
    return tuple(dict.fromkeys(gaps))


def _merge_errors(a: tuple[ErrorCount, ...], b: tuple[ErrorCount, ...]) -> tuple[ErrorCount, ...]:
    counts: dict[str, int] = {}
    for error in (*a, *b):
        known = error.name in counts or len(counts) < ERROR_NAMES_MAX - 1
        name = error.name if known else "other"
        counts[name] = counts.get(name, 0) + error.n
    return tuple(ErrorCount(name=name, n=n) for name, n in counts.items())


def _merge_latency(a: LatencyCounts, b: LatencyCounts) -> LatencyCounts:
    if a == LatencyCounts():
        return b
    together = Histogram.from_wire(a)
    together.merge(Histogram.from_wire(b))
    return together.to_wire()


def _merge_features(a: FeatureCounts | None, b: FeatureCounts | None) -> FeatureCounts | None:
    if a is None or b is None:
        return a or b
    if a.baseline != b.baseline:
        raise BadField("block.features.baseline", a.baseline, b.baseline)
    return FeatureCounts(
        baseline=a.baseline,
        counts=_add_varints("feature counts", a.counts, b.counts),
        sums=_add(a.sums, b.sums),
        squares=_add(a.squares, b.squares),
    )


def _merge_predictions(a: Predictions | None, b: Predictions | None) -> Predictions | None:
    if a is None or b is None:
        return a or b
    return Predictions(
        n=a.n + b.n,
        below=a.below + b.below,
        confidence=tuple(int(n) for n in _add(a.confidence, b.confidence)),
        classes=_add_varints("class counts", a.classes, b.classes),
    )


def _merge_labels(a: Labels | None, b: Labels | None) -> Labels | None:
    return a or b if a is None or b is None else Labels(n=a.n + b.n, errors=a.errors + b.errors)


def _merge_shadow(a: ShadowCounts | None, b: ShadowCounts | None) -> ShadowCounts | None:
    if a is None or b is None:
        return a or b
    return ShadowCounts(
        pairs=a.pairs + b.pairs,
        disagreements=a.disagreements + b.disagreements,
        dropped=a.dropped + b.dropped,
    )


def _merge_outcome(a: OutcomeCounts | None, b: OutcomeCounts | None) -> OutcomeCounts | None:
    if a is None or b is None:
        return a or b
    if a.metric != b.metric:
        return b  # an application counts something else from now on, and shares of two metrics do not add
    return OutcomeCounts(metric=a.metric, trials=a.trials + b.trials, successes=a.successes + b.successes)


def _merge_groups(a: tuple[GroupCounts, ...], b: tuple[GroupCounts, ...]) -> tuple[GroupCounts, ...]:
    merged: dict[str, GroupCounts] = {}
    for group in (*a, *b):
        known = group.name in merged or len(merged) < GROUPS_MAX - 1
        name = group.name if known else OTHER_GROUPS
        old = merged.get(name, GroupCounts(name=name, n=0))
        merged[name] = GroupCounts(
            name=name,
            n=old.n + group.n,
            errors=old.errors + group.errors,
            positives=old.positives + group.positives,
        )
    return tuple(merged.values())


def _add_varints(what: str, a: bytes, b: bytes) -> bytes:
    return pack_varints(int(n) for n in _add(unpack_varints(what, a), unpack_varints(what, b)))


def _add(a: Sequence[float], b: Sequence[float]) -> tuple[float, ...]:
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    return tuple(n + (shorter[i] if i < len(shorter) else 0) for i, n in enumerate(longer))
