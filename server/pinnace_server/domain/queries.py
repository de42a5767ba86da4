"""What a list is asked: one value holds filter, order and page, so that rows, total and neighbours can never disagree.

Shared by the API and the console; ``db`` answers them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

from pinnace_contract.ids import DeviceId, ModelName, RolloutId, VersionName
from pinnace_contract.latest import Outcome
from pinnace_server.domain.records import DeviceState, EventKind, RolloutState, Severity, Status
from pinnace_server.domain.selector import EVERY_DEVICE, Selector

LIMIT_MAX: Final = 200  # rows of one answer
UNCOUNTED_MAX: Final = 1_000  # receipts that one readmission lets count: a quarantine leaves a handful
OFFSET_MAX: Final = 100_000  # further down, counting off rows is slower than a better filter

T = TypeVar("T", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A stretch of a list."""

    limit: int = 50
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """The rows asked for and how many there are in all."""

    rows: tuple[T, ...]
    total: int


class DeviceOrder(StrEnum):
    """What devices can be sorted by; the id decides between equals."""

    NAME = "name"
    STATUS = "status"
    VERSION = "version"
    P95 = "p95"
    SEEN = "seen"
    AGENT = "agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceQuery:
    """Filter, order and page of devices. ``text`` is looked for in id, name and serial.

    ``model`` keeps devices that hold or should hold it, ``version`` those that serve it. ``now_s`` decides who is
    offline. Decommissioned devices are listed only when ``states`` names them.
    """

    now_s: float
    text: str = ""
    status: Status | None = None
    states: tuple[DeviceState, ...] = (DeviceState.PENDING, DeviceState.ACTIVE, DeviceState.QUARANTINED)
    model: ModelName | None = None
    version: VersionName | None = None
    selector: Selector = EVERY_DEVICE
    order: DeviceOrder = DeviceOrder.NAME
    descending: bool = False
    page: Page = Page()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery:
    """Filter and page of the log. ``after`` gives events with larger numbers, oldest first; else newest first.

    ``since_s`` leaves out what happened before.
    """

    text: str = ""
    kinds: tuple[EventKind, ...] = ()
    severity: Severity | None = None
    device: DeviceId | None = None
    model: ModelName | None = None
    version: VersionName | None = None
    rollout: RolloutId | None = None
    actor: str = ""
    after: int | None = None
    since_s: float | None = None
    page: Page = Page()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptQuery:
    """Filter and page of receipts, newest first."""

    device: DeviceId | None = None
    model: ModelName | None = None
    version: VersionName | None = None
    outcome: Outcome | None = None
    page: Page = Page()


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutQuery:
    """Filter and page of rollouts, newest first."""

    model: ModelName | None = None
    state: RolloutState | None = None
    page: Page = Page()
