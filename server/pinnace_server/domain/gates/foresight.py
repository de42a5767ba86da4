"""What a fleet can notice, told before a rollout starts: ``foresee(fleet, settings)``.

The gate is shown the counts that a worse release would give on average, and asked from which ratio on it would move
devices back. Chance makes half of all runs a little slower than that, and half a little faster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Arm
from pinnace_server.domain.gates import comparison
from pinnace_server.domain.gates.evidence import Counts, DeviceEvidence, Guard, Pair, Series
from pinnace_server.domain.gates.settings import Settings
from pinnace_server.domain.gates.streams import BURST, BURSTS_ASSUMED

RATIOS: Final = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0)
SLOW_SHARE: Final = 0.05  # of inferences are slower than the device's own p95, by definition
LATENCY_SPREAD: Final = 0.3  # standard deviation of log latency, for turning a share into "+M %"
SHOWN_MAX: Final = 50  # devices of each arm that the gate is shown; more are folded into them
LEFT_OUT: Final = 1
_BESIDE: Final = "% of each device's requests being its own control"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A wave before it starts. ``error_rate`` is last good's; ``past_hours`` of it are known.

    ``control_percent``: so many of each device's requests stay on last good as its own control; None: there is none.
    """

    candidates: int
    controls: int
    inferences_a_day: float
    error_rate: float
    past_hours: float = 24.0
    guards: int = 4
    control_percent: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Foresight:
    """The smallest worsening that would be noticed; None: not within the time."""

    hours: float
    error_ratio: float | None
    p95_percent: int | None
    control_percent: int | None = None

    @property
    def text(self) -> str:
        """Say it in a line, for planner, console and command line."""
        errors = "no error ratio" if self.error_ratio is None else f"error ratios above ×{self.error_ratio:g}"
        slow = "no change of p95" if self.p95_percent is None else f"p95 above +{self.p95_percent} %"
        found = f"this fleet can notice {errors} and {slow} within {self.hours:.3g} hours"
        return found if self.control_percent is None else f"{found}, {self.control_percent} {_BESIDE}"


def foresee(fleet: Fleet, settings: Settings, hours: float) -> Foresight:
    """Return what a wave of this size and traffic can notice within some hours."""
    needed = math.log(settings.roll_back_evidence(fleet.guards))
    errors = _smallest(fleet, fleet.error_rate, hours, needed)
    slow = _smallest(fleet, SLOW_SHARE, hours, needed)
    return Foresight(
        hours=hours,
        error_ratio=errors,
        p95_percent=None if slow is None else _slower(slow),
        control_percent=fleet.control_percent,
    )


def _smallest(fleet: Fleet, rate: float, hours: float, needed: float) -> float | None:
    if fleet.candidates - LEFT_OUT < 1 or rate <= 0:
        return None
    for ratio in RATIOS:
        if ratio * rate >= 1:
            break
        shown = _shown(fleet, rate, ratio, hours)
        if comparison.worse(shown.without(shown.devices[0].device)) >= needed:
            return ratio
    return None


def _shown(fleet: Fleet, rate: float, ratio: float, hours: float) -> comparison.Stratum:
    devices = []
    for arm, size, worse in ((Arm.CANDIDATE, fleet.candidates, ratio), (Arm.CONTROL, fleet.controls, 1.0)):
        shown = min(size, SHOWN_MAX)
        daily = fleet.inferences_a_day * size / max(shown, 1)
        for number in range(shown):
            series = Series(
                past=_counts(daily * fleet.past_hours / 24, rate, number),
                lately=_counts(daily / 24, rate, number),
                now=_counts(daily * hours / 24, rate * worse, number),
            )
            device = DeviceEvidence(device=DeviceId(f"{arm}-{number}"), arm=arm, guards={Guard.ERRORS: series})
            if fleet.control_percent is not None and arm is Arm.CANDIDATE:
                share, seen = fleet.control_percent / 100, daily * hours / 24
                candidate = _counts(seen * (1 - share), rate * worse, number)
                pair = Pair(candidate=candidate, control=_counts(seen * share, rate, number))
                device = replace(device, paired={Guard.ERRORS: pair})
            devices.append(device)
    # As if bad events came one by one where many were seen, and in bursts where the past cannot tell.
    events = rate * fleet.inferences_a_day * fleet.past_hours / 24 * (fleet.candidates + fleet.controls)
    dispersion = (events + BURSTS_ASSUMED * BURST) / (events + BURSTS_ASSUMED)
    if fleet.control_percent is not None:
        return comparison.paired([each for each in devices if each.arm is Arm.CANDIDATE], Guard.ERRORS, dispersion)
    return comparison.compared(devices, lambda each: each.guards.get(Guard.ERRORS), dispersion)


def _counts(trials: float, rate: float, number: int) -> Counts:
    """Return the counts of a device among others with the same rate; what is left of whole events goes round."""
    fresh = trials / (1 + rate * BURST)
    return Counts(
        trials=_part(trials, number),
        bad=_part(trials * rate, number),
        fresh_trials=fresh,
        fresh_bad=_part(fresh * rate, number),
    )


def _part(of_each: float, number: int) -> int:
    return math.floor(of_each * (number + 1)) - math.floor(of_each * number)


def _slower(ratio: float) -> int:
    """Return by how many per cent all latencies grow when this many times more are over the old p95."""
    share = min(SLOW_SHARE * ratio, 0.99)
    return round(100 * (math.exp(LATENCY_SPREAD * (_quantile(1 - SLOW_SHARE) - _quantile(1 - share))) - 1))


def _quantile(share: float) -> float:
    return NormalDist().inv_cdf(share)
