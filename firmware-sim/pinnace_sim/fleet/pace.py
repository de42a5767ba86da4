"""What a link on real wires carries: the rate of a device's kind, or what a recorded trace says of the moment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Final

from pinnace_sim.links import Course, LinkRow

LIVES_S: Final = 22.5  # half a keepalive and a half: a connection over a line that is dark for longer ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Times are the event loop's. Without a course the link is never dark, and the way up is as fast as the wire."""

    bytes_s: float
    chance: Random
    course: Course | None = None

    def down_bytes_s(self, now_s: float) -> float:
        """Return what the way down carries; where it is dark, what the device's kind has."""
        row = self._row(now_s)
        return self.bytes_s if row is None or row.down_bytes_s <= 0 else row.down_bytes_s

    def up_bytes_s(self, now_s: float) -> float:
        """Return what the way up carries."""
        row = self._row(now_s)
        return math.inf if row is None or row.up_bytes_s <= 0 else row.up_bytes_s

    def delay_s(self, now_s: float) -> float:
        """Return how long a message is on its way, beside its bytes."""
        row = self._row(now_s)
        return 0.0 if row is None else row.delay_s

    def loses(self, now_s: float) -> bool:
        """Draw whether a message of QoS 0 is lost."""
        row = self._row(now_s)
        return row is not None and row.loss > 0 and self.chance.random() < row.loss

    def is_dark(self, now_s: float) -> bool:
        """Whether nothing passes in some direction."""
        return self.dark_s(now_s) > 0

    def dark_s(self, now_s: float) -> float:
        """Return for how long the link is dark from now on; infinity: for ever."""
        if self.course is None:
            return 0.0
        at_s = now_s
        while not self.course.at(at_s).carries:
            at_s = self.course.next_after(at_s)
            if math.isinf(at_s) or at_s - now_s > self.course.long_s:
                return math.inf
        return at_s - now_s

    def next_after(self, now_s: float) -> float:
        """Return when something changes; infinity: never."""
        return math.inf if self.course is None else self.course.next_after(now_s)

    def _row(self, now_s: float) -> LinkRow | None:
        return None if self.course is None else self.course.at(now_s)
