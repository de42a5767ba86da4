"""A world played again from its log, line by line, until both differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pinnace_sim.errors import BadLog
from pinnace_sim.plan import Plan
from pinnace_sim.world import Outcome, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """``differs_at`` is the first line that is not the log's, counted from 1; None: every line is."""

    outcome: Outcome
    differs_at: int | None
    expected: str = ""
    found: str = ""


def plan_of(path: Path) -> Plan:
    """Return the plan in the first line of a log.

    Raises:
        BadLog
    """
    return _plan(path, _lines(path)[0])


def replay(path: Path) -> Replayed:
    """Play the world of a log again.

    Raises:
        BadLog
    """
    lines = _lines(path)
    outcome = World(_plan(path, lines[0]), keeps_log=True).run()
    for number, (expected, found) in enumerate(_pairs(lines, outcome.lines), 1):
        if expected != found:
            return Replayed(outcome=outcome, differs_at=number, expected=expected, found=found)
    return Replayed(outcome=outcome, differs_at=None)


def _pairs(expected: Sequence[str], found: Sequence[str]) -> list[tuple[str, str]]:
    length = max(len(expected), len(found))
    return list(zip(_padded(expected, length), _padded(found, length), strict=True))


def _padded(lines: Sequence[str], length: int) -> list[str]:
    return [*lines, *[""] * (length - len(lines))]


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadLog(path, f"it cannot be read ({error})") from error
    if not lines:
        raise BadLog(path, "it is empty")
    return lines


def _plan(path: Path, line: str) -> Plan:
    try:
        return Plan.from_tree(json.loads(line)["plan"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadLog(path, f"its first line is no plan of this version ({type(error).__name__}: {error})") from error
