"""The model card: free text, and beside it named fields, some of which a model may ask for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

CARD_CHARS_MAX: Final = 64 * 1024  # of the free text
FIELDS_MAX: Final = 64
FIELD_CHARS_MAX: Final = 8 * 1024
FIELDS_CHARS_MAX: Final = 64 * 1024  # of all fields together, as of the free text
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
NAME_WORDS: Final = "lower-case letters, digits and '_', at most 63, beginning with a letter"


def wrong_with_fields(fields: Mapping[str, str]) -> str:
    """Return what is wrong with a card's fields, or nothing."""
    if len(fields) > FIELDS_MAX:
        return f"expected at most {FIELDS_MAX} fields, found {len(fields)}"
    for name, text in fields.items():
        if wrong := wrong_with_name(name):
            return wrong
        if len(text) > FIELD_CHARS_MAX:
            return f"field {name!r}: expected at most {FIELD_CHARS_MAX} characters, found {len(text)}"
    total = sum(map(len, fields.values()))
    return f"expected at most {FIELDS_CHARS_MAX} characters in all, found {total}" if total > FIELDS_CHARS_MAX else ""


def wrong_with_name(name: str) -> str:
    """Return what is wrong with a field's name, or nothing."""
    return "" if _NAME.fullmatch(name) else f"expected a field's name of {NAME_WORDS}, found {name[:70]!r}"


def missing(required: Iterable[str], fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return the required fields that say nothing, in their order."""
    return tuple(name for name in required if not fields.get(name, "").strip())
