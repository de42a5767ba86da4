"""What a decision may look at besides the slot and the event: clocks and the device, read by the shell.

Two clocks, because boards without one start in 1970 and jump when they hear the time: ``awake_s`` only grows while the
agent runs and measures how long something took; ``unix_s`` is max(time floor, RTC) and is for points in time that the
planner set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pinnace_contract.ids import BootId, DeviceId
from pinnace_contract.latest import Runtime, SystemHealth

UNKNOWN_HEALTH: Final = SystemHealth()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRuntime:
    """A runtime that this device can start, with its version."""

    runtime: Runtime
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What stays the same for one run of the agent."""

    device: DeviceId
    boot: BootId
    hardware: str = ""
    agent_version: str = ""
    runtimes: tuple[HostRuntime, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The moment of one step. ``report_seq`` is the number that the next report will get."""

    host: Host
    unix_s: float
    awake_s: float
    report_seq: int = 0
    metered: bool = False
    health: SystemHealth = UNKNOWN_HEALTH
