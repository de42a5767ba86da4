"""What devices and waves wait for, in words; the codes are for programs, and for looking them up in the manual."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pinnace_server.domain.plans import WaitingOn

WORDS: Final[Mapping[WaitingOn, str]] = {
    WaitingOn.DEVICE_NEVER_SEEN: "a first sign of life",
    WaitingOn.DEVICE_OFFLINE: "a sign of life, being offline",
    WaitingOn.CLONE_SUSPECTED: "a person, as it may be two devices",
    WaitingOn.QUARANTINED: "a person, being quarantined",
    WaitingOn.OTHER_ROLLOUT: "another rollout that goes first",
    WaitingOn.PLANNING: "the controller's next look",
    WaitingOn.ANSWER: "an answer to what was told",
    WaitingOn.OFFERED: "the fetch to begin",
    WaitingOn.WINDOW: "the maintenance window",
    WaitingOn.VETO: "an application that asked for time",
    WaitingOn.APP_CONTRACT: "an application that accepts the release",
    WaitingOn.METERED: "a link that is not metered",
    WaitingOn.FETCHING: "the fetch to end",
    WaitingOn.SELF_TEST: "the self-test",
    WaitingOn.SHADOW: "the comparison in shadow",
    WaitingOn.SWITCH: "the switch of the wave",
    WaitingOn.TRIAL: "the trial",
    WaitingOn.CONTACT: "this server's acknowledgement",
    WaitingOn.REVERTING: "the way back",
    WaitingOn.RECEIPT: "the receipt",
    WaitingOn.SITE_DECISION: "the decision about the site",
    WaitingOn.SITE: "the others of the site",
    WaitingOn.EARLIER_WAVE: "an earlier wave",
    WaitingOn.DEVICES: "the first device that serves the release",
    WaitingOn.BUDGET: "room in the budgets",
    WaitingOn.PAUSED: "a person to resume it",
    WaitingOn.SOAK_TIME: "the end of the soak time",
    WaitingOn.APPROVAL: "a person who agrees or decides",
    WaitingOn.GATE_COLLECTING: "more evidence",
    WaitingOn.INSTALLS_STOPPED: "a person, as installs were stopped",
    WaitingOn.UNREADABLE: "a policy that can be read",
    WaitingOn.RESTORED: "the device's own word after a restore",
}


def counted(waiting: Mapping[WaitingOn, int]) -> str:
    """Return how many devices wait for what, the most first."""
    ordered = sorted(waiting.items(), key=lambda each: -each[1])
    return "; ".join(f"{n} for {WORDS[on]}" for on, n in ordered)
