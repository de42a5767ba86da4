"""What aliases pointed at, the rules that let them move, and who approved, as rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, select

from pinnace_contract.ids import ModelName, RolloutId, VersionName
from pinnace_server.db.rows import Rows, marks, run
from pinnace_server.db.spelling import there
from pinnace_server.db.tables import AliasRuleRow, ApprovalRow, PointingRow
from pinnace_server.domain.aliases import AliasRule, Approval, Means, Pointing
from pinnace_server.domain.queries import Listing, Page
from pinnace_server.domain.records import AliasName

_RULES: Final = Rows(AliasRuleRow)
_APPROVALS: Final = Rows(ApprovalRow)
_WAITING: Final = "model = ? AND alias = ? AND version = ? AND pointing IS NULL"


class SqlAliases:
    """``ports.Aliases``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def begin(self, pointing: Pointing) -> int:
        added = run(
            self._session,
            "INSERT INTO pointings (model, alias, version, from_s, actor, reason, means, rollout, until_s, "
            "ended_by, ended_reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                pointing.model,
                pointing.alias,
                pointing.version,
                pointing.from_s,
                pointing.actor,
                pointing.reason,
                pointing.means.value,
                pointing.rollout,
                pointing.until_s,
                pointing.ended_by,
                pointing.ended_reason,
            ),
        )
        return there(added.lastrowid)

    def end(self, model: ModelName, alias: AliasName, *, at_s: float, actor: str, reason: str) -> None:
        run(
            self._session,
            "UPDATE pointings SET until_s = ?, ended_by = ?, ended_reason = ? "
            "WHERE model = ? AND alias = ? AND until_s IS NULL",
            (at_s, actor, reason, model, alias),
        )

    def history(
        self, model: ModelName, page: Page, *, alias: AliasName | None = None, version: VersionName | None = None
    ) -> Listing[Pointing]:
        where: list[ColumnElement[bool]] = [col(PointingRow.model) == model]
        if alias is not None:
            where.append(col(PointingRow.alias) == alias)
        if version is not None:
            where.append(col(PointingRow.version) == version)
        total = self._session.exec(select(func.count()).select_from(PointingRow).where(*where)).one()
        rows = self._session.exec(
            select(PointingRow)
            .where(*where)
            .order_by(col(PointingRow.number).desc())
            .limit(page.limit)
            .offset(page.offset)
        )
        return Listing(rows=tuple(_pointing(row) for row in rows), total=total)

    def rules(self, model: ModelName) -> Sequence[AliasRule]:
        return [_rule(row) for row in _RULES.where(self._session, "model = ? ORDER BY alias", model)]

    def rule(self, model: ModelName, alias: AliasName) -> AliasRule | None:
        row = _RULES.get(self._session, model, alias)
        return _rule(row) if row else None

    def save_rule(self, rule: AliasRule) -> None:
        _RULES.put(
            self._session,
            model=rule.model,
            alias=rule.alias,
            source=rule.source,
            rollout=rule.rollout,
            failures_max=rule.failures_max,
            approvals=rule.approvals,
        )

    def remove_rule(self, model: ModelName, alias: AliasName) -> bool:
        if _RULES.get(self._session, model, alias) is None:
            return False
        _RULES.delete(self._session, "model = ? AND alias = ?", model, alias)
        return True

    def approve(self, approval: Approval) -> None:
        self.withdraw(approval.model, approval.alias, approval.version, approval.person)
        run(
            self._session,
            "INSERT INTO approvals (model, alias, version, person, at_s, note, pointing) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                approval.model,
                approval.alias,
                approval.version,
                approval.person,
                approval.at_s,
                approval.note,
                approval.pointing,
            ),
        )

    def withdraw(self, model: ModelName, alias: AliasName, version: VersionName, person: str) -> bool:
        key = (model, alias, version, person)
        if not _APPROVALS.where(self._session, f"{_WAITING} AND person = ?", *key):
            return False
        _APPROVALS.delete(self._session, f"{_WAITING} AND person = ?", *key)
        return True

    def waiting(self, model: ModelName, alias: AliasName, version: VersionName) -> Sequence[Approval]:
        condition = f"{_WAITING} ORDER BY at_s, person"
        return [_approval(row) for row in _APPROVALS.where(self._session, condition, model, alias, version)]

    def use(self, model: ModelName, alias: AliasName, version: VersionName, pointing: int) -> None:
        run(
            self._session,
            f"UPDATE approvals SET pointing = ? WHERE {_WAITING}",  # noqa: S608 -- a condition of our own
            (pointing, model, alias, version),
        )

    def used(self, pointings: Iterable[int]) -> Sequence[Approval]:
        asked = list(pointings)
        condition = f"pointing IN ({marks(asked)}) ORDER BY pointing, at_s, person, number"
        return [_approval(row) for row in _APPROVALS.where(self._session, condition, *asked)]


def _pointing(row: PointingRow) -> Pointing:
    return Pointing(
        number=there(row.number),
        model=ModelName(row.model),
        alias=AliasName(row.alias),
        version=VersionName(row.version),
        from_s=row.from_s,
        actor=row.actor,
        reason=row.reason,
        means=Means(row.means),
        rollout=RolloutId(row.rollout) if row.rollout else None,
        until_s=row.until_s,
        ended_by=row.ended_by,
        ended_reason=row.ended_reason,
    )


def _rule(row: AliasRuleRow) -> AliasRule:
    return AliasRule(
        model=ModelName(row.model),
        alias=AliasName(row.alias),
        source=AliasName(row.source),
        rollout=row.rollout,
        failures_max=row.failures_max,
        approvals=row.approvals,
    )


def _approval(row: ApprovalRow) -> Approval:
    return Approval(
        model=ModelName(row.model),
        alias=AliasName(row.alias),
        version=VersionName(row.version),
        person=row.person,
        at_s=row.at_s,
        note=row.note,
        pointing=row.pointing,
    )
