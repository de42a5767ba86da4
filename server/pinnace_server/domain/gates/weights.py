"""What each device is expected to do: its own past, shrunk towards the fleet's; and what one device may say.

A device's rate of bad events is taken from a gamma distribution over the fleet (Clayton & Kaldor 1987), whose mean and
spread are fitted to the past. What a device's posterior does not know widens the test as a negative binomial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pinnace_contract.ids import DeviceId

SPREAD_ASSUMED: Final = 1.0  # squared coefficient of variation between devices, before the past tells
SPREAD_ASSUMED_DEVICES: Final = 5.0
SPREAD_MIN: Final = 0.02
SHAPE_MAX: Final = 30.0  # however long its past: a device's rate wanders by a fifth by itself
SMALL_ARM: Final = 9
SHARE_SMALL: Final = 1 / 3
SHARE_LARGE: Final = 0.2
CLAMP_ROUNDS_MAX: Final = 60
SHAPE_MIN: Final = 1e-3
LEVEL_EVENTS: Final = 300.0  # events in the last hour that count as much as the belief that nothing changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A device's rate of bad events a trial before the switch, and the shape of the gamma that says how well known."""

    rate: float
    shape: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One device's part of an arm: events, expected events, and the shape of the expectation."""

    device: DeviceId
    events: float
    expected: float
    shape: float

    @property
    def excess(self) -> float:
        """Return how much more happened than was expected."""
        return self.events - self.expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """An arm as one count with a negative binomial law of this mean and shape."""

    events: float
    expected: float
    shape: float


NOTHING: Final = Totals(events=0.0, expected=0.0, shape=SHAPE_MIN)


def rates(past: Sequence[tuple[float, float]], dispersion: float) -> tuple[Rate, ...]:
    """Return each device's rate from its past (trials, bad events); half an event in fifty trials is assumed."""
    mean = (sum(bad for _, bad in past) + 0.5) / (sum(trials for trials, _ in past) + 50.0)
    shape = 1 / _spread(past, mean, dispersion)
    found = []
    for trials, bad in past:
        own = shape + bad / dispersion
        found.append(Rate(rate=own / (shape / mean + trials / dispersion), shape=min(own, SHAPE_MAX)))
    return tuple(found)


def level(lately: Sequence[tuple[float, float]], of: Sequence[Rate], dispersion: float) -> float:
    """Return how many times its usual rate the fleet had in the last hour before the switch."""
    events = sum(bad for _, bad in lately) / dispersion
    expected = sum(trials * rate.rate for (trials, _), rate in zip(lately, of, strict=True)) / dispersion
    return (events + LEVEL_EVENTS) / (expected + LEVEL_EVENTS)


def uncertainty(past_bad: float, lately_bad: float, dispersion: float) -> float:
    """Return the variance of the logarithm of what the fleet as a whole is expected to do.

    It is common to all devices, so no number of them averages it out.
    """
    lately = lately_bad / dispersion
    return 1 / (past_bad / dispersion + 0.5) + lately / (lately + LEVEL_EVENTS) ** 2


def totals(shares: Sequence[Share], *, clamped: bool) -> Totals:
    """Return an arm's totals, with each device's part of the events clamped if so told."""
    expected = sum(each.expected for each in shares)
    if expected <= 0:
        return NOTHING
    events = [each.events for each in shares]
    variance = sum(each.expected**2 / each.shape for each in shares)
    return Totals(
        events=sum(clamp(events)) if clamped else sum(events),
        expected=expected,
        shape=max(expected**2 / variance, SHAPE_MIN),
    )


def clamp(events: Sequence[float]) -> list[float]:
    """Return the events with each device's part at most a third (arms of up to nine) or a fifth of what is left.

    So three devices, or five, must say the same before anything is heard at full weight. An arm of two may be heard
    where both say it; leaving one out then still decides.
    """
    if not events:
        return []
    share = max(SHARE_SMALL if len(events) <= SMALL_ARM else SHARE_LARGE, 1 / len(events))
    most = max(events)
    if most <= share * sum(events):
        return list(events)
    for _ in range(CLAMP_ROUNDS_MAX):
        lower = min(most, share * sum(min(each, most) for each in events))
        if most - lower <= 1e-9 * most:
            break
        most = lower
    return [min(each, most) for each in events]


def _spread(past: Sequence[tuple[float, float]], mean: float, dispersion: float) -> float:
    excess = squares = told = 0.0
    for trials, bad in past:
        expected = mean * trials
        excess += (bad - expected) ** 2 - dispersion * expected
        squares += expected**2
        told += min(expected / dispersion, 1.0)
    found = max(excess / squares, 0.0) if squares > 0 else 0.0
    shrunk = (told * found + SPREAD_ASSUMED_DEVICES * SPREAD_ASSUMED) / (told + SPREAD_ASSUMED_DEVICES)
    return max(shrunk, SPREAD_MIN)
