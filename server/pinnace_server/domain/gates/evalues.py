"""Evidence that may be looked at every minute: e-values of two arms' totals, as logarithms.

An e-value is a likelihood ratio of a mixture of alternatives to the null hypothesis at its best. Under the null its
mean is at most 1 at every time, so that it ever reaches T has a chance of at most 1/T however often one looks (Ville
1939; Howard et al. 2021, "Time-uniform Chernoff bounds"; Grünwald et al. 2024, "Safe testing"). An average of e-values
is one as well.

The law of an arm's total is negative binomial: Poisson events, and a gamma for what the devices' pasts do not tell. A
change that both arms went through (night, a new camera firmware) is a factor ``exp(x)`` on both. The null takes the x
that suits it best and pays ``Change.price(x)``: with a true change of x, ``1/T`` becomes ``exp(price(x))/T`` at worst.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from pinnace_server.domain.gates.weights import Totals

# Ratios to control, and their weights. None is under 2, so that a ratio of 1.4 never moves anybody back; the last one
# is more than the null can lay to the fleet's change, else a release that fails always would look like bad weather.
WORSE: Final = ((2.0, 0.25), (3.0, 0.4), (5.0, 0.22), (15.0, 0.08), (60.0, 0.05))
NOT_WORSE: Final = ((1.0, 0.4), (0.75, 0.2), (0.5, 0.2), (0.1, 0.2))
CHANGE_EXPECTED: Final = 0.1  # standard deviation of x in the alternatives; costs power only, never validity
CHANGE_EXPECTED_WIDE: Final = 0.5
CHANGE_MAX: Final = 4.0
HALVINGS: Final = 24  # of the interval of x, to 1e-6, which is 1e-9 of a likelihood at its top
SCAN_STEPS: Final = 160
GOLDEN: Final = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How much the whole fleet may change while a gate watches. ``slope`` 0: by any amount, free of charge.

    Square for changes around ``core``, then ``slope`` nats for each unit of x: a fleet that doubles costs 0.7 units.
    No change costs more than ``most``; what is beyond, control alone must tell from a bad release.
    """

    core: float
    slope: float
    most: float = math.inf

    def uncertain(self, variance: float) -> Change:
        """Return the change that is also free to make up for an error of this variance in both arms' expectation."""
        return replace(self, core=math.sqrt(self.core**2 + variance))

    def price(self, x: float) -> float:
        """Return the nats that the null hypothesis pays for a change of x."""
        if self.slope == 0:
            return 0.0
        knee = self.slope * self.core**2
        size = abs(x)
        price = size * size / (2 * self.core**2) if size < knee else self.slope * (size - knee / 2)
        return min(price, self.most)

    def marginal(self, x: float) -> float:
        """Return the derivative of the price while it is under ``most``."""
        if self.slope == 0:
            return 0.0
        return max(-self.slope, min(self.slope, x / self.core**2))


BESIDE_CONTROL: Final = Change(core=0.02, slope=13.0)
# A third more load everywhere makes three times as many answers slower than the p95 was. e^5 of the evidence that moves
# devices back is what such a moment may lend to a good release.
SLOW_BESIDE_CONTROL: Final = Change(core=0.02, slope=13.0, most=5.0)
GROUPS_BESIDE_OTHERS: Final = SLOW_BESIDE_CONTROL  # a night shift that begins is such a moment as well
OWN_PAST_ONLY: Final = Change(core=0.2, slope=15.0)
ANY_CHANGE: Final = Change(core=1.0, slope=0.0)


def worse(control: Totals, candidate: Totals, change: Change) -> float:
    """Return the log e-value against "the candidate's rate is at most what control and past make it"."""
    null, _ = _best(control, candidate, 0.0, change)
    if change.most < math.inf:
        null = max(null, _best(control, candidate, 0.0, ANY_CHANGE)[0] - change.most)
    expected = CHANGE_EXPECTED_WIDE if change.slope == 0 else CHANGE_EXPECTED
    return _mixture(control, candidate, WORSE, expected) - null


def not_worse(control: Totals, candidate: Totals, trials: float, margin: float, ratio: float) -> float:
    """Return the log e-value against "the candidate is worse than ratio × control and than control + margin".

    ``trials`` are the candidate's, on the scale of its events; ``margin`` is a rate. Whatever both arms went through is
    free of charge to the null, so nothing is proven by the past alone.
    """

    def null(x: float) -> float:
        usual = math.exp(x) * candidate.expected
        return _term(control, math.exp(x) * control.expected) + _term(
            candidate, max(ratio * usual, usual + margin * trials)
        )

    return _mixture(control, candidate, NOT_WORSE, CHANGE_EXPECTED_WIDE) - _maximum(null)


def above(candidate: Totals) -> float:
    """Return the log e-value against "the rate is at most the limit" that ``expected`` was made from."""
    return _average(candidate, WORSE) - _term(candidate, candidate.expected)


def below(candidate: Totals) -> float:
    """Return the log e-value against "the rate is at least the limit" that ``expected`` was made from."""
    return _average(candidate, NOT_WORSE[1:]) - _term(candidate, candidate.expected)


def averaged(parts: tuple[tuple[float, float], ...]) -> float:
    """Return the log of the weighted mean of e-values, from (log e-value, weight)."""
    most = max(value for value, _ in parts)
    return most + math.log(sum(weight * math.exp(value - most) for value, weight in parts))


def _average(arm: Totals, ratios: tuple[tuple[float, float], ...]) -> float:
    whole = sum(weight for _, weight in ratios)
    return averaged(tuple((_term(arm, ratio * arm.expected), weight / whole) for ratio, weight in ratios))


def _mixture(control: Totals, candidate: Totals, ratios: tuple[tuple[float, float], ...], width: float) -> float:
    """Average the likelihood over ratios and, by Laplace's method, over a normal x."""
    normal = Change(core=width, slope=CHANGE_MAX / width**2)
    parts = []
    for ratio, weight in ratios:
        top, curvature = _best(control, candidate, math.log(ratio), normal)
        parts.append((top - 0.5 * math.log(width**2 * (curvature + 1 / width**2)), weight))
    return averaged(tuple(parts))


def _best(control: Totals, candidate: Totals, log_ratio: float, change: Change) -> tuple[float, float]:
    """Return the largest priced log likelihood over x and its curvature in x without the price's.

    The price has no most here, which would make a second top.
    """

    def parts(arm: Totals, x: float) -> tuple[float, float]:
        share = math.exp(x) * arm.expected / (arm.shape + math.exp(x) * arm.expected)
        both = (arm.shape + arm.events) * share
        return arm.events - both, both * (1 - share)

    low, high = -CHANGE_MAX, CHANGE_MAX
    for _ in range(HALVINGS):
        x = (low + high) / 2
        slope = parts(control, x)[0] + parts(candidate, x + log_ratio)[0] - change.marginal(x)
        low, high = (x, high) if slope > 0 else (low, x)
    x = (low + high) / 2
    curvature = parts(control, x)[1] + parts(candidate, x + log_ratio)[1]
    likelihood = _term(control, math.exp(x) * control.expected)
    likelihood += _term(candidate, math.exp(x + log_ratio) * candidate.expected)
    return likelihood - change.price(x), curvature


def _term(arm: Totals, mean: float) -> float:
    """Return the negative binomial log likelihood of an arm, without what no hypothesis changes."""
    if arm.expected <= 0:
        return 0.0
    return arm.events * math.log(mean) - (arm.shape + arm.events) * math.log(arm.shape + mean)


def _maximum(of: Callable[[float], float]) -> float:
    """Return the maximum of a function of x that may have two tops: a scan, then golden sections."""
    step = 2 * CHANGE_MAX / SCAN_STEPS
    found = max(range(SCAN_STEPS + 1), key=lambda n: of(-CHANGE_MAX + n * step))
    low, high = -CHANGE_MAX + (found - 1) * step, -CHANGE_MAX + (found + 1) * step
    for _ in range(HALVINGS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        low, high = (low, right) if of(left) > of(right) else (left, high)
    return of((low + high) / 2)
