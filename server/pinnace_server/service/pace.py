"""How fast all devices together are sent chunks: at the full rate, unless what was sent is asked for again.

A broker takes more than a busy machine, or a thin line behind it, passes on; what then waits somewhere on the way is
asked for again, and sent again, until the way carries nothing else. So the rate is halved for every second in which too
much was late, and grows back slowly. A few lossy links do not slow a fleet down. Times are arguments.
"""

from __future__ import annotations

from typing import Final

LOOK_EVERY_S: Final = 1.0
LATE_SHARE: Final = 0.25  # of what was sent in that time; a link that loses a tenth is not the fleet's trouble
LATE_MIN: Final = 16  # one window: fewer say nothing
SLOWER: Final = 0.5
FASTER: Final = 1.1
SLOWEST: Final = 1 / 32  # of the full rate
IN_FLIGHT_S: Final = 0.5  # a chunk still missing after that was lost; before it, it is on its way
IN_FLIGHT_S_MAX: Final = 8.0


class Pace:
    """The rate of one moment."""

    def __init__(self, bytes_s_max: float) -> None:
        self._bytes_s_max = self.bytes_s = bytes_s_max
        self._looked_at_s = float("-inf")
        self._sent = self._late = 0

    @property
    def in_flight_s(self) -> float:
        """How long a chunk may be on its way: the longer, the less gets through."""
        return min(IN_FLIGHT_S_MAX, IN_FLIGHT_S * self._bytes_s_max / self.bytes_s)

    def sent(self, now_s: float) -> None:
        """A chunk left."""
        self._look(now_s)
        self._sent += 1

    def late(self, now_s: float, chunks: int) -> None:
        """So many chunks are asked for again that were sent long enough ago to be there."""
        self._look(now_s)
        self._late += chunks

    def _look(self, now_s: float) -> None:
        if now_s - self._looked_at_s < LOOK_EVERY_S:
            return
        self._looked_at_s = now_s
        congested = self._late >= max(LATE_MIN, LATE_SHARE * self._sent)
        wanted = self.bytes_s * (SLOWER if congested else FASTER)
        self.bytes_s = min(self._bytes_s_max, max(self._bytes_s_max * SLOWEST, wanted))
        self._sent = self._late = 0
