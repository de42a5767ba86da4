"""Cutting long IN lists."""

from __future__ import annotations

from collections.abc import Iterable

IN_MAX = 500  # values of one IN list; SQLite allows 32,766 parameters, a plan stays quick far below


def in_batches(values: Iterable[str]) -> Iterable[list[str]]:
    """Cut values into lists short enough for one statement, each value once, in their order over all lists."""
    everything = sorted(set(values))
    return (everything[start : start + IN_MAX] for start in range(0, len(everything), IN_MAX))
