"""How far one device of a rollout is, and what it waits on."""

from __future__ import annotations

from typing import Final

from pinnace_contract.ids import RolloutId
from pinnace_contract.latest import Cause, Outcome, Phase
from pinnace_server.domain import pairs, splits
from pinnace_server.domain.plans import Adopt, Assign, Change, DeviceReport, Held, Observed, Skip, WaitingOn
from pinnace_server.domain.policy import Policy
from pinnace_server.domain.records import UNDER_WAY, DeviceState, MemberState
from pinnace_server.domain.statuses import is_online

_OUTCOMES: Final = {
    Outcome.COMMITTED: MemberState.COMMITTED,
    Outcome.REVERTED: MemberState.REVERTED,
    Outcome.FAILED: MemberState.FAILED,
    Outcome.REJECTED: MemberState.REJECTED,
    Outcome.SUPERSEDED: MemberState.SUPERSEDED,
    Outcome.CANCELLED: MemberState.CANCELLED,
    Outcome.UNKNOWN: MemberState.FAILED,
}
_HOLDS: Final = {
    Cause.WINDOW: WaitingOn.WINDOW,
    Cause.VETO: WaitingOn.VETO,
    Cause.APP_CONTRACT: WaitingOn.APP_CONTRACT,
    Cause.METERED: WaitingOn.METERED,
}
_PHASES: Final = {
    Phase.IDLE: WaitingOn.RECEIPT,
    Phase.OFFERED: WaitingOn.OFFERED,
    Phase.FETCHING: WaitingOn.FETCHING,
    Phase.VERIFYING: WaitingOn.FETCHING,
    Phase.STAGED: WaitingOn.OFFERED,
    Phase.SELF_TEST: WaitingOn.SELF_TEST,
    Phase.SHADOW: WaitingOn.SHADOW,
    Phase.READY: WaitingOn.SWITCH,
    Phase.TRIAL: WaitingOn.TRIAL,
    Phase.PREPARED: WaitingOn.SITE_DECISION,
    Phase.AWAITING_CONTACT: WaitingOn.CONTACT,
    Phase.REVERTING: WaitingOn.REVERTING,
    Phase.UNKNOWN: WaitingOn.RECEIPT,
}


def report(policy: Policy, wave: int, seen: Observed, change: Change | None, now_s: float) -> DeviceReport:
    """Return how far a device is, given what the plan does with it."""
    member = seen.member
    state, cause, detail = member.state, member.cause, member.detail
    waiting: WaitingOn | None = None
    match change:
        case Skip():
            state, cause, detail = MemberState.SKIPPED, change.cause, change.detail
        case Adopt() | Assign():
            waiting = WaitingOn.PLANNING
        case None:
            if state in UNDER_WAY:
                state, cause, detail = _ended(policy, seen)
            if state in (MemberState.WAITING, MemberState.READY):
                why = held(policy, seen) or Held(waiting_on=WaitingOn.PLANNING)
                waiting, detail = why.waiting_on, why.detail or detail
            elif state is MemberState.ASSIGNED:
                waiting = _waits(seen, now_s)
                cause, detail = _said(seen)
                if waiting is WaitingOn.SITE_DECISION:
                    detail = policy.at_sites.get(member.device, detail)
                detail = detail or member.detail
            if state is MemberState.COMMITTED:
                detail = detail or splits.told(seen)
    return DeviceReport(
        device=member.device,
        wave=wave,
        state=state,
        waiting_on=waiting,
        cause=cause,
        detail=detail,
        rival=_rival(seen) if waiting is WaitingOn.OTHER_ROLLOUT else None,
    )


def _rival(seen: Observed) -> RolloutId | None:
    if seen.rival is not None or seen.assignment is None or not seen.busy:
        return seen.rival
    return seen.assignment.rollout


def held(policy: Policy, seen: Observed) -> Held | None:
    """Return what keeps a device from being assigned for now."""
    if seen.device.state is DeviceState.QUARANTINED:
        return Held(waiting_on=_quarantine(seen))
    if seen.device.unadopted:
        return Held(waiting_on=WaitingOn.RESTORED)
    if seen.rival is not None:
        return Held(waiting_on=WaitingOn.OTHER_ROLLOUT, detail=f"rollout {seen.rival} goes first on this device")
    if seen.busy and not policy.supersedes:
        return Held(waiting_on=WaitingOn.OTHER_ROLLOUT, detail="another rollout's update is under way on it")
    return policy.held.get(seen.device.id)


def _quarantine(seen: Observed) -> WaitingOn:
    return WaitingOn.CLONE_SUSPECTED if seen.device.cause is Cause.CLONE_SUSPECTED else WaitingOn.QUARANTINED


def _ended(policy: Policy, seen: Observed) -> tuple[MemberState, Cause, str]:
    assignment = seen.assignment
    if assignment is None or assignment.rollout != policy.rollout:
        detail = f"rollout {assignment.rollout} took over" if assignment else "the model was taken from the device"
        return MemberState.SUPERSEDED, Cause.NEWER_GENERATION, detail
    if assignment.outcome is None:
        return MemberState.READY if pairs.is_ready(seen) else MemberState.ASSIGNED, Cause.NONE, ""
    return _OUTCOMES[assignment.outcome], assignment.cause, assignment.detail


def _waits(seen: Observed, now_s: float) -> WaitingOn:
    if seen.device.state is DeviceState.QUARANTINED:
        return _quarantine(seen)
    if seen.device.unadopted:
        return WaitingOn.RESTORED
    if seen.device.seen_at_s is None:
        return WaitingOn.DEVICE_NEVER_SEEN
    if not is_online(seen.device, now_s):
        return WaitingOn.DEVICE_OFFLINE
    slot, entry = seen.slot, seen.assignment.entry if seen.assignment else None
    if slot is None or entry is None or slot.state.generation < entry.generation:
        return WaitingOn.ANSWER
    return _HOLDS.get(slot.state.cause, _PHASES[slot.state.phase])


def _said(seen: Observed) -> tuple[Cause, str]:
    slot, entry = seen.slot, seen.assignment.entry if seen.assignment else None
    if slot is None or entry is None or slot.state.generation < entry.generation:
        return Cause.NONE, ""
    return slot.state.cause, slot.state.detail
