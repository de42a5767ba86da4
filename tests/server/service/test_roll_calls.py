"""When who moves next in a large fleet is worked out again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pinnace_contract.ids import RolloutId
from pinnace_server.domain import selector
from pinnace_server.domain.ramp import Ramp, Wave
from pinnace_server.domain.rollout_policy.policy import Cohort, RolloutPolicy
from pinnace_server.service.roll_calls import SMALL, RollCalls

ROLLOUT = RolloutId("r1")
WAVE = Wave(number=1, devices=2 * SMALL, started_at_s=10.0)
DECIDED_S = 100.0


@pytest.fixture
def ramp() -> Ramp:
    return Ramp(policy=RolloutPolicy(cohort=Cohort(selector=selector.parse("site=plant-7"))), waves=(WAVE,))


@pytest.fixture
def calls(ramp: Ramp) -> RollCalls:
    found = RollCalls()
    with found.remembered():
        found.worked_out(ROLLOUT, ramp, DECIDED_S, 2 * SMALL)
    return found


def test_it_waits_as_many_seconds_as_the_fleet_is_large(calls: RollCalls, ramp: Ramp) -> None:
    assert calls.may_wait(ROLLOUT, ramp, DECIDED_S + 1.9)
    assert not calls.may_wait(ROLLOUT, ramp, DECIDED_S + 2.0)


def test_it_waits_where_gates_only_saw_something(calls: RollCalls, ramp: Ramp) -> None:
    saw = replace(WAVE, verdict="{}", switched_at_s=50.0, ready_at_s=40.0)
    assert calls.may_wait(ROLLOUT, replace(ramp, waves=(saw,)), DECIDED_S + 1.0)


def test_it_waits_for_no_decision(calls: RollCalls, ramp: Ramp) -> None:
    for decided in (
        replace(ramp, waves=(replace(WAVE, promoted_at_s=DECIDED_S),)),
        replace(ramp, waves=(replace(WAVE, told_at_s=DECIDED_S),)),
        replace(ramp, paused="ann: lunch"),
    ):
        assert not calls.may_wait(ROLLOUT, decided, DECIDED_S + 1.0)


def test_it_waits_for_the_tick_after_a_look_of_its_gates(calls: RollCalls, ramp: Ramp) -> None:
    late_s = DECIDED_S + 3.0
    with calls.remembered():
        calls.gates_look(ROLLOUT, 2 * SMALL)
        assert calls.may_wait(ROLLOUT, ramp, late_s)
    assert not calls.may_wait(ROLLOUT, ramp, late_s)


def test_after_a_start_a_large_fleet_waits_for_the_first_look_of_its_gates(ramp: Ramp) -> None:
    calls = RollCalls()
    with calls.remembered():
        assert not calls.may_wait(ROLLOUT, ramp, DECIDED_S)
        for devices, waits in ((SMALL, False), (SMALL + 1, True)):
            calls.gates_look(ROLLOUT, devices)
            assert calls.may_wait(ROLLOUT, ramp, DECIDED_S) is waits


def test_a_small_fleet_waits_never(ramp: Ramp) -> None:
    calls = RollCalls()
    with calls.remembered():
        calls.worked_out(ROLLOUT, ramp, DECIDED_S, SMALL)
    assert not calls.may_wait(ROLLOUT, ramp, DECIDED_S)
