"""Who looks on while devices run: what is told, of which device, and at which moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pinnace_agent.core.device import DeviceState
from pinnace_agent.worker.events import LoadFailed, NowAnswering, NowServing, WorkerExited
from pinnace_agent.worker.hosting import Start
from pinnace_contract import topics
from pinnace_contract.latest import DroppedRange

if TYPE_CHECKING:
    from pinnace_sim.device import SimDevice

Told = NowServing | NowAnswering | WorkerExited | LoadFailed


class Watch(Protocol):
    """Who looks on; see ``checks``."""

    def booted(self, device: SimDevice, state: DeviceState) -> None: ...
    def saved(self, device: SimDevice, before: DeviceState, after: DeviceState) -> None: ...
    def starts(self, device: SimDevice, order: Start) -> None: ...
    def hears(self, device: SimDevice, event: Told) -> None: ...
    def says(self, device: SimDevice, topic: topics.Topic, payload: bytes) -> None: ...
    def spools(self, device: SimDevice, sealed: bytes) -> None: ...
    def spooled(self, device: SimDevice, report: DroppedRange) -> None: ...
    def failed(self, device: SimDevice, error: Exception) -> None: ...
