"""Cells and tables of a forecast, for a person at a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pinnace_sim.rehearsal.forecast import Spread

CELL_MAX: Final = 140


def pair(spread: Spread, shown: Callable[[float | None], str]) -> tuple[str, str]:
    """Return a median and a 90th percentile."""
    return shown(spread.median), shown(spread.p90)


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Return rows in columns."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def duration(seconds: float | None) -> str:
    """Return a time in the unit that suits it."""
    if seconds is None:
        return "-"
    for unit, divisor in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * divisor:
            return f"{seconds / divisor:.1f} {unit}"
    return f"{seconds:.0f} s"


def count(value: float | None) -> str:
    """Return a number of devices."""
    return "-" if value is None else f"{value:,.0f}"


def size(size_bytes: float | None) -> str:
    """Return a number of bytes in the unit that suits it."""
    if size_bytes is None:
        return "-"
    for unit, divisor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= divisor:
            return f"{size_bytes / divisor:.1f} {unit}"
    return f"{size_bytes:.0f} B"


def cut(text: str) -> str:
    """Return a text that fits a cell, without what could move a terminal's cursor."""
    shown = "".join(letter if letter.isprintable() else "�" for letter in text)
    return shown if len(shown) <= CELL_MAX else f"{shown[: CELL_MAX - 1]}…"
