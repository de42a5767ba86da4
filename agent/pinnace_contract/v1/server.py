"""What the server says besides assignments: acknowledgements and commands, signed with its message key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pinnace_contract.fields import count, limited
from pinnace_contract.ids import BootId, CommandId, DeviceId, IncarnationId, ReceiptId
from pinnace_contract.v1.enums import CommandKind, CommandStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRange:
    """Reports of one boot that are in the server's database."""

    boot: BootId
    seq_from: int = count()
    seq_to: int = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Sent after the database commit; the only thing on which a device deletes its outbox and spool."""

    KIND: ClassVar[str] = "ack"
    BYTES_MAX: ClassVar[int] = 32 * 1024

    device: DeviceId
    incarnation: IncarnationId
    receipts: tuple[ReceiptId, ...] = limited((), largest=128)
    reports: tuple[ReportRange, ...] = limited((), largest=256)
    at_s: float = count()
    expires_s: float = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A request to one incarnation of a device; ``command`` is the idempotency key."""

    KIND: ClassVar[str] = "command"
    BYTES_MAX: ClassVar[int] = 8 * 1024

    device: DeviceId
    incarnation: IncarnationId
    command: CommandId
    kind: CommandKind
    argument: str = limited("", chars=4096)
    expires_s: float = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """What became of a command."""

    KIND: ClassVar[str] = "command-result"
    BYTES_MAX: ClassVar[int] = 384 * 1024

    device: DeviceId
    incarnation: IncarnationId
    seq: int = count()
    command: CommandId
    status: CommandStatus
    detail: str = limited("", chars=1024)
    text: str = limited("", chars=256 * 1024)
    at_s: float = count()
