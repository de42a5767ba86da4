"""The device list's filters and orders in SQL.

``domain.statuses`` and ``domain.selector`` answer the same questions of values; a test asks both and compares.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, case, exists, func, literal, or_, select, true
from sqlmodel import col

from pinnace_server.db.tables import AssignmentRow, DeviceRow, LabelRow, SlotRow
from pinnace_server.domain.queries import DeviceOrder, DeviceQuery
from pinnace_server.domain.records import DeviceState, Status
from pinnace_server.domain.selector import DEVICE_KEY, Asked, Term
from pinnace_server.domain.statuses import SILENCE_CADENCES, SILENCE_MIN_S


def is_silent(now_s: float) -> ColumnElement[bool]:
    """Return whether nothing was heard of a device within three of its own cadences."""
    cadences = SILENCE_CADENCES * col(DeviceRow.report_every_s)
    allowed = case((cadences > SILENCE_MIN_S, cadences), else_=SILENCE_MIN_S)
    return or_(col(DeviceRow.seen_at_s).is_(None), literal(now_s) - col(DeviceRow.seen_at_s) > allowed)


def status(now_s: float) -> ColumnElement[str]:
    """Return ``status_of`` as an expression."""
    offline = or_(~col(DeviceRow.online), is_silent(now_s))
    return case(
        (col(DeviceRow.state) == DeviceState.PENDING.value, Status.PENDING.value),
        (offline, Status.OFFLINE.value),
        (or_(col(DeviceRow.state) == DeviceState.QUARANTINED.value, col(DeviceRow.degraded)), Status.DEGRADED.value),
        (col(DeviceRow.updating), Status.UPDATING.value),
        else_=Status.ONLINE.value,
    )


def term(one: Term) -> ColumnElement[bool]:
    """Return whether a selector's condition holds."""
    if one.key == DEVICE_KEY:
        holds = _passes(one, col(DeviceRow.id))
    else:
        holds = exists().where(
            col(LabelRow.device) == col(DeviceRow.id), col(LabelRow.key) == one.key, _passes(one, col(LabelRow.value))
        )
    return ~holds if one.negated else holds


def _passes(one: Term, value: SQLColumnExpression[Any]) -> ColumnElement[bool]:
    match one.asked:
        case Asked.PRESENT:
            return true()
        case Asked.ONE_OF:
            return value.in_(one.values)
        case Asked.LISTS:
            # Not LIKE, which in SQLite takes small and capital letters for the same.
            words = literal(" ").concat(func.replace(value, ",", " ")).concat(" ")
            return func.replace(words, f" {one.values[0]} ", "") != words


def conditions(query: DeviceQuery) -> list[ColumnElement[bool]]:
    """Return everything a query asks for but the status."""
    where: list[ColumnElement[bool]] = [col(DeviceRow.state).in_([state.value for state in query.states])]
    if query.text:
        where.append(
            or_(
                *(
                    col(column).contains(query.text, autoescape=True)
                    for column in (DeviceRow.id, DeviceRow.name, DeviceRow.serial)
                )
            )
        )
    where.extend(term(one) for one in query.selector.terms)
    if query.version is not None:
        serves = [col(SlotRow.device) == col(DeviceRow.id), col(SlotRow.version) == query.version]
        if query.model is not None:
            serves.append(col(SlotRow.model) == query.model)
        where.append(exists().where(*serves))
    elif query.model is not None:
        where.append(
            or_(
                exists().where(col(SlotRow.device) == col(DeviceRow.id), col(SlotRow.model) == query.model),
                exists().where(col(AssignmentRow.device) == col(DeviceRow.id), col(AssignmentRow.model) == query.model),
            )
        )
    return where


def status_condition(query: DeviceQuery) -> list[ColumnElement[bool]]:
    """Return the query's status filter."""
    return [] if query.status is None else [status(query.now_s) == query.status.value]


def order(query: DeviceQuery) -> list[ColumnElement[Any]]:
    """Return the order asked for; what is not known comes last either way, and the id decides between equals."""
    by = _by(query)
    known = case((by.is_(None), 1), else_=0)
    return [known, by.desc() if query.descending else by.asc(), col(DeviceRow.id).asc()]


def _by(query: DeviceQuery) -> SQLColumnExpression[Any]:
    match query.order:
        case DeviceOrder.NAME:
            return case((col(DeviceRow.name) == "", col(DeviceRow.id)), else_=col(DeviceRow.name))
        case DeviceOrder.STATUS:
            ranks = {word.value: rank for rank, word in enumerate(Status)}
            return case(ranks, value=status(query.now_s))
        case DeviceOrder.VERSION:
            where = [col(SlotRow.device) == col(DeviceRow.id)]
            if query.model is not None:
                where.append(col(SlotRow.model) == query.model)
            return select(func.min(SlotRow.version)).where(and_(*where)).correlate(DeviceRow).scalar_subquery()
        case DeviceOrder.P95:
            return col(DeviceRow.p95_ms)
        case DeviceOrder.SEEN:
            return col(DeviceRow.seen_at_s)
        case DeviceOrder.AGENT:
            return col(DeviceRow.agent_version)
