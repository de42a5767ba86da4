"""Whether a device can compare a release with what it serves before it serves it, and what it is told then."""

from __future__ import annotations

from dataclasses import replace

from pinnace_contract.latest import ArmMode, Arms, Entry, Intent
from pinnace_server.domain import beside
from pinnace_server.domain.beside import Alone
from pinnace_server.domain.plans import Observed
from pinnace_server.domain.policy import Policy


def why_not(policy: Policy, seen: Observed) -> Alone | None:
    """Return why this device cannot have the shadow that is asked for; None: it can, or none is asked for."""
    if policy.shadow is None:
        return None
    return beside.why_alone(policy, seen, "it serves nothing that the release could be compared with")


def with_arms(policy: Policy, entry: Entry, seen: Observed, now_s: float) -> Entry:
    """Return an entry with the shadow that the policy asks for; the same entry where it asks for none.

    The shadow lasts its duration from its beginning on the device. Its end in any case leaves time to fetch: a shadow
    that could not begin by then is no evidence, and the device says so.
    """
    terms, current = policy.shadow, seen.slot.state.current if seen.slot else None
    if terms is None or current is None or entry.intent is not Intent.UPGRADE:
        return entry
    return replace(
        entry,
        arms=Arms(
            mode=ArmMode.SHADOW,
            control=current.release,
            share_percent=terms.share_percent,
            until_s=beside.until_s(entry, now_s, terms.duration_s),
            duration_s=terms.duration_s,
            differing_percent_max=terms.differing_percent_max,
        ),
    )
