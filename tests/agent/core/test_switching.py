"""Blue/green on a device: green is ready and serves nobody, then they switch, and blue stays for the way back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pinnace_agent.core import effects
from pinnace_agent.core.reported import reported
from pinnace_agent.core.switching import STANDBY_AFTER_S, STANDBY_EXITS_MAX, STANDBY_S_MAX
from pinnace_contract.latest import (
    Cause,
    ContactMode,
    ContactPolicy,
    Intent,
    Outcome,
    Phase,
    SiteVerdict,
    Standby,
    Swap,
    TrialMode,
    TrialPolicy,
    TrustLevel,
    Window,
    WithdrawMode,
)
from tests.agent.core.scene import (
    MISSED,
    SHADOW_S,
    SITED,
    START_S,
    V1,
    V2,
    V3,
    Driver,
    pair_of,
    release,
    split_of,
    variant,
)

KEEP_S = SHADOW_S
BACK: dict[str, Any] = {
    "intent": Intent.ROLLBACK,
    "trial": TrialPolicy(mode=TrialMode.NONE),
    "contact": ContactPolicy(mode=ContactMode.NONE),
}


def is_ready(**more: Any) -> Driver:
    """V1 (blue) serves, V2 (green) is ready and waits."""
    given = {"arms": pair_of(V1, switches=False)} | more
    return Driver().install(V1).assign(V2, **given).to(Phase.READY).made_ready()


def on_trial(**more: Any) -> Driver:
    return is_ready(**more).told_to_switch().later(0.02).activated()


def switched(**more: Any) -> Driver:
    """V2 is committed, V1 stands by."""
    return on_trial(**more).to(Phase.IDLE)


def last(d: Driver) -> tuple[Outcome, Cause]:
    return d.outcomes[-1]


def standby(d: Driver) -> Standby | None:
    return reported(d.state, 1, d.around).models[0].standby


def test_green_is_ready_and_serves_nobody_until_it_is_told_to_take_over() -> None:
    d = Driver().install(V1).assign(V2, arms=pair_of(V1, switches=False)).to(Phase.SELF_TEST).self_tested()
    assert (d.phase, d.serving) == (Phase.READY, "v1")
    assert d.effect(effects.MakeReady).candidate.version == "v2"
    d.made_ready().tick(3_600)
    assert (d.phase, d.serving, d.effects) == (Phase.READY, "v1", ())
    told = d.told_to_switch()
    assert (told.phase, told.serving) == (Phase.TRIAL, "v2")
    activate = d.effect(effects.Activate)
    assert (activate.candidate.version, activate.keeps.version) == ("v2", "v1")


def test_the_switch_is_a_newer_entry_of_the_same_attempt_and_answered_once() -> None:
    d = is_ready()
    before = len(d.receipts)
    d.told_to_switch().later(0.02).activated().to(Phase.IDLE)
    assert [(each.outcome, each.generation) for each in d.receipts[before:]] == [(Outcome.COMMITTED, 3)]
    assert d.slot.generation == 3


def test_the_time_of_the_switch_stands_in_the_receipt() -> None:
    d = switched()
    assert d.receipts[-1].switch_ms == pytest.approx(20, abs=0.01)
    assert d.receipts[-1].switch_back_ms is None


def test_told_before_it_is_ready_it_takes_over_as_soon_as_it_is() -> None:
    d = Driver().install(V1).assign(V2, arms=pair_of(V1)).to(Phase.SELF_TEST).self_tested()
    assert (d.phase, d.serving, d.effect(effects.Activate).keeps.version) == (Phase.TRIAL, "v2", "v1")


@pytest.mark.parametrize("phase", [Phase.OFFERED, Phase.FETCHING, Phase.VERIFYING, Phase.STAGED, Phase.SELF_TEST])
def test_the_word_to_switch_interrupts_nothing_that_is_under_way(phase: Phase) -> None:
    window = Window(opens_s=int(START_S) + 4_000, closes_s=int(START_S) + 90_000) if phase is Phase.STAGED else None
    d = Driver().install(V1).assign(V2, arms=pair_of(V1, switches=False), window=window).to(phase)
    ticket, said = d.slot.ticket, len(d.receipts)
    d.told_to_switch()
    assert (d.phase, d.slot.ticket, d.effects, len(d.receipts)) == (phase, ticket, (), said)
    d.later(4_000).to(Phase.TRIAL)
    assert d.serving == "v2"


def test_a_switch_that_is_told_after_its_window_is_not_made() -> None:
    window = Window(opens_s=int(START_S), closes_s=int(START_S) + 1_000)
    d = is_ready(window=window).later(2_000).told_to_switch()
    assert (d.serving, last(d)) == ("v1", (Outcome.FAILED, Cause.DEADLINE))


def test_another_attempt_is_no_switch() -> None:
    d = is_ready().told_to_switch(attempt=2)
    assert last(d) == (Outcome.SUPERSEDED, Cause.NEWER_GENERATION)
    assert d.phase is Phase.OFFERED


def test_a_commit_ends_the_trial_and_not_the_standby() -> None:
    d = switched()
    told = standby(d)
    assert (d.serving, d.phase) == ("v2", Phase.IDLE)
    assert told is not None
    assert (told.running.version, told.warm) == ("v1", True)
    assert told.until_s - d.around.unix_s == pytest.approx(KEEP_S, abs=2)


def test_the_standby_leaves_when_its_time_is_over() -> None:
    d = switched().tick(KEEP_S - 60)
    assert standby(d) is not None
    d.tick(61)
    assert (standby(d), d.serving) == (None, "v2")
    assert d.effect(effects.EndStandby) is not None
    assert d.change.told


def test_the_standby_stays_a_week_at_most_whatever_was_asked() -> None:
    d = switched(arms=pair_of(V1, switches=False, duration_s=90 * 86_400, until_s=int(START_S) + 99 * 86_400))
    told = standby(d)
    assert told is not None
    assert told.until_s - d.around.unix_s == pytest.approx(STANDBY_S_MAX, abs=2)
    d.tick(STANDBY_S_MAX - 60)
    assert standby(d) is not None
    d.tick(61)
    assert (standby(d), d.effect(effects.EndStandby) is not None) == (None, True)


def test_the_time_of_the_standby_is_worth_a_write_an_hour_and_no_more() -> None:
    day_s = 86_400
    d = switched(arms=pair_of(V1, switches=False, duration_s=3 * day_s, until_s=int(START_S) + 9 * day_s))
    saved = []
    for _ in range(day_s // 60):
        d.tick(60)
        if d.change.save:
            saved.append(d.slot.standby.left_s if d.slot.standby else 0.0)
    assert len(saved) == 24
    assert d.slot.standby is not None
    assert saved[-1] - d.slot.standby.left_s <= 3_600


def test_when_nobody_asks_for_the_model_any_more_the_standby_leaves() -> None:
    d = switched().cancel()
    assert (standby(d), d.serving, d.phase) == (None, "v2", Phase.IDLE)
    assert d.effect(effects.EndStandby) is not None


def test_a_control_arm_that_follows_ends_the_stay_first() -> None:
    d = switched().assign(V3, arms=split_of(V2))
    assert (standby(d), d.effect(effects.EndStandby) is not None) == (None, True)
    d.to(Phase.TRIAL)
    activate = d.effect(effects.Activate)
    assert (activate.keeps, activate.split.control.version) == (None, "v2")


def test_a_pair_that_follows_a_control_arm_ends_it_first() -> None:
    d = Driver().install(V1).assign(V2, arms=split_of(V1)).to(Phase.IDLE)
    assert d.slot.split is not None
    d.assign(V3, arms=pair_of(V2))
    assert (d.slot.split, d.effect(effects.Serve).split) == (None, None)
    d.to(Phase.TRIAL)
    activate = d.effect(effects.Activate)
    assert (activate.keeps.version, activate.split, d.slot.standby.servable.version) == ("v2", None, "v2")


def test_the_standby_is_there_for_a_site_that_goes_back_as_well() -> None:
    d = on_trial(**SITED).to(Phase.PREPARED)
    assert standby(d) is not None
    d.decide(SiteVerdict.REVERT)
    assert (d.phase, d.effect(effects.Revert).to.version) == (Phase.REVERTING, "v1")
    d.later(0.03).reverted()
    assert (last(d), d.serving) == ((Outcome.REVERTED, Cause.SITE_REVERTED), "v1")
    assert d.receipts[-1].switch_back_ms == pytest.approx(30, abs=0.01)


def test_the_standby_stays_through_the_trial() -> None:
    d = on_trial(trial=TrialPolicy(duration_s=30 * 86_400)).tick(KEEP_S + 60)
    assert (d.phase, standby(d) is not None) == (Phase.TRIAL, True)
    d.served(100)
    assert (d.phase, standby(d)) == (Phase.AWAITING_CONTACT, None)


def test_a_device_that_goes_back_in_its_trial_loads_nothing_and_says_how_long_it_took() -> None:
    d = on_trial().served(60, errors=60)
    assert (d.phase, d.effect(effects.Revert).to.version) == (Phase.REVERTING, "v1")
    d.later(0.03).reverted()
    assert (last(d), d.serving, standby(d)) == ((Outcome.REVERTED, Cause.ERROR_RATE), "v1", None)
    assert d.receipts[-1].switch_back_ms == pytest.approx(30, abs=0.01)
    assert d.receipts[-1].switch_ms == pytest.approx(20, abs=0.01)


def test_the_server_moves_back_without_a_load() -> None:
    d = switched().assign(V1, **BACK)
    assert (d.phase, d.serving) == (Phase.TRIAL, "v1")
    assert [type(each) for each in d.effects] == [effects.Activate, effects.EndStandby]
    assert not d.effect(effects.Activate).keeps
    d.later(0.04).activated()
    assert (d.phase, d.serving, last(d)) == (Phase.IDLE, "v1", (Outcome.COMMITTED, Cause.NONE))
    receipt = d.receipts[-1]
    assert (receipt.load_ms, receipt.switch_ms) == (None, pytest.approx(40, abs=0.01))
    assert [each.version for each in d.slot.last_good] == []
    assert standby(d) is None


LOADS = [
    ("its time is over", lambda d: d.tick(KEEP_S + 1), {}),
    ("the standby died a moment ago", lambda d: d.standby_exits(), {}),
    ("more than a good memory is asked of its signatures", lambda d: d, {"least_trust": TrustLevel.CEREMONY}),
]


@pytest.mark.parametrize(("sentence", "happens", "more"), LOADS, ids=[each[0] for each in LOADS])
def test_otherwise_the_way_back_is_the_usual_one(sentence: str, happens: Any, more: dict[str, Any]) -> None:
    d = happens(switched()).assign(V1, **BACK | more)
    assert d.phase is Phase.OFFERED
    assert d.effect(effects.FetchRelease) is not None


def test_a_standby_that_dies_hurts_nobody_is_told_and_comes_back() -> None:
    d = switched().standby_exits()
    told = standby(d)
    assert (d.serving, d.phase, d.change.told) == ("v2", Phase.IDLE, True)
    assert told is not None
    assert (told.warm, told.cause) == (False, Cause.CRASHED)
    assert d.effect(effects.KeepStandby).servable.version == "v1"
    d.standby_up()
    told = standby(d)
    assert told is not None
    assert (told.warm, told.cause) == (True, Cause.NONE)


@pytest.mark.parametrize(("cause", "exits"), [(Cause.CRASHED, STANDBY_EXITS_MAX), (Cause.NO_MEMORY, 1)])
def test_a_standby_that_cannot_stay_up_is_given_up_and_said_to_be(cause: Cause, exits: int) -> None:
    d = switched()
    for _ in range(exits):
        d.standby_exits(cause)
    told = standby(d)
    assert told is not None
    assert (told.warm, told.cause) == (False, cause)
    assert (d.effect(effects.KeepStandby), d.effect(effects.EndStandby) is not None) == (None, True)


@pytest.mark.parametrize("mode", [WithdrawMode.RETIRE, WithdrawMode.STOP])
def test_withdrawing_blue_ends_its_stay(mode: WithdrawMode) -> None:
    d = switched().withdraw(V1, mode)
    assert (standby(d), d.serving) == (None, "v2")
    assert d.effect(effects.EndStandby) is not None


def test_what_is_stopped_is_replaced_by_the_standby_without_a_gap() -> None:
    d = switched().withdraw(V2, WithdrawMode.STOP)
    assert (d.serving, standby(d), d.effect(effects.Unload)) == ("v1", None, None)
    assert [type(each) for each in d.effects] == [effects.Serve, effects.CollectGarbage, effects.EndStandby]
    assert d.effect(effects.Serve).servable.version == "v1"


def test_a_newer_release_needs_the_memory() -> None:
    d = switched().assign(V3)
    assert (d.phase, standby(d)) == (Phase.OFFERED, None)
    assert d.effect(effects.EndStandby) is not None


def test_green_that_is_withdrawn_never_takes_over() -> None:
    d = is_ready().withdraw(V2, WithdrawMode.RETIRE)
    assert (last(d), d.serving) == ((Outcome.REJECTED, Cause.WITHDRAWN), "v1")
    assert d.effect(effects.StopCandidate) is not None


@pytest.mark.parametrize("mode", [WithdrawMode.RETIRE, WithdrawMode.STOP])
def test_blue_that_is_withdrawn_while_green_waits(mode: WithdrawMode) -> None:
    d = is_ready().withdraw(V1, mode)
    if mode is WithdrawMode.RETIRE:  # it may go on serving, and there is nothing to switch back to
        assert (d.phase, d.serving) == (Phase.READY, "v1")
        d.told_to_switch()
        assert (d.serving, standby(d)) == ("v2", None)
    else:
        assert (last(d), d.serving) == ((Outcome.FAILED, Cause.NO_FALLBACK), "nothing")


def test_green_that_dies_is_loaded_again_and_is_not_ready_until_then() -> None:
    d = is_ready().tick(61).candidate_exits()
    assert (d.phase, d.serving, d.slot.reason.cause) == (Phase.READY, "v1", Cause.CRASHED)
    assert d.effect(effects.MakeReady) is not None
    d.told_to_switch()
    assert (d.phase, d.serving) == (Phase.READY, "v1")
    d.made_ready()
    assert (d.phase, d.serving) == (Phase.TRIAL, "v2")


def test_three_deaths_of_green_end_it_before_it_served_anybody() -> None:
    d = is_ready()
    for _ in range(3):
        d.tick(61).candidate_exits()
        if d.phase is Phase.READY:
            d.made_ready()
    assert (last(d), d.serving) == ((Outcome.FAILED, Cause.CRASHED), "v1")
    assert d.effect(effects.Revert) is None


def test_nobody_says_the_word() -> None:
    d = is_ready().tick(86_400)
    assert (last(d), d.serving, d.slot.bad) == ((Outcome.FAILED, Cause.DEADLINE), "v1", ())
    assert d.effect(effects.StopCandidate) is not None


def test_a_veto_holds_the_switch_and_not_the_making_ready() -> None:
    d = is_ready().veto(600).told_to_switch()
    assert (d.phase, d.slot.reason.cause) == (Phase.READY, Cause.VETO)
    d.tick(601)
    assert d.phase is Phase.TRIAL


def test_missed_golden_vectors_end_it_before() -> None:
    d = Driver().install(V1).assign(V2, arms=pair_of(V1)).to(Phase.SELF_TEST).self_tested(MISSED)
    assert (last(d), d.serving) == ((Outcome.FAILED, Cause.GOLDEN_MISMATCH), "v1")


@pytest.mark.parametrize(("free", "phase"), [(221, Phase.SELF_TEST), (219, Phase.IDLE)])
def test_both_must_fit(free: int, phase: Phase) -> None:
    large, current = (
        release(4, variants=(variant("large", memory=200),)),
        release(1, variants=(variant("c", memory=100),)),
    )
    d = Driver().install(current).with_health(memory_free_bytes=free)
    d.assign(large, arms=pair_of(current)).to(Phase.VERIFYING).verified()
    assert d.phase is phase
    if phase is Phase.IDLE:
        assert (last(d), d.effect(effects.SelfTest)) == ((Outcome.FAILED, Cause.NO_MEMORY), None)


def test_a_power_cut_while_green_is_ready_lets_blue_serve_again_and_green_come_back() -> None:
    d = is_ready().tick(120).restarts()
    assert [type(each) for each in d.effects] == [effects.Serve, effects.MakeReady]
    assert (d.phase, d.serving) == (Phase.READY, "v1")
    d.told_to_switch()
    assert d.phase is Phase.READY
    d.made_ready()
    assert d.serving == "v2"


def test_a_power_cut_while_blue_stands_by_lets_green_serve_again_and_blue_come_back() -> None:
    d = switched().tick(120).restarts()
    assert [type(each) for each in d.effects] == [effects.Serve, effects.KeepStandby]
    assert (d.effects[0].servable.version, d.effects[1].after_s) == ("v2", STANDBY_AFTER_S)  # type: ignore[union-attr]
    told = standby(d)
    assert told is not None
    assert not told.warm
    d.standby_up()
    assert standby(d) == replace(told, warm=True, detail="", until_s=standby(d).until_s)  # type: ignore[union-attr]


def test_a_clock_of_waking_time_that_began_long_before_the_agent_does_not_end_the_stay() -> None:
    d = switched().restarts()
    d.around = replace(d.around, awake_s=1_000_000.0)
    d.recovers().tick(10)
    assert standby(d) is not None
    d.tick(KEEP_S)
    assert standby(d) is None


def test_a_power_cut_in_the_trial_measures_no_switch() -> None:
    d = is_ready().told_to_switch().restarts()
    assert [type(each) for each in d.effects] == [effects.Activate, effects.KeepStandby]
    assert d.effect(effects.Activate).keeps is None
    d.later(4).activated().to(Phase.IDLE)
    assert d.receipts[-1].switch_ms is None


def test_a_way_back_from_a_cold_start_is_not_called_a_switch() -> None:
    d = on_trial().restarts().activated().served(60, errors=60)
    assert d.phase is Phase.REVERTING
    d.later(3).reverted()
    assert d.receipts[-1].switch_back_ms is None


COLD = [
    ("dies in the trial", lambda: on_trial().standby_exits()),
    ("is loaded again after a new start", lambda: on_trial().restarts().activated()),
]


@pytest.mark.parametrize(("sentence", "cold"), COLD, ids=[each[0] for each in COLD])
def test_a_standby_that_is_still_loading_when_the_device_goes_back_is_not_left_over(sentence: str, cold: Any) -> None:
    d = cold()
    told = standby(d)
    assert told is not None
    assert not told.warm
    d.served(60, errors=60)
    assert [type(each) for each in d.effects] == [effects.Revert, effects.EndStandby]
    d.standby_up().later(3).reverted()
    assert (d.serving, standby(d)) == ("v1", None)
    assert d.receipts[-1].switch_back_ms is None


def test_a_green_that_is_started_again_is_not_asked_to_keep_what_is_not_there() -> None:
    d = on_trial().exits()
    assert d.effect(effects.Activate).keeps.version == "v1"
    d = on_trial().standby_exits().exits()
    assert d.effect(effects.Activate).keeps is None


def test_a_standby_that_dies_just_before_the_device_goes_back_is_not_loaded_beside_it() -> None:
    d = on_trial().served(60, errors=60).standby_exits()
    assert (d.phase, d.effects) == (Phase.REVERTING, ())
    d.later(3).reverted()
    assert (d.serving, standby(d)) == ("v1", None)


def test_a_rollback_of_what_is_only_ready_takes_it_away() -> None:
    d = is_ready().assign(V1, **BACK)
    assert [each[0] for each in d.outcomes[-2:]] == [Outcome.SUPERSEDED, Outcome.COMMITTED]
    assert (d.serving, d.phase) == ("v1", Phase.IDLE)


REFUSED = [
    ("another release serves", {"arms": pair_of(V3)}, Cause.NO_FALLBACK),
    ("a share between all and nothing", {"arms": pair_of(V1, share_percent=50)}, Cause.RELEASE_INVALID),
    ("a way back", {"arms": pair_of(V1), "intent": Intent.ROLLBACK}, Cause.RELEASE_INVALID),
    ("the old one stops first", {"arms": pair_of(V1), "swap": Swap.STOP_FIRST}, Cause.RELEASE_INVALID),
]


@pytest.mark.parametrize(("sentence", "more", "cause"), REFUSED, ids=[each[0] for each in REFUSED])
def test_refused(sentence: str, more: dict[str, Any], cause: Cause) -> None:
    d = Driver().install(V1).assign(V2, **more)
    assert (last(d), d.serving, d.phase) == ((Outcome.REJECTED, cause), "v1", Phase.IDLE)


def test_a_removal_ends_both() -> None:
    d = switched()
    d.take_set(d.entry(V2, intent=Intent.REMOVE, release=None))
    assert (d.serving, standby(d)) == ("nothing", None)
