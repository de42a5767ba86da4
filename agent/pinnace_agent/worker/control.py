"""The worker's end of the socket pair: orders in, statements out. Loads no numpy, because orders come before limits."""

from __future__ import annotations

import socket
from collections import deque
from typing import Final

from pinnace_agent.worker.protocol import Frames, Order, Statement, frame

_READ_BYTES: Final = 64 * 1024
_DESCRIPTORS_MAX: Final = 4  # in one read; the kernel ends a read at each order that brings one


class Orphaned(Exception):
    """The supervisor is gone."""


class Supervisor:
    """Who gives the orders."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self._frames = Frames()
        self._descriptors: deque[int] = deque()

    def say(self, statement: Statement) -> None:
        """Send a statement; the supervisor always reads, so this does not wait for long."""
        self.control.sendall(frame(statement))

    def orders(self) -> list[Order]:
        """Wait for bytes and return the orders that are whole, perhaps none.

        Raises:
            Orphaned
        """
        data, descriptors, _flags, _address = socket.recv_fds(self.control, _READ_BYTES, _DESCRIPTORS_MAX)
        self._descriptors.extend(descriptors)
        if not data:
            raise Orphaned
        found: list[Order] = []
        for message in self._frames.feed(data):
            if not isinstance(message, Order):
                raise AssertionError(f"the supervisor sent a statement: {message.KIND}")
            found.append(message)
        return found

    def descriptor(self) -> int:
        """Return the descriptor that came with the order that is being obeyed; orders are obeyed in turn."""
        return self._descriptors.popleft()
