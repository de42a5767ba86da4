"""Whether a device can keep last good beside a release, for a share of its requests, and what it is told then."""

from __future__ import annotations

from dataclasses import replace

from pinnace_contract.latest import ArmMode, Arms, Entry, Intent
from pinnace_server.domain import beside
from pinnace_server.domain.beside import Alone
from pinnace_server.domain.plans import Observed
from pinnace_server.domain.policy import Policy


def why_not(policy: Policy, seen: Observed) -> Alone | None:
    """Return why this device cannot keep the control arm that is asked for; None: it can, or none is asked for."""
    if policy.split is None:
        return None
    return beside.why_alone(policy, seen, "it serves nothing that could keep a share of the requests")


def with_arms(policy: Policy, entry: Entry, seen: Observed, now_s: float) -> Entry:
    """Return an entry with the control arm that the policy asks for; the same entry where it asks for none.

    It lasts its duration from the release's first answer on the device. Its end in any case leaves time to fetch.
    """
    terms, current = policy.split, seen.slot.state.current if seen.slot else None
    if terms is None or current is None or entry.intent is not Intent.UPGRADE:
        return entry
    return replace(
        entry,
        arms=Arms(
            mode=ArmMode.SPLIT,
            control=current.release,
            share_percent=terms.control_percent,
            until_s=beside.until_s(entry, now_s, terms.duration_s),
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
