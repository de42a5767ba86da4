"""A model card from a file: YAML or JSON are named fields, Markdown is free text with fields in its front matter.

The model says which fields it must have.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pinnace_server.cli.api import Answer, CallFailed
from pinnace_server.domain.card import missing as missing_of
from pinnace_server.errors import Code

CARD_BYTES_MAX: Final = 1024 * 1024  # far above what the server takes: it says more exactly what is too much
_FENCE: Final = "---"
_YAML: Final = (".yaml", ".yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Free text and named fields."""

    text: str = ""
    fields: dict[str, str] = field(default_factory=dict)


def read(path: Path) -> Card:
    """Read a card.

    Raises:
        CallFailed: it cannot be read, or is not what its name says.
    """
    try:
        if path.stat().st_size > CARD_BYTES_MAX:
            raise CallFailed(f"{path}: expected a card of at most {CARD_BYTES_MAX} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CallFailed(f"{path} cannot be read: {error}") from error
    if path.suffix.lower() == ".json":
        return Card(fields=_fields(path, _from_json(path, text)))
    if path.suffix.lower() in _YAML:
        return Card(fields=_fields(path, _from_yaml(path, text)))
    front, body = _divided(path, text)
    return Card(text=body) if front is None else Card(text=body, fields=_fields(path, _from_yaml(path, front)))


def check(card: Card, model: Answer) -> None:
    """Make sure that a card has what a model asks for, before anything is uploaded; the server looks again.

    Raises:
        CallFailed: with the fields that are missing.
    """
    if missing := missing_of(model["card_required"], card.fields):
        raise CallFailed(
            f"the card of a version of {model['name']} must have {', '.join(model['card_required'])}; "
            f"missing: {', '.join(missing)}",
            hint="give a card with these fields: --card FILE",
            code=Code.CARD_INCOMPLETE,
        )


def _divided(path: Path, text: str) -> tuple[str | None, str]:
    """Return front matter, which is between two lines of three dashes at the very beginning, and the rest."""
    lines = text.splitlines(keepends=True)
    if not lines or lines[0].rstrip() != _FENCE:
        return None, text
    end = next((n for n, line in enumerate(lines) if n and line.rstrip() == _FENCE), None)
    if end is None:
        raise CallFailed(
            f"{path}: its front matter begins with {_FENCE} and does not end",
            hint=f"close it with a line of {_FENCE}, or begin the text with another line",
        )
    return "".join(lines[1:end]), "".join(lines[end + 1 :]).lstrip("\n")


def _from_json(path: Path, text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CallFailed(f"{path}: expected JSON, found {error}") from error


def _from_yaml(path: Path, text: str) -> object:
    import yaml

    try:
        return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 -- it makes texts, lists and maps, nothing else
    except yaml.YAMLError as error:
        found = " ".join(str(error).split())
        raise CallFailed(f"{path}: expected YAML, found {found}") from error


def _fields(path: Path, tree: object) -> dict[str, str]:
    if tree is None or tree == "":
        return {}
    if not isinstance(tree, dict):
        raise CallFailed(f"{path}: expected a map of named fields, found {_kind(tree)}")
    return {str(name): _text(path, str(name), value) for name, value in tree.items()}


def _text(path: Path, name: str, value: Any) -> str:
    """A field is text; a list of texts is written as one, a number as it stands."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(each, str | int | float) for each in value):
        return ", ".join(str(each) for each in value)
    raise CallFailed(
        f"{path}: field {name!r}: expected text, found {_kind(value)}", hint="a card's fields are flat: one text each"
    )


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    return "text" if isinstance(value, str) else "a number"
