"""Bytes to messages and back, driven by the dataclasses themselves (``shapes.py``).

Reading is bounded before it is parsed, ignores unknown fields, maps unknown enum values to ``UNKNOWN`` and refuses
everything else that a message's declaration does not allow, always with a ``ContractError``. Writing is strict and
canonical: sorted keys, no spaces, fields at their default left out (so a default, once released, never changes).
JSON for control messages; CBOR with integer keys, compressed, for reports. Signatures are left to ``envelope.py``.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from typing import Any, ClassVar, Final, Protocol, TypeVar

import cbor2

from pinnace_contract import ids, shapes
from pinnace_contract.errors import ContractError, Malformed, TooLarge

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
    return shapes.read(kind, parse_json(kind.KIND, data, kind.BYTES_MAX), compact=False)


def to_cbor(message: Message) -> bytes:
    """Return the compressed CBOR of a message whose fields have integer keys.

    Raises:
        TooLarge: over the message's own limit.
        BadField: a value outside its declared limits.
    """
    packed = zlib.compress(cbor2.dumps(shapes.written(message, compact=True), canonical=True), 6)
    return _within(message.KIND, packed, message.BYTES_MAX)


def from_cbor(kind: type[M], data: bytes) -> M:
    """Read one compressed CBOR message of the given kind.

    Raises:
        ContractError: too large (compressed or not), not CBOR, or not this message.
    """
    _within(kind.KIND, data, kind.BYTES_MAX)
    return shapes.read(kind, parse_cbor(kind.KIND, inflate(kind.KIND, data)), compact=True)


def plain(message: object) -> dict[str, Any]:
    """Return a message as dictionaries, lists, texts and numbers, checked against its declared limits."""
    return shapes.written(message, compact=False)


def from_plain(kind: type[M], tree: object) -> M:
    """Read a message from dictionaries and lists, as a signed file of another format carries it.

    Raises:
        ContractError: not this message.
    """
    return shapes.read(kind, tree, compact=False)


def canonical_json(tree: object) -> bytes:
    """Return the one spelling of a JSON value that is signed and hashed here."""
    return _ENCODER.encode(tree).encode()


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
        return _DECODER.decode(data.decode())
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


_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_unique)
