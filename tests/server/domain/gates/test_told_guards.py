"""The guards that a policy asks for, on the benchmark's streams: healthy releases stay, bad ones are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import gate_told
from benchmarks.gate_told import Told
from pinnace_server.domain.gates.evidence import Guard

MANNERS = pytest.mark.parametrize("manner", gate_told.MANNERS)
RUNS = 200  # of which one, which chance may move back, is half a per cent
BAD_RUNS = 20
NOISY = Told(controls=10, candidates=20, spread=0.7)
BUSY = Told(controls=20, candidates=30, spread=0.3, a_step=60)  # bursts of thirty hide what fewer answers would say


@MANNERS
def test_noisy_outcomes_move_no_healthy_release_back_and_a_bad_one_is_found(manner: str) -> None:
    random, fleet = np.random.default_rng(21), replace(NOISY, manner=manner)
    assert gate_told.moved_back(fleet, Guard.OUTCOME, RUNS, random) <= 1
    bad = replace(BUSY, manner=manner, then=gate_told.WORSE)
    assert gate_told.moved_back(bad, Guard.OUTCOME, BAD_RUNS, random) >= 0.8 * BAD_RUNS


@MANNERS
def test_predictions_move_only_a_release_back_that_alone_answers_otherwise(manner: str) -> None:
    random, fleet = np.random.default_rng(22), replace(NOISY, manner=manner, shares=gate_told.CLASSES)
    assert gate_told.moved_back(fleet, Guard.PREDICTIONS, RUNS, random) <= 1
    seen = replace(fleet, everywhere=gate_told.SEEN)
    assert gate_told.moved_back(seen, Guard.PREDICTIONS, RUNS, random) <= 1
    drifted = replace(BUSY, manner=manner, shares=gate_told.CLASSES, then=gate_told.DRIFTED)
    assert gate_told.moved_back(drifted, Guard.PREDICTIONS, BAD_RUNS, random) >= 0.8 * BAD_RUNS


@pytest.mark.parametrize("guard", [Guard.OUTCOME, Guard.PREDICTIONS])
def test_an_arm_of_nine_says_nothing(guard: Guard) -> None:
    few = replace(NOISY, controls=9, then=gate_told.WORSE)
    assert gate_told.moved_back(few, guard, BAD_RUNS, np.random.default_rng(23)) == 0


def test_fairness_finds_the_group_that_alone_gets_worse() -> None:
    random = np.random.default_rng(24)
    day = Told(controls=10, candidates=10, spread=0.7, shares=gate_told.LABELLED)
    night = replace(day, a_step=3)
    runs = 5
    assert gate_told.unfair((day, night), runs, random) == 0
    alike = [replace(each, then=gate_told.WRONG_ALIKE) for each in (day, night)]
    assert gate_told.unfair(alike, runs, random) == 0
    assert gate_told.unfair((day, replace(night, then=gate_told.UNFAIR)), runs, random) >= 0.8 * runs


@pytest.mark.parametrize("guard", [Guard.OUTCOME, Guard.PREDICTIONS])
def test_numpy_says_what_the_gate_says(guard: Guard) -> None:
    shares = gate_told.CLASSES if guard is Guard.PREDICTIONS else (0.1, 0.9)
    fleet = replace(NOISY, shares=shares, then=gate_told.DRIFTED if guard is Guard.PREDICTIONS else gate_told.WORSE)
    played = list(gate_told.steps(fleet, 4, np.random.default_rng(25)))
    past = sum(played[: gate_told.STEPS], np.zeros_like(played[0]))
    now = sum(played[gate_told.STEPS :], np.zeros_like(played[0]))
    found = gate_told.evidence(fleet, guard, past, now)
    for row in range(4):
        reading = gate_told.read(fleet, guard, past[row], now[row])
        assert reading is not None
        assert found[row] == pytest.approx(reading.worse, abs=1e-6)
