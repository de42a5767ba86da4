"""What devices send, from bytes to facts: bounded, then verified, then read, then handed to whom it concerns.

A message that is not its device's is counted and told, and changes nothing. After the commit the device gets a signed
acknowledgement: the only thing on which it forgets what it sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from pinnace_contract import envelope, topics
from pinnace_contract.errors import ContractError
from pinnace_contract.ids import DeviceId, IncarnationId, KeyId, ReceiptId
from pinnace_contract.latest import Ack, CommandResult, Presence, Receipt, Report, Reported, ReportRange, Want
from pinnace_contract.topics import Down, DownTopic, ResultTopic, Up, UpTopic
from pinnace_server.domain.records import Device, DeviceState, Event, EventKind, Severity
from pinnace_server.errors import SignatureInvalid
from pinnace_server.service.hearing import Hearing
from pinnace_server.service.outcomes import Outcomes
from pinnace_server.service.ports import Delivery, World

ACK_LIFE_S: Final = 3600.0
REFUSALS_TOLD_EVERY_S: Final = (
    60.0  # one event per device and reason in this time: a broken device must not fill the log
)
REFUSALS_MAX: Final = 4096

_log = logging.getLogger(__name__)
M = TypeVar("M", Presence, Reported, Receipt, Report, Want, CommandResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestCounts:
    """Messages since the start."""

    taken: int = 0
    refused: int = 0


class Ingest:
    """Takes messages one at a time; for one thread."""

    def __init__(self, world: World, delivery: Delivery) -> None:
        self._world = world
        self._delivery = delivery
        self._hearing = Hearing(world)
        self._outcomes = Outcomes(world)
        self._taken = self._refused = 0
        self._told: dict[tuple[str, str], float] = {}

    def receive(self, topic: str, payload: bytes) -> None:
        """Take one message. What it says wrong is told in the log; only troubles of our own are raised."""
        try:
            parsed = topics.parse(topic)
        except ContractError as error:
            self._refuse(None, error.code, str(error))
            return
        if not isinstance(parsed, UpTopic | ResultTopic) or not payload:
            return  # our own words, or a retained message that was cleared
        try:
            self._dispatch(parsed, payload)
            self._taken += 1
        except ContractError as error:
            self._refuse(parsed.device, error.code, str(error))
        except SignatureInvalid as error:
            self._refuse(parsed.device, error.code, str(error))

    def counts(self) -> IngestCounts:
        """Return how many messages there were."""
        return IngestCounts(taken=self._taken, refused=self._refused)

    def _dispatch(self, topic: UpTopic | ResultTopic, payload: bytes) -> None:
        device = self._device(topic.device)
        if isinstance(topic, ResultTopic):
            self._opened(CommandResult, device, payload)  # commands come with a later issue; only the check is due
            return
        match topic.channel:
            case Up.STATE:
                self._hearing.presence(self._opened(Presence, device, payload))
            case Up.REPORTED:
                self._hearing.reported(self._opened(Reported, device, payload))
            case Up.RECEIPT:
                receipt = self._opened(Receipt, device, payload)
                self._outcomes.receipt(receipt, payload)
                self._acknowledge(receipt.device, receipt.incarnation, receipts=(receipt.id,))
            case Up.REPORT:
                report = self._opened(Report, device, payload)
                if not self._outcomes.report(report, payload):
                    return
                covered = ReportRange(boot=report.boot, seq_from=report.seq_from, seq_to=report.seq_to)
                self._acknowledge(report.device, report.incarnation, reports=(covered,))
            case Up.WANT:
                want = self._opened(Want, device, payload)
                if want.incarnation == device.incarnation:
                    self._delivery.wanted(want)

    def _device(self, name: DeviceId) -> Device:
        with self._world.store.read() as tables:
            device = tables.devices.get(name)
        if device is None:
            raise SignatureInvalid("no device of this name is enrolled here")
        if device.state is DeviceState.DECOMMISSIONED:
            raise SignatureInvalid("the device was decommissioned")
        return device

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
        self._world.publisher.publish(DownTopic(device=device, channel=Down.ACK), sealed)

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
