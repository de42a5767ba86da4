"""How a conversion tells how far it is, and how its caller stops it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pinnace_converters.sandbox import Tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """``done`` of ``total`` pieces of work, and what is being done; empty is a sign of life, the same as before."""

    done: int
    total: int
    what: str


Tell = Callable[[Progress], None]
"""Called at least every half second; raising cancels the conversion and leaves nothing behind."""


class Steps:
    """Counts pieces of work and turns what children say into progress."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._done, self.total = -1, 1

    def begin(self, what: str) -> Tick:
        """Start the next piece of work; what is returned is for the child that does it."""
        self._done += 1
        self._say(what)

        def tick(text: str) -> None:
            self._say(f"{what}: {text}" if text else "")

        return tick

    def end(self) -> None:
        """Say that all is done."""
        self._done = self.total
        self._say("done")

    def _say(self, what: str) -> None:
        self._tell(Progress(done=min(self._done, self.total), total=self.total, what=what))
