"""Whether a device can compare a release with what it serves before it serves it, and what it is told then.

The device has the last word: what it says of its memory when it is told decides, and a device that has said that two
releases do not fit is not asked again in the same rollout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from pinnace_contract.latest import ArmMode, Arms, Cause, Entry, Intent, Outcome
from pinnace_server.domain.plans import Observed
from pinnace_server.domain.policy import Policy
from pinnace_server.domain.records import Assignment

SELF_TEST_S: Final = 3_600  # between the end of a fetch and the beginning of a shadow: hashing, and the golden vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Unshadowed:
    """Why a device gets no shadow that the policy asks for."""

    cause: Cause
    detail: str


def why_not(policy: Policy, seen: Observed) -> Unshadowed | None:
    """Return why this device cannot have the shadow that is asked for; None: it can, or none is asked for."""
    if policy.shadow is None:
        return None
    if seen.slot is None or seen.slot.state.current is None:
        return Unshadowed(cause=Cause.NO_FALLBACK, detail="it serves nothing that the release could be compared with")
    last = seen.assignment
    if last is not None and last.rollout == policy.rollout and found_no_memory(last):
        return Unshadowed(cause=Cause.NO_MEMORY, detail=f"it has no memory for two releases ({last.detail})")
    return None


def found_no_memory(assignment: Assignment) -> bool:
    """Tell whether a device ended an attempt because both releases did not fit into its memory."""
    ended = (assignment.outcome, assignment.cause) == (Outcome.FAILED, Cause.NO_MEMORY)
    return ended and assignment.entry.arms is not None


def with_arms(policy: Policy, entry: Entry, seen: Observed, now_s: float) -> Entry:
    """Return an entry with the shadow that the policy asks for; the same entry where it asks for none.

    The shadow lasts its duration from its beginning on the device. Its end in any case leaves time to fetch: a shadow
    that could not begin by then is no evidence, and the device says so.
    """
    terms, current = policy.shadow, seen.slot.state.current if seen.slot else None
    if terms is None or current is None or entry.intent is not Intent.UPGRADE:
        return entry
    begins_s = int(now_s) if entry.window is None else max(int(now_s), entry.window.opens_s)
    return replace(
        entry,
        arms=Arms(
            mode=ArmMode.SHADOW,
            control=current.release,
            share_percent=terms.share_percent,
            until_s=begins_s + entry.deadlines.fetch_s + SELF_TEST_S + terms.duration_s,
            duration_s=terms.duration_s,
            differing_percent_max=terms.differing_percent_max,
        ),
    )
