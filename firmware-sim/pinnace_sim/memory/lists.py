"""Pages and text search, as SQLite answers them."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import Final, TypeVar

from pinnace_server.domain.queries import Listing, Page

T = TypeVar("T")

_FOLDED: Final = str.maketrans(ascii_uppercase, ascii_lowercase)


def cut(rows: Sequence[T], page: Page) -> Listing[T]:
    """Return one page of rows that are in order."""
    return Listing(rows=tuple(rows[page.offset : page.offset + page.limit]), total=len(rows))


def contains(text: str | None, part: str) -> bool:
    """Tell whether a text holds a part, as LIKE does: ASCII letters mean both cases, all others themselves."""
    return text is not None and part.translate(_FOLDED) in text.translate(_FOLDED)
