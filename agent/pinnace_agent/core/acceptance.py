"""Whether an entry, and the release that it names, may be tried on this device, and which variants are left to try.

Returns a candidate or a reason; moving phases is left to the handlers. Order matters: what is wrong with the
assignment is said before what is wrong with the device.
"""

from __future__ import annotations

import dataclasses
import re
from enum import StrEnum
from typing import Final

from pinnace_agent.core.events import ReleaseRead
from pinnace_agent.core.slot import Bad, Candidate, Reason, Slot, VariantFacts, because
from pinnace_agent.core.surroundings import Host, Surroundings
from pinnace_contract.codec import contract_digest
from pinnace_contract.latest import (
    ArmMode,
    Arms,
    Cause,
    Entry,
    Intent,
    Release,
    Runtime,
    Swap,
    TrustLevel,
    Variant,
)

_TRUST_ORDER: Final = (TrustLevel.DEV, TrustLevel.DELEGATED, TrustLevel.CEREMONY)
_ANY_HARDWARE: Final = "*"
_ARMS: Final = {
    ArmMode.SHADOW: "a shadow",
    ArmMode.SPLIT: "a split",
    ArmMode.BLUE_GREEN: "a blue/green pair",
}
WAITS_PERCENT: Final = 0
"""The share of a blue/green pair's candidate that is only made ready."""
SWITCHES_PERCENT: Final = 100
"""The share of one that takes over as soon as it is ready."""


def understood(entry: Entry) -> Reason | None:
    """Return why this agent cannot do what the entry asks, or None. Nothing that it asks for is silently left out.

    ``transfer`` is the one exception: it says where chunks may be heard, and asking for them works as well.
    """
    wrong = (_wrong_arms(entry, entry.arms) if entry.arms is not None else None) or _wrong_site(entry)
    if wrong:
        return wrong
    strange = _unknown_value(entry)
    if strange:
        return _newer(f"the value of {strange}")
    if entry.release is None and entry.intent is not Intent.REMOVE:
        return because(Cause.RELEASE_INVALID, f"intent {entry.intent} needs a release, the entry names none")
    return None


def stripped(entry: Entry) -> Entry:
    """Return what can be remembered of an entry that is not understood: enough to answer it."""
    return Entry(model=entry.model, generation=entry.generation, attempt=entry.attempt, release=entry.release)


def refusal(slot: Slot, entry: Entry) -> Reason | None:
    """Return why this device refuses an entry before it has read the release, or None."""
    runs = slot.current is not None and slot.current.release == entry.release
    if entry.release in slot.withdrawn and not runs:  # what was retired and serves is no new start
        return because(Cause.WITHDRAWN, "this release was withdrawn")
    if entry.intent is Intent.ROLLBACK:
        return _rollback_refusal(slot, entry)
    return control_gone(slot, entry)


def control_gone(slot: Slot, entry: Entry) -> Reason | None:
    """Return why a candidate cannot be compared with what serves here, or None."""
    arms, current = entry.arms, slot.current
    if arms is None or (current is not None and current.release == arms.control):
        return None
    here = f"{current.version} ({current.release[:12]})" if current else "nothing"
    wanted = "a switch from" if arms.mode is ArmMode.BLUE_GREEN else f"{_ARMS.get(arms.mode, str(arms.mode))} beside"
    return because(Cause.NO_FALLBACK, f"{wanted} release {arms.control[:12]} was asked for; {here} serves here")


def is_switch_of(entry: Entry, newer: Entry) -> bool:
    """Tell whether a newer entry says nothing but that what the other one makes ready may take over."""
    before, after = entry.arms, newer.arms
    if before is None or after is None or {before.mode, after.mode} != {ArmMode.BLUE_GREEN}:
        return False
    told = (before.share_percent, after.share_percent) == (WAITS_PERCENT, SWITCHES_PERCENT)
    same = (entry.release, entry.variants, entry.intent, entry.attempt, before.control)
    return told and same == (newer.release, newer.variants, newer.intent, newer.attempt, after.control)


def candidate_of(slot: Slot, entry: Entry, read: ReleaseRead, around: Surroundings) -> Candidate | Reason:
    """Return what will be tried of a release, or why nothing of it may be."""
    release, host = read.release, around.host
    wrong = _identity(slot, entry, read) or _age(slot, entry, release) or _requirements(release, around)
    if wrong:
        return wrong
    chosen: list[VariantFacts] = []
    reasons: list[Reason] = []
    for digest in entry.variants or tuple(variant.digest for variant in release.variants):
        found = _variant(slot, entry, release, release.variant(digest), host)
        if isinstance(found, VariantFacts):
            chosen.append(found)
        else:
            reasons.append(found)
    if not chosen:
        return reasons[0]
    return Candidate(
        release=read.release_id,
        version=release.version,
        sequence=release.sequence,
        epoch=release.epoch,
        contract=contract_digest(release.contract),
        variants=tuple(chosen),
        error_rate_max=release.expectations.error_rate_max,
        p95_ms_max=_p95(release, host.hardware),
        trust=read.trust,
    )


def is_known_bad(slot: Slot, entry: Entry, variant: str, runtime_version: str) -> Bad | None:
    """Return the memory that speaks against trying this variant again, or None."""
    for bad in slot.bad:
        same = bad.release == entry.release and bad.variant == variant and bad.runtime_version == runtime_version
        if same and (bad.permanent or bad.attempt >= entry.attempt):
            return bad
    return None


def committed_before(slot: Slot, entry: Entry) -> bool:
    """Tell whether this device once committed the release, so that going back to it needs no second trial."""
    return any(each.release == entry.release for each in slot.committed)


def _newer(what: str) -> Reason:
    return because(Cause.AGENT_TOO_OLD, f"this agent does not know {what}; upgrade it or change the assignment")


def _wrong_arms(entry: Entry, arms: Arms) -> Reason | None:
    """A shadow, a split and a blue/green pair are understood: upgrades beside what serves, so both are in memory."""
    what = _ARMS.get(arms.mode)
    if what is None:
        return _newer(f"arms ({arms.mode}: two releases resident at once)")
    if entry.intent is not Intent.UPGRADE:
        return because(Cause.RELEASE_INVALID, f"{what} is for intent upgrade, the entry says {entry.intent}")
    if entry.swap is Swap.STOP_FIRST:
        return because(Cause.RELEASE_INVALID, f"{what} needs both releases in memory, the entry says swap stop_first")
    if arms.mode is ArmMode.BLUE_GREEN and arms.share_percent not in (WAITS_PERCENT, SWITCHES_PERCENT):
        return because(
            Cause.RELEASE_INVALID, f"{what} serves all or nothing, the entry says {arms.share_percent} per cent"
        )
    return None


def _wrong_site(entry: Entry) -> Reason | None:
    """A site is understood where it is whole: an upgrade of a rollout, a name, and a lease that ends."""
    lease = bool(entry.lease_s) or entry.lease_until_s is not None
    if not entry.site_atomic:
        named = lease or entry.site
        return because(Cause.RELEASE_INVALID, "a site and a lease are for site-atomic entries") if named else None
    if entry.intent is not Intent.UPGRADE:
        return because(Cause.RELEASE_INVALID, f"a site decides about intent upgrade, the entry says {entry.intent}")
    if not entry.site or entry.rollout is None or not lease:
        return because(Cause.RELEASE_INVALID, "a site-atomic entry needs a rollout, the name of its site and a lease")
    return None


def _unknown_value(value: object, path: str = "") -> str:
    """Return the path of the first enum value that only a newer program knows."""
    if isinstance(value, StrEnum):
        return path if value.name == "UNKNOWN" else ""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            found = _unknown_value(getattr(value, field.name), f"{path}.{field.name}" if path else field.name)
            if found:
                return found
    return ""


def _rollback_refusal(slot: Slot, entry: Entry) -> Reason | None:
    known = next((each for each in slot.committed if each.release == entry.release), None)
    if known is None:
        return because(Cause.NO_FALLBACK, "a rollback goes only to a release that this device committed before")
    if known.epoch < slot.floor:
        return _below_floor(known.epoch, slot.floor)
    return None


def _below_floor(epoch: int, floor: int) -> Reason:
    return because(Cause.BELOW_FLOOR, f"security epoch {epoch} is below this device's floor {floor}")


def _identity(slot: Slot, entry: Entry, read: ReleaseRead) -> Reason | None:
    if read.release_id != entry.release or read.release.model != slot.model:
        return because(
            Cause.RELEASE_INVALID,
            f"expected release {entry.release} of {slot.model}, found {read.release_id} of {read.release.model}",
        )
    if _TRUST_ORDER.index(read.trust) < _TRUST_ORDER.index(entry.least_trust):
        return because(Cause.TRUST_TOO_LOW, f"signed at level {read.trust}, the assignment asks {entry.least_trust}")
    return None


def _age(slot: Slot, entry: Entry, release: Release) -> Reason | None:
    if release.epoch < slot.floor:
        return _below_floor(release.epoch, slot.floor)
    newest = slot.current or next(iter(slot.last_good), None)
    if entry.intent is Intent.UPGRADE and newest is not None and release.sequence < newest.sequence:
        return because(
            Cause.OLDER_RELEASE,
            f"sequence {release.sequence} is older than {newest.sequence} which is committed; a rollback says so",
        )
    return None


def _requirements(release: Release, around: Surroundings) -> Reason | None:
    needs, host = release.requirements, around.host
    if needs.hardware and host.hardware not in needs.hardware:
        return because(
            Cause.HARDWARE_MISMATCH,
            f"the release is for {', '.join(needs.hardware)}; this is {host.hardware or 'unnamed'}",
        )
    if _version(host.agent_version) < _version(needs.agent_version):
        return because(
            Cause.AGENT_TOO_OLD, f"the release needs agent {needs.agent_version}; this is {host.agent_version}"
        )
    total = around.health.memory_total_bytes
    if total is not None and total < needs.memory_bytes:
        return because(Cause.NO_MEMORY, f"the release needs {needs.memory_bytes} bytes of memory; there are {total}")
    return None


def _version(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version; what follows them does not count."""
    return tuple(int(number) for number in re.findall(r"\d+", text.split("+", 1)[0])[:3])


def _variant(slot: Slot, entry: Entry, release: Release, variant: Variant | None, host: Host) -> VariantFacts | Reason:
    if variant is None:
        return because(Cause.NO_VARIANT, "the assignment names a variant that the release does not have")
    here = next((each for each in host.runtimes if each.runtime is variant.runtime), None)
    if here is None or variant.runtime is Runtime.UNKNOWN:
        return because(Cause.NO_RUNTIME, f"variant {variant.digest[:12]} needs {variant.runtime}: not on this device")
    bad = is_known_bad(slot, entry, variant.digest, here.version)
    if bad:
        return because(Cause.KNOWN_BAD, f"variant {variant.digest[:12]} failed here before: {bad.cause}")
    return VariantFacts(
        digest=variant.digest,
        runtime=variant.runtime,
        runtime_version=here.version,
        peak_memory_bytes=variant.peak_memory_bytes,
        size_bytes=sum(blob.size_bytes for blob in release.blobs(variant)),
    )


def _p95(release: Release, hardware: str) -> float | None:
    by_class = {each.hardware: each.p95_ms for each in release.expectations.p95}
    return by_class.get(hardware, by_class.get(_ANY_HARDWARE))
