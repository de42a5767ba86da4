"""From a verified variant to a commit or a way back: staged, self_test, trial, awaiting_contact, reverting.

The shadow that may come between self-test and trial is ``shadowing``'s.

What a proven candidate does where its site decides is ``siting``'s; the rules about starts are ``starts``'s.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pinnace_agent.core import effects, events, health, splitting
from pinnace_agent.core.ending import (
    UNSTARTABLE,
    Step,
    activate_effect,
    commit_removal,
    fail,
    fallen_back,
    moved,
    revert,
    revert_effect,
    reverted,
    try_next,
)
from pinnace_agent.core.offer import NEXT_VARIANT, ignores_holds, overdue, working
from pinnace_agent.core.siting import kept
from pinnace_agent.core.slot import EMERGENCY_GOOD_MAX, Reason, Slot, Trial, Work, because
from pinnace_agent.core.starts import no_starts_left, started, with_start_given_back
from pinnace_agent.core.surroundings import Surroundings
from pinnace_agent.core.wording import clipped, shortened
from pinnace_contract.latest import Cause, ContactMode, Intent, OnNoContact, Phase, Swap, TrialMode

RUNTIME_CHARS_MAX: Final = 64  # name and version, as a receipt carries them
MEMORY_MARGIN: Final = 1.1  # declared peaks are measured on another machine
REVERT_S_MAX: Final = 300.0  # a last good release that does not come up in five minutes is not one
RESTART_AFTER_REVERT_S: Final = 5.0  # what could not start a moment ago gets one to breathe
TRIAL_S_FACTOR: Final = 2.0  # a worker that is down half of its trial does not pass it by waiting
TRIAL_S_MORE: Final = 600.0


# --- staged ------------------------------------------------------------------------------------------------------


def verified(slot: Slot, event: events.Verified, around: Surroundings) -> Step:
    """The variant lies durable on the disk: activate as soon as nothing holds, unless fetching took until too late."""
    return stage_on(moved(slot, Phase.STAGED, working(slot)), around)


def stage_on(slot: Slot, around: Surroundings) -> Step:
    """Start the self-test (or do the removal), stay staged with the reason, or fail where the time for it is over."""
    work = working(slot)
    late = too_late_to_activate(slot, work, around)
    if late:
        return fail(slot, work, late)
    hold = None if ignores_holds(slot) else activation_hold(slot, work, around)
    if hold:
        return Step(slot=replace(slot, work=replace(work, hold=hold)), save=hold != work.hold)
    if work.entry.intent is Intent.REMOVE:
        return commit_removal(slot, work)
    swap = _swap(slot, work, around)
    if isinstance(swap, Reason):
        return try_next(slot, work, swap)
    work = replace(work, left=work.entry.trial.starts, swap=swap)
    slot = moved(slot, Phase.SELF_TEST, started(work, around))
    return Step(slot=slot, effects=(self_test_effect(slot),))


def staged_reconsidered(slot: Slot, event: object, around: Surroundings) -> Step:
    """Look again at what holds a staged attempt."""
    return stage_on(slot, around)


def too_late_to_activate(slot: Slot, work: Work, around: Surroundings) -> Reason | None:
    """Return why the time to activate is over, or None."""
    window = work.entry.window
    if window is not None and around.unix_s > window.closes_s and not ignores_holds(slot):
        return because(Cause.DEADLINE, "the window closed before the release could be activated")
    return overdue(work, around, phase_s_max=float("inf"))


def activation_hold(slot: Slot, work: Work, around: Surroundings) -> Reason | None:
    """Return why nothing may be activated at this moment, or None."""
    window, veto = work.entry.window, slot.veto
    if window is not None and around.unix_s < window.opens_s:
        return because(Cause.WINDOW, f"the window opens in {window.opens_s - around.unix_s:.0f} s")
    if veto is not None and around.unix_s < veto.until_s and not _vetoes_used_up(work):
        return because(Cause.VETO, veto.reason)
    return None


def _vetoes_used_up(work: Work) -> bool:
    deadlines = work.entry.deadlines
    forced = deadlines.force_after_s is not None and work.attempt_s >= deadlines.force_after_s
    return forced or work.vetoed_s >= deadlines.vetoes_s


def _swap(slot: Slot, work: Work, around: Surroundings) -> Swap | Reason:
    assert work.candidate is not None
    needed = int(work.candidate.variant.peak_memory_bytes * MEMORY_MARGIN)
    free = around.health.memory_free_bytes
    freed = slot.current.peak_memory_bytes if slot.current else 0
    wanted = Swap.OVERLAP if work.entry.arms else work.entry.swap  # both are resident
    if free is None or needed == 0:
        return Swap.STOP_FIRST if wanted is Swap.STOP_FIRST else Swap.OVERLAP
    if free >= needed and wanted is not Swap.STOP_FIRST:
        return Swap.OVERLAP
    if free + freed >= needed and wanted is not Swap.OVERLAP:
        return Swap.STOP_FIRST
    return because(
        Cause.NO_MEMORY, f"needs {needed} bytes of memory; {free} are free, {freed} more without the old one"
    )


# --- self-test ---------------------------------------------------------------------------------------------------


def self_test_effect(slot: Slot) -> effects.SelfTest:
    """Return the effect that tries the candidate on its golden vectors."""
    work = working(slot)
    assert work.candidate is not None
    return effects.SelfTest(model=slot.model, ticket=slot.ticket, candidate=work.candidate.servable, swap=work.swap)


def tested(work: Work, event: events.SelfTested) -> Work:
    """Return the attempt with what its self-test showed."""
    return replace(
        work,
        golden=event.golden,
        runtime=shortened(event.runtime, RUNTIME_CHARS_MAX),
        load_ms=event.load_ms,
        peak_memory_bytes=event.peak_memory_bytes,
        log=clipped(event.log),
    )


def golden_detail(max_abs: float | None) -> str:
    """Return the words for golden vectors that were missed."""
    seen = "" if max_abs is None else f"; the largest difference is {max_abs:.4g}"
    return f"the golden vectors are answered differently here than recorded{seen}"


def on_trial(slot: Slot, work: Work) -> Step:
    """Let the candidate serve, beside a control arm where one was asked for."""
    slot = replace(slot, split=splitting.begun(slot, work))
    slot = moved(slot, Phase.TRIAL, replace(work, shadow=None, trial=Trial()))
    return Step(slot=slot, effects=(activate_effect(slot),))


def self_test_failed(slot: Slot, event: events.SelfTestFailed, around: Surroundings) -> Step:
    """The candidate never served: try its next variant, or fail."""
    work = replace(working(slot), log=clipped(event.log))
    return (try_next if event.cause in NEXT_VARIANT else fail)(slot, work, because(event.cause, event.detail))


def self_test_ticked(slot: Slot, event: events.Ticked, around: Surroundings) -> Step:
    """A self-test has a deadline."""
    work = working(slot)
    late = overdue(work, around, phase_s_max=work.entry.deadlines.self_test_s)
    return try_next(slot, work, late) if late else Step(slot=slot, save=False)


# --- trial and contact -------------------------------------------------------------------------------------------


def switch_ms(work: Work) -> float | None:
    """Return how long ago the phase began with a switch to a worker that was loaded; None: it did not."""
    return round(work.phase_s * 1000, 3) if work.warm_switch else None


def activated(slot: Slot, event: events.Activated, around: Surroundings) -> Step:
    """The candidate serves; its minute of health begins. Without a trial to make, go on."""
    work = working(slot)
    if work.swap_gap_ms is None:  # the first activation: what was reported before says nothing about the candidate
        host, seq = around.host, around.report_seq
        work = replace(work, swap_gap_ms=max(0.0, event.gap_ms), contact_boot=host.boot, contact_seq=seq)
        work = replace(work, switch_ms=switch_ms(work))
    slot = replace(slot, work=replace(work, trial=replace(_trial(work), up=True, up_s=0.0)))
    work = working(slot)
    if slot.phase is Phase.AWAITING_CONTACT and work.contacted:
        return kept(slot, work, around)
    if slot.phase is Phase.TRIAL and (work.entry.trial.mode is TrialMode.NONE or ignores_holds(slot)):
        return _proven(slot, around)
    return Step(slot=slot)


def served(slot: Slot, event: events.Served, around: Surroundings) -> Step:
    """Count what the candidate answered, then judge."""
    work = working(slot)
    trial = _trial(work)
    trial = replace(
        trial,
        inferences=trial.inferences + event.inferences,
        errors=trial.errors + event.errors,
        latency=event.latency or trial.latency,
    )
    return _judged(replace(slot, work=replace(work, trial=trial)), around)


def replayed(slot: Slot, event: events.Replayed, around: Surroundings) -> Step:
    """Count golden vectors; one that is answered differently now than recorded ends the trial."""
    work = working(slot)
    trial = _trial(work)
    trial = replace(
        trial,
        synthetic=trial.synthetic + event.vectors,
        synthetic_errors=trial.synthetic_errors + event.errors,
        replaying=False,
    )
    work = replace(work, trial=trial)
    if not event.golden.passed and not event.errors:
        work = replace(work, golden=event.golden)
        reason = because(Cause.GOLDEN_MISMATCH, golden_detail(event.golden.max_abs))
        return revert(slot, work, reason, blames=True)
    return _judged(replace(slot, work=work), around)


def candidate_exited(slot: Slot, event: events.WorkerExited, around: Surroundings) -> Step:
    """Start the candidate again, or go back when it died too often, too early, or cannot be loaded.

    What its control arm dies of says nothing about it.
    """
    if splitting.is_of_control(slot, event):
        return splitting.control_exited(slot, event, around)
    work = working(slot)
    trial = replace(
        _trial(work), up=False, up_s=0.0, replaying=False, crashes=_trial(work).crashes + 1, last_exit=event.cause
    )
    work = replace(work, trial=trial, log=clipped(event.log) or work.log)
    slot = replace(slot, work=work)
    if event.cause in UNSTARTABLE:
        return revert(slot, work, because(event.cause, event.detail), blames=True)
    failed = health.crashed(trial, work.entry.trial) or no_starts_left(work, event.cause)
    if failed:
        return revert(slot, work, failed, blames=True)
    return start_again(slot, around)


def start_again(slot: Slot, around: Surroundings) -> Step:
    """Use up one start and activate the candidate in a new worker."""
    work = started(replace(working(slot), warm_switch=False), around)
    slot = replace(slot, ticket=slot.ticket + 1, work=replace(work, transitions=work.transitions + 1))
    return Step(slot=slot, effects=(activate_effect(slot),))


def trial_ticked(slot: Slot, event: events.Ticked, around: Surroundings) -> Step:
    """Judge, replay golden vectors where live inferences are few, and mind the deadlines."""
    work = working(slot)
    policy = work.entry.trial
    late = overdue(work, around, phase_s_max=policy.duration_s * TRIAL_S_FACTOR + TRIAL_S_MORE)
    if late:
        return revert(slot, work, late, blames=True)
    judged = _judged(slot, around)
    if judged.slot.phase is not Phase.TRIAL:
        return judged
    slot, work = judged.slot, working(judged.slot)
    trial = _trial(work)
    if not trial.up or trial.replaying or not health.behind(trial, policy) or work.candidate is None:
        return judged
    slot = replace(slot, ticket=slot.ticket + 1, work=replace(work, trial=replace(trial, replaying=True)))
    replay = effects.Replay(model=slot.model, ticket=slot.ticket, candidate=work.candidate.servable)
    return replace(judged, slot=slot, effects=(replay,))


def contacted(slot: Slot, event: events.ContactMade, around: Surroundings) -> Step:
    """The server acknowledged a report that was sent after activation."""
    work = working(slot)
    if not _covers(work, event) or work.contacted:
        return Step(slot=slot, save=False)
    slot = replace(slot, work=replace(work, contacted=True))
    # A candidate that is just being started again commits when it serves again.
    if slot.phase is Phase.AWAITING_CONTACT and _trial(work).up:
        return kept(slot, working(slot), around)
    return Step(slot=slot)


def awaiting_ticked(slot: Slot, event: events.Ticked, around: Surroundings) -> Step:
    """Without contact, do in the end what the policy says."""
    work = with_start_given_back(working(slot))
    contact = work.entry.contact
    if work.phase_s <= contact.timeout_s:
        return Step(slot=replace(slot, work=work), save=work != slot.work)
    if not _trial(work).up:
        return revert(slot, work, because(Cause.DEADLINE, "it did not serve when its time was over"), blames=True)
    if contact.on_no_contact is OnNoContact.COMMIT:
        return kept(slot, work, around)
    return revert(slot, work, because(Cause.NO_CONTACT, f"no contact in {contact.timeout_s} s"), blames=False)


def awaiting_served(slot: Slot, event: events.Served, around: Surroundings) -> Step:
    """Health is proven; the counts still go into the receipt."""
    work = working(slot)
    trial = _trial(work)
    trial = replace(trial, inferences=trial.inferences + event.inferences, errors=trial.errors + event.errors)
    return Step(slot=replace(slot, work=replace(work, trial=trial)), save=False)


def awaiting_replayed(slot: Slot, event: events.Replayed, around: Surroundings) -> Step:
    """Vectors that were under way when the trial ended prove nothing more."""
    return Step(slot=slot, save=False)


def _judged(slot: Slot, around: Surroundings) -> Step:
    before = working(slot)
    work = with_start_given_back(before)
    assert work.candidate is not None
    slot = replace(slot, work=work)
    found = health.verdict(_trial(work), work.entry.trial, work.candidate)
    if isinstance(found, health.Failed):
        return revert(slot, work, found.reason, blames=True)
    if isinstance(found, health.Passed) and _trial(work).up:
        return _proven(slot, around)
    return Step(slot=slot, save=work.left != before.left)


def _proven(slot: Slot, around: Surroundings) -> Step:
    work = working(slot)
    # A release that once had contact from here has nothing to prove by having it again.
    if work.contacted or work.entry.contact.mode is ContactMode.NONE or ignores_holds(slot):
        return kept(slot, work, around)
    slot = moved(slot, Phase.AWAITING_CONTACT, work)
    return Step(slot=slot, effects=(effects.SendReportNow(model=slot.model),))


def _covers(work: Work, event: events.ContactMade) -> bool:
    return work.contact_boot == event.boot and event.seq_to >= work.contact_seq


# --- reverting ---------------------------------------------------------------------------------------------------


def reverted_now(slot: Slot, event: events.Reverted, around: Surroundings) -> Step:
    """What was committed before serves again."""
    work = working(slot)
    return reverted(slot, replace(work, switch_back_ms=switch_ms(work)))


def revert_failed(slot: Slot, event: events.RevertFailed, around: Surroundings) -> Step:
    """Go one further back."""
    return _further_back(slot, event.cause)


def reverting_ticked(slot: Slot, event: events.Ticked, around: Surroundings) -> Step:
    """What does not come up in time is not a fallback."""
    if working(slot).phase_s <= REVERT_S_MAX:
        return Step(slot=slot, save=False)
    return _further_back(slot, Cause.HUNG)


def _further_back(slot: Slot, cause: Cause) -> Step:
    """Try the next fallback; the last one is given up only if it can never start, else it is tried again and again."""
    failed, for_good = slot.current, cause in UNSTARTABLE
    if failed is None:  # nothing was to be started: whatever the shell says, nothing serves
        return reverted(slot, working(slot))
    if not slot.last_good and not slot.emergency_good and not for_good:
        done = reverted(slot, working(slot))
        again = effects.Serve(model=slot.model, servable=failed, after_s=RESTART_AFTER_REVERT_S)
        return replace(done, effects=(*done.effects, again))
    after = fallen_back(slot, cause)
    if slot.last_good and not for_good:  # memory or time was short; from the emergency ones there is no second round
        after = replace(after, emergency_good=(*after.emergency_good, failed)[-EMERGENCY_GOOD_MAX:])
    after = moved(after, Phase.REVERTING, replace(working(slot), warm_switch=False))
    return Step(slot=after, effects=(revert_effect(after),))


def _trial(work: Work) -> Trial:
    assert work.trial is not None
    return work.trial
