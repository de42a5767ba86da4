"""What a device's link carries over time: rows that each hold from their second on, until the next one.

Where rows come from is ``traces``'; what the network makes of them is ``network``'s.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_SLACK_S: Final = 1e-6  # a moment that was added up of floats may lie just before the row that begins with it


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRow:
    """From ``at_s`` on a link carries so many bytes a second; 0 is dark. ``delay_s`` is one way.

    ``loss`` is the share of messages of QoS 0 that get lost; ``device`` names whose row it is.
    """

    at_s: float
    device: str
    up_bytes_s: float
    down_bytes_s: float
    delay_s: float = 0.0
    loss: float = 0.0

    @property
    def carries(self) -> bool:
        """Whether anything passes, both ways."""
        return self.up_bytes_s > 0 and self.down_bytes_s > 0


class Course:
    """The rows of one device, from a second of the world on. Before its first row the first one holds.

    ``repeat_s`` 0: the last row holds for ever; else everything begins again after so long, and before the first row
    the last one holds.
    """

    def __init__(self, rows: Sequence[LinkRow], *, from_s: float = 0.0, repeat_s: float = 0.0) -> None:
        assert rows, "a course has a row"
        self._rows = tuple(sorted(rows, key=lambda row: row.at_s))
        self._starts = [row.at_s for row in self._rows]
        self._from_s, self._repeat_s = from_s, repeat_s

    @property
    def long_s(self) -> float:
        """No part of the course is longer."""
        return self._starts[-1] + self._repeat_s

    @property
    def longest_dark_s(self) -> float:
        """The longest time for which it is dark; infinity: it ends so."""
        ends = [*self._starts[1:], self._repeat_s + self._starts[0] if self._repeat_s else math.inf]
        longest_s = so_far_s = 0.0
        for row, begin_s, end_s in list(zip(self._rows, self._starts, ends, strict=True)) * 2:
            so_far_s = 0.0 if row.carries else so_far_s + end_s - begin_s
            longest_s = max(longest_s, so_far_s)
        return longest_s

    def at(self, now_s: float) -> LinkRow:
        """Return the row that holds."""
        _, into_s = self._split(now_s)
        index = bisect_right(self._starts, into_s) - 1
        return self._rows[index if index >= 0 or self._repeat_s else 0]

    def next_after(self, now_s: float) -> float:
        """Return when another row begins to hold; infinity: never."""
        round_s, into_s = self._split(now_s)
        index = bisect_right(self._starts, into_s)
        if index < len(self._starts):
            return self._from_s + round_s + self._starts[index]
        return self._from_s + round_s + self._repeat_s + self._starts[0] if self._repeat_s else math.inf

    def is_dark(self, from_s: float, end_s: float) -> bool:
        """Tell whether nothing passes in some direction all that time."""
        at_s = from_s
        while at_s < end_s:
            row = self.at(at_s)
            if row.carries:
                return False
            at_s = self.next_after(at_s)
        return True

    def beginning_at(self, from_s: float) -> Course:
        """Return the same course, begun at another second."""
        return Course(self._rows, from_s=from_s, repeat_s=self._repeat_s)

    def _split(self, now_s: float) -> tuple[float, float]:
        since_s = now_s - self._from_s + _SLACK_S
        round_s = math.floor(since_s / self._repeat_s) * self._repeat_s if self._repeat_s else 0.0
        return round_s, since_s - round_s
