"""Devices, the stores they showed, and what each said of its models, as rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import ColumnElement, func, literal_column
from sqlmodel import Session, col, select

from pinnace_contract.ids import BootId, DeviceId, IncarnationId, KeyId, ModelName, VersionName
from pinnace_contract.latest import Cause, Runtime
from pinnace_server.db import device_search, spelling
from pinnace_server.db.batches import in_batches
from pinnace_server.db.rows import Rows, marks
from pinnace_server.db.spelling import Stored, there
from pinnace_server.db.tables import DeviceRow, IncarnationRow, LabelRow, SlotRow
from pinnace_server.domain.queries import DeviceQuery, Listing
from pinnace_server.domain.records import Device, DeviceState, Incarnation, Slot, Status
from pinnace_server.domain.selector import Selector

_DEVICES: Final = Rows(DeviceRow)
_LABELS: Final = Rows(LabelRow)
_INCARNATIONS: Final = Rows(IncarnationRow)
_SLOTS: Final = Rows(SlotRow)


class SqlDevices:
    """``ports.Devices``. One transaction asks for the same device several times, and reads it once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[DeviceId, Device] = {}

    def forget(self) -> None:
        """Read everything again: a part of the transaction was undone."""
        self._known.clear()

    def get(self, device: DeviceId) -> Device | None:
        known = self._known.get(device)
        if known is not None:
            return known
        row = _DEVICES.get(self._session, device)
        if row is None:
            return None
        self._known[device] = found = self._devices([row])[0]
        return found

    def some(self, devices: Sequence[DeviceId]) -> Sequence[Device]:
        found: dict[str, Device] = {}
        for some in in_batches(devices):
            rows = _DEVICES.where(self._session, f"id IN ({marks(some)})", *some)
            found |= {device.id: device for device in self._devices(rows)}
        return [found[device] for device in devices]

    def of_key(self, key: KeyId) -> Device | None:
        row = self._session.exec(select(DeviceRow).where(DeviceRow.key == key)).first()
        return self._devices([row])[0] if row else None

    def save(self, device: Device) -> None:
        had = self._known.get(device.id)
        _put_device(self._session, device)
        labels = self._labels([device.id])[device.id] if had is None else had.labels
        if device.labels != labels:
            _LABELS.delete(self._session, "device = ?", device.id)
            for key, value in device.labels.items():
                _LABELS.add(self._session, device=device.id, key=key, value=value)
        self._known[device.id] = replace(device, labels=dict(sorted(device.labels.items())))

    def listing(self, query: DeviceQuery) -> Listing[Device]:
        where = [*device_search.conditions(query), *device_search.status_condition(query)]
        total = self._session.exec(select(func.count()).select_from(DeviceRow).where(*where)).one()
        rows = self._session.exec(
            select(DeviceRow)
            .where(*where)
            .order_by(*device_search.order(query))
            .limit(query.page.limit)
            .offset(query.page.offset)
        ).all()
        return Listing(rows=tuple(self._devices(rows)), total=total)

    def by_status(self, query: DeviceQuery) -> Mapping[Status, int]:
        status = device_search.status(query.now_s)
        found = self._session.exec(
            select(status, func.count())
            .select_from(DeviceRow)
            .where(*device_search.conditions(replace(query, status=None)))
            .group_by(status)
        )
        return {Status(word): n for word, n in found}

    def matching(self, selector: Selector) -> Sequence[Device]:
        rows = self._session.exec(
            select(DeviceRow)
            .where(
                col(DeviceRow.state) != DeviceState.DECOMMISSIONED.value,
                *(device_search.term(term) for term in selector.terms),
            )
            .order_by(col(DeviceRow.id))
        ).all()
        return self._devices(rows)

    def decommissioned(self) -> frozenset[DeviceId]:
        rows = self._session.exec(select(DeviceRow.id).where(DeviceRow.state == DeviceState.DECOMMISSIONED.value))
        return frozenset(DeviceId(device) for device in rows)

    def unadopted(self) -> frozenset[DeviceId]:
        return frozenset(
            DeviceId(device) for device in self._session.exec(select(DeviceRow.id).where(col(DeviceRow.unadopted)))
        )

    def silent(self, now_s: float, limit: int) -> Sequence[Device]:
        rows = self._session.exec(
            select(DeviceRow)
            .where(
                col(DeviceRow.state) != DeviceState.DECOMMISSIONED.value,
                col(DeviceRow.online),
                ~col(DeviceRow.silent),
                device_search.is_silent(now_s),
            )
            .order_by(literal_column("+devices.id"))  # not by the index of ids: few are silent
            .limit(limit)
        ).all()
        return self._devices(rows)

    def label_keys(self) -> Sequence[str]:
        return self._session.exec(select(LabelRow.key).distinct().order_by(LabelRow.key)).all()

    def incarnations(self, device: DeviceId) -> Sequence[Incarnation]:
        rows = _INCARNATIONS.where(self._session, "device = ? ORDER BY first_seen_s, incarnation", device)
        return [
            Incarnation(
                device=device,
                incarnation=IncarnationId(row.incarnation),
                first_seen_s=row.first_seen_s,
                last_seen_s=row.last_seen_s,
                first_generation=row.first_generation,
                seq=row.seq,
            )
            for row in rows
        ]

    def save_incarnation(self, incarnation: Incarnation) -> None:
        _INCARNATIONS.put(
            self._session,
            device=incarnation.device,
            incarnation=incarnation.incarnation,
            first_seen_s=incarnation.first_seen_s,
            last_seen_s=incarnation.last_seen_s,
            first_generation=incarnation.first_generation,
            seq=incarnation.seq,
        )

    def slot(self, device: DeviceId, model: ModelName) -> Slot | None:
        row = _SLOTS.get(self._session, device, model)
        return _slot(row) if row else None

    def slots(self, devices: Iterable[DeviceId], model: ModelName | None = None) -> Sequence[Slot]:
        found: list[Slot] = []
        for some in in_batches(devices):
            condition, values = f"device IN ({marks(some)})", [*some]
            if model is not None:
                condition, values = f"{condition} AND model = ?", [*values, model]
            rows = _SLOTS.where(self._session, f"{condition} ORDER BY device, model", *values)
            found.extend(_slot(row) for row in rows)
        return found

    def save_slots(self, device: DeviceId, slots: Sequence[Slot]) -> None:
        models = [slot.model for slot in slots]
        _SLOTS.delete(self._session, f"device = ? AND model NOT IN ({marks(models)})", device, *models)
        for slot in slots:
            _put_slot(self._session, slot)

    def serving(self, model: ModelName | None = None) -> Sequence[tuple[ModelName, VersionName | None, int]]:
        where: list[ColumnElement[bool]] = [col(DeviceRow.state) != DeviceState.DECOMMISSIONED.value]
        if model is not None:
            where.append(col(SlotRow.model) == model)
        found = self._session.exec(
            select(SlotRow.model, SlotRow.version, func.count())
            .join(DeviceRow, col(DeviceRow.id) == col(SlotRow.device))
            .where(*where)
            .group_by(col(SlotRow.model), col(SlotRow.version))
            .order_by(col(SlotRow.model), col(SlotRow.version))
        )
        return [(ModelName(name), VersionName(version) if version else None, n) for name, version, n in found]

    def _labels(self, devices: Iterable[str]) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {device: {} for device in devices}
        for some in in_batches(found):
            for label in _LABELS.where(self._session, f"device IN ({marks(some)}) ORDER BY key", *some):
                found[label.device][label.key] = label.value
        return found

    def _devices(self, rows: Iterable[DeviceRow]) -> list[Device]:
        rows = list(rows)
        labels = self._labels(row.id for row in rows)
        return [_device(row, labels[row.id]) for row in rows]


def _device(row: DeviceRow, labels: Mapping[str, str]) -> Device:
    return Device(
        id=DeviceId(row.id),
        name=row.name,
        serial=row.serial,
        key=KeyId(row.key),
        public_key_pem=row.public_key_pem,
        state=DeviceState(row.state),
        cause=Cause(row.cause),
        labels=labels,
        reported_labels=spelling.read_text_map(row.reported_labels),
        hardware=row.hardware,
        runtimes=tuple(Runtime(word) for word in row.runtimes.split()),
        agent_version=row.agent_version,
        incarnation=IncarnationId(row.incarnation),
        generation=row.generation,
        enrolled_at_s=row.enrolled_at_s,
        online=row.online,
        silent=row.silent,
        boot=BootId(row.boot) if row.boot else None,
        connection=row.connection,
        report_every_s=row.report_every_s,
        seen_at_s=row.seen_at_s,
        reported_generation=row.reported_generation,
        reported_cause=Cause(row.reported_cause),
        reported_detail=row.reported_detail,
        reported_boot=BootId(row.reported_boot) if row.reported_boot else None,
        reported_seq=row.reported_seq,
        degraded=row.degraded,
        updating=row.updating,
        p95_ms=row.p95_ms,
        health=spelling.read_body(row.health).health if row.health else None,
        health_at_s=row.health_at_s,
        unadopted=row.unadopted,
    )


def _put_device(session: Session, device: Device) -> None:
    _DEVICES.put(
        session,
        id=device.id,
        name=device.name,
        serial=device.serial,
        key=device.key,
        public_key_pem=device.public_key_pem,
        state=device.state.value,
        cause=device.cause.value,
        reported_labels=spelling.text_map(device.reported_labels),
        hardware=device.hardware,
        runtimes=spelling.words(runtime.value for runtime in device.runtimes),
        agent_version=device.agent_version,
        incarnation=device.incarnation,
        generation=device.generation,
        enrolled_at_s=device.enrolled_at_s,
        online=device.online,
        silent=device.silent,
        boot=device.boot,
        connection=device.connection,
        report_every_s=device.report_every_s,
        seen_at_s=device.seen_at_s,
        reported_generation=device.reported_generation,
        reported_cause=device.reported_cause.value,
        reported_detail=device.reported_detail,
        reported_boot=device.reported_boot,
        reported_seq=device.reported_seq,
        degraded=device.degraded,
        updating=device.updating,
        p95_ms=device.p95_ms,
        health=spelling.body(Stored(health=device.health)) if device.health else None,
        health_at_s=device.health_at_s,
        unadopted=device.unadopted,
    )


def _slot(row: SlotRow) -> Slot:
    return Slot(
        device=DeviceId(row.device),
        model=ModelName(row.model),
        state=there(spelling.read_body(row.body).slot),
        incarnation=IncarnationId(row.incarnation),
        seq=row.seq,
        said_at_s=row.said_at_s,
        lease_until_s=row.lease_until_s,
    )


def _put_slot(session: Session, slot: Slot) -> None:
    current = slot.state.current
    _SLOTS.put(
        session,
        device=slot.device,
        model=slot.model,
        version=current.version if current else None,
        release=current.release if current else None,
        body=spelling.body(Stored(slot=slot.state)),
        incarnation=slot.incarnation,
        seq=slot.seq,
        said_at_s=slot.said_at_s,
        lease_until_s=slot.lease_until_s,
    )
