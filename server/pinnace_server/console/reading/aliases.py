"""A model's aliases: where they point and pointed, by which rule they move, and what that lacks."""

from __future__ import annotations

from typing import Final

from pinnace_server.console.reading import values
from pinnace_server.console.shown_aliases import AliasRow, Pointing
from pinnace_server.domain import aliases as domain
from pinnace_server.domain.queries import Page
from pinnace_server.domain.records import AliasName, Model
from pinnace_server.service import aliases
from pinnace_server.service.ports import Tables

STRETCHES_SHOWN: Final = 20  # the newest; the whole history is the command line's


def history(tables: Tables, model: Model) -> tuple[tuple[Pointing, ...], int]:
    """Return the newest stretches of a model's aliases, and how many there are."""
    found = aliases.stretches(tables, model.name, Page(limit=STRETCHES_SHOWN))
    return tuple(_pointing(each) for each in found.rows), found.total


def standing(tables: Tables, model: Model) -> tuple[AliasRow, ...]:
    """Return every alias that points at a version or has a rule, by name."""
    rules = {rule.alias for rule in tables.aliases.rules(model.name)}
    return tuple(_row(tables, model, alias, alias in rules) for alias in sorted({*model.aliases, *rules}))


def _row(tables: Tables, model: Model, alias: AliasName, ruled: bool) -> AliasRow:
    newest = aliases.stretches(tables, model.name, Page(limit=1), alias=alias).rows
    now = next((_pointing(each) for each in newest if each.pointing.until_s is None), None)
    version = model.aliases.get(alias)
    row = AliasRow(alias=alias, version=version or "", now=now)
    return _with_rule(row, model, aliases.standing_of(tables, model.name, alias)) if ruled else row


def _with_rule(row: AliasRow, model: Model, found: aliases.Standing) -> AliasRow:
    in_line = found.version if found.version != found.current else None
    command = f"pinnace promote {model.name} --from {found.rule.source} --to {row.alias}"
    return AliasRow(
        alias=row.alias,
        version=row.version,
        now=row.now,
        rule=domain.in_words(found.rule),
        in_line=in_line or "",
        missing=tuple(lack.words for lack in found.verdict.lacks) if in_line is not None else (),
        approved_by=found.verdict.approved_by if in_line is not None else (),
        command=command if in_line is not None and not found.verdict.lacks else "",
    )


def _pointing(found: aliases.Stretch) -> Pointing:
    one = found.pointing
    return Pointing(
        alias=one.alias,
        version=one.version,
        since=values.moment(one.from_s),
        means=one.means,
        by=one.actor,
        reason=one.reason,
        rollout=one.rollout or "",
        approved_by=tuple(each.person for each in found.approvals),
        until=values.moment_or_none(one.until_s),
        ended_by=one.ended_by,
        ended_reason=one.ended_reason,
    )
