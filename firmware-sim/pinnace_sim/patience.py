"""What an agent waits on where it stands: told to stop by nobody, for a simulated agent is switched off instead."""

from __future__ import annotations

from collections.abc import Callable


class Patience:
    """Stands in the place of the program's stop event. What it means to wait is for ``waits`` to say."""

    def __init__(self, waits: Callable[[float], bool]) -> None:
        """``waits`` takes seconds, and tells whether the agent is to give up what it waits for."""
        self._waits = waits

    def is_set(self) -> bool:
        """Nobody says stop."""
        return False

    def wait(self, timeout: float) -> bool:
        """Wait, in whatever time there is here."""
        return self._waits(timeout)
