"""Making a device's assignment set of everything that it should run; to sign and publish it is the controller's."""

from __future__ import annotations

from dataclasses import replace

from pinnace_contract.latest import AssignmentSet, Endpoint, Entry
from pinnace_server.domain.records import Assignment, DesiredSet, Device
from pinnace_server.service.ports import Tables, World


def save_set(tables: Tables, world: World, device: Device, generation: int) -> None:
    """Save everything that a device should run as its next set, to be signed.

    A set without entries has its use as well: it brings the device the key that acknowledgements are signed with.
    """
    entries = tuple(_still_meant(assignment) for assignment in tables.assignments.of([device.id]))
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
            ),
        )
    )


def _still_meant(assignment: Assignment) -> Entry:
    """An attempt that has ended compares nothing any more: what it was compared with may leave the server."""
    return assignment.entry if assignment.outcome is None else replace(assignment.entry, arms=None)
