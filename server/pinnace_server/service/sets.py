"""Making a device's assignment set of everything that it should run; to sign and publish it is the controller's."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pinnace_contract.ids import DeviceId, ReleaseId
from pinnace_contract.latest import AssignmentSet, Endpoint, Entry, WithdrawnRelease
from pinnace_server.domain.records import Assignment, DesiredSet, Device
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.siting import decisions_for

WITHDRAWN_MAX: Final = 16  # of one set, which has 8 KiB; devices remember what earlier ones said


def save_set(tables: Tables, world: World, device: Device, generation: int) -> None:
    """Save everything that a device should run as its next set, to be signed.

    A set without entries has its use as well: it brings the device the key that acknowledgements are signed with.
    """
    assignments = tables.assignments.of([device.id])
    entries = tuple(_still_meant(assignment) for assignment in assignments)
    tables.assignments.save_desired(
        DesiredSet(
            device=device.id,
            assignments=AssignmentSet(
                device=device.id,
                incarnation=device.incarnation,
                generation=generation,
                issued_at_s=int(world.clock.now()),
                entries=entries,
                endpoints=tuple(Endpoint(url=url) for url in world.endpoints),
                message_keys=(world.signing.message_key(),),
                withdrawn=withdrawn_for(tables, device.id),
                site_decisions=decisions_for(tables, assignments),
            ),
        )
    )


def withdrawn_for(tables: Tables, device: DeviceId) -> tuple[WithdrawnRelease, ...]:
    """Return what a device must be told is withdrawn of its models: what it holds first, then the newest."""
    assignments, slots = tables.assignments.of([device]), tables.devices.slots([device])
    models = {assignment.model for assignment in assignments} | {slot.model for slot in slots}
    found = tables.versions.withdrawn(models)
    if len(found) <= WITHDRAWN_MAX:
        return tuple(found)
    held: set[ReleaseId | None] = {assignment.release for assignment in assignments}
    for slot in slots:
        known = (slot.state.current, slot.state.candidate, *slot.state.last_good)
        held.update(each.release for each in known if each is not None)
    return tuple(sorted(found, key=lambda each: each.release not in held))[:WITHDRAWN_MAX]


def _still_meant(assignment: Assignment) -> Entry:
    """An attempt that has ended compares nothing any more: what it was compared with may leave the server."""
    return assignment.entry if assignment.outcome is None else replace(assignment.entry, arms=None)
