"""How a worker ended, and whether it has stopped living: decisions from numbers, without a process or a clock."""

from __future__ import annotations

import signal
from typing import Final

from pinnace_agent.worker.events import ExitCause
from pinnace_agent.worker.protocol import EXIT_MEMORY, EXIT_ORPHANED

LOG_BYTES_MAX: Final = 4 * 1024  # of what a worker wrote last


class Stall:
    """How long a worker has shown no sign of life, as far as the supervisor itself was awake to see it.

    Each look counts at most ``look_s_max``: when the whole machine stood still, both did, and nobody is to blame.
    """

    def __init__(self, *, look_s_max: float) -> None:
        self._look_s_max = look_s_max
        self._seen: object = None
        self._seen_at_s = 0.0
        self.stalled_s = 0.0

    def look(self, signs: object, now_s: float) -> float:
        """Return for how many seconds the signs have not changed."""
        if signs != self._seen:
            self._seen, self.stalled_s = signs, 0.0
        else:
            self.stalled_s += min(now_s - self._seen_at_s, self._look_s_max)
        self._seen_at_s = now_s
        return self.stalled_s


def verdict(
    returncode: int, *, stopping: bool, killed: ExitCause | None, why: str, last_words: bytes
) -> tuple[ExitCause, str]:
    """Return why a process ended, from its return code (negative: a signal) and what was done to it before."""
    if killed is not None:
        return killed, why
    if returncode == 0 and stopping:
        return ExitCause.ORDERED, ""
    if returncode == EXIT_MEMORY or (returncode == -signal.SIGABRT and b"bad_alloc" in last_words):
        return ExitCause.MEMORY_EXCEEDED, "an allocation failed under the worker's memory limit"
    if returncode == EXIT_ORPHANED:
        return ExitCause.CRASHED, "it lost its supervisor"
    if returncode < 0:
        return ExitCause.CRASHED, f"ended by {_signal_name(-returncode)}"
    return ExitCause.CRASHED, f"ended by itself with exit code {returncode}"


def printable(last_words: bytes) -> str:
    """Return what a process wrote, bounded and safe to show."""
    text = last_words[-LOG_BYTES_MAX:].decode(errors="replace").strip()
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    if number == signal.SIGKILL:
        return f"{name}, which this agent did not send (the kernel does when memory runs out)"
    return name
