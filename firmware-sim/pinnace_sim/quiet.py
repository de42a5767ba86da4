"""Nobody in a world writes to the program's log; what the server caught and would try again is a finding."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Final

from pinnace_sim.checks import Rule, Violation


class _Failures(logging.Handler):
    """Hears of exceptions that the server caught, and would try again: here they are findings."""

    def emit(self, record: logging.LogRecord) -> None:
        """End the world."""
        if record.exc_info and record.exc_info[1] is not None:
            raise Violation(Rule.SERVER_FAILED, "server", f"{record.getMessage()}: {record.exc_info[1]!r}")


CATCHING: Final = ("pinnace_server.service.controller", "pinnace_server.service.changes")
"""Loggers of the parts that catch everything and go on."""


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Let nobody in a world write to the program's log: its own journal says what happened.

    What the server catches and logs as an exception ends the world.
    """
    silent = [logging.getLogger(name) for name in ("pinnace_agent", "pinnace_server")]
    catching = [logging.getLogger(name) for name in CATCHING]
    levels = [(each, each.level) for each in (*silent, *catching)]
    failures = _Failures(logging.ERROR)
    for each in silent:
        each.setLevel(logging.CRITICAL + 1)
    for each in catching:
        each.setLevel(logging.ERROR)
        each.propagate = False
        each.addHandler(failures)
    try:
        yield
    finally:
        for each, level in levels:
            each.setLevel(level)
        for each in catching:
            each.propagate = True
            each.removeHandler(failures)
