"""A candidate whose site decides: kept and left as the whole site is, and never kept without a word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pinnace_agent.core import device, effects
from pinnace_agent.core.reported import reported
from pinnace_agent.core.siting import FORGOTTEN_S_MAX, START_S_MAX
from pinnace_contract.ids import RolloutId
from pinnace_contract.latest import (
    Cause,
    ContactMode,
    ContactPolicy,
    Deadlines,
    Intent,
    Outcome,
    Phase,
    SiteVerdict,
    TrialMode,
    TrialPolicy,
    WithdrawMode,
)
from tests.agent.core.scene import LEASE_S, MISSED, SITED, START_S, V1, V2, V3, Driver

COMMIT, REVERT = SiteVerdict.COMMIT, SiteVerdict.REVERT
BEFORE_TRIAL = (Phase.OFFERED, Phase.FETCHING, Phase.VERIFYING, Phase.STAGED, Phase.SELF_TEST)


def prepared(**more: Any) -> Driver:
    """V1 is committed, V2 serves and waits for the word of its site."""
    return Driver().install(V1).assign(V2, **SITED | more).to(Phase.PREPARED)


def lapsed() -> Driver:
    """The same, after its lease."""
    return prepared().tick(LEASE_S + 1).reverted()


def last(d: Driver) -> tuple[Outcome, Cause]:
    return d.outcomes[-1]


def left_s(d: Driver) -> int | None:
    (model,) = reported(d.state, 1, d.around).models
    return model.lease_left_s


def test_a_proven_candidate_waits_for_its_site_and_serves_on() -> None:
    d = Driver().install(V1).assign(V2, **SITED).to(Phase.AWAITING_CONTACT)
    d.contact()
    assert (d.phase, d.serving, d.slot.current.version if d.slot.current else "") == (Phase.PREPARED, "v2", "v1")
    assert len(d.receipts) == 1
    d.decide(COMMIT)
    assert (d.phase, d.serving, last(d)) == (Phase.IDLE, "v2", (Outcome.COMMITTED, Cause.NONE))
    assert Phase.PREPARED in [each.phase for each in d.receipts[-1].phases]


@pytest.mark.parametrize(
    "terms",
    [
        {"contact": ContactPolicy(mode=ContactMode.NONE)},
        {"trial": TrialPolicy(mode=TrialMode.NONE)},
        {"contact": ContactPolicy(timeout_s=100)},
    ],
    ids=["without contact", "without a trial", "after a contact that did not come"],
)
def test_no_way_to_a_commit_leads_past_the_site(terms: dict[str, Any]) -> None:
    d = Driver().install(V1).assign(V2, **SITED | terms).to(Phase.TRIAL).activated().served(100).tick(101)
    if d.phase is Phase.AWAITING_CONTACT:
        d.contact()
    assert d.phase is Phase.PREPARED


def test_the_deadlines_of_trial_and_contact_stand_still() -> None:
    deadlines = Deadlines(commit_by_s=int(START_S) + 200)
    d = prepared(contact=ContactPolicy(timeout_s=60), deadlines=deadlines).tick(LEASE_S - 10)
    assert d.phase is Phase.PREPARED


def test_a_site_that_goes_back_takes_the_candidate_off_without_blame() -> None:
    d = prepared().decide(REVERT)
    assert (d.phase, d.effect(effects.Revert).to.version) == (Phase.REVERTING, "v1")
    d.reverted()
    assert (last(d), d.serving, d.slot.bad) == ((Outcome.REVERTED, Cause.SITE_REVERTED), "v1", ())


@pytest.mark.parametrize("phase", [Phase.TRIAL, Phase.AWAITING_CONTACT])
def test_a_site_that_goes_back_ends_a_trial(phase: Phase) -> None:
    d = Driver().install(V1).assign(V2, **SITED).to(phase).decide(REVERT).reverted()
    assert (last(d), d.serving, d.slot.bad) == ((Outcome.REVERTED, Cause.SITE_REVERTED), "v1", ())


@pytest.mark.parametrize("phase", BEFORE_TRIAL)
def test_a_site_that_goes_back_needs_no_candidate(phase: Phase) -> None:
    d = Driver().install(V1)
    if phase is Phase.STAGED:
        d.veto(3_600)
    d.assign(V2, **SITED).to(phase).decide(REVERT)
    assert (d.phase, last(d), d.serving) == (Phase.IDLE, (Outcome.CANCELLED, Cause.SITE_REVERTED), "v1")


@pytest.mark.parametrize("phase", [*BEFORE_TRIAL, Phase.TRIAL, Phase.AWAITING_CONTACT])
def test_a_commit_that_comes_early_skips_no_proof(phase: Phase) -> None:
    d = Driver().install(V1)
    if phase is Phase.STAGED:
        d.veto(3_600)
    d.assign(V2, **SITED).to(phase).decide(COMMIT)
    assert d.phase is phase
    if phase is Phase.STAGED:
        d.later(4_000)
    d.to(Phase.PREPARED).tick()
    assert (last(d), d.serving) == ((Outcome.COMMITTED, Cause.NONE), "v2")


def test_a_failure_before_it_is_prepared_is_an_ordinary_one_and_told_at_once() -> None:
    d = Driver().install(V1).assign(V2, **SITED).to(Phase.SELF_TEST).self_tested(MISSED)
    assert (last(d), d.change.told, len(d.slot.bad)) == ((Outcome.FAILED, Cause.GOLDEN_MISMATCH), True, 1)


def test_a_failure_while_it_waits_is_one_as_well() -> None:
    d = prepared()
    for _ in range(3):
        d.exits(Cause.CRASHED)
        if d.phase is Phase.PREPARED:
            d.activated()
    d.reverted()
    assert (last(d), d.serving, d.slot.lapsed) == ((Outcome.REVERTED, Cause.CRASHED), "v1", None)


@pytest.mark.parametrize(
    "foreign",
    [{"rollout": RolloutId("r-8")}, {"site": "paris"}, {"generation": 1}, {"generation": 99}],
    ids=["another rollout", "another site", "an older generation", "a newer generation"],
)
@pytest.mark.parametrize("verdict", list(SiteVerdict))
def test_a_decision_about_something_else_is_ignored(foreign: dict[str, Any], verdict: SiteVerdict) -> None:
    d = prepared()
    before = d.slot
    d.decide(verdict, **foreign)
    assert (d.slot, d.effects) == (before, ())


def test_a_decision_of_a_newer_server_is_ignored() -> None:
    assert prepared().decide(SiteVerdict.UNKNOWN).phase is Phase.PREPARED


def test_decisions_do_not_grow_the_generation_and_a_replayed_one_decides_nothing_new() -> None:
    d = prepared()
    generation = d.state.generation
    d.decide(COMMIT)
    assert d.state.generation == generation
    d.assign(V3, **SITED).to(Phase.PREPARED)
    d.decide(COMMIT, generation=generation)
    assert (d.phase, len(d.receipts)) == (Phase.PREPARED, 2)


def test_the_first_word_counts() -> None:
    d = prepared().decide(COMMIT).decide(REVERT)
    assert (d.phase, d.serving, last(d)) == (Phase.IDLE, "v2", (Outcome.COMMITTED, Cause.NONE))


def test_a_commit_while_the_candidate_is_being_started_again_waits_for_it() -> None:
    d = prepared().tick(61).exits(Cause.CRASHED).decide(COMMIT)
    assert d.phase is Phase.PREPARED
    d.activated().tick()
    assert last(d) == (Outcome.COMMITTED, Cause.NONE)


def test_a_newer_assignment_takes_its_place() -> None:
    d = prepared().assign(V3).reverted()
    assert (last(d), d.slot.lapsed) == ((Outcome.REVERTED, Cause.NEWER_GENERATION), None)


# --- the lease ----------------------------------------------------------------------------------------------------


def test_no_decision_by_the_end_of_the_lease_is_a_revert_that_blames_nobody() -> None:
    d = prepared().tick(LEASE_S - 1)
    assert (d.phase, left_s(d)) == (Phase.PREPARED, 1)
    d.tick(2).reverted()
    assert (last(d), d.serving, d.slot.bad) == ((Outcome.REVERTED, Cause.LEASE_ENDED), "v1", ())


def test_a_clock_that_jumps_neither_ends_a_lease_nor_prolongs_it() -> None:
    d = prepared().clock_jumps_to(START_S + 10 * LEASE_S).tick(LEASE_S / 2)
    assert d.phase is Phase.PREPARED
    d.clock_jumps_to(START_S - 10 * LEASE_S).tick(LEASE_S / 2 + 2)
    assert d.phase is Phase.REVERTING


def test_an_end_by_the_clock_ends_it_as_well() -> None:
    d = prepared(lease_s=0, lease_until_s=int(START_S) + 500)
    left = left_s(d)
    assert left is not None
    assert 490 < left <= 500
    assert d.tick(501).phase is Phase.REVERTING


def test_a_lease_goes_on_while_the_device_is_off() -> None:
    d = prepared()
    d.around = replace(d.around, unix_s=d.around.unix_s + LEASE_S / 2)
    d.restarts()
    assert d.phase is Phase.PREPARED
    left = left_s(d)
    assert left is not None
    assert left <= LEASE_S / 2
    d.activated().tick(LEASE_S / 2 + 1)
    assert d.phase is Phase.REVERTING


def test_a_restart_costs_what_a_power_cut_may_have_forgotten() -> None:
    d = prepared().later(1).restarts()
    left = left_s(d)
    assert left is not None
    assert left <= LEASE_S - FORGOTTEN_S_MAX


def test_after_a_restart_by_a_clock_that_stood_still_the_lease_is_over() -> None:
    d = prepared().restarts().activated().tick()
    assert (d.phase, d.slot.reason.cause) == (Phase.REVERTING, Cause.LEASE_ENDED)


def test_a_decision_survives_a_restart() -> None:
    d = prepared().tick(61).exits(Cause.CRASHED).decide(COMMIT).later(5).restarts().activated().tick()
    assert last(d) == (Outcome.COMMITTED, Cause.NONE)


# --- a commit that comes late -------------------------------------------------------------------------------------


def test_a_late_commit_puts_the_release_back_without_a_second_trial() -> None:
    d = lapsed()
    assert "v2" in [each.version for each in device.kept(d.state)]
    d.decide(COMMIT)
    assert (d.phase, d.effect(effects.Activate).candidate.version) == (Phase.PREPARED, "v2")
    assert left_s(d) is None
    d.activated().tick()
    assert (d.phase, d.serving, last(d)) == (Phase.IDLE, "v2", (Outcome.COMMITTED, Cause.NONE))
    assert [each.version for each in d.slot.last_good] == ["v1"]
    assert d.receipts[-1].generation == d.receipts[-2].generation


@pytest.mark.parametrize("said_later", [False, True], ids=["nothing of the site", "the opposite"])
def test_what_was_put_back_is_kept_as_soon_as_it_serves_whatever_is_said_after_the_commit(said_later: bool) -> None:
    d = lapsed().decide(COMMIT)
    if said_later:
        d.decide(REVERT)
    else:
        d.take_set(d.entry(V2, generation=d.state.generation, **SITED), generation=d.state.generation)
    assert (d.phase, d.outcomes[-1]) == (Phase.PREPARED, (Outcome.REVERTED, Cause.LEASE_ENDED))
    d.activated()
    assert (d.phase, d.serving, last(d)) == (Phase.IDLE, "v2", (Outcome.COMMITTED, Cause.NONE))


def test_a_commit_that_comes_while_it_goes_back_is_followed_afterwards() -> None:
    d = prepared().tick(LEASE_S + 1).decide(COMMIT)
    assert d.phase is Phase.REVERTING
    d.reverted().tick().activated().tick()
    assert (d.serving, last(d)) == ("v2", (Outcome.COMMITTED, Cause.NONE))


def test_a_late_revert_frees_the_disk() -> None:
    d = lapsed().decide(REVERT)
    assert d.effect(effects.CollectGarbage) is not None
    assert "v2" not in [each.version for each in device.kept(d.state)]
    assert len(d.receipts) == 2
    assert d.decide(COMMIT).phase is Phase.IDLE


def test_a_revert_that_comes_while_it_goes_back_is_the_last_word() -> None:
    d = prepared().tick(LEASE_S + 1).decide(REVERT).reverted().decide(COMMIT)
    assert (d.phase, d.serving) == (Phase.IDLE, "v1")


def test_what_came_back_and_fails_is_said_to_have_failed() -> None:
    d = lapsed().decide(COMMIT).exits(Cause.LOAD_FAILED).reverted()
    assert (last(d), d.serving) == ((Outcome.FAILED, Cause.LOAD_FAILED), "v1")
    assert d.outcomes[-2] == (Outcome.REVERTED, Cause.LEASE_ENDED)
    assert d.decide(COMMIT).phase is Phase.IDLE


def test_what_does_not_come_up_again_is_given_up() -> None:
    d = lapsed().decide(COMMIT).tick(START_S_MAX + 1)
    assert (d.phase, d.slot.reason.cause) == (Phase.REVERTING, Cause.DEADLINE)


def test_it_comes_back_over_a_power_cut() -> None:
    d = lapsed().decide(COMMIT).later(30).restarts().activated().tick()
    assert (d.serving, last(d)) == ("v2", (Outcome.COMMITTED, Cause.NONE))


@pytest.mark.parametrize("mode", [WithdrawMode.RETIRE, WithdrawMode.STOP])
def test_a_late_commit_brings_nothing_withdrawn_back(mode: WithdrawMode) -> None:
    d = lapsed().withdraw(V2, mode).decide(COMMIT)
    assert (d.phase, d.serving) == (Phase.IDLE, "v1")


def test_a_newer_assignment_forgets_what_was_kept() -> None:
    d = lapsed().assign(V1, intent=Intent.ROLLBACK)
    assert d.slot.lapsed is None


def test_a_cancel_forgets_it_too() -> None:
    d = lapsed().cancel()
    assert (d.slot.lapsed, d.effect(effects.CollectGarbage) is not None) == (None, True)
