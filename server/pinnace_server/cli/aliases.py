"""``pinnace alias`` and ``pinnace promote``: what versions are called, by which rule, since when and why."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from pinnace_contract.ids import ModelName
from pinnace_server.cli import shown
from pinnace_server.cli.api import Api, CallFailed, quoted
from pinnace_server.cli.asking import add_group, add_verb

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_VERB: Final = "alias"
_WHAT: Final = ("set", "history", "rule")
_MEANS: Final = {"set": "set by hand", "promoted": "promoted by its rule", "forced": "forced past its rule"}
_HEADS: Final = ("ALIAS", "VERSION", "FROM", "UNTIL", "HOW", "BY", "WHY", "APPROVED BY", "ENDED BY")


def spelled_out(words: Sequence[str]) -> list[str]:
    """Return a command line in which the short ``alias MODEL ALIAS [VERSION]`` is ``alias set``."""
    said = list(words)
    if said[:1] == [_VERB] and len(said) > 1 and said[1] not in (*_WHAT, "-h", "--help"):
        return [_VERB, "set", *said[1:]]
    return said


def add_parsers(verbs: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs."""
    alias = add_group(verbs, _VERB, "names that point at versions; `alias MODEL ALIAS [VERSION]` is short for set")
    point = add_verb(alias, "set", "let an alias point at a version", _point)
    point.add_argument("model")
    point.add_argument("alias", help="as production")
    point.add_argument("version", nargs="?", help="left out: remove the alias")
    point.add_argument("--reason", default="", metavar="WHY", help="kept in the history")
    point.add_argument("--force", action="store_true", help="go over the alias's rule; needs --reason")

    history = add_verb(alias, "history", "show what aliases pointed at, since when, and who moved them", _history)
    history.add_argument("model")
    history.add_argument("alias", nargs="?", help="left out: every alias")

    rule = add_verb(alias, "rule", "show or set the rule by which an alias moves", _rule)
    rule.add_argument("model")
    rule.add_argument("alias", nargs="?", help="left out: show every rule")
    rule.add_argument("--from", dest="source", metavar="ALIAS", help="the alias that feeds it")
    rule.add_argument(
        "--needs", metavar="LIST", default="rollout", help="rollout (default), or none: what the version must have"
    )
    rule.add_argument("--approvals", type=int, default=0, metavar="N", help="different people who must approve")
    rule.add_argument(
        "--failures-max", type=int, default=0, metavar="N", help="devices of the rollout that may have failed"
    )
    rule.add_argument("--remove", action="store_true", help="take the rule away; the log says who did")

    promote = add_verb(verbs, "promote", "move an alias on by its rule", _promote)
    promote.add_argument("model")
    promote.add_argument("--from", dest="source", required=True, metavar="ALIAS", help="as staging")
    promote.add_argument("--to", dest="alias", required=True, metavar="ALIAS", help="as production")
    promote.add_argument("--approve", action="store_true", help="approve the version that is in line first")
    promote.add_argument("--withdraw", action="store_true", help="take your approval back, and move nothing")
    promote.add_argument("--dry-run", action="store_true", help="show what is in line and what is missing")
    promote.add_argument("--reason", default="", metavar="WHY", help="kept in the history")


def _point(api: Api, chosen: argparse.Namespace) -> int:
    path = _path(chosen)
    if chosen.version is None:
        api.delete(path, reason=chosen.reason, force="true" if chosen.force else None)
        if not chosen.json:
            print(f"{chosen.alias} of {chosen.model} points at no version any more; its history stays")
        return 0
    model = api.put(path, {"version": chosen.version, "reason": chosen.reason, "force": chosen.force})
    print(shown.as_json(model) if chosen.json else _points(chosen, model))
    return 0


def _points(chosen: argparse.Namespace, model: dict[str, Any]) -> str:
    return shown.cell(f"{chosen.alias} of {chosen.model} points at {model['aliases'][chosen.alias]} now", 400)


def _history(api: Api, chosen: argparse.Namespace) -> int:
    of_all = f"/models/{quoted(chosen.model)}/alias-history"
    rows = list(api.all(f"{_path(chosen)}/history" if chosen.alias else of_all))
    if chosen.json:
        print(shown.as_json(rows))
    else:
        none = f"no alias of {chosen.model} ever pointed at a version"
        print(shown.table(_HEADS, map(_stretch, rows)) if rows else none)
    return 0


def _stretch(row: dict[str, Any]) -> tuple[object, ...]:
    means = _MEANS.get(row["means"], row["means"])
    how = f"{means} after {row['rollout']}" if row["rollout"] else means
    people = [each["person"] for each in row["approvals"]]
    until = shown.at(row["until_s"]) if row["until_s"] is not None else "now"
    return (
        row["alias"],
        row["version"],
        shown.at(row["from_s"]),
        until,
        how,
        row["actor"],
        row["reason"],
        people,
        f"{row['ended_by']}: {row['ended_reason']}" if row["ended_reason"] else row["ended_by"],
    )


def _rule(api: Api, chosen: argparse.Namespace) -> int:
    if chosen.alias is None or not (chosen.source or chosen.remove):
        return _rules(api, chosen)
    path = f"{_path(chosen)}/rule"
    if chosen.remove:
        api.delete(path)
        if not chosen.json:
            print(f"{chosen.alias} of {chosen.model} has no rule any more: it is set by hand")
        return 0
    needs = [] if chosen.needs == "none" else chosen.needs.split(",")
    if unknown := [each for each in needs if each != "rollout"]:
        raise CallFailed(f"--needs: expected rollout or none, found {unknown[0]!r}")
    asked = {"source": chosen.source, "needs": needs, "approvals": chosen.approvals}
    made = api.put(path, {**asked, "failures_max": chosen.failures_max})
    print(shown.as_json(made) if chosen.json else rule_words(made))
    return 0


def _rules(api: Api, chosen: argparse.Namespace) -> int:
    rows = api.get(f"/models/{quoted(chosen.model)}/rules")["items"]
    rows = [row for row in rows if chosen.alias in (None, row["alias"])]
    if chosen.json:
        print(shown.as_json(rows))
    else:
        print(
            "\n".join(map(rule_words, rows))
            or f"{chosen.alias or 'every alias'} of {chosen.model} has no rule: it is set by hand"
        )
    return 0


def rule_words(rule: dict[str, Any]) -> str:
    """Return a rule as a sentence."""
    from pinnace_server.domain.aliases import AliasRule, in_words

    known = AliasRule(
        model=ModelName(""),
        alias=rule["alias"],
        source=rule["source"],
        rollout="rollout" in rule["needs"],
        failures_max=rule["failures_max"],
        approvals=rule["approvals"],
    )
    return shown.cell(f"{known.alias} is {in_words(known)}", 400)


def _promote(api: Api, chosen: argparse.Namespace) -> int:
    path = _path(chosen)
    standing = api.get(f"{path}/promotion")
    if chosen.dry_run:
        print(shown.as_json(standing) if chosen.json else standing_words(standing))
        return 0
    version = standing["version"]
    if version is None:
        raise CallFailed(f"{chosen.source} of {chosen.model} points at no version", hint="nothing is in line")
    if chosen.withdraw:
        api.delete(f"{path}/approvals/{quoted(version)}")
        if not chosen.json:
            print(f"your approval of {chosen.model} {version} for {chosen.alias} is taken back")
        return 0
    if chosen.approve:
        api.post(f"{path}/approvals", {"version": version, "note": chosen.reason})
        if not chosen.json:
            shown.say(f"your approval of {chosen.model} {version} is recorded")
    asked = {"source": chosen.source, "version": version, "reason": chosen.reason}
    model = api.post(f"{path}/promotion", asked)
    print(shown.as_json(model) if chosen.json else _points(chosen, model))
    return 0


def standing_words(standing: dict[str, Any]) -> str:
    """Return how a promotion stands."""
    head = shown.pairs(
        [
            ("rule", rule_words(standing["rule"])),
            ("points at", standing["current"] or "no version"),
            ("in line", standing["version"] or "no version"),
            ("rollout", standing["rollout"] or "none that proves it"),
            ("approved by", [each["person"] for each in standing["approvals"]] or "nobody"),
            ("ready", standing["ready"]),
        ]
    )
    if standing["version"] is not None and standing["version"] == standing["current"]:
        return f"{head}\nnothing to move: it points at what is in line already"
    return "\n".join([head, *(f"missing: {shown.cell(each['words'], 400)}" for each in standing["missing"])])


def _path(chosen: argparse.Namespace) -> str:
    return f"/models/{quoted(chosen.model)}/aliases/{quoted(chosen.alias)}" if chosen.alias else ""
