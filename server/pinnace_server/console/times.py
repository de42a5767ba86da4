"""How long ago, in the words that page.js uses too, so that a page reads the same before and after its script ran."""

from __future__ import annotations

from datetime import UTC, datetime

_NOW_S = 5
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def ago(at: datetime, now: datetime) -> str:
    """Return "now", "12 s ago", "3 min ago", "5 h ago" or "2 d ago"; "in 3 d" for what is to come."""
    seconds = (now - at).total_seconds()
    size = abs(seconds)
    if size < _NOW_S:
        return "now"
    unit, length = next((unit, length) for unit, length in _UNITS if size >= length)
    count = f"{int(size // length)} {unit}"
    return f"in {count}" if seconds < 0 else f"{count} ago"


def absolute(at: datetime) -> str:
    """Return the moment in full, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def machine(at: datetime) -> str:
    """Return the moment for a ``datetime`` attribute."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
