"""What each device's attempt says of a release, by who is to blame: the roll call as a gate counts it.

What a device could not fetch, store or wait for is its own trouble and no evidence. A device that fell silent after the
release began to run is a failure only where others of its site are still heard; where nobody is, the line is cut.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Cause
from pinnace_server.domain.gates.evidence import Install, InstallResult
from pinnace_server.domain.muster import Mustered
from pinnace_server.domain.records import UNDER_WAY, DeviceState, MemberState

_BY_CAUSE: Final = {
    Cause.GOLDEN_MISMATCH: InstallResult.GOLDEN_MISMATCH,
    Cause.LOAD_FAILED: InstallResult.LOAD_FAILED,
    Cause.CONTRACT_MISMATCH: InstallResult.LOAD_FAILED,
    Cause.CRASHED: InstallResult.CRASH_LOOP,
    Cause.HUNG: InstallResult.CRASH_LOOP,
    Cause.MEMORY_EXCEEDED: InstallResult.CRASH_LOOP,
    Cause.LOOP: InstallResult.CRASH_LOOP,
    Cause.RELEASE_INVALID: InstallResult.FAILED,
    Cause.UNSUPPORTED_STEP: InstallResult.FAILED,
    Cause.KNOWN_BAD: InstallResult.FAILED,
}
_OWN_TROUBLE: Final = frozenset(
    {
        Cause.NO_ROOM,
        Cause.NO_MEMORY,
        Cause.STORAGE_ERROR,
        Cause.TRANSFER_FAILED,
        Cause.TRANSFER_GONE,
        Cause.TRANSFER_WAITING,
        Cause.DIGEST_MISMATCH,
        Cause.DEADLINE,
        Cause.WINDOW,
        Cause.VETO,
        Cause.NO_CONTACT,
        Cause.LEASE_ENDED,
        Cause.SITE_REVERTED,
        Cause.NO_FALLBACK,
        Cause.CLONE_SUSPECTED,
        Cause.REINSTALLED,
        Cause.METADATA_EXPIRED,
    }
)
_ENDED_BADLY: Final = {
    MemberState.REVERTED: InstallResult.REVERTED,
    MemberState.FAILED: InstallResult.FAILED,
    MemberState.REJECTED: InstallResult.DEVICE_TROUBLE,
}


def results(
    muster: Sequence[Mustered],
    running: Collection[DeviceId],
    heard_sites: Collection[str],
    silence_s: float,
    now_s: float,
) -> tuple[Install, ...]:
    """Return how the attempts of a wave ended, in the order in which they did.

    ``running``: devices that were last heard with the release running, or about to. ``heard_sites``: sites at which a
    device that stays behind still reports.
    """
    found = [(each.changed_at_s, each.device, _result(each)) for each in muster]
    silent = _silent(muster, running, silence_s, now_s)
    told = [(at_s, device, result) for at_s, device, result in found if result is not None and device not in silent]
    for each in silent.values():
        lost = InstallResult.FAILED if each.site in heard_sites else InstallResult.UNREACHABLE
        told.append(((each.seen_at_s or 0.0) + silence_s, each.device, lost))
    hardware = {each.device: each.hardware for each in muster}
    return tuple(Install(device=device, hardware=hardware[device], result=result) for _, device, result in sorted(told))


def _result(each: Mustered) -> InstallResult | None:
    if each.state is MemberState.COMMITTED:
        return InstallResult.COMMITTED
    if each.state not in _ENDED_BADLY or each.device_state is DeviceState.QUARANTINED:
        return None
    if each.cause in _OWN_TROUBLE:
        return InstallResult.DEVICE_TROUBLE
    return _BY_CAUSE.get(each.cause, _ENDED_BADLY[each.state])


def _silent(
    muster: Iterable[Mustered], running: Collection[DeviceId], silence_s: float, now_s: float
) -> dict[DeviceId, Mustered]:
    """Return devices that were to activate, and were last heard longer ago than the policy waits."""
    return {
        each.device: each
        for each in muster
        if each.device in running
        and each.state in (*UNDER_WAY, MemberState.COMMITTED)
        and each.seen_at_s is not None
        and now_s - each.seen_at_s > max(silence_s, 3.0 * each.report_every_s)
    }
