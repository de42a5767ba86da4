"""Receipts and reports as rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, delete, select, update

from pinnace_contract.ids import BootId, DeviceId, Digest, IncarnationId, ModelName, ReceiptId, ReleaseId, VersionName
from pinnace_contract.latest import Arm, Receipt
from pinnace_server.db import spelling
from pinnace_server.db.batches import in_batches
from pinnace_server.db.rows import Rows, marks, run
from pinnace_server.db.spelling import Stored, there
from pinnace_server.db.tables import ArrivalRow, MinuteRow, RangeRow, RawReportRow, ReceiptRow, StretchRow
from pinnace_server.domain import telemetry
from pinnace_server.domain.gates.evidence import Counts as Trials
from pinnace_server.domain.gates.streams import Tally
from pinnace_server.domain.packed_histogram import PackedHistogram
from pinnace_server.domain.queries import UNCOUNTED_MAX, Listing, Page, ReceiptQuery
from pinnace_server.domain.records import Counts, Minute, ReceiptRecord, ReceivedRange
from pinnace_server.domain.stretches import Stretch

_RECEIPTS: Final = Rows(ReceiptRow)
_RANGES: Final = Rows(RangeRow)
_MINUTES: Final = Rows(MinuteRow)
_STRETCHES: Final = Rows(StretchRow)
_RAW: Final = Rows(RawReportRow)
_COUNT_ARRIVAL: Final = (
    "INSERT INTO arrivals (device, number, reports) VALUES (?, ?, ?) "
    "ON CONFLICT (device, number) DO UPDATE SET reports = reports + excluded.reports"
)
_ARRIVALS: Final = "SELECT device, number, reports FROM arrivals WHERE number BETWEEN ? AND ?"


class SqlReceipts:
    """``ports.Receipts``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, receipt: ReceiptId) -> ReceiptRecord | None:
        row = _RECEIPTS.get(self._session, receipt)
        return _receipt(row) if row else None

    def of_counter(self, device: DeviceId, incarnation: IncarnationId, counter: int) -> ReceiptRecord | None:
        of_counter = "device = ? AND incarnation = ? AND counter = ? LIMIT 1"
        rows = _RECEIPTS.where(self._session, of_counter, device, incarnation, counter)
        return _receipt(rows[0]) if rows else None

    def has_later(self, receipt: Receipt) -> bool:
        later = "device = ? AND incarnation = ? AND counter > ? AND model = ? AND generation = ? LIMIT 1"
        of = (receipt.device, receipt.incarnation, receipt.counter, receipt.model, receipt.generation)
        return bool(_RECEIPTS.where(self._session, later, *of))

    def add(self, receipt: ReceiptRecord) -> None:
        body = receipt.body
        _RECEIPTS.add(
            self._session,
            id=receipt.id,
            device=body.device,
            incarnation=body.incarnation,
            counter=body.counter,
            model=body.model,
            version=body.version,
            release=body.release,
            generation=body.generation,
            attempt=body.attempt,
            outcome=body.outcome.value,
            cause=body.cause.value,
            body=spelling.body(Stored(receipt=body)),
            envelope=receipt.envelope,
            received_at_s=receipt.received_at_s,
            counted=receipt.counted,
        )

    def listing(self, query: ReceiptQuery) -> Listing[ReceiptRecord]:
        where: list[ColumnElement[bool]] = []
        if query.device is not None:
            where.append(col(ReceiptRow.device) == query.device)
        if query.model is not None:
            where.append(col(ReceiptRow.model) == query.model)
        if query.version is not None:
            where.append(col(ReceiptRow.version) == query.version)
        if query.outcome is not None:
            where.append(col(ReceiptRow.outcome) == query.outcome.value)
        total = self._session.exec(select(func.count()).select_from(ReceiptRow).where(*where)).one()
        rows = self._session.exec(
            select(ReceiptRow)
            .where(*where)
            .order_by(col(ReceiptRow.received_at_s).desc(), col(ReceiptRow.id))
            .limit(query.page.limit)
            .offset(query.page.offset)
        )
        return Listing(rows=tuple(_receipt(row) for row in rows), total=total)

    def attempts(self, devices: Iterable[DeviceId], release: ReleaseId) -> Mapping[DeviceId, int]:
        found: dict[DeviceId, int] = {}
        for some in in_batches(devices):
            for device, attempt in self._session.exec(
                select(ReceiptRow.device, func.max(ReceiptRow.attempt))
                .where(col(ReceiptRow.release) == release, col(ReceiptRow.device).in_(some))
                .group_by(col(ReceiptRow.device))
            ):
                found[DeviceId(device)] = attempt
        return found

    def count(self, device: DeviceId, incarnation: IncarnationId) -> Sequence[Receipt]:
        uncounted = f"device = ? AND incarnation = ? AND NOT counted ORDER BY counter DESC, id LIMIT {UNCOUNTED_MAX}"
        found = [_receipt(row) for row in _RECEIPTS.where(self._session, uncounted, device, incarnation)]
        first = [each for each in reversed(found) if self._is_first(each)]
        for some in in_batches(each.id for each in first):
            self._session.exec(update(ReceiptRow).where(col(ReceiptRow.id).in_(some)).values(counted=True))
        return [each.body for each in first]

    def _is_first(self, receipt: ReceiptRecord) -> bool:
        of_counter = self.of_counter(receipt.body.device, receipt.body.incarnation, receipt.body.counter)
        return of_counter is not None and of_counter.id == receipt.id

    def outcomes(self, model: ModelName) -> Mapping[tuple[VersionName, str], int]:
        found = self._session.exec(
            select(ReceiptRow.version, ReceiptRow.outcome, func.count())
            .where(col(ReceiptRow.model) == model, col(ReceiptRow.counted), col(ReceiptRow.version).is_not(None))
            .group_by(col(ReceiptRow.version), col(ReceiptRow.outcome))
        )
        return {(VersionName(version), outcome): n for version, outcome, n in found if version}


class SqlReports:
    """``ports.Reports``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def ranges(self, device: DeviceId, boot: BootId) -> Sequence[ReceivedRange]:
        rows = _RANGES.where(self._session, "device = ? AND boot = ? ORDER BY seq_from, dropped", device, boot)
        return [
            ReceivedRange(device=device, boot=boot, seq_from=row.seq_from, seq_to=row.seq_to, dropped=row.dropped)
            for row in rows
        ]

    def add_range(self, received: ReceivedRange) -> None:
        """Add numbers, joined with those next to them, so that a boot without gaps is one row."""
        before = self.ranges(received.device, received.boot)
        after = telemetry.joined([*before, received])
        for gone in set(before) - set(after):
            _RANGES.delete(
                self._session,
                "device = ? AND boot = ? AND dropped = ? AND seq_from = ?",
                gone.device,
                gone.boot,
                gone.dropped,
                gone.seq_from,
            )
        for new in set(after) - set(before):
            _RANGES.put(
                self._session,
                device=new.device,
                boot=new.boot,
                dropped=new.dropped,
                seq_from=new.seq_from,
                seq_to=new.seq_to,
            )

    def received(self, page: Page, device: DeviceId | None = None) -> Listing[ReceivedRange]:
        where = [col(RangeRow.device) == device] if device is not None else []
        total = self._session.exec(select(func.count()).select_from(RangeRow).where(*where)).one()
        in_order = (RangeRow.device, RangeRow.boot, RangeRow.seq_from, RangeRow.dropped)
        rows = self._session.exec(
            select(RangeRow)
            .where(*where)
            .order_by(*(col(column) for column in in_order))
            .limit(page.limit)
            .offset(page.offset)
        )
        return Listing(
            rows=tuple(
                ReceivedRange(
                    device=DeviceId(row.device),
                    boot=BootId(row.boot),
                    seq_from=row.seq_from,
                    seq_to=row.seq_to,
                    dropped=row.dropped,
                )
                for row in rows
            ),
            total=total,
        )

    def merge(self, minute: Minute) -> None:
        key = (minute.device, minute.model, minute.release, minute.variant, minute.arm.value, minute.minute)
        row = _MINUTES.get(self._session, *key)
        _put_minute(self._session, telemetry.merged(_minute(row), minute) if row else minute)

    def minutes(self, device: DeviceId, model: ModelName | None, minute_from: int, minute_to: int) -> Sequence[Minute]:
        where = [col(MinuteRow.device) == device, col(MinuteRow.minute).between(minute_from, minute_to)]
        if model is not None:
            where.append(col(MinuteRow.model) == model)
        in_order = (MinuteRow.minute, MinuteRow.model, MinuteRow.release, MinuteRow.variant, MinuteRow.arm)
        rows = self._session.exec(select(MinuteRow).where(*where).order_by(*(col(column) for column in in_order)))
        return [_minute(row) for row in rows]

    def fleet_minutes(self, minute_from: int, minute_to: int, model: ModelName | None = None) -> Iterable[Minute]:
        where: list[ColumnElement[bool]] = [col(MinuteRow.minute).between(minute_from, minute_to)]
        if model is not None:
            where.append(col(MinuteRow.model) == model)
        return (_minute(row) for row in self._session.exec(select(MinuteRow).where(*where)))

    def counts(self, devices: Iterable[DeviceId], release: ReleaseId) -> Counts:
        total = Counts()
        for some in in_batches(devices):
            n, errors, predictions, below, labels, label_errors = self._session.exec(
                select(  # type: ignore[call-overload]  # sqlmodel types up to four columns
                    func.sum(MinuteRow.n),
                    func.sum(MinuteRow.error_count),
                    func.sum(MinuteRow.predictions),
                    func.sum(MinuteRow.below),
                    func.sum(MinuteRow.labels),
                    func.sum(MinuteRow.label_errors),
                ).where(
                    col(MinuteRow.release) == release,
                    col(MinuteRow.device).in_(some),
                    col(MinuteRow.arm) != Arm.SHADOW.value,
                )
            ).one()
            total = total.plus(
                Counts(
                    n=n or 0,
                    errors=errors or 0,
                    predictions=predictions or 0,
                    below=below or 0,
                    labels=labels or 0,
                    label_errors=label_errors or 0,
                )
            )
        return total

    def answered(self, device: DeviceId, minute_from: int, minute_to: int) -> Mapping[ModelName, Counts]:
        found = self._session.exec(
            select(MinuteRow.model, func.sum(MinuteRow.n), func.sum(MinuteRow.error_count))
            .where(
                col(MinuteRow.device) == device,
                col(MinuteRow.minute).between(minute_from, minute_to),
                col(MinuteRow.arm) != Arm.SHADOW.value,
            )
            .group_by(col(MinuteRow.model))
            .order_by(col(MinuteRow.model))
        )
        return {ModelName(model): Counts(n=int(n), errors=int(errors)) for model, n, errors in found}

    def stretch(self, device: DeviceId, model: ModelName, release: ReleaseId, arm: Arm, number: int) -> Stretch | None:
        row = _STRETCHES.get(self._session, device, model, number, release, arm.value)
        return _stretch(row) if row else None

    def save_stretch(self, stretch: Stretch) -> None:
        errors = stretch.errors
        _STRETCHES.put(
            self._session,
            device=stretch.device,
            model=stretch.model,
            number=stretch.number,
            release=stretch.release,
            arm=stretch.arm.value,
            n=errors.counts.trials,
            errors=errors.counts.bad,
            errors_fresh_n=errors.counts.fresh_trials,
            errors_fresh=errors.counts.fresh_bad,
            errors_stale=errors.stale,
            predictions=stretch.predictions,
            below=stretch.below,
            latency=stretch.latency.packed,
            pairs=stretch.pairs,
            disagreements=stretch.disagreements,
            classes=spelling.numbers(stretch.classes),
            outcomes=spelling.counts_map(stretch.outcomes),
            groups=spelling.counts_map(stretch.groups),
        )

    def stretches(
        self, devices: Iterable[DeviceId], model: ModelName, number_from: int, number_to: int
    ) -> Sequence[Stretch]:
        found: list[Stretch] = []
        for some in in_batches(devices):
            of_these = (
                f"device IN ({marks(some)}) AND model = ? AND number BETWEEN ? AND ? "
                "ORDER BY device, number, release, arm"
            )
            rows = _STRETCHES.where(self._session, of_these, *some, model, number_from, number_to)
            found.extend(_stretch(row) for row in rows)
        return found

    def keep_raw(self, device: DeviceId, boot: BootId, seq: int, received_at_s: float, envelope: bytes) -> None:
        _RAW.put(self._session, device=device, boot=boot, seq=seq, received_at_s=received_at_s, envelope=envelope)
        older = (
            "device = ? AND received_at_s < (SELECT received_at_s FROM raw_reports WHERE device = ? "
            "ORDER BY received_at_s DESC LIMIT 1 OFFSET ?)"
        )
        _RAW.delete(self._session, older, device, device, telemetry.RAW_PER_DEVICE_MAX - 1)

    def count_arrival(self, device: DeviceId, number: int, reports: int) -> None:
        run(self._session, _COUNT_ARRIVAL, (device, number, reports))

    def arrivals(
        self, devices: Iterable[DeviceId], number_from: int, number_to: int
    ) -> Mapping[DeviceId, Mapping[int, int]]:
        found: dict[DeviceId, dict[int, int]] = {}
        for some in in_batches(devices):
            sql = f"{_ARRIVALS} AND device IN ({marks(some)})"
            for device, number, reports in run(self._session, sql, (number_from, number_to, *some)):
                found.setdefault(DeviceId(device), {})[number] = reports
        return found

    def prune(self, *, minute_before: int, stretch_before: int, raw_before_s: float) -> int:
        minutes = self._session.exec(delete(MinuteRow).where(col(MinuteRow.minute) < minute_before))
        stretches = self._session.exec(delete(StretchRow).where(col(StretchRow.number) < stretch_before))
        raw = self._session.exec(delete(RawReportRow).where(col(RawReportRow.received_at_s) < raw_before_s))
        arrivals = self._session.exec(delete(ArrivalRow).where(col(ArrivalRow.number) < stretch_before))
        return minutes.rowcount + stretches.rowcount + arrivals.rowcount + raw.rowcount


def _stretch(row: StretchRow) -> Stretch:
    errors = Trials(trials=row.n, bad=row.errors, fresh_trials=row.errors_fresh_n, fresh_bad=row.errors_fresh)
    return Stretch(
        device=DeviceId(row.device),
        model=ModelName(row.model),
        release=ReleaseId(row.release),
        arm=Arm(row.arm),
        number=row.number,
        errors=Tally(counts=errors, stale=row.errors_stale),
        latency=PackedHistogram(packed=row.latency),
        predictions=row.predictions,
        below=row.below,
        pairs=row.pairs,
        disagreements=row.disagreements,
        classes=spelling.read_numbers(row.classes),
        outcomes=spelling.read_counts_map(row.outcomes),
        groups=spelling.read_counts_map(row.groups),
    )


def _receipt(row: ReceiptRow) -> ReceiptRecord:
    return ReceiptRecord(
        id=ReceiptId(row.id),
        body=there(spelling.read_body(row.body).receipt),
        envelope=row.envelope,
        received_at_s=row.received_at_s,
        counted=row.counted,
    )


def _minute(row: MinuteRow) -> Minute:
    return Minute(
        device=DeviceId(row.device),
        model=ModelName(row.model),
        release=ReleaseId(row.release),
        variant=Digest(row.variant),
        arm=Arm(row.arm),
        minute=row.minute,
        n=row.n,
        errors=spelling.read_number_map(row.errors),
        slow=row.slow,
        latency_zero=row.latency_zero,
        latency=spelling.read_buckets(row.latency_offset, row.latency),
        predictions=row.predictions,
        below=row.below,
        confidence=spelling.read_numbers(row.confidence),
        classes=spelling.read_numbers(row.classes),
        labels=row.labels,
        label_errors=row.label_errors,
        pairs=row.pairs,
        disagreements=row.disagreements,
        outcomes=spelling.read_counts_map(row.outcomes),
        groups=spelling.read_counts_map(row.groups),
        features=spelling.read_features(row.features),
    )


def _put_minute(session: Session, minute: Minute) -> None:
    offset, counts = spelling.buckets(minute.latency)
    _MINUTES.put(
        session,
        device=minute.device,
        model=minute.model,
        release=minute.release,
        variant=minute.variant,
        arm=minute.arm.value,
        minute=minute.minute,
        n=minute.n,
        error_count=sum(minute.errors.values()),
        errors=spelling.number_map(minute.errors),
        slow=minute.slow,
        latency_zero=minute.latency_zero,
        latency_offset=offset,
        latency=counts,
        predictions=minute.predictions,
        below=minute.below,
        confidence=spelling.numbers(minute.confidence),
        classes=spelling.numbers(minute.classes),
        labels=minute.labels,
        label_errors=minute.label_errors,
        pairs=minute.pairs,
        disagreements=minute.disagreements,
        outcomes=spelling.counts_map(minute.outcomes),
        groups=spelling.counts_map(minute.groups),
        features=spelling.features(minute.features),
    )
