"""What the devices of one process count: for the progress while they run, and for the summary when they have."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from pinnace_contract.ids import BootId, DeviceId

SAMPLES_MAX: Final = 200_000  # of one kind in one process; beyond it percentiles do not change


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One device at its end: what the server must have of it.

    ``reports`` are the highest report numbers of each run of its agent; of those, ``unacknowledged`` are not accounted
    for, and may be missing only where a device ``left``. ``committed``: it said so itself.
    """

    device: DeviceId
    reports: dict[BootId, int]
    unacknowledged: tuple[tuple[BootId, int], ...] = ()
    committed: bool = False
    left: bool = False


@dataclass(slots=True, kw_only=True)
class Progress:
    """Counts of one moment."""

    enrolled: int = 0
    connected: int = 0
    asleep: int = 0
    dark: int = 0
    committed: int = 0
    reports: int = 0
    acknowledged: int = 0
    reconnects: int = 0
    failures: int = 0
    joined: int = 0
    left: int = 0
    finished: int = 0

    def plus(self, other: Progress) -> Progress:
        """Add up two processes."""
        names = self.__slots__
        return Progress(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(slots=True, kw_only=True)
class Samples:
    """Seconds that things took."""

    connect_s: list[float] = field(default_factory=list)
    commit_s: list[float] = field(default_factory=list)
    acknowledge_s: list[float] = field(default_factory=list)

    def add(self, samples: list[float], seconds: float) -> None:
        """Note one."""
        if len(samples) < SAMPLES_MAX:
            samples.append(seconds)


@dataclass(slots=True, kw_only=True)
class Tally:
    """Everything that one process counts. ``problems`` are the first few things that went wrong, in words, ``ends`` why
    connections were lost.
    """

    progress: Progress = field(default_factory=Progress)
    samples: Samples = field(default_factory=Samples)
    problems: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)

    def failed(self, problem: str) -> None:
        """Note that an agent did not survive something."""
        self.progress.failures += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem[:500])


PROBLEMS_MAX: Final = 20
