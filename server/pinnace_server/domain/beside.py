"""What the strategies share that put two releases into a device's memory: whether it can have both, and how long.

The device has the last word: what it says of its memory when it is told decides, and a device that has said that two
releases do not fit is not asked again in the same rollout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pinnace_contract.latest import Cause, Entry, Outcome
from pinnace_server.domain.plans import Observed
from pinnace_server.domain.policy import Policy
from pinnace_server.domain.records import Assignment

SELF_TEST_S: Final = 3_600  # between the end of a fetch and what follows it: hashing, and the golden vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """Why a device gets nothing beside the release, although the policy asks for it."""

    cause: Cause
    detail: str


def why_alone(policy: Policy, seen: Observed, nothing: str) -> Alone | None:
    """Return why this device cannot have two releases in memory; None: it can. ``nothing``: why one that serves
    nothing yet cannot."""
    if seen.slot is None or seen.slot.state.current is None:
        return Alone(cause=Cause.NO_FALLBACK, detail=nothing)
    return no_memory(policy, seen)


def no_memory(policy: Policy, seen: Observed) -> Alone | None:
    """Return what the device said of its memory in this rollout; None: that two fit, or nothing."""
    last = seen.assignment
    if last is None or last.rollout != policy.rollout or not found_no_memory(last):
        return None
    return Alone(cause=Cause.NO_MEMORY, detail=f"it has no memory for two releases ({last.detail})")


def found_no_memory(assignment: Assignment) -> bool:
    """Tell whether a device ended an attempt because both releases did not fit into its memory."""
    ended = (assignment.outcome, assignment.cause) == (Outcome.FAILED, Cause.NO_MEMORY)
    return ended and assignment.entry.arms is not None


def until_s(entry: Entry, now_s: float, lasts_s: int) -> int:
    """Return when what lasts so long on the device ends in any case: with time to fetch before it begins."""
    begins_s = int(now_s) if entry.window is None else max(int(now_s), entry.window.opens_s)
    return begins_s + entry.deadlines.fetch_s + SELF_TEST_S + lasts_s
