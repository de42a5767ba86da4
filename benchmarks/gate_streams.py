"""Made-up fleets for the benchmark of gates: devices that differ, bad events that come one by one or in bursts.

A stream gives, minute by minute, how many inferences each device made and how many of them were bad; all chance comes
from one generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
DAY_MIN = 1440
BURST = 30
RATE_MAX = 0.4  # of a device, so that bursts of a bad device still leave room for good answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A wave and what happens in it.

    ``a_day`` inferences a device; ``spread`` is the standard deviation between devices over their mean; ``ratio`` is
    what the release makes of the candidates' rate, ``shock`` what the switch's moment makes of everybody's.
    """

    controls: int
    candidates: int
    a_day: int
    spread: float
    bursts: bool
    rate: float = 0.01
    ratio: float = 1.0
    shock: float = 1.0
    past_min: int = DAY_MIN
    watched_min: int = DAY_MIN

    def worse(self, ratio: float) -> Scenario:
        """Return the same wave with a worse release."""
        return replace(self, ratio=ratio)


def minutes(scenario: Scenario, runs: int, random: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    """Yield (trials, bad) of the past's minutes and then of the watched ones, each (runs, devices), control first."""
    shape = (runs, scenario.controls + scenario.candidates)
    before, after = _rates(scenario, shape, random)
    left = np.where(random.random(shape) < before, random.integers(1, BURST + 1, shape), 0).astype(float)
    for minute in range(scenario.past_min + scenario.watched_min):
        rate = before if minute < scenario.past_min else after
        if scenario.a_day < DAY_MIN:
            trials = (random.random(shape) < scenario.a_day / DAY_MIN).astype(float)
        else:
            trials = np.full(shape, float(scenario.a_day // DAY_MIN))
        if scenario.bursts:
            bad, left = _burst(trials, rate, left, random)
        elif scenario.a_day <= DAY_MIN:
            bad = trials * (random.random(shape) < rate)
        else:
            bad = random.binomial(scenario.a_day // DAY_MIN, rate).astype(float)
        yield trials, bad


def slow_minutes(
    controls: int,
    candidates: int,
    slower: float,
    watched_min: int,
    runs: int,
    random: np.random.Generator,
    everywhere: float = 1.0,
) -> Iterator[tuple[Array, Array]]:
    """Yield inferences over each device's own p95, one a minute; candidates are ``slower`` times as slow after a day.

    The whole fleet then takes ``everywhere`` times as long.

    Latencies are log-normal with a standard deviation of 0.3, and the p95 is what the device measured of its past.
    """
    shape = (runs, controls + candidates)
    past = random.standard_normal((DAY_MIN, *shape), dtype=np.float32)
    limit = np.quantile(past, 0.95, axis=0)
    shift = np.full(shape, np.log(everywhere) / 0.3)
    shift[:, controls:] += np.log(slower) / 0.3
    ones = np.ones(shape)
    for minute in range(DAY_MIN + watched_min):
        drawn = past[minute] if minute < DAY_MIN else random.standard_normal(shape) + shift
        yield ones, (drawn > limit).astype(float)


def _rates(scenario: Scenario, shape: tuple[int, int], random: np.random.Generator) -> tuple[Array, Array]:
    spread = scenario.spread**2
    factor = random.gamma(1 / spread, spread, shape) if spread else np.ones(shape)
    before = np.minimum(scenario.rate * factor, RATE_MAX)
    after = before * scenario.shock
    after[:, scenario.controls :] *= scenario.ratio
    return before, np.minimum(after, 0.95)


def _burst(trials: Array, rate: Array, left: Array, random: np.random.Generator) -> tuple[Array, Array]:
    """Return the minute's bad answers and what is left of bursts; the share of bad answers stays ``rate``."""
    begins = rate / (BURST - (BURST - 1) * rate)
    bad = np.minimum(left, trials)
    free = trials - bad
    starts = random.random(rate.shape) < 1 - (1 - begins) ** free
    room = free - np.floor(random.random(rate.shape) * free)
    added = np.where(starts, np.minimum(BURST, room), 0.0)
    return bad + added, np.where(starts, BURST - added, left - bad)
