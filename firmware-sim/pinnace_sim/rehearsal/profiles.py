"""From what a server knew of a device to a device of a world: its plan, and what its link does.

What the server did not know is taken to be usual, and counted, so that a forecast can say so.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pinnace_sim import chance as chances
from pinnace_sim.links import LinkRow
from pinnace_sim.plan import DevicePlan
from pinnace_sim.rehearsal.snapshot import FleetDevice
from pinnace_sim.temper import EVEN_TEMPER, LATENCY_S, Temper

DAY_S: Final = 86_400.0
DISK_BYTES: Final = 1 << 40  # where the server does not know: room for everything
MEMORY_BYTES: Final = 1 << 36
LATENCY_SPREAD: Final = 0.35  # sigma of the logarithm; the server keeps no more than a p95 for this
P95_SIGMAS: Final = 1.645
ERROR_SHARE: Final = 0.001  # where nothing was counted
CHANGES_A_DAY_MAX: Final = 5_000.0  # a link that flaps faster is dark for less than a keepalive


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """What a snapshot did not say of a device, or of how many."""

    link: int = 0
    disk: int = 0
    memory: int = 0
    rate: int = 0

    def plus(self, other: Unknown) -> Unknown:
        """Return both together."""
        return Unknown(
            link=self.link + other.link,
            disk=self.disk + other.disk,
            memory=self.memory + other.memory,
            rate=self.rate + other.rate,
        )


def unknown_of(device: FleetDevice, model: str) -> Unknown:
    """Return what the server did not know of a device."""
    seen = device.seen_at_s is not None
    return Unknown(
        link=int(seen and device.link is None),
        disk=int(seen and device.disk_free_bytes is None),
        memory=int(seen and device.memory_free_bytes is None),
        rate=int(seen and model not in device.answered_an_hour),
    )


def plan_of(device: FleetDevice, name: str, model: str, *, bytes_s: float, tempered: bool = False) -> DevicePlan:
    """Return the plan of a device's twin. What is free is said when it serves what it serves now; see ``twin``."""
    return DevicePlan(
        name=name,
        report_every_s=device.report_every_s,
        inferences_an_hour=device.answered_an_hour.get(model, 0.0),
        disk_bytes=DISK_BYTES,
        memory_bytes=MEMORY_BYTES,
        memory_total_bytes=MEMORY_BYTES if device.memory_total_bytes is None else device.memory_total_bytes,
        bytes_s=bytes_s,
        trace=name,
        hardware=device.hardware,
        agent_version=device.agent_version,
        runtimes=device.runtimes,
        temper=temper_of(device, model) if tempered else EVEN_TEMPER,
    )


def temper_of(device: FleetDevice, model: str) -> Temper:
    """Return how fast a device answers and how often it fails, from the p95 and the share of errors of its last day."""
    median_s = LATENCY_S
    if device.p95_ms:
        median_s = device.p95_ms / 1_000 / math.exp(P95_SIGMAS * LATENCY_SPREAD)
    return Temper(
        latency_s=median_s, latency_spread=LATENCY_SPREAD, error_share=device.error_share.get(model, ERROR_SHARE)
    )


def availability(device: FleetDevice, name: str, seed: int, *, seconds: float, bytes_s: float) -> Iterator[LinkRow]:
    """Yield when a link is there and when it is dark, drawn from how it behaved.

    Times there and away are exponential, with the means that its share of time online and its changes a day give. It
    begins as it was; what never changed does not change.
    """
    chance, there = chances.stream(seed, f"availability {name}"), device.online
    yield _row(0.0, name, bytes_s if there else 0.0)
    link = device.link
    if link is None or link.changes_a_day <= 0 or not 0.0 < link.online_share < 1.0:
        return
    at_s, cycle_s = 0.0, 2 * DAY_S / min(link.changes_a_day, CHANGES_A_DAY_MAX)
    while True:
        at_s += _drawn(chance, cycle_s * (link.online_share if there else 1 - link.online_share))
        if at_s >= seconds:
            return
        there = not there
        yield _row(at_s, name, bytes_s if there else 0.0)


def _drawn(chance: random.Random, mean_s: float) -> float:
    return max(1.0, chance.expovariate(1 / mean_s))


def _row(at_s: float, name: str, bytes_s: float) -> LinkRow:
    return LinkRow(at_s=at_s, device=name, up_bytes_s=bytes_s, down_bytes_s=bytes_s, delay_s=0.05)
