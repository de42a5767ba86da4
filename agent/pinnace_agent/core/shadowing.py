"""From a passed self-test to the trial, perhaps through a shadow: the candidate answers copies and serves nobody.

What is committed keeps the socket all the while, so whatever ends a shadow ends it before the trial: there is nothing
to revert. How often the two differ is counted by the workers and judged by the server, which hears of a whole
wave; the device itself keeps back only what differs far more often than was allowed, heard or not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pinnace_agent.core import effects, events, health, proof, standing, starts, switching
from pinnace_agent.core.acceptance import control_gone
from pinnace_agent.core.ending import UNSTARTABLE, Step, fail, interrupt, moved, try_next
from pinnace_agent.core.offer import working
from pinnace_agent.core.slot import Reason, Shadow, Slot, Work, because
from pinnace_agent.core.surroundings import Surroundings
from pinnace_agent.core.wording import clipped
from pinnace_contract.latest import ArmMode, Arms, Cause, Outcome, Phase

SHADOW_S_MAX: Final = 86_400.0  # two models in memory are a guest's stay, whatever the clock says of its end
PAIRS_MIN: Final = 100  # a share of fewer says little
START_S_MAX: Final = 600.0  # a worker that neither comes up nor fails in ten minutes is the shell's trouble


def self_tested(slot: Slot, event: events.SelfTested, around: Surroundings) -> Step:
    """Go on if the golden vectors were answered as recorded: beside what serves where that was asked, else on trial."""
    work = proof.tested(working(slot), event)
    if not event.golden.passed:
        return try_next(slot, work, because(Cause.GOLDEN_MISMATCH, proof.golden_detail(event.golden.max_abs)))
    arms = work.entry.arms
    if arms is None:
        return proof.on_trial(slot, work)
    if arms.mode is ArmMode.BLUE_GREEN:
        return switching.ready(slot, work, around)
    gone = control_gone(slot, work.entry) or _ended_before(arms, around)
    if gone:
        return interrupt(slot, work, Outcome.FAILED, gone)
    if arms.mode is ArmMode.SPLIT:
        return proof.on_trial(slot, work)
    slot = moved(slot, Phase.SHADOW, replace(work, shadow=Shadow()))
    return Step(slot=slot, effects=(shadow_effect(slot),))


def shadow_effect(slot: Slot) -> effects.Shadow:
    """Return the effect that shows the candidate what is asked here."""
    work = working(slot)
    assert work.candidate is not None
    assert work.entry.arms is not None
    share_percent = work.entry.arms.share_percent
    return effects.Shadow(
        model=slot.model, ticket=slot.ticket, candidate=work.candidate.servable, share_percent=share_percent
    )


def shadowing(slot: Slot, event: events.Shadowing, around: Surroundings) -> Step:
    """The candidate is up; its minute of health begins."""
    work = working(slot)
    return Step(slot=replace(slot, work=replace(work, shadow=replace(_shadow(work), up=True, up_s=0.0))))


def compared(slot: Slot, event: events.Compared, around: Surroundings) -> Step:
    """Count; what it means is decided once the shadow is over."""
    work = working(slot)
    seen = _shadow(work)
    differing = min(event.disagreements, event.pairs)
    seen = replace(seen, pairs=seen.pairs + event.pairs, disagreements=seen.disagreements + differing)
    return Step(slot=replace(slot, work=replace(work, shadow=seen)), save=False)


def worker_exited(slot: Slot, event: events.WorkerExited, around: Surroundings) -> Step:
    """Start the candidate again, or give it up; what serves beside it is started again as in any phase."""
    work = working(slot)
    assert work.candidate is not None
    if not work.candidate.servable.is_same(event.release, event.variant):
        return standing.current_exited(slot, event, around)
    seen = _shadow(work)
    seen = replace(seen, up=False, up_s=0.0, crashes=seen.crashes + 1, last_exit=event.cause)
    work = replace(work, shadow=seen, log=clipped(event.log) or work.log)
    gone = (
        (because(event.cause, event.detail) if event.cause in UNSTARTABLE or event.cause is Cause.NO_MEMORY else None)
        or _crashed(work, slot.phase)
        or starts.no_starts_left(work, event.cause)
    )
    if gone:
        return try_next(slot, work, gone)
    work = starts.started(work, around)
    slot = replace(slot, ticket=slot.ticket + 1, work=replace(work, transitions=work.transitions + 1))
    if slot.phase is Phase.READY:
        return switching.made_ready_again(slot, event)
    return Step(slot=slot, effects=(shadow_effect(slot),))


def reconsidered(slot: Slot, event: object, around: Surroundings) -> Step:
    """End a shadow whose time is over, unless something holds the activation; then it goes on."""
    before = working(slot)
    work = starts.with_start_given_back(before)
    slot = replace(slot, work=work)
    late = proof.too_late_to_activate(slot, work, around)
    if late:
        return fail(slot, work, late)
    if not _shadow(work).up:
        return _waiting_for_it(slot, work)
    if not _is_over(work, around):
        return Step(slot=slot, save=work.left != before.left)
    differing = _differing(work)
    if differing:
        return try_next(slot, work, differing)
    hold = proof.activation_hold(slot, work, around)
    if hold:
        return Step(slot=replace(slot, work=replace(work, hold=hold)), save=hold != work.hold)
    return proof.on_trial(slot, work)


def _waiting_for_it(slot: Slot, work: Work) -> Step:
    """A candidate that is not up is not put on trial."""
    if work.phase_s <= SHADOW_S_MAX + START_S_MAX:
        return Step(slot=slot, save=False)
    return try_next(slot, work, because(Cause.DEADLINE, "it was not up when its shadow was over"))


def _ended_before(arms: Arms, around: Surroundings) -> Reason | None:
    """Arms that cannot even begin have shown nothing: the server has to ask for others."""
    if around.unix_s < arms.until_s:
        return None
    what = "control arm" if arms.mode is ArmMode.SPLIT else "shadow"
    return because(Cause.DEADLINE, f"the time for its {what} was over before it could begin; it was not tried")


def _is_over(work: Work, around: Surroundings) -> bool:
    arms = work.entry.arms
    assert arms is not None
    return around.unix_s >= arms.until_s or work.phase_s >= min(arms.duration_s or SHADOW_S_MAX, SHADOW_S_MAX)


def _differing(work: Work) -> Reason | None:
    """Return why what was compared speaks against serving it here; of few pairs nothing can be said."""
    arms, seen = work.entry.arms, _shadow(work)
    assert arms is not None
    limit = arms.differing_percent_max
    if limit is None or seen.pairs < PAIRS_MIN or 100 * seen.disagreements <= limit * seen.pairs:
        return None
    said = f"{seen.disagreements} of {seen.pairs} answers differed from what serves here; expected at most {limit} %"
    return because(Cause.DISAGREEMENT, said)


def _crashed(work: Work, phase: Phase) -> Reason | None:
    seen, crashes_max = _shadow(work), work.entry.trial.crashes_max
    return health.too_many_crashes(
        seen.crashes, crashes_max, seen.last_exit, "its shadow" if phase is Phase.SHADOW else f"phase {phase}"
    )


def _shadow(work: Work) -> Shadow:
    assert work.shadow is not None
    return work.shadow
