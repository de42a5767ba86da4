"""Whole worlds of one rollout each: the fleet, what is wrong with the release, and what became of it.

A world is the simulator's: real agents, the real server, its controller and gates, over lines and disks that fail. It
ends when its rollout does, or when nothing can begin any more without a person.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, replace
from typing import Final

from pinnace_sim import chance as chances
from pinnace_sim import climbs
from pinnace_sim.climbs import End
from pinnace_sim.faults import USUAL, FaultKind, Faults, Rate, incidents_around
from pinnace_sim.plan import DevicePlan, Nature, Order, OrderKind, Plan
from pinnace_sim.temper import LATENCY_S, Temper
from pinnace_sim.world import World

HOUR_S: Final = 3_600.0
FIRST_S: Final = 60.0
REPORT_EVERY_S: Final = 600
BAD_HARDWARE: Final = "board-c"
HARDWARE: Final = ("board-a", "board-a", "board-b", BAD_HARDWARE)
SITES: Final = ("kiel", "lyon", "turin")
ASKED_AN_HOUR: Final = (60.0, 120.0, 600.0)
ERRORS_MEAN, ERRORS_SPREAD = 0.01, 0.7  # of the whole fleet, and of its devices relative to it
ERRORS_MAX: Final = 0.05  # a release promises its devices no more than a tenth

NOISY: Final = replace(
    USUAL, rates=(*USUAL.rates, (FaultKind.ABSENCE, Rate(a_day=0.05, lasts_s=(HOUR_S, 12 * HOUR_S))))
)
"""The faults of a fleet in good order, and devices that are away for hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all worlds of a cell have in common. ``hardware``: on which class the release is of its nature.
    ``tells``: applications tell what came of its answers.

    ``hours`` is how long a rollout is watched at most, after ``past_hours`` with version 1: gates compare with a day.
    """

    name: str
    devices: int
    policy: dict[str, object]
    nature: Nature = Nature.GOOD
    hardware: str = ""
    past_hours: float = 24.0
    hours: float = 48.0
    faults: Faults = NOISY
    tells: bool = False

    @property
    def begun_s(self) -> float:
        """When the rollout begins."""
        return self.past_hours * HOUR_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One world's end. ``hours``: after the rollout began. ``why``: what the wave that it stands at said last."""

    seed: int
    end: End
    served: int
    hours: float
    wave: int
    waves: int
    why: str = ""
    problem: str = ""
    cpu_s: float = 0.0


def play(setup: Setup, seed: int) -> Played:
    """Play one world; the same setup and seed always end the same way."""
    began_s = time.process_time()
    world = World(plan(setup, seed))
    watch = Watch(world, setup.begun_s)
    outcome = world.run(over=watch.over)
    played = watch.played(seed, "" if outcome.violation is None else str(outcome.violation))
    return replace(played, cpu_s=time.process_time() - began_s)


def plan(setup: Setup, seed: int) -> Plan:
    """Return a fleet that has version 1, and hours later begins a rollout of version 2."""
    draw = chances.stream(seed, f"rollouts {setup.devices}")
    fleet = tuple(replace(_device(draw, number), tells=setup.tells) for number in range(setup.devices))
    names, seconds = [each.name for each in fleet], setup.begun_s + setup.hours * HOUR_S
    incidents = [*setup.faults.incidents(seed, names, seconds), *incidents_around(seed, setup.begun_s, names)]
    policy = json.dumps({"cohort": "", **setup.policy}, sort_keys=True)
    return Plan(
        seed=seed,
        hours=seconds / HOUR_S,
        calm_hours=0.0,
        devices=fleet,
        orders=(
            Order(at_s=FIRST_S, kind=OrderKind.REGISTER, version="1"),
            Order(at_s=FIRST_S + 10, kind=OrderKind.ASSIGN, version="1"),
            Order(
                at_s=setup.begun_s - 10,
                kind=OrderKind.REGISTER,
                version="2",
                nature=setup.nature,
                hardware=setup.hardware,
            ),
            Order(at_s=setup.begun_s, kind=OrderKind.BEGIN, version="2", policy=policy),
        ),
        messages=setup.faults.messages,
        incidents=tuple(sorted(incidents, key=lambda each: (each.at_s, each.kind, each.who))),
        weights_bytes=20_000,
    )


def _device(draw: random.Random, number: int) -> DevicePlan:
    sigma = 0.63  # of a log-normal whose spread is 0.7 of its mean
    return DevicePlan(
        name=f"device-{number:03d}",
        report_every_s=REPORT_EVERY_S,
        inferences_an_hour=draw.choice(ASKED_AN_HOUR),
        hardware=HARDWARE[number % len(HARDWARE)],
        labels=(("site", draw.choice(SITES)),),
        temper=Temper(
            latency_s=LATENCY_S * draw.uniform(0.5, 3.0),
            latency_spread=draw.uniform(0.2, 0.5),
            error_share=min(ERRORS_MAX, ERRORS_MEAN * draw.lognormvariate(-(sigma**2) / 2, sigma)),
        ),
    )


class Watch:
    """Looks at a world's rollout from time to time."""

    def __init__(self, world: World, begun_s: float) -> None:
        self._world, self._begun_s = world, begun_s

    def over(self) -> bool:
        """Tell whether nothing more begins by itself."""
        world = self._world
        if world.schedule.now_s < self._begun_s or not world.server.is_on:
            return False
        name = climbs.newest(world.server, world.rollouts)
        return name is not None and climbs.is_over(world.server, name)

    def played(self, seed: int, problem: str) -> Played:
        """Return how it ended."""
        world = self._world
        name = climbs.newest(world.server, world.rollouts)
        if name is None:
            raise RuntimeError(f"seed {seed}: the rollout never began; {problem}")
        found = climbs.stand(world.server, name)
        return Played(
            seed=seed,
            end=found.end,
            served=len(world.served.get(found.rollout.release, ())) if found.rollout.release else 0,
            hours=(world.schedule.now_s - self._begun_s) / HOUR_S,
            wave=found.current.number,
            waves=len(found.waves),
            why="; ".join(found.report.why) if found.report is not None else "",
            problem=problem,
        )
