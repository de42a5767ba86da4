"""What ``pinnace model`` and ``pinnace version`` do besides making and showing: terms, archive, where a version was."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pinnace_server.cli import shown
from pinnace_server.cli.api import Api, CallFailed, quoted
from pinnace_server.cli.asking import Run, add_verb

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_to_models(models: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add what is done to a model."""
    change = add_verb(models, "set", "change a model's description, or what its cards must say", _set)
    change.add_argument("model")
    change.add_argument("--description")
    change.add_argument(
        "--card-required",
        metavar="LIST",
        help="fields that the card of a new version must have, as intended_use,limitations; '' for none",
    )
    for verb, words, run in (
        ("archive", "hide a model, and assign nothing of it any more", _archive_model),
        ("unarchive", "take a model out of the archive", _unarchive_model),
    ):
        _with_reason(models, verb, words, run)


def add_to_versions(versions: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add what is done to a version."""
    for verb, words, run in (
        ("archive", "hide a version, and assign it no more; nothing is deleted", _archive),
        ("unarchive", "take a version out of the archive", _unarchive),
    ):
        _with_reason(versions, verb, words, run).add_argument("version")
    history = add_verb(versions, "history", "show on which device a version was when", _history)
    history.add_argument("model")
    history.add_argument("version", help="a name, or @ALIAS")


def _with_reason(
    verbs: _SubParsersAction[argparse.ArgumentParser], verb: str, words: str, run: Run
) -> argparse.ArgumentParser:
    parser = add_verb(verbs, verb, words, run)
    parser.add_argument("model")
    parser.add_argument("--reason", default="", metavar="WHY", help="kept in the log")
    return parser


def _set(api: Api, chosen: argparse.Namespace) -> int:
    change: dict[str, object] = {}
    if chosen.description is not None:
        change["description"] = chosen.description
    if chosen.card_required is not None:
        change["card_required"] = [each.strip() for each in chosen.card_required.split(",") if each.strip()]
    if not change:
        raise CallFailed("nothing to change", hint="give --description or --card-required")
    model = api.patch(f"/models/{quoted(chosen.model)}", change)
    return _said(
        chosen,
        model,
        [
            ("model", model["name"]),
            ("description", model["description"]),
            ("card must have", model["card_required"]),
        ],
    )


def _archive_model(api: Api, chosen: argparse.Namespace) -> int:
    model = api.post(f"/models/{quoted(chosen.model)}/archive", {"reason": chosen.reason})
    return _said(chosen, model, [("model", model["name"]), ("archived", shown.at(model["archived_at_s"]))])


def _unarchive_model(api: Api, chosen: argparse.Namespace) -> int:
    model = api.post(f"/models/{quoted(chosen.model)}/unarchive", {"reason": chosen.reason})
    return _said(chosen, model, [("model", model["name"]), ("archived", "no")])


def _archive(api: Api, chosen: argparse.Namespace) -> int:
    version = api.post(f"{_path(chosen)}/archive", {"reason": chosen.reason})
    archived = shown.at(version["archived_at_s"])
    return _said(chosen, version, [("version", f"{version['model']} {version['version']}"), ("archived", archived)])


def _unarchive(api: Api, chosen: argparse.Namespace) -> int:
    version = api.post(f"{_path(chosen)}/unarchive", {"reason": chosen.reason})
    return _said(chosen, version, [("version", f"{version['model']} {version['version']}"), ("archived", "no")])


def _history(api: Api, chosen: argparse.Namespace) -> int:
    devices = list(api.all(f"{_path(chosen)}/history"))
    if chosen.json:
        print(shown.as_json(devices))
        return 0
    rows = [(row["device"], stay) for row in devices for stay in row["stays"]]
    print(shown.table(("DEVICE", "FROM", "UNTIL", "LEFT FOR"), [_stay(device, stay) for device, stay in rows]))
    return 0


def _stay(device: str, stay: dict[str, Any]) -> tuple[object, ...]:
    left = stay["until_s"] is not None
    until = shown.at(stay["until_s"]) if left else "now"
    return (device, shown.at(stay["since_s"]), until, (stay["left_for"] or "no model") if left else "")


def _said(chosen: argparse.Namespace, answer: dict[str, Any], words: list[tuple[str, object]]) -> int:
    print(shown.as_json(answer) if chosen.json else shown.pairs(words))
    return 0


def _path(chosen: argparse.Namespace) -> str:
    return f"/models/{quoted(chosen.model)}/versions/{quoted(chosen.version)}"
