"""How each dataclass of the contract is read and written: worked out once per type, from its declaration.

A reader or writer is a function of one value, made for one declared type, JSON's or CBOR's form of it. Paths are put
together only when something does not fit, so that what fits costs little: a server reads thousands a second. Bytes,
size limits and the two formats are ``codec.py``'s.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import math
import types
import typing
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NewType, TypeVar

from pinnace_contract import fields, ids
from pinnace_contract.errors import BadField, Malformed

M = TypeVar("M")
Step = Callable[[Any], Any]
_REQUIRED: Final = dataclasses.MISSING
_NOTHING: Final = object()


class Unfit(Exception):
    """A value that its declaration does not allow. ``where`` grows on the way out, the innermost first."""

    def __init__(self, expected: str, found: object, where: str = "") -> None:
        self.expected, self.found, self.where = expected, found, where
        super().__init__(expected)

    def inside(self, where: str) -> Unfit:
        """Say which part of something larger it was."""
        self.where = where + self.where
        return self


def read(kind: type[M], tree: object, *, compact: bool) -> M:
    """Return the message that a tree of dictionaries, lists and scalars stands for.

    ``compact`` is CBOR's form: integer keys, and bytes as they are.

    Raises:
        ContractError: not this message.
    """
    wanted: Any = kind
    name: str = wanted.KIND
    try:
        found: M = _reader(wanted, compact)(tree)
    except Unfit as error:
        raise BadField(name + error.where, error.expected, error.found) from error
    except RecursionError as error:
        raise Malformed(name, "nested too deeply") from error
    return found


def written(message: object, *, compact: bool) -> dict[Any, Any]:
    """Return a message as a tree, checked against its declared limits.

    Raises:
        BadField
    """
    kind: Any = type(message)
    try:
        tree: dict[Any, Any] = _writer(kind, compact)(message)
    except Unfit as error:
        raise BadField(kind.__name__ + error.where, error.expected, error.found) from error
    return tree


# --- what a dataclass declares -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    name: str
    key: int | None
    kind: Any
    optional: bool
    limits: fields.Limits
    default: Any


def _slots(kind: type) -> tuple[_Slot, ...]:
    hints = typing.get_type_hints(kind)
    found = []
    for field in dataclasses.fields(kind):
        hint, optional = _without_none(hints[field.name])
        limits = fields.limits_of(field)
        found.append(
            _Slot(name=field.name, key=limits.key, kind=hint, optional=optional, limits=limits, default=field.default)
        )
    return tuple(found)


def _without_none(hint: Any) -> tuple[Any, bool]:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        members = [member for member in typing.get_args(hint) if member is not types.NoneType]
        optional = len(members) < len(typing.get_args(hint))
        return (members[0] if len(members) == 1 else tuple(members)), optional
    return hint, False


def _member(kind: Any, limits: fields.Limits) -> tuple[Any, fields.Limits]:
    """Return what a tuple holds, and the limits of each."""
    return _without_none(typing.get_args(kind)[0])[0], fields.Limits(chars=limits.chars)


def _is_tuple(kind: Any) -> bool:
    return typing.get_origin(kind) is tuple


# --- writing ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def _writer(kind: Any, compact: bool) -> Step:
    op = kind.__dict__.get("OP")
    plan = [
        (slot.name, slot.key if compact else slot.name, slot.default, slot.optional, _value_writer(slot, compact))
        for slot in _slots(kind)
    ]

    def write(value: Any) -> dict[Any, Any]:
        tree: dict[Any, Any] = {} if op is None else {"op": op}
        for name, key, default, optional, write_value in plan:
            item = getattr(value, name)
            if item is default or (default is not _REQUIRED and item == default):
                continue
            if item is None:
                if not optional:
                    raise Unfit("a value", None, f".{name}")
                written_item = None
            else:
                try:
                    written_item = write_value(item)
                except Unfit as error:
                    raise error.inside(f".{name}") from None
            if key is None:
                raise Unfit("a field with an integer key", name, f".{name}")
            tree[key] = written_item
        return tree

    return write


def _value_writer(slot: _Slot, compact: bool) -> Step:
    return _writer_of(slot.kind, slot.limits, compact)


def _writer_of(kind: Any, limits: fields.Limits, compact: bool) -> Step:
    if _is_tuple(kind):
        member, inner = _member(kind, limits)
        return _items(limits, _writer_of(member, inner, compact), list)
    if isinstance(kind, tuple) or dataclasses.is_dataclass(kind):
        return _object_writer(kind, compact)
    check = _scalar(kind, limits, strict=True)
    if kind is bytes and not compact:
        return lambda item: base64.b64encode(check(item)).decode()
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return lambda item: str(check(item))
    return check


def _object_writer(kind: Any, compact: bool) -> Step:
    def write(item: Any) -> Any:
        if not isinstance(item, kind):
            raise Unfit(_name(kind), item)
        exactly: Any = type(item)
        return _writer(exactly, compact)(item)

    return write


# --- reading ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def _reader(kind: Any, compact: bool) -> Step:
    plan = [
        (
            slot.name,
            slot.key if compact else slot.name,
            slot.default is _REQUIRED,
            slot.optional,
            _reader_of(slot.kind, slot.limits, compact),
            _name(slot.kind),
        )
        for slot in _slots(kind)
    ]

    def read_object(tree: Any) -> Any:
        if not isinstance(tree, dict):
            raise Unfit("an object", tree)
        values: dict[str, Any] = {}
        for name, key, required, optional, read_value, kind_name in plan:
            item = tree.get(key, _NOTHING)
            if item is _NOTHING:
                if required:
                    raise Unfit("a value", None, f".{name}")
            elif item is None:
                if not optional:
                    raise Unfit(kind_name, None, f".{name}")
                values[name] = None
            else:
                try:
                    values[name] = read_value(item)
                except Unfit as error:
                    raise error.inside(f".{name}") from None
        return kind(**values)

    return read_object


def _reader_of(kind: Any, limits: fields.Limits, compact: bool) -> Step:
    if _is_tuple(kind):
        member, inner = _member(kind, limits)
        return _items(limits, _reader_of(member, inner, compact), tuple)
    if isinstance(kind, tuple):
        return _union_reader(kind, compact)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _reader(kind, compact)
    check = _scalar(kind, limits, strict=False)
    if kind is bytes and not compact:
        return lambda item: check(_from_base64(item))
    return check


def _union_reader(members: tuple[Any, ...], compact: bool) -> Step:
    by_op = {member.OP: _reader(member, compact) for member in members}

    def read_one(item: Any) -> Any:
        op = item.get("op") if isinstance(item, dict) else None
        if not isinstance(op, str) or not op:
            raise Unfit('an object with "op"', item)
        return by_op[op](item) if op in by_op else by_op[""]({"op": op})

    return read_one


# --- both: sequences and scalars -------------------------------------------------------------------------------------


def _items(limits: fields.Limits, step: Step, kind: type[list[Any]] | type[tuple[Any, ...]]) -> Step:
    largest = int(limits.largest if limits.largest is not None else fields.ITEMS_MAX)
    smallest = int(limits.smallest or 0)

    def each(item: Any) -> Any:
        if not isinstance(item, list | tuple):
            raise Unfit("a list", item)
        if not smallest <= len(item) <= largest:
            raise Unfit(f"{smallest} to {largest} items", f"{len(item)} items")
        done: list[Any] = []
        try:
            for one in item:
                done.append(step(one))
        except Unfit as error:
            raise error.inside(f"[{len(done)}]") from None
        return kind(done)

    return each


def _scalar(kind: Any, limits: fields.Limits, *, strict: bool) -> Step:
    if isinstance(kind, NewType):
        return _id(kind)
    if kind is str:
        return _text(limits)
    if kind is bool:
        return _truth
    if kind is int or kind is float:
        return _number(kind, limits)
    if kind is bytes:
        return _bytes(limits)
    return _enum(kind, strict=strict)


def _id(kind: Any) -> Step:
    def check(item: Any) -> Any:
        if not isinstance(item, str) or not ids.fits(kind, item):
            raise Unfit(kind.__name__, item)
        return item

    return check


def _text(limits: fields.Limits) -> Step:
    chars = limits.chars if limits.chars is not None else fields.TEXT_CHARS_MAX

    def check(item: Any) -> Any:
        if not isinstance(item, str):
            raise Unfit("text", item)
        if len(item) > chars:
            raise Unfit(f"at most {chars} characters", f"{len(item)} characters")
        if not item.isascii():
            try:
                item.encode()
            except UnicodeEncodeError as error:
                raise Unfit("text without lone surrogates", item) from error
        return item

    return check


def _truth(item: Any) -> Any:
    if not isinstance(item, bool):
        raise Unfit("true or false", item)
    return item


def _number(kind: type, limits: fields.Limits) -> Step:
    smallest = limits.smallest if limits.smallest is not None else -fields.NUMBER_MAX
    largest = limits.largest if limits.largest is not None else fields.NUMBER_MAX
    # Measured values may be large; only whole numbers must stay exact.
    measured = kind is float and limits.largest is None and limits.smallest is None

    def check(item: Any) -> Any:
        if isinstance(item, bool) or not isinstance(item, int | float):
            raise Unfit("a number", item)
        if kind is int and not isinstance(item, int):
            raise Unfit("a whole number", item)
        if isinstance(item, float):
            if not math.isfinite(item):
                raise Unfit("a finite number", item)
            if measured:
                return item
        if not smallest <= item <= largest:
            raise Unfit(f"a number from {smallest:g} to {largest:g}", item)
        return kind(item)

    return check


def _bytes(limits: fields.Limits) -> Step:
    largest = int(limits.largest if limits.largest is not None else fields.BYTES_MAX)

    def check(item: Any) -> Any:
        if not isinstance(item, bytes):
            raise Unfit("bytes", item)
        if len(item) > largest:
            raise Unfit(f"at most {largest} bytes", f"{len(item)} bytes")
        return item

    return check


def _enum(kind: Any, *, strict: bool) -> Step:
    unknown, known, name = kind["UNKNOWN"], kind._value2member_map_, _name(kind)

    def check(item: Any) -> Any:
        if not isinstance(item, str):
            raise Unfit(name, item)
        found = known.get(item, unknown)
        if strict and found is unknown:
            raise Unfit(f"a known {name}", item)
        return found

    return check


def _from_base64(item: Any) -> bytes:
    if not isinstance(item, str):
        raise Unfit("base64 text", item)
    try:
        return base64.b64decode(item, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unfit("base64 text", item) from error


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", "one of several objects"))
