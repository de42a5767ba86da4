"""Assignments, the sets made of them, rollouts and their members, as rows."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from sqlalchemy import ColumnElement, and_, case, exists, func
from sqlmodel import Session, col, select

from pinnace_contract.ids import DeviceId, Digest, ModelName, ReleaseId, RolloutId, VersionName
from pinnace_contract.latest import Cause, Intent, Outcome, SiteVerdict
from pinnace_server.db import device_search, spelling
from pinnace_server.db.batches import in_batches
from pinnace_server.db.rows import Rows, marks, run
from pinnace_server.db.spelling import Stored, there
from pinnace_server.db.tables import (
    AgreementRow,
    AssignmentRow,
    DesiredRow,
    DeviceRow,
    EvidenceRow,
    LabelRow,
    MemberRow,
    OwedRow,
    RolloutRow,
    SiteRulingRow,
    WaveRow,
)
from pinnace_server.domain.muster import Mustered
from pinnace_server.domain.queries import Listing, RolloutQuery
from pinnace_server.domain.ramp import Agreement, SiteOthers, Wave
from pinnace_server.domain.records import (
    Assignment,
    Backlog,
    Counts,
    DesiredSet,
    DeviceState,
    Leaves,
    Member,
    MemberState,
    PlanId,
    Rollout,
    RolloutState,
)
from pinnace_server.domain.rollout_policy.policy import SITE_LABEL, ZONE_LABEL
from pinnace_server.domain.sites import SiteRuling
from pinnace_server.domain.statuses import SILENCE_CADENCES, SILENCE_MIN_S

_MAY_GET_NEW = (DeviceState.PENDING.value, DeviceState.ACTIVE.value)

_ASSIGNMENTS: Final = Rows(AssignmentRow)
_DESIRED: Final = Rows(DesiredRow)
_OWED: Final = Rows(OwedRow)
_ROLLOUTS: Final = Rows(RolloutRow)
_MEMBERS: Final = Rows(MemberRow)
_WAVES: Final = Rows(WaveRow)
_AGREEMENTS: Final = Rows(AgreementRow)
_SITE_RULINGS: Final = Rows(SiteRulingRow)
_EVIDENCE: Final = Rows(EvidenceRow)

_INTENTS: Final = {intent.value: intent for intent in Intent}
_STATES: Final = {state.value: state for state in MemberState}  # a lookup costs a tenth of making an enum's member
_CAUSES: Final = {cause.value: cause for cause in Cause}
_DEVICE_STATES: Final = {state.value: state for state in DeviceState}

_MUSTER: Final = (
    "SELECT m.device, m.wave, m.state, m.cause, m.changed_at_s, d.state, d.hardware, s.value, z.value, d.online,"
    " d.degraded, d.seen_at_s, d.health_at_s, d.report_every_s FROM members m JOIN devices d ON d.id = m.device"
    " LEFT JOIN labels s ON s.device = m.device AND s.key = ?"
    " LEFT JOIN labels z ON z.device = m.device AND z.key = ? WHERE m.rollout = ?"
)
_SITE_REST: Final = (
    "SELECT s.value, count(*), sum(d.online AND NOT d.degraded AND coalesce(? - d.seen_at_s <="
    " max(? * d.report_every_s, ?), 0)) FROM members m JOIN devices d ON d.id = m.device"
    " LEFT JOIN labels s ON s.device = m.device AND s.key = ?"
)
_WAVE_COUNTS: Final = "SELECT wave, state, count(*) FROM members WHERE rollout = ? GROUP BY wave, state"


class SqlAssignments:
    """``ports.Assignments``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, device: DeviceId, model: ModelName) -> Assignment | None:
        row = _ASSIGNMENTS.get(self._session, device, model)
        return _assignment(row) if row else None

    def of(self, devices: Iterable[DeviceId]) -> Sequence[Assignment]:
        found: list[Assignment] = []
        for some in in_batches(devices):
            of_these = f"device IN ({marks(some)}) ORDER BY device, model"
            rows = _ASSIGNMENTS.where(self._session, of_these, *some)
            found.extend(_assignment(row) for row in rows)
        return found

    def save(self, assignment: Assignment) -> None:
        entry = assignment.entry
        _ASSIGNMENTS.put(
            self._session,
            device=assignment.device,
            model=assignment.model,
            release=entry.release,
            generation=entry.generation,
            entry=spelling.body(Stored(entry=entry)),
            rollout=assignment.rollout,
            actor=assignment.actor,
            assigned_at_s=assignment.assigned_at_s,
            before=spelling.body(Stored(before=assignment.before)) if assignment.before else None,
            outcome=assignment.outcome.value if assignment.outcome else None,
            cause=assignment.cause.value,
            detail=assignment.detail,
            ended_at_s=assignment.ended_at_s,
        )

    def desired(self, device: DeviceId) -> DesiredSet | None:
        row = _DESIRED.get(self._session, device)
        return _desired(row) if row else None

    def save_desired(self, desired: DesiredSet) -> None:
        _DESIRED.put(
            self._session,
            device=desired.device,
            generation=desired.generation,
            incarnation=desired.assignments.incarnation,
            body=spelling.body(Stored(assignments=desired.assignments)),
            decides=bool(desired.assignments.site_decisions),
            signed_at_s=desired.signed_at_s,
        )

    def unsigned(self, limit: int) -> Sequence[DesiredSet]:
        moves_on = exists().where(
            col(AssignmentRow.device) == col(DesiredRow.device),
            col(AssignmentRow.generation) == col(DesiredRow.generation),
            col(AssignmentRow.rollout) == col(RolloutRow.id),
            col(RolloutRow.intent) == Intent.UPGRADE.value,
        )
        rows = self._session.exec(
            select(DesiredRow)
            .join(DeviceRow, col(DeviceRow.id) == col(DesiredRow.device))
            .where(
                col(DesiredRow.signed_at_s).is_(None),
                col(DeviceRow.state) != DeviceState.DECOMMISSIONED.value,
            )
            .order_by(col(DesiredRow.decides).desc(), moves_on, col(DesiredRow.generation), col(DesiredRow.device))
            .limit(limit)
        )
        return [_desired(row) for row in rows]

    def owe(self, devices: Iterable[DeviceId]) -> None:
        known = {row.device for row in _OWED.where(self._session, "true")}
        for device in dict.fromkeys(devices):
            if device not in known:
                _OWED.add(self._session, number=None, device=device)

    def owed(self, limit: int) -> Sequence[DeviceId]:
        return [DeviceId(row.device) for row in _OWED.where(self._session, "true ORDER BY number LIMIT ?", limit)]

    def settle(self, device: DeviceId) -> None:
        _OWED.delete(self._session, "device = ?", device)

    def stale(self, limit: int, among: Iterable[DeviceId] | None = None) -> Sequence[DesiredSet]:
        asked = (
            select(DesiredRow)
            .join(DeviceRow, col(DeviceRow.id) == col(DesiredRow.device))
            .where(
                col(DesiredRow.incarnation).is_not(None),
                col(DesiredRow.incarnation) != col(DeviceRow.incarnation),
                col(DeviceRow.state).in_(_MAY_GET_NEW),
            )
            .order_by(col(DesiredRow.device))
            .limit(limit)
        )
        if among is None:
            return [_desired(row) for row in self._session.exec(asked)]
        found: list[DesiredSet] = []
        for some in in_batches(among):
            found.extend(_desired(row) for row in self._session.exec(asked.where(col(DesiredRow.device).in_(some))))
        return sorted(found, key=lambda each: each.device)[:limit]


class SqlRollouts:
    """``ports.Rollouts``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, rollout: RolloutId) -> Rollout | None:
        row = _ROLLOUTS.get(self._session, rollout)
        return _rollout(row) if row else None

    def save(self, rollout: Rollout) -> None:
        _ROLLOUTS.put(
            self._session,
            id=rollout.id,
            model=rollout.model,
            version=rollout.version,
            release=rollout.release,
            intent=rollout.intent.value,
            selector=rollout.selector,
            policy=rollout.policy,
            rules=rollout.rules,
            paused=rollout.paused,
            state=rollout.state.value,
            reason=rollout.reason,
            verdict=spelling.text_map(rollout.verdict),
            backlog=_written(rollout.backlog) if rollout.backlog is not None else None,
            halts=rollout.halts,
            plan=rollout.plan,
            actor=rollout.actor,
            created_at_s=rollout.created_at_s,
            ended_at_s=rollout.ended_at_s,
        )

    def listing(self, query: RolloutQuery) -> Listing[Rollout]:
        where: list[ColumnElement[bool]] = []
        if query.model is not None:
            where.append(col(RolloutRow.model) == query.model)
        if query.state is not None:
            where.append(col(RolloutRow.state) == query.state.value)
        total = self._session.exec(select(func.count()).select_from(RolloutRow).where(*where)).one()
        rows = self._session.exec(
            select(RolloutRow)
            .where(*where)
            .order_by(col(RolloutRow.created_at_s).desc(), col(RolloutRow.id).desc())
            .limit(query.page.limit)
            .offset(query.page.offset)
        )
        return Listing(rows=tuple(_rollout(row) for row in rows), total=total)

    def active(self) -> Sequence[Rollout]:
        active = "state = ? ORDER BY created_at_s, id"
        return [_rollout(row) for row in _ROLLOUTS.where(self._session, active, RolloutState.ACTIVE.value)]

    def owning(self) -> Sequence[Rollout]:
        owning = (
            "state IN (?, ?) AND intent = ? AND EXISTS (SELECT 1 FROM assignments WHERE rollout = rollouts.id) "
            "ORDER BY created_at_s, id"
        )
        values = (RolloutState.ACTIVE.value, RolloutState.FINISHED.value, Intent.UPGRADE.value)
        return [_rollout(row) for row in _ROLLOUTS.where(self._session, owning, *values)]

    def members(self, rollout: RolloutId) -> Sequence[Member]:
        rows = _MEMBERS.where(self._session, "rollout = ? ORDER BY wave, device", rollout)
        return [_member(row) for row in rows]

    def members_in(self, rollout: RolloutId, states: Collection[MemberState]) -> Sequence[Member]:
        in_these = f"rollout = ? AND state IN ({marks([*states])}) ORDER BY wave, device"
        return [_member(row) for row in _MEMBERS.where(self._session, in_these, rollout, *states)]

    def members_after(self, rollout: RolloutId, after: DeviceId, limit: int) -> Sequence[Member]:
        behind = "rollout = ? AND device > ? ORDER BY device LIMIT ?"
        return [_member(row) for row in _MEMBERS.where(self._session, behind, rollout, after, limit)]

    def member(self, rollout: RolloutId, device: DeviceId) -> Member | None:
        row = _MEMBERS.get(self._session, rollout, device)
        return _member(row) if row else None

    def some_members(self, rollout: RolloutId, devices: Iterable[DeviceId]) -> Sequence[Member]:
        found: list[Member] = []
        for some in in_batches(devices):
            rows = _MEMBERS.where(self._session, f"rollout = ? AND device IN ({marks(some)})", rollout, *some)
            found.extend(_member(row) for row in rows)
        return sorted(found, key=lambda each: (each.wave, each.device))

    def muster(self, rollout: RolloutId) -> Sequence[Mustered]:
        everybody = f"{_MUSTER} ORDER BY m.wave, m.device"
        return [_mustered(*row) for row in run(self._session, everybody, (SITE_LABEL, ZONE_LABEL, rollout))]

    def mustered_near(self, rollout: RolloutId, waves: Collection[int]) -> Sequence[Mustered]:
        near = f"{_MUSTER} AND (m.wave IN ({marks([*waves])}) OR m.state = ?) ORDER BY m.wave, m.device"
        values = (SITE_LABEL, ZONE_LABEL, rollout, *waves, MemberState.ASSIGNED.value)
        return [_mustered(*row) for row in run(self._session, near, values)]

    def mustered_at(self, rollout: RolloutId, sites: Iterable[str]) -> Sequence[Mustered]:
        found: list[Mustered] = []
        for some in in_batches(sites):
            there = f"m.device IN (SELECT device FROM labels WHERE key = ? AND value IN ({marks(some)}))"  # noqa: S608
            values = (SITE_LABEL, ZONE_LABEL, rollout, SITE_LABEL, *some)
            found.extend(_mustered(*row) for row in run(self._session, f"{_MUSTER} AND {there}", values))
        return sorted(found, key=lambda each: (each.wave, each.device))

    def some_mustered(self, rollout: RolloutId, devices: Iterable[DeviceId]) -> Sequence[Mustered]:
        found: list[Mustered] = []
        for some in in_batches(devices):
            of_these = f"{_MUSTER} AND m.device IN ({marks(some)})"
            rows = run(self._session, of_these, (SITE_LABEL, ZONE_LABEL, rollout, *some))
            found.extend(_mustered(*row) for row in rows)
        return sorted(found, key=lambda each: (each.wave, each.device))

    def waiting_behind(self, rollout: RolloutId, wave: int) -> Sequence[DeviceId]:
        behind = (
            "SELECT device FROM members WHERE rollout = ? AND wave > ? AND state = ? "
            "AND device NOT IN (SELECT id FROM devices WHERE state = ?) ORDER BY wave, device"
        )
        values = (rollout, wave, MemberState.WAITING.value, DeviceState.QUARANTINED.value)
        return [DeviceId(device) for (device,) in run(self._session, behind, values)]

    def site_rest(self, rollout: RolloutId, begun: Collection[int], now_s: float) -> Mapping[str, SiteOthers]:
        waits = f"m.rollout = ? AND m.wave NOT IN ({marks([*begun])}) AND m.state != ?"
        values = (now_s, SILENCE_CADENCES, SILENCE_MIN_S, SITE_LABEL, rollout, *begun, MemberState.ASSIGNED.value)
        rows = run(self._session, f"{_SITE_REST} WHERE {waits} GROUP BY s.value", values)
        return {site or "": SiteOthers(devices=n, healthy=healthy) for site, n, healthy in rows}

    def site_others(self, rollout: RolloutId, now_s: float) -> Mapping[str, SiteOthers]:
        devices = self._session.exec(select(func.count()).select_from(DeviceRow)).one()
        if sum(sum(counts.values()) for counts in self.wave_counts(rollout).values()) == devices:
            return {}  # the usual case, and in a large fleet the one where looking would cost most
        well = case((and_(~col(DeviceRow.degraded), ~col(DeviceRow.updating)), 1), else_=0)
        rows = self._session.exec(
            select(LabelRow.value, func.count(), func.sum(well))
            .join(DeviceRow, col(DeviceRow.id) == col(LabelRow.device))
            .where(
                col(LabelRow.key) == SITE_LABEL,
                col(DeviceRow.state) == DeviceState.ACTIVE.value,
                col(DeviceRow.online),
                ~device_search.is_silent(now_s),
                ~exists().where(col(MemberRow.rollout) == rollout, col(MemberRow.device) == col(DeviceRow.id)),
            )
            .group_by(col(LabelRow.value))
        )
        return {site: SiteOthers(devices=n, healthy=healthy) for site, n, healthy in rows}

    def wave_counts(self, rollout: RolloutId) -> Mapping[int, Mapping[MemberState, int]]:
        found: dict[int, dict[MemberState, int]] = {}
        for wave, state, n in run(self._session, _WAVE_COUNTS, (rollout,)):
            found.setdefault(wave, {})[MemberState(state)] = n
        return found

    def anybody_waits(self, rollout: RolloutId, waves: Collection[int]) -> bool:
        waits = f"SELECT 1 FROM members WHERE rollout = ? AND state IN (?, ?) AND wave IN ({marks([*waves])}) LIMIT 1"  # noqa: S608
        states = (MemberState.WAITING.value, MemberState.READY.value)
        return run(self._session, waits, (rollout, *states, *waves)).fetchone() is not None

    def member_of(self, device: DeviceId, model: ModelName, generation: int) -> Member | None:
        row = self._session.exec(
            select(MemberRow)
            .join(RolloutRow, col(RolloutRow.id) == col(MemberRow.rollout))
            .where(
                col(MemberRow.device) == device,
                col(MemberRow.generation) == generation,
                col(RolloutRow.model) == model,
            )
            .order_by(col(RolloutRow.created_at_s).desc(), col(RolloutRow.id).desc())
        ).first()
        return _member(row) if row else None

    def save_members(self, members: Iterable[Member]) -> None:
        for member in members:
            _MEMBERS.put(
                self._session,
                rollout=member.rollout,
                device=member.device,
                wave=member.wave,
                release=member.release,
                variants=spelling.words(member.variants),
                state=member.state.value,
                generation=member.generation,
                cause=member.cause.value,
                detail=member.detail,
                changed_at_s=member.changed_at_s,
                chosen=member.chosen,
            )

    def waves(self, rollout: RolloutId) -> Sequence[Wave]:
        return [_wave(row) for row in _WAVES.where(self._session, "rollout = ? ORDER BY number", rollout)]

    def save_wave(self, rollout: RolloutId, wave: Wave) -> None:
        _WAVES.put(
            self._session,
            rollout=rollout,
            number=wave.number,
            devices=wave.devices,
            started_at_s=wave.started_at_s,
            ready_at_s=wave.ready_at_s,
            told_at_s=wave.told_at_s,
            switched_at_s=wave.switched_at_s,
            promoted_at_s=wave.promoted_at_s,
            promoted_by=wave.promoted_by,
            asked_at_s=wave.asked_at_s,
            verdict=wave.verdict,
        )

    def agreements(self, rollout: RolloutId) -> Sequence[Agreement]:
        rows = _AGREEMENTS.where(self._session, "rollout = ? ORDER BY wave, person", rollout)
        return [_agreement(row) for row in rows]

    def save_agreement(self, rollout: RolloutId, agreement: Agreement) -> None:
        _AGREEMENTS.put(
            self._session,
            rollout=rollout,
            wave=agreement.wave,
            person=agreement.person,
            at_s=agreement.at_s,
            roles=spelling.words(agreement.roles),
        )

    def site_rulings(self, rollout: RolloutId) -> Sequence[SiteRuling]:
        return [_site_ruling(row) for row in _SITE_RULINGS.where(self._session, "rollout = ? ORDER BY site", rollout)]

    def site_ruling(self, rollout: RolloutId, site: str) -> SiteRuling | None:
        row = _SITE_RULINGS.get(self._session, rollout, site)
        return _site_ruling(row) if row else None

    def add_site_ruling(self, rollout: RolloutId, ruling: SiteRuling) -> None:
        _SITE_RULINGS.add(
            self._session,
            rollout=rollout,
            site=ruling.site,
            verdict=ruling.verdict.value,
            why=ruling.why,
            decided_at_s=ruling.decided_at_s,
            prepared=ruling.prepared,
            counted=ruling.counted,
        )

    def drop_site_ruling(self, rollout: RolloutId, site: str) -> None:
        _SITE_RULINGS.delete(self._session, "rollout = ? AND site = ?", rollout, site)

    def counts(self, rollouts: Iterable[RolloutId]) -> Mapping[RolloutId, Mapping[str, int]]:
        found: dict[RolloutId, dict[str, int]] = {}
        for some in in_batches(rollouts):
            for rollout, state, n in self._session.exec(
                select(MemberRow.rollout, MemberRow.state, func.count())
                .where(col(MemberRow.rollout).in_(some))
                .group_by(col(MemberRow.rollout), col(MemberRow.state))
            ):
                found.setdefault(RolloutId(rollout), {})[state] = n
        return found

    def evidence(self, rollout: RolloutId) -> Counts:
        added_up = (
            "SELECT sum(n), sum(errors), sum(predictions), sum(below), sum(labels), sum(label_errors) "
            "FROM evidence WHERE rollout = ?"
        )
        n, errors, predictions, below, labels, label_errors = run(self._session, added_up, (rollout,)).fetchone()
        return Counts(
            n=n or 0,
            errors=errors or 0,
            predictions=predictions or 0,
            below=below or 0,
            labels=labels or 0,
            label_errors=label_errors or 0,
        )

    def add_evidence(self, rollout: RolloutId, device: DeviceId, counts: Counts) -> None:
        row = _EVIDENCE.get(self._session, rollout, device)
        had = Counts() if row is None else _counts(row)
        both = had.plus(counts)
        _EVIDENCE.put(
            self._session,
            rollout=rollout,
            device=device,
            n=both.n,
            errors=both.errors,
            predictions=both.predictions,
            below=both.below,
            labels=both.labels,
            label_errors=both.label_errors,
        )


def _counts(row: EvidenceRow) -> Counts:
    return Counts(
        n=row.n,
        errors=row.errors,
        predictions=row.predictions,
        below=row.below,
        labels=row.labels,
        label_errors=row.label_errors,
    )


def _assignment(row: AssignmentRow) -> Assignment:
    return Assignment(
        device=DeviceId(row.device),
        model=ModelName(row.model),
        entry=there(spelling.read_body(row.entry).entry),
        rollout=RolloutId(row.rollout),
        actor=row.actor,
        assigned_at_s=row.assigned_at_s,
        before=spelling.read_body(row.before).before if row.before else None,
        outcome=Outcome(row.outcome) if row.outcome else None,
        cause=Cause(row.cause),
        detail=row.detail,
        ended_at_s=row.ended_at_s,
    )


def _desired(row: DesiredRow) -> DesiredSet:
    return DesiredSet(
        device=DeviceId(row.device),
        assignments=there(spelling.read_body(row.body).assignments),
        signed_at_s=row.signed_at_s,
    )


def _rollout(row: RolloutRow) -> Rollout:
    verdict, backlog = _verdict(row.verdict, row.backlog)
    return Rollout(
        id=RolloutId(row.id),
        model=ModelName(row.model),
        version=VersionName(row.version) if row.version else None,
        release=ReleaseId(row.release) if row.release else None,
        intent=_INTENTS.get(row.intent, Intent.UNKNOWN),
        selector=row.selector,
        policy=row.policy,
        rules=row.rules,
        paused=row.paused,
        state=RolloutState(row.state),
        reason=row.reason,
        verdict=verdict,
        backlog=backlog,
        halts=RolloutId(row.halts) if row.halts else None,
        plan=PlanId(row.plan) if row.plan else None,
        actor=row.actor,
        created_at_s=row.created_at_s,
        ended_at_s=row.ended_at_s,
    )


def _verdict(text: str, backlog: str | None) -> tuple[Mapping[str, str], Backlog | None]:
    """Return what halted a rollout, and whom a rollback has yet to take in. One that was damaged must hide no other."""
    try:
        return spelling.read_text_map(text), _backlog(backlog) if backlog is not None else None
    except (ValueError, TypeError, AttributeError):
        return {"unreadable": f"{text} {backlog or ''}".rstrip()}, None


def _written(backlog: Backlog) -> str:
    return json.dumps([backlog.leaves, backlog.removes, backlog.after, backlog.beside])


def _backlog(text: str) -> Backlog:
    leaves, removes, after, beside = json.loads(text)
    return Backlog(
        leaves=Leaves(leaves),
        removes=bool(removes),
        after=DeviceId(after),
        beside=RolloutId(beside) if beside else None,
    )


def _wave(row: WaveRow) -> Wave:
    return Wave(
        number=row.number,
        devices=row.devices,
        started_at_s=row.started_at_s,
        ready_at_s=row.ready_at_s,
        told_at_s=row.told_at_s,
        switched_at_s=row.switched_at_s,
        promoted_at_s=row.promoted_at_s,
        promoted_by=row.promoted_by,
        asked_at_s=row.asked_at_s,
        verdict=row.verdict,
    )


def _agreement(row: AgreementRow) -> Agreement:
    return Agreement(wave=row.wave, person=row.person, at_s=row.at_s, roles=tuple(row.roles.split()))


def _site_ruling(row: SiteRulingRow) -> SiteRuling:
    return SiteRuling(
        site=row.site,
        verdict=SiteVerdict(row.verdict),
        why=row.why,
        decided_at_s=row.decided_at_s,
        prepared=row.prepared,
        counted=row.counted,
    )


def _mustered(
    device: str,
    wave: int,
    state: str,
    cause: str,
    changed_at_s: float,
    device_state: str,
    hardware: str,
    site: str | None,
    zone: str | None,
    online: int,
    degraded: int,
    seen_at_s: float | None,
    reported_at_s: float | None,
    report_every_s: int,
) -> Mustered:
    return Mustered(  # by place: a tick makes one of each device of a fleet
        DeviceId(device),
        wave,
        _STATES[state],
        _CAUSES[cause],
        changed_at_s,
        _DEVICE_STATES[device_state],
        hardware,
        site or "",
        zone,
        bool(online),
        bool(degraded),
        seen_at_s,
        reported_at_s,
        report_every_s,
    )


def _member(row: MemberRow) -> Member:
    return Member(
        rollout=RolloutId(row.rollout),
        device=DeviceId(row.device),
        wave=row.wave,
        release=ReleaseId(row.release) if row.release else None,
        variants=tuple(Digest(word) for word in row.variants.split()),
        state=MemberState(row.state),
        generation=row.generation,
        cause=Cause(row.cause),
        detail=row.detail,
        changed_at_s=row.changed_at_s,
        chosen=row.chosen,
    )
