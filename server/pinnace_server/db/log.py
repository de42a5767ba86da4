"""The append-only log, claim tokens and jobs, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, func, or_
from sqlmodel import Session, col, select

from pinnace_contract.ids import DeviceId, ModelName, RolloutId, VersionName
from pinnace_server.db import spelling
from pinnace_server.db.rows import Rows, run
from pinnace_server.db.tables import ClaimRow, EventRow, JobRow
from pinnace_server.domain.queries import EventQuery, Listing, Page
from pinnace_server.domain.records import ClaimRecord, Event, EventKind, Job, JobId, JobState, Severity, TokenId

_CLAIMS: Final = Rows(ClaimRow)


class SqlEvents:
    """``ports.Events``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def append(self, event: Event) -> int:
        added = run(
            self._session,
            "INSERT INTO events (at_s, kind, actor, summary, severity, device, model, version, rollout, data) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.at_s,
                event.kind.value,
                event.actor,
                event.summary,
                event.severity.value,
                event.device,
                event.model,
                event.version,
                event.rollout,
                spelling.text_map(event.data),
            ),
        )
        assert added.lastrowid is not None
        return added.lastrowid

    def listing(self, query: EventQuery) -> Listing[Event]:
        where = _conditions(query)
        total = self._session.exec(select(func.count()).select_from(EventRow).where(*where)).one()
        number = col(EventRow.number)
        rows = self._session.exec(
            select(EventRow)
            .where(*where)
            .order_by(number.asc() if query.after is not None else number.desc())
            .limit(query.page.limit)
            .offset(query.page.offset)
        )
        return Listing(rows=tuple(_event(row) for row in rows), total=total)

    def last_number(self) -> int:
        (number,) = run(self._session, "SELECT max(number) FROM events").fetchone()
        return number or 0


class SqlClaims:
    """``ports.Claims``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, token: TokenId) -> ClaimRecord | None:
        row = self._session.get(ClaimRow, token)
        return _claim(row) if row else None

    def of_hash(self, secret_hash: str) -> ClaimRecord | None:
        row = self._session.exec(select(ClaimRow).where(ClaimRow.secret_hash == secret_hash)).first()
        return _claim(row) if row else None

    def save(self, claim: ClaimRecord) -> None:
        _CLAIMS.put(
            self._session,
            id=claim.id,
            secret_hash=claim.secret_hash,
            note=claim.note,
            uses_left=claim.uses_left,
            expires_s=claim.expires_s,
            serial_pattern=claim.serial_pattern,
            labels=spelling.text_map(claim.labels),
            actor=claim.actor,
            created_at_s=claim.created_at_s,
        )

    def remove(self, token: TokenId) -> bool:
        row = self._session.get(ClaimRow, token)
        if row is None:
            return False
        self._session.delete(row)
        self._session.flush()
        return True

    def listing(self, page: Page) -> Listing[ClaimRecord]:
        total = self._session.exec(select(func.count()).select_from(ClaimRow)).one()
        rows = self._session.exec(
            select(ClaimRow)
            .order_by(col(ClaimRow.created_at_s).desc(), col(ClaimRow.id))
            .limit(page.limit)
            .offset(page.offset)
        )
        return Listing(rows=tuple(_claim(row) for row in rows), total=total)


class SqlJobs:
    """``ports.Jobs``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, job: JobId) -> Job | None:
        row = self._session.get(JobRow, job)
        return _job(row) if row else None

    def save(self, job: Job) -> None:
        self._session.merge(
            JobRow(
                id=job.id,
                model=job.model,
                version=job.version,
                state=job.state.value,
                stage=job.stage,
                share=job.share,
                detail=job.detail,
                request=job.request,
                report=job.report,
                actor=job.actor,
                created_at_s=job.created_at_s,
                ended_at_s=job.ended_at_s,
            )
        )
        self._session.flush()

    def listing(self, page: Page, model: ModelName | None = None) -> Listing[Job]:
        where: list[ColumnElement[bool]] = [col(JobRow.model) == model] if model is not None else []
        total = self._session.exec(select(func.count()).select_from(JobRow).where(*where)).one()
        rows = self._session.exec(
            select(JobRow)
            .where(*where)
            .order_by(col(JobRow.created_at_s).desc(), col(JobRow.id))
            .limit(page.limit)
            .offset(page.offset)
        )
        return Listing(rows=tuple(_job(row) for row in rows), total=total)

    def unfinished(self) -> Sequence[Job]:
        rows = self._session.exec(
            select(JobRow)
            .where(col(JobRow.state).in_([JobState.QUEUED.value, JobState.RUNNING.value]))
            .order_by(col(JobRow.created_at_s), col(JobRow.id))
        )
        return [_job(row) for row in rows]


def _conditions(query: EventQuery) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = []
    if query.text:
        where.append(
            or_(
                col(EventRow.summary).contains(query.text, autoescape=True),
                col(EventRow.device).contains(query.text, autoescape=True),
            )
        )
    if query.kinds:
        where.append(col(EventRow.kind).in_([kind.value for kind in query.kinds]))
    if query.severity is not None:
        where.append(col(EventRow.severity) == query.severity.value)
    if query.actor:
        where.append(col(EventRow.actor) == query.actor)
    for column, value in (
        (EventRow.device, query.device),
        (EventRow.model, query.model),
        (EventRow.version, query.version),
        (EventRow.rollout, query.rollout),
    ):
        if value is not None:
            where.append(col(column) == value)
    if query.after is not None:
        where.append(col(EventRow.number) > query.after)
    if query.since_s is not None:
        where.append(col(EventRow.at_s) >= query.since_s)
    return where


def _event(row: EventRow) -> Event:
    assert row.number is not None
    return Event(
        number=row.number,
        at_s=row.at_s,
        kind=EventKind(row.kind),
        actor=row.actor,
        summary=row.summary,
        severity=Severity(row.severity),
        device=DeviceId(row.device) if row.device else None,
        model=ModelName(row.model) if row.model else None,
        version=VersionName(row.version) if row.version else None,
        rollout=RolloutId(row.rollout) if row.rollout else None,
        data=spelling.read_text_map(row.data),
    )


def _claim(row: ClaimRow) -> ClaimRecord:
    return ClaimRecord(
        id=TokenId(row.id),
        secret_hash=row.secret_hash,
        note=row.note,
        uses_left=row.uses_left,
        expires_s=row.expires_s,
        serial_pattern=row.serial_pattern,
        labels=spelling.read_text_map(row.labels),
        actor=row.actor,
        created_at_s=row.created_at_s,
    )


def _job(row: JobRow) -> Job:
    return Job(
        id=JobId(row.id),
        model=ModelName(row.model),
        version=VersionName(row.version),
        state=JobState(row.state),
        stage=row.stage,
        share=row.share,
        detail=row.detail,
        request=row.request,
        report=row.report,
        actor=row.actor,
        created_at_s=row.created_at_s,
        ended_at_s=row.ended_at_s,
    )
