"""What must be true of a world: safety after everything that happens, liveness when the faults have stopped.

Looks on from outside: what was issued, saved, started, said and believed is written down as it passes, and held against
each other. A violation ends the world at once, wherever the stack is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pinnace_agent.core.device import DeviceState, Sealed
from pinnace_agent.core.slot import ACTIVATED_PHASES, BESIDE_PHASES, Reason, Servable, Slot
from pinnace_agent.store_blobs import BLOBS
from pinnace_agent.worker.events import ExitCause, LoadFailed, NowAnswering, NowServing, WorkerExited
from pinnace_agent.worker.hosting import Start
from pinnace_contract import codec, envelope, topics
from pinnace_contract.errors import ContractError
from pinnace_contract.ids import BootId, DeviceId, Digest, IncarnationId, ReceiptId, ReleaseId, digest_of
from pinnace_contract.latest import (
    Arm,
    Block,
    Cause,
    DroppedRange,
    EvidenceKind,
    Intent,
    Outcome,
    OutcomeCounts,
    Phase,
    Receipt,
    Release,
    Report,
    Reported,
)
from pinnace_sim.device import SimDevice
from pinnace_sim.journal import Journal
from pinnace_sim.watch import Told

_STARTS_CANDIDATE: Final = frozenset({Phase.SELF_TEST, *BESIDE_PHASES, *ACTIVATED_PHASES})


class Rule(StrEnum):
    """What was broken. Names are what a finding is called by; see ``docs/simulator.md``."""

    AGENT_FAILED = "agent_failed"
    UNSIGNED = "unsigned"
    BELOW_FLOOR = "below_floor"
    NOT_SAVED_FIRST = "not_saved_first"
    NOT_ISSUED = "not_issued"
    BACKWARDS = "backwards"
    FORGOTTEN = "forgotten"
    APPLIED_TWICE = "applied_twice"
    FLOOR = "floor"
    COMMIT_WITHOUT_RECEIPT = "commit_without_receipt"
    RECEIPT_UNTRUE = "receipt_untrue"
    BAD_KEPT = "bad_kept"
    TOO_MANY_STARTS = "too_many_starts"
    NO_MODEL = "no_model"
    PUBLISHED_UNPLANNED = "published_unplanned"
    BELIEF = "belief"
    CLONE = "clone"
    RECEIPT_LOST = "receipt_lost"
    REPORT_LOST = "report_lost"
    MISCOUNTED = "miscounted"
    NOT_CONVERGED = "not_converged"
    SERVER_FAILED = "server_failed"
    WAVE_TOO_EARLY = "wave_too_early"
    WAVE_UNAGREED = "wave_unagreed"
    TOLD_TOO_EARLY = "told_too_early"
    MOVED_IN_A_PAUSE = "moved_in_a_pause"
    OVER_BUDGET = "over_budget"
    ASKED_TWICE = "asked_twice"
    RULING_UNTRUE = "ruling_untrue"
    RAN_ON = "ran_on"
    KEPT_UNDECIDED = "kept_undecided"
    DECIDED_TOO_LATE = "decided_too_late"
    DECIDED_TOO_EARLY = "decided_too_early"
    SITE_MIXED = "site_mixed"
    SWITCHED_TOO_EARLY = "switched_too_early"
    STANDBY_UNLOADED = "standby_unloaded"
    OUTSIDE_WINDOW = "outside_window"
    TOO_FEW_HEALTHY = "too_few_healthy"


NOTHING_TOLD: Final = (0, 0, 0, 0)


class Violation(BaseException):
    """A rule was broken; nobody on the way catches it."""

    def __init__(self, rule: Rule, who: str, text: str) -> None:
        self.rule, self.who, self.text = rule, who, text
        super().__init__(f"{rule}: {who}: {text}")


@dataclass(slots=True)
class Starts:
    """Starts of one candidate that ended before a minute was over."""

    short: int = 0
    last_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The answers of one report by release, and when its window ended in virtual time; and what was told of them:
    trials and successes of outcomes, labelled answers of groups and the wrong ones."""

    at_s: float
    answers: Mapping[ReleaseId, int]
    told: tuple[int, ...] = NOTHING_TOLD


class Checks:
    """Looks on; implements ``watch.Watch``."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.signed: dict[ReleaseId, int] = {}  # and its security epoch
        self.names: dict[ReleaseId, str] = {}  # of versions
        self.issued: dict[tuple[DeviceId, int], frozenset[tuple[str, int, ReleaseId | None]]] = {}
        self._saved: dict[str, DeviceState] = {}
        self._had: set[tuple[str, str]] = set()
        self._said: dict[tuple[DeviceId, IncarnationId, int], Reported] = {}
        self._believed: dict[tuple[DeviceId, IncarnationId], int] = {}
        self._present: dict[tuple[DeviceId, IncarnationId], int] = {}
        self._starts: dict[tuple[str, int, int, Digest], Starts] = defaultdict(Starts)
        self.lost: set[ReceiptId] = set()  # with a server that was put back from a backup
        self.receipts: dict[str, dict[ReceiptId, Receipt]] = defaultdict(dict)
        self.reports: dict[str, dict[tuple[BootId, int], Counted]] = defaultdict(dict)
        self.kept_reports: dict[str, set[tuple[BootId, int]]] = defaultdict(set)
        self.serves: Callable[[SimDevice, ReleaseId], None] = lambda _device, _release: None
        self.moves: Callable[[SimDevice, Slot, Slot], None] = lambda _device, _old, _new: None

    # --- the device --------------------------------------------------------------------------------------------------

    def booted(self, device: SimDevice, state: DeviceState) -> None:
        """A run begins with what the disk gave back."""
        last = self._saved.get(device.name)
        if last is not None:
            have = (state.generation, state.receipts, state.connection)
            if any(now < then for now, then in zip(have, _numbers(last), strict=True)):
                raise Violation(
                    Rule.FORGOTTEN, device.name, f"{_numbers(last)} was saved, and the disk gave back {have}"
                )
        self._saved[device.name] = state
        for each in state.outbox:  # of a write that was durable when the power went, and not yet said to be
            self._receipt(device, each)
        for slot in state.slots:
            self._servable(device, slot)

    def saved(self, device: SimDevice, before: DeviceState, after: DeviceState) -> None:
        """A state is durable."""
        self._saved[device.name] = after
        self._grown(device, before, after)
        fresh = self._new_receipts(device, before, after)
        if after.refused.cause is not before.refused.cause:
            self._journal.write("refused", device.name, why=_words(after.refused))
        for slot in after.slots:
            old = before.slot(slot.model) or Slot(model=slot.model)
            if slot is old:
                continue
            self._moved(device, old, slot, fresh)
            if slot.current is not None:
                self._had.add((device.name, slot.model))
            self._kept(device, slot)
            self._tell_moves(device, old, slot)
            self.moves(device, old, slot)

    def starts(self, device: SimDevice, order: Start) -> None:
        """A worker starts."""
        self._journal.write("starts", device.name, model=order.model, version=self._version(order.release))
        epoch = self.signed.get(order.release)
        if epoch is None:
            raise Violation(Rule.UNSIGNED, device.name, f"release {order.release[:12]} starts, and nobody signed it")
        state = self._saved[device.name]
        slot = state.slot(order.model)
        if slot is None:
            raise Violation(Rule.NOT_SAVED_FIRST, device.name, f"{order.model} starts, and nothing of it is saved")
        if epoch < slot.floor:
            raise Violation(Rule.BELOW_FLOOR, device.name, f"epoch {epoch} starts, below the floor {slot.floor}")
        known = [slot.current, *slot.last_good, *slot.emergency_good, *slot.broken]
        work = slot.work
        if work is not None and work.candidate is not None and slot.phase in _STARTS_CANDIDATE:
            known.append(work.candidate.servable)
            if work.candidate.servable.is_same(order.release, order.variant):
                self._count_start(device, slot, order)
        if not any(each is not None and each.is_same(order.release, order.variant) for each in known):
            raise Violation(
                Rule.NOT_SAVED_FIRST, device.name, f"release {order.release[:12]} starts before that was saved"
            )

    def hears(self, device: SimDevice, event: Told) -> None:
        """A worker begins to serve, or is no more."""
        model, version = event.worker.model, self._version(event.worker.release)
        match event:
            case NowServing():
                self._journal.write("serves", device.name, model=model, version=version)
                self.serves(device, event.worker.release)
            case NowAnswering():
                self._journal.write("serves", device.name, model=model, version=version, arm=str(event.arm))
                self.serves(device, event.worker.release)
            case WorkerExited():
                self._journal.write("exited", device.name, model=model, version=version, why=str(event.cause))
                self._stands_by_no_more(device, event)
            case LoadFailed():
                self._journal.write("not_loaded", device.name, model=model, version=version, why=str(event.cause))

    def says(self, device: SimDevice, topic: topics.Topic, payload: bytes) -> None:
        """A device sends something."""
        if not isinstance(topic, topics.UpTopic) or topic.channel is not topics.Up.REPORTED:
            return
        said = envelope.unseal(Reported, payload, _anything)
        self._said[said.device, said.incarnation, said.seq] = said

    def spools(self, device: SimDevice, sealed: bytes) -> None:
        """A report is being written to the disk."""
        report = envelope.unseal(Report, sealed, _anything)
        counts: dict[ReleaseId, int] = {}
        told: tuple[int, ...] = NOTHING_TOLD
        for block in report.blocks:
            if block.arm is not Arm.SHADOW:  # its answers were given to nobody
                counts[block.release] = counts.get(block.release, 0) + block.n
                told = _plus(told, _told(block))
        counted = Counted(at_s=device.schedule.now_s, answers=counts, told=told)
        self.reports[device.name][report.boot, report.seq_to] = counted

    def spooled(self, device: SimDevice, report: DroppedRange) -> None:
        """A report is on the disk for good, and will be sent."""
        self.kept_reports[device.name].add((report.boot, report.seq_to))

    def failed(self, device: SimDevice, error: Exception) -> None:
        """The agent ended by an error of its own."""
        raise Violation(Rule.AGENT_FAILED, device.name, f"{type(error).__name__}: {error}") from error

    # --- the server --------------------------------------------------------------------------------------------------

    def published(self, device: DeviceId, generation: int, planned: int | None) -> None:
        """A set is on its way to a device; ``planned`` is what is in the database, None while that is not sure."""
        if planned is None or generation > planned:
            there = "what is planned is not in the database yet" if planned is None else f"{planned} is in the database"
            raise Violation(Rule.PUBLISHED_UNPLANNED, device, f"generation {generation} was sent, and {there}")

    def believes(self, device: DeviceId, incarnation: IncarnationId, seq: int, state: object) -> None:
        """The server took the word of one of a device's stores."""
        said = self._said.get((device, incarnation, seq))
        newest = self._believed.get((device, incarnation), 0)
        if seq < newest:
            raise Violation(Rule.BELIEF, device, f"the server believed statement {newest}, and now {seq}, an older one")
        self._believed[device, incarnation] = seq
        if said is None:
            raise Violation(Rule.BELIEF, device, f"the server believes a statement {seq} that was never made")
        if state not in said.models:
            raise Violation(Rule.BELIEF, device, f"the server believes of statement {seq} what it did not say")

    def present(self, device: DeviceId, incarnation: IncarnationId, connection: int) -> None:
        """The server took a birth or a will."""
        newest = self._present.get((device, incarnation), 0)
        if connection < newest:
            text = f"the server believed connection {newest}, and now {connection}, an older one"
            raise Violation(Rule.BELIEF, device, text)
        self._present[device, incarnation] = connection

    def restored(self, receipts: Set[ReceiptId], reports: Set[tuple[str, BootId, int]]) -> None:
        """The server was put back from a backup: it believes what it did then, and these are lost with the rest."""
        self._believed.clear()
        self._present.clear()
        self.lost |= receipts
        for name, boot, seq in reports:
            self.kept_reports[name].discard((boot, seq))

    # --- inside ------------------------------------------------------------------------------------------------------

    def _grown(self, device: SimDevice, before: DeviceState, after: DeviceState) -> None:
        if any(now < then for now, then in zip(_numbers(after), _numbers(before), strict=True)):
            raise Violation(Rule.BACKWARDS, device.name, f"{_numbers(before)} became {_numbers(after)}")
        if after.generation > before.generation and (device.id, after.generation) not in self.issued:
            raise Violation(
                Rule.NOT_ISSUED, device.name, f"it took generation {after.generation}, which was never issued to it"
            )

    def _stands_by_no_more(self, device: SimDevice, event: WorkerExited) -> None:
        """What the device says to be loaded for the way back is not stopped by the device itself."""
        slot = self._saved[device.name].slot(event.worker.model)
        standby = slot.standby if slot is not None else None
        if standby is None or not standby.warm or event.cause is not ExitCause.ORDERED:
            return
        if standby.servable.is_same(event.worker.release, event.worker.variant):
            text = f"{standby.servable.version} is unloaded, and it stands by for the way back"
            raise Violation(Rule.STANDBY_UNLOADED, device.name, text)

    def _moved(self, device: SimDevice, old: Slot, new: Slot, fresh: list[Receipt]) -> None:
        if new.generation < old.generation:
            raise Violation(Rule.BACKWARDS, device.name, f"generation {old.generation} became {new.generation}")
        begun = new.work is not None and (old.work is None or new.work.entry != old.work.entry)
        if begun and new.work is not None and old.ended is not None:
            entry = new.work.entry
            comes_back = old.lapsed is not None and old.lapsed.entry == entry  # its site committed after its lease
            if (entry.generation, entry.attempt) == (old.ended.generation, old.attempt) and not comes_back:
                raise Violation(Rule.APPLIED_TWICE, device.name, f"generation {entry.generation} is begun again")
        if new.floor != old.floor:
            epoch = new.current.epoch if new.current else -1
            if new.floor < old.floor or new.current == old.current or epoch != new.floor:
                raise Violation(Rule.FLOOR, device.name, f"the floor went from {old.floor} to {new.floor}")
        self._committed(device, old, new, fresh)

    def _committed(self, device: SimDevice, old: Slot, new: Slot, fresh: list[Receipt]) -> None:
        changed = new.current is not None and (
            old.current is None or not new.current.is_same(old.current.release, old.current.variant)
        )
        if not changed or new.current is None or new.current in (*old.last_good, *old.emergency_good, *old.broken):
            told = [each for each in fresh if each.model == new.model and each.outcome is Outcome.COMMITTED]
            if not changed:
                self._untrue(device, new, told)
            return
        told = [each for each in fresh if each.model == new.model and each.outcome is Outcome.COMMITTED]
        if not any(each.release == new.current.release for each in told):
            raise Violation(
                Rule.COMMIT_WITHOUT_RECEIPT, device.name, f"{new.current.version} is committed without a receipt"
            )

    def _untrue(self, device: SimDevice, new: Slot, told: list[Receipt]) -> None:
        for receipt in told:
            current = new.current.release if new.current else None
            if receipt.release != current and receipt.release is not None:
                raise Violation(Rule.RECEIPT_UNTRUE, device.name, f"{receipt.version} is said to be committed")

    def _new_receipts(self, device: SimDevice, before: DeviceState, after: DeviceState) -> list[Receipt]:
        old = {each.id for each in before.outbox}
        fresh = []
        for each in after.outbox:
            if each.id not in old:
                fresh += self._receipt(device, each)
        if before.outbox is not after.outbox:
            kept = {each.id for each in after.outbox}
            for done in (each for each in old if each not in kept):
                generation = self.receipts[device.name][done].generation
                self._journal.write("acknowledged", device.name, generation=generation)
        return fresh

    def _receipt(self, device: SimDevice, sealed: Sealed) -> list[Receipt]:
        """Note a receipt that is on the disk; return it unless it was known."""
        if sealed.id in self.receipts[device.name]:
            return []
        receipt = envelope.unseal(Receipt, sealed.sealed, _anything)
        self.receipts[device.name][sealed.id] = receipt
        self._tell_receipt(device, receipt)
        self._counted_right(device, receipt)
        return [receipt]

    def _counted_right(self, device: SimDevice, receipt: Receipt) -> None:
        evidence = receipt.evidence
        if evidence is None or evidence.kind is not EvidenceKind.LIVE or receipt.release is None:
            return
        answered = device.answered[receipt.release]
        if evidence.inferences > answered:
            text = f"{receipt.version} is said to have answered {evidence.inferences} times, and did {answered} times"
            raise Violation(Rule.RECEIPT_UNTRUE, device.name, text)

    def _tell_receipt(self, device: SimDevice, receipt: Receipt) -> None:
        evidence = receipt.evidence
        self._journal.write(
            "receipt",
            device.name,
            generation=receipt.generation,
            version="" if receipt.release is None else self._version(receipt.release),
            outcome=str(receipt.outcome),
            cause=str(receipt.cause),
            text=receipt.detail,
            active=receipt.active.version if receipt.active else "",
            evidence=f"{evidence.kind} {evidence.inferences}" if evidence else "",
        )

    def _tell_moves(self, device: SimDevice, old: Slot, new: Slot) -> None:
        if (old.phase, old.generation) != (new.phase, new.generation):
            generation, why = new.generation, _words(new.reason)
            self._journal.write(
                "phase", device.name, model=new.model, phase=str(new.phase), generation=generation, why=why
            )
        elif old.reason.cause is not new.reason.cause:
            self._journal.write("waits", device.name, model=new.model, phase=str(new.phase), why=_words(new.reason))
        if new.work is not None and new.work.contacted and not (old.work is not None and old.work.contacted):
            self._journal.write("contact", device.name, model=new.model)

    def _version(self, release: ReleaseId) -> str:
        return self.names.get(release, release[:12])

    def _kept(self, device: SimDevice, slot: Slot) -> None:
        bad = {(each.release, each.variant) for each in slot.bad if each.permanent}
        for good in slot.last_good:
            if (good.release, good.variant) in bad:
                raise Violation(Rule.BAD_KEPT, device.name, f"{good.version} failed here and is kept as good")

    def _servable(self, device: SimDevice, slot: Slot) -> None:
        if (device.name, slot.model) not in self._had:
            return
        removed = slot.work is not None and slot.work.entry.intent is Intent.REMOVE
        if slot.current is None:
            if not removed and slot.ended is None:
                raise Violation(Rule.NO_MODEL, device.name, f"{slot.model} had a model and has none")
            return
        for each in (slot.current, *slot.last_good):
            if not is_whole(device, each):
                raise Violation(
                    Rule.NO_MODEL, device.name, f"a file of {each.version}, which it may need, is not whole"
                )

    def _count_start(self, device: SimDevice, slot: Slot, order: Start) -> None:
        assert slot.work is not None
        entry, now_s = slot.work.entry, device.schedule.now_s
        starts = self._starts[device.name, entry.generation, entry.attempt, order.variant]
        if starts.last_s is not None and now_s - starts.last_s < 60.0:
            starts.short += 1
        starts.last_s = now_s
        most = entry.trial.starts + entry.trial.crashes_max
        if starts.short > most:
            raise Violation(
                Rule.TOO_MANY_STARTS, device.name, f"{starts.short} starts of one candidate ended within a minute"
            )


def is_whole(device: SimDevice, servable: Servable) -> bool:
    """Tell whether everything that serves a release is on a device's disk as it should be."""
    data = device.disk.read(f"releases/{servable.release}.json", 0, 1 << 30)
    if data is None or digest_of(data) != Digest(servable.release):
        return False
    try:
        release = codec.from_json(Release, data)
    except ContractError:
        return False
    variant = release.variant(servable.variant)
    if variant is None:
        return False
    for blob in release.blobs(variant):
        content = device.disk.read(f"{BLOBS}/{blob.digest}", 0, 1 << 30)
        if content is None or digest_of(content) != blob.digest:
            return False
    return True


def _words(reason: Reason) -> str:
    """Return a reason in a line; the empty line where there is nothing to say."""
    if reason.cause is Cause.NONE:
        return ""
    return f"{reason.cause}: {reason.detail}" if reason.detail else str(reason.cause)


def _numbers(state: DeviceState) -> tuple[int, int, int]:
    return state.generation, state.receipts, state.connection


def _anything(_keyid: object, _data: bytes, _signature: bytes) -> None:
    """Who looks on believes everybody: only what was really said matters."""


def _told(block: Block) -> tuple[int, ...]:
    outcome = block.outcome or OutcomeCounts()
    return (
        outcome.trials,
        outcome.successes,
        sum(each.n for each in block.groups),
        sum(each.errors for each in block.groups),
    )


def _plus(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
