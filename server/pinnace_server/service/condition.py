"""Keeping a device's ``degraded`` and ``updating`` in step with its models, in the transaction that changes them."""

from __future__ import annotations

from dataclasses import replace

from pinnace_server.domain.records import Device
from pinnace_server.domain.statuses import condition_of
from pinnace_server.service.ports import Tables


def refreshed(tables: Tables, device: Device) -> Device:
    """Return a device with both as its assignments and slots of this transaction say."""
    condition = condition_of(tables.assignments.of([device.id]), tables.devices.slots([device.id]))
    return replace(device, degraded=condition.degraded, updating=condition.updating)
