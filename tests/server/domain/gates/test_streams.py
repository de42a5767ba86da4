"""Which bad events are news, and how bursts are recognised."""

import random
from random import Random

import pytest

from pinnace_server.domain.gates import streams
from pinnace_server.domain.gates.streams import BURST, Tally


def told(*windows: tuple[int, int]) -> Tally:
    tally = Tally()
    for trials, bad in windows:
        tally = tally.after(trials, bad)
    return tally


def test_a_burst_is_one_event_however_long_the_windows() -> None:
    assert told(*[(1, 1)] * BURST, *[(1, 0)] * BURST).counts.fresh_bad == 1
    assert told((60, 30), (60, 0)).counts.fresh_bad == 1
    assert told((60, 15), (60, 15), (60, 0)).counts.fresh_bad == 1


def test_everything_is_counted_beside_the_news() -> None:
    counts = told((60, 15), (60, 15), (60, 0)).counts
    assert (counts.trials, counts.bad) == (180, 30)


def test_many_windows_count_as_one_after_the_other() -> None:
    random = Random(5)
    windows = [(random.randrange(40), random.randrange(3)) for _ in range(200)]
    one_by_one = Tally()
    for trials, bad in windows:
        one_by_one = one_by_one.after(trials, bad)
    assert Tally().over(windows[:90]).over(windows[90:]) == one_by_one


def test_a_burst_that_outlives_the_switch_is_no_news() -> None:
    assert told((1, 1)).restarted().after(1, 1).counts.fresh_bad == 0


@pytest.mark.parametrize("size", [1, 60])
def test_hazard_of_independent_events_is_their_rate(size: int) -> None:
    seed = 7
    chance = random.Random(seed)
    tally = Tally()
    for _ in range(60_000 // size):
        tally = tally.after(size, sum(chance.random() < 0.02 for _ in range(size)))
    assert tally.counts.fresh_bad / tally.counts.fresh_trials == pytest.approx(0.02, rel=0.15), seed


@pytest.mark.parametrize(
    ("size", "expected"), [pytest.param(1, 1.0, id="one by one"), pytest.param(BURST, BURST, id="in bursts")]
)
def test_dispersion_is_the_size_of_a_burst(size: int, expected: float) -> None:
    seed = 3
    chance = random.Random(seed)
    blocks = [[size * sum(chance.random() < 0.02 for _ in range(180)) for _ in range(8)] for _ in range(100)]
    assert streams.dispersion(blocks) == pytest.approx(expected, rel=0.15), seed


def test_bursts_are_assumed_where_nothing_is_known() -> None:
    assert streams.dispersion([]) == BURST
    assert streams.dispersion([[0] * 8]) == BURST
