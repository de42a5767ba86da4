"""The control arm: last good keeps a share of the requests beside a newer release, on its trial and after its commit.

A commit ends the trial, not this. It ends with its time, with whatever takes either of the two away, and with any newer
entry; then what serves here answers everything. The device decides nothing by comparing the two: the server does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pinnace_agent.core import effects, events
from pinnace_agent.core.ending import UNSTARTABLE, Step, activate_effect
from pinnace_agent.core.slot import ACTIVATED_PHASES, SAVE_STAY_EVERY_S, Servable, Slot, Split, Work
from pinnace_agent.core.surroundings import Surroundings
from pinnace_contract.latest import ArmMode, Cause, Phase

SPLIT_S_MAX: Final = 90 * 86_400.0  # a quarter, whatever the clock says of its end; longer ones were forgotten
CRASHES_MAX: Final = 3  # in a row: a control that dies of what it is asked compares nothing
CRASHES_FORGOTTEN_AFTER_S: Final = 600.0


def begun(slot: Slot, work: Work) -> Split | None:
    """Return the control arm that a candidate's entry asks for, from now on; None: it asks for none."""
    arms, control, candidate = work.entry.arms, slot.current, work.candidate
    if arms is None or arms.mode is not ArmMode.SPLIT or control is None or candidate is None:
        return None
    return Split(
        control=control,
        candidate=candidate.servable,
        share_percent=arms.share_percent,
        until_s=arms.until_s,
        left_s=float(arms.duration_s or SPLIT_S_MAX),
        seen_s=work.seen_s,
    )


def ticked(slot: Slot, event: events.Ticked, around: Surroundings) -> Step:
    """Time passes for a control arm beside what is committed; now and then that is worth a write."""
    split = slot.split
    if split is None or split.unsaved_s < SAVE_STAY_EVERY_S:
        return Step(slot=slot, save=False)
    return Step(slot=replace(slot, split=replace(split, unsaved_s=0.0)))


def cancelled(slot: Slot, event: events.Cancelled, around: Surroundings) -> Step:
    """Nobody asks for this model any more: what is committed stays, alone."""
    return ended(slot)


def is_of_control(slot: Slot, event: events.WorkerExited) -> bool:
    """Tell whether it was the control arm's worker that died."""
    return slot.split is not None and slot.split.control.is_same(event.release, event.variant)


def control_exited(slot: Slot, event: events.WorkerExited, around: Surroundings) -> Step:
    """Start the control again, or do without it; what it stood beside answers meanwhile, and is not to blame."""
    split = slot.split
    assert split is not None
    calm = around.awake_s - split.exited_s > CRASHES_FORGOTTEN_AFTER_S
    crashes = 1 if calm else split.crashes + 1
    if event.cause in UNSTARTABLE or event.cause is Cause.NO_MEMORY or crashes >= CRASHES_MAX:
        return ended(slot)
    slot = replace(slot, split=replace(split, crashes=crashes, exited_s=around.awake_s))
    return Step(slot=slot, effects=_as_it_stands(slot))


def ended(slot: Slot) -> Step:
    """End the control arm, if there is one: what serves here answers everything."""
    if slot.split is None:
        return Step(slot=slot)
    slot = replace(slot, split=None)
    return Step(slot=slot, effects=_as_it_stands(slot))


def ended_if_due(done: Step, around: Surroundings) -> Step:
    """Return a step whose control arm ends with its time, or with what it stood on."""
    if done.slot.split is None or _stands(done.slot, done.slot.split, around):
        return done
    over = ended(done.slot)
    return replace(done, slot=over.slot, effects=(*done.effects, *over.effects), save=True)


def with_time_passed(slot: Slot, around: Surroundings) -> Slot:
    """Return the slot whose control arm has so much less time left."""
    split = slot.split
    if split is None:
        return slot
    passed_s = max(0.0, around.awake_s - split.seen_s)
    left_s, unsaved_s = split.left_s - passed_s, split.unsaved_s + passed_s
    return replace(slot, split=replace(split, seen_s=around.awake_s, left_s=left_s, unsaved_s=unsaved_s))


def taken_up(slot: Slot, around: Surroundings) -> Slot:
    """Return the slot as a new run finds it: the time in between was nobody's."""
    split = slot.split
    return slot if split is None else replace(slot, split=replace(split, seen_s=around.awake_s, exited_s=0.0))


def _stands(slot: Slot, split: Split, around: Surroundings) -> bool:
    if split.left_s <= 0 or around.unix_s >= split.until_s or split.control.release in slot.withdrawn:
        return False
    if slot.phase in ACTIVATED_PHASES:
        return _is(slot.current, split.control)
    still_good = any(_is(each, split.control) for each in slot.last_good)
    return slot.phase is Phase.IDLE and _is(slot.current, split.candidate) and still_good


def _as_it_stands(slot: Slot) -> tuple[effects.Effect, ...]:
    """Return the effect that sees to both arms, or to what is left of them."""
    if slot.phase in ACTIVATED_PHASES:
        return (activate_effect(slot),)
    if slot.phase is Phase.REVERTING or slot.current is None:
        return ()  # what is on its way already says who answers
    return (effects.Serve(model=slot.model, servable=slot.current, split=effects.split_of(slot)),)


def _is(found: Servable | None, wanted: Servable) -> bool:
    return found is not None and found.is_same(wanted.release, wanted.variant)
