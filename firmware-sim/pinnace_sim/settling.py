"""Liveness: what must have come about when the faults have stopped and the world had time.

Every device has reached what it was told or a named reason, serves what it says it serves, and the server knows all of
it: every receipt once, every report accounted for and counted once.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from pinnace_agent.core.slot import Servable, Slot
from pinnace_agent.worker.events import WorkerRef
from pinnace_contract.ids import ReleaseId, RolloutId
from pinnace_contract.latest import Phase
from pinnace_server.domain import pairs, wave_report
from pinnace_server.domain import ramp as ramps
from pinnace_server.domain.gates.verdicts import Decision
from pinnace_server.domain.plans import ENDED, WaitingOn
from pinnace_server.domain.records import MemberState, Rollout
from pinnace_server.domain.rollout_policy.policy import BlueGreen
from pinnace_server.service.climbing import LOOK_SELDOM_S
from pinnace_server.service.controller import MINUTES_KEPT_S
from pinnace_server.service.ports import Tables
from pinnace_server.service.ramps import ramp_of, stopped_installs
from pinnace_sim.checks import Rule, Violation, is_whole
from pinnace_sim.device import SimDevice
from pinnace_sim.plan import Nature

if TYPE_CHECKING:
    from pinnace_sim.world import World

_MAY_WAIT: Final = frozenset(
    {
        WaitingOn.EARLIER_WAVE,
        WaitingOn.PAUSED,
        WaitingOn.OTHER_ROLLOUT,
        WaitingOn.INSTALLS_STOPPED,
        WaitingOn.BUDGET,
        WaitingOn.WINDOW,
        WaitingOn.SITE,
        WaitingOn.SWITCH,
    }
)
"""What a device of a rollout in waves may wait on for as long as it likes."""

_BY_GATES: Final = ("proven", "unrefuted")

LAST_MINUTE: Final = 2**31 - 1
CLOCK_WRONG_S_MAX: Final = 86_400.0  # a clock that is wrong by more than faults let it is not believed


def check(world: World) -> None:
    """Hold a settled world against what must be true of it.

    Raises:
        Violation
    """
    if not world.server.is_on:
        raise Violation(Rule.NOT_CONVERGED, "server", "it did not come back")
    with world.server.store.read() as tables:
        active = tables.rollouts.active()
        for rollout in active:
            if not rollout.rules:
                states = sorted(str(each.state) for each in tables.rollouts.members(rollout.id))
                raise Violation(Rule.NOT_CONVERGED, rollout.id, f"it is still under way: {', '.join(states)}")
        for device in world.devices.values():
            _device(world, tables, device)
            _receipts(world, tables, device)
            _reports(world, tables, device)
        _counted(world, tables)
        for name in world.rollouts:
            _kept_verdicts(tables, name)
    for rollout in active:
        if rollout.rules:
            _waves(world, rollout)


def _kept_verdicts(tables: Tables, rollout: RolloutId) -> None:
    """What a wave's row keeps of its gates is what they promoted it by."""
    for wave in tables.rollouts.waves(rollout):
        report = wave_report.read(wave.verdict)
        if wave.promoted_by in _BY_GATES and (report is None or not report.record or not _promotes(report.decision)):
            text = f"wave {wave.number} is promoted as {wave.promoted_by}, and its row says {wave.verdict[:200]}"
            raise Violation(Rule.RULING_UNTRUE, rollout, text)


def _promotes(decision: Decision) -> bool:
    return decision in (Decision.PROMOTE_PROVEN, Decision.PROMOTE_UNREFUTED)


def _waves(world: World, rollout: Rollout) -> None:
    """A rollout in waves may wait for a person, for time, or for evidence; its devices for nothing else."""
    for device in world.server.rollouts.progress(rollout.id).report.devices:
        if device.state not in ENDED and device.waiting_on not in _MAY_WAIT:
            text = f"{device.device} is {device.state} and waits on {device.waiting_on}: {device.detail}"
            raise Violation(Rule.NOT_CONVERGED, rollout.id, text)
    with world.server.store.read() as tables:
        ramp = ramp_of(tables, rollout)
    wave = ramp.current if ramp is not None else None
    if ramp is None or wave is None or ramp.paused or wave.asked_at_s is not None:
        return
    if wave.started_at_s is None:
        if ramps.standing(ramp, None, world.server.now()).ruling is not None:
            raise Violation(Rule.NOT_CONVERGED, rollout.id, f"wave {wave.number} could begin, and does not")
        return
    _switches(world, rollout, ramp, wave.number)
    gates = ramp.policy.gates
    if wave.switched_at_s is None:
        return  # nobody served it: its time has not begun
    until_s = wave.switched_at_s + gates.soak_s + gates.hold_timeout_s
    if world.server.now() > until_s + 2 * LOOK_SELDOM_S:
        raise Violation(Rule.NOT_CONVERGED, rollout.id, f"wave {wave.number} is past its time, and nobody was asked")


def _switches(world: World, rollout: Rollout, ramp: ramps.Ramp, number: int) -> None:
    """What is ready does not wait longer than its policy says, unless installs were stopped."""
    strategy = ramp.policy.strategy
    if not isinstance(strategy, BlueGreen) or number in ramp.told:
        return
    with world.server.store.read() as tables:
        muster = [each for each in tables.rollouts.muster(rollout.id) if each.wave == number]
    ready = pairs.readiness(muster)
    late_s = world.server.now() - strategy.wait_s - 2 * LOOK_SELDOM_S
    late = ready.first_at_s is not None and ready.first_at_s < late_s
    if late and stopped_installs(ramp.policy, muster, number) is None:
        raise Violation(Rule.NOT_CONVERGED, rollout.id, f"wave {number} is ready, and nobody tells it to switch")


def _device(world: World, tables: Tables, device: SimDevice) -> None:
    known = tables.devices.get(device.id)
    if device.run is None or known is None:
        raise Violation(Rule.NOT_CONVERGED, device.name, "it is not on")
    state = device.run.daemon.state
    if not known.online:
        raise Violation(Rule.NOT_CONVERGED, device.name, "it is on, and the server believes that it is not there")
    desired = tables.assignments.desired(device.id)
    if desired is not None and state.generation != desired.generation:
        text = f"it has generation {state.generation}, and {desired.generation} was meant for it"
        raise Violation(Rule.NOT_CONVERGED, device.name, text)
    if known.reported_generation != state.generation:
        text = f"it has generation {state.generation}, and the server believes {known.reported_generation}"
        raise Violation(Rule.BELIEF, device.name, text)
    believed = {slot.model: slot.state for slot in tables.devices.slots([device.id])}
    for slot in state.slots:
        if slot.phase is not Phase.IDLE and not _may_wait(world, tables, device, slot):
            raise Violation(Rule.NOT_CONVERGED, device.name, f"it is still in phase {slot.phase}: {slot.reason}")
        serving = device.run.workers.serving(slot.model)
        if slot.current is not None:
            dies = world.natures[slot.current.release] in (Nature.CRASHES, Nature.HANGS)  # and is being started again
            if not (serving is None and dies) and not _serves(slot.current, serving):
                raise Violation(Rule.NO_MODEL, device.name, f"{slot.current.version} is committed and does not serve")
            if not is_whole(device, slot.current):
                raise Violation(Rule.NO_MODEL, device.name, f"a file of {slot.current.version} is not whole")
        elif serving is not None:
            raise Violation(Rule.NO_MODEL, device.name, "a worker serves, and nothing is committed")
        told = believed.get(slot.model)
        current = told.current.release if told is not None and told.current is not None else None
        if told is None or current != (slot.current.release if slot.current else None):
            raise Violation(Rule.BELIEF, device.name, "the server believes that it runs something else")


def _may_wait(world: World, tables: Tables, device: SimDevice, slot: Slot) -> bool:
    """Tell whether a device waits for its wave, or for a window that is still to open."""
    window = slot.work.entry.window if slot.work is not None else None
    to_open = window is not None and window.opens_s > world.schedule.origin_s + world.schedule.now_s
    return _waits_for_its_wave(tables, device, slot) or (slot.phase is Phase.STAGED and to_open)


def _waits_for_its_wave(tables: Tables, device: SimDevice, slot: Slot) -> bool:
    """Tell whether the server knows that the device is ready, and has a reason to let it wait."""
    member = tables.rollouts.member_of(device.id, slot.model, slot.generation)
    return slot.phase is Phase.READY and member is not None and member.state is MemberState.READY


def _serves(current: Servable, serving: WorkerRef | None) -> bool:
    return serving is not None and current.is_same(serving.release, serving.variant)


def _receipts(world: World, tables: Tables, device: SimDevice) -> None:
    assert device.run is not None
    if device.run.daemon.state.outbox:
        raise Violation(Rule.RECEIPT_LOST, device.name, "a receipt was never acknowledged")
    for receipt in world.checks.receipts[device.name].values():
        if tables.receipts.get(receipt.id) is None and receipt.id not in world.checks.lost:
            text = f"the receipt of generation {receipt.generation} ({receipt.outcome}) is not in the database"
            raise Violation(Rule.RECEIPT_LOST, device.name, text)


def _reports(world: World, tables: Tables, device: SimDevice) -> None:
    assert device.run is not None
    waiting = {(each.boot, each.seq_to) for each in device.run.store.spooled()}
    for boot, seq in sorted(world.checks.kept_reports[device.name]):
        if (boot, seq) in waiting:
            continue
        ranges = tables.reports.ranges(device.id, boot)
        if not any(each.seq_from <= seq <= each.seq_to for each in ranges):
            raise Violation(Rule.REPORT_LOST, device.name, f"report {seq} of boot {boot[:8]} is accounted for nowhere")


def _counted(world: World, tables: Tables) -> None:
    """What the server has counted is what the reports that it has say, each of them once.

    In a world that is longer than the server keeps minutes, the oldest counts have gone by the end. What cannot be so
    old, whatever its device's clock said, must be there.
    """
    surely_s = world.schedule.now_s - MINUTES_KEPT_S + CLOCK_WRONG_S_MAX
    most: Counter[ReleaseId] = Counter()
    least: Counter[ReleaseId] = Counter()
    for device in world.devices.values():
        for (boot, seq), counted in world.checks.reports[device.name].items():
            ranges = tables.reports.ranges(device.id, boot)
            if any(each.seq_from <= seq <= each.seq_to and not each.dropped for each in ranges):
                most.update(counted.answers)
                if counted.at_s > surely_s or world.schedule.now_s <= MINUTES_KEPT_S:
                    least.update(counted.answers)
    _told(world, tables)
    ids = [device.id for device in world.devices.values()]
    for release, n in most.items():
        found = tables.reports.counts(ids, release).n
        if not least[release] <= found <= n:
            text = f"{found} answers of release {release[:12]} are counted, and the reports say {n}"
            raise Violation(Rule.MISCOUNTED, "server", text)


def _told(world: World, tables: Tables) -> None:
    """What applications told is counted as the reports say, in worlds in which they tell and no minute has gone."""
    if world.schedule.now_s > MINUTES_KEPT_S or not any(each.plan.tells for each in world.devices.values()):
        return
    said, found = Counter[int](), Counter[int]()
    for device in world.devices.values():
        for (boot, seq), counted in world.checks.reports[device.name].items():
            ranges = tables.reports.ranges(device.id, boot)
            if any(each.seq_from <= seq <= each.seq_to and not each.dropped for each in ranges):
                said.update(dict(enumerate(counted.told)))
    for row in tables.reports.fleet_minutes(0, LAST_MINUTE):
        for counts, place in ((row.outcomes, 0), (row.groups, 2)):
            for each in counts.values():
                found.update({place: each[0], place + 1: each[1]})
    if +found != +said:
        text = f"of what applications told {dict(found)} is counted, and the reports say {dict(said)}"
        raise Violation(Rule.MISCOUNTED, "server", text)
