"""When a device served a version, from what it said in its receipts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pinnace_contract.ids import DeviceId, VersionName
from pinnace_contract.latest import Outcome, Receipt
from pinnace_server.domain.records import ReceiptRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """A stretch of time in which a device served a version, of the device's own clock and of when the server learnt.

    ``until_s`` None: no receipt says that it left. ``left_for`` None beside a time: it serves nothing any more.
    """

    device: DeviceId
    version: VersionName
    since_s: float
    since_device_s: float
    until_s: float | None = None
    until_device_s: float | None = None
    left_for: VersionName | None = None


def stays(receipts: Sequence[ReceiptRecord]) -> list[Stay]:
    """Return where one device was with one model, oldest first. Receipts that do not count are left out.

    A store numbers its receipts, so inside one the number is the order, however late one of them came.
    """
    found: list[Stay] = []
    for record in _ordered(receipts):
        receipt = record.body
        now = _serves(receipt)
        last = found[-1] if found and found[-1].until_s is None else None
        if last is not None and last.version == now:
            continue
        if last is not None:
            found[-1] = Stay(
                device=last.device,
                version=last.version,
                since_s=last.since_s,
                since_device_s=last.since_device_s,
                until_s=record.received_at_s,
                until_device_s=receipt.at_s,
                left_for=now,
            )
        if now is not None:
            found.append(
                Stay(
                    device=receipt.device,
                    version=now,
                    since_s=record.received_at_s,
                    since_device_s=receipt.at_s,
                )
            )
    return found


def _ordered(receipts: Sequence[ReceiptRecord]) -> list[ReceiptRecord]:
    counted = [each for each in receipts if each.counted]
    begun: dict[str, float] = {}
    for each in counted:
        store = each.body.incarnation
        begun[store] = min(begun.get(store, each.received_at_s), each.received_at_s)
    return sorted(counted, key=lambda each: (begun[each.body.incarnation], each.body.incarnation, each.body.counter))


def _serves(receipt: Receipt) -> VersionName | None:
    """Return what a device serves after the assignment that a receipt is about."""
    if receipt.outcome is Outcome.COMMITTED:
        return receipt.version if receipt.release is not None else None
    return receipt.active.version if receipt.active is not None else None
