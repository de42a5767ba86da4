"""What the parent and the processes of a fleet tell each other, over a pipe each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pinnace_contract.ids import DeviceId
from pinnace_sim.fleet.enrolment import Door
from pinnace_sim.fleet.profiles import Kind
from pinnace_sim.fleet.tally import Account, Progress, Samples
from pinnace_sim.links import Course


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One process's part of the fleet: its devices, those that come later, and how many go."""

    number: int
    seed: int
    door: Door
    prefix: str
    kinds: tuple[Kind, ...]
    joining: tuple[Kind, ...]
    leaves: int
    report_every_s: int
    model_bytes: int
    courses: tuple[Course, ...] = ()  # of links, taken in turn; none: kinds say what links carry


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """Switch every device on, at any time within so many seconds."""

    within_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """An assignment was made, at this time of the monotonic clock; no devices: for all that there are."""

    at_s: float
    devices: tuple[DeviceId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ComeAndGo:
    """Let devices join and leave, at any time within so many seconds."""

    within_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """End as soon as the server has everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """End now, whatever is missing."""


Order: TypeAlias = Connect | Assigned | ComeAndGo | Finish | GiveUp


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """How far a process is; ``joined`` are devices that want an assignment."""

    progress: Progress
    joined: tuple[DeviceId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A process cannot go on."""

    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """Everything, at the end."""

    progress: Progress
    samples: Samples
    accounts: tuple[Account, ...]
    problems: tuple[str, ...]
    ends: dict[str, int]
    pool_bytes: int


Word: TypeAlias = News | Failed | Accounts
