"""The set as a whole, the receipts owed, and what the server is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pinnace_agent.core import device, effects, events
from pinnace_agent.core.device import OUTBOX_BYTES_MAX, OUTBOX_MAX, SLOTS_MAX, DeviceState, Sealed
from pinnace_agent.core.reported import active, reported
from pinnace_agent.core.slot import because
from pinnace_contract import codec
from pinnace_contract.ids import DeviceId, IncarnationId, ModelName, ReceiptId
from pinnace_contract.latest import (
    AuditHead,
    Cause,
    Endpoint,
    Entry,
    Intent,
    Outcome,
    Phase,
    Receipt,
    Release,
    Reported,
    WithdrawMode,
    WithdrawnRelease,
)
from tests.agent.core.scene import DEVICE, INCARNATION, MODEL, PASSED, V1, V2, V3, Driver, digest, id_of, release

OTHER = ModelName("other-model")


def entry_of(model: str, generation: int) -> Entry:
    return Entry(model=ModelName(model), generation=generation, release=id_of(V1))


# --- generations -------------------------------------------------------------------------------------------------


def withdrawn(made: Release, mode: WithdrawMode) -> WithdrawnRelease:
    return WithdrawnRelease(model=MODEL, release=id_of(made), mode=mode)


def test_smaller_generation_is_superseded_recorded_and_changes_nothing() -> None:
    d = Driver().install(V1).install(V2)
    slot = d.slot
    d.take_set(d.entry(V1, generation=1))
    assert d.outcomes[-1] == (Outcome.SUPERSEDED, Cause.GENERATION_SUPERSEDED)
    assert d.receipts[-1].generation == 1
    assert d.slot == slot
    assert d.state.outbox[-1].id == d.receipts[-1].id


def test_replayed_old_set_is_answered_once() -> None:
    d = Driver().install(V1).install(V2)
    d.take_set(d.entry(V1, generation=1))
    before = d.state
    for _ in range(5):
        d.take_set(d.entry(V1, generation=1))
    assert d.state == before
    assert not d.change.save


def test_only_growth_of_an_entrys_own_generation_interrupts_its_model() -> None:
    d = Driver().install(V1).assign(V2).to(Phase.TRIAL).activated()
    before = d.slot
    d.take_set(d.entry(V2, generation=2), entry_of(OTHER, 3))
    assert d.slot == before
    assert d.state.slot(OTHER) is not None
    assert d.state.generation == 3


def test_models_go_their_own_way() -> None:
    d = Driver().take_set(entry_of(MODEL, 1), entry_of(OTHER, 1))
    d.event(events.ReleaseRefused(ticket=d.slot.ticket, cause=Cause.SIGNATURE_INVALID))
    other = d.state.slot(OTHER)
    assert other is not None
    assert (d.phase, other.phase) == (Phase.IDLE, Phase.OFFERED)


def test_entry_that_is_older_than_its_slot_in_a_newer_set_is_left_alone() -> None:
    d = Driver().install(V1).install(V2)
    d.take_set(d.entry(V1, generation=1), generation=9)
    assert (d.serving, d.state.generation, len(d.receipts)) == ("v2", 9, 2)


# --- refusals of a whole set -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({"device": DeviceId("press-8")}, Cause.WRONG_DEVICE),
        ({"incarnation": IncarnationId("b" * 32)}, Cause.WRONG_INCARNATION),
    ],
)
def test_set_for_another_is_not_followed_and_not_answered(more: dict[str, object], cause: Cause) -> None:
    d = Driver().install(V1)
    slot, generation = d.slot, d.state.generation
    d.take_set(d.entry(V2), **more)
    assert (d.slot, d.state.generation, len(d.receipts)) == (slot, generation, 1)
    assert d.state.refused.cause is cause
    assert d.change.told
    d.take_set(d.entry(V1, generation=generation))
    assert d.state.refused.cause is Cause.NONE


def test_set_for_any_incarnation_is_followed() -> None:
    d = Driver().take_set(entry_of(MODEL, 1), incarnation=INCARNATION)
    assert d.phase is Phase.OFFERED


def test_atomic_set_is_refused_for_each_of_its_models_once() -> None:
    d = Driver().take_set(entry_of(MODEL, 1), entry_of(OTHER, 1), atomic=True)
    assert d.outcomes == [(Outcome.REJECTED, Cause.SET_REFUSED)] * 2
    assert d.state.slots == ()
    assert d.state.refused.cause is Cause.SET_REFUSED
    d.take_set(entry_of(MODEL, 1), entry_of(OTHER, 1), atomic=True)
    assert len(d.receipts) == 2
    assert d.state.refused.cause is Cause.SET_REFUSED


def test_set_with_a_model_twice_is_refused() -> None:
    d = Driver().take_set(entry_of(MODEL, 1), replace(entry_of(MODEL, 1), release=id_of(V2)))
    assert d.outcomes == [(Outcome.REJECTED, Cause.SET_REFUSED)]


def test_more_models_than_a_device_has_places_for_are_refused() -> None:
    d = Driver().take_set(*(entry_of(f"m{number}", 1) for number in range(SLOTS_MAX)))
    d.take_set(*(entry_of(f"n{number}", 2) for number in range(1)))
    assert d.outcomes == [(Outcome.REJECTED, Cause.SET_REFUSED)]


def test_models_that_only_applications_spoke_of_give_their_places_up() -> None:
    d = Driver()
    for number in range(SLOTS_MAX + 5):
        d.take(device.step(d.state, ModelName(f"dream-{number}"), events.Vetoed(seconds=9), d.around))
    assert len(d.state.slots) == SLOTS_MAX
    d.take_set(entry_of(MODEL, 1))
    assert d.phase is Phase.OFFERED


def test_what_trust_refuses_is_told_and_leaves_everything_as_it_is() -> None:
    d = Driver().install(V1)
    slot = d.slot
    d.take(device.refuse(d.state, because(Cause.SIGNATURE_INVALID, "the targets are not signed by the director")))
    assert (d.slot, d.change.told, d.change.save) == (slot, True, True)
    assert reported(d.state, 1, d.around).cause is Cause.SIGNATURE_INVALID


def test_endpoints_and_audit_head_come_with_an_equal_generation() -> None:
    d = Driver().install(V1)
    slot = d.slot
    head = AuditHead(size=9, root=digest("log"))
    d.take_set(d.entry(V1, generation=1), endpoints=(Endpoint(url="mqtt://other:1883"),), audit_head=head)
    assert d.state.endpoints[0].url == "mqtt://other:1883"
    assert d.state.audit_head == head
    assert d.slot == slot
    d.take_set(d.entry(V1, generation=1), audit_head=AuditHead(size=5, root=digest("shorter log")))
    assert d.state.audit_head == head


# --- receipts ----------------------------------------------------------------------------------------------------


def test_counters_grow_by_one_from_one() -> None:
    d = Driver().install(V1).install(V2).assign(V1).read()
    assert [receipt.counter for receipt in d.receipts] == [1, 2, 3]


def test_acknowledged_receipts_leave_the_outbox_and_no_others() -> None:
    d = Driver().install(V1).install(V2)
    state = device.acknowledged(d.state, [d.receipts[0].id, ReceiptId("f" * 64)])
    assert [each.id for each in state.outbox] == [d.receipts[1].id]


def test_outbox_is_bounded_in_number_and_bytes_and_keeps_the_newest() -> None:
    def sealing(size_bytes: int) -> DeviceState:
        d = Driver()
        for _ in range(OUTBOX_MAX + 10):
            d.assign(V1, site_atomic=True)
            d.state = device.sealed(
                replace(d.change, state=replace(d.state, outbox=d.state.outbox[:-1])), lambda _: b"x" * size_bytes
            )
        return d.state

    small, large = sealing(10), sealing(OUTBOX_BYTES_MAX // 10)
    assert len(small.outbox) == OUTBOX_MAX
    assert len(large.outbox) == 10
    assert small.outbox[-1].counter == OUTBOX_MAX + 10


def test_commit_that_is_taken_back_has_a_receipt_of_its_own() -> None:
    d = Driver().install(V1).install(V2).exits(Cause.DIGEST_MISMATCH)
    committed, taken_back = d.receipts[-2:]
    assert (taken_back.outcome, taken_back.generation, taken_back.release) == (Outcome.REVERTED, 2, id_of(V2))
    assert taken_back.id != committed.id


def test_commit_of_an_older_generation_is_taken_back_without_a_second_answer() -> None:
    d = Driver().install(V1).install(V2).assign(V3).to(Phase.FETCHING).fetch_failed(Cause.NO_ROOM)
    answered = len(d.receipts)
    d.exits(Cause.DIGEST_MISMATCH)
    assert (d.serving, len(d.receipts)) == ("v1", answered)
    assert reported(d.state, 1, d.around).models[0].cause is Cause.DIGEST_MISMATCH


@pytest.mark.parametrize("text", ["é" * 50_000, "\x00\x1b[2J" * 9_000, "\ud800 lone", '"\\' * 40_000, "𝄞" * 30_000])
def test_whatever_a_worker_says_can_be_sent_and_saved(text: str) -> None:
    d = Driver().install(V1).veto(60)
    d.event(events.Vetoed(seconds=0, reason=text)).assign(V2).to(Phase.SELF_TEST)
    tested = events.SelfTested(ticket=d.slot.ticket, golden=PASSED, runtime=text, log=text)
    d.event(tested).activated()
    serving = d.slot.serving
    assert serving is not None
    exited = events.WorkerExited(
        release=serving.release, variant=serving.variant, cause=Cause.LOAD_FAILED, detail=text, log=text
    )
    d.event(exited).reverted()
    assert codec.from_plain(DeviceState, codec.plain(d.state)) == d.state
    for receipt in d.receipts:
        assert codec.from_json(Receipt, codec.to_json(receipt)) == receipt
    assert "\x1b" not in d.receipts[-1].log


# --- what is told ------------------------------------------------------------------------------------------------


def test_reported_shows_phase_reason_candidate_and_progress() -> None:
    d = Driver().install(V1).assign(V2).read()
    d.event(events.ChunksFetched(ticket=d.slot.ticket, fetched_bytes=7))
    (state,) = reported(d.state, 4, d.around).models
    assert (state.phase, state.fetched_bytes) == (Phase.FETCHING, 7)
    assert state.fetch_bytes == sum(blob.size_bytes for blob in V2.blobs(V2.variants[0]))
    assert state.current is not None
    assert state.candidate is not None
    assert (state.current.version, state.candidate.version) == ("v1", "v2")
    message = reported(d.state, 4, d.around)
    assert codec.from_json(Reported, codec.to_json(message)) == message


def test_reported_of_many_talkative_models_still_fits() -> None:
    d = Driver()
    d.take_set(*(entry_of(f"m{number}", 1) for number in range(SLOTS_MAX)))
    for slot in d.state.slots:
        accepts = events.ContractsDeclared(accepts=tuple(digest(f"{slot.model} {n}") for n in range(16)))
        d.take(device.step(d.state, slot.model, accepts, d.around))
        refused = events.ReleaseRefused(ticket=slot.ticket, cause=Cause.SIGNATURE_INVALID, detail="é" * 600)
        d.take(device.step(d.state, slot.model, refused, d.around))
    message = reported(d.state, 1, d.around)
    assert codec.from_json(Reported, codec.to_json(message)) == message
    assert {each.cause for each in message.models} == {Cause.SIGNATURE_INVALID}


def test_receipt_of_what_is_committed_already_names_the_variant_that_serves() -> None:
    d = Driver().install(V1).assign(V1)
    assert (d.receipts[-1].variant, d.receipts[-1].version) == (V1.variants[0].digest, "v1")


def test_another_attempt_at_the_same_release_keeps_what_was_fetched() -> None:
    d = Driver().install(V1).assign(V2).to(Phase.FETCHING).assign(V2, attempt=2)
    assert [type(each) for each in d.effects] == [effects.StopFetch, effects.CollectGarbage, effects.FetchRelease]
    assert (id_of(V2), V2.variants[0].digest) in {(each.release, each.variant) for each in device.kept(d.state)}


def test_active_names_the_candidate_while_it_serves_and_nothing_while_nothing_does() -> None:
    d = Driver().assign(V1).to(Phase.TRIAL)
    assert active(d.state)[0].running is not None
    d.activated().exits(Cause.LOAD_FAILED).reverted()
    assert active(d.state)[0].running is None
    assert reported(d.state, 1, d.around).models[0].cause is Cause.LOAD_FAILED


def test_only_what_the_server_can_see_is_told() -> None:
    d = Driver().install(V1).assign(V2).to(Phase.TRIAL).activated()
    assert not d.tick(1).change.told
    assert not d.served(3).change.told
    assert d.exits(Cause.LOAD_FAILED).change.told


# --- the state as a file -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [*list(Phase)[:6], Phase.TRIAL, Phase.AWAITING_CONTACT, Phase.REVERTING])
def test_state_survives_being_written_in_every_phase(phase: Phase) -> None:
    d = Driver().install(V1)
    if phase is Phase.STAGED:
        d.veto(60)
    if phase is Phase.REVERTING:
        d.assign(V2).to(Phase.TRIAL).activated().served(3, p95_ms=2, samples=3).assign(V3)
    elif phase is not Phase.IDLE:
        d.assign(V2).to(phase)
    assert d.phase is phase
    data = codec.canonical_json(codec.plain(d.state))
    assert codec.from_plain(DeviceState, codec.parse_json("state", data, len(data))) == d.state


def test_fields_of_a_newer_agent_are_ignored() -> None:
    d = Driver().install(V1)
    tree = codec.plain(d.state)
    tree["invented"] = 1
    tree["slots"][0]["invented"] = {"deep": [1]}
    assert codec.from_plain(DeviceState, tree) == d.state


def test_phase_of_a_newer_agent_goes_back_to_what_was_committed() -> None:
    d = Driver().install(V1).assign(V2).to(Phase.TRIAL).activated()
    tree = codec.plain(d.state)
    tree["slots"][0]["phase"] = "orbiting"
    d.state = codec.from_plain(DeviceState, tree)
    d.restarts()
    assert d.phase is Phase.REVERTING
    assert d.effect(effects.Revert).to.version == "v1"
    d.reverted()
    assert d.outcomes[-1] == (Outcome.REVERTED, Cause.STORAGE_ERROR)


def test_sealed_receipt_of_full_size_fits_the_state() -> None:
    each = Sealed(id=ReceiptId("0" * 64), counter=1, sealed=b"x" * 90_000)
    state = DeviceState(incarnation=INCARNATION, outbox=(each,))
    assert codec.from_plain(DeviceState, codec.plain(state)) == state


# --- small things ------------------------------------------------------------------------------------------------


def test_numbers_of_connections_only_grow() -> None:
    state = DeviceState(incarnation=INCARNATION)
    after = device.with_connections_reserved(state)
    assert after.connection == device.CONNECTIONS_RESERVED
    assert device.with_connections_reserved(after).connection == 2 * device.CONNECTIONS_RESERVED


def test_garbage_collection_keeps_what_serves_what_served_and_what_is_tried() -> None:
    d = Driver().install(V1).install(V2).assign(V3).read()
    assert {each.version for each in device.kept(d.state)} == {"v1", "v2", "v3"}
    d.take_set(d.entry(V3, intent=Intent.REMOVE, release=None, variants=()))
    assert device.kept(d.state) == ()
    assert d.effect(effects.Unload) is not None


def test_device_id_is_remembered_once_it_is_known() -> None:
    assert Driver().restarts().state.device == DEVICE


def test_fallbacks_that_the_disk_lost_are_forgotten_but_not_what_serves() -> None:
    d = Driver().install(V1).install(V2)
    d.take(device.lost(d.state, [id_of(V1), id_of(V2)]))
    assert (d.slot.last_good, d.serving, d.change.save) == ((), "v2", True)


def test_what_was_superseded_in_its_slot_is_not_superseded_again_by_a_replay() -> None:
    d = Driver().install(V1).assign(V2).read().assign(V3)
    assert d.outcomes[-1] == (Outcome.SUPERSEDED, Cause.NEWER_GENERATION)
    answered = len(d.receipts)
    d.take_set(d.entry(V2, generation=2))
    assert len(d.receipts) == answered


# --- what a set withdraws ----------------------------------------------------------------------------------------


def test_set_that_stops_what_serves_lets_the_last_good_one_serve_at_once() -> None:
    d = Driver().install(V1).install(V2)
    same = d.entry(V2, generation=d.state.generation)
    d.take_set(same, generation=d.state.generation + 1, withdrawn=(withdrawn(V2, WithdrawMode.STOP),))
    assert (d.serving, d.outcomes[-1]) == ("v1", (Outcome.REVERTED, Cause.WITHDRAWN))
    assert [type(each) for each in d.effects] == [effects.Unload, effects.Serve, effects.CollectGarbage]
    assert d.effect(effects.Serve).servable.version == "v1"
    assert (d.change.save, d.change.told) == (True, True)


def test_set_that_stops_the_only_release_leaves_nothing_and_stays_so_after_a_restart() -> None:
    d = Driver().install(V1)
    same = d.entry(V1, generation=d.state.generation)
    d.take_set(same, generation=d.state.generation + 1, withdrawn=(withdrawn(V1, WithdrawMode.STOP),))
    assert (d.serving, d.effect(effects.Unload).cause) == ("nothing", Cause.WITHDRAWN)
    assert d.restarts().serving == "nothing"


def test_rollback_in_the_set_that_stops_is_there_already() -> None:
    d = Driver().install(V1).install(V2)
    d.take_set(d.entry(V1, intent=Intent.ROLLBACK), withdrawn=(withdrawn(V2, WithdrawMode.STOP),))
    assert d.outcomes[-2:] == [(Outcome.REVERTED, Cause.WITHDRAWN), (Outcome.COMMITTED, Cause.NONE)]
    assert (d.serving, d.phase) == ("v1", Phase.IDLE)


def test_rollback_in_the_set_that_stops_a_trial_waits_for_the_way_back() -> None:
    d = Driver().install(V1).assign(V2).to(Phase.TRIAL).activated()
    d.take_set(d.entry(V1, intent=Intent.ROLLBACK), withdrawn=(withdrawn(V2, WithdrawMode.STOP),))
    assert d.phase is Phase.REVERTING
    d.reverted()
    assert d.outcomes[-2:] == [(Outcome.REVERTED, Cause.WITHDRAWN), (Outcome.COMMITTED, Cause.NONE)]


def test_set_that_retires_lets_what_serves_go_on_and_be_what_a_trial_returns_to() -> None:
    d = Driver().install(V1)
    same = d.entry(V1, generation=d.state.generation)
    d.take_set(same, generation=d.state.generation + 1, withdrawn=(withdrawn(V1, WithdrawMode.RETIRE),))
    assert (d.serving, d.restarts().serving) == ("v1", "v1")
    d.assign(V2).to(Phase.TRIAL).activated()
    d.take_set(d.entry(V1, intent=Intent.ROLLBACK)).reverted()
    assert (d.outcomes[-1], d.serving) == ((Outcome.COMMITTED, Cause.NONE), "v1")


def test_retired_release_may_be_stopped_later() -> None:
    d = Driver().install(V1).install(V2)
    same = d.entry(V2, generation=d.state.generation)
    d.take_set(same, generation=d.state.generation + 1, withdrawn=(withdrawn(V2, WithdrawMode.RETIRE),))
    assert d.serving == "v2"
    d.take_set(same, generation=d.state.generation + 1, withdrawn=(withdrawn(V2, WithdrawMode.STOP),))
    assert d.serving == "v1"


def test_withdrawal_that_is_said_again_changes_nothing_more() -> None:
    d = Driver().install(V1).install(V2)
    same, stopped = d.entry(V2, generation=d.state.generation), (withdrawn(V2, WithdrawMode.STOP),)
    d.take_set(same, generation=d.state.generation + 1, withdrawn=stopped)
    receipts, slot = len(d.receipts), d.slot
    d.take_set(same, generation=d.state.generation + 1, withdrawn=stopped)
    assert (len(d.receipts), d.slot) == (receipts, slot)


def test_new_store_does_not_begin_what_its_first_set_withdraws() -> None:
    d = Driver()
    d.take_set(d.entry(V1), withdrawn=(withdrawn(V1, WithdrawMode.RETIRE),))
    assert d.outcomes == [(Outcome.REJECTED, Cause.WITHDRAWN)]


def test_withdrawal_for_a_model_that_is_not_here_takes_no_place() -> None:
    d = Driver().install(V1)
    d.take_set(generation=9, withdrawn=(WithdrawnRelease(model=OTHER, release=id_of(V2), mode=WithdrawMode.STOP),))
    assert d.state.slot(OTHER) is None


def test_way_of_withdrawing_that_only_a_newer_server_knows_starts_nothing() -> None:
    d = Driver().install(V1)
    d.take_set(d.entry(V2), withdrawn=(withdrawn(V2, WithdrawMode.UNKNOWN),))
    assert (d.outcomes[-1], d.serving) == ((Outcome.REJECTED, Cause.WITHDRAWN), "v1")


def test_what_is_below_the_floor_is_nothing_to_fall_back_to() -> None:
    d = Driver().install(V1).install(release(2, epoch=1))
    assert [each.version for each in d.slot.last_good] == ["v1"]
    assert d.exits(Cause.DIGEST_MISMATCH).serving == "nothing"


def test_falling_back_passes_over_what_is_below_the_floor() -> None:
    d = Driver().install(release(1, epoch=1)).install(release(2, epoch=1)).install(release(3, epoch=1))
    below = replace(d.slot.last_good[0], epoch=0)
    slot = replace(d.slot, last_good=(below, *d.slot.last_good[1:]))
    d.state = replace(d.state, slots=(slot,))
    assert d.exits(Cause.DIGEST_MISMATCH).serving == "v1"
