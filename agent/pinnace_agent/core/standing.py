"""What can happen in any phase: a worker dies, applications speak, a release is withdrawn, the agent stops."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pinnace_agent.core import effects, events, offer, proof, siting, splitting, starts, switching
from pinnace_agent.core.ending import (
    UNSTARTABLE,
    Draft,
    Step,
    answered,
    fallen_back,
    for_emergencies,
    interrupt,
    moved,
    revert,
    revert_effect,
)
from pinnace_agent.core.slot import (
    ACTIVATED_PHASES,
    BESIDE_PHASES,
    WITHDRAWN_MAX,
    Ended,
    Reason,
    Servable,
    Slot,
    Veto,
    because,
)
from pinnace_agent.core.surroundings import Surroundings
from pinnace_agent.core.wording import shortened
from pinnace_contract.ids import ReleaseId
from pinnace_contract.latest import Cause, Entry, Outcome, Phase, WithdrawMode

RESTART_AFTER_S_MAX: Final = 300.0  # a model that dies at once must not keep the device busy with dying
RESTARTS_FORGOTTEN_AFTER_S: Final = 600.0
VETO_REASON_CHARS_MAX: Final = 256
VETO_S_MAX: Final = 86_400.0  # one veto; how much of them counts in all is the assignment's


def current_exited(slot: Slot, event: events.WorkerExited, around: Surroundings) -> Step:
    """What is committed died: start it again with back-off, or fall back if it can never start again."""
    if splitting.is_of_control(slot, event):
        return splitting.control_exited(slot, event, around)
    assert slot.current is not None
    if event.cause in UNSTARTABLE:
        return _fall_back(slot, because(event.cause, event.detail))
    calm = around.awake_s - slot.exited_s > RESTARTS_FORGOTTEN_AFTER_S
    restarts = 0 if calm else slot.restarts
    after_s = 0.0 if restarts == 0 else min(RESTART_AFTER_S_MAX, 2.0 ** min(restarts - 1, 16))
    slot = replace(slot, restarts=restarts + 1, exited_s=around.awake_s)
    return Step(slot=slot, effects=(_serve(slot, after_s),), save=False)


def vetoed(slot: Slot, event: events.Vetoed, around: Surroundings) -> Step:
    """Remember an application's veto; it takes effect where an attempt is about to activate."""
    seconds = min(max(event.seconds, 0.0), VETO_S_MAX)
    return Step(
        slot=replace(
            slot, veto=Veto(until_s=around.unix_s + seconds, reason=shortened(event.reason, VETO_REASON_CHARS_MAX))
        )
    )


def veto_lifted(slot: Slot, event: events.VetoLifted, around: Surroundings) -> Step:
    """Forget the veto and go on if it was what held."""
    slot = replace(slot, veto=None)
    return proof.staged_reconsidered(slot, event, around) if slot.phase is Phase.STAGED else Step(slot=slot)


def contracts_declared(slot: Slot, event: events.ContractsDeclared, around: Surroundings) -> Step:
    """Remember what applications accept and go on if that was what held."""
    slot = replace(slot, accepts=event.accepts)
    return offer.reconsidered(slot, event, around) if slot.phase is Phase.OFFERED else Step(slot=slot)


def stopping(slot: Slot, event: events.Stopping, around: Surroundings) -> Step:
    """Save with the start given back: an orderly stop is not the candidate's fault."""
    return Step(slot=slot if slot.work is None else replace(slot, work=starts.stopped_in_order(slot.work)))


def withdrawn(slot: Slot, event: events.Withdrawn, around: Surroundings) -> Step:
    """No new activation of the release; with ``stop`` it leaves the device."""
    others = tuple(each for each in slot.withdrawn if each != event.release)
    slot = replace(slot, withdrawn=(*others, event.release)[-WITHDRAWN_MAX:])
    slot = for_emergencies(_without_lapsed(slot, event.release), event.release)
    reason = because(Cause.WITHDRAWN, f"release {event.release[:12]} was withdrawn ({event.mode})")
    if event.mode is not WithdrawMode.STOP:
        return _without_candidate(slot, event.release, reason)
    slot = replace(
        slot,
        emergency_good=tuple(each for each in slot.emergency_good if each.release != event.release),
        broken=tuple(each for each in slot.broken if each.release != event.release),
    )
    if slot.current is None or slot.current.release != event.release:
        return _without_candidate(slot, event.release, reason)
    fell = _fall_back(slot, reason)
    then = _without_candidate(fell.slot, event.release, reason)
    return Step(slot=then.slot, effects=(*fell.effects, *then.effects), receipts=(*fell.receipts, *then.receipts))


def cancelled_while_idle(slot: Slot, event: events.Cancelled, around: Surroundings) -> Step:
    """Nobody asks for this model any more: what waits for a late decision may go, and what stays loaded beside it."""
    if slot.split is not None:
        return splitting.cancelled(slot, event, around)
    if slot.standby is not None:
        return switching.cancelled(slot, event, around)
    return siting.forgotten(slot, event, around)


def ticked_while_idle(slot: Slot, event: events.Ticked, around: Surroundings) -> Step:
    """Time passes for what stays loaded; whether it is over is looked at after every step, not only after this one."""
    if slot.standby is not None:
        return switching.ticked(slot, event, around)
    return splitting.ticked(slot, event, around)


def _without_lapsed(slot: Slot, release: ReleaseId) -> Slot:
    """A decision that comes late does not bring back what was withdrawn."""
    lapsed = slot.lapsed
    return replace(slot, lapsed=None) if lapsed is not None and lapsed.entry.release == release else slot


def _without_candidate(slot: Slot, release: ReleaseId, reason: Reason) -> Step:
    work = slot.work
    if work is None or work.entry.release != release or slot.phase is Phase.REVERTING:
        return Step(slot=slot)
    if slot.phase in ACTIVATED_PHASES:
        return revert(slot, work, reason, blames=False)
    return interrupt(slot, work, Outcome.REJECTED, reason)


def _fall_back(slot: Slot, reason: Reason) -> Step:
    """Give up what is committed for the next best thing. While a candidate serves, nobody notices."""
    after = fallen_back(slot, reason.cause)
    if slot.phase in ACTIVATED_PHASES:
        return Step(slot=after)
    after = replace(after, split=None)  # it stood beside what is given up
    if slot.phase in BESIDE_PHASES:
        return _without_control(after, reason)
    if slot.phase is Phase.REVERTING:
        again = moved(after, Phase.REVERTING, offer.working(after))
        return Step(slot=again, effects=(revert_effect(again),))
    receipts: tuple[Draft, ...] = ()
    if slot.work is None:
        receipts = _uncommitted(slot, after, reason)
        after = replace(after, ended=Ended(generation=slot.generation, outcome=Outcome.REVERTED, reason=reason))
    collect = effects.CollectGarbage(model=slot.model)
    unload = effects.Unload(model=slot.model, cause=reason.cause, detail=reason.detail)
    if after.current is None:
        return Step(slot=after, effects=(unload, collect), receipts=receipts)
    # What was stopped does not answer until the next one is ready, which a standby is, and a control arm.
    first = (unload,) if reason.cause is Cause.WITHDRAWN and not _is_in_memory(slot, after.current) else ()
    return Step(slot=after, effects=(*first, _serve(after, 0.0), collect), receipts=receipts)


def _is_in_memory(slot: Slot, servable: Servable) -> bool:
    standby, split = slot.standby, slot.split
    stands_by = standby is not None and standby.warm and standby.servable == servable
    return stands_by or (split is not None and split.control == servable)


def _without_control(after: Slot, reason: Reason) -> Step:
    """What the candidate stood beside is gone, which is not its fault: end the attempt, serve the next best."""
    why = because(Cause.NO_FALLBACK, f"what served beside it is gone: {reason.cause} {reason.detail}")
    ended = interrupt(after, offer.working(after), Outcome.FAILED, why)
    serve: effects.Effect = (
        effects.Unload(model=after.model, cause=reason.cause, detail=reason.detail)
        if after.current is None
        else _serve(after, 0.0)
    )
    return replace(ended, effects=(*ended.effects, serve))


def _uncommitted(slot: Slot, after: Slot, reason: Reason) -> tuple[Draft, ...]:
    """Return the receipt that takes a commit back; an older commit than the last entry's has had its answer."""
    ended, current = slot.ended, slot.current
    if (
        ended is None
        or current is None
        or ended.outcome is not Outcome.COMMITTED
        or ended.generation != slot.generation
    ):
        return ()
    entry = Entry(model=slot.model, generation=slot.generation, attempt=slot.attempt, release=current.release)
    (draft,) = answered(after, entry, Outcome.REVERTED, reason).receipts
    return (replace(draft, variant=current.variant, version=current.version, previous=current.running),)


def _serve(slot: Slot, after_s: float) -> effects.Serve:
    assert slot.current is not None
    split = effects.split_of(slot)
    return effects.Serve(model=slot.model, servable=slot.current, after_s=after_s, split=split)
