"""What a trial counts, what a commit moves, what a receipt says, and how starts are used up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pinnace_agent.core import device, effects, events, health
from pinnace_agent.core.slot import Trial
from pinnace_contract.ids import BootId
from pinnace_contract.latest import (
    Cause,
    ContactMode,
    ContactPolicy,
    Deadlines,
    EvidenceKind,
    Intent,
    Outcome,
    Phase,
    Swap,
    TrialPolicy,
    WithdrawMode,
)
from tests.agent.core.scene import MISSED, PASSED, V1, V2, V3, Driver, id_of, release, variant

QUIET = ContactPolicy(mode=ContactMode.NONE)
BIG = release(2, variants=(variant("large weights", memory=1_000),))
BIG_OR_SMALL = release(2, variants=(variant("large weights", memory=1_000), variant("small weights", memory=100)))


def on_trial(made=V2, **more) -> Driver:
    d = Driver().install(V1)
    d.receipts.clear()
    return d.assign(made, **more).to(Phase.TRIAL)


# --- evidence ----------------------------------------------------------------------------------------------------


def test_receipt_of_a_live_trial_says_live_and_how_many() -> None:
    d = on_trial().activated().served(60).served(45, errors=2).contact()
    evidence = d.receipts[0].evidence
    assert evidence is not None
    assert (evidence.kind, evidence.inferences, evidence.errors) == (EvidenceKind.LIVE, 105, 2)


def test_trial_without_requests_ends_by_time_with_replayed_vectors_and_says_so() -> None:
    d = on_trial(contact=QUIET).activated()
    replays = 0
    while d.phase is Phase.TRIAL:
        d.tick(5)
        if d.effect(effects.Replay):
            replays += 1
            d.replayed()
    evidence = d.receipts[0].evidence
    assert evidence is not None
    assert (evidence.kind, evidence.inferences) == (EvidenceKind.SYNTHETIC, replays)
    assert 95 <= replays <= 100  # spread over the half hour, as many as the policy asked for
    assert d.receipts[0].outcome is Outcome.COMMITTED


def test_replays_only_fill_in_where_live_inferences_are_too_few() -> None:
    d = on_trial().activated().served(50).tick(600)
    assert d.effect(effects.Replay) is None
    d.tick(400)
    assert d.effect(effects.Replay) is not None


def test_only_one_replay_is_under_way() -> None:
    d = on_trial().activated().tick(300)
    assert d.effect(effects.Replay) is not None
    assert d.tick(300).effect(effects.Replay) is None


def test_replays_that_fail_are_judged_like_requests() -> None:
    d = on_trial(trial=TrialPolicy(inferences=100, duration_s=1_800)).activated()
    for _ in range(60):
        d.tick(18)
        if d.effect(effects.Replay):
            d.replayed(errors=1, golden=MISSED)
    assert d.phase is Phase.REVERTING
    assert d.slot.reason.cause is Cause.ERROR_RATE


def test_time_while_the_worker_is_down_is_not_health() -> None:
    d = on_trial().activated().tick(1_000).exits().tick(1_000)
    assert d.phase is Phase.TRIAL


def test_clock_that_jumps_forward_by_years_ends_no_trial() -> None:
    d = on_trial().activated().clock_jumps_to(2_500_000_000.0).tick(1)
    assert d.phase is Phase.TRIAL


@pytest.mark.parametrize(
    ("trial", "expected"),
    [
        (Trial(inferences=99), None),
        (Trial(inferences=100), health.Passed),
        (Trial(healthy_s=1_800.0), health.Passed),
        (Trial(inferences=100, errors=3), health.Failed),
        (Trial(inferences=100, errors=2), health.Passed),
        (Trial(crashes=3, inferences=100, last_exit=Cause.CRASHED), health.Failed),
    ],
)
def test_verdict(trial: Trial, expected: type | None) -> None:
    candidate = on_trial().slot.work.candidate  # type: ignore[union-attr]  # on trial there is one
    assert candidate is not None
    found = health.verdict(trial, TrialPolicy(), candidate)
    assert found is None if expected is None else isinstance(found, expected)


# --- the receipt -------------------------------------------------------------------------------------------------


def test_receipt_names_what_runs_now_what_ran_before_and_how_long_it_took() -> None:
    d = on_trial().later(3).activated().served(100).later(7).contact()
    (receipt,) = d.receipts
    assert (receipt.release, receipt.variant, receipt.version) == (id_of(V2), V2.variants[0].digest, "v2")
    assert receipt.active is not None
    assert receipt.previous is not None
    assert (receipt.active.version, receipt.previous.version) == ("v2", "v1")
    assert receipt.golden == PASSED
    assert (receipt.runtime, receipt.swap_gap_ms) == ("onnxruntime 1.20", 3.0)
    seconds = {time.phase: time.seconds for time in receipt.phases}
    assert seconds[Phase.TRIAL] == 3
    assert seconds[Phase.AWAITING_CONTACT] == 7
    assert [time.phase for time in receipt.phases][:3] == [Phase.OFFERED, Phase.FETCHING, Phase.VERIFYING]


def test_receipt_of_a_revert_names_the_release_that_was_tried_and_what_serves() -> None:
    (receipt,) = on_trial().activated().exits(Cause.LOAD_FAILED, log="boom").reverted().receipts
    assert (receipt.release, receipt.log) == (id_of(V2), "boom")
    assert receipt.active is not None
    assert receipt.active.version == "v1"


def test_long_log_keeps_its_beginning_and_its_end() -> None:
    d = Driver().install(V1).assign(V2).to(Phase.SELF_TEST)
    log = d.self_test_failed(Cause.LOAD_FAILED, log="first" + "x" * 40_000 + "last").receipts[-1].log
    assert log.startswith("first")
    assert log.endswith("last")
    assert len(log) <= 16 * 1024


def test_receipt_is_in_the_outbox_of_the_same_save_as_the_commit() -> None:
    d = on_trial(contact=QUIET).activated().served(100)
    assert d.change.save
    assert d.slot.current is not None
    assert d.slot.current.version == "v2"
    assert [each.id for each in d.state.outbox][-1] == d.receipts[0].id


# --- what a commit moves -----------------------------------------------------------------------------------------


def test_floor_moves_only_at_commit() -> None:
    d = on_trial(release(2, epoch=5)).activated()
    assert d.slot.floor == 0
    d.served(100)
    assert d.slot.floor == 0
    d.contact()
    assert d.slot.floor == 5


def test_last_good_has_the_newest_first_and_a_bound() -> None:
    d = Driver()
    for number in range(1, 8):
        d.install(release(number))
    assert [each.version for each in d.slot.last_good] == ["v6", "v5", "v4"]


def test_rolled_back_release_is_nothing_to_fall_back_to() -> None:
    d = Driver().install(V1).install(V2).install(V1, intent=Intent.ROLLBACK)
    assert (d.serving, d.slot.last_good, d.slot.emergency_good) == ("v1", (), ())


def test_evicted_release_can_still_be_rolled_back_to_with_a_fetch() -> None:
    d = Driver()
    for number in range(1, 7):
        d.install(release(number))
    d.assign(V1, intent=Intent.ROLLBACK).read()
    assert d.effect(effects.Fetch) is not None
    d.to(Phase.TRIAL).activated()
    assert (d.phase, d.serving) == (Phase.IDLE, "v1")


def test_retired_release_is_kept_for_emergencies_only() -> None:
    d = Driver().install(V1).install(V2).withdraw(V1, WithdrawMode.RETIRE)
    assert d.slot.last_good == ()
    assert [each.version for each in d.slot.emergency_good] == ["v1"]
    d.exits(Cause.DIGEST_MISMATCH)
    assert d.serving == "v1"


def test_release_that_was_retired_while_it_served_goes_to_the_emergency_ones() -> None:
    d = Driver().install(V1).withdraw(V1, WithdrawMode.RETIRE).install(V2)
    assert d.slot.last_good == ()
    assert [each.version for each in d.slot.emergency_good] == ["v1"]


def test_variant_that_fails_for_good_is_no_longer_a_last_good_one() -> None:
    d = Driver().install(V1).install(V2).assign(V1, intent=Intent.ROLLBACK).to(Phase.SELF_TEST).self_tested(MISSED)
    assert d.slot.last_good == ()
    assert [each.version for each in d.slot.emergency_good] == ["v1"]
    assert d.serving == "v2"


# --- starts ------------------------------------------------------------------------------------------------------


def left(d: Driver) -> int:
    assert d.slot.work is not None
    return d.slot.work.left


def test_a_start_is_used_up_before_the_worker_starts() -> None:
    d = Driver().install(V1).assign(V2).to(Phase.SELF_TEST)
    assert d.change.save
    assert d.effect(effects.SelfTest) is not None
    assert left(d) == 2


def test_a_minute_of_health_gives_the_start_back_once() -> None:
    d = on_trial().activated().tick(59)
    assert left(d) == 2
    d.tick(2)
    assert (left(d), d.change.save) == (3, True)
    assert left(d.tick(120)) == 3


def test_a_power_cut_after_a_minute_costs_nothing() -> None:
    d = on_trial().activated().tick(61).restarts()
    assert left(d) == 2
    assert d.effect(effects.Activate) is not None


def test_three_power_cuts_without_a_minute_of_health_revert() -> None:
    d = on_trial().activated().restarts().activated().restarts().activated()
    assert left(d) == 0
    d.restarts()
    assert d.phase is Phase.REVERTING
    d.reverted()
    assert d.outcomes == [(Outcome.REVERTED, Cause.CRASHED)]
    assert d.serving == "v1"


def test_device_that_goes_down_in_every_self_test_stops_trying() -> None:
    d = Driver().install(V1).assign(V2).to(Phase.SELF_TEST)
    d.restarts().restarts()
    assert d.effect(effects.SelfTest) is not None
    d.restarts()
    assert d.outcomes[-1] == (Outcome.FAILED, Cause.CRASHED)
    assert d.effect(effects.Serve).servable.version == "v1"


@pytest.mark.parametrize("phase", [Phase.SELF_TEST, Phase.TRIAL, Phase.AWAITING_CONTACT])
def test_orderly_stops_cost_nothing_however_many(phase: Phase) -> None:
    d = Driver().install(V1).assign(V2).to(phase)
    for _ in range(10):
        d.stops_in_order().restarts()
        assert d.phase is phase
        assert left(d) == 2


def test_recovery_within_one_run_uses_up_one_start() -> None:
    d = on_trial().activated().restarts()
    once, effects_once = d.state, d.effects
    d.recovers()
    assert d.state == once
    assert d.effects == effects_once


# --- memory, room, swap ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free_bytes", "asked", "expected"),
    [
        (2_000, Swap.AUTO, Swap.OVERLAP),
        (800, Swap.AUTO, Swap.STOP_FIRST),
        (2_000, Swap.STOP_FIRST, Swap.STOP_FIRST),
        (None, Swap.AUTO, Swap.OVERLAP),
        (None, Swap.STOP_FIRST, Swap.STOP_FIRST),
    ],
)
def test_swap_follows_memory(free_bytes: int | None, asked: Swap, expected: Swap) -> None:
    d = Driver().install(release(1, variants=(variant("weights", memory=500),)))
    d.with_health(memory_free_bytes=free_bytes).assign(BIG, swap=asked).to(Phase.SELF_TEST)
    assert d.effect(effects.SelfTest).swap is expected


def test_too_little_memory_fails_before_anything_is_loaded() -> None:
    d = Driver().install(V1).with_health(memory_free_bytes=300).assign(BIG).to(Phase.VERIFYING).verified()
    assert d.outcomes[-1] == (Outcome.FAILED, Cause.NO_MEMORY)
    assert d.effect(effects.SelfTest) is None


def test_too_little_memory_for_one_variant_tries_a_smaller_one() -> None:
    d = Driver().install(V1).with_health(memory_free_bytes=300).assign(BIG_OR_SMALL).to(Phase.IDLE)
    assert d.slot.current is not None
    assert d.slot.current.variant == BIG_OR_SMALL.variants[1].digest


def test_overlap_is_not_quietly_given_up_for_lack_of_memory() -> None:
    d = Driver().install(release(1, variants=(variant("weights", memory=500),)))
    d.with_health(memory_free_bytes=800).assign(BIG, swap=Swap.OVERLAP).to(Phase.VERIFYING).verified()
    assert d.outcomes[-1] == (Outcome.FAILED, Cause.NO_MEMORY)


def test_failed_self_test_after_stop_first_serves_the_old_model_again() -> None:
    d = Driver().install(V1).assign(V2, swap=Swap.STOP_FIRST).to(Phase.SELF_TEST).self_test_failed(Cause.LOAD_FAILED)
    assert d.effect(effects.StopCandidate) is not None
    assert d.effect(effects.Serve).servable.version == "v1"


def test_no_room_gives_up_older_fallbacks_before_it_fails() -> None:
    d = Driver()
    for number in range(1, 5):
        d.install(release(number))
    d.assign(release(5)).to(Phase.FETCHING)
    kept = []
    while d.phase is Phase.FETCHING:
        d.fetch_failed(Cause.NO_ROOM)
        kept.append([each.version for each in d.slot.last_good])
    assert kept == [["v3", "v2"], ["v3"], ["v3"]]
    assert d.outcomes[-1] == (Outcome.FAILED, Cause.NO_ROOM)


def test_replace_gives_up_the_last_good_one_too_but_never_what_serves() -> None:
    d = Driver().install(V1).install(V2).assign(V3, replace=True).to(Phase.FETCHING).fetch_failed(Cause.NO_ROOM)
    assert d.effect(effects.CollectGarbage) is not None
    assert d.effect(effects.Fetch) is not None
    d.fetch_failed(Cause.NO_ROOM)
    assert (d.slot.last_good, d.serving) == ((), "v2")
    assert d.outcomes[-1] == (Outcome.FAILED, Cause.NO_ROOM)


# --- vetoes ------------------------------------------------------------------------------------------------------


def hold_with_vetoes(d: Driver, seconds: int) -> None:
    for _ in range(seconds // 600):
        d.veto(1_200).tick(600)
        if d.phase is not Phase.STAGED:
            return


def test_vetoes_hold_for_a_day_in_all() -> None:
    d = Driver().install(V1).veto(600).assign(V2).to(Phase.VERIFYING).verified()
    hold_with_vetoes(d, 86_400 - 1_200)
    assert d.phase is Phase.STAGED
    hold_with_vetoes(d, 3_600)
    assert d.phase is Phase.SELF_TEST


def test_force_after_ends_vetoes() -> None:
    d = Driver().install(V1).veto(600).assign(V2, deadlines=Deadlines(force_after_s=1_800)).to(Phase.VERIFYING)
    d.verified()
    hold_with_vetoes(d, 86_400)
    assert d.phase is Phase.SELF_TEST
    assert d.slot.work is not None
    assert d.slot.work.attempt_s < 2_500


# --- contact -----------------------------------------------------------------------------------------------------


def test_acknowledged_report_from_before_the_activation_is_not_contact() -> None:
    d = on_trial()
    d.around = replace(d.around, report_seq=7)
    d.activated().served(100)
    d.take(device.contact(d.state, events.ContactMade(boot=d.around.host.boot, seq_to=6), d.around))
    assert d.phase is Phase.AWAITING_CONTACT
    d.take(device.contact(d.state, events.ContactMade(boot=d.around.host.boot, seq_to=7), d.around))
    assert d.phase is Phase.IDLE


def test_contact_while_the_worker_is_down_commits_when_it_serves_again() -> None:
    d = on_trial().activated().served(100).exits().contact()
    assert d.phase is Phase.AWAITING_CONTACT
    d.activated()
    assert (d.phase, d.outcomes) == (Phase.IDLE, [(Outcome.COMMITTED, Cause.NONE)])


def test_contact_does_not_save_a_candidate_that_keeps_dying() -> None:
    d = on_trial().activated().served(100).exits().contact().exits().exits()
    assert d.phase is Phase.REVERTING


def test_candidate_that_does_not_serve_when_its_time_is_over_is_not_committed() -> None:
    d = on_trial().activated().served(100).exits().tick(7 * 86_400 + 1).reverted()
    assert d.outcomes == [(Outcome.REVERTED, Cause.DEADLINE)]


def test_any_report_of_a_later_run_is_contact() -> None:
    d = on_trial().activated().served(100).restarts().activated()
    old_run = events.ContactMade(boot=BootId("0" * 32), seq_to=99)
    d.take(device.contact(d.state, old_run, d.around))
    assert d.phase is Phase.AWAITING_CONTACT
    d.take(device.contact(d.state, events.ContactMade(boot=d.around.host.boot, seq_to=0), d.around))
    assert (d.phase, d.serving) == (Phase.IDLE, "v2")


# --- a committed model that dies ---------------------------------------------------------------------------------


def test_restarts_back_off_and_are_forgotten() -> None:
    d = Driver().install(V1)
    waits = [d.exits().effect(effects.Serve).after_s for _ in range(12)]
    assert waits[:5] == [0.0, 1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == 300.0
    d.later(3_600)
    assert d.exits().effect(effects.Serve).after_s == 0.0


# --- a way back that fails ---------------------------------------------------------------------------------------


def test_only_fallback_that_cannot_start_for_now_is_kept_and_tried_again() -> None:
    d = on_trial().activated().exits(Cause.LOAD_FAILED).revert_failed(Cause.MEMORY_EXCEEDED)
    assert (d.phase, d.serving) == (Phase.IDLE, "v1")
    assert d.outcomes == [(Outcome.REVERTED, Cause.LOAD_FAILED)]
    assert d.effect(effects.Serve).after_s > 0


def test_fallback_that_cannot_start_for_now_stays_for_emergencies() -> None:
    d = Driver().install(V1).install(V2).assign(V3).to(Phase.TRIAL).activated().exits(Cause.LOAD_FAILED)
    d.revert_failed(Cause.MEMORY_EXCEEDED)
    assert d.effect(effects.Revert).to.version == "v1"
    assert [each.version for each in d.slot.emergency_good] == ["v2"]
    d.revert_failed(Cause.LOAD_FAILED).reverted()
    assert d.serving == "v2"


@pytest.mark.parametrize("cause", [Cause.LOAD_FAILED, Cause.MEMORY_EXCEEDED])
def test_going_further_back_comes_to_an_end(cause: Cause) -> None:
    d = Driver()
    for number in range(1, 6):
        d.install(release(number))
    d.assign(release(6)).to(Phase.TRIAL).activated().exits(Cause.LOAD_FAILED)
    tries = 0
    while d.phase is Phase.REVERTING and tries < 10:
        d.revert_failed(cause) if d.effect(effects.Revert).to else d.reverted()
        tries += 1
    assert d.phase is Phase.IDLE
    assert (d.serving == "nothing") == (cause is Cause.LOAD_FAILED)


# --- saving ------------------------------------------------------------------------------------------------------


def test_counts_alone_are_written_once_a_minute() -> None:
    d = on_trial(trial=TrialPolicy(inferences=100_000)).activated().tick(61)
    saves = 0
    for _ in range(300):
        d.later(1).served(1)
        saves += d.change.save
    assert saves == 5


def test_everything_that_has_effects_is_saved() -> None:
    d = Driver().install(V1)
    for phase in (Phase.FETCHING, Phase.VERIFYING, Phase.SELF_TEST, Phase.TRIAL):
        d = Driver().install(V1).assign(V2).to(phase)
        assert d.effects
        assert d.change.save


def test_wrong_answers_stop_before_the_way_back_and_others_only_after_it() -> None:
    wrong = on_trial().activated().replayed(golden=MISSED)
    assert wrong.effect(effects.Revert).swap is Swap.STOP_FIRST
    unwanted = on_trial().activated().assign(V3)
    assert unwanted.effect(effects.Revert).swap is Swap.OVERLAP
