"""A plan as a value: what was observed, what to change, how things stand; and whether it may be executed.

A plan is immutable, names its parent and leaves the executor no choices. How one comes about is ``planner``'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from pinnace_contract import codec, ids
from pinnace_contract.ids import DeviceId, IncarnationId, RolloutId
from pinnace_contract.latest import Cause, Entry, Intent, Outcome, Running
from pinnace_server.domain.records import (
    UNDER_WAY,
    Assignment,
    Device,
    DeviceState,
    Member,
    MemberState,
    PlanId,
    Slot,
)


class WaitingOn(StrEnum):
    """What holds a device or a wave. The last ones are of waves with gates, windows and approvals."""

    DEVICE_NEVER_SEEN = "DEVICE_NEVER_SEEN"
    DEVICE_OFFLINE = "DEVICE_OFFLINE"
    CLONE_SUSPECTED = "CLONE_SUSPECTED"
    QUARANTINED = "QUARANTINED"
    OTHER_ROLLOUT = "OTHER_ROLLOUT"
    PLANNING = "PLANNING"
    ANSWER = "ANSWER"
    OFFERED = "OFFERED"
    WINDOW = "WINDOW"
    VETO = "VETO"
    APP_CONTRACT = "APP_CONTRACT"
    METERED = "METERED"
    FETCHING = "FETCHING"
    SELF_TEST = "SELF_TEST"
    SHADOW = "SHADOW"
    SWITCH = "SWITCH"
    TRIAL = "TRIAL"
    CONTACT = "CONTACT"
    REVERTING = "REVERTING"
    RECEIPT = "RECEIPT"
    SITE_DECISION = "SITE_DECISION"
    SITE = "SITE"
    EARLIER_WAVE = "EARLIER_WAVE"
    DEVICES = "DEVICES"
    BUDGET = "BUDGET"
    PAUSED = "PAUSED"
    SOAK_TIME = "SOAK_TIME"
    APPROVAL = "APPROVAL"
    GATE_COLLECTING = "GATE_COLLECTING"
    INSTALLS_STOPPED = "INSTALLS_STOPPED"
    RESTORED = "RESTORED"
    UNREADABLE = "UNREADABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Why a device may not be assigned at this moment."""

    waiting_on: WaitingOn
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One device of the rollout as the server knows it now.

    ``assignment`` and ``slot`` are of the rollout's model; ``busy`` says that the assignment belongs to another rollout
    that is still active; ``rival`` is a rollout that goes first on this device; ``attempts`` is the highest attempt of
    the target release that this device gave a receipt for.
    """

    device: Device
    member: Member
    assignment: Assignment | None = None
    slot: Slot | None = None
    busy: bool = False
    rival: RolloutId | None = None
    attempts: int = 0


Fleet = Mapping[DeviceId, Observed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign:
    """Give the device this entry, under a set of the entry's generation. ``why``: what is otherwise than asked for."""

    device: DeviceId
    incarnation: IncarnationId
    entry: Entry
    before: Running | None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """The device is already on its way to the release, or there: the rollout takes the assignment over as it stands."""

    device: DeviceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """The device cannot be moved, now or later."""

    device: DeviceId
    cause: Cause
    detail: str


Change = Assign | Adopt | Skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do for one rollout. ``id`` is a hash of everything else."""

    id: PlanId
    parent: PlanId | None
    rollout: RolloutId
    made_at_s: int
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """How far one device is, and what it waits on; None when it waits on nothing more.

    ``rival``: the rollout that goes first on it, where that is what it waits on.
    """

    device: DeviceId
    wave: int
    state: MemberState
    waiting_on: WaitingOn | None = None
    cause: Cause = Cause.NONE
    detail: str = ""
    rival: RolloutId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """The rollout as it stands. ``finished``: no device of it can still change state by itself."""

    devices: tuple[DeviceReport, ...]
    finished: bool

    def by_state(self) -> Mapping[MemberState, int]:
        """Count devices by state."""
        return {state: n for state in MemberState if (n := sum(each.state is state for each in self.devices))}

    def waiting(self) -> Mapping[WaitingOn, int]:
        """Count devices by what they wait on."""
        return {on: n for on in WaitingOn if (n := sum(each.waiting_on is on for each in self.devices))}


ENDED: Final = frozenset(set(MemberState) - {MemberState.WAITING} - UNDER_WAY)


def make(rollout: RolloutId, parent: Plan | None, changes: tuple[Change, ...], now_s: float) -> Plan:
    """Return the plan of these changes, under the hash that is its id."""
    made_at_s, parent_id = int(now_s), parent.id if parent else None
    return Plan(
        id=_plan_id(rollout, parent_id, made_at_s, changes),
        parent=parent_id,
        rollout=rollout,
        made_at_s=made_at_s,
        changes=changes,
    )


def check(plan: Plan, observed: Fleet, parent: Plan | None) -> tuple[str, ...]:
    """Return what is wrong with a plan, apart from how it came about; a plan with problems is never executed."""
    problems: list[str] = []
    if plan.parent != (parent.id if parent else None):
        problems.append("the plan was not made from the newest one")
    if plan.id != _plan_id(plan.rollout, plan.parent, plan.made_at_s, plan.changes):
        problems.append("the plan's id is not the hash of its content")
    devices = [change.device for change in plan.changes]
    if len(set(devices)) != len(devices):
        problems.append("a device stands in the plan twice")
    for change in plan.changes:
        seen = observed.get(change.device)
        if seen is None:
            problems.append(f"{change.device}: not a device of this rollout")
        elif isinstance(change, Assign):
            problems.extend(f"{change.device}: {problem}" for problem in _problems(change, seen))
    return tuple(problems)


def apply(plan: Plan, observed: Fleet) -> dict[DeviceId, Observed]:
    """Return what will be known once a plan is carried out and no device has answered yet."""
    after = dict(observed)
    for change in plan.changes:
        after[change.device] = applied(change, plan, after[change.device])
    return after


def applied(change: Change, plan: Plan, seen: Observed) -> Observed:
    """Return one device after its change: the rows that the executor writes."""
    member = seen.member
    match change:
        case Assign():
            assignment = Assignment(
                device=change.device,
                model=change.entry.model,
                entry=change.entry,
                rollout=plan.rollout,
                actor="",
                assigned_at_s=plan.made_at_s,
                before=change.before,
            )
            generation = change.entry.generation
            member = replace(
                member, state=MemberState.ASSIGNED, generation=generation, cause=Cause.NONE, detail=change.why
            )
            device = replace(seen.device, generation=change.entry.generation, updating=True)
            return replace(seen, device=device, member=member, assignment=assignment, busy=False)
        case Adopt():
            assert seen.assignment is not None
            taken = replace(seen.assignment, rollout=plan.rollout)
            state = MemberState.COMMITTED if taken.outcome is Outcome.COMMITTED else MemberState.ASSIGNED
            member = replace(member, state=state, generation=taken.entry.generation)
            return replace(seen, member=member, assignment=taken, busy=False)
        case Skip():
            member = replace(member, state=MemberState.SKIPPED, cause=change.cause, detail=change.detail)
            return replace(seen, member=member)


def _problems(change: Assign, seen: Observed) -> Iterator[str]:
    entry, device = change.entry, seen.device
    if entry.generation <= max(device.generation, device.reported_generation):
        yield f"generation {entry.generation} does not grow"
    if device.state in (DeviceState.QUARANTINED, DeviceState.DECOMMISSIONED):
        yield f"a {device.state} device gets no new assignments"
    if change.incarnation != device.incarnation:
        yield "the incarnation is not the device's"
    if (entry.release is None) != (entry.intent is Intent.REMOVE):
        yield "only a removal has no release"
    if entry.release is not None and not entry.variants:
        yield "no variant to run"


def _plan_id(rollout: RolloutId, parent: PlanId | None, made_at_s: int, changes: tuple[Change, ...]) -> PlanId:
    tree = [rollout, parent, made_at_s, [_spelled(change) for change in changes]]
    return PlanId(ids.digest_of(codec.canonical_json(tree)))


def _spelled(change: Change) -> list[object]:
    match change:
        case Assign():
            before = change.before.release if change.before else None
            why = [change.why] if change.why else []
            return ["assign", change.device, change.incarnation, codec.plain(change.entry), before, *why]
        case Adopt():
            return ["adopt", change.device]
        case Skip():
            return ["skip", change.device, str(change.cause), change.detail]
