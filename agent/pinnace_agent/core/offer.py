"""From an entry to a variant that lies verified on the disk: the phases idle, offered, fetching, verifying.

Fetching and activating are apart: here only a metered link, an application's contract and the disk can hold an attempt.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pinnace_agent.core import effects, events, splitting
from pinnace_agent.core.acceptance import (
    candidate_of,
    committed_before,
    is_switch_of,
    refusal,
    stripped,
    understood,
)
from pinnace_agent.core.ending import (
    Draft,
    Step,
    answered,
    commit_removal,
    fail,
    fetch,
    interrupt,
    moved,
    reject,
    revert,
    try_next,
)
from pinnace_agent.core.slot import Candidate, Reason, Slot, Waiting, Work, because
from pinnace_agent.core.surroundings import Surroundings
from pinnace_contract.latest import Cause, Entry, Intent, Outcome, Phase

VERIFY_S_MAX: Final = 3_600.0  # hashing 4 GiB on a slow card takes minutes; after an hour the disk is broken

# Structural: another build of the same version may do. The others would fail for every variant alike.
NEXT_VARIANT: Final = frozenset(
    {
        Cause.NO_ROOM,
        Cause.NO_MEMORY,
        Cause.NO_RUNTIME,
        Cause.DIGEST_MISMATCH,
        Cause.LOAD_FAILED,
        Cause.GOLDEN_MISMATCH,
        Cause.CONTRACT_MISMATCH,
        Cause.UNSUPPORTED_STEP,
        Cause.MEMORY_EXCEEDED,
        Cause.CRASHED,
        Cause.HUNG,
        Cause.DEADLINE,
    }
)


# --- the assignment ----------------------------------------------------------------------------------------------


def queue(slot: Slot, event: events.Assigned) -> Slot:
    """Return the slot knowing the newest entry, to be begun as soon as the slot is idle."""
    entry = event.entry
    not_understood = understood(entry)
    waiting = Waiting(entry=stripped(entry) if not_understood else entry, refusal=not_understood)
    return replace(slot, generation=entry.generation, attempt=entry.attempt, waiting=waiting, lapsed=None)


def assigned_while_idle(slot: Slot, event: events.Assigned, around: Surroundings) -> Step:
    """``step`` begins what is waiting in an idle slot; a control arm was the older entry's, and ends."""
    ended = splitting.ended(slot)
    return Step(slot=queue(ended.slot, event), effects=ended.effects)


def assigned_before_trial(slot: Slot, event: events.Assigned, around: Surroundings) -> Step:
    """Nothing serves the candidate yet: drop it for the newer entry, unless that only says that it may take over."""
    if is_switch_of(working(slot).entry, event.entry):
        return Step(slot=continued(slot, event.entry))
    reason = because(Cause.NEWER_GENERATION, f"generation {event.entry.generation} took its place")
    return interrupt(queue(slot, event), working(slot), Outcome.SUPERSEDED, reason)


def continued(slot: Slot, entry: Entry) -> Slot:
    """Return the slot with a newer entry for the same attempt."""
    return replace(slot, generation=entry.generation, work=replace(working(slot), entry=entry))


def assigned_in_trial(slot: Slot, event: events.Assigned, around: Surroundings) -> Step:
    """The candidate serves: go back first, so that the newer entry starts from something proven."""
    reason = because(Cause.NEWER_GENERATION, f"generation {event.entry.generation} took its place")
    return revert(queue(slot, event), working(slot), reason, blames=False)


def assigned_while_reverting(slot: Slot, event: events.Assigned, around: Surroundings) -> Step:
    """The newest entry waits; one that was waiting is answered."""
    reason = because(Cause.NEWER_GENERATION, f"generation {event.entry.generation} took its place")
    return Step(slot=queue(slot, event), receipts=_unstarted(slot, Outcome.SUPERSEDED, reason))


def cancelled_before_trial(slot: Slot, event: events.Cancelled, around: Surroundings) -> Step:
    """Drop the candidate."""
    return interrupt(slot, working(slot), Outcome.CANCELLED, _cancel_reason(event))


def cancelled_in_trial(slot: Slot, event: events.Cancelled, around: Surroundings) -> Step:
    """The candidate serves and nobody wants it: go back."""
    return revert(slot, working(slot), _cancel_reason(event), blames=False)


def cancelled_while_reverting(slot: Slot, event: events.Cancelled, around: Surroundings) -> Step:
    """Forget what was waiting."""
    receipts = _unstarted(slot, Outcome.CANCELLED, _cancel_reason(event))
    return Step(slot=replace(slot, waiting=None), receipts=receipts)


def begin(slot: Slot, around: Surroundings) -> Step:
    """Start on the entry that waits in an idle slot, or answer it at once."""
    assert slot.waiting is not None
    entry, not_understood = slot.waiting.entry, slot.waiting.refusal
    slot = replace(slot, waiting=None)
    refused = not_understood or refusal(slot, entry)
    if refused:
        return answered(slot, entry, Outcome.REJECTED, refused)
    if _late(entry.deadlines.accept_by_s, around):
        return answered(slot, entry, Outcome.REJECTED, because(Cause.DEADLINE, "the time to accept it is over"))
    work = Work(entry=entry, boot=around.host.boot, seen_s=around.awake_s)
    if entry.intent is Intent.REMOVE:
        if slot.current is None:
            return commit_removal(slot, work)
        return Step(slot=moved(slot, Phase.STAGED, work))
    if _runs_already(slot, entry):
        return already_committed(slot, entry)
    slot = moved(slot, Phase.OFFERED, work)
    return Step(slot=slot, effects=(fetch_release(slot),))


def already_committed(slot: Slot, entry: Entry) -> Step:
    """Answer an entry that asks for what is there."""
    assert slot.current is not None
    done = answered(slot, entry, Outcome.COMMITTED, because(Cause.NONE, "this release was already committed here"))
    variant, version = slot.current.variant, slot.current.version
    return replace(done, receipts=tuple(replace(each, variant=variant, version=version) for each in done.receipts))


# --- offered -----------------------------------------------------------------------------------------------------


def fetch_release(slot: Slot) -> effects.FetchRelease:
    """Return the effect that gets the release file of the entry."""
    entry = working(slot).entry
    assert entry.release is not None
    return effects.FetchRelease(
        model=slot.model, ticket=slot.ticket, release=entry.release, size_bytes=entry.release_size_bytes
    )


def release_read(slot: Slot, event: events.ReleaseRead, around: Surroundings) -> Step:
    """Choose what to try of the release, then go on unless something holds."""
    work = working(slot)
    found = candidate_of(slot, work.entry, event, around)
    if isinstance(found, Reason):
        return reject(slot, work, found)
    if slot.current is not None and slot.current.is_same(found.release, found.variant.digest):
        same = because(Cause.NONE, "the best variant for this device was already committed here")
        ended = interrupt(slot, replace(work, candidate=found), Outcome.COMMITTED, same)
        return ended
    return go_on(replace(slot, work=replace(work, candidate=found)), around)


def release_refused(slot: Slot, event: events.ReleaseRefused, around: Surroundings) -> Step:
    """The release file is not to be had, or not to be trusted."""
    reason = because(event.cause, event.detail)
    transfer = (Cause.TRANSFER_FAILED, Cause.NO_ROOM, Cause.STORAGE_ERROR, Cause.META_INCONSISTENT)
    return (fail if event.cause in transfer else reject)(slot, working(slot), reason)


def go_on(slot: Slot, around: Surroundings) -> Step:
    """Start fetching, or stay offered with the reason."""
    work = working(slot)
    if work.candidate is None:
        return Step(slot=slot, save=False)
    hold = _fetch_hold(slot, work.candidate, around)
    if hold:
        return Step(slot=replace(slot, work=replace(work, hold=hold)), save=hold != work.hold)
    slot = moved(slot, Phase.FETCHING, work)
    return Step(slot=slot, effects=(fetch(slot),))


def reconsidered(slot: Slot, event: object, around: Surroundings) -> Step:
    """Look again at what holds an offered attempt; give up when its time is over."""
    work = working(slot)
    deadlines = work.entry.deadlines
    if _late(deadlines.accept_by_s, around):
        return reject(slot, work, because(Cause.DEADLINE, f"not accepted in time: {_held(work)}"))
    if _late(deadlines.commit_by_s, around):
        return fail(slot, work, because(Cause.DEADLINE, f"the time to commit is over: {_held(work)}"))
    if work.candidate is None and work.phase_s > deadlines.fetch_s:
        return fail(slot, work, because(Cause.DEADLINE, f"no release file after {deadlines.fetch_s} s"))
    return go_on(slot, around)


def _fetch_hold(slot: Slot, candidate: Candidate, around: Surroundings) -> Reason | None:
    if slot.accepts and candidate.contract is not None and candidate.contract not in slot.accepts:
        return because(
            Cause.APP_CONTRACT,
            f"the release's I/O contract {candidate.contract[:12]} is not one that applications accept",
        )
    if around.metered and not working(slot).entry.metered:
        return because(Cause.METERED, "the link is metered, and the assignment waits for one that is not")
    return None


# --- fetching and verifying --------------------------------------------------------------------------------------


def chunks_fetched(slot: Slot, event: events.ChunksFetched, around: Surroundings) -> Step:
    """Remember the progress; it is worth no write of its own."""
    return Step(slot=replace(slot, work=replace(working(slot), fetched_bytes=event.fetched_bytes)), save=False)


def fetched(slot: Slot, event: events.Fetched, around: Surroundings) -> Step:
    """Everything is there: hash it whole."""
    work = working(slot)
    assert work.candidate is not None
    size_bytes = work.candidate.variant.size_bytes
    slot = moved(slot, Phase.VERIFYING, replace(work, fetched_bytes=size_bytes))
    return Step(slot=slot, effects=(verify_effect(slot),))


def fetch_failed(slot: Slot, event: events.FetchFailed, around: Surroundings) -> Step:
    """Make room if that was it, try another variant where that can help, else fail."""
    work, reason = working(slot), because(event.cause, event.detail)
    if event.cause is Cause.NO_ROOM:
        roomier = _with_less_kept(slot, replace_too=work.entry.replace)
        if roomier is not None:
            after = moved(roomier, Phase.FETCHING, work)
            return Step(slot=after, effects=(effects.CollectGarbage(model=slot.model), fetch(after)))
    return (try_next if event.cause in NEXT_VARIANT else fail)(slot, work, reason)


def fetching_ticked(slot: Slot, event: events.Ticked, around: Surroundings) -> Step:
    """Fetching has a deadline of the agent and one of the planner."""
    work = working(slot)
    late = overdue(work, around, phase_s_max=work.entry.deadlines.fetch_s)
    return fail(slot, work, late) if late else Step(slot=slot, save=False)


def verify_effect(slot: Slot) -> effects.Verify:
    """Return the effect that hashes the variant being tried."""
    candidate = working(slot).candidate
    assert candidate is not None
    return effects.Verify(
        model=slot.model, ticket=slot.ticket, release=candidate.release, variant=candidate.variant.digest
    )


def verify_failed(slot: Slot, event: events.VerifyFailed, around: Surroundings) -> Step:
    """A wrong digest condemns the variant, a broken disk the attempt."""
    return (try_next if event.cause in NEXT_VARIANT else fail)(slot, working(slot), because(event.cause, event.detail))


def verifying_ticked(slot: Slot, event: events.Ticked, around: Surroundings) -> Step:
    """Verifying has a deadline."""
    work = working(slot)
    late = overdue(work, around, phase_s_max=VERIFY_S_MAX)
    return fail(slot, work, late) if late else Step(slot=slot, save=False)


# --- shared with the later phases --------------------------------------------------------------------------------


def working(slot: Slot) -> Work:
    """Return the attempt; only an idle slot has none."""
    assert slot.work is not None
    return slot.work


def overdue(work: Work, around: Surroundings, *, phase_s_max: float) -> Reason | None:
    """Return why a phase took too long, or None."""
    if work.phase_s > phase_s_max:
        return because(Cause.DEADLINE, f"{work.phase_s:.0f} s in this phase; the limit is {phase_s_max:.0f} s")
    if _late(work.entry.deadlines.commit_by_s, around):
        return because(Cause.DEADLINE, f"not committed in time: {_held(work)}")
    return None


def ignores_holds(slot: Slot) -> bool:
    """Tell whether the attempt goes back to a release that was committed here: no veto, window or trial delays it."""
    entry = working(slot).entry
    return entry.intent is Intent.ROLLBACK and committed_before(slot, entry)


def _with_less_kept(slot: Slot, *, replace_too: bool) -> Slot | None:
    """Return the slot keeping one release less on disk, or None. The newest last good one goes only where opted in."""
    if slot.broken:
        return replace(slot, broken=())
    if slot.emergency_good and slot.last_good:
        return replace(slot, emergency_good=slot.emergency_good[:-1])
    if len(slot.last_good) > 1 or (slot.last_good and replace_too):
        return replace(slot, last_good=slot.last_good[:-1])
    return None


def _runs_already(slot: Slot, entry: Entry) -> bool:
    if slot.current is None or slot.current.release != entry.release:
        return False
    return not entry.variants or slot.current.variant == entry.variants[0]


def _unstarted(slot: Slot, outcome: Outcome, reason: Reason) -> tuple[Draft, ...]:
    return () if slot.waiting is None else answered(slot, slot.waiting.entry, outcome, reason).receipts


def _cancel_reason(event: events.Cancelled) -> Reason:
    return because(Cause.CANCELLED_BY_SERVER, f"generation {event.generation} no longer names this model")


def _held(work: Work) -> str:
    return f"{work.hold.cause} {work.hold.detail}" if work.hold else "it was still under way"


def _late(by_s: int | None, around: Surroundings) -> bool:
    return by_s is not None and around.unix_s > by_s
