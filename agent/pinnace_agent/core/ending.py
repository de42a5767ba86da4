"""How an attempt ends: rejected, failed, superseded, cancelled, reverted or committed, and the receipt of each.

Receipts are drafts: the device-level state gives them their counter, the shell signs them, and they are saved with the
slot they speak of.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from pinnace_agent.core import effects, health
from pinnace_agent.core.slot import (
    ACTIVATED_PHASES,
    BESIDE_PHASES,
    BROKEN_MAX,
    COMMITTED_MAX,
    EMERGENCY_GOOD_MAX,
    LAST_GOOD_MAX,
    Bad,
    Ended,
    Reason,
    Reverting,
    Servable,
    Slot,
    Work,
    because,
    with_bad,
)
from pinnace_contract.ids import Digest, ReleaseId, VersionName
from pinnace_contract.latest import (
    PERMANENT,
    Cause,
    Entry,
    Evidence,
    GoldenResult,
    Intent,
    LatencySummary,
    Outcome,
    Phase,
    PhaseTime,
    Running,
    Swap,
    TrustLevel,
)

# What a second start cannot mend; bytes that the disk has changed can be fetched again.
UNSTARTABLE: Final = PERMANENT | {Cause.DIGEST_MISMATCH}
# A candidate that must not answer for one moment longer; after any other cause it does until the old one serves.
WORSE_THAN_NOTHING: Final = frozenset({Cause.GOLDEN_MISMATCH, Cause.MEMORY_EXCEEDED, Cause.NO_MEMORY, Cause.WITHDRAWN})
_TIMES_MAX: Final = 64  # of a receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a receipt will say of one attempt; the device adds who, when and how many."""

    entry: Entry
    outcome: Outcome
    reason: Reason
    release: ReleaseId | None = None
    variant: Digest | None = None
    version: VersionName | None = None
    active: Running | None = None
    previous: Running | None = None
    runtime: str = ""
    golden: GoldenResult | None = None
    evidence: Evidence | None = None
    latency: LatencySummary | None = None
    load_ms: float | None = None
    swap_gap_ms: float | None = None
    switch_ms: float | None = None
    switch_back_ms: float | None = None
    peak_memory_bytes: int | None = None
    phases: tuple[PhaseTime, ...] = ()
    trust: TrustLevel = TrustLevel.DEV
    log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The next state, what to do once it is saved, and what to say of it.

    ``save`` is False when nothing changed that a power cut may not take back: counters and clocks of the last minute.
    """

    slot: Slot
    effects: tuple[effects.Effect, ...] = ()
    receipts: tuple[Draft, ...] = ()
    save: bool = True


def moved(slot: Slot, phase: Phase, work: Work) -> Slot:
    """Return the slot in another phase of the same attempt, with the time of the last one written down."""
    times = (*work.times, PhaseTime(phase=slot.phase, seconds=work.phase_s)) if work.transitions else work.times
    return replace(
        slot,
        phase=phase,
        ticket=slot.ticket + 1,
        work=replace(work, phase_s=0.0, hold=None, transitions=work.transitions + 1, times=times),
    )


def answered(slot: Slot, entry: Entry, outcome: Outcome, reason: Reason) -> Step:
    """End an entry that was never worked on."""
    ended = Ended(generation=entry.generation, outcome=outcome, reason=reason)
    draft = Draft(
        entry=entry,
        outcome=outcome,
        reason=reason,
        release=entry.release,
        active=slot.current.running if slot.current else None,
    )
    return Step(slot=replace(slot, ended=ended), receipts=(draft,))


def reject(slot: Slot, work: Work, reason: Reason) -> Step:
    """End an attempt because of what it asks for."""
    return _end(slot, work, Outcome.REJECTED, reason)


def fail(slot: Slot, work: Work, reason: Reason) -> Step:
    """End an attempt before its trial: nothing served the candidate, so there is nothing to go back to."""
    return _end(_blamed(slot, work, reason.cause), work, Outcome.FAILED, reason)


def interrupt(slot: Slot, work: Work, outcome: Outcome, reason: Reason) -> Step:
    """End an attempt before its trial because the server wants something else."""
    return _end(slot, work, outcome, reason)


def try_next(slot: Slot, work: Work, reason: Reason) -> Step:
    """Give up the variant being tried and fetch the next one of the entry, or fail if it was the last."""
    candidate = work.candidate
    if candidate is None or len(candidate.variants) < 2:
        return fail(slot, work, reason)
    stopped = _stopped(slot, work)
    slot = _blamed(slot, work, reason.cause)
    left = replace(candidate, variants=candidate.variants[1:])
    fresh = replace(work, candidate=left, fetched_bytes=0, left=0, start=None, golden=None, load_ms=None, shadow=None)
    slot = moved(slot, Phase.FETCHING, fresh)
    return Step(slot=slot, effects=(*stopped, fetch(slot)))


def fetch(slot: Slot) -> effects.Fetch:
    """Return the effect that gets the variant being tried."""
    assert slot.work is not None
    assert slot.work.candidate is not None
    entry, candidate = slot.work.entry, slot.work.candidate
    return effects.Fetch(
        model=slot.model,
        ticket=slot.ticket,
        release=candidate.release,
        variant=candidate.variant.digest,
        metered_too=entry.metered,
        transfer=entry.transfer,
    )


def activate_effect(slot: Slot) -> effects.Activate:
    """Return the effect that lets the candidate serve: beside a control arm, or with what served kept loaded."""
    assert slot.work is not None
    assert slot.work.candidate is not None
    candidate, standby = slot.work.candidate.servable, slot.standby
    stays = standby.servable if standby is not None and standby.warm else None
    return effects.Activate(
        model=slot.model,
        ticket=slot.ticket,
        candidate=candidate,
        swap=slot.work.swap,
        split=effects.split_of(slot),
        keeps=stays if stays != candidate else None,
    )


def revert(slot: Slot, work: Work, reason: Reason, *, blames: bool) -> Step:
    """Leave an activated candidate for what was committed before it."""
    if blames:
        slot = _blamed(slot, work, reason.cause)
    trial, standby = work.trial and replace(work.trial, up=False, replaying=False), slot.standby
    warm = standby is not None and standby.warm and standby.servable == slot.current
    work = replace(work, warm_switch=warm)
    slot = moved(slot, Phase.REVERTING, replace(work, reverting=Reverting(reason=reason, blames=blames), trial=trial))
    return Step(slot=slot, effects=(revert_effect(slot),))


def revert_effect(slot: Slot) -> effects.Revert:
    """Return the effect that puts back what is committed."""
    return effects.Revert(
        model=slot.model,
        ticket=slot.ticket,
        to=slot.current,
        cause=slot.reason.cause,
        detail=slot.reason.detail,
        swap=slot.work.swap if slot.work and slot.reason.cause not in WORSE_THAN_NOTHING else Swap.STOP_FIRST,
    )


def reverted(slot: Slot, work: Work) -> Step:
    """The last good one serves again, or nothing does.

    What came back after its lease, and failed then, was said to be reverted already: a receipt is given once.
    """
    assert work.reverting is not None
    return _end(slot, work, Outcome.FAILED if work.again else Outcome.REVERTED, work.reverting.reason)


def commit(slot: Slot, work: Work) -> Step:
    """Keep the candidate: the only place where the floor moves."""
    assert work.candidate is not None
    new, old = work.candidate.servable, slot.current
    # A release that a rollback leaves is not something to fall back to.
    gone = {old.release} if old is not None and work.entry.intent is Intent.ROLLBACK else set()
    left = tuple(
        each
        for each in (*((old,) if old else ()), *slot.last_good)
        if not each.is_same(new.release, new.variant) and each.release not in gone
    )
    retired = tuple(each for each in left if each.release in slot.withdrawn)
    before = tuple(each for each in slot.committed if not each.is_same(new.release, new.variant))
    after = replace(
        slot,
        current=new,
        last_good=tuple(each for each in left if each not in retired)[:LAST_GOOD_MAX],
        emergency_good=(*retired, *slot.emergency_good)[:EMERGENCY_GOOD_MAX],
        broken=(),
        committed=(new, *before)[:COMMITTED_MAX],
        floor=max(slot.floor, new.epoch),
        restarts=0,
    )
    return _with_previous(_end(after, work, Outcome.COMMITTED, because(Cause.NONE)), old)


def commit_removal(slot: Slot, work: Work) -> Step:
    """Keep nothing: the floor stays, so that what comes back later is not older."""
    reason = because(Cause.REMOVED, "the assignment removed this model")
    after = replace(slot, current=None, last_good=(), emergency_good=(), broken=())
    ended = _with_previous(_end(after, work, Outcome.COMMITTED, reason), slot.current)
    unload = effects.Unload(model=slot.model, cause=reason.cause, detail=reason.detail)
    return replace(ended, effects=(unload, *ended.effects))


def fallen_back(slot: Slot, cause: Cause) -> Slot:
    """Return the slot with what can serve in place of ``current``: the last good ones, then those for emergencies.

    Nothing below the floor ever starts, whatever it was before the floor rose.
    """
    good = tuple(each for each in slot.last_good if each.epoch >= slot.floor)
    spare = tuple(each for each in slot.emergency_good if each.epoch >= slot.floor)
    ladder = (*good, *spare)
    failed = (slot.current,) if slot.current is not None and cause in PERMANENT else ()
    broken = (*failed, *slot.broken)[:BROKEN_MAX]
    return replace(
        slot,
        broken=broken,
        current=ladder[0] if ladder else None,
        last_good=good[1:],
        emergency_good=spare if good else spare[1:],
        restarts=0,
    )


def for_emergencies(slot: Slot, release: ReleaseId, variant: Digest | None = None) -> Slot:
    """Return the slot with a release (or one variant of it) no longer a last good one, only kept for emergencies."""
    moving = tuple(
        each for each in slot.last_good if each.release == release and (variant is None or each.variant == variant)
    )
    return replace(
        slot,
        last_good=tuple(each for each in slot.last_good if each not in moving),
        emergency_good=(*moving, *slot.emergency_good)[:EMERGENCY_GOOD_MAX],
    )


def _blamed(slot: Slot, work: Work, cause: Cause) -> Slot:
    candidate = work.candidate
    if candidate is None:
        return slot
    variant, permanent = candidate.variant, cause in PERMANENT
    if permanent:
        slot = for_emergencies(slot, candidate.release, variant.digest)
    return with_bad(
        slot,
        Bad(
            release=candidate.release,
            variant=variant.digest,
            runtime_version=variant.runtime_version,
            attempt=work.entry.attempt,
            permanent=permanent,
            cause=cause,
        ),
    )


def _stopped(slot: Slot, work: Work) -> tuple[effects.Effect, ...]:
    """What must be called off, and put back, when an attempt leaves its phase before the trial."""
    if slot.phase is Phase.FETCHING or slot.phase is Phase.OFFERED:
        return (effects.StopFetch(model=slot.model),)
    if slot.phase not in (Phase.SELF_TEST, *BESIDE_PHASES):
        return ()
    stop = effects.StopCandidate(model=slot.model)
    if work.swap is Swap.STOP_FIRST and slot.current is not None:
        return (stop, effects.Serve(model=slot.model, servable=slot.current))
    return (stop,)


def _end(slot: Slot, work: Work, outcome: Outcome, reason: Reason) -> Step:
    draft = _draft(slot, work, outcome, reason)
    after = replace(
        slot,
        phase=Phase.IDLE,
        ticket=slot.ticket + 1,
        work=None,
        ended=Ended(generation=work.entry.generation, outcome=outcome, reason=reason),
    )
    stopped = () if slot.phase in ACTIVATED_PHASES else _stopped(slot, work)
    return Step(slot=after, effects=(*stopped, effects.CollectGarbage(model=slot.model)), receipts=(draft,))


def _with_previous(done: Step, previous: Servable | None) -> Step:
    """A commit has changed what is current; its receipt names both."""
    running = previous.running if previous else None
    return replace(done, receipts=tuple(replace(each, previous=running) for each in done.receipts))


def _draft(slot: Slot, work: Work, outcome: Outcome, reason: Reason) -> Draft:
    candidate, trial = work.candidate, work.trial
    named = candidate.variant if candidate and candidate.variants else None
    times = (*work.times, PhaseTime(phase=slot.phase, seconds=work.phase_s))
    return Draft(
        entry=work.entry,
        outcome=outcome,
        reason=reason,
        release=work.entry.release,
        variant=named.digest if named else None,
        version=candidate.version if candidate else None,
        active=slot.current.running if slot.current else None,
        previous=slot.current.running if slot.current else None,
        runtime=work.runtime,
        golden=work.golden,
        # Without a trial there is nothing to say, and "0 inferences" would sound as if there had been one.
        evidence=health.evidence(trial, work.entry.trial) if trial and health.seen(trial) else None,
        latency=trial.latency if trial else None,
        load_ms=work.load_ms,
        swap_gap_ms=work.swap_gap_ms,
        switch_ms=work.switch_ms,
        switch_back_ms=work.switch_back_ms,
        peak_memory_bytes=work.peak_memory_bytes,
        phases=times[-_TIMES_MAX:],
        trust=candidate.trust if candidate else TrustLevel.DEV,
        log=work.log if outcome in (Outcome.FAILED, Outcome.REVERTED) else "",
    )
