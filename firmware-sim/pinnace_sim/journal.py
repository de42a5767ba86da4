"""The log of a world: one JSON line for each thing that happened, with nothing in it that another run would not write.

The first line is the plan, so that a log is enough to play its world again. A running digest of all lines tells two
worlds apart without keeping either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

Fact = str | int | float | bool | None | list[str] | dict[str, int]


class Journal:
    """Numbers, writes and digests lines. ``keeps`` false: only the digest, for worlds that nobody will read."""

    def __init__(self, now_s: Callable[[], float], *, keeps: bool) -> None:
        self._now_s = now_s
        self._digest = hashlib.sha256()
        self.keeps = keeps
        self.lines: list[str] = []
        self.count = 0

    def head(self, plan: object) -> None:
        """Write the first line."""
        self._write(json.dumps({"plan": plan}, sort_keys=True, separators=(",", ":")))

    def write(self, what: str, who: str = "", **facts: Fact) -> None:
        """Write that something happened, to whom, and what there is to know of it."""
        self.count += 1
        line = {"n": self.count, "at": round(self._now_s(), 6), "what": what, "who": who} | facts
        self._write(json.dumps(line, separators=(",", ":")))

    @property
    def digest(self) -> str:
        """SHA-256 of every line so far."""
        return self._digest.hexdigest()

    def _write(self, line: str) -> None:
        self._digest.update(line.encode())
        self._digest.update(b"\n")
        if self.keeps:
            self.lines.append(line)
