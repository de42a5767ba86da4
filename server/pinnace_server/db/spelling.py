"""How values stand in a text or blob column, and back.

Bodies are JSON in the contract's own spelling. Unlike the contract's codec, writing is lenient: a word of a newer
device that this server does not know is kept as ``UNKNOWN``, because refusing it would lose all the rest.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

from pinnace_contract import codec
from pinnace_contract.histogram import Histogram, pack_varints, unpack_varints
from pinnace_contract.ids import Digest
from pinnace_contract.latest import (
    AssignmentSet,
    Blob,
    Entry,
    Health,
    ModelState,
    Receipt,
    Release,
    Running,
)
from pinnace_server.domain.lineage import NOTHING_SAID, Lineage
from pinnace_server.domain.records import FeatureTotals

_REMEMBERED_MAX = 1024
_REMEMBERED_CHARS_MAX = 32 * 1024  # a release with its chunks; 32 MiB at the very most
_BODY_BYTES_MAX = 1024 * 1024  # rows were bounded when they came in; this only gives the codec a number


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One stored part of a message; every row fills the field that its table is about."""

    KIND: ClassVar[str] = "stored"
    BYTES_MAX: ClassVar[int] = _BODY_BYTES_MAX

    entry: Entry | None = None
    before: Running | None = None
    slot: ModelState | None = None
    health: Health | None = None
    receipt: Receipt | None = None
    release: Release | None = None
    assignments: AssignmentSet | None = None
    blob: Blob | None = None
    lineage: Lineage = NOTHING_SAID


T = TypeVar("T")


def body(part: Stored) -> str:
    """Return a part as JSON text."""
    return json.dumps(_plain(part), ensure_ascii=False, separators=(",", ":"))


def read_body(text: str) -> Stored:
    """Read what ``body`` wrote. A fleet's devices are told the same, so that most bodies were read a moment ago."""
    return _read_small(text) if len(text) <= _REMEMBERED_CHARS_MAX else _read(text)


def _read(text: str) -> Stored:
    return codec.from_plain(Stored, json.loads(text))


_read_small = lru_cache(_REMEMBERED_MAX)(_read)


def there(value: T | None) -> T:
    """Return what a row of this table always holds."""
    assert value is not None, "the row does not hold what its table is about"
    return value


def text_map(value: Mapping[str, str]) -> str:
    """Return a map of texts as JSON, in its own order."""
    return json.dumps(dict(value), ensure_ascii=False, separators=(",", ":"))


def read_text_map(text: str) -> dict[str, str]:
    """Read what ``text_map`` wrote."""
    return {str(key): str(value) for key, value in json.loads(text).items()}


def number_map(value: Mapping[str, int]) -> str:
    """Return a map of counts as JSON."""
    return json.dumps(dict(value), ensure_ascii=False, separators=(",", ":"))


def read_number_map(text: str) -> dict[str, int]:
    """Read what ``number_map`` wrote."""
    return {str(key): int(value) for key, value in json.loads(text).items()}


def counts_map(value: Mapping[str, tuple[int, ...]]) -> str:
    """Return counts under names as JSON, in their own order."""
    return json.dumps({name: list(counts) for name, counts in value.items()}, ensure_ascii=False, separators=(",", ":"))


def read_counts_map(text: str) -> dict[str, tuple[int, ...]]:
    """Read what ``counts_map`` wrote."""
    if text == "{}":  # nearly all of the thousands that a tick of the controller reads
        return {}
    return {str(name): tuple(map(int, counts)) for name, counts in json.loads(text).items()}


def words(values: Iterable[str]) -> str:
    """Return words that hold no space as one text."""
    return " ".join(values)


def numbers(values: Iterable[int]) -> bytes:
    """Return counts as varints."""
    return pack_varints(values)


def read_numbers(data: bytes) -> tuple[int, ...]:
    """Read what ``numbers`` wrote."""
    return tuple(unpack_varints("stored counts", data))


def buckets(latency: Mapping[int, int]) -> tuple[int, bytes]:
    """Return a latency histogram's buckets as first index and varints."""
    wire = Histogram(latency).to_wire()
    return wire.offset, wire.counts


def read_buckets(offset: int, data: bytes) -> dict[int, int]:
    """Read what ``buckets`` wrote."""
    return {offset + i: n for i, n in enumerate(read_numbers(data)) if n}


def features(value: Mapping[Digest, FeatureTotals]) -> str:
    """Return feature counts per baseline as JSON."""
    tree = {
        baseline: {
            "counts": base64.b64encode(pack_varints(totals.counts)).decode(),
            "sums": list(totals.sums),
            "squares": list(totals.squares),
        }
        for baseline, totals in value.items()
    }
    return json.dumps(tree, separators=(",", ":"), allow_nan=False)


def read_features(text: str) -> dict[Digest, FeatureTotals]:
    """Read what ``features`` wrote."""
    return {
        Digest(baseline): FeatureTotals(
            counts=read_numbers(base64.b64decode(tree["counts"])),
            sums=tuple(tree["sums"]),
            squares=tuple(tree["squares"]),
        )
        for baseline, tree in json.loads(text).items()
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        tree = {
            field.name: _plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if getattr(value, field.name) != field.default
        }
        return tree | ({"op": getattr(value, "OP")} if getattr(value, "OP", "") else {})  # noqa: B009 -- not every type has it
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
