"""A candidate in its shadow: what is committed keeps serving, and whatever goes wrong goes wrong before the trial."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace_agent.core import effects, events
from pinnace_agent.core.shadowing import SHADOW_S_MAX
from pinnace_contract.latest import ArmMode, Cause, Intent, Outcome, Phase, Swap, TrialPolicy, Window, WithdrawMode
from tests.agent.core.scene import MISSED, SHADOW_S, START_S, V1, V2, V3, Driver, id_of, release, shadow_of, variant

HALF = SHADOW_S / 2


def in_shadow(**more: Any) -> Driver:
    """V1 serves, V2 is in its shadow and up."""
    given = {"arms": shadow_of(V1)} | more
    return Driver().install(V1).assign(V2, **given).to(Phase.SHADOW).shadowing()


def last(d: Driver) -> tuple[Outcome, Cause]:
    return d.outcomes[-1]


def test_a_passed_self_test_leads_into_the_shadow_and_the_shadow_into_the_trial() -> None:
    d = Driver().install(V1).assign(V2, arms=shadow_of(V1)).to(Phase.SELF_TEST).self_tested()
    assert (d.phase, d.serving) == (Phase.SHADOW, "v1")
    shown = d.effect(effects.Shadow)
    assert (shown.candidate.version, shown.share_percent) == ("v2", 25)
    assert d.effect(effects.Activate) is None
    d.shadowing().tick(HALF)
    assert (d.phase, d.serving) == (Phase.SHADOW, "v1")
    d.tick(HALF)
    assert (d.phase, d.effect(effects.Activate).candidate.version) == (Phase.TRIAL, "v2")
    d.to(Phase.IDLE)
    assert (last(d), d.serving) == ((Outcome.COMMITTED, Cause.NONE), "v2")
    assert Phase.SHADOW in [each.phase for each in d.receipts[-1].phases]


def test_missed_golden_vectors_end_it_before_the_shadow() -> None:
    d = Driver().install(V1).assign(V2, arms=shadow_of(V1)).to(Phase.SELF_TEST).self_tested(MISSED)
    assert (last(d), d.serving) == ((Outcome.FAILED, Cause.GOLDEN_MISMATCH), "v1")


def test_without_a_duration_the_shadow_lasts_until_its_end() -> None:
    d = in_shadow(arms=shadow_of(V1, duration_s=0)).tick(SHADOW_S)
    assert d.phase is Phase.SHADOW
    d.tick(86_400 - SHADOW_S)
    assert d.phase is Phase.TRIAL


def test_a_clock_that_stands_still_does_not_keep_two_models_in_memory_for_ever() -> None:
    d = in_shadow(arms=shadow_of(V1, duration_s=0))
    for _ in range(int(SHADOW_S_MAX / 3_600)):
        assert d.phase is Phase.SHADOW
        d.tick(3_600).clock_jumps_to(START_S)
    assert d.phase is Phase.TRIAL


def test_a_shadow_lasts_a_day_at_most_whatever_was_asked() -> None:
    d = in_shadow(arms=shadow_of(V1, duration_s=3 * 86_400, until_s=int(START_S) + 9 * 86_400)).tick(SHADOW_S_MAX - 60)
    assert d.phase is Phase.SHADOW
    d.tick(61)
    assert d.phase is Phase.TRIAL


def test_a_shadow_whose_time_was_over_before_it_began_is_no_shadow() -> None:
    d = Driver().install(V1).assign(V2, arms=shadow_of(V1)).to(Phase.SELF_TEST)
    d.clock_jumps_to(START_S + 86_400).self_tested()
    assert (last(d), d.serving, d.slot.bad) == ((Outcome.FAILED, Cause.DEADLINE), "v1", ())
    assert d.effect(effects.StopCandidate) is not None


@pytest.mark.parametrize("cause", [Cause.CRASHED, Cause.HUNG, Cause.MEMORY_EXCEEDED])
def test_three_deaths_of_the_candidate_end_it_before_the_trial(cause: Cause) -> None:
    d = in_shadow()
    for _ in range(2):
        d.tick(61).candidate_exits(cause)
        assert (d.phase, d.serving, d.effect(effects.Shadow) is not None) == (Phase.SHADOW, "v1", True)
        d.shadowing()
    d.tick(61).candidate_exits(cause, log="last words")
    assert (last(d), d.serving, d.phase) == ((Outcome.FAILED, cause), "v1", Phase.IDLE)
    assert d.receipts[-1].log == "last words"
    assert d.receipts[-1].evidence is None
    assert d.effect(effects.Revert) is None


def test_deaths_in_the_first_minute_use_up_the_starts() -> None:
    d = in_shadow(trial=TrialPolicy(starts=2, crashes_max=9)).candidate_exits()
    assert d.phase is Phase.SHADOW
    d.shadowing().candidate_exits()
    assert (last(d), d.serving) == ((Outcome.FAILED, Cause.CRASHED), "v1")


@pytest.mark.parametrize("cause", [Cause.NO_MEMORY, Cause.LOAD_FAILED, Cause.DIGEST_MISMATCH])
def test_what_cannot_start_again_is_not_started_again(cause: Cause) -> None:
    d = in_shadow().candidate_exits(cause)
    assert (last(d), d.serving) == ((Outcome.FAILED, cause), "v1")


def test_a_second_variant_gets_a_shadow_of_its_own() -> None:
    two = release(4, variants=(variant("large", memory=900), variant("small", memory=100)))
    d = Driver().install(V1).assign(two, arms=shadow_of(V1)).to(Phase.SHADOW).candidate_exits(Cause.NO_MEMORY)
    assert (d.phase, d.effect(effects.Fetch).variant) == (Phase.FETCHING, two.variants[1].digest)
    d.to(Phase.SHADOW)
    assert (d.serving, d.effect(effects.Shadow).candidate.variant) == ("v1", two.variants[1].digest)


def test_what_serves_is_started_again_beside_the_shadow() -> None:
    d = in_shadow().exits()
    assert (d.phase, d.effect(effects.Serve).servable.version) == (Phase.SHADOW, "v1")
    d.tick(SHADOW_S)
    assert d.phase is Phase.TRIAL


def test_without_what_it_is_compared_with_there_is_no_shadow_and_nobody_to_blame() -> None:
    d = Driver().install(V1).install(V2).assign(V3, arms=shadow_of(V2)).to(Phase.SHADOW)
    d.shadowing().exits(Cause.LOAD_FAILED)
    assert (last(d), d.serving, d.phase) == ((Outcome.FAILED, Cause.NO_FALLBACK), "v1", Phase.IDLE)
    assert d.effect(effects.Serve).servable.version == "v1"
    assert [each.release for each in d.slot.bad] == []


def test_a_stop_of_what_serves_ends_the_shadow() -> None:
    d = Driver().install(V1).install(V2).assign(V3, arms=shadow_of(V2)).to(Phase.SHADOW)
    d.withdraw(V2, WithdrawMode.STOP)
    assert (last(d), d.serving) == ((Outcome.FAILED, Cause.NO_FALLBACK), "v1")


def test_a_withdrawn_candidate_leaves_its_shadow() -> None:
    d = in_shadow().withdraw(V2, WithdrawMode.RETIRE)
    assert (last(d), d.serving) == ((Outcome.REJECTED, Cause.WITHDRAWN), "v1")
    assert d.effect(effects.StopCandidate) is not None


def test_going_back_while_in_shadow_is_nothing_but_an_end() -> None:
    d = in_shadow().assign(V1, intent=Intent.ROLLBACK)
    assert [each.outcome for each in d.receipts[-2:]] == [Outcome.SUPERSEDED, Outcome.COMMITTED]
    assert (d.phase, d.serving, d.effect(effects.Revert)) == (Phase.IDLE, "v1", None)


def test_a_power_cut_in_the_shadow_costs_a_start_and_the_shadow_goes_on() -> None:
    d = in_shadow().tick(30)
    left = d.slot.work.left if d.slot.work else 0
    d.restarts()
    assert d.slot.work is not None
    assert (d.phase, d.serving, d.slot.work.left) == (Phase.SHADOW, "v1", left - 1)
    assert [type(each) for each in d.effects] == [effects.Serve, effects.Shadow]
    d.restarts().restarts()
    assert (last(d), d.serving) == ((Outcome.FAILED, Cause.CRASHED), "v1")


def test_a_power_cut_after_a_minute_in_the_shadow_costs_nothing() -> None:
    d = in_shadow()
    for _ in range(10):
        d.tick(61).restarts().shadowing()
    assert (d.phase, d.serving) == (Phase.SHADOW, "v1")


def test_an_orderly_stop_in_the_shadow_costs_nothing() -> None:
    d = in_shadow()
    for _ in range(10):
        d.stops_in_order().restarts().shadowing()
    assert (d.phase, d.serving) == (Phase.SHADOW, "v1")


def test_time_in_the_shadow_goes_on_after_a_power_cut() -> None:
    d = in_shadow().tick(HALF).restarts().shadowing().tick(HALF)
    assert d.phase is Phase.TRIAL


def test_a_candidate_that_is_not_up_is_not_put_on_trial() -> None:
    d = in_shadow().tick(61).candidate_exits().tick(SHADOW_S)
    assert d.phase is Phase.SHADOW
    d.shadowing().tick()
    assert d.phase is Phase.TRIAL


def test_a_candidate_that_never_comes_up_again_is_given_up() -> None:
    d = in_shadow(arms=shadow_of(V1, until_s=int(START_S) + 10**6)).tick(61).candidate_exits().tick(SHADOW_S_MAX + 700)
    assert (last(d), d.serving) == ((Outcome.FAILED, Cause.DEADLINE), "v1")


DIFFERING = [
    ("nothing differs", [(500, 0)], Phase.TRIAL),
    ("as much differs as is allowed", [(1_000, 100)], Phase.TRIAL),
    ("more differs", [(1_000, 101)], Phase.IDLE),
    ("little by little", [(60, 6), (60, 30)], Phase.IDLE),
    ("too few to say anything", [(99, 99)], Phase.TRIAL),
    ("nothing was compared", [], Phase.TRIAL),
]


@pytest.mark.parametrize(("sentence", "windows", "phase"), DIFFERING, ids=[each[0] for each in DIFFERING])
def test_differing(sentence: str, windows: list[tuple[int, int]], phase: Phase) -> None:
    d = in_shadow(arms=shadow_of(V1, differing_percent_max=10))
    for pairs, disagreements in windows:
        d.tick(60).compared(pairs, disagreements)
        assert d.phase is Phase.SHADOW
    d.tick(SHADOW_S)
    assert d.phase is phase
    if phase is Phase.IDLE:
        assert (last(d), d.serving) == ((Outcome.FAILED, Cause.DISAGREEMENT), "v1")
        assert "differed from what serves here; expected at most 10 %" in d.receipts[-1].detail


def test_where_the_server_alone_judges_the_device_keeps_nothing_back() -> None:
    assert in_shadow().compared(1_000, 1_000).tick(SHADOW_S).phase is Phase.TRIAL


def test_what_was_compared_is_kept_over_a_power_cut_but_for_the_last_minute() -> None:
    d = in_shadow(arms=shadow_of(V1, differing_percent_max=10)).compared(1_000, 900).tick(61).restarts()
    d.shadowing().tick(SHADOW_S)
    assert last(d) == (Outcome.FAILED, Cause.DISAGREEMENT)


def test_pairs_of_another_candidate_are_about_what_no_longer_matters() -> None:
    d = in_shadow(arms=shadow_of(V1, differing_percent_max=10))
    other = events.Compared(release=id_of(V3), variant=V3.variants[0].digest, pairs=500, disagreements=500)
    assert d.event(other).tick(SHADOW_S).phase is Phase.TRIAL
    late = events.Compared(release=id_of(V2), variant=V2.variants[0].digest, pairs=500, disagreements=500)
    assert d.event(late).phase is Phase.TRIAL


def test_a_veto_holds_the_activation_and_not_the_shadow() -> None:
    d = in_shadow().veto(2 * SHADOW_S).tick(SHADOW_S)
    assert (d.phase, d.slot.reason.cause) == (Phase.SHADOW, Cause.VETO)
    d.tick(SHADOW_S)
    assert d.phase is Phase.TRIAL


def test_a_window_that_closes_in_the_shadow_ends_it() -> None:
    now = int(START_S)
    d = in_shadow(window=Window(opens_s=now, closes_s=now + int(HALF))).tick(SHADOW_S)
    assert (last(d), d.serving) == ((Outcome.FAILED, Cause.DEADLINE), "v1")


@pytest.mark.parametrize(
    ("free_bytes", "phase"), [(300, Phase.SELF_TEST), (150, Phase.IDLE)], ids=["room for both", "room for one"]
)
def test_a_shadow_needs_memory_for_both_before_anything_is_loaded(free_bytes: int, phase: Phase) -> None:
    large = release(4, variants=(variant("large", memory=200),))
    current = release(1, variants=(variant("current", memory=100),))
    d = Driver().install(current).with_health(memory_free_bytes=free_bytes)
    d.assign(large, arms=shadow_of(current)).to(Phase.VERIFYING).verified()
    assert d.phase is phase
    if phase is Phase.IDLE:
        assert (last(d), d.serving) == ((Outcome.FAILED, Cause.NO_MEMORY), str(current.version))
        assert d.effect(effects.SelfTest) is None
    else:
        assert d.effect(effects.SelfTest).swap is Swap.OVERLAP


def test_without_a_shadow_the_same_device_would_have_stopped_the_old_one_first() -> None:
    large, current = (
        release(4, variants=(variant("large", memory=200),)),
        release(1, variants=(variant("c", memory=100),)),
    )
    d = Driver().install(current).with_health(memory_free_bytes=150).assign(large).to(Phase.SELF_TEST)
    assert d.effect(effects.SelfTest).swap is Swap.STOP_FIRST


REFUSED = [
    ("a control that does not serve here", {"arms": shadow_of(V3)}, Cause.NO_FALLBACK),
    ("arms of another kind", {"arms": shadow_of(V1, mode=ArmMode.UNKNOWN)}, Cause.AGENT_TOO_OLD),
    ("arms of a newer server", {"arms": shadow_of(V1, mode=ArmMode.UNKNOWN)}, Cause.AGENT_TOO_OLD),
    ("a shadow of a way back", {"arms": shadow_of(V1), "intent": Intent.ROLLBACK}, Cause.RELEASE_INVALID),
    ("a shadow for which the old one stops", {"arms": shadow_of(V1), "swap": Swap.STOP_FIRST}, Cause.RELEASE_INVALID),
]


@pytest.mark.parametrize(("sentence", "more", "cause"), REFUSED, ids=[each[0] for each in REFUSED])
def test_refused(sentence: str, more: dict[str, Any], cause: Cause) -> None:
    d = Driver().install(V1).assign(V2, **more)
    assert (last(d), d.serving, d.phase) == ((Outcome.REJECTED, cause), "v1", Phase.IDLE)


def test_a_first_release_has_nothing_to_be_compared_with() -> None:
    d = Driver().assign(V2, arms=shadow_of(V1))
    assert last(d) == (Outcome.REJECTED, Cause.NO_FALLBACK)
    assert id_of(V1)[:12] in d.receipts[-1].detail
