"""Virtual time: what is to happen when, in one order that does not depend on anything but what was asked for.

Nobody sleeps: the clock jumps to the next thing that is due. Two things due at the same moment happen in the order in
which they were asked for.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

NOON_S: Final = 1_795_435_200.0  # Unix time of second 0, where nobody says otherwise
EVENTS_MAX: Final = 50_000_000  # of one world: a loop that makes work for itself ends in an error, not in a long night


class Overrun(RuntimeError):
    """A world made more work for itself than it ever should."""


@dataclass(slots=True)
class Due:
    """One thing that is to happen. A cancelled one is passed over."""

    at_s: float
    action: Callable[[], None] | None

    def cancel(self) -> None:
        """Let it not happen."""
        self.action = None


class Schedule:
    """Seconds since the world began, at ``origin_s`` of Unix time."""

    def __init__(self, origin_s: float = NOON_S) -> None:
        self.origin_s = origin_s
        self.now_s = 0.0
        self.done = 0
        self._due: list[tuple[float, int, Due]] = []
        self._order = itertools.count()

    def at(self, at_s: float, action: Callable[[], None]) -> Due:
        """Let something happen at a time; what is due in the past happens next."""
        due = Due(max(at_s, self.now_s), action)
        heapq.heappush(self._due, (due.at_s, next(self._order), due))
        return due

    def after(self, seconds: float, action: Callable[[], None]) -> Due:
        """Let something happen so much later."""
        return self.at(self.now_s + seconds, action)

    def run_until(self, end_s: float) -> None:
        """Let everything happen that is due until then, and the clock stand there."""
        while self._due and self._due[0][0] <= end_s:
            _, _, due = heapq.heappop(self._due)
            if due.action is None:
                continue
            self.now_s = due.at_s
            self.done += 1
            if self.done > EVENTS_MAX:
                raise Overrun(f"more than {EVENTS_MAX} events by {self.now_s:.0f} s")
            due.action()
        self.now_s = max(self.now_s, end_s)
