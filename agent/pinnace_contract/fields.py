"""How a message field states its limits; the codec enforces them and the generated documents print them.

A field without a statement gets the defaults below, so that nothing a peer sends is unbounded.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

TEXT_CHARS_MAX: Final = 1024
ITEMS_MAX: Final = 1024
BYTES_MAX: Final = 64 * 1024
NUMBER_MAX: Final = 2**53 - 1  # exact in every JSON reader


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one field: a number's value, the length of a sequence or of bytes, the characters of a text."""

    largest: float | None = None
    smallest: float | None = None
    chars: int | None = None
    key: int | None = None


_NO_DEFAULT: Final = dataclasses.MISSING


def limited(
    default: Any = _NO_DEFAULT,
    *,
    largest: float | None = None,
    smallest: float | None = None,
    chars: int | None = None,
    key: int | None = None,
) -> Any:
    """Declare a dataclass field with limits.

    ``largest``/``smallest`` bound a number's value or the length of a sequence or of bytes; ``chars`` bounds each text
    (alone or inside a sequence); ``key`` is the integer that names the field in CBOR and never changes once released.
    """
    limits = Limits(largest=largest, smallest=smallest, chars=chars, key=key)
    if default is _NO_DEFAULT:
        return dataclasses.field(metadata={"limits": limits})
    return dataclasses.field(default=default, metadata={"limits": limits})


def count(default: Any = _NO_DEFAULT, *, key: int | None = None, largest: float | None = None) -> Any:
    """Declare a non-negative number."""
    return limited(default, smallest=0, largest=largest, key=key)


def limits_of(field: dataclasses.Field[Any]) -> Limits:
    """Return the limits a field was declared with; empty limits mean the defaults of this module."""
    limits = field.metadata.get("limits")
    return limits if isinstance(limits, Limits) else _NO_LIMITS


_NO_LIMITS: Final = Limits()
