"""A site's devices keep a release together: the wait of a proven candidate for its site's decision, and its lease.

A prepared candidate serves, and is kept or left when the director says so for the whole site. Trial and contact are
behind it; the one deadline is the lease, measured in waking time. A lease that ends takes the candidate off without
blaming it and keeps it on the disk: a commit that was signed in time and is heard late puts it back without a trial.

A decision is for one entry: that of its rollout, site and generation. It is applied again with every tick, so handlers
may leave for later what cannot be done at this moment.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pinnace_agent.core import effects, events
from pinnace_agent.core.ending import Step, answered, commit, interrupt, moved, revert
from pinnace_agent.core.offer import ignores_holds, working
from pinnace_agent.core.slot import Lapsed, Reason, Slot, Trial, Work, because
from pinnace_agent.core.starts import started, with_start_given_back
from pinnace_agent.core.surroundings import Surroundings
from pinnace_contract.latest import Cause, Entry, Outcome, Phase, SiteVerdict

START_S_MAX: Final = 600.0  # a worker that neither comes up nor fails in ten minutes is not one to keep
FORGOTTEN_S_MAX: Final = 60.0  # how much of a lease a power cut may have taken out of the saved state


def kept(slot: Slot, work: Work, around: Surroundings) -> Step:
    """Keep a candidate that proved itself, or wait for its site's decision."""
    if not work.entry.site_atomic or ignores_holds(slot):
        return commit(slot, work)
    return Step(slot=moved(slot, Phase.PREPARED, replace(work, clock_s=around.unix_s)))


def prepared_ticked(slot: Slot, event: events.Ticked, around: Surroundings) -> Step:
    """Serve on until the lease ends; then go back, and be ready to come back."""
    before = working(slot)
    work = replace(with_start_given_back(before), clock_s=around.unix_s)
    if work.again:  # the decision is known: only the worker is waited for, and the commit comes with it
        if work.phase_s <= START_S_MAX:
            return Step(slot=replace(slot, work=work), save=work.left != before.left)
        return revert(slot, work, because(Cause.DEADLINE, "it did not come up again in time"), blames=True)
    over = _lease_over(work, around)
    if over is None:
        return Step(slot=replace(slot, work=work), save=work.left != before.left)
    assert work.candidate is not None
    lapsed = Lapsed(
        entry=work.entry,
        candidate=work.candidate,
        swap=work.swap,
        left=work.left,
        trial=work.trial,
        golden=work.golden,
    )
    return revert(replace(slot, lapsed=lapsed), work, over, blames=False)


def prepared_activated(slot: Slot, event: events.Activated, around: Surroundings) -> Step:
    """The candidate serves again: keep it if that was the late word, else wait for one as before."""
    work = working(slot)
    work = replace(work, trial=replace(_trial(work), up=True, up_s=0.0))
    return commit(slot, work) if work.again else Step(slot=replace(slot, work=work))


def stays_prepared(slot: Slot, event: object, around: Surroundings) -> Step:
    """Nothing more has to be proved."""
    return Step(slot=slot, save=False)


def decided_before_trial(slot: Slot, event: events.SiteDecided, around: Surroundings) -> Step:
    """A site that goes back needs no candidate; one that commits is followed when the candidate has proved itself."""
    if not _is_about(event, working(slot).entry) or event.verdict is not SiteVerdict.REVERT:
        return Step(slot=slot, save=False)
    return interrupt(slot, working(slot), Outcome.CANCELLED, _goes_back(event))


def decided_in_trial(slot: Slot, event: events.SiteDecided, around: Surroundings) -> Step:
    """The same, of a candidate that serves."""
    if not _is_about(event, working(slot).entry) or event.verdict is not SiteVerdict.REVERT:
        return Step(slot=slot, save=False)
    return revert(slot, working(slot), _goes_back(event), blames=False)


def decided_while_prepared(slot: Slot, event: events.SiteDecided, around: Surroundings) -> Step:
    """Do as the whole site does. A candidate that is being started again is kept when it serves again."""
    work = working(slot)
    if not _is_about(event, work.entry):
        return Step(slot=slot, save=False)
    match event.verdict:
        case SiteVerdict.COMMIT:
            return commit(slot, work) if _trial(work).up else Step(slot=slot, save=False)
        case SiteVerdict.REVERT if not work.again:  # it is here because of a commit, and there is no second word
            return revert(slot, work, _goes_back(event), blames=False)
        case _:
            return Step(slot=slot, save=False)


def decided_while_reverting(slot: Slot, event: events.SiteDecided, around: Surroundings) -> Step:
    """An entry that only waits is answered; a candidate whose lease ended comes back once the slot is idle."""
    goes_back = event.verdict is SiteVerdict.REVERT
    if goes_back and slot.waiting is not None and _is_about(event, slot.waiting.entry):
        return replace(answered(slot, slot.waiting.entry, Outcome.CANCELLED, _goes_back(event)), slot=_unwaited(slot))
    if goes_back and slot.lapsed is not None and _is_about(event, slot.lapsed.entry):
        return Step(slot=replace(slot, lapsed=None))
    return Step(slot=slot, save=False)


def decided_while_idle(slot: Slot, event: events.SiteDecided, around: Surroundings) -> Step:
    """A commit that came after the lease: serve what was kept, without a second trial."""
    lapsed = slot.lapsed
    if lapsed is None or not _is_about(event, lapsed.entry):
        return Step(slot=slot, save=False)
    match event.verdict:
        case SiteVerdict.COMMIT:
            return _back_again(slot, lapsed, around)
        case SiteVerdict.REVERT:
            collect = effects.CollectGarbage(model=slot.model)
            return Step(slot=replace(slot, lapsed=None), effects=(collect,))
        case _:
            return Step(slot=slot, save=False)


def forgotten(slot: Slot, event: events.Cancelled, around: Surroundings) -> Step:
    """Nobody wants the model any more: what was kept for a late decision may go."""
    return Step(slot=replace(slot, lapsed=None), effects=(effects.CollectGarbage(model=slot.model),))


def with_lease_over_a_restart(work: Work, around: Surroundings) -> Work:
    """Return a prepared attempt with the time that nobody was awake: never less than may have gone by.

    A clock that did not move says nothing about how long the device was off; then the lease counts as over.
    """
    if work.again:
        return work
    gone_s = around.unix_s - work.clock_s
    if gone_s <= 0:
        gone_s = work.entry.lease_s + 1.0
    return replace(work, phase_s=work.phase_s + max(gone_s, FORGOTTEN_S_MAX), clock_s=around.unix_s)


def lease_left_s(slot: Slot, around: Surroundings) -> int | None:
    """Return how many seconds of a prepared candidate's lease are left, None where there is none to tell of."""
    work = slot.work
    if work is None or slot.phase is not Phase.PREPARED or work.again:
        return None
    left = [work.entry.lease_s - work.phase_s - (around.awake_s - work.seen_s)] if work.entry.lease_s else []
    if work.entry.lease_until_s is not None:
        left.append(work.entry.lease_until_s - around.unix_s)
    return max(0, int(min(left)))


def _lease_over(work: Work, around: Surroundings) -> Reason | None:
    lease_s, until_s = work.entry.lease_s, work.entry.lease_until_s
    if (lease_s and work.phase_s > lease_s) or (until_s is not None and around.unix_s > until_s):
        return because(Cause.LEASE_ENDED, f"no decision for site {work.entry.site} came in time")
    return None


def _back_again(slot: Slot, lapsed: Lapsed, around: Surroundings) -> Step:
    work = Work(
        entry=lapsed.entry,
        boot=around.host.boot,
        seen_s=around.awake_s,
        clock_s=around.unix_s,
        candidate=lapsed.candidate,
        left=max(1, lapsed.left),
        swap=lapsed.swap,
        golden=lapsed.golden,
        trial=replace(lapsed.trial or Trial(), up=False, up_s=0.0, replaying=False),
        swap_gap_ms=0.0,
        contacted=True,
        again=True,
    )
    slot = moved(replace(slot, lapsed=None), Phase.PREPARED, started(work, around))
    again = effects.Activate(
        model=slot.model, ticket=slot.ticket, candidate=lapsed.candidate.servable, swap=lapsed.swap
    )
    return Step(slot=slot, effects=(again,))


def _unwaited(slot: Slot) -> Slot:
    return replace(slot, waiting=None)


def _goes_back(event: events.SiteDecided) -> Reason:
    return because(Cause.SITE_REVERTED, f"site {event.site} goes back as a whole")


def _is_about(event: events.SiteDecided, entry: Entry) -> bool:
    mine = (entry.rollout, entry.site, entry.generation)
    return entry.site_atomic and mine == (event.rollout, event.site, event.generation)


def _trial(work: Work) -> Trial:
    assert work.trial is not None
    return work.trial
