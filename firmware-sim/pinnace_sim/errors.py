"""What can go wrong with the simulator itself; what goes wrong inside of its worlds is a ``Violation``."""

from __future__ import annotations

import difflib
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


class BadTrace(SimError):
    """A file that is not a connectivity trace; ``line`` 0 is the file as a whole."""

    def __init__(self, path: Path, line: int, problem: str) -> None:
        self.path, self.line, self.problem = path, line, problem
        super().__init__(f"{path}{f', line {line}' if line else ''}: {problem}; see docs/simulator.md for the form")


class BadSnapshot(SimError):
    """A file that is not a snapshot of a fleet."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path}: expected what pinnace export fleet wrote: {problem}")


class CannotRehearse(SimError):
    """A rehearsal that the snapshot has not enough for."""


class NoSuchScenario(SimError):
    """A name that no scenario has."""

    def __init__(self, name: str, names: tuple[str, ...]) -> None:
        self.name = name
        close = ", ".join(difflib.get_close_matches(name, names)) or "pinnace-sim scenarios lists them"
        super().__init__(f"there is no scenario {name!r}: {close}")


class ManyWorlds(SimError):
    """A log was asked for of a scenario that plays many worlds."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name} plays many worlds and has no log; run it without --log")
