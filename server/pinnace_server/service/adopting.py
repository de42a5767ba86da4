"""What a device says after this server was put back from a backup: from then on it is planned for again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pinnace_server.domain import eras, planner
from pinnace_server.domain.records import Device, DeviceState, Event, EventKind, Severity, Slot
from pinnace_server.service.condition import refreshed
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.sets import save_set


def adopt(tables: Tables, world: World, device: Device, slots: Sequence[Slot], now: float) -> None:
    """Take what a device runs for what it runs, and give it its first set of the new era.

    Nothing is taken from it: what the lost server told it stays until somebody wants otherwise.
    """
    last = tables.assignments.desired(device.id)
    device = replace(device, unadopted=False)
    same_store = last is None or last.assignments.incarnation in (None, device.incarnation)
    # A new store is told everything again by the controller; one that may be two devices is told nothing.
    if same_store and device.state is not DeviceState.QUARANTINED:
        generation, states = planner.next_generation(device), {slot.model: slot.state for slot in slots}
        for assignment in tables.assignments.of([device.id]):
            tables.assignments.save(eras.adopted(assignment, states.get(assignment.model), generation, now))
        device = replace(device, generation=generation)
        tables.devices.save(device)
        save_set(tables, world, device, generation)
    tables.devices.save(refreshed(tables, device))
    running = {slot.model: slot.state.current.version if slot.state.current else "nothing" for slot in slots}
    said = ", ".join(f"{model} {version}" for model, version in sorted(running.items())) or "no model"
    tables.events.append(
        Event(
            at_s=now,
            kind=EventKind.DEVICE_ADOPTED,
            actor=f"device:{device.id}",
            summary=f"{device.id} says that it runs {said}, and is planned for again"[:500],
            device=device.id,
            data={"generation": str(device.generation), "reported": str(device.reported_generation)},
        )
    )


def out_of_reach(device: Device, generation: int, now: float) -> Event:
    """Return the alarm that a device follows a later era than the one that was begun."""
    era = eras.era_of(generation)
    return Event(
        at_s=now,
        kind=EventKind.GENERATION_BEHIND,
        actor=f"device:{device.id}",
        summary=(
            f"{device.id} has generation {generation}, of era {era}, and this server begins era "
            f"{eras.era_of(device.generation)}: stop it and run pinnace restore --era {era + 1}"
        ),
        severity=Severity.ERROR,
        device=device.id,
        data={"have": str(generation), "known": str(device.generation)},
    )
