"""Receipts and reports."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Final

from pinnace_contract.ids import BootId, DeviceId, IncarnationId, ModelName, ReceiptId, ReleaseId, VersionName
from pinnace_contract.latest import Arm, Receipt
from pinnace_server.domain import telemetry
from pinnace_server.domain.queries import UNCOUNTED_MAX, Listing, Page, ReceiptQuery
from pinnace_server.domain.records import Counts, Minute, ReceiptRecord, ReceivedRange
from pinnace_server.domain.stretches import Stretch
from pinnace_sim.memory.lists import cut
from pinnace_sim.memory.tables import Disk, MinuteKey, RawReport

_NOTHING: Final = Counts()
_received_at_s: Final = attrgetter("received_at_s")


class MemoryReceipts:
    """``ports.Receipts``."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def get(self, receipt: ReceiptId) -> ReceiptRecord | None:
        return self._disk.receipts.get(receipt)

    def of_counter(self, device: DeviceId, incarnation: IncarnationId, counter: int) -> ReceiptRecord | None:
        receipt = self._disk.receipt_of_counter.get((device, incarnation, counter))
        return None if receipt is None else self._disk.receipts[receipt]

    def has_later(self, receipt: Receipt) -> bool:
        key = (receipt.device, receipt.incarnation, receipt.model, receipt.generation)
        return self._disk.last_counter.get(key, receipt.counter) > receipt.counter

    def add(self, receipt: ReceiptRecord) -> None:
        disk, undo, body = self._disk, self._disk.undo, receipt.body
        disk.need_device(body.device)
        if receipt.id in disk.receipts:
            raise undo.violated(f"the receipt {receipt.id} is there already")
        undo.put(disk.receipts, receipt.id, receipt)
        counter = (body.device, body.incarnation, body.counter)
        if counter not in disk.receipt_of_counter:  # of two with one counter the first counts
            undo.put(disk.receipt_of_counter, counter, receipt.id)
        of = (body.device, body.incarnation, body.model, body.generation)
        undo.put(disk.last_counter, of, max(body.counter, disk.last_counter.get(of, body.counter)))
        if body.release is not None:
            tried = (body.release, body.device)
            undo.put(disk.attempts, tried, max(body.attempt, disk.attempts.get(tried, body.attempt)))

    def listing(self, query: ReceiptQuery) -> Listing[ReceiptRecord]:
        found = [
            each
            for each in self._disk.receipts.values()
            if (query.device is None or each.body.device == query.device)
            and (query.model is None or each.body.model == query.model)
            and (query.version is None or each.body.version == query.version)
            and (query.outcome is None or each.body.outcome is query.outcome)
        ]
        return cut(sorted(found, key=lambda each: (-each.received_at_s, each.id)), query.page)

    def attempts(self, devices: Iterable[DeviceId], release: ReleaseId) -> Mapping[DeviceId, int]:
        asked = ((device, self._disk.attempts.get((release, device))) for device in sorted(set(devices)))
        return {device: attempt for device, attempt in asked if attempt is not None}

    def count(self, device: DeviceId, incarnation: IncarnationId) -> Sequence[Receipt]:
        found = [
            each
            for each in self._disk.receipts.values()
            if each.body.device == device and each.body.incarnation == incarnation and not each.counted
        ]
        newest = sorted(found, key=lambda each: (-each.body.counter, each.id))[:UNCOUNTED_MAX]
        of_counter = self._disk.receipt_of_counter
        first = [each for each in reversed(newest) if of_counter[device, incarnation, each.body.counter] == each.id]
        for each in first:
            self._disk.undo.put(self._disk.receipts, each.id, replace(each, counted=True))
        return [each.body for each in first]

    def outcomes(self, model: ModelName) -> Mapping[tuple[VersionName, str], int]:
        found: dict[tuple[VersionName, str], int] = {}
        for each in self._disk.receipts.values():
            if each.counted and each.body.model == model and each.body.version:
                key = (each.body.version, each.body.outcome.value)
                found[key] = found.get(key, 0) + 1
        return {key: found[key] for key in sorted(found)}


class MemoryReports:
    """``ports.Reports``."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def ranges(self, device: DeviceId, boot: BootId) -> Sequence[ReceivedRange]:
        return self._disk.ranges.get((device, boot), ())

    def add_range(self, received: ReceivedRange) -> None:
        self._disk.need_device(received.device)
        after = telemetry.joined([*self.ranges(received.device, received.boot), received])
        in_order = tuple(sorted(after, key=lambda each: (each.seq_from, each.dropped)))
        self._disk.undo.put(self._disk.ranges, (received.device, received.boot), in_order)

    def received(self, page: Page, device: DeviceId | None = None) -> Listing[ReceivedRange]:
        keys = sorted(key for key in self._disk.ranges if device is None or key[0] == device)
        return cut([each for key in keys for each in self._disk.ranges[key]], page)

    def merge(self, minute: Minute) -> None:
        disk, undo = self._disk, self._disk.undo
        disk.need_device(minute.device)
        rows = disk.minutes.get(minute.minute)
        if rows is None:
            undo.put(disk.minutes, minute.minute, rows := {})
            undo.insert(disk.minute_numbers, minute.minute)
        key = (minute.device, minute.model, minute.release, minute.variant, minute.arm)
        had = rows.get(key)
        now = telemetry.merged(had, minute) if had is not None else minute
        now = replace(now, latency={index: now.latency[index] for index in sorted(now.latency) if now.latency[index]})
        undo.put(rows, key, now)
        if minute.arm is Arm.SHADOW:
            return  # nobody was given these answers
        more = telemetry.counts_of(now)
        self._total(now, more if had is None else more.minus(telemetry.counts_of(had)))

    def minutes(self, device: DeviceId, model: ModelName | None, minute_from: int, minute_to: int) -> Sequence[Minute]:
        of_all = self.fleet_minutes(minute_from, minute_to, model)
        return [each for each in of_all if each.device == device]

    def fleet_minutes(self, minute_from: int, minute_to: int, model: ModelName | None = None) -> Iterator[Minute]:
        numbers = self._disk.minute_numbers
        for minute in numbers[bisect_left(numbers, minute_from) : bisect_right(numbers, minute_to)]:
            rows = self._disk.minutes[minute]
            yield from (rows[key] for key in sorted(rows, key=_model_first) if model is None or key[1] == model)

    def counts(self, devices: Iterable[DeviceId], release: ReleaseId) -> Counts:
        total = _NOTHING
        for device in dict.fromkeys(devices):
            of_device = self._disk.totals.get((release, device))
            if of_device is not None:
                total = total.plus(of_device)
        return total

    def answered(self, device: DeviceId, minute_from: int, minute_to: int) -> Mapping[ModelName, Counts]:
        found: dict[ModelName, Counts] = {}
        for minute in self.minutes(device, None, minute_from, minute_to):
            if minute.arm is not Arm.SHADOW:
                counted = Counts(n=minute.n, errors=sum(minute.errors.values()))
                found[minute.model] = found.get(minute.model, Counts()).plus(counted)
        return {model: found[model] for model in sorted(found)}

    def stretch(self, device: DeviceId, model: ModelName, release: ReleaseId, arm: Arm, number: int) -> Stretch | None:
        return self._disk.stretches.get(device, {}).get((model, number, release, arm))

    def save_stretch(self, stretch: Stretch) -> None:
        disk, undo = self._disk, self._disk.undo
        disk.need_device(stretch.device)
        rows = disk.stretches.get(stretch.device)
        if rows is None:
            undo.put(disk.stretches, stretch.device, rows := {})
        undo.put(rows, (stretch.model, stretch.number, stretch.release, stretch.arm), stretch)

    def stretches(
        self, devices: Iterable[DeviceId], model: ModelName, number_from: int, number_to: int
    ) -> Sequence[Stretch]:
        return [
            rows[key]
            for device in sorted(set(devices))
            for rows in [self._disk.stretches.get(device, {})]
            for key in sorted(rows)
            if key[0] == model and number_from <= key[1] <= number_to
        ]

    def keep_raw(self, device: DeviceId, boot: BootId, seq: int, received_at_s: float, envelope: bytes) -> None:
        self._disk.need_device(device)
        kept = [each for each in self._disk.raw.get(device, ()) if each.seq != seq or each.boot != boot]
        came = RawReport(boot=boot, seq=seq, received_at_s=received_at_s, envelope=envelope)
        insort(kept, came, key=_received_at_s)
        if len(kept) > telemetry.RAW_PER_DEVICE_MAX:
            oldest = kept[-telemetry.RAW_PER_DEVICE_MAX].received_at_s
            kept = [each for each in kept if each.received_at_s >= oldest]
        self._disk.undo.put(self._disk.raw, device, tuple(kept))

    def count_arrival(self, device: DeviceId, number: int, reports: int) -> None:
        disk, undo = self._disk, self._disk.undo
        disk.need_device(device)
        rows = disk.arrivals.get(device)
        if rows is None:
            undo.put(disk.arrivals, device, rows := {})
        undo.put(rows, number, rows.get(number, 0) + reports)

    def arrivals(
        self, devices: Iterable[DeviceId], number_from: int, number_to: int
    ) -> Mapping[DeviceId, Mapping[int, int]]:
        found = {
            device: {n: reports for n, reports in rows.items() if number_from <= n <= number_to}
            for device in sorted(set(devices))
            if (rows := self._disk.arrivals.get(device))
        }
        return {device: rows for device, rows in found.items() if rows}

    def prune(self, *, minute_before: int, stretch_before: int, raw_before_s: float) -> int:
        gone = self._prune_minutes(minute_before) + self._prune_stretches(stretch_before)
        return gone + self._prune_raw(raw_before_s)

    def _prune_stretches(self, before: int) -> int:
        gone = 0
        for rows in self._disk.stretches.values():
            for key in [key for key in rows if key[1] < before]:
                self._disk.undo.drop(rows, key)
                gone += 1
        for counted in self._disk.arrivals.values():
            for number in [number for number in counted if number < before]:
                self._disk.undo.drop(counted, number)
                gone += 1
        return gone

    def _prune_minutes(self, before: int) -> int:
        disk, gone = self._disk, 0
        older = bisect_left(disk.minute_numbers, before)
        for number in disk.undo.cut(disk.minute_numbers, older) if older else ():
            for minute in disk.minutes[number].values():
                if minute.arm is not Arm.SHADOW:
                    self._total(minute, _NOTHING.minus(telemetry.counts_of(minute)))
                gone += 1
            disk.undo.drop(disk.minutes, number)
        return gone

    def _prune_raw(self, before_s: float) -> int:
        gone = 0
        for device, had in self._disk.raw.items():
            if had and had[0].received_at_s < before_s:
                kept = tuple(each for each in had if each.received_at_s >= before_s)
                gone += len(had) - len(kept)
                self._disk.undo.put(self._disk.raw, device, kept)
        return gone

    def _total(self, of: Minute, more: Counts) -> None:
        key = (of.release, of.device)
        self._disk.undo.put(self._disk.totals, key, self._disk.totals.get(key, _NOTHING).plus(more))


def _model_first(key: MinuteKey) -> tuple[str, str, str, str, str]:
    device, model, release, variant, arm = key
    return model, release, variant, arm, device
