"""Writers wait in line: whoever asks first is next.

A plain lock goes to whoever asks at the right moment; a thread that takes it again and again, as ingest does under
load, would keep the web server and the controller out for as long as the load lasts.
"""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """A lock that is given in the order in which it was asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Event] = deque()

    def acquire(self, timeout_s: float) -> bool:
        """Wait for the turn; False when the time is over first."""
        with self._lock:
            if not self._taken:
                self._taken = True
                return True
            mine = threading.Event()
            self._waiting.append(mine)
        if mine.wait(timeout_s):
            return True
        with self._lock:
            if mine in self._waiting:
                self._waiting.remove(mine)
                return False
            return True  # it was given in the last moment

    def release(self) -> None:
        """Give it to whoever waits longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False
