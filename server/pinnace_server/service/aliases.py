"""Aliases: where they point, where they pointed, and the rules by which they are promoted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pinnace_contract import ids
from pinnace_contract.ids import ModelName, RolloutId, VersionName
from pinnace_contract.latest import Intent
from pinnace_server.domain import promotion
from pinnace_server.domain.aliases import (
    APPROVALS_MAX,
    FAILURES_MAX,
    REASON_CHARS_MAX,
    AliasRule,
    Approval,
    Means,
    Pointing,
    in_words,
)
from pinnace_server.domain.promotion import Tried, Verdict
from pinnace_server.domain.queries import Listing, Page, RolloutQuery
from pinnace_server.domain.records import AliasName, Event, EventKind, Model, Rollout, RolloutState, Severity, Version
from pinnace_server.errors import Code, Conflict, NotFound, Refused
from pinnace_server.service.archive import check_in_use
from pinnace_server.service.catalogue import found_model, found_version
from pinnace_server.service.ports import Tables, World

ROLLOUTS_MAX: Final = 10_000  # of a model in one state that are looked through for one of the version
_PAGE: Final = 500
_GRAMMAR: Final = ids.GRAMMARS[ModelName]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A stretch of an alias's history, and the approvals that were used for it."""

    pointing: Pointing
    approvals: tuple[Approval, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a promotion stands: the rule, the version that is in line, and what it lacks."""

    rule: AliasRule
    version: VersionName | None
    current: VersionName | None
    verdict: Verdict
    approvals: tuple[Approval, ...]


class Aliases:
    """Reads and moves aliases."""

    def __init__(self, world: World) -> None:
        self._world = world

    def history(
        self, model: ModelName, page: Page, *, alias: str | None = None, version: str | None = None
    ) -> Listing[Stretch]:
        """Return what a model's aliases pointed at, the newest first, with who approved.

        Raises:
            NotFound: the model, or an alias that never was.
        """
        with self._world.store.read() as tables:
            found_model(tables, model)
            name, of = AliasName(alias) if alias else None, VersionName(version) if version else None
            found = stretches(tables, model, page, alias=name, version=of)
        if name is not None and found.total == 0 and of is None:
            raise NotFound("alias", name[:70], hint=f"model {model} never had it")
        return found

    def point(
        self, model: ModelName, alias: str, version: str, actor: str, *, reason: str = "", force: bool = False
    ) -> Model:
        """Let an alias point at a version.

        Raises:
            NotFound, Refused. Conflict: the alias has a rule and is not forced, or the version is archived or
            withdrawn.
        """
        name, why = checked_alias(alias), _checked_reason(reason)
        with self._world.store.write() as tables:
            found = found_version(tables, model, version)
            if found_model(tables, model).aliases.get(name) == found.version:
                return found_model(tables, model)
            forced = _is_forced(tables, model, name, force, why)
            means = Means.FORCED if forced else Means.SET
            self._move(tables, found, name, actor=actor, reason=why, means=means)
            pointed = found_model(tables, model)
        self._told(model)
        return pointed

    def unpoint(self, model: ModelName, alias: str, actor: str, *, reason: str = "", force: bool = False) -> None:
        """Remove an alias; its history stays.

        Raises:
            NotFound, Refused. Conflict: the alias has a rule and is not forced.
        """
        why, name = _checked_reason(reason), AliasName(alias)
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            before = found_model(tables, model).aliases.get(name)
            if before is None:
                raise NotFound("alias", alias[:70])
            forced = _is_forced(tables, model, name, force, why)
            tables.models.unpoint(model, name)
            tables.aliases.end(model, name, at_s=now, actor=actor, reason=why)
            summary = f"alias {alias} of {model} removed{' by force' * forced}{f': {why}' if why else ''}"
            tables.events.append(
                Event(
                    at_s=now,
                    kind=EventKind.ALIAS_FORCED if forced else EventKind.ALIAS_REMOVED,
                    severity=Severity.WARNING if forced else Severity.INFO,
                    actor=actor,
                    summary=summary,
                    model=model,
                    data={"alias": alias, "before": before, "reason": why},
                )
            )
        self._told(model)

    def rules(self, model: ModelName) -> Sequence[AliasRule]:
        """Return a model's rules, by alias.

        Raises:
            NotFound
        """
        with self._world.store.read() as tables:
            found_model(tables, model)
            return tables.aliases.rules(model)

    def set_rule(self, rule: AliasRule, actor: str) -> AliasRule:
        """Say by what rule an alias moves from now on. What it points at stays.

        Raises:
            NotFound, Refused
        """
        checked_alias(rule.alias)
        checked_alias(rule.source)
        if rule.source == rule.alias:
            raise Refused(f"alias {rule.alias} cannot feed itself", hint="name another alias as its source")
        if not (0 <= rule.approvals <= APPROVALS_MAX and 0 <= rule.failures_max <= FAILURES_MAX):
            raise Refused(
                f"expected 0 to {APPROVALS_MAX} approvals and 0 to {FAILURES_MAX} failed devices, "
                f"found {rule.approvals} and {rule.failures_max}"
            )
        with self._world.store.write() as tables:
            found_model(tables, rule.model)
            tables.aliases.save_rule(rule)
            self._said(
                tables,
                rule.model,
                EventKind.ALIAS_RULE_SET,
                actor,
                f"alias {rule.alias} of {rule.model} is {in_words(rule)}",
                alias=rule.alias,
                source=rule.source,
                rollout=str(rule.rollout).lower(),
                failures_max=str(rule.failures_max),
                approvals=str(rule.approvals),
            )
        self._told(rule.model)
        return rule

    def remove_rule(self, model: ModelName, alias: str, actor: str) -> None:
        """Let an alias be set by hand again.

        Raises:
            NotFound
        """
        with self._world.store.write() as tables:
            found_model(tables, model)
            if not tables.aliases.remove_rule(model, AliasName(alias)):
                raise NotFound("rule of alias", alias[:70])
            summary = f"alias {alias} of {model} has no rule any more: it can be set by hand"
            self._said(tables, model, EventKind.ALIAS_RULE_REMOVED, actor, summary, Severity.WARNING, alias=alias)
        self._told(model)

    def standing(self, model: ModelName, alias: str) -> Standing:
        """Return what a promotion would move, and what it lacks.

        Raises:
            NotFound: the model, or the alias has no rule.
        """
        with self._world.store.read() as tables:
            return standing_of(tables, model, AliasName(alias))

    def approve(self, model: ModelName, alias: str, version: str, actor: str, note: str = "") -> Approval:
        """Approve that a version is promoted. It must be the one that is in line.

        Raises:
            NotFound, Refused. Conflict: another version is in line.
        """
        why = _checked_reason(note)
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            standing = standing_of(tables, model, AliasName(alias))
            _check_in_line(standing, version)
            approval = Approval(
                model=model,
                alias=standing.rule.alias,
                version=VersionName(version),
                person=actor,
                at_s=now,
                note=why,
            )
            tables.aliases.approve(approval)
            summary = f"{actor} approves {model} {version} for {alias}{f': {why}' if why else ''}"
            kind = EventKind.PROMOTION_APPROVED
            self._said(tables, model, kind, actor, summary, version=approval.version, alias=alias, note=why)
        self._told(model)
        return approval

    def withdraw(self, model: ModelName, alias: str, version: str, actor: str) -> None:
        """Take back an approval that was not used yet.

        Raises:
            NotFound
        """
        with self._world.store.write() as tables:
            found_model(tables, model)
            name = VersionName(version)
            if not tables.aliases.withdraw(model, AliasName(alias), name, actor):
                raise NotFound("approval that waits", f"{alias} {version} of {actor}"[:140])
            summary = f"{actor} takes back the approval of {model} {version} for {alias}"
            kind = EventKind.PROMOTION_APPROVAL_WITHDRAWN
            self._said(tables, model, kind, actor, summary, version=name, alias=alias)
        self._told(model)

    def promote(
        self, model: ModelName, alias: str, *, source: str, version: str, actor: str, reason: str = ""
    ) -> Model:
        """Let an alias point at what feeds it, if its rule is met. ``version`` is what the caller means by that.

        Raises:
            NotFound, Refused. Conflict: the rule is not met (the message says what is missing), or it says another
            source, or another version is in line, or that is archived or withdrawn.
        """
        why = _checked_reason(reason)
        with self._world.store.write() as tables:
            standing = standing_of(tables, model, AliasName(alias))
            rule, verdict = standing.rule, standing.verdict
            if source != rule.source:
                raise Conflict(f"alias {alias} of {model} is fed by {rule.source}, not by {source[:70]}")
            _check_in_line(standing, version)
            if standing.current == standing.version:
                return found_model(tables, model)
            if verdict.lacks:
                raise Conflict(
                    f"{model} {version} may not become {alias}: {'; '.join(lack.words for lack in verdict.lacks)}",
                    hint=f"see: pinnace promote {model} --from {source} --to {alias} --dry-run",
                    code=Code.RULE_NOT_MET,
                )
            found = found_version(tables, model, version)
            self._move(
                tables, found, rule.alias, actor=actor, reason=why, means=Means.PROMOTED, rollout=verdict.rollout
            )
            promoted = found_model(tables, model)
        self._told(model)
        return promoted

    def _move(
        self,
        tables: Tables,
        version: Version,
        alias: AliasName,
        *,
        actor: str,
        reason: str,
        means: Means,
        rollout: RolloutId | None = None,
    ) -> None:
        """Move an alias in this transaction, end what was, and use up the approvals of the version."""
        model, now = version.model, self._world.clock.now()
        family = found_model(tables, model)
        check_in_use(family, version)
        if version.withdrawn is not None:
            raise Conflict(
                f"version {version.version} of {model} was withdrawn ({version.withdrawn})",
                hint="point the alias at another version",
                code=Code.WITHDRAWN,
            )
        before = family.aliases.get(alias)
        approved = tables.aliases.waiting(model, alias, version.version)
        tables.models.point(model, alias, version.version)
        tables.aliases.end(model, alias, at_s=now, actor=actor, reason=reason)
        number = tables.aliases.begin(
            Pointing(
                model=model,
                alias=alias,
                version=version.version,
                from_s=now,
                actor=actor,
                reason=reason,
                means=means,
                rollout=rollout,
            )
        )
        tables.aliases.use(model, alias, version.version, number)
        how = {Means.SET: "points at", Means.PROMOTED: "was promoted to", Means.FORCED: "was forced to"}[means]
        was, why = f", before {before}" if before else "", f": {reason}" if reason else ""
        tables.events.append(
            Event(
                at_s=now,
                kind=EventKind.ALIAS_FORCED if means is Means.FORCED else EventKind.ALIAS_MOVED,
                severity=Severity.WARNING if means is Means.FORCED else Severity.INFO,
                actor=actor,
                summary=f"alias {alias} of {model} {how} {version.version}{was}{why}",
                model=model,
                version=version.version,
                rollout=rollout,
                data={
                    "alias": alias,
                    "before": before or "",
                    "reason": reason,
                    "means": means.value,
                    "approved_by": ", ".join(sorted(each.person for each in approved)),
                },
            )
        )

    def _said(
        self,
        tables: Tables,
        model: ModelName,
        kind: EventKind,
        actor: str,
        summary: str,
        severity: Severity = Severity.INFO,
        version: VersionName | None = None,
        **data: str,
    ) -> None:
        now = self._world.clock.now()
        tables.events.append(
            Event(
                at_s=now,
                kind=kind,
                actor=actor,
                summary=summary,
                severity=severity,
                model=model,
                version=version,
                data=data,
            )
        )

    def _told(self, model: ModelName) -> None:
        self._world.changes.notify([f"model:{model}", "events"])


def checked_alias(alias: str) -> AliasName:
    """Return an alias.

    Raises:
        Refused
    """
    if _GRAMMAR.fullmatch(alias) is None:
        raise Refused(f"{alias[:70]!r} is not an alias", hint="use lower-case letters, digits and '-', at most 63")
    return AliasName(alias)


def _checked_reason(reason: str) -> str:
    if len(reason) > REASON_CHARS_MAX:
        raise Refused(f"expected a reason of at most {REASON_CHARS_MAX} characters, found {len(reason)}")
    return reason.strip()


def _is_forced(tables: Tables, model: ModelName, alias: AliasName, force: bool, reason: str) -> bool:
    """Tell whether a change by hand goes over a rule.

    Raises:
        Conflict: it would, and is not forced. Refused: it is forced without a reason.
    """
    rule = tables.aliases.rule(model, alias)
    if rule is None:
        return False
    if not force:
        raise Conflict(
            f"alias {alias} of {model} has a rule: it is promoted from {rule.source}",
            hint=f"pinnace promote {model} --from {rule.source} --to {alias}; or force it: --force --reason …",
            code=Code.ALIAS_RULED,
        )
    if not reason:
        raise Refused(f"alias {alias} of {model} has a rule: forcing it needs a reason", hint="say why, for the log")
    return True


def _check_in_line(standing: Standing, version: str) -> None:
    rule = standing.rule
    if standing.version != version:
        found = standing.version or "no version"
        raise Conflict(
            f"alias {rule.source} of {rule.model} points at {found}, not at {version[:70]}",
            hint="look again at what is in line, then name it",
        )


def stretches(
    tables: Tables, model: ModelName, page: Page, *, alias: AliasName | None = None, version: VersionName | None = None
) -> Listing[Stretch]:
    """Return what a model's aliases pointed at, the newest first, with who approved."""
    found = tables.aliases.history(model, page, alias=alias, version=version)
    used = tables.aliases.used(each.number for each in found.rows)
    rows = tuple(
        Stretch(pointing=each, approvals=tuple(one for one in used if one.pointing == each.number))
        for each in found.rows
    )
    return Listing(rows=rows, total=found.total)


def standing_of(tables: Tables, model: ModelName, alias: AliasName) -> Standing:
    """Return what a promotion of an alias would move, and what it lacks.

    Raises:
        NotFound: the model, or the alias has no rule.
    """
    family = found_model(tables, model)
    rule = tables.aliases.rule(model, alias)
    if rule is None:
        raise NotFound(
            "rule of alias",
            alias[:70],
            hint=f"set one with: pinnace alias rule {model} {alias[:70]} --from ALIAS; without one it is set by hand",
        )
    version = family.aliases.get(rule.source)
    tried = _tried(tables, model, version) if version is not None and rule.rollout else ()
    approvals = tables.aliases.waiting(model, alias, version) if version is not None else ()
    return Standing(
        rule=rule,
        version=version,
        current=family.aliases.get(alias),
        verdict=promotion.judge(rule, version, tried, approvals),
        approvals=tuple(approvals),
    )


def _tried(tables: Tables, model: ModelName, version: VersionName) -> tuple[Tried, ...]:
    found: list[Rollout] = []
    for state in (RolloutState.FINISHED, RolloutState.HALTED):
        for offset in range(0, ROLLOUTS_MAX, _PAGE):
            page = Page(limit=_PAGE, offset=offset)
            rows = tables.rollouts.listing(RolloutQuery(model=model, state=state, page=page)).rows
            found += [each for each in rows if each.version == version and each.intent is Intent.UPGRADE]
            if len(rows) < _PAGE:
                break
    counts = tables.rollouts.counts(each.id for each in found)
    return tuple(
        Tried(
            rollout=each.id,
            state=each.state,
            reason=each.reason,
            ended_at_s=each.ended_at_s or each.created_at_s,
            devices=counts.get(each.id, {}),
        )
        for each in found
    )
