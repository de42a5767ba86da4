"""Reports as counts: which report numbers are new, which minute a window belongs to, and how two minutes add up.

Adding is exact, so that merging in any order gives the same row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import zip_longest
from typing import Final

from pinnace_contract.histogram import Histogram, pack_varints, unpack_varints
from pinnace_contract.ids import DeviceId, Digest
from pinnace_contract.latest import Block, FeatureCounts, Report
from pinnace_contract.merging import GROUPS_MAX, OTHER_GROUPS
from pinnace_server.domain.records import Counts, FeatureTotals, Minute, ReceivedRange

CLOCK_AHEAD_MAX_S: Final = 300.0
CLOCK_BEHIND_MAX_S: Final = 30 * 86_400.0  # a spool may be that old; a clock at 1970 is a broken one
RANGES_MAX: Final = 256  # gaps of one boot that are remembered
RAW_PER_DEVICE_MAX: Final = 120  # two hours of reports at the usual cadence, to look into; minutes hold the counts
ERROR_NAMES_MAX: Final = 64
CLASSES_MAX: Final = 2048
METRICS_MAX: Final = 4  # a device has one at a time
SUM_MAX: Final = 1e300  # adding must not end in infinity, which JSON cannot say
COUNT_MAX: Final = 2**40  # sums over eight million rows still fit a database's integer, whatever a device claims


class Coverage(StrEnum):
    """Whether the numbers of a report are accounted for already."""

    NEW = "new"
    KNOWN = "known"
    PARTLY_KNOWN = "partly_known"


def coverage(known: Sequence[ReceivedRange], seq_from: int, seq_to: int) -> Coverage:
    """Compare a report's numbers with those that are accounted for."""
    overlapping = [each for each in known if each.seq_from <= seq_to and seq_from <= each.seq_to]
    if not overlapping:
        return Coverage.NEW
    covered = sum(min(each.seq_to, seq_to) - max(each.seq_from, seq_from) + 1 for each in overlapping)
    return Coverage.KNOWN if covered >= seq_to - seq_from + 1 else Coverage.PARTLY_KNOWN


def joined(ranges: Iterable[ReceivedRange]) -> tuple[ReceivedRange, ...]:
    """Return the same numbers in as few ranges as there can be; what was dropped stays apart.

    Beyond ``RANGES_MAX`` the oldest gap is closed: reports that come so late are taken for known.
    """
    result: list[ReceivedRange] = []
    for each in sorted(ranges, key=lambda one: (one.dropped, one.seq_from)):
        last = result[-1] if result else None
        if last is not None and last.dropped == each.dropped and each.seq_from <= last.seq_to + 1:
            result[-1] = replace(last, seq_to=max(last.seq_to, each.seq_to))
        else:
            result.append(each)
    while len(result) > RANGES_MAX and result[0].dropped == result[1].dropped:
        result[:2] = [replace(result[1], seq_from=result[0].seq_from)]
    return tuple(result)


def minute_of(to_s: float, received_at_s: float) -> int:
    """Return the minute of a window's end, by the device's clock unless that cannot be right."""
    sane = received_at_s - CLOCK_BEHIND_MAX_S <= to_s <= received_at_s + CLOCK_AHEAD_MAX_S
    return int((to_s if sane else received_at_s) // 60)


def minutes_of(device: DeviceId, report: Report, received_at_s: float) -> tuple[Minute, ...]:
    """Return a report's blocks as minutes.

    Raises:
        ContractError: a histogram outside its grid, or counts that are not varints.
    """
    minute = minute_of(report.to_s, received_at_s)
    return tuple(_minute(device, block, minute) for block in report.blocks)


def counts_of(minute: Minute) -> Counts:
    """Return what the health rule looks at."""
    return Counts(
        n=minute.n,
        errors=sum(minute.errors.values()),
        predictions=minute.predictions,
        below=minute.below,
        labels=minute.labels,
        label_errors=minute.label_errors,
    )


def merged(one: Minute, other: Minute) -> Minute:
    """Add the counts of another minute of the same key."""
    errors = dict(one.errors)
    for name, n in other.errors.items():
        if name in errors or len(errors) < ERROR_NAMES_MAX:
            errors[name] = _plus(errors.get(name, 0), n)
    return replace(
        one,
        n=_plus(one.n, other.n),
        errors=errors,
        slow=_plus(one.slow, other.slow),
        latency_zero=_plus(one.latency_zero, other.latency_zero),
        latency={i: _plus(one.latency.get(i, 0), other.latency.get(i, 0)) for i in {*one.latency, *other.latency}},
        predictions=_plus(one.predictions, other.predictions),
        below=_plus(one.below, other.below),
        confidence=added(one.confidence, other.confidence),
        classes=added(one.classes, other.classes),
        labels=_plus(one.labels, other.labels),
        label_errors=_plus(one.label_errors, other.label_errors),
        pairs=_plus(one.pairs, other.pairs),
        disagreements=_plus(one.disagreements, other.disagreements),
        outcomes=outcomes_of(one.outcomes, other.outcomes),
        groups=groups_of(one.groups, other.groups),
        features=_features(one.features, other.features),
    )


def outcomes_of(one: Mapping[str, tuple[int, ...]], other: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Add outcomes by metric; of metrics beyond ``METRICS_MAX`` the later ones are left out."""
    found = dict(one)
    for name, more in other.items():
        if name in found or len(found) < METRICS_MAX:
            found[name] = added(found.get(name, ()), more)
    return found


def groups_of(one: Mapping[str, tuple[int, ...]], other: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Add labelled answers by group; of groups beyond ``GROUPS_MAX`` the later ones are counted together."""
    found = dict(one)
    for name, more in other.items():
        known = name if name in found or len(found) < GROUPS_MAX - 1 else OTHER_GROUPS
        found[known] = added(found.get(known, ()), more)
    return found


def added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """Add counts place by place."""
    return tuple(_plus(a, b) for a, b in zip_longest(one, other, fillvalue=0))


def histogram_of(minutes: Iterable[Minute]) -> Histogram:
    """Return the latency of several minutes together."""
    total = Histogram()
    for minute in minutes:
        total.merge(Histogram(minute.latency, minute.latency_zero))
    return total


def _minute(device: DeviceId, block: Block, minute: int) -> Minute:
    latency = Histogram.from_wire(block.latency)
    predictions, labels, outcome = block.predictions, block.labels, block.outcome
    said = Minute(
        device=device,
        model=block.model,
        release=block.release,
        variant=block.variant,
        arm=block.arm,
        minute=minute,
        n=block.n,
        errors={each.name: each.n for each in block.errors},
        slow=block.slow,
        latency_zero=latency.zero,
        latency=latency.buckets,
        predictions=predictions.n if predictions else 0,
        below=predictions.below if predictions else 0,
        confidence=predictions.confidence if predictions else (),
        classes=tuple(unpack_varints("class counts", predictions.classes)[:CLASSES_MAX]) if predictions else (),
        labels=labels.n if labels else 0,
        label_errors=labels.errors if labels else 0,
        pairs=block.shadow.pairs if block.shadow else 0,
        disagreements=block.shadow.disagreements if block.shadow else 0,
        outcomes={outcome.metric: (outcome.trials, outcome.successes)} if outcome else {},
        groups={each.name: (each.n, each.errors, each.positives) for each in block.groups},
        features={block.features.baseline: _totals(block.features)} if block.features else {},
    )
    nothing = Minute(
        device=device, model=said.model, release=said.release, variant=said.variant, arm=said.arm, minute=minute
    )
    return merged(nothing, said)  # through the addition, because it bounds what a device may claim


def _totals(features: FeatureCounts) -> FeatureTotals:
    return FeatureTotals(
        counts=tuple(unpack_varints("feature counts", features.counts)), sums=features.sums, squares=features.squares
    )


def wire_counts(totals: FeatureTotals) -> bytes:
    """Return feature counts as a report would carry them."""
    return pack_varints(totals.counts)


def _features(
    one: Mapping[Digest, FeatureTotals], other: Mapping[Digest, FeatureTotals]
) -> dict[Digest, FeatureTotals]:
    result = dict(one)
    for baseline, totals in other.items():
        had = result.get(baseline, FeatureTotals())
        result[baseline] = FeatureTotals(
            counts=added(had.counts, totals.counts),
            sums=_sums(had.sums, totals.sums),
            squares=_sums(had.squares, totals.squares),
        )
    return result


def _sums(one: tuple[float, ...], other: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(max(-SUM_MAX, min(a + b, SUM_MAX)) for a, b in zip_longest(one, other, fillvalue=0.0))


def _plus(one: int, other: int) -> int:
    return min(one + other, COUNT_MAX)
