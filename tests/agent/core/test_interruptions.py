"""A newer generation, a cancel, an answer that comes too late: in every phase, and never twice."""

from __future__ import annotations

import pytest

from pinnace_agent.core import device, effects, events, lifecycle
from pinnace_agent.core.errors import IllegalEvent, UnknownModel
from pinnace_agent.core.lifecycle import PHASES, TABLE
from pinnace_agent.core.slot import Slot
from pinnace_contract.ids import ModelName
from pinnace_contract.latest import Cause, Intent, Outcome, Phase, TrialPolicy, WithdrawMode
from tests.agent.core.scene import MODEL, SITED, V1, V2, V3, Driver, id_of, pair_of, shadow_of

BESIDE = {Phase.SHADOW: shadow_of(V1), Phase.READY: pair_of(V1, switches=False)}
BEFORE_TRIAL = (Phase.OFFERED, Phase.FETCHING, Phase.VERIFYING, Phase.STAGED, Phase.SELF_TEST, *BESIDE)
ACTIVATED = (Phase.TRIAL, Phase.AWAITING_CONTACT, Phase.PREPARED)


def standing_in(phase: Phase) -> Driver:
    """A device with v1 committed and v2 on its way, in this phase."""
    d = Driver().install(V1)
    if phase is Phase.STAGED:
        d.veto(3_600)
    if phase is Phase.REVERTING:
        d.assign(V2).to(Phase.TRIAL).activated().exits(Cause.LOAD_FAILED)
    else:
        d.assign(V2, arms=BESIDE.get(phase), **(SITED if phase is Phase.PREPARED else {})).to(phase)
    d.receipts.clear()
    return d


@pytest.mark.parametrize("phase", BEFORE_TRIAL)
def test_newer_generation_before_trial_supersedes_and_begins(phase: Phase) -> None:
    d = standing_in(phase).assign(V3)
    assert d.outcomes == [(Outcome.SUPERSEDED, Cause.NEWER_GENERATION)]
    assert d.receipts[0].release == id_of(V2)
    assert d.phase is Phase.OFFERED
    assert d.effect(effects.FetchRelease).release == id_of(V3)


@pytest.mark.parametrize("phase", ACTIVATED)
def test_newer_generation_in_trial_goes_back_first(phase: Phase) -> None:
    d = standing_in(phase).assign(V3)
    assert d.phase is Phase.REVERTING
    assert d.effect(effects.Revert).to.version == "v1"
    d.reverted()
    assert d.outcomes == [(Outcome.REVERTED, Cause.NEWER_GENERATION)]
    assert d.receipts[0].generation == 2
    assert d.phase is Phase.OFFERED
    assert d.effect(effects.FetchRelease).release == id_of(V3)


def test_only_the_newest_of_the_entries_that_wait_is_begun() -> None:
    d = standing_in(Phase.TRIAL).assign(V3).assign(V2).reverted()
    assert [(r.generation, r.outcome) for r in d.receipts] == [(3, Outcome.SUPERSEDED), (2, Outcome.REVERTED)]
    assert d.slot.work is not None
    assert d.slot.work.entry.generation == 4


@pytest.mark.parametrize("phase", BEFORE_TRIAL)
def test_cancel_before_trial_drops_the_candidate(phase: Phase) -> None:
    d = standing_in(phase).cancel()
    assert d.outcomes == [(Outcome.CANCELLED, Cause.CANCELLED_BY_SERVER)]
    assert (d.phase, d.serving) == (Phase.IDLE, "v1")


@pytest.mark.parametrize("phase", ACTIVATED)
def test_cancel_in_trial_goes_back(phase: Phase) -> None:
    d = standing_in(phase).cancel()
    assert d.phase is Phase.REVERTING
    d.reverted()
    assert d.outcomes == [(Outcome.REVERTED, Cause.CANCELLED_BY_SERVER)]
    assert (d.phase, d.serving) == (Phase.IDLE, "v1")


def test_cancel_while_reverting_forgets_what_waits() -> None:
    d = standing_in(Phase.TRIAL).assign(V3).cancel().reverted()
    assert [(r.generation, r.outcome) for r in d.receipts] == [(3, Outcome.CANCELLED), (2, Outcome.REVERTED)]
    assert (d.phase, d.slot.waiting) == (Phase.IDLE, None)


def test_cancel_leaves_a_committed_model_alone() -> None:
    d = Driver().install(V1).cancel()
    assert (d.phase, d.serving, len(d.receipts)) == (Phase.IDLE, "v1", 1)


def test_rollback_in_mid_trial_ends_on_what_was_committed() -> None:
    d = standing_in(Phase.TRIAL).assign(V1, intent=Intent.ROLLBACK).reverted()
    assert [r.outcome for r in d.receipts] == [Outcome.REVERTED, Outcome.COMMITTED]
    assert (d.phase, d.serving) == (Phase.IDLE, "v1")


def test_entry_that_is_not_understood_still_takes_the_place_of_an_older_one() -> None:
    d = standing_in(Phase.TRIAL).assign(V3, intent=Intent.UNKNOWN)
    assert d.slot.waiting is not None
    assert d.slot.waiting.refusal is not None
    d.reverted()
    assert d.outcomes == [(Outcome.REVERTED, Cause.NEWER_GENERATION), (Outcome.REJECTED, Cause.AGENT_TOO_OLD)]


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase is not Phase.IDLE])
def test_equal_generation_changes_nothing(phase: Phase) -> None:
    d = standing_in(phase)
    before = d.state
    d.take_set(d.entry(V2, generation=2), generation=2)
    assert d.state == before
    assert not d.effects


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase is not Phase.IDLE])
def test_answer_to_a_job_that_was_given_up_changes_nothing(phase: Phase) -> None:
    d = standing_in(phase)
    late = d.slot.ticket - 1
    before = d.slot
    for event in (
        events.ReleaseRead(ticket=late, release_id=id_of(V2), release=V2),
        events.Fetched(ticket=late),
        events.FetchFailed(ticket=late, cause=Cause.NO_ROOM),
        events.Verified(ticket=late),
        events.SelfTestFailed(ticket=late, cause=Cause.CRASHED),
        events.Activated(ticket=late),
        events.Reverted(ticket=late),
    ):
        d.event(event)
        assert d.slot == before


def test_exit_of_a_worker_that_serves_no_more_changes_nothing() -> None:
    d = standing_in(Phase.TRIAL).activated()
    before = d.slot
    d.event(events.WorkerExited(release=id_of(V1), variant=V1.variants[0].digest, cause=Cause.CRASHED))
    assert d.slot == before


def test_event_without_a_row_is_a_bug_and_says_so() -> None:
    d = standing_in(Phase.FETCHING)
    with pytest.raises(IllegalEvent, match="Verified cannot happen in phase fetching"):
        d.verified()


def test_event_for_a_model_nobody_assigned_is_a_bug() -> None:
    d = Driver()
    with pytest.raises(UnknownModel):
        d.event(events.Fetched(ticket=1))


def test_application_may_veto_before_anything_was_assigned() -> None:
    d = Driver().veto(60)
    assert d.slot.veto is not None


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase_but_idle_has_an_end_by_time_or_a_hold(phase: Phase) -> None:
    if phase is Phase.IDLE:
        return
    row = TABLE[phase, events.Ticked]
    assert set(row.to) - {phase}


@pytest.mark.parametrize("phase", [*BEFORE_TRIAL, *ACTIVATED, Phase.REVERTING])
def test_time_alone_ends_every_phase(phase: Phase) -> None:
    d = standing_in(phase)
    for _ in range(60):
        d.tick(86_400.0)
        if d.phase is Phase.IDLE:
            break
    assert d.phase is Phase.IDLE
    assert d.serving in ("v1", "v2", "nothing")
    assert len(d.receipts) == 1


def test_circles_end_as_a_loop() -> None:
    d = standing_in(Phase.TRIAL)
    d.take_set(d.entry(V2, trial=TrialPolicy(crashes_max=100, starts=100)))
    d.reverted().to(Phase.TRIAL)
    d.receipts.clear()
    for _ in range(80):
        if d.phase is not Phase.TRIAL:
            break
        d.activated().exits()
    assert d.phase is Phase.REVERTING
    d.reverted()
    assert d.outcomes == [(Outcome.REVERTED, Cause.LOOP)]


def test_stopped_release_in_the_fallbacks_is_gone_when_the_trial_fails() -> None:
    d = standing_in(Phase.TRIAL).activated().withdraw(V1, WithdrawMode.STOP).exits(Cause.LOAD_FAILED).reverted()
    assert (d.serving, d.phase) == ("nothing", Phase.IDLE)


def test_slot_without_row_is_named_in_the_error() -> None:
    slot = Slot(model=ModelName("m"))
    with pytest.raises(IllegalEvent) as caught:
        lifecycle.step(slot, events.Fetched(ticket=0), Driver().around)
    assert caught.value.phase is Phase.IDLE


def test_unknown_model_has_no_slot_made_by_accident() -> None:
    d = Driver()
    assert device.tick(d.state, d.around).state.slot(MODEL) is None
