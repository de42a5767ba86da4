"""Blue/green: a candidate that is ready beside what serves, the switch between the two, and the standby that stays.

The candidate (green) is loaded and serves nobody until it is told to take over; then what served (blue) stays loaded
for a while, so that going back takes no load, whoever decides it. Whatever ends green before the switch ends it before
the trial, and whatever happens to the standby is no matter of what serves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pinnace_agent.core import effects, events, offer, proof, starts
from pinnace_agent.core.acceptance import SWITCHES_PERCENT, control_gone, is_switch_of, refusal
from pinnace_agent.core.ending import UNSTARTABLE, Step, fail, interrupt, moved
from pinnace_agent.core.offer import working
from pinnace_agent.core.slot import (
    NOTHING_TO_SAY,
    SAVE_STAY_EVERY_S,
    Candidate,
    Servable,
    Shadow,
    Slot,
    Standby,
    VariantFacts,
    Work,
    because,
)
from pinnace_agent.core.surroundings import Surroundings
from pinnace_contract.latest import Cause, Entry, Intent, Outcome, Phase, TrustLevel

READY_S_MAX: Final = 7 * 86_400.0  # two models in memory are a guest's stay, whatever the clock says of its end
STANDBY_S_MAX: Final = 7 * 86_400.0  # the same; a policy cannot ask for more
STANDBY_EXITS_MAX: Final = 3  # a standby that cannot stay up is of no use, and its starts cost what serves
STANDBY_AFTER_S: Final = 5.0  # what serves is loaded first
STANDBY_BACK_OFF_S: Final = 10.0
# Where what served before a switch has its use: it can be gone back to. Going back takes it up, loaded or not.
STANDBY_PHASES: Final = (Phase.IDLE, Phase.TRIAL, Phase.AWAITING_CONTACT, Phase.PREPARED)


# --- ready ---------------------------------------------------------------------------------------------------------


def ready(slot: Slot, work: Work, around: Surroundings) -> Step:
    """The candidate is loaded and answered its golden vectors: wait for the switch, or make it where it was told."""
    gone = control_gone(slot, work.entry)
    if gone:
        return interrupt(slot, work, Outcome.FAILED, gone)
    slot = moved(slot, Phase.READY, replace(work, shadow=Shadow(up=True)))
    done = _onward(slot, around)
    return done if done.slot.phase is not Phase.READY else replace(done, effects=(ready_effect(slot),), save=True)


def ready_effect(slot: Slot) -> effects.MakeReady:
    """Return the effect that has the candidate loaded beside what serves."""
    work = working(slot)
    assert work.candidate is not None
    return effects.MakeReady(model=slot.model, ticket=slot.ticket, candidate=work.candidate.servable)


def made_ready(slot: Slot, event: events.MadeReady, around: Surroundings) -> Step:
    """The candidate is up; its minute of health begins."""
    work = working(slot)
    seen = _seen(work)
    if not seen.up:
        work = replace(work, hold=None, shadow=replace(seen, up=True, up_s=0.0))
    return replace(_onward(replace(slot, work=work), around), save=True)


def made_ready_again(slot: Slot, event: events.WorkerExited) -> Step:
    """Load the candidate again; until it is up the server is told why it is not ready."""
    work = working(slot)
    slot = replace(slot, work=replace(work, hold=because(event.cause, "it is loaded again")))
    return Step(slot=slot, effects=(ready_effect(slot),))


def assigned(slot: Slot, event: events.Assigned, around: Surroundings) -> Step:
    """Take over if that is what the newer entry says; else drop the candidate for it."""
    if not is_switch_of(working(slot).entry, event.entry):
        return offer.assigned_before_trial(slot, event, around)
    return replace(_onward(offer.continued(slot, event.entry), around), save=True)


def reconsidered(slot: Slot, event: events.Ticked, around: Surroundings) -> Step:
    """Mind the deadlines, and make a switch that was held."""
    before = working(slot)
    work = starts.with_start_given_back(before)
    slot = replace(slot, work=work)
    late = proof.too_late_to_activate(slot, work, around)
    if late:
        return fail(slot, work, late)
    if not _is_told(work) and _waited_too_long(work, around):
        why = because(Cause.DEADLINE, "nobody said in time that it takes over; it was ready and is not tried")
        return interrupt(slot, work, Outcome.FAILED, why)
    done = _onward(slot, around)
    return replace(done, save=done.save or work.left != before.left)


def _onward(slot: Slot, around: Surroundings) -> Step:
    """Switch, unless nobody said so yet, the candidate is not up, or something holds; not after its window either."""
    work = working(slot)
    if not _is_told(work) or not _seen(work).up:
        return Step(slot=slot, save=False)
    late = proof.too_late_to_activate(slot, work, around)
    if late:
        return fail(slot, work, late)
    hold = proof.activation_hold(slot, work, around)
    if hold:
        return Step(slot=replace(slot, work=replace(work, hold=hold)), save=hold != work.hold)
    return _switch(slot, work, around)


def _switch(slot: Slot, work: Work, around: Surroundings) -> Step:
    arms, blue = work.entry.arms, slot.current
    assert arms is not None
    assert blue is not None
    left_s = min(float(arms.duration_s), STANDBY_S_MAX)
    stays = Standby(servable=blue, left_s=left_s, until_s=arms.until_s, seen_s=around.awake_s)
    return proof.on_trial(replace(slot, standby=stays), replace(work, warm_switch=True))


def _is_told(work: Work) -> bool:
    arms = work.entry.arms
    return arms is not None and arms.share_percent == SWITCHES_PERCENT


def _waited_too_long(work: Work, around: Surroundings) -> bool:
    arms = work.entry.arms
    assert arms is not None
    return around.unix_s >= arms.until_s or work.phase_s >= READY_S_MAX


def _seen(work: Work) -> Shadow:
    assert work.shadow is not None
    return work.shadow


# --- back ----------------------------------------------------------------------------------------------------------


def back(slot: Slot, around: Surroundings) -> Step | None:
    """Put the standby in front, if the entry that waits in an idle slot goes back to it; None: it does not."""
    waiting, standby = slot.waiting, slot.standby
    if waiting is None or waiting.refusal is not None or standby is None or not standby.warm:
        return None
    entry = waiting.entry
    if not _goes_back_to(entry, standby.servable) or refusal(slot, entry) is not None:
        return None
    work = Work(entry=entry, boot=around.host.boot, seen_s=around.awake_s, candidate=_as_candidate(standby.servable))
    work = starts.started(replace(work, left=entry.trial.starts, warm_switch=True), around)
    return proof.on_trial(replace(slot, waiting=None), work)


def _goes_back_to(entry: Entry, servable: Servable) -> bool:
    """The release is not read again, so nobody can say more of its signatures than that they were once good."""
    named = entry.variants[0] if entry.variants else servable.variant
    asked = entry.intent is Intent.ROLLBACK and entry.least_trust is TrustLevel.DEV
    return asked and entry.release is not None and servable.is_same(entry.release, named)


def _as_candidate(servable: Servable) -> Candidate:
    facts = VariantFacts(
        digest=servable.variant, runtime=servable.runtime, peak_memory_bytes=servable.peak_memory_bytes
    )
    return Candidate(
        release=servable.release,
        version=servable.version,
        sequence=servable.sequence,
        epoch=servable.epoch,
        contract=None,
        variants=(facts,),
    )


# --- the standby ---------------------------------------------------------------------------------------------------


def standby_up(slot: Slot, event: events.StandbyUp, around: Surroundings) -> Step:
    """Going back takes no load again."""
    assert slot.standby is not None
    return Step(slot=replace(slot, standby=replace(slot.standby, warm=True, reason=NOTHING_TO_SAY)))


def standby_exited(slot: Slot, event: events.StandbyExited, around: Surroundings) -> Step:
    """Load it again a few times, then go without; what serves does not notice, and the server is told."""
    assert slot.standby is not None
    standby = replace(slot.standby, warm=False, crashes=slot.standby.crashes + 1)
    reason = because(event.cause, event.detail)
    hopeless = event.cause in UNSTARTABLE or event.cause is Cause.NO_MEMORY or standby.crashes >= STANDBY_EXITS_MAX
    slot = replace(slot, standby=replace(standby, reason=reason))
    if hopeless:
        return Step(slot=slot, effects=(effects.EndStandby(model=slot.model),))
    return Step(slot=slot, effects=(keep_effect(slot, STANDBY_BACK_OFF_S * standby.crashes),))


def keep_effect(slot: Slot, after_s: float) -> effects.KeepStandby:
    """Return the effect that has the standby loaded."""
    assert slot.standby is not None
    return effects.KeepStandby(model=slot.model, servable=slot.standby.servable, after_s=after_s)


def ticked(slot: Slot, event: events.Ticked, around: Surroundings) -> Step:
    """Time passes for a standby beside what is committed; now and then that is worth a write."""
    standby = slot.standby
    if standby is None or standby.unsaved_s < SAVE_STAY_EVERY_S:
        return Step(slot=slot, save=False)
    return Step(slot=replace(slot, standby=replace(standby, unsaved_s=0.0)))


def cancelled(slot: Slot, event: events.Cancelled, around: Surroundings) -> Step:
    """Nobody asks for this model any more: what is committed stays, and its way back may take a load."""
    return Step(slot=replace(slot, standby=None), effects=(effects.EndStandby(model=slot.model),))


def taken_up(slot: Slot, around: Surroundings) -> Slot:
    """Return the slot as a new run finds it: a standby is loaded again."""
    standby = slot.standby
    if standby is None:
        return slot
    again = because(Cause.NONE, "it is loaded again after a new start")
    return replace(slot, standby=replace(standby, warm=False, crashes=0, seen_s=around.awake_s, reason=again))


def with_time_passed(slot: Slot, around: Surroundings) -> Slot:
    """Return the slot with the standby's waking time brought up to date."""
    standby = slot.standby
    if standby is None:
        return slot
    passed_s = max(0.0, around.awake_s - standby.seen_s)
    left_s, unsaved_s = max(0.0, standby.left_s - passed_s), standby.unsaved_s + passed_s
    return replace(slot, standby=replace(standby, seen_s=around.awake_s, left_s=left_s, unsaved_s=unsaved_s))


def settled(done: Step, around: Surroundings) -> Step:
    """Return the step with the standby gone where it has no more use: after all else that the step decided.

    What was put in front is no standby any more, and the end comes after the effect that puts it there: so it ends
    nothing but a start of it that nobody waits for.
    """
    slot, standby = done.slot, done.slot.standby
    if standby is None:
        return done
    if _is_of_use(slot, standby) and not _is_over(slot, standby, around):
        return done
    end = effects.EndStandby(model=slot.model)
    return replace(done, slot=replace(slot, standby=None), effects=(*done.effects, end), save=True)


def _is_of_use(slot: Slot, standby: Standby) -> bool:
    """A newer update needs its memory; what was withdrawn, or is not a fallback any more, is not gone back to."""
    servable = standby.servable
    fallbacks = slot.last_good if slot.phase is Phase.IDLE else (slot.current,)
    if slot.phase not in STANDBY_PHASES or slot.serving == servable:
        return False
    return servable.release not in slot.withdrawn and servable in fallbacks


def _is_over(slot: Slot, standby: Standby, around: Surroundings) -> bool:
    """Its time does not end while the trial may still need it."""
    if slot.phase is Phase.TRIAL:
        return False
    return standby.left_s <= 0 or around.unix_s >= standby.until_s
