"""How long an agent's loop that is busy goes without a turn, when nothing calls it sooner."""

from __future__ import annotations

from typing import Final

FIRST_STEP_S: Final = 0.25  # between two turns of a busy loop, as in the program
STEP_GROWTH: Final = 1.5


class Steps:
    """Short after something has happened, and longer each time that nothing has, up to ``last_s``."""

    def __init__(self, last_s: float) -> None:
        self._last_s = last_s
        self._next_s = FIRST_STEP_S

    def begin_again(self) -> None:
        """Something has happened: be quick."""
        self._next_s = FIRST_STEP_S

    def take(self) -> float:
        """Return the seconds until the next turn, and let the one after it be later."""
        taken_s = self._next_s
        self._next_s = min(self._last_s, taken_s * STEP_GROWTH)
        return taken_s
