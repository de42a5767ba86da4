"""Identifiers: one type per kind and the grammar of each, checked wherever bytes become messages."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NewType

DeviceId = NewType("DeviceId", str)
ModelName = NewType("ModelName", str)
VersionName = NewType("VersionName", str)
Digest = NewType("Digest", str)
"""SHA-256 of some bytes, 64 lower-case hexadecimal digits."""
ReleaseId = NewType("ReleaseId", str)
"""SHA-256 of a signed release file; the release *is* those bytes."""
ReceiptId = NewType("ReceiptId", str)
IncarnationId = NewType("IncarnationId", str)
"""Random id made with a device's store; a new one means that the store is new."""
BootId = NewType("BootId", str)
"""Random id of one run of the agent; report sequence numbers count within it."""
CommandId = NewType("CommandId", str)
RolloutId = NewType("RolloutId", str)
WaveId = NewType("WaveId", str)
StatementId = NewType("StatementId", str)
KeyId = NewType("KeyId", str)

_HEX_64 = r"[0-9a-f]{64}"
_SLUG = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_RANDOM = r"[0-9a-f]{32}"

# Ids stand in topics, paths and URLs: nothing that any of the three would read as syntax.
GRAMMARS: Final[dict[object, re.Pattern[str]]] = {
    kind: re.compile(pattern)
    for kind, pattern in {
        DeviceId: _SLUG,
        ModelName: _SLUG,
        VersionName: _WORD,
        Digest: _HEX_64,
        ReleaseId: _HEX_64,
        ReceiptId: _HEX_64,
        KeyId: _HEX_64,
        IncarnationId: _RANDOM,
        BootId: _RANDOM,
        CommandId: _WORD,
        RolloutId: _WORD,
        WaveId: _WORD,
        StatementId: _WORD,
    }.items()
}

GENERATION_PER_ERA: Final = 2**32
ERA_MAX: Final = 2**20  # era · 2³² + n stays below 2⁵³, exact in every JSON reader


def generation_of(era: int, n: int) -> int:
    """Return era · 2³² + n.

    Raises:
        ValueError: era or n is outside its range.
    """
    if not (0 <= era <= ERA_MAX and 0 <= n < GENERATION_PER_ERA):
        raise ValueError(f"era must be 0..{ERA_MAX} and n 0..{GENERATION_PER_ERA - 1}, found {era} and {n}")
    return era * GENERATION_PER_ERA + n


def digest_of(data: bytes) -> Digest:
    """Return the SHA-256 of ``data`` in the form that names blobs and releases."""
    return Digest(hashlib.sha256(data).hexdigest())


def fits(kind: object, value: str) -> bool:
    """Tell whether ``value`` is in the grammar of the id type ``kind``."""
    return GRAMMARS[kind].fullmatch(value) is not None
