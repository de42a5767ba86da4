"""Frozen dataclasses from dictionaries, lists and scalars, as JSON and YAML give them, and back; for what people write.

Stricter than the contract's codec, which must live with newer peers: an unknown key or word is refused with the nearest
known one, and an error names the path, what was expected and what was found. A part that is given only in places keeps
the rest of *its* default, so ``errors: {ratio: 1.1}`` keeps the points that ``errors`` has by default. A class with a
``SHORT`` may be given as that field alone, one of a union as its ``KIND`` alone.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NewType, TypeVar

from pinnace_contract import fields
from pinnace_server.errors import Refused

M = TypeVar("M")
KIND: Final = "kind"
"""The key that tells the members of a union apart."""

_SHOWN_CHARS: Final = 80  # enough to recognise a value, too little to fill a log with a hostile one
_MISSING: Final = dataclasses.MISSING


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """How a value that is not a plain dataclass is spelled. ``read`` raises ValueError with what was expected."""

    read: Callable[[object], object]
    write: Callable[[Any], object]


Leaves = Mapping[object, Leaf]
"""By declared type; a union is named with ``either``."""


def read(kind: type[M], tree: object, name: str, leaves: Leaves) -> M:
    """Return the value that a tree stands for; ``name`` begins every path in errors.

    Raises:
        Refused
    """
    found: M = _Reader(leaves).value(kind, fields.Limits(), tree, name, None)
    return found


def written(value: object, leaves: Leaves) -> dict[str, object]:
    """Return a dataclass as a tree with every field in it, so that a default changed later changes no stored value."""
    tree = _written(type(value), value, leaves)
    assert isinstance(tree, dict)
    return tree


def either(*members: object) -> object:
    """Return the name of a union in ``Leaves``, whatever the order in which it was declared."""
    return frozenset(members)


# --- what a dataclass declares ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    kind: Any
    limits: fields.Limits
    default: Any


@lru_cache(maxsize=256)
def _fields(kind: Any) -> Mapping[str, _Field]:
    hints = typing.get_type_hints(kind)
    return {
        each.name: _Field(kind=hints[each.name], limits=fields.limits_of(each), default=each.default)
        for each in dataclasses.fields(kind)
    }


def _members(kind: Any) -> tuple[Any, ...]:
    """Return what a union is made of, without None; one member for anything else."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return tuple(member for member in typing.get_args(kind) if member is not types.NoneType)
    return (kind,)


def _leaf(members: tuple[Any, ...], leaves: Leaves) -> Leaf | None:
    return leaves.get(members[0] if len(members) == 1 else either(*members))


def _item(kind: Any) -> Any:
    return typing.get_args(kind)[0]


def _words(kind: type[StrEnum]) -> dict[str, StrEnum]:
    return {word.value: word for word in kind if word.name != "UNKNOWN"}  # which is what a newer peer said, never ours


# --- writing ------------------------------------------------------------------------------------------------------


def _written(kind: Any, value: Any, leaves: Leaves) -> object:
    members = _members(kind)
    leaf = _leaf(members, leaves)
    if value is None:
        return None
    if leaf is not None:
        return leaf.write(value)
    if isinstance(value, tuple):
        return [_written(_item(members[0]), each, leaves) for each in value]
    if dataclasses.is_dataclass(value):
        made: Any = type(value)
        tree: dict[str, object] = {KIND: made.KIND} if len(members) > 1 else {}
        for name, each in _fields(made).items():
            tree[name] = _written(each.kind, getattr(value, name), leaves)
        return tree
    if isinstance(value, StrEnum):
        return value.value
    return float(value) if members[0] is float else value  # 2 and 2.0 are equal, and must be spelled alike


# --- reading ------------------------------------------------------------------------------------------------------


class _Reader:
    def __init__(self, leaves: Leaves) -> None:
        self._leaves = leaves

    def value(self, kind: Any, limits: fields.Limits, tree: object, path: str, base: object) -> Any:
        members = _members(kind)
        optional = members != (kind,) and types.NoneType in typing.get_args(kind)
        if optional and tree is None:
            return None
        leaf = _leaf(members, self._leaves)
        if leaf is not None:
            return _from_leaf(leaf, tree, path, optional)
        only, *more = members
        if more:
            return self._one_of(members, tree, path)
        wanted: Any = only.__supertype__ if isinstance(only, NewType) else only
        if typing.get_origin(wanted) is tuple:
            return self._list(_item(wanted), limits, tree, path)
        if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
            return self._parts(wanted, tree, path, base, optional)
        return _scalar(wanted, limits, tree, path, optional)

    def _parts(self, kind: Any, tree: object, path: str, base: object, optional: bool) -> Any:
        known = _fields(kind)
        base = base if isinstance(base, kind) else None
        short = getattr(kind, "SHORT", None)
        if not isinstance(tree, Mapping):
            if short is None or tree is None or isinstance(tree, bool):
                raise _unfit(path, f"a mapping with {', '.join(known) or 'nothing in it'}", tree, optional=optional)
            tree = {short: tree}
        for key in tree:
            if key not in known:
                raise _unknown_key(path, key, known)
        values: dict[str, object] = {}
        for name, each in known.items():
            default = each.default if base is None else getattr(base, name)
            if name in tree:
                values[name] = self.value(each.kind, each.limits, tree[name], f"{path}.{name}", default)
            elif default is _MISSING:
                raise Refused(f"{path}: expected {name!r}, which has no default, found {_shown_keys(tree)}")
            else:
                values[name] = default
        return kind(**values)

    def _one_of(self, members: tuple[Any, ...], tree: object, path: str) -> Any:
        kinds = {member.KIND: member for member in members}
        word = tree.get(KIND) if isinstance(tree, Mapping) else tree
        if not isinstance(word, str) or word not in kinds:
            if isinstance(tree, Mapping):
                path = f"{path}.{KIND}"
            raise _unfit(path, f"one of {', '.join(kinds)}", word, hint=_near(word, kinds))
        parts = {key: value for key, value in tree.items() if key != KIND} if isinstance(tree, Mapping) else {}
        return self._parts(kinds[word], parts, path, None, False)

    def _list(self, kind: Any, limits: fields.Limits, tree: object, path: str) -> tuple[Any, ...]:
        least = int(limits.smallest or 0)
        most = int(fields.ITEMS_MAX if limits.largest is None else limits.largest)
        if not isinstance(tree, list | tuple) or not least <= len(tree) <= most:
            found = f"a list of {len(tree)}" if isinstance(tree, list | tuple) else _shown(tree)
            raise Refused(f"{path}: expected a list of {least} to {most}, found {found}")
        each = fields.Limits(chars=limits.chars)
        return tuple(self.value(kind, each, item, f"{path}[{at}]", None) for at, item in enumerate(tree))


def _from_leaf(leaf: Leaf, tree: object, path: str, optional: bool) -> object:
    try:
        return leaf.read(tree)
    except ValueError as error:
        raise _unfit(path, str(error), tree, optional=optional) from error
    except Refused as error:
        raise Refused(f"{path}: {error.message}", hint=error.hint, code=error.code) from error


def _scalar(kind: Any, limits: fields.Limits, tree: object, path: str, optional: bool) -> object:
    if kind is bool:
        if isinstance(tree, bool):
            return tree
        raise _unfit(path, "true or false", tree, optional=optional)
    if kind is int or kind is float:
        return _number(kind, limits, tree, path, optional)
    if issubclass(kind, StrEnum):
        words = _words(kind)
        if isinstance(tree, str) and tree in words:
            return words[tree]
        raise _unfit(path, f"one of {', '.join(words)}", tree, hint=_near(tree, words), optional=optional)
    assert kind is str, f"{path}: no way to read a {kind}"
    chars = fields.TEXT_CHARS_MAX if limits.chars is None else limits.chars
    if isinstance(tree, str) and 0 < len(tree) <= chars:
        return tree
    raise _unfit(path, f"a text of 1 to {chars} characters", tree, optional=optional)


def _number(kind: Any, limits: fields.Limits, tree: object, path: str, optional: bool) -> float:
    least = 0 if limits.smallest is None else limits.smallest
    most = fields.NUMBER_MAX if limits.largest is None else limits.largest
    allowed = isinstance(tree, int if kind is int else int | float) and not isinstance(tree, bool)
    if allowed and isinstance(tree, int | float) and least <= tree <= most:  # which nan is not
        number: float = kind(tree)
        return number
    word = "whole number" if kind is int else "number"
    raise _unfit(path, f"a {word} from {least:,.10g} to {most:,.20g}".replace(",", ""), tree, optional=optional)


# --- saying what was wrong ----------------------------------------------------------------------------------------


def _unfit(path: str, expected: str, found: object, *, hint: str = "", optional: bool = False) -> Refused:
    return Refused(f"{path}: expected {expected}{' or null' if optional else ''}, found {_shown(found)}", hint=hint)


def _unknown_key(path: str, key: object, known: Mapping[str, _Field]) -> Refused:
    hint = _near(key, known) or (f"known here: {', '.join(known)}" if known else "nothing can be set here")
    return Refused(f"{path}: unknown key {_shown(key)}", hint=hint)


def _near(word: object, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(str(word)[:_SHOWN_CHARS].lower(), known, n=1) if isinstance(word, str) else []
    return f"did you mean {near[0]!r}?" if near else ""


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return _shown_keys(value)
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) > fields.NUMBER_MAX:
        return "a number too large to show"  # thousands of digits, perhaps, which Python refuses to print
    text = "null" if value is None else ascii(value)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"


def _shown_keys(tree: Mapping[object, object]) -> str:
    text = f"a mapping with {', '.join(str(key)[:20] for key in list(tree)[:4])}" if tree else "an empty mapping"
    return text if len(tree) <= 4 else text + ", …"
