"""What a new run of the agent does with what it finds, phase by phase, and that doing it twice is doing it once."""

from __future__ import annotations

import pytest

from pinnace_agent.core import effects
from pinnace_agent.core.lifecycle import PHASES
from pinnace_contract.latest import Cause, Outcome, Phase, Swap, WithdrawMode
from tests.agent.core.scene import V1, V2, Driver
from tests.agent.core.test_interruptions import standing_in

REPEATED = {
    Phase.IDLE: [effects.Serve],
    Phase.OFFERED: [effects.Serve, effects.FetchRelease],
    Phase.FETCHING: [effects.Serve, effects.Fetch],
    Phase.VERIFYING: [effects.Serve, effects.Fetch],
    Phase.STAGED: [effects.Serve],
    Phase.SELF_TEST: [effects.Serve, effects.SelfTest],
    Phase.SHADOW: [effects.Serve, effects.Shadow],
    Phase.READY: [effects.Serve, effects.MakeReady],
    Phase.TRIAL: [effects.Activate],
    Phase.AWAITING_CONTACT: [effects.Activate, effects.SendReportNow],
    Phase.PREPARED: [effects.Activate],
    Phase.REVERTING: [effects.Revert],
}


def stands_in(phase: Phase) -> Driver:
    return Driver().install(V1) if phase is Phase.IDLE else standing_in(phase)


@pytest.mark.parametrize("phase", PHASES)
def test_a_new_run_takes_up_the_phase_where_it_was(phase: Phase) -> None:
    d = stands_in(phase).restarts()
    # What was fetched but not verified was not durable: the new run looks again at what is there.
    assert d.phase is (Phase.FETCHING if phase is Phase.VERIFYING else phase)
    assert [type(effect) for effect in d.effects] == REPEATED[phase]


@pytest.mark.parametrize("phase", PHASES)
def test_recovering_twice_in_one_run_is_recovering_once(phase: Phase) -> None:
    d = stands_in(phase).restarts()
    state, done = d.state, d.effects
    d.recovers()
    assert (d.state, d.effects) == (state, done)
    assert not d.change.save


@pytest.mark.parametrize("phase", PHASES)
def test_the_road_goes_on_after_a_restart(phase: Phase) -> None:
    d = stands_in(phase).restarts()
    if phase is Phase.STAGED:
        d.later(4_000)
    d.to(Phase.IDLE)
    expected = {Phase.IDLE: "v1", Phase.REVERTING: "v1"}.get(phase, "v2")
    assert d.serving == expected


@pytest.mark.parametrize("phase", PHASES)
def test_a_device_that_restarts_for_ever_still_ends_or_holds(phase: Phase) -> None:
    d = stands_in(phase)
    for _ in range(200):
        d.restarts()
    assert d.phase in (Phase.IDLE, Phase.OFFERED, Phase.FETCHING, Phase.STAGED, Phase.REVERTING)


def test_a_device_that_goes_down_in_every_verification_stops_trying() -> None:
    d = stands_in(Phase.VERIFYING)
    for _ in range(100):
        d.restarts()
        if d.phase is Phase.IDLE:
            break
        d.fetched()
    assert d.outcomes == [(Outcome.FAILED, Cause.LOOP)]


def test_a_self_test_without_room_for_two_does_not_start_the_old_one_first() -> None:
    d = Driver().install(V1).assign(V2, swap=Swap.STOP_FIRST).to(Phase.SELF_TEST).restarts()
    assert [type(effect) for effect in d.effects] == [effects.SelfTest]


def test_a_device_without_a_model_says_why() -> None:
    d = Driver().assign(V1).to(Phase.TRIAL).activated().exits(Cause.LOAD_FAILED).reverted().restarts()
    unload = d.effect(effects.Unload)
    assert unload.cause is Cause.LOAD_FAILED


def test_what_is_written_once_a_minute_is_the_most_that_a_power_cut_forgets() -> None:
    d = standing_in(Phase.FETCHING)
    saved = d.state
    for _ in range(1_000):
        d.tick(7)
        if d.change.save:
            saved = d.state
    kept_s = saved.slots[0].work.phase_s if saved.slots[0].work else 0.0
    assert d.slot.work is not None
    assert d.slot.work.phase_s - kept_s <= 70


def test_a_restart_does_not_begin_deadlines_anew() -> None:
    d = standing_in(Phase.FETCHING)
    for _ in range(30):
        d.tick(3_600).restarts()
        if d.phase is Phase.IDLE:
            break
    assert d.outcomes == [(Outcome.FAILED, Cause.DEADLINE)]


def test_a_runtime_that_loads_nothing_takes_no_model_from_the_disk() -> None:
    d = Driver().install(V1).exits(Cause.LOAD_FAILED)
    assert (d.serving, d.effect(effects.Unload).cause) == ("nothing", Cause.LOAD_FAILED)
    assert [each.version for each in d.slot.kept] == ["v1"]
    d.restarts()
    assert d.effect(effects.Serve).servable.version == "v1"


def test_bytes_that_the_disk_changed_are_not_tried_again() -> None:
    d = Driver().install(V1).exits(Cause.DIGEST_MISMATCH).restarts()
    assert (d.serving, d.slot.kept) == ("nothing", ())


def test_a_release_that_was_stopped_is_not_tried_again() -> None:
    d = Driver().install(V1).exits(Cause.LOAD_FAILED).withdraw(V1, WithdrawMode.STOP).restarts()
    assert (d.serving, d.slot.kept) == ("nothing", ())
