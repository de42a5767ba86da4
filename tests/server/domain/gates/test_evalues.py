"""What e-values promise: seldom large when nothing is wrong, large when something is."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_server.domain.gates import evalues, weights
from pinnace_server.domain.gates.weights import NOTHING, Rate, Totals


def poisson(mean: float, chance: random.Random) -> int:
    events, waited = 0, chance.expovariate(1.0)
    while waited < mean:
        events, waited = events + 1, waited + chance.expovariate(1.0)
    return events


def highest(ratio: float, shock: float, change: evalues.Change, chance: random.Random, looks: int = 30) -> float:
    """The highest log e-value of a stream of looks: five expected events each, and two in control."""
    control = candidate = 0
    most = -math.inf
    for look in range(1, looks + 1):
        candidate += poisson(5 * ratio * shock, chance)
        control += poisson(2 * shock, chance)
        arms = (Totals(events=n, expected=m * look, shape=1e6) for n, m in ((control, 2.0), (candidate, 5.0)))
        most = max(most, evalues.worse(*arms, change))
    return most


@pytest.mark.parametrize("shock", [pytest.param(1.0, id="as always"), pytest.param(1.1, id="a tenth more everywhere")])
def test_e_value_seldom_grows_when_the_release_is_good(shock: float) -> None:
    seed, runs, limit = 4, 300, 10.0
    chance = random.Random(seed)
    high = sum(highest(1.0, shock, evalues.BESIDE_CONTROL, chance) >= math.log(limit) for _ in range(runs))
    allowed = math.exp(evalues.BESIDE_CONTROL.price(math.log(shock))) / limit
    assert high / runs <= min(allowed, 1.0) + 0.03, seed


def test_any_change_of_both_arms_is_forgiven_where_it_costs_nothing() -> None:
    seed = 5
    chance = random.Random(seed)
    high = sum(highest(1.0, 3.0, evalues.ANY_CHANGE, chance) >= math.log(20) for _ in range(200))
    assert high / 200 <= 0.05, seed


@pytest.mark.parametrize("shock", [2.0, 3.0, 10.0])
def test_no_change_of_both_arms_costs_more_than_the_most(shock: float) -> None:
    seed, runs, limit = 8, 200, 800.0
    chance = random.Random(seed)
    most = evalues.SLOW_BESIDE_CONTROL.most
    assert evalues.SLOW_BESIDE_CONTROL.price(math.log(shock)) == min(
        evalues.BESIDE_CONTROL.price(math.log(shock)), most
    )
    high = sum(highest(1.0, shock, evalues.SLOW_BESIDE_CONTROL, chance) >= math.log(limit) for _ in range(runs))
    assert high / runs <= math.exp(most) / limit, seed


def test_e_value_grows_when_the_release_is_bad() -> None:
    seed = 6
    chance = random.Random(seed)
    for change in (evalues.BESIDE_CONTROL, evalues.SLOW_BESIDE_CONTROL):
        assert all(highest(3.0, 1.0, change, chance) >= math.log(800) for _ in range(20)), seed


@given(events=st.integers(0, 500), more=st.integers(1, 50), expected=st.floats(1.0, 500.0))
def test_more_bad_events_never_speak_for_a_release(events: int, more: int, expected: float) -> None:
    other = Totals(events=expected, expected=expected, shape=50.0)
    few, many = (
        evalues.worse(other, Totals(events=n, expected=expected, shape=50.0), evalues.BESIDE_CONTROL)
        for n in (events, events + more)
    )
    # Below 0 nothing speaks against the release, and above 10 it is decided; Laplace's method is that exact.
    assert min(max(many, 0.0), 10.0) >= min(max(few, 0.0), 10.0) - 0.05
    proof = [
        evalues.not_worse(other, Totals(events=n, expected=expected, shape=50.0), 100.0, 0.01, 1.25)
        for n in (events, events + more)
    ]
    assert max(proof[1], 0.0) <= max(proof[0], 0.0) + 0.05


@pytest.mark.parametrize("events", [3, 30, 300, 3_000, 30_000])
def test_a_release_that_always_fails_is_found_however_much_of_it_is_seen_at_once(events: int) -> None:
    rare = events / 1000
    control = Totals(events=round(rare), expected=rare, shape=50.0)
    assert evalues.worse(control, Totals(events=events, expected=rare, shape=50.0), evalues.BESIDE_CONTROL) >= 6.7


def test_no_evidence_says_nothing() -> None:
    assert evalues.worse(NOTHING, NOTHING, evalues.OWN_PAST_ONLY) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("events", "left"),
    [
        pytest.param([4, 4, 4], [4, 4, 4], id="three say the same"),
        pytest.param([4, 4, 0], [0, 0, 0], id="two of three are no third"),
        pytest.param([100, 4, 4, 4], [6, 4, 4, 4], id="one is loud"),
        pytest.param([1] * 11 + [100], [1] * 11 + [2.75], id="a fifth in a larger arm"),
        pytest.param([7], [7], id="alone"),
    ],
)
def test_one_device_s_part_is_clamped(events: list[float], left: list[float]) -> None:
    assert weights.clamp(events) == pytest.approx(left, abs=1e-5)


def test_rates_shrink_towards_the_fleet_the_more_the_less_is_known() -> None:
    quiet, loud, new = weights.rates([(1440, 0), (1440, 60), (0, 0)], 1.0)
    assert quiet.rate < new.rate < loud.rate < 60 / 1440
    assert new.shape <= quiet.shape < loud.shape == weights.SHAPE_MAX


def test_level_follows_a_fleet_that_has_a_bad_hour() -> None:
    usual = [Rate(rate=0.01, shape=10.0)] * 250
    assert weights.level([(600, 6)] * 250, usual, 1.0) == pytest.approx(1.0)
    assert weights.level([(600, 12)] * 250, usual, 1.0) > 1.5
