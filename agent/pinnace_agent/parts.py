"""What the agent's loop is put together from, and what may happen to it.

``assembly`` fills it in, over real adapters or simulated ones; the loop is ``daemon``'s.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from pinnace_agent.adapters.mqtt_paho import Arrived, Connected, Disconnected
from pinnace_agent.belief import Belief
from pinnace_agent.commands import Commands
from pinnace_agent.core.device import DeviceState
from pinnace_agent.core.slot import Servable
from pinnace_agent.core.surroundings import Host
from pinnace_agent.fetching import Fetching
from pinnace_agent.hashing import Hashed
from pinnace_agent.inbox import Inbox
from pinnace_agent.releases import Releases
from pinnace_agent.reporting import Reporting
from pinnace_agent.requests import Desk, Request, Told
from pinnace_agent.serving import Serving
from pinnace_agent.speech import Speech
from pinnace_agent.store import Collected
from pinnace_agent.store_spool import Spooled
from pinnace_agent.uplink import Uplink
from pinnace_agent.worker import events as worker_events
from pinnace_contract.latest import Blob, Health, SystemHealth

QUEUE_MAX: Final = 1024

Happened = Connected | Disconnected | Arrived | worker_events.WorkerEvent | Hashed | Request | Told


class Store(Protocol):
    """The disk, as the loop needs it."""

    def save(self, state: DeviceState) -> None: ...
    def save_metadata(self, unit: str, parts: Mapping[str, bytes]) -> None: ...
    def finish(self, blobs: Iterable[Blob]) -> None: ...
    def collect_garbage(self, kept: Iterable[Servable]) -> Collected: ...


class Board(Protocol):
    """What the board says of itself."""

    def health(self) -> Health: ...
    def summary(self) -> SystemHealth: ...


class Stop(Protocol):
    """Whether the agent was told to stop; the one thing besides its queue that the loop waits for."""

    def is_set(self) -> bool: ...
    def wait(self, timeout: float) -> bool: ...


@dataclass(slots=True, kw_only=True)
class Parts:
    """What ``assembly`` puts together. ``beside`` runs work that takes minutes without keeping the loop waiting."""

    state: DeviceState
    store: Store
    host: Host
    belief: Belief
    uplink: Uplink
    inbox: Inbox
    releases: Releases
    serving: Serving
    fetching: Fetching
    reporting: Reporting[Spooled]
    desk: Desk
    system: Board
    happened: queue.Queue[Happened]
    endpoints: Callable[[DeviceState], tuple[str, ...]]
    speech: Speech
    commands: Commands
    stop: Stop
    beside: Callable[[Callable[[], None]], None]
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
