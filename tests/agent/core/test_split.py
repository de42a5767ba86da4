"""The control arm: last good keeps its share beside a newer release, until its time is over or one of them goes."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace_agent.core import effects
from pinnace_agent.core.reported import reported
from pinnace_agent.core.splitting import SPLIT_S_MAX
from pinnace_contract.latest import Cause, ContactMode, ContactPolicy, Intent, Outcome, Phase, Swap, WithdrawMode
from tests.agent.core.scene import SPLIT_S, START_S, V1, V2, V3, Driver, id_of, release, split_of, variant

DAY_S = 86_400


def on_trial(**more: Any) -> Driver:
    """V1 has its share, V2 the rest, and is on trial."""
    given = {"arms": split_of(V1)} | more
    return Driver().install(V1).assign(V2, **given).to(Phase.TRIAL).activated()


def kept(**more: Any) -> Driver:
    """V2 is committed, and V1 still has its share."""
    return on_trial(**more).to(Phase.IDLE)


def arms(d: Driver) -> tuple[str, str]:
    """Who answers beside whom."""
    split = d.slot.split
    return d.serving, str(split.control.version) if split else ""


def last(d: Driver) -> tuple[Outcome, Cause]:
    return d.outcomes[-1]


def test_a_passed_self_test_lets_both_answer() -> None:
    d = Driver().install(V1).assign(V2, arms=split_of(V1)).to(Phase.SELF_TEST).self_tested()
    found = d.effect(effects.Activate)
    assert (found.candidate.version, found.split.control.version, found.split.share_percent) == ("v2", "v1", 20)
    assert d.phase is Phase.TRIAL


def test_a_commit_ends_the_trial_and_not_the_control_arm() -> None:
    d = on_trial().to(Phase.IDLE)
    assert (last(d), arms(d)) == ((Outcome.COMMITTED, Cause.NONE), ("v2", "v1"))
    assert not [each for each in d.effects if isinstance(each, effects.Serve | effects.Activate)]
    assert d.slot.last_good[0].version == "v1"


def test_its_time_is_over_after_its_duration_and_what_is_committed_answers_alone() -> None:
    d = kept().tick(SPLIT_S - 100)
    assert arms(d) == ("v2", "v1")
    d.tick(200)
    assert arms(d) == ("v2", "")
    served = d.effect(effects.Serve)
    assert (served.servable.version, served.split) == ("v2", None)
    assert d.change.save


def test_its_end_ends_it_whatever_is_left_of_its_duration() -> None:
    d = kept(arms=split_of(V1, until_s=int(START_S) + DAY_S)).tick(DAY_S)
    assert arms(d) == ("v2", "")


def test_a_clock_that_stands_still_does_not_keep_two_models_in_memory_for_ever() -> None:
    d = kept(arms=split_of(V1, duration_s=0))
    for _ in range(int(SPLIT_S_MAX / DAY_S) - 1):
        d.tick(DAY_S).clock_jumps_to(START_S)
    assert arms(d) == ("v2", "v1")
    d.tick(DAY_S)
    assert arms(d) == ("v2", "")


def test_a_control_arm_may_end_in_the_middle_of_the_trial() -> None:
    d = on_trial(arms=split_of(V1, duration_s=60), contact=ContactPolicy(mode=ContactMode.REQUIRED)).tick(61)
    assert (d.phase, arms(d)) == (Phase.TRIAL, ("v2", ""))
    assert d.effect(effects.Activate).split is None
    assert d.activated().to(Phase.IDLE).serving == "v2"


def test_a_control_arm_whose_time_was_over_before_it_began_is_none() -> None:
    d = Driver().install(V1).assign(V2, arms=split_of(V1)).to(Phase.SELF_TEST)
    d.clock_jumps_to(START_S + DAY_S + SPLIT_S).self_tested()
    assert (last(d), d.serving, d.slot.bad) == ((Outcome.FAILED, Cause.DEADLINE), "v1", ())


def test_a_power_cut_on_trial_resumes_both() -> None:
    d = on_trial().tick(90).restarts()
    found = d.effect(effects.Activate)
    assert (found.candidate.version, found.split.control.version) == ("v2", "v1")
    assert (d.phase, arms(d)) == (Phase.TRIAL, ("v2", "v1"))


def test_a_power_cut_after_the_commit_resumes_both_for_what_is_left() -> None:
    d = kept().tick(SPLIT_S - 1_000).restarts()
    served = d.effect(effects.Serve)
    assert (served.servable.version, served.split.control.version) == ("v2", "v1")
    d.tick(900)
    assert arms(d) == ("v2", "v1")
    d.tick(200)
    assert arms(d) == ("v2", "")


def test_its_time_is_worth_a_write_an_hour_and_no_more() -> None:
    d = kept()
    saved = []
    for _ in range(DAY_S // 60):
        d.tick(60)
        if d.change.save:
            saved.append(d.slot.split.left_s if d.slot.split else 0.0)
    assert len(saved) == 24
    assert d.slot.split is not None
    assert saved[-1] - d.slot.split.left_s <= 3_600


def test_a_run_that_finds_its_time_over_begins_without_it() -> None:
    d = kept().clock_jumps_to(START_S + DAY_S + SPLIT_S).restarts()
    served = d.effect(effects.Serve)
    assert (served.servable.version, served.split, arms(d)) == ("v2", None, ("v2", ""))


def test_what_the_control_answers_is_not_counted_for_the_candidate() -> None:
    d = on_trial().served(40).control_served(1_000, 1_000)
    trial = d.slot.work.trial if d.slot.work else None
    assert trial is not None
    assert (d.phase, trial.inferences, trial.errors) == (Phase.TRIAL, 40, 0)


def test_errors_of_the_candidate_revert_it_and_its_control_answers_everything() -> None:
    d = on_trial().served(60, 60)
    assert d.phase is Phase.REVERTING
    assert d.slot.split is None
    assert d.effect(effects.Revert).to.version == "v1"
    d.reverted()
    assert (last(d), arms(d)) == ((Outcome.REVERTED, Cause.ERROR_RATE), ("v1", ""))


def test_a_control_that_dies_is_started_again_and_nobody_else_is_blamed() -> None:
    d = on_trial().control_exits()
    found = d.effect(effects.Activate)
    assert (found.split.control.version, arms(d)) == ("v1", ("v2", "v1"))
    assert d.slot.work is not None
    assert d.slot.work.trial is not None
    assert d.slot.work.trial.crashes == 0
    d.to(Phase.IDLE).control_exits()
    assert d.effect(effects.Serve).split.control.version == "v1"


def test_a_control_that_dies_again_and_again_is_given_up() -> None:
    d = kept().control_exits().tick(1).control_exits().tick(1)
    assert arms(d) == ("v2", "v1")
    d.control_exits()
    assert (arms(d), d.slot.current and d.slot.current.version) == (("v2", ""), "v2")
    assert d.effect(effects.Serve).split is None


def test_deaths_that_lie_far_apart_are_not_added_up() -> None:
    d = kept()
    for _ in range(5):
        d.control_exits().tick(700)
    assert arms(d) == ("v2", "v1")


@pytest.mark.parametrize("cause", [Cause.LOAD_FAILED, Cause.DIGEST_MISMATCH, Cause.NO_MEMORY])
def test_a_control_that_cannot_start_is_given_up_at_once(cause: Cause) -> None:
    d = kept().control_exits(cause)
    assert (arms(d), d.outcomes.count((Outcome.REVERTED, cause))) == (("v2", ""), 0)


def test_what_is_committed_and_dies_is_started_again_beside_its_control() -> None:
    d = kept().exits()
    served = d.effect(effects.Serve)
    assert (served.servable.version, served.split.control.version) == ("v2", "v1")


def test_what_is_committed_and_can_start_no_more_leaves_its_control_alone() -> None:
    d = kept().exits(Cause.LOAD_FAILED)
    assert (last(d), arms(d)) == ((Outcome.REVERTED, Cause.LOAD_FAILED), ("v1", ""))
    assert [each.split for each in d.effects if isinstance(each, effects.Serve)] == [None]


def test_a_newer_assignment_ends_it() -> None:
    d = kept().assign(V3)
    assert (d.phase, d.serving, d.slot.split) == (Phase.OFFERED, "v2", None)
    served = d.effect(effects.Serve)
    assert (served.servable.version, served.split) == ("v2", None)


def test_a_newer_assignment_on_trial_reverts_first() -> None:
    d = on_trial().assign(V3)
    assert (d.phase, d.slot.split) == (Phase.REVERTING, None)
    d.reverted()
    assert (d.phase, arms(d)) == (Phase.OFFERED, ("v1", ""))


def test_a_rollback_ends_it_and_goes_back_to_what_was_the_control() -> None:
    d = kept().assign(V1, intent=Intent.ROLLBACK)
    assert d.slot.split is None
    d.to(Phase.TRIAL).activated()
    assert (last(d), arms(d)) == ((Outcome.COMMITTED, Cause.NONE), ("v1", ""))


@pytest.mark.parametrize("mode", [WithdrawMode.RETIRE, WithdrawMode.STOP])
def test_a_withdrawal_of_the_control_ends_it(mode: WithdrawMode) -> None:
    d = kept().withdraw(V1, mode)
    assert (arms(d), d.effect(effects.Serve).split) == (("v2", ""), None)


def test_a_withdrawal_of_what_is_committed_leaves_the_control_alone() -> None:
    d = kept().withdraw(V2, WithdrawMode.STOP)
    assert arms(d) == ("v1", "")
    assert [type(each) for each in d.effects] == [effects.Serve, effects.CollectGarbage]  # it is in memory already
    assert (d.effect(effects.Serve).servable.version, d.effect(effects.Serve).split) == ("v1", None)


def test_a_set_without_the_model_ends_it() -> None:
    d = kept().cancel()
    assert (arms(d), d.effect(effects.Serve).servable.version) == (("v2", ""), "v2")


def test_a_device_without_memory_for_two_says_so_before_anything_is_loaded() -> None:
    large = release(2, variants=(variant("large", memory=1_000),))
    d = Driver().install(V1).assign(large, arms=split_of(V1)).with_health(memory_free_bytes=500)
    d.read().fetched().verified()
    assert (last(d), d.serving, d.slot.split) == ((Outcome.FAILED, Cause.NO_MEMORY), "v1", None)


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({"swap": Swap.STOP_FIRST}, Cause.RELEASE_INVALID),
        ({"intent": Intent.ROLLBACK}, Cause.RELEASE_INVALID),
        ({"arms": split_of(V3)}, Cause.NO_FALLBACK),
    ],
)
def test_refused(more: dict[str, Any], cause: Cause) -> None:
    d = Driver().install(V1).assign(V2, **({"arms": split_of(V1)} | more))
    assert (last(d), d.serving, d.phase) == ((Outcome.REJECTED, cause), "v1", Phase.IDLE)


def test_a_first_release_has_no_control() -> None:
    d = Driver().assign(V1, arms=split_of(V3))
    assert last(d) == (Outcome.REJECTED, Cause.NO_FALLBACK)


def test_reported_says_what_else_answers() -> None:
    d = kept()
    (model,) = reported(d.state, 1, d.around).models
    assert model.control is not None
    assert (model.current and model.current.version, model.control.version) == ("v2", "v1")
    d.tick(SPLIT_S + 1)
    assert d.change.told
    assert reported(d.state, 2, d.around).models[0].control is None
    assert d.slot.last_good[0].release == id_of(V1)
