"""Devices, the stores they showed, and what each said of its models."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Final

from pinnace_contract.ids import DeviceId, KeyId, ModelName, VersionName
from pinnace_server.domain.queries import DeviceQuery, Listing
from pinnace_server.domain.records import Device, DeviceState, Incarnation, Slot, Status
from pinnace_server.domain.selector import Selector
from pinnace_server.domain.statuses import is_online, silence_s, status_of
from pinnace_sim.memory import device_search
from pinnace_sim.memory.lists import cut
from pinnace_sim.memory.tables import Disk

_MARGIN_S: Final = 1.0  # more than the rounding of a sum of times
_by_first_seen: Final = attrgetter("first_seen_s", "incarnation")


class MemoryDevices:
    """``ports.Devices``."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        # Before this time nobody can be silent, so that most ticks need not look at any device. Too early is harmless.
        self._silence_from_s = -math.inf

    def get(self, device: DeviceId) -> Device | None:
        return self._disk.devices.get(device)

    def some(self, devices: Sequence[DeviceId]) -> Sequence[Device]:
        return [self._disk.devices[device] for device in devices]

    def of_key(self, key: KeyId) -> Device | None:
        device = self._disk.device_of_key.get(key)
        return None if device is None else self._disk.devices[device]

    def save(self, device: Device) -> None:
        disk, undo = self._disk, self._disk.undo
        had = disk.devices.get(device.id)
        if disk.device_of_key.get(device.key, device.id) != device.id:
            raise undo.violated(f"the key {device.key} is another device's")
        if had is None or had.labels is not device.labels:
            device = replace(device, labels=dict(sorted(device.labels.items())))
        undo.put(disk.devices, device.id, device)
        if had is None or had.key != device.key:
            if had is not None:
                undo.drop(disk.device_of_key, had.key)
            undo.put(disk.device_of_key, device.key, device.id)
        if had is None or had.incarnation != device.incarnation:
            disk.judge_staleness(device.id)
        if _is_watched(device):
            self._silence_from_s = min(self._silence_from_s, _silent_at_s(device))

    def listing(self, query: DeviceQuery) -> Listing[Device]:
        found = device_search.with_status(device_search.found(self._disk, query), query)
        return cut(device_search.in_order(self._disk, found, query), query.page)

    def by_status(self, query: DeviceQuery) -> Mapping[Status, int]:
        said = [status_of(device, query.now_s) for device in device_search.found(self._disk, query)]
        return {status: said.count(status) for status in Status if status in said}

    def matching(self, selector: Selector) -> Sequence[Device]:
        return [each for each in self._present() if selector.matches(each.id, each.labels)]

    def decommissioned(self) -> frozenset[DeviceId]:
        devices = self._disk.devices.values()
        return frozenset(each.id for each in devices if each.state is DeviceState.DECOMMISSIONED)

    def unadopted(self) -> frozenset[DeviceId]:
        return frozenset(each.id for each in self._disk.devices.values() if each.unadopted)

    def silent(self, now_s: float, limit: int) -> Sequence[Device]:
        if now_s < self._silence_from_s - _MARGIN_S:
            return []
        watched = [device for device in self._disk.devices.values() if _is_watched(device)]
        if self._disk.undo.clean:  # what is not committed may be undone, and then this would come too late
            self._silence_from_s = min(map(_silent_at_s, watched), default=math.inf)
        found = [device for device in watched if not is_online(device, now_s)]
        return sorted(found, key=lambda each: each.id)[:limit]

    def label_keys(self) -> Sequence[str]:
        return sorted({key for device in self._disk.devices.values() for key in device.labels})

    def incarnations(self, device: DeviceId) -> Sequence[Incarnation]:
        return self._disk.incarnations.get(device, ())

    def save_incarnation(self, incarnation: Incarnation) -> None:
        self._disk.need_device(incarnation.device)
        known = self._disk.incarnations.get(incarnation.device, ())
        others = (each for each in known if each.incarnation != incarnation.incarnation)
        together = tuple(sorted((*others, incarnation), key=_by_first_seen))
        self._disk.undo.put(self._disk.incarnations, incarnation.device, together)

    def slot(self, device: DeviceId, model: ModelName) -> Slot | None:
        return self._disk.slots.get(device, {}).get(model)

    def slots(self, devices: Iterable[DeviceId], model: ModelName | None = None) -> Sequence[Slot]:
        found = (slot for device in sorted(set(devices)) for slot in self._disk.slots.get(device, {}).values())
        return [slot for slot in found if model is None or slot.model == model]

    def save_slots(self, device: DeviceId, slots: Sequence[Slot]) -> None:
        assert all(slot.device == device for slot in slots), "slots of one device are saved together"
        if slots:
            self._disk.need_device(device)
        by_model = {slot.model: slot for slot in slots}
        self._disk.undo.put(self._disk.slots, device, {model: by_model[model] for model in sorted(by_model)})

    def serving(self, model: ModelName | None = None) -> Sequence[tuple[ModelName, VersionName | None, int]]:
        counts: dict[tuple[ModelName, VersionName | None], int] = {}
        for slot in self.slots([device.id for device in self._present()], model):
            served = (slot.model, device_search.served_by(slot))
            counts[served] = counts.get(served, 0) + 1
        order = sorted(counts, key=lambda served: (served[0], served[1] or ""))
        return [(name, version, counts[name, version]) for name, version in order]

    def _present(self) -> list[Device]:
        everyone = (self._disk.devices[name] for name in sorted(self._disk.devices))
        return [device for device in everyone if device.state is not DeviceState.DECOMMISSIONED]


def _is_watched(device: Device) -> bool:
    return device.online and not device.silent and device.state is not DeviceState.DECOMMISSIONED


def _silent_at_s(device: Device) -> float:
    return -math.inf if device.seen_at_s is None else device.seen_at_s + silence_s(device.report_every_s)
