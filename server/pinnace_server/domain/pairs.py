"""Blue/green: how many devices of a wave are ready for its switch, and what a device is told to be ready and to switch.

A device that serves nothing has nothing to switch back to and tries the release as with any strategy; one that has said
that two releases do not fit into its memory is left out. The device has the last word in both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from pinnace_contract.latest import ArmMode, Arms, Cause, Entry, Intent, Phase
from pinnace_server.domain import beside
from pinnace_server.domain.muster import Mustered
from pinnace_server.domain.plans import Assign, Observed, Skip
from pinnace_server.domain.policy import Policy
from pinnace_server.domain.records import MemberState

WAITS_PERCENT: Final = 0
SWITCHES_PERCENT: Final = 100
ALONE: Final = "it serves nothing that it could switch back to, and does not wait for its wave"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """How far the devices of a wave are on their way to its switch.

    ``awaited``: not told yet, or on their way to be ready. ``first_at_s``: since when the first of those that are ready
    now is; the wave's row remembers the first of all.
    """

    ready: int
    awaited: int
    first_at_s: float | None = None


def readiness(wave: Iterable[Mustered]) -> Readiness:
    """Count those devices of a wave that may still switch."""
    mine = list(wave)
    ready = [each.changed_at_s for each in mine if each.state is MemberState.READY]
    awaited = sum(each.state in (MemberState.WAITING, MemberState.ASSIGNED) for each in mine)
    return Readiness(ready=len(ready), awaited=awaited, first_at_s=min(ready, default=None))


def is_ready(seen: Observed) -> bool:
    """Tell whether a device has said that it is ready, and was not told to switch yet."""
    slot, entry = seen.slot, seen.assignment.entry if seen.assignment else None
    if slot is None or entry is None or slot.state.generation < entry.generation:
        return False
    waits = entry.arms is not None and entry.arms.share_percent == WAITS_PERCENT
    return waits and _is_pair(entry) and (slot.state.phase, slot.state.cause) == (Phase.READY, Cause.NONE)


def refusal(policy: Policy, seen: Observed) -> Skip | None:
    """Return why a device is left out: both releases do not fit into its memory."""
    alone = beside.no_memory(policy, seen) if policy.pair is not None else None
    if alone is None:
        return None
    return Skip(device=seen.device.id, cause=alone.cause, detail=f"left out: {alone.detail}")


def with_arms(policy: Policy, wave: int, entry: Entry, seen: Observed, now_s: float) -> Entry:
    """Return an entry that makes a device ready, or lets it switch by itself where its wave was told to already.

    The same entry where the policy asks for no pair, or the device serves nothing.
    """
    terms, current = policy.pair, seen.slot.state.current if seen.slot else None
    if terms is None or current is None or entry.intent is not Intent.UPGRADE:
        return entry
    told = wave in terms.told
    return replace(
        entry,
        arms=Arms(
            mode=ArmMode.BLUE_GREEN,
            control=current.release,
            share_percent=SWITCHES_PERCENT if told else WAITS_PERCENT,
            until_s=beside.until_s(entry, now_s, terms.keep_s if told else terms.waits_s),
            duration_s=terms.keep_s,
        ),
    )


def switch(policy: Policy, seen: Observed, generation: int, now_s: float) -> Assign | None:
    """Return the newer entry that lets a ready device take over; None: it is not for this device, or not ready."""
    last = seen.assignment
    if policy.pair is None or last is None or last.outcome is not None or last.entry.arms is None:
        return None
    if not _is_pair(last.entry) or last.entry.arms.share_percent != WAITS_PERCENT:
        return None
    stays_s = int(now_s) + beside.SELF_TEST_S + policy.pair.keep_s
    arms = replace(last.entry.arms, share_percent=SWITCHES_PERCENT, until_s=stays_s, duration_s=policy.pair.keep_s)
    return Assign(
        device=seen.device.id,
        incarnation=seen.device.incarnation,
        entry=replace(last.entry, generation=generation, arms=arms),
        before=last.before,
    )


def _is_pair(entry: Entry) -> bool:
    return entry.arms is not None and entry.arms.mode is ArmMode.BLUE_GREEN
