"""Devices as operators see and change them: lists, labels, names, readmission, decommissioning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pinnace_contract.ids import DeviceId, IncarnationId, ModelName, VersionName
from pinnace_contract.latest import Cause
from pinnace_contract.topics import Down, DownTopic
from pinnace_server.domain.queries import DeviceQuery, Listing, ReceiptQuery
from pinnace_server.domain.records import (
    Assignment,
    DesiredSet,
    Device,
    DeviceState,
    Event,
    EventKind,
    Incarnation,
    ReceiptRecord,
    Severity,
    Slot,
    Status,
)
from pinnace_server.errors import Conflict, NotFound, Refused
from pinnace_server.service import variant_choices
from pinnace_server.service.closing import close_recorded
from pinnace_server.service.condition import refreshed
from pinnace_server.service.enrolment import check_labels
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.variant_choices import VariantChoice

NAME_CHARS_MAX: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A device with what is known and wanted of its models."""

    device: Device
    slots: tuple[Slot, ...]
    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenInFull:
    """A device with everything that one page about it needs."""

    seen: Seen
    incarnations: tuple[Incarnation, ...]
    desired: DesiredSet | None
    variants: Sequence[VariantChoice]
    now_s: float


class Fleet:
    """Reads and changes devices."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> float:
        """Return the time that statuses are judged at."""
        return self._world.clock.now()

    def listing(self, query: DeviceQuery) -> Listing[Seen]:
        """Return devices with their models."""
        with self._world.store.read() as tables:
            found = tables.devices.listing(query)
            return Listing(rows=seen(tables, found.rows), total=found.total)

    def by_status(self, query: DeviceQuery) -> Mapping[Status, int]:
        """Count what a query matches without its status filter."""
        with self._world.store.read() as tables:
            return tables.devices.by_status(query)

    def label_keys(self) -> Sequence[str]:
        """Return every label key that operators use."""
        with self._world.store.read() as tables:
            return tables.devices.label_keys()

    def serving(self, model: ModelName | None = None) -> Sequence[tuple[ModelName, VersionName | None, int]]:
        """Count devices by what serves."""
        with self._world.store.read() as tables:
            return tables.devices.serving(model)

    def device(self, device: DeviceId) -> SeenInFull:
        """Return one device.

        Raises:
            NotFound
        """
        with self._world.store.read() as tables:
            found = found_device(tables, device)
            return SeenInFull(
                seen=seen(tables, (found,))[0],
                incarnations=tuple(tables.devices.incarnations(device)),
                desired=tables.assignments.desired(device),
                variants=variant_choices.of_device(tables, found),
                now_s=self._world.clock.now(),
            )

    def receipts(self, query: ReceiptQuery) -> Listing[ReceiptRecord]:
        """Return receipts, the newest first."""
        with self._world.store.read() as tables:
            return tables.receipts.listing(query)

    def label(self, device: DeviceId, changes: Mapping[str, str | None], actor: str) -> Device:
        """Set labels, and remove those given as None.

        Raises:
            NotFound, Refused
        """
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            had = found_device(tables, device)
            labels = {key: value for key, value in {**had.labels, **changes}.items() if value is not None}
            check_labels(labels)
            after = replace(had, labels=labels)
            if labels != dict(had.labels):
                tables.devices.save(after)
                said = ", ".join(
                    f"{key}={value}" if value is not None else f"{key} removed" for key, value in changes.items()
                )
                tables.events.append(
                    Event(
                        at_s=now,
                        kind=EventKind.DEVICE_LABELLED,
                        actor=actor,
                        summary=f"labels of {device}: {said}",
                        device=device,
                        data={key: value if value is not None else "" for key, value in changes.items()},
                    )
                )
        self._world.changes.notify(["devices", f"device:{device}", "events"])
        return after

    def rename(self, device: DeviceId, name: str) -> Device:
        """Give a device another name; its id stays.

        Raises:
            NotFound, Refused
        """
        if not 1 <= len(name.strip()) <= NAME_CHARS_MAX:
            raise Refused(f"a device's name has 1 to {NAME_CHARS_MAX} characters")
        with self._world.store.write() as tables:
            after = replace(found_device(tables, device), name=name.strip())
            tables.devices.save(after)
        self._world.changes.notify(["devices", f"device:{device}"])
        return after

    def readmit(self, device: DeviceId, incarnation: IncarnationId | None, actor: str) -> Device:
        """End a quarantine: from now on ``incarnation`` (None: the one believed in so far) is the device.

        What that store said meanwhile counts from now on.
        Another store that goes on speaking under the same identity is a suspected clone again.

        Raises:
            NotFound, Conflict
        """
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            had = found_device(tables, device)
            if had.state is not DeviceState.QUARANTINED:
                raise Conflict(f"device {device} is {had.state}, not quarantined", hint="there is nothing to readmit")
            known = {each.incarnation: each for each in tables.devices.incarnations(device)}
            chosen = incarnation or had.incarnation
            if chosen not in known:
                raise NotFound("incarnation", chosen[:64], hint=f"device {device} has shown {', '.join(known)}")
            after = replace(had, state=DeviceState.ACTIVE, cause=Cause.NONE)
            if chosen != had.incarnation:
                after = believed(after, chosen)
                tables.devices.save_slots(device, [])
            # Others may speak from now on only as clones: their silence so far must not excuse them.
            tables.devices.save_incarnation(replace(known[chosen], last_seen_s=now))
            tables.devices.save(after)
            closed = close_recorded(tables, device, chosen, now)
            if closed:
                after = refreshed(tables, after)
                tables.devices.save(after)
            tables.events.append(
                Event(
                    at_s=now,
                    kind=EventKind.DEVICE_READMITTED,
                    actor=actor,
                    summary=f"device {device} readmitted with store {chosen[:8]}…",
                    device=device,
                    data={"incarnation": chosen},
                )
            )
        self._world.changes.notify(["devices", f"device:{device}", "events", *closed])
        return after

    def decommission(self, device: DeviceId, actor: str) -> Device:
        """Take a device out for good: it gets nothing more, and nothing it says counts. Its history stays.

        Raises:
            NotFound
        """
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            had = found_device(tables, device)
            if had.state is DeviceState.DECOMMISSIONED:
                return had
            after = take_out(tables, had, now, actor)
        self._world.publisher.publish(DownTopic(device=device, channel=Down.DESIRED), b"", retained=True)
        self._world.changes.notify(["devices", f"device:{device}", "events"])
        return after


def take_out(tables: Tables, device: Device, now: float, actor: str, *, why: str = "", **facts: str) -> Device:
    """Decommission a device in this transaction. What stands on the broker for it is the caller's to clear."""
    after = replace(device, state=DeviceState.DECOMMISSIONED, online=False, updating=False, degraded=False)
    tables.devices.save(after)
    tables.events.append(
        Event(
            at_s=now,
            kind=EventKind.DEVICE_DECOMMISSIONED,
            actor=actor,
            summary=f"device {device.id} decommissioned{why}"[:500],
            severity=Severity.WARNING,
            device=device.id,
            data=facts,
        )
    )
    return after


def found_device(tables: Tables, device: DeviceId) -> Device:
    """Return a device of this transaction.

    Raises:
        NotFound
    """
    found = tables.devices.get(device)
    if found is None:
        raise NotFound("device", device[:70])
    return found


def believed(device: Device, incarnation: IncarnationId) -> Device:
    """Return a device whose store is another one: everything that the old store said is forgotten."""
    return replace(
        device,
        incarnation=incarnation,
        boot=None,
        connection=0,
        reported_generation=0,
        reported_cause=Cause.NONE,
        reported_detail="",
        reported_boot=None,
        reported_seq=-1,
    )


def seen(tables: Tables, devices: Sequence[Device]) -> tuple[Seen, ...]:
    """Return devices of this transaction with their models, in the same order."""
    names = [device.id for device in devices]
    slots: dict[DeviceId, list[Slot]] = {name: [] for name in names}
    for slot in tables.devices.slots(names):
        slots[slot.device].append(slot)
    assignments: dict[DeviceId, list[Assignment]] = {name: [] for name in names}
    for assignment in tables.assignments.of(names):
        assignments[assignment.device].append(assignment)
    return tuple(
        Seen(device=device, slots=tuple(slots[device.id]), assignments=tuple(assignments[device.id]))
        for device in devices
    )
