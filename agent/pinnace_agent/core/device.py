"""One device: its slots, the set that it was given, and the receipts that it owes.

A set is refused or accepted as a whole, then each of its models goes its own way. Receipts get their counter here; they
are sealed by the shell (it has the key) with ``sealed`` and saved in the same write as the slots they speak of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from pinnace_agent.core import effects, ending, events, lifecycle
from pinnace_agent.core.ending import Draft
from pinnace_agent.core.errors import UnknownModel
from pinnace_agent.core.slot import NOTHING_TO_SAY, Reason, Servable, Slot, because
from pinnace_agent.core.surroundings import Surroundings
from pinnace_contract.fields import count, limited
from pinnace_contract.ids import BootId, DeviceId, IncarnationId, ModelName, ReceiptId, ReleaseId
from pinnace_contract.latest import (
    AssignmentSet,
    AuditHead,
    Cause,
    Endpoint,
    Entry,
    MessageKey,
    Outcome,
    Receipt,
    SiteDecision,
    SiteVerdict,
)

SLOTS_MAX: Final = 32  # what ``reported`` carries
OUTBOX_MAX: Final = 128  # receipts; one per assignment, so months of a busy device without contact
OUTBOX_BYTES_MAX: Final = 1024 * 1024  # the state is written whole on every transition
CONNECTIONS_RESERVED: Final = 16
ANSWERED_MAX: Final = 64  # ids of receipts, so that a set that comes back on every connection is answered once
RECEIPT_SEALED_BYTES_MAX: Final = 96 * 1024  # 64 KiB as base64 in its envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A receipt as signed, kept until the server has it in its database."""

    id: ReceiptId
    counter: int
    sealed: bytes = limited(largest=RECEIPT_SEALED_BYTES_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """Everything that the device must not forget; the store writes it as one file.

    ``generation`` is that of the newest set taken, ``followed`` why it was not followed as a set, ``refused`` why the
    last thing that came was not. Connections up to the number ``connection`` may have been begun; statements are
    numbered above the connection's.
    """

    KIND: ClassVar[str] = "device-state"
    BYTES_MAX: ClassVar[int] = 8 * 1024 * 1024

    incarnation: IncarnationId
    device: DeviceId | None = None
    generation: int = count(0)
    refused: Reason = NOTHING_TO_SAY
    followed: Reason = NOTHING_TO_SAY
    slots: tuple[Slot, ...] = limited((), largest=SLOTS_MAX)
    outbox: tuple[Sealed, ...] = limited((), largest=OUTBOX_MAX)
    receipts: int = count(0)
    answered: tuple[ReceiptId, ...] = limited((), largest=ANSWERED_MAX)
    time_floor_s: float = count(0.0)
    connection: int = count(0)
    boot: BootId | None = None
    audit_head: AuditHead | None = None
    endpoints: tuple[Endpoint, ...] = limited((), largest=8)
    site_decisions: tuple[SiteDecision, ...] = limited((), largest=32)
    message_keys: tuple[MessageKey, ...] = limited((), largest=4)
    encryption_key_hex: str = limited("", chars=128)

    def slot(self, model: ModelName) -> Slot | None:
        """Return the slot of this model, or None."""
        return next((slot for slot in self.slots if slot.model == model), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What follows from something that happened to the device.

    The shell seals ``receipts`` into ``state`` (``sealed``), saves it if ``save``, and only then acts on ``effects``.
    ``told`` says that what the server sees in ``reported`` is different now.
    """

    state: DeviceState
    effects: tuple[effects.Effect, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    save: bool = True
    told: bool = False


def step(state: DeviceState, model: ModelName, event: events.Event, around: Surroundings) -> Change:
    """Return what follows from an event of one model.

    Raises:
        UnknownModel, IllegalEvent: a bug of the shell.
    """
    slot = state.slot(model)
    if slot is None:
        if not isinstance(event, events.Vetoed | events.VetoLifted | events.ContractsDeclared):
            raise UnknownModel(model)
        if len(state.slots) >= SLOTS_MAX:
            return Change(state=state, save=False)
        slot = Slot(model=model)
    return _with(state, lifecycle.step(slot, event, around), around)


def tick(state: DeviceState, around: Surroundings) -> Change:
    """Let time pass where a model is worked on or has a control arm, and follow what was decided for its site."""
    busy = [slot.model for slot in state.slots if not slot.rests]
    return _decided(_each(state, busy, events.Ticked(), around), around)


def contact(state: DeviceState, event: events.ContactMade, around: Surroundings) -> Change:
    """Tell every model that reports were acknowledged."""
    return _each(state, [slot.model for slot in state.slots], event, around)


def stop(state: DeviceState, around: Surroundings) -> Change:
    """Prepare every model for an orderly stop of the agent."""
    return _each(state, [slot.model for slot in state.slots], events.Stopping(), around)


def recover(state: DeviceState, around: Surroundings) -> Change:
    """Take the device up in a new run of the agent: everything that has to be done, from nothing running at all."""
    change = Change(state=state, save=state.boot != around.host.boot)
    for slot in state.slots:
        change = _then(change, _with(change.state, lifecycle.recover(slot, around), around))
    after = replace(change.state, boot=around.host.boot, device=around.host.device)
    return replace(change, state=after, save=change.save or after != state, told=True)


def accept_set(state: DeviceState, wanted: AssignmentSet, around: Surroundings) -> Change:
    """Take a verified set: the larger generation wins, whatever brought it; an equal one changes no model.

    A smaller one, or one that cannot be followed as a whole, is answered for each of its entries and recorded.
    """
    wrong = _not_for_us(state, wanted, around)
    if wrong:
        return refuse(state, wrong)
    if wanted.generation < state.generation:
        return _superseded(state, wanted, around)
    before = state
    state = _with_director_facts(state, wanted)
    if wanted.generation == state.generation:
        state = replace(state, refused=state.followed)
        change = Change(state=state, save=state != before, told=state.refused != before.refused)
        return _decided(change, around)
    state = _with_places(state, wanted)
    problem = _unfollowable(state, wanted) or NOTHING_TO_SAY
    state = replace(state, generation=wanted.generation, refused=problem, followed=problem)
    grown = tuple(entry for entry in wanted.entries if _grows(state, entry))
    if problem is not NOTHING_TO_SAY:
        return _answered(state, grown, Outcome.REJECTED, problem, around)
    change = _without_withdrawn(state, wanted, around)
    for entry in grown:
        slot = change.state.slot(entry.model) or Slot(model=entry.model)
        done = lifecycle.step(slot, events.Assigned(entry=entry), around)
        change = _then(change, _with(change.state, done, around))
    named = {entry.model for entry in wanted.entries}
    gone = [slot.model for slot in change.state.slots if slot.model not in named]
    cancelled = _each(change.state, gone, events.Cancelled(generation=wanted.generation), around)
    return _decided(_then(change, cancelled), around)


def refuse(state: DeviceState, reason: Reason) -> Change:
    """Keep what the device has, and say why the last thing that it was sent was not followed."""
    new = reason.cause != state.refused.cause  # the words may be a stranger's, and each save wears the flash
    return Change(state=replace(state, refused=reason) if new else state, save=new, told=new)


def sealed(change: Change, seal: Callable[[Receipt], bytes]) -> DeviceState:
    """Return the state to save: with every receipt of the change in its outbox, sealed by the shell."""
    state = change.state
    for receipt in change.receipts:
        each = Sealed(id=receipt.id, counter=receipt.counter, sealed=seal(receipt))
        state = replace(state, outbox=_bounded((*state.outbox, each)))
    return state


def acknowledged(state: DeviceState, receipts: Iterable[ReceiptId]) -> DeviceState:
    """Return the state without the receipts that are in the server's database."""
    done = set(receipts)
    return replace(state, outbox=tuple(each for each in state.outbox if each.id not in done))


def with_connections_reserved(state: DeviceState) -> DeviceState:
    """Return the state with numbers for the next connections: saved before CONNECT, they tell an old will from a birth.

    Several at once, for a device without a network tries all day long, and each save wears the flash.
    """
    return replace(state, connection=state.connection + CONNECTIONS_RESERVED)


def kept(state: DeviceState) -> tuple[Servable, ...]:
    """Return every release and variant that garbage collection must leave on the disk."""
    return tuple(dict.fromkeys(each for slot in state.slots for each in slot.kept))


def lost(state: DeviceState, releases: Iterable[ReleaseId]) -> Change:
    """Forget fallbacks whose files the disk has lost: they could not serve, and keep garbage from being collected."""
    gone = set(releases)
    slots = tuple(
        replace(
            slot,
            last_good=tuple(each for each in slot.last_good if each.release not in gone),
            emergency_good=tuple(each for each in slot.emergency_good if each.release not in gone),
            broken=tuple(each for each in slot.broken if each.release not in gone),
        )
        for slot in state.slots
    )
    changed = slots != state.slots
    return Change(state=replace(state, slots=slots), save=changed, told=changed)


def _not_for_us(state: DeviceState, wanted: AssignmentSet, around: Surroundings) -> Reason | None:
    if wanted.device != around.host.device:
        return because(Cause.WRONG_DEVICE, f"the set is for {wanted.device}, this is {around.host.device}")
    if wanted.incarnation is not None and wanted.incarnation != state.incarnation:
        return because(Cause.WRONG_INCARNATION, "the set is for another store of this device")
    return None


def _unfollowable(state: DeviceState, wanted: AssignmentSet) -> Reason | None:
    if wanted.atomic:
        return because(Cause.SET_REFUSED, "this agent does not know atomic sets; upgrade it or assign one by one")
    models = [entry.model for entry in wanted.entries]
    if len(set(models)) != len(models):
        return because(Cause.SET_REFUSED, "a model stands twice in the set")
    newcomers = [model for model in models if state.slot(model) is None]
    if len(state.slots) + len(newcomers) > SLOTS_MAX:
        return because(Cause.SET_REFUSED, f"a device has at most {SLOTS_MAX} models, removed ones counted")
    return None


def _with_places(state: DeviceState, wanted: AssignmentSet) -> DeviceState:
    """Return the state without slots that only applications spoke of, where an assignment needs their places."""
    named = {entry.model for entry in wanted.entries}
    if len(named | {slot.model for slot in state.slots}) <= SLOTS_MAX:
        return state
    return replace(state, slots=tuple(slot for slot in state.slots if slot.generation or slot.model in named))


def _with_director_facts(state: DeviceState, wanted: AssignmentSet) -> DeviceState:
    """Endpoints, site decisions, keys and the audit head do not grow the generation."""
    return replace(
        state,
        endpoints=wanted.endpoints or state.endpoints,
        site_decisions=tuple(each for each in wanted.site_decisions if each.verdict is not SiteVerdict.UNKNOWN),
        message_keys=wanted.message_keys or state.message_keys,
        encryption_key_hex=wanted.encryption_key_hex or state.encryption_key_hex,
        audit_head=_newer_head(state.audit_head, wanted.audit_head),
    )


def _newer_head(ours: AuditHead | None, theirs: AuditHead | None) -> AuditHead | None:
    if theirs is None or (ours is not None and theirs.size < ours.size):
        return ours
    return theirs


def _grows(state: DeviceState, entry: Entry) -> bool:
    slot = state.slot(entry.model)
    return slot is None or entry.generation > slot.generation


def _without_withdrawn(state: DeviceState, wanted: AssignmentSet, around: Surroundings) -> Change:
    """Withdraw what the set says, before its entries: so a device falls back first, and begins no such entry.

    Saying it again changes nothing. A model that is new here is given a slot that knows what it must not start.
    """
    change = Change(state=state, told=True)
    named = {entry.model for entry in wanted.entries}
    for each in wanted.withdrawn:
        slot = change.state.slot(each.model)
        if slot is None and each.model not in named:
            continue
        event = events.Withdrawn(release=each.release, mode=each.mode)
        done = lifecycle.step(slot or Slot(model=each.model), event, around)
        change = _then(change, _with(change.state, done, around))
    return change


def _superseded(state: DeviceState, wanted: AssignmentSet, around: Surroundings) -> Change:
    have = f"generation {wanted.generation} is older than {state.generation}, which is here"
    old = tuple(entry for entry in wanted.entries if _is_older(state, entry))
    return _answered(state, old, Outcome.SUPERSEDED, because(Cause.GENERATION_SUPERSEDED, have), around)


def _is_older(state: DeviceState, entry: Entry) -> bool:
    slot = state.slot(entry.model)
    return slot is None or entry.generation < slot.generation


def _answered(
    state: DeviceState, entries: Iterable[Entry], outcome: Outcome, reason: Reason, around: Surroundings
) -> Change:
    """Answer entries that no slot takes up, each of them once: a retained message comes back on every connection."""
    before = state
    drafts: list[Draft] = []
    for entry in entries:
        slot = state.slot(entry.model) or Slot(model=entry.model)
        drafts.extend(ending.answered(slot, entry, outcome, reason).receipts)
    state, receipts = _numbered(state, drafts, around)
    return Change(state=state, receipts=receipts, save=state != before, told=bool(receipts))


def _numbered(
    state: DeviceState, drafts: Iterable[Draft], around: Surroundings
) -> tuple[DeviceState, tuple[Receipt, ...]]:
    """Give receipts their counters; what was said once is not said again."""
    receipts = []
    for draft in drafts:
        receipt = _receipt(state, draft, around)
        if receipt.id not in state.answered:
            answered = (*state.answered, receipt.id)[-ANSWERED_MAX:]
            state = replace(state, receipts=receipt.counter, answered=answered)
            receipts.append(receipt)
    return state, tuple(receipts)


def _decided(change: Change, around: Surroundings) -> Change:
    """Tell every model that is under way what was decided for sites; each takes what is about its own entry."""
    for each in change.state.site_decisions:
        event = events.SiteDecided(
            rollout=each.rollout, site=each.site, generation=each.generation, verdict=each.verdict
        )
        busy = [slot.model for slot in change.state.slots if not slot.rests]
        change = _then(change, _each(change.state, busy, event, around))
    return change


def _each(state: DeviceState, models: Iterable[ModelName], event: events.Event, around: Surroundings) -> Change:
    change = Change(state=state, save=False)
    for model in models:
        change = _then(change, step(change.state, model, event, around))
    return change


def _then(first: Change, second: Change) -> Change:
    return Change(
        state=second.state,
        effects=(*first.effects, *second.effects),
        receipts=(*first.receipts, *second.receipts),
        save=first.save or second.save,
        told=first.told or second.told,
    )


def _with(state: DeviceState, done: ending.Step, around: Surroundings) -> Change:
    before = state.slot(done.slot.model)
    others = state.slots if before is None else tuple(slot for slot in state.slots if slot.model != done.slot.model)
    slots = tuple(sorted((*others, done.slot), key=lambda slot: slot.model))
    state, receipts = _numbered(replace(state, slots=slots), done.receipts, around)
    told = bool(done.receipts) or before is None or _shown(before) != _shown(done.slot)
    return Change(state=state, effects=done.effects, receipts=receipts, save=done.save, told=told)


def _shown(slot: Slot) -> object:
    return (
        slot.phase,
        slot.generation,
        slot.reason,
        slot.current,
        slot.last_good,
        slot.accepts,
        slot.split.control if slot.split else None,
        slot.work is None,
        _standby(slot),
    )


def _standby(slot: Slot) -> object:
    standby = slot.standby
    return None if standby is None else (standby.servable, standby.warm, standby.reason)


def _receipt(state: DeviceState, draft: Draft, around: Surroundings) -> Receipt:
    return Receipt(
        device=around.host.device,
        incarnation=state.incarnation,
        counter=state.receipts + 1,
        boot=around.host.boot,
        model=draft.entry.model,
        generation=draft.entry.generation,
        attempt=draft.entry.attempt,
        outcome=draft.outcome,
        cause=draft.reason.cause,
        detail=draft.reason.detail,
        release=draft.release,
        variant=draft.variant,
        version=draft.version,
        active=draft.active,
        previous=draft.previous,
        runtime=draft.runtime,
        agent_version=around.host.agent_version,
        golden=draft.golden,
        evidence=draft.evidence,
        latency=draft.latency,
        load_ms=draft.load_ms,
        swap_gap_ms=draft.swap_gap_ms,
        switch_ms=draft.switch_ms,
        switch_back_ms=draft.switch_back_ms,
        peak_memory_bytes=draft.peak_memory_bytes,
        health=around.health,
        phases=draft.phases,
        trust=draft.trust,
        audit_head=state.audit_head,
        at_s=around.unix_s,
        log=draft.log,
    )


def _bounded(outbox: tuple[Sealed, ...]) -> tuple[Sealed, ...]:
    """Drop the oldest receipts that do not fit; the gap in the counters tells the server that there were some."""
    while len(outbox) > OUTBOX_MAX or sum(len(each.sealed) for each in outbox) > OUTBOX_BYTES_MAX:
        outbox = outbox[1:]
    return outbox
