"""Whether a device can keep last good beside a release, for a share of its requests, and what it is told then.

As with a shadow the device has the last word on its memory, and is not asked again in the same rollout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pinnace_contract.latest import ArmMode, Arms, Cause, Entry, Intent
from pinnace_server.domain.plans import Observed
from pinnace_server.domain.policy import Policy
from pinnace_server.domain.shadows import SELF_TEST_S, found_no_memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsplit:
    """Why a device gets no control arm that the policy asks for."""

    cause: Cause
    detail: str


def why_not(policy: Policy, seen: Observed) -> Unsplit | None:
    """Return why this device cannot keep the control arm that is asked for; None: it can, or none is asked for."""
    if policy.split is None:
        return None
    if seen.slot is None or seen.slot.state.current is None:
        return Unsplit(cause=Cause.NO_FALLBACK, detail="it serves nothing that could keep a share of the requests")
    last = seen.assignment
    if last is not None and last.rollout == policy.rollout and found_no_memory(last):
        return Unsplit(cause=Cause.NO_MEMORY, detail=f"it has no memory for two releases ({last.detail})")
    return None


def with_arms(policy: Policy, entry: Entry, seen: Observed, now_s: float) -> Entry:
    """Return an entry with the control arm that the policy asks for; the same entry where it asks for none.

    It lasts its duration from the release's first answer on the device. Its end in any case leaves time to fetch.
    """
    terms, current = policy.split, seen.slot.state.current if seen.slot else None
    if terms is None or current is None or entry.intent is not Intent.UPGRADE:
        return entry
    begins_s = int(now_s) if entry.window is None else max(int(now_s), entry.window.opens_s)
    return replace(
        entry,
        arms=Arms(
            mode=ArmMode.SPLIT,
            control=current.release,
            share_percent=terms.control_percent,
            until_s=begins_s + entry.deadlines.fetch_s + SELF_TEST_S + terms.duration_s,
            duration_s=terms.duration_s,
        ),
    )


def told(seen: Observed) -> str:
    """Return what a device that is done says of its control arm; empty: it has none."""
    control = seen.slot.state.control if seen.slot else None
    arms = seen.assignment.entry.arms if seen.assignment else None
    if control is None:
        return ""
    share = f"{arms.share_percent} %" if arms is not None and arms.control == control.release else "a share"
    return f"{share} of its requests are still answered by version {control.version}, its control arm"
