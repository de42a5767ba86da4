"""What devices send, from bytes to facts: bounded, then verified, then read, then handed to whom it concerns.

A message that is not its device's is counted and told, and changes nothing. Messages that wait are taken together and
committed at once, because the disk takes as long for one as for a hundred. After the commit each device gets a signed
acknowledgement: the only thing on which it forgets what it sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeAlias, TypeVar

from pinnace_contract import envelope, topics
from pinnace_contract.errors import ContractError
from pinnace_contract.ids import DeviceId, IncarnationId, KeyId, ReceiptId
from pinnace_contract.latest import Ack, CommandResult, Presence, Receipt, Report, Reported, ReportRange, Want
from pinnace_contract.topics import Down, DownTopic, ResultTopic, Up, UpTopic
from pinnace_server.domain.records import Device, DeviceState, Event, EventKind, Severity
from pinnace_server.errors import SignatureInvalid, Unavailable
from pinnace_server.service.hearing import Hearing
from pinnace_server.service.outcomes import Outcomes
from pinnace_server.service.ports import Changes, Delivery, Tables, World
from pinnace_server.service.reminding import Reminder

ACK_LIFE_S: Final = 3600.0
REFUSALS_TOLD_EVERY_S: Final = (
    60.0  # one event per device and reason in this time: a broken device must not fill the log
)
REFUSALS_MAX: Final = 4096

_log = logging.getLogger(__name__)
_Work: TypeAlias = Callable[[], None]
M = TypeVar("M", Presence, Reported, Receipt, Report, Want, CommandResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestCounts:
    """Messages since the start."""

    taken: int = 0
    refused: int = 0
    failed: int = 0


class _Held:
    """``ports.Changes`` that are told after the commit, each once."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._topics: dict[str, None] = {}

    def notify(self, topics: Iterable[str]) -> None:
        self._topics.update(dict.fromkeys(topics))

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        return self._changes.subscribe(listener)

    def release(self, *, told: bool) -> None:
        """Tell what was held, or forget it: nothing of it came to be."""
        topics, self._topics = self._topics, {}
        if told and topics:
            self._changes.notify(topics)


class Ingest:
    """Takes messages in the order in which they are given; for one thread."""

    def __init__(self, world: World, delivery: Delivery) -> None:
        self._held = _Held(world.changes)
        self._world = replace(world, changes=self._held)
        self._delivery = delivery
        self._hearing = Hearing(self._world)
        self._outcomes = Outcomes(self._world)
        self._reminder = Reminder(self._world)
        self._taken = self._refused = self._failed = 0
        self._told: dict[tuple[str, str], float] = {}
        self._after: list[Callable[[], None]] = []

    def receive(self, topic: str, payload: bytes) -> None:
        """Take one message. What it says wrong is told in the log; only troubles of our own are raised."""
        self._carry_out([work for _, work in self._read([(topic, payload)])])

    def receive_all(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Take messages and commit them together. One that cannot be handled leaves the others alone, and is logged.

        Raises:
            Unavailable: they could not be committed, and nothing of any of them was kept. Give them again.
        """
        self._carry_out([partial(self._guarded, topic, work) for topic, work in self._read(messages)])

    def _carry_out(self, works: Sequence[_Work]) -> None:
        """Do what messages ask for in one commit, and then, or not at all, what follows from it."""
        whole = False
        try:
            if works:
                with self._world.store.together():
                    for work in works:
                        work()
            whole = True
        finally:
            after, self._after = self._after, []
            self._held.release(told=whole)
        for follow in after:
            follow()

    def _guarded(self, topic: str, work: _Work) -> None:
        try:
            work()
        except Unavailable:  # no message's fault: nothing is to be lost for it
            raise
        except Exception:  # a bug, or a row that cannot be: its own writes were undone
            self._failed += 1
            _log.exception("a message on %s failed", topic[:200])

    def counts(self) -> IngestCounts:
        """Return how many messages there were."""
        return IngestCounts(taken=self._taken, refused=self._refused, failed=self._failed)

    # --- from bytes to what is to be done: nobody who writes has to wait for it --------------------------------------

    def _read(self, messages: Iterable[tuple[str, bytes]]) -> list[tuple[str, _Work]]:
        works: list[tuple[str, _Work]] = []
        with self._world.store.read() as tables:
            for topic, payload in messages:
                work = self._read_one(tables, topic, payload)
                if work is not None:
                    works.append((topic, work))
        return works

    def _read_one(self, tables: Tables, topic: str, payload: bytes) -> _Work | None:
        try:
            parsed = topics.parse(topic)
        except ContractError as error:
            return partial(self._refuse, None, error.code, str(error))
        if not isinstance(parsed, UpTopic | ResultTopic) or not payload:
            return None  # our own words, or a retained message that was cleared
        try:
            work = self._understood(_speaker(tables, parsed.device), parsed, payload)
        except (ContractError, SignatureInvalid) as error:
            return partial(self._refuse, parsed.device, error.code, str(error))
        self._taken += 1
        return work

    def _understood(self, device: Device, topic: UpTopic | ResultTopic, payload: bytes) -> _Work | None:
        if isinstance(topic, ResultTopic):
            self._opened(CommandResult, device, payload)  # commands come with a later issue; only the check is due
            return None
        match topic.channel:
            case Up.STATE:
                return partial(self._hearing.presence, self._opened(Presence, device, payload))
            case Up.REPORTED:
                return partial(self._reported, self._opened(Reported, device, payload))
            case Up.RECEIPT:
                return partial(self._receipt, self._opened(Receipt, device, payload), payload)
            case Up.REPORT:
                return partial(self._report, self._opened(Report, device, payload), payload)
            case Up.WANT:
                want = self._opened(Want, device, payload)
                if want.incarnation == device.incarnation:
                    self._after.append(partial(self._delivery.wanted, want))
                return None

    def _opened(self, kind: type[M], device: Device, payload: bytes) -> M:
        message = envelope.unseal(kind, payload, self._verifier(device))
        if message.device != device.id:
            raise SignatureInvalid(f"the message is about device {message.device}, and came on {device.id}'s topic")
        return message

    def _verifier(self, device: Device) -> Callable[[KeyId, bytes, bytes], None]:
        def verify(keyid: KeyId, signed_bytes: bytes, signature: bytes) -> None:
            if keyid != device.key:
                raise SignatureInvalid("the message is signed with a key that is not the device's")
            self._world.device_keys.check(device.public_key_pem, signed_bytes, signature)

        return verify

    # --- what is done ------------------------------------------------------------------------------------------------

    def _reported(self, reported: Reported) -> None:
        self._hearing.reported(reported)
        if self._reminder.is_due(reported):
            self._after.append(partial(self._reminder.remind, reported.device))

    def _receipt(self, receipt: Receipt, sealed: bytes) -> None:
        self._outcomes.receipt(receipt, sealed)
        self._acknowledge(receipt.device, receipt.incarnation, receipts=(receipt.id,))

    def _report(self, report: Report, sealed: bytes) -> None:
        if self._outcomes.report(report, sealed):
            covered = ReportRange(boot=report.boot, seq_from=report.seq_from, seq_to=report.seq_to)
            self._acknowledge(report.device, report.incarnation, reports=(covered,))

    def _acknowledge(
        self,
        device: DeviceId,
        incarnation: IncarnationId,
        *,
        receipts: tuple[ReceiptId, ...] = (),
        reports: tuple[ReportRange, ...] = (),
    ) -> None:
        now = self._world.clock.now()
        ack = Ack(
            device=device,
            incarnation=incarnation,
            receipts=receipts,
            reports=reports,
            at_s=now,
            expires_s=now + ACK_LIFE_S,
        )
        sealed = envelope.seal(ack, self._world.signing.message_key().keyid, self._world.signing.sign_message)
        topic = DownTopic(device=device, channel=Down.ACK)
        self._after.append(lambda: self._world.publisher.publish(topic, sealed))

    def _is_known(self, device: DeviceId) -> bool:
        with self._world.store.read() as tables:
            return tables.devices.get(device) is not None

    def _refuse(self, device: DeviceId | None, code: str, problem: str) -> None:
        self._refused += 1
        now = self._world.clock.now()
        known = device if device and self._is_known(device) else None  # anybody can make names up, without end
        key = (known or "", code)
        if now - self._told.get(key, -REFUSALS_TOLD_EVERY_S) < REFUSALS_TOLD_EVERY_S:
            return
        if len(self._told) >= REFUSALS_MAX:
            self._told.clear()
        self._told[key] = now
        _log.warning("a message of %s was refused: %s", device or "nobody", problem)
        with self._world.store.write() as tables:
            tables.events.append(
                Event(
                    at_s=now,
                    kind=EventKind.MESSAGE_REFUSED,
                    actor=f"device:{device}" if device else "unknown",
                    summary=f"a message was refused: {problem[:300]}",
                    severity=Severity.WARNING,
                    device=known,
                    data={"code": code, "claimed": device or ""},
                )
            )
        self._world.changes.notify(["events"])


def _speaker(tables: Tables, name: DeviceId) -> Device:
    device = tables.devices.get(name)
    if device is None:
        raise SignatureInvalid("no device of this name is enrolled here")
    if device.state is DeviceState.DECOMMISSIONED:
        raise SignatureInvalid("the device was decommissioned")
    return device
