"""What a receipt that counts closes: the assignment that it is about, and the member of its rollout."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pinnace_contract.ids import DeviceId, IncarnationId
from pinnace_contract.latest import Cause, Intent, Outcome, Receipt
from pinnace_server.domain import beside
from pinnace_server.domain.records import Assignment, Member, MemberState, RolloutState
from pinnace_server.service.ports import Tables
from pinnace_server.service.siting import comes_back

_MEMBERS: Final = {
    Outcome.COMMITTED: MemberState.COMMITTED,
    Outcome.REVERTED: MemberState.REVERTED,
    Outcome.FAILED: MemberState.FAILED,
    Outcome.REJECTED: MemberState.REJECTED,
    Outcome.SUPERSEDED: MemberState.SUPERSEDED,
    Outcome.CANCELLED: MemberState.CANCELLED,
    Outcome.UNKNOWN: MemberState.FAILED,
}


def close(tables: Tables, receipt: Receipt, now: float) -> list[str]:
    """Write down how the assignment that a receipt is about ended, and how far its rollout's member is.

    The device's last word counts, not the last to arrive: one that was lost on the way comes again, later. Returns the
    topics of what changed.
    """
    if tables.receipts.has_later(receipt):
        return []
    topics: list[str] = []
    assignment = tables.assignments.get(receipt.device, receipt.model)
    if assignment is not None and _is_about(receipt, assignment) and comes_back(tables, assignment, receipt.cause):
        return []  # its site commits, and the device, which did not hear so in time, has not ended
    if assignment is not None and _is_about(receipt, assignment):
        tables.assignments.save(
            replace(
                assignment,
                outcome=receipt.outcome,
                cause=receipt.cause,
                detail=receipt.detail,
                ended_at_s=now,
            )
        )
        topics.append("rollouts")
    member = tables.rollouts.member_of(receipt.device, receipt.model, receipt.generation)
    if member is not None:
        state = _MEMBERS[receipt.outcome]
        if assignment is not None and _is_about(receipt, assignment) and _missed_its_window(receipt, assignment, now):
            state = MemberState.WAITING  # it is told again, for the next one
        ended = tables.assignments.get(receipt.device, receipt.model)
        if ended is not None and _is_about(receipt, ended) and _goes_on_unshadowed(tables, member, ended):
            state = MemberState.WAITING  # it is told again, without a shadow or that it is left out
        tables.rollouts.save_members(
            [replace(member, state=state, cause=receipt.cause, detail=receipt.detail, changed_at_s=now)]
        )
        topics.append(f"rollout:{member.rollout}")
    return topics


def close_recorded(tables: Tables, device: DeviceId, incarnation: IncarnationId, now: float) -> list[str]:
    """Let what a store said count, now that it is known to be the device: it was acknowledged, so it is not said again.

    Returns the topics of what changed.
    """
    topics: list[str] = []
    for receipt in tables.receipts.count(device, incarnation):
        topics += close(tables, receipt, now)
    return topics


def _is_about(receipt: Receipt, assignment: Assignment) -> bool:
    entry = assignment.entry
    return receipt.generation == entry.generation and receipt.attempt == entry.attempt


def _goes_on_unshadowed(tables: Tables, member: Member, ended: Assignment) -> bool:
    """Tell whether the planner has another answer for a device without memory for two."""
    rollout = tables.rollouts.get(member.rollout)
    return rollout is not None and rollout.state is RolloutState.ACTIVE and beside.found_no_memory(ended)


def _missed_its_window(receipt: Receipt, assignment: Assignment, now: float) -> bool:
    window = assignment.entry.window
    late = receipt.cause is Cause.DEADLINE and window is not None and now >= window.closes_s
    return late and receipt.outcome is Outcome.FAILED and assignment.entry.intent is Intent.UPGRADE
