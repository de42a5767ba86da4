"""What variants take on classes of hardware: noted as receipts come, and asked when a rollout deals its devices.

Whoever measures otherwise, as a job on a device does, notes a ``VariantProfile`` of its own source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pinnace_contract.ids import Digest
from pinnace_contract.latest import Receipt
from pinnace_server.domain import variants
from pinnace_server.domain.queries import Page
from pinnace_server.domain.records import Device, Version
from pinnace_server.domain.rollout_policy.policy import RolloutPolicy
from pinnace_server.domain.variants import AsReleased, Choice, Known, ProfileSource, VariantProfile
from pinnace_server.service import matching
from pinnace_server.service.ports import Tables

SAMPLES_MIN: Final = 20  # a p95 of fewer is their maximum
EARLIER_MAX: Final = 20  # versions that are looked through for builds of the same kinds


def note(tables: Tables, found: VariantProfile) -> None:
    """Add a result to what is known."""
    key = (found.release, found.variant, found.hardware, found.runtime, found.source)
    had = tables.profiles.get(*key)
    tables.profiles.save(found if had is None else had.plus(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known of a variant of a version on a class of hardware. ``believed``: enough of it to choose by;
    ``p95_ms`` None: nobody measured it."""

    variant: str
    p95_ms: float | None = None
    results: int = 0
    source: ProfileSource = ProfileSource.TRIAL_RECEIPTS
    believed: bool = False


def measured(tables: Tables, version: Version, hardware: str) -> tuple[Measured, ...]:
    """Return what is known by now of each variant of a version on a class of hardware, in the order of the release."""
    rows = (each for each in tables.profiles.of_release(version.release) if each.hardware == hardware)
    merged, listed = _merged(rows), version.body.variants
    return tuple(_measured(variants.label(each, listed), merged.get(each.digest)) for each in listed)


def _measured(name: str, found: VariantProfile | None) -> Measured:
    if found is None:
        return Measured(variant=name)
    return Measured(
        variant=name, p95_ms=found.p95_ms, results=found.results, source=found.source, believed=found.is_believed
    )


def of_receipt(receipt: Receipt, device: Device, now: float) -> VariantProfile | None:
    """Return what a receipt says of its variant; None: it does not say how long it took, or of too few answers."""
    latency = receipt.latency
    if receipt.release is None or receipt.variant is None or latency is None or latency.samples < SAMPLES_MIN:
        return None
    return VariantProfile(
        release=receipt.release,
        variant=receipt.variant,
        hardware=device.hardware,
        runtime=receipt.runtime,
        source=ProfileSource.TRIAL_RECEIPTS,
        p50_ms=latency.p50_ms,
        p95_ms=latency.p95_ms,
        peak_memory_bytes=receipt.peak_memory_bytes,
        inferences=latency.samples,
        at_s=now,
    )


class Chooser:
    """Orders the variants of one version for devices, by a policy's rule. What is known is read once a class."""

    def __init__(self, tables: Tables, version: Version, policy: RolloutPolicy) -> None:
        self._tables, self._version, self._policy = tables, version, policy
        self._known: dict[str, Mapping[Digest, Known]] = {}
        self._rows: list[tuple[Version, list[VariantProfile]]] = []

    def of(self, device: Device) -> Choice:
        """Return the order for one device."""
        allowed = matching.variants_within(self._version, device, self._policy.budgets.bytes_per_device_max)
        eligible = [each for each in self._version.body.variants if each.digest in allowed]
        if isinstance(self._policy.variant, AsReleased) or len(eligible) < 2:
            return Choice(variants=allowed)
        return variants.choose(
            self._policy.variant,
            eligible,
            self._of_hardware(device.hardware),
            hardware=device.hardware,
            memory_bytes=device.health.memory_total_bytes if device.health else None,
        )

    def _of_hardware(self, hardware: str) -> Mapping[Digest, Known]:
        if hardware not in self._known:
            self._known[hardware] = self._looked_up(hardware)
        return self._known[hardware]

    def _looked_up(self, hardware: str) -> Mapping[Digest, Known]:
        """Return what is known of two or more variants of this version, else of an earlier version's of their kinds:
        times are only compared within one version."""
        best: Mapping[Digest, Known] = {}
        for version, rows in self._versions():
            found = _known(self._version, version, [each for each in rows if each.hardware == hardware])
            if len(found) > 1:
                return found
            best = best or found
        return best

    def _versions(self) -> Iterable[tuple[Version, list[VariantProfile]]]:
        if not self._rows:
            newest = self._tables.versions.listing(self._version.model, Page(limit=EARLIER_MAX)).rows
            earlier = [each for each in newest if each.sequence < self._version.sequence]
            self._rows = [
                (each, list(self._tables.profiles.of_release(each.release))) for each in (self._version, *earlier)
            ]
        return self._rows


def _known(target: Version, version: Version, rows: Iterable[VariantProfile]) -> dict[Digest, Known]:
    """Return what rows of a version say about the target's variants, by runtime and precision where it is another."""
    merged = _merged(rows)
    is_own = version.release == target.release
    kinds = {(each.runtime, each.precision): each.digest for each in version.body.variants}
    found: dict[Digest, Known] = {}
    for each in target.body.variants:
        seen = merged.get(each.digest if is_own else kinds.get((each.runtime, each.precision), each.digest))
        if seen is not None and seen.is_believed:
            found[each.digest] = Known(
                p95_ms=seen.p95_ms,
                results=seen.results,
                source=seen.source,
                peak_memory_bytes=seen.peak_memory_bytes,
                of_version="" if is_own else version.version,
            )
    return found


def _merged(rows: Iterable[VariantProfile]) -> dict[Digest, VariantProfile]:
    """Return rows of one class of hardware by variant, over its runtimes."""
    merged: dict[Digest, VariantProfile] = {}
    for row in sorted(rows, key=lambda each: (each.source is ProfileSource.MEASURED_ON_DEVICE, each.runtime)):
        had = merged.get(row.variant)
        # What was measured on purpose stands in the place of what trials brought.
        merged[row.variant] = row if had is None or had.source is not row.source else had.plus(row)
    return merged
