"""The agent's own store, with somebody who looks on what becomes durable in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinnace_agent.core.device import DeviceState
from pinnace_agent.store import Store
from pinnace_contract.latest import DroppedRange

if TYPE_CHECKING:
    from pinnace_sim.device import SimDevice


class WatchedStore(Store):
    """The store on a device's disk. ``last`` is the state that is durable, as far as this run knows."""

    def __init__(self, device: SimDevice) -> None:
        super().__init__(device.disk)
        self._device = device
        self.last: DeviceState | None = None

    def save(self, state: DeviceState) -> None:
        """Save, and tell once it is durable."""
        super().save(state)
        before, self.last = self.last, state
        if before is not None:
            self._device.watch.saved(self._device, before, state)

    def spool(self, report: DroppedRange, sealed: bytes, at_s: float) -> None:
        """Keep a report, and tell before, for a power cut may spare it, and once it is durable."""
        self._device.watch.spools(self._device, sealed)
        super().spool(report, sealed, at_s)
        self._device.watch.spooled(self._device, report)
