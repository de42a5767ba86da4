"""Calls back what became readable or writable, on one thread: the loop of the worker, the host and ``agent.sock``.

epoll itself and not ``selectors``: for each event that costs a fifth, and the rule that an event of this turn may close
what has another event in the same turn is kept here once.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Final, Protocol

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT

Ready = Callable[[int], None]


class HasDescriptor(Protocol):
    """A socket or a file."""

    def fileno(self) -> int:
        """Return its descriptor."""
        ...


class Reactor:
    """Descriptors and who is called for them. Error and hang-up count as readable: the next read tells which it was."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: dict[int, Ready] = {}

    def add(self, source: HasDescriptor | int, ready: Ready, events: int = READ) -> None:
        """Call ``ready`` with the events that hold, each turn in which one does."""
        descriptor = _descriptor(source)
        self._epoll.register(descriptor, events)
        self._ready[descriptor] = ready

    def want(self, source: HasDescriptor | int, events: int) -> None:
        """Wait for other events."""
        self._epoll.modify(_descriptor(source), events)

    def remove(self, source: HasDescriptor | int) -> None:
        """Wait for it no more; nothing happens if nobody did."""
        descriptor = _descriptor(source)
        if self._ready.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def holds(self, source: HasDescriptor | int) -> bool:
        """Tell whether it is waited for."""
        return _descriptor(source) in self._ready

    def turn(self, wait_s: float, between: Callable[[], None] | None = None) -> None:
        """Wait at most that long and call what is ready; ``between`` after each call."""
        for descriptor, events in self._epoll.poll(wait_s):
            ready = self._ready.get(descriptor)
            if ready is None:
                continue  # closed by an earlier one of this turn
            ready(events & (READ | WRITE) or READ)
            if between is not None:
                between()

    def close(self) -> None:
        """Free the loop's own descriptor."""
        self._epoll.close()


def _descriptor(source: HasDescriptor | int) -> int:
    return source if isinstance(source, int) else source.fileno()
