"""Liveness: what must have come about when the faults have stopped and the world had time.

Every device has reached what it was told or a named reason, serves what it says it serves, and the server knows all of
it: every receipt once, every report accounted for and counted once.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from pinnace_agent.core.slot import Servable
from pinnace_agent.worker.events import WorkerRef
from pinnace_contract.ids import ReleaseId
from pinnace_contract.latest import Phase
from pinnace_server.service.controller import MINUTES_KEPT_S
from pinnace_server.service.ports import Tables
from pinnace_sim.checks import Rule, Violation, is_whole
from pinnace_sim.device import SimDevice
from pinnace_sim.plan import Nature

if TYPE_CHECKING:
    from pinnace_sim.world import World

CLOCK_WRONG_S_MAX: Final = 86_400.0  # a clock that is wrong by more than faults let it is not believed


def check(world: World) -> None:
    """Hold a settled world against what must be true of it.

    Raises:
        Violation
    """
    if not world.server.is_on:
        raise Violation(Rule.NOT_CONVERGED, "server", "it did not come back")
    with world.server.store.read() as tables:
        for rollout in tables.rollouts.active():
            states = sorted(str(each.state) for each in tables.rollouts.members(rollout.id))
            raise Violation(Rule.NOT_CONVERGED, rollout.id, f"it is still under way: {', '.join(states)}")
        for device in world.devices.values():
            _device(world, tables, device)
            _receipts(world, tables, device)
            _reports(world, tables, device)
        _counted(world, tables)


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
        if slot.phase is not Phase.IDLE:
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
    ids = [device.id for device in world.devices.values()]
    for release, n in most.items():
        found = tables.reports.counts(ids, release).n
        if not least[release] <= found <= n:
            text = f"{found} answers of release {release[:12]} are counted, and the reports say {n}"
            raise Violation(Rule.MISCOUNTED, "server", text)
