"""What can go wrong with the simulator itself; what goes wrong inside of its worlds is a ``Violation``."""

from __future__ import annotations

from pathlib import Path


class SimError(Exception):
    """Root of what the simulator raises on purpose."""


class BadLog(SimError):
    """A file that is not the log of a world."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path}: expected a log that pinnace-sim explore or run wrote: {problem}")


class NothingBroken(SimError):
    """A world to be shrunk that breaks no rule."""
