"""The life of an update on one device: one table of legal moves, ``step`` through it, ``recover`` after any end.

Handlers decide (``offer``, ``proof``, ``standing``, ``ending``); this module owns which event may come in which phase,
where it may lead, how time passes, the limit of transitions, and what to repeat after a crash. Nothing here touches
the world.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pinnace_agent.core import (
    effects,
    ending,
    events,
    offer,
    proof,
    shadowing,
    siting,
    splitting,
    standing,
    starts,
    switching,
)
from pinnace_agent.core.ending import Step
from pinnace_agent.core.errors import IllegalEvent, IllegalMove
from pinnace_agent.core.slot import ACTIVATED_PHASES, BESIDE_PHASES, Slot, Work, because
from pinnace_agent.core.surroundings import Surroundings
from pinnace_contract.latest import Cause, Phase, Swap

TRANSITIONS_MAX: Final = 64  # saved transitions of one attempt; more is a loop, not an update
SAVE_EVERY_S: Final = 60.0  # how much waking time a power cut may take out of deadlines and counts

IDLE, OFFERED, FETCHING, VERIFYING = Phase.IDLE, Phase.OFFERED, Phase.FETCHING, Phase.VERIFYING
STAGED, SELF_TEST, TRIAL, REVERTING = Phase.STAGED, Phase.SELF_TEST, Phase.TRIAL, Phase.REVERTING
SHADOW, READY, AWAITING, PREPARED = Phase.SHADOW, Phase.READY, Phase.AWAITING_CONTACT, Phase.PREPARED
PHASES: Final = (
    IDLE,
    OFFERED,
    FETCHING,
    VERIFYING,
    STAGED,
    SELF_TEST,
    SHADOW,
    READY,
    TRIAL,
    AWAITING,
    PREPARED,
    REVERTING,
)

Handler = Callable[[Slot, Any, Surroundings], Step]  # Any: each handler takes the one event type of its row


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What decides, and where it may lead; staying is always among ``to`` where it is possible."""

    handler: Handler
    to: tuple[Phase, ...]


def _row(handler: Handler, *to: Phase) -> Row:
    return Row(handler=handler, to=to)


# A new entry is begun as soon as the slot is idle, within the same step: where that may lead; TRIAL with a standby.
BEGINS_IN: Final = (OFFERED, STAGED, TRIAL, IDLE)
BEFORE_TRIAL: Final = (OFFERED, FETCHING, VERIFYING, STAGED, SELF_TEST, SHADOW, READY)

# The road, phase by phase. PREPARED is on the road of entries whose site decides for them (``siting``).
_ROAD: Final[dict[tuple[Phase, type], Row]] = {
    (IDLE, events.Assigned): _row(offer.assigned_while_idle, IDLE),
    (IDLE, events.SiteDecided): _row(siting.decided_while_idle, IDLE, PREPARED),
    (IDLE, events.Ticked): _row(standing.ticked_while_idle, IDLE),
    (IDLE, events.Cancelled): _row(standing.cancelled_while_idle, IDLE),
    #
    (OFFERED, events.ReleaseRead): _row(offer.release_read, FETCHING, OFFERED, IDLE),
    (OFFERED, events.ReleaseRefused): _row(offer.release_refused, IDLE),
    (OFFERED, events.Ticked): _row(offer.reconsidered, OFFERED, FETCHING, IDLE),
    (OFFERED, events.Assigned): _row(offer.assigned_before_trial, OFFERED, IDLE),
    (OFFERED, events.Cancelled): _row(offer.cancelled_before_trial, IDLE),
    #
    (FETCHING, events.ChunksFetched): _row(offer.chunks_fetched, FETCHING),
    (FETCHING, events.Fetched): _row(offer.fetched, VERIFYING),
    (FETCHING, events.FetchFailed): _row(offer.fetch_failed, FETCHING, IDLE),
    (FETCHING, events.Ticked): _row(offer.fetching_ticked, FETCHING, IDLE),
    (FETCHING, events.Assigned): _row(offer.assigned_before_trial, FETCHING, IDLE),
    (FETCHING, events.Cancelled): _row(offer.cancelled_before_trial, IDLE),
    #
    (VERIFYING, events.Verified): _row(proof.verified, STAGED, SELF_TEST, FETCHING, IDLE),
    (VERIFYING, events.VerifyFailed): _row(offer.verify_failed, FETCHING, IDLE),
    (VERIFYING, events.Ticked): _row(offer.verifying_ticked, VERIFYING, IDLE),
    (VERIFYING, events.Assigned): _row(offer.assigned_before_trial, VERIFYING, IDLE),
    (VERIFYING, events.Cancelled): _row(offer.cancelled_before_trial, IDLE),
    #
    (STAGED, events.Ticked): _row(proof.staged_reconsidered, STAGED, SELF_TEST, FETCHING, IDLE),
    (STAGED, events.Assigned): _row(offer.assigned_before_trial, STAGED, IDLE),
    (STAGED, events.Cancelled): _row(offer.cancelled_before_trial, IDLE),
    #
    (SELF_TEST, events.SelfTested): _row(shadowing.self_tested, SHADOW, READY, TRIAL, FETCHING, IDLE),
    (SELF_TEST, events.SelfTestFailed): _row(proof.self_test_failed, FETCHING, IDLE),
    (SELF_TEST, events.Ticked): _row(proof.self_test_ticked, SELF_TEST, FETCHING, IDLE),
    (SELF_TEST, events.Assigned): _row(offer.assigned_before_trial, SELF_TEST, IDLE),
    (SELF_TEST, events.Cancelled): _row(offer.cancelled_before_trial, IDLE),
    #
    (SHADOW, events.Shadowing): _row(shadowing.shadowing, SHADOW),
    (SHADOW, events.Compared): _row(shadowing.compared, SHADOW),
    (SHADOW, events.WorkerExited): _row(shadowing.worker_exited, SHADOW, FETCHING, IDLE),
    (SHADOW, events.Ticked): _row(shadowing.reconsidered, SHADOW, TRIAL, FETCHING, IDLE),
    (SHADOW, events.Assigned): _row(offer.assigned_before_trial, IDLE),
    (SHADOW, events.Cancelled): _row(offer.cancelled_before_trial, IDLE),
    #
    (READY, events.MadeReady): _row(switching.made_ready, READY, TRIAL),
    (READY, events.WorkerExited): _row(shadowing.worker_exited, READY, FETCHING, IDLE),
    (READY, events.Ticked): _row(switching.reconsidered, READY, TRIAL, FETCHING, IDLE),
    (READY, events.Assigned): _row(switching.assigned, READY, TRIAL, IDLE),
    (READY, events.Cancelled): _row(offer.cancelled_before_trial, IDLE),
    #
    (TRIAL, events.Activated): _row(proof.activated, TRIAL, AWAITING, PREPARED, IDLE),
    (TRIAL, events.Served): _row(proof.served, TRIAL, AWAITING, PREPARED, IDLE, REVERTING),
    (TRIAL, events.Replayed): _row(proof.replayed, TRIAL, AWAITING, PREPARED, IDLE, REVERTING),
    (TRIAL, events.WorkerExited): _row(proof.candidate_exited, TRIAL, REVERTING),
    (TRIAL, events.ContactMade): _row(proof.contacted, TRIAL),
    (TRIAL, events.Ticked): _row(proof.trial_ticked, TRIAL, AWAITING, PREPARED, IDLE, REVERTING),
    (TRIAL, events.SiteDecided): _row(siting.decided_in_trial, TRIAL, REVERTING),
    (TRIAL, events.Assigned): _row(offer.assigned_in_trial, REVERTING),
    (TRIAL, events.Cancelled): _row(offer.cancelled_in_trial, REVERTING),
    #
    (AWAITING, events.Activated): _row(proof.activated, AWAITING, PREPARED, IDLE),
    (AWAITING, events.Served): _row(proof.awaiting_served, AWAITING),
    (AWAITING, events.Replayed): _row(proof.awaiting_replayed, AWAITING),
    (AWAITING, events.WorkerExited): _row(proof.candidate_exited, AWAITING, REVERTING),
    (AWAITING, events.ContactMade): _row(proof.contacted, AWAITING, PREPARED, IDLE),
    (AWAITING, events.Ticked): _row(proof.awaiting_ticked, AWAITING, PREPARED, IDLE, REVERTING),
    (AWAITING, events.SiteDecided): _row(siting.decided_in_trial, AWAITING, REVERTING),
    (AWAITING, events.Assigned): _row(offer.assigned_in_trial, REVERTING),
    (AWAITING, events.Cancelled): _row(offer.cancelled_in_trial, REVERTING),
    #
    (PREPARED, events.Activated): _row(siting.prepared_activated, PREPARED, IDLE),
    (PREPARED, events.Served): _row(proof.awaiting_served, PREPARED),
    (PREPARED, events.Replayed): _row(siting.stays_prepared, PREPARED),
    (PREPARED, events.WorkerExited): _row(proof.candidate_exited, PREPARED, REVERTING),
    (PREPARED, events.ContactMade): _row(siting.stays_prepared, PREPARED),
    (PREPARED, events.SiteDecided): _row(siting.decided_while_prepared, PREPARED, IDLE, REVERTING),
    (PREPARED, events.Ticked): _row(siting.prepared_ticked, PREPARED, REVERTING),
    (PREPARED, events.Assigned): _row(offer.assigned_in_trial, REVERTING),
    (PREPARED, events.Cancelled): _row(offer.cancelled_in_trial, REVERTING),
    #
    (REVERTING, events.Reverted): _row(proof.reverted_now, IDLE),
    (REVERTING, events.RevertFailed): _row(proof.revert_failed, REVERTING, IDLE),
    (REVERTING, events.Ticked): _row(proof.reverting_ticked, REVERTING, IDLE),
    (REVERTING, events.SiteDecided): _row(siting.decided_while_reverting, REVERTING),
    (REVERTING, events.Assigned): _row(offer.assigned_while_reverting, REVERTING),
    (REVERTING, events.Cancelled): _row(offer.cancelled_while_reverting, REVERTING),
}


def _standing() -> Iterator[tuple[tuple[Phase, type], Row]]:
    """Yield the rows that are the same in many phases."""
    for phase in PHASES:
        on = {OFFERED: (OFFERED, FETCHING, IDLE), STAGED: (STAGED, SELF_TEST, FETCHING, IDLE)}.get(phase, (phase,))
        yield (phase, events.Vetoed), _row(standing.vetoed, phase)
        yield (phase, events.VetoLifted), _row(standing.veto_lifted, *(on if phase is STAGED else (phase,)))
        yield (
            (phase, events.ContractsDeclared),
            _row(standing.contracts_declared, *(on if phase is OFFERED else (phase,))),
        )
        yield (phase, events.Stopping), _row(standing.stopping, phase)
        if phase in BEFORE_TRIAL:
            yield (phase, events.SiteDecided), _row(siting.decided_before_trial, phase, IDLE)
        away = REVERTING if phase in ACTIVATED_PHASES or phase is REVERTING else IDLE
        yield (phase, events.Withdrawn), _row(standing.withdrawn, *dict.fromkeys((phase, away)))
        if phase in switching.STANDBY_PHASES:
            yield (phase, events.StandbyUp), _row(switching.standby_up, phase)
            yield (phase, events.StandbyExited), _row(switching.standby_exited, phase)
        if phase not in (*ACTIVATED_PHASES, *BESIDE_PHASES, REVERTING):
            yield (phase, events.WorkerExited), _row(standing.current_exited, phase)


TABLE: Final[Mapping[tuple[Phase, type], Row]] = {**_ROAD, **dict(_standing())}


def step(slot: Slot, event: events.Event, around: Surroundings) -> Step:
    """Return what follows from one event.

    Raises:
        IllegalEvent: the table has no row for it. An answer to a job that was given up is not that: it changes nothing.
    """
    slot = _with_time_passed(slot, around)
    if _is_stale(slot, event):
        return _with_saving(Step(slot=slot, save=False))
    row = TABLE.get((slot.phase, type(event)))
    if row is None:
        raise IllegalEvent(slot.model, slot.phase, type(event).__name__)
    done = row.handler(slot, event, around)
    if done.slot.phase not in row.to:
        raise IllegalMove(slot.model, slot.phase, type(event).__name__, done.slot.phase)
    done = splitting.ended_if_due(_begun(_within_limit(slot, done), around), around)
    return _with_saving(switching.settled(done, around))


def recover(slot: Slot, around: Surroundings) -> Step:
    """Return the slot as a new run of the agent takes it up, with everything that has to be done (again).

    Within one run it may be repeated. A new run uses up one start of a candidate that was loading or serving.
    """
    work = slot.work
    fresh = replace(slot, restarts=0, exited_s=0.0)
    fresh = _with_another_chance(switching.taken_up(splitting.taken_up(fresh, around), around))
    if work is None:
        done = _begun(Step(slot=replace(fresh, phase=IDLE)), around)
    else:
        fresh = replace(fresh, work=_taken_up(slot, work, around))
        done = _begun(_with_start_counted(fresh, work.boot, around), around)
    done = switching.settled(splitting.ended_if_due(done, around), around)
    return replace(done, effects=resumed(done.slot), save=done.slot != slot)


def resumed(slot: Slot) -> tuple[effects.Effect, ...]:
    """Return what a run of the agent that finds this slot has to do, from nothing running at all."""
    if slot.standby is None:
        return _resumed(slot)
    return (*_resumed(slot), switching.keep_effect(slot, switching.STANDBY_AFTER_S))


def _resumed(slot: Slot) -> tuple[effects.Effect, ...]:
    match slot.phase:
        case Phase.OFFERED:
            release = (offer.fetch_release(slot),)  # read again even where it was known: the disk may have lost it
            return (*_serving(slot), *release)
        case Phase.FETCHING:
            return (*_serving(slot), ending.fetch(slot))
        case Phase.VERIFYING:
            return (*_serving(slot), offer.verify_effect(slot))
        case Phase.SELF_TEST:
            test = proof.self_test_effect(slot)
            return (test,) if test.swap is Swap.STOP_FIRST else (*_serving(slot), test)
        case Phase.SHADOW:
            return (*_serving(slot), shadowing.shadow_effect(slot))
        case Phase.READY:
            return (*_serving(slot), switching.ready_effect(slot))
        case Phase.TRIAL | Phase.PREPARED:
            return (ending.activate_effect(slot),)
        case Phase.AWAITING_CONTACT:
            return (ending.activate_effect(slot), effects.SendReportNow(model=slot.model))
        case Phase.REVERTING:
            return (ending.revert_effect(slot),)
        case _:
            return _serving(slot)


def _serving(slot: Slot) -> tuple[effects.Effect, ...]:
    if slot.current is not None:
        return (effects.Serve(model=slot.model, servable=slot.current, split=effects.split_of(slot)),)
    return (effects.Unload(model=slot.model, cause=slot.reason.cause, detail=slot.reason.detail),)


def _with_another_chance(slot: Slot) -> Slot:
    """What could not be loaded may be loaded by a new run: its runtime may have been repaired."""
    if slot.current is not None or not slot.broken:
        return slot
    return replace(slot, current=slot.broken[0], broken=slot.broken[1:])


def _taken_up(slot: Slot, work: Work, around: Surroundings) -> Work:
    trial = work.trial and replace(work.trial, up=False, up_s=0.0, replaying=False)
    shadow = work.shadow and replace(work.shadow, up=False, up_s=0.0)
    work = replace(work, seen_s=around.awake_s, trial=trial, shadow=shadow)
    if work.boot != around.host.boot and slot.phase in ACTIVATED_PHASES:
        # Whatever this run reports, it reports after the activation.
        work = replace(work, contact_boot=around.host.boot, contact_seq=0)
    if work.boot != around.host.boot and slot.phase is PREPARED:
        work = siting.with_lease_over_a_restart(work, around)
    return replace(work, boot=around.host.boot, warm_switch=work.warm_switch and work.boot == around.host.boot)


def _with_start_counted(slot: Slot, last_boot: str, around: Surroundings) -> Step:
    work = offer.working(slot)
    if slot.phase not in PHASES:
        reason = because(Cause.STORAGE_ERROR, "a newer agent left the update in a phase that this one does not know")
        return ending.revert(slot, work, reason, blames=False)
    if last_boot == around.host.boot:
        return Step(slot=slot)
    if slot.phase is VERIFYING:
        # What was fetched is not durable yet: a power cut may have taken any of it, which is not the release's fault.
        return _within_limit(slot, Step(slot=ending.moved(slot, FETCHING, work)))
    if slot.phase not in (SELF_TEST, *BESIDE_PHASES, *ACTIVATED_PHASES):
        return Step(slot=slot)
    after = replace(slot, work=replace(work, transitions=work.transitions + 1))
    lost = starts.no_starts_left_after_loss(work)
    if lost is not None:
        return (
            ending.try_next(slot, work, lost)
            if slot.phase not in ACTIVATED_PHASES
            else ending.revert(slot, work, lost, blames=True)
        )
    started = starts.started(offer.working(after), around)
    return _within_limit(slot, Step(slot=replace(after, work=started)))


def _with_time_passed(slot: Slot, around: Surroundings) -> Slot:
    slot = switching.with_time_passed(splitting.with_time_passed(slot, around), around)
    work = slot.work
    if work is None:
        return slot
    passed_s = max(0.0, around.awake_s - work.seen_s)
    vetoed = work.hold is not None and work.hold.cause is Cause.VETO
    trial = work.trial
    if trial is not None and trial.up:
        trial = replace(trial, up_s=trial.up_s + passed_s, healthy_s=trial.healthy_s + passed_s)
    shadow = work.shadow
    if shadow is not None and shadow.up:
        shadow = replace(shadow, up_s=shadow.up_s + passed_s)
    work = replace(
        work,
        seen_s=around.awake_s,
        phase_s=work.phase_s + passed_s,
        attempt_s=work.attempt_s + passed_s,
        unsaved_s=work.unsaved_s + passed_s,
        vetoed_s=work.vetoed_s + passed_s if vetoed else work.vetoed_s,
        shadow=shadow,
        trial=trial,
    )
    return replace(slot, work=work)


def _is_stale(slot: Slot, event: events.Event) -> bool:
    """Tell whether an event is about a job that was given up, or a worker that serves no more."""
    match event:
        case events.WorkerExited():
            return not any(each.is_same(event.release, event.variant) for each in slot.at_work)
        case events.Served():  # what the control arm answered is not the candidate's
            serving = slot.serving
            return slot.phase not in ACTIVATED_PHASES or not (
                serving is not None and serving.is_same(event.release, event.variant)
            )
        case events.Compared():
            return slot.phase is not SHADOW or not _tries(slot, event)
        case events.ContactMade():
            return slot.phase not in ACTIVATED_PHASES
        case events.Ticked():
            return slot.rests
        case events.StandbyUp() | events.StandbyExited():
            return slot.standby is None or not slot.standby.servable.is_same(event.release, event.variant)
        case events.Cancelled():
            return slot.rests
        case _:
            return getattr(event, "ticket", slot.ticket) != slot.ticket


def _tries(slot: Slot, event: events.Compared) -> bool:
    candidate = slot.work.candidate if slot.work is not None else None
    return candidate is not None and candidate.servable.is_same(event.release, event.variant)


def _begun(done: Step, around: Surroundings) -> Step:
    """Begin what waits for an idle slot."""
    slot = done.slot
    if slot.phase is not IDLE or slot.waiting is None:
        return done
    begun = switching.back(slot, around) or offer.begin(slot, around)
    if begun.slot.phase is STAGED:
        held = proof.stage_on(begun.slot, around)
        begun = replace(held, receipts=(*begun.receipts, *held.receipts))
    return Step(
        slot=begun.slot,
        effects=(*done.effects, *begun.effects),
        receipts=(*done.receipts, *begun.receipts),
    )


def _within_limit(before: Slot, done: Step) -> Step:
    """End an attempt that goes in circles, from where it stood before this event."""
    after, work = done.slot.work, before.work
    if after is None or work is None or done.slot.phase is REVERTING or after.transitions <= TRANSITIONS_MAX:
        return done
    reason = because(Cause.LOOP, f"more than {TRANSITIONS_MAX} transitions in one attempt")
    if before.phase in ACTIVATED_PHASES:
        return ending.revert(before, work, reason, blames=True)
    return ending.fail(before, work, reason)


def _with_saving(done: Step) -> Step:
    """Decide whether clocks and counts alone are worth a write."""
    work = done.slot.work
    # Starting again what is committed decides nothing, and must not wait for a disk that is full.
    decides = done.receipts or any(not isinstance(effect, effects.Serve) for effect in done.effects)
    save = done.save or bool(decides) or (work is not None and work.unsaved_s >= SAVE_EVERY_S)
    if not save or work is None:
        return replace(done, save=save)
    return replace(done, save=True, slot=replace(done.slot, work=replace(work, unsaved_s=0.0)))
