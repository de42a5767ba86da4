"""The queue that an agent's loop takes its events from, where loop and senders share one thread."""

from __future__ import annotations

import queue
from collections import deque

from pinnace_agent.parts import Happened


class Inbox(queue.Queue[Happened]):
    """The loop's queue, for one thread: nothing waits and no clock is read."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._waiting: deque[Happened] = deque()

    def put(self, item: Happened, block: bool = True, timeout: float | None = None) -> None:
        """Add at the end, or raise ``Full``."""
        del block, timeout
        if len(self._waiting) >= self._largest:
            raise queue.Full
        self._waiting.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Happened:
        """Take the first, or raise ``Empty``."""
        del block, timeout
        if not self._waiting:
            raise queue.Empty
        return self._waiting.popleft()
