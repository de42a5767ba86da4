"""The device list's filters and orders, asked of values: ``domain.statuses`` and ``domain.selector`` decide."""

from __future__ import annotations

from typing import Final

from pinnace_contract.ids import ModelName, VersionName
from pinnace_server.domain.queries import DeviceOrder, DeviceQuery
from pinnace_server.domain.records import Device, Slot, Status
from pinnace_server.domain.statuses import status_of
from pinnace_sim.memory.lists import contains
from pinnace_sim.memory.tables import Disk

_RANKS: Final = {word: rank for rank, word in enumerate(Status)}


def found(disk: Disk, query: DeviceQuery) -> list[Device]:
    """Return what a query asks for but for its status, in no order that means anything."""
    return [
        device
        for device in disk.devices.values()
        if device.state in query.states
        and any(contains(text, query.text) for text in (device.id, device.name, device.serial))
        and query.selector.matches(device.id, device.labels)
        and _holds(disk, device, query)
    ]


def with_status(devices: list[Device], query: DeviceQuery) -> list[Device]:
    """Return those of the query's status."""
    return [each for each in devices if query.status is None or status_of(each, query.now_s) is query.status]


def in_order(disk: Disk, devices: list[Device], query: DeviceQuery) -> list[Device]:
    """Return devices in the order asked for; what is not known comes last either way, the id decides between equals."""
    known: list[tuple[str | float, Device]] = []
    unknown: list[Device] = []
    for device in sorted(devices, key=lambda one: one.id):
        by = _by(disk, device, query)
        if by is None:
            unknown.append(device)
        else:
            known.append((by, device))
    known.sort(key=_first, reverse=query.descending)
    return [*(device for _, device in known), *unknown]


def _holds(disk: Disk, device: Device, query: DeviceQuery) -> bool:
    if query.version is not None:
        return query.version in _served(disk, device, query.model)
    if query.model is None:
        return True
    return query.model in disk.slots.get(device.id, {}) or query.model in disk.assignments.get(device.id, {})


def _by(disk: Disk, device: Device, query: DeviceQuery) -> str | float | None:
    match query.order:
        case DeviceOrder.NAME:
            return device.name or device.id
        case DeviceOrder.STATUS:
            return _RANKS[status_of(device, query.now_s)]
        case DeviceOrder.VERSION:
            return min(_served(disk, device, query.model), default=None)
        case DeviceOrder.P95:
            return device.p95_ms
        case DeviceOrder.SEEN:
            return device.seen_at_s
        case DeviceOrder.AGENT:
            return device.agent_version


def _served(disk: Disk, device: Device, model: ModelName | None) -> list[VersionName]:
    slots = disk.slots.get(device.id, {}).values()
    served = [served_by(slot) for slot in slots if model is None or slot.model == model]
    return [version for version in served if version is not None]


def served_by(slot: Slot) -> VersionName | None:
    """Return the version that a slot serves."""
    return slot.state.current.version if slot.state.current else None


def _first(pair: tuple[str | float, Device]) -> str | float:
    return pair[0]
