"""Which variant of a release a device tries first: a policy's rule, and what devices like it measured.

``choose`` orders the variants that a device can run; the agent goes on to the next one where the first does not do. A
variant that nobody measured is neither better nor worse than it was: it keeps its place in the order of the release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Final, assert_never

from pinnace_contract.fields import limited
from pinnace_contract.ids import Digest, ReleaseId, VersionName
from pinnace_contract.latest import Precision, Variant

RESULTS_MIN: Final = 3  # receipts of a class of hardware before its p95 is believed; a measurement of its own is enough
FASTER_TIMES: Final = 1.1  # a smaller difference is noise, and a fleet that changes sides for it gains nothing


class ProfileSource(StrEnum):
    """Who measured."""

    TRIAL_RECEIPTS = "trial_receipts"
    MEASURED_ON_DEVICE = "measured_on_device"


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantProfile:
    """What a variant of a release takes on a class of hardware, with one runtime, going by one source.

    Percentiles are means over results, so that each device has one voice; the peak is the highest. ``inferences`` are
    those that were measured, ``at_s`` when the newest result came.
    """

    release: ReleaseId
    variant: Digest
    hardware: str
    runtime: str
    source: ProfileSource
    p50_ms: float
    p95_ms: float
    peak_memory_bytes: int | None = None
    inferences: int = 0
    results: int = 1
    at_s: float = 0.0

    def plus(self, other: VariantProfile) -> VariantProfile:
        """Return both together."""
        results = self.results + other.results
        peaks = [each for each in (self.peak_memory_bytes, other.peak_memory_bytes) if each is not None]
        return replace(
            self,
            p50_ms=(self.p50_ms * self.results + other.p50_ms * other.results) / results,
            p95_ms=(self.p95_ms * self.results + other.p95_ms * other.results) / results,
            peak_memory_bytes=max(peaks, default=None),
            inferences=self.inferences + other.inferences,
            results=results,
            at_s=max(self.at_s, other.at_s),
        )

    @property
    def is_believed(self) -> bool:
        """Whether there is enough of it to choose by."""
        return self.source is ProfileSource.MEASURED_ON_DEVICE or self.results >= RESULTS_MIN


# --- the rule -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AsReleased:
    """The order in which the release lists them."""

    KIND: ClassVar[str] = "as_released"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fastest:
    """The lowest p95 among those that fit into memory; as released where it is not known of two of them."""

    KIND: ClassVar[str] = "fastest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Smallest:
    """The fewest bytes among those that fit into memory."""

    KIND: ClassVar[str] = "smallest"


@dataclass(frozen=True, slots=True, kw_only=True)
class MostAccurate:
    """The most accurate of those that fit and meet ``p95_ms``; the fastest where none does."""

    KIND: ClassVar[str] = "most_accurate"

    p95_ms: float = limited(smallest=0.001, largest=600_000)


VariantRule = AsReleased | Fastest | Smallest | MostAccurate


# --- the choice ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of one variant on a class of hardware. ``of_version``: of an earlier version's build of its kind,
    empty: its own."""

    p95_ms: float
    results: int
    source: ProfileSource
    peak_memory_bytes: int | None = None
    of_version: VersionName | str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The variants in the order to try, and why the first is first; ``why`` empty: it is as released."""

    variants: tuple[Digest, ...]
    why: str = ""


def choose(
    rule: VariantRule,
    variants: Sequence[Variant],
    known: Mapping[Digest, Known],
    *,
    hardware: str,
    memory_bytes: int | None,
) -> Choice:
    """Order the variants that a device can run, given in the order of the release.

    ``memory_bytes`` is what the device has in all, None where it has not said. What does not fit goes last.
    """
    if isinstance(rule, AsReleased) or not variants:
        return Choice(variants=tuple(each.digest for each in variants))
    fitting = [each for each in variants if _fits(each, known, memory_bytes)]
    ordered, why = _preferred(rule, fitting, known, hardware)
    rest = [each for each in variants if each not in fitting]
    if not why and rest and fitting and variants[0] is not ordered[0]:
        why = f"{label(ordered[0], variants)} because {label(variants[0], variants)} does not fit into its memory"
    return Choice(variants=tuple(each.digest for each in (*ordered, *rest)), why=why)


def in_words(rule: VariantRule) -> str:
    """Return what a rule puts first."""
    match rule:
        case AsReleased():
            return "what the release lists first"
        case Fastest():
            return "the fastest"
        case Smallest():
            return "the smallest"
        case MostAccurate(p95_ms=p95_ms):
            return f"the most accurate within {p95_ms:g} ms"
        case _:
            assert_never(rule)


def explained(
    rule: VariantRule | None, order: Sequence[Variant], listed: Sequence[Variant], chosen: str, hardware: str
) -> str:
    """Say which variant a device tries first and why.

    ``order`` is what it was dealt, one or more of those ``listed`` by the release; ``chosen`` is what ``choose`` said
    then. ``rule`` None: a plain assignment.
    """
    if chosen:
        return chosen
    first = label(order[0], listed)
    if len(order) == 1:
        return f"{first} because it is the only one that the device may run"
    match rule:
        case None:
            return f"{first} because the release lists it first, and a plain assignment takes that order"
        case AsReleased():
            return f"{first} because the release lists it first, and the policy takes that order"
        case Smallest():
            return f"{first} because the release lists it first, and no other that fits into memory is smaller"
        case Fastest() | MostAccurate():
            kind = hardware or "its unnamed hardware"
            known = f"too little was known of {kind} to choose by (a variant counts from {RESULTS_MIN} receipts on)"
            return f"{first} because the release lists it first: when it was dealt, {known}"
        case _:
            assert_never(rule)


def label(variant: Variant, among: Sequence[Variant]) -> str:
    """Return what a variant is called among others: its precision, with its runtime where that is not enough."""
    alone = sum(each.precision is variant.precision for each in among) == 1
    return str(variant.precision) if alone else f"{variant.precision} ({variant.runtime})"


def accuracy(variant: Variant) -> float | None:
    """Return how right a variant is: its accuracy, else how often it agrees with its source, which agrees with itself;
    None: nobody measured."""
    if variant.parity is None:
        return 1.0 if variant.precision is Precision.FP32 else None
    return variant.parity.agreement if variant.parity.accuracy is None else variant.parity.accuracy


def _preferred(
    rule: Fastest | Smallest | MostAccurate, variants: Sequence[Variant], known: Mapping[Digest, Known], hardware: str
) -> tuple[list[Variant], str]:
    match rule:
        case Smallest():
            return _smallest(variants)
        case Fastest():
            return _fastest(variants, known, hardware)
        case MostAccurate():
            return _most_accurate(rule, variants, known, hardware)
        case _:
            assert_never(rule)


def _smallest(variants: Sequence[Variant]) -> tuple[list[Variant], str]:
    if len(variants) < 2:
        return list(variants), ""
    ordered = sorted(variants, key=lambda each: each.blob.size_bytes)
    sizes = _compared(ordered, lambda each: f"{each.blob.size_bytes / 1e6:.3g} MB")
    return ordered, f"{label(ordered[0], variants)} because {sizes}"


def _fastest(variants: Sequence[Variant], known: Mapping[Digest, Known], hardware: str) -> tuple[list[Variant], str]:
    measured = [each for each in variants if each.digest in known]
    if len(measured) < 2:
        return list(variants), ""
    first = min(measured, key=lambda each: known[each.digest].p95_ms)
    if known[first.digest].p95_ms * FASTER_TIMES > known[measured[0].digest].p95_ms:
        first = measured[0]
    return _in_front(
        variants, measured, first
    ), f"{label(first, variants)} because {_times(first, measured, known, hardware)}"


def _most_accurate(
    rule: MostAccurate, variants: Sequence[Variant], known: Mapping[Digest, Known], hardware: str
) -> tuple[list[Variant], str]:
    measured = [each for each in variants if each.digest in known]
    if not measured:
        return list(variants), ""
    meeting = [each for each in measured if known[each.digest].p95_ms <= rule.p95_ms]
    if not meeting:
        ordered, why = _fastest(variants, known, hardware)
        return ordered, why and f"{why}; none meets {rule.p95_ms:g} ms"
    right = [(accuracy(each), each) for each in meeting]
    best = max((share for share, _ in right if share is not None), default=None)
    first = next((each for share, each in right if share == best), meeting[0])
    said = "" if best is None else f" and is right in {best:.2%}"
    because = f"because it meets {rule.p95_ms:g} ms{said}"
    why = f"{label(first, variants)} {because}: {_times(first, measured, known, hardware)}"
    return _in_front(variants, measured, first), why


def _in_front(variants: Sequence[Variant], measured: Sequence[Variant], first: Variant) -> list[Variant]:
    """Return the variants with one of the measured before the other measured ones; nobody else changes places."""
    places = iter([first, *(each for each in measured if each is not first)])
    return [next(places) if each in measured else each for each in variants]


def _times(first: Variant, measured: Sequence[Variant], known: Mapping[Digest, Known], hardware: str) -> str:
    def spoken(each: Variant) -> str:
        return f"{known[each.digest].p95_ms:.3g} ms"

    of = known[first.digest]
    others = ", ".join(f"{label(each, measured)} {spoken(each)}" for each in measured if each is not first)
    by = f"{of.results} receipt{'s' * (of.results != 1)}"
    if of.source is ProfileSource.MEASURED_ON_DEVICE:
        by = "measurements on a device"
    earlier = f" of version {of.of_version}" if of.of_version else ""
    return f"{spoken(first)} p95 on {hardware}{f', {others}' if others else ''}; from {by}{earlier}"


def _compared(variants: Sequence[Variant], spoken: Callable[[Variant], str]) -> str:
    first, *others = variants
    return f"{spoken(first)}, " + ", ".join(f"{label(each, variants)} {spoken(each)}" for each in others)


def _fits(variant: Variant, known: Mapping[Digest, Known], memory_bytes: int | None) -> bool:
    seen = known.get(variant.digest)
    peak = variant.peak_memory_bytes
    if seen is not None and not seen.of_version and seen.peak_memory_bytes is not None:
        peak = max(peak, seen.peak_memory_bytes)
    return memory_bytes is None or peak <= memory_bytes
