"""Bytes to messages and back, driven by the dataclasses themselves.

Reading is bounded before it is parsed, ignores unknown fields, maps unknown enum values to ``UNKNOWN`` and refuses
everything else that a message's declaration does not allow, always with a ``ContractError``. Writing is strict and
canonical: sorted keys, no spaces, fields at their default left out (so a default, once released, never changes).
JSON for control messages; CBOR with integer keys, compressed, for reports. Signatures are left to ``envelope.py``.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import math
import types
import typing
import zlib
from enum import StrEnum
from functools import lru_cache
from typing import Any, ClassVar, Final, NewType, Protocol, TypeVar

import cbor2

from pinnace_contract import fields, ids
from pinnace_contract.errors import BadField, ContractError, Malformed, TooLarge

INFLATED_BYTES_MAX: Final = 1024 * 1024  # a report of 64 KiB may grow this far, no further


class Message(Protocol):
    """A dataclass with a name and a size limit of its own."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    KIND: ClassVar[str]
    BYTES_MAX: ClassVar[int]


M = TypeVar("M", bound=Message)


def to_json(message: Message) -> bytes:
    """Return the canonical JSON of a message.

    Raises:
        TooLarge: over the message's own limit.
        BadField: a value outside its declared limits (ours to mend: we are strict in what we send).
    """
    return _within(message.KIND, canonical_json(plain(message)), message.BYTES_MAX)


def from_json(kind: type[M], data: bytes) -> M:
    """Read one message of the given kind.

    Raises:
        ContractError: too large, not JSON, or not this message.
    """
    return _from_tree(kind, parse_json(kind.KIND, data, kind.BYTES_MAX))


def to_cbor(message: Message) -> bytes:
    """Return the compressed CBOR of a message whose fields have integer keys.

    Raises:
        TooLarge: over the message's own limit.
        BadField: a value outside its declared limits.
    """
    packed = zlib.compress(cbor2.dumps(_written(message, type(message).__name__, compact=True), canonical=True), 6)
    return _within(message.KIND, packed, message.BYTES_MAX)


def from_cbor(kind: type[M], data: bytes) -> M:
    """Read one compressed CBOR message of the given kind.

    Raises:
        ContractError: too large (compressed or not), not CBOR, or not this message.
    """
    _within(kind.KIND, data, kind.BYTES_MAX)
    return _from_tree(kind, parse_cbor(kind.KIND, inflate(kind.KIND, data)), compact=True)


def plain(message: object) -> dict[str, Any]:
    """Return a message as dictionaries, lists, texts and numbers, checked against its declared limits."""
    tree: dict[str, Any] = _written(message, type(message).__name__, compact=False)
    return tree


def from_plain(kind: type[M], tree: object) -> M:
    """Read a message from dictionaries and lists, as a signed file of another format carries it.

    Raises:
        ContractError: not this message.
    """
    return _from_tree(kind, tree)


def canonical_json(tree: object) -> bytes:
    """Return the one spelling of a JSON value that is signed and hashed here."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def contract_digest(part: object) -> ids.Digest:
    """Return the digest of a part of a message (an I/O contract, say) over its canonical JSON."""
    return ids.digest_of(canonical_json(plain(part)))


def parse_json(what: str, data: bytes, size_bytes_max: int) -> object:
    """Parse bounded, unambiguous JSON: no duplicate keys, no NaN, no unbounded nesting.

    Raises:
        TooLarge, Malformed
    """
    _within(what, data, size_bytes_max)
    try:
        return json.loads(data.decode(), parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except ContractError:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed(what, f"not JSON ({type(error).__name__})") from error


def parse_cbor(what: str, data: bytes) -> object:
    """Parse CBOR whose size the caller has bounded.

    Raises:
        Malformed
    """
    try:
        return cbor2.loads(data)
    except Exception as error:  # its decoders of tagged values raise whatever the value's own type raises
        raise Malformed(what, f"not CBOR ({type(error).__name__})") from error


def inflate(what: str, data: bytes) -> bytes:
    """Decompress at most ``INFLATED_BYTES_MAX`` bytes.

    Raises:
        TooLarge, Malformed
    """
    inflater = zlib.decompressobj()
    try:
        plain_bytes = inflater.decompress(data, INFLATED_BYTES_MAX + 1)
    except zlib.error as error:
        raise Malformed(what, "not a zlib stream") from error
    _within(what, plain_bytes, INFLATED_BYTES_MAX)
    if not inflater.eof or inflater.unused_data:
        raise Malformed(what, "the zlib stream is cut off or has something behind it")
    return plain_bytes


def _within(what: str, data: bytes, size_bytes_max: int) -> bytes:
    if len(data) > size_bytes_max:
        raise TooLarge(what, len(data), size_bytes_max)
    return data


def _refuse_constant(name: str) -> object:
    raise Malformed("number", f"{name} is not a JSON number")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise Malformed("object", "a key stands twice")
    return tree


# --- what a dataclass declares, worked out once per type ---------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    name: str
    key: int | None
    kind: Any
    optional: bool
    limits: fields.Limits
    default: Any


@lru_cache(maxsize=256)
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


# --- writing ------------------------------------------------------------------------------------------------------


def _written(value: Any, path: str, *, compact: bool) -> Any:
    tree: dict[Any, Any] = {}
    if "OP" in type(value).__dict__:
        tree["op"] = value.OP
    kind: Any = type(value)
    for slot in _slots(kind):
        item = getattr(value, slot.name)
        if item == slot.default and slot.default is not dataclasses.MISSING:
            continue
        where = f"{path}.{slot.name}"
        if item is None:
            if not slot.optional:
                raise BadField(where, "a value", None)
            written = None
        else:
            written = _written_value(item, slot.kind, slot.limits, where, compact=compact)
        if compact and slot.key is None:
            raise BadField(where, "a field with an integer key", slot.name)
        tree[slot.key if compact else slot.name] = written
    return tree


def _written_value(item: Any, kind: Any, limits: fields.Limits, path: str, *, compact: bool) -> Any:
    if typing.get_origin(kind) is tuple:
        items = _check_items(item, limits, path)
        member, _ = _without_none(typing.get_args(kind)[0])
        inner = fields.Limits(chars=limits.chars)
        return [_written_value(each, member, inner, f"{path}[{i}]", compact=compact) for i, each in enumerate(items)]
    if isinstance(kind, tuple) or dataclasses.is_dataclass(kind):
        members: Any = kind
        if not isinstance(item, members):
            raise BadField(path, _name(kind), item)
        return _written(item, path, compact=compact)
    checked = _read_scalar(item, kind, limits, path, strict=True)
    if isinstance(checked, bytes) and not compact:
        return base64.b64encode(checked).decode()
    return str(checked) if isinstance(checked, StrEnum) else checked


# --- reading ------------------------------------------------------------------------------------------------------


def _from_tree(kind: type[M], tree: object, *, compact: bool = False) -> M:
    try:
        message: M = _read(kind, tree, kind.KIND, compact=compact)
    except RecursionError as error:
        raise Malformed(kind.KIND, "nested too deeply") from error
    return message


def _read(kind: type, tree: object, path: str, *, compact: bool) -> Any:
    if not isinstance(tree, dict):
        raise BadField(path, "an object", tree)
    values: dict[str, Any] = {}
    for slot in _slots(kind):
        where = f"{path}.{slot.name}"
        key = slot.key if compact else slot.name
        if key not in tree:
            if slot.default is dataclasses.MISSING:
                raise BadField(where, "a value", None)
            continue
        item = tree[key]
        if item is None:
            if not slot.optional:
                raise BadField(where, _name(slot.kind), None)
            values[slot.name] = None
        else:
            values[slot.name] = _read_value(item, slot.kind, slot.limits, where, compact=compact)
    return kind(**values)


def _read_value(item: object, kind: Any, limits: fields.Limits, path: str, *, compact: bool) -> Any:
    if typing.get_origin(kind) is tuple:
        items = _check_items(item, limits, path)
        member, _ = _without_none(typing.get_args(kind)[0])
        inner = fields.Limits(chars=limits.chars)
        return tuple(_read_value(each, member, inner, f"{path}[{i}]", compact=compact) for i, each in enumerate(items))
    if isinstance(kind, tuple):
        return _read_union(item, kind, path, compact=compact)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _read(kind, item, path, compact=compact)
    if kind is bytes and not compact:
        item = _from_base64(item, path)
    return _read_scalar(item, kind, limits, path, strict=False)


def _read_union(item: object, members: tuple[Any, ...], path: str, *, compact: bool) -> Any:
    op = item.get("op") if isinstance(item, dict) else None
    if not isinstance(op, str) or not op:
        raise BadField(path, 'an object with "op"', item)
    by_op = {member.OP: member for member in members}
    if op in by_op:
        return _read(by_op[op], item, path, compact=compact)
    return _read(by_op[""], {"op": op}, path, compact=compact)


def _read_scalar(item: object, kind: Any, limits: fields.Limits, path: str, *, strict: bool) -> Any:
    if isinstance(kind, NewType):
        if not isinstance(item, str) or not ids.fits(kind, item):
            raise BadField(path, kind.__name__, item)
        return item
    if kind is str:
        return _read_text(item, limits, path)
    if kind is bool:
        if not isinstance(item, bool):
            raise BadField(path, "true or false", item)
        return item
    if kind is int or kind is float:
        return _read_number(item, kind, limits, path)
    if kind is bytes:
        if not isinstance(item, bytes):
            raise BadField(path, "bytes", item)
        largest = int(limits.largest if limits.largest is not None else fields.BYTES_MAX)
        if len(item) > largest:
            raise BadField(path, f"at most {largest} bytes", f"{len(item)} bytes")
        return item
    return _read_enum(item, kind, path, strict=strict)


def _read_text(item: object, limits: fields.Limits, path: str) -> str:
    chars = limits.chars if limits.chars is not None else fields.TEXT_CHARS_MAX
    if not isinstance(item, str):
        raise BadField(path, "text", item)
    if len(item) > chars:
        raise BadField(path, f"at most {chars} characters", f"{len(item)} characters")
    if not item.isascii():
        try:
            item.encode()
        except UnicodeEncodeError as error:
            raise BadField(path, "text without lone surrogates", item) from error
    return item


def _read_number(item: object, kind: type, limits: fields.Limits, path: str) -> int | float:
    if isinstance(item, bool) or not isinstance(item, int | float):
        raise BadField(path, "a number", item)
    if kind is int and not isinstance(item, int):
        raise BadField(path, "a whole number", item)
    if isinstance(item, float) and not math.isfinite(item):
        raise BadField(path, "a finite number", item)
    smallest = limits.smallest if limits.smallest is not None else -fields.NUMBER_MAX
    largest = limits.largest if limits.largest is not None else fields.NUMBER_MAX
    if isinstance(item, float) and kind is float and limits.largest is None and limits.smallest is None:
        return item  # measured values may be large; only whole numbers must stay exact
    if not smallest <= item <= largest:
        raise BadField(path, f"a number from {smallest:g} to {largest:g}", item)
    return kind(item)  # type: ignore[no-any-return]  # int or float, as the field says


def _read_enum(item: object, kind: Any, path: str, *, strict: bool) -> Any:
    if not isinstance(item, str):
        raise BadField(path, _name(kind), item)
    unknown = kind["UNKNOWN"]
    found = kind._value2member_map_.get(item, unknown)
    if strict and found is unknown:
        raise BadField(path, f"a known {_name(kind)}", item)
    return found


def _check_items(item: object, limits: fields.Limits, path: str) -> list[Any] | tuple[Any, ...]:
    if not isinstance(item, list | tuple):
        raise BadField(path, "a list", item)
    largest = int(limits.largest if limits.largest is not None else fields.ITEMS_MAX)
    smallest = int(limits.smallest or 0)
    if not smallest <= len(item) <= largest:
        raise BadField(path, f"{smallest} to {largest} items", f"{len(item)} items")
    return item


def _from_base64(item: object, path: str) -> bytes:
    if not isinstance(item, str):
        raise BadField(path, "base64 text", item)
    try:
        return base64.b64decode(item, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadField(path, "base64 text", item) from error


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", "one of several objects"))
