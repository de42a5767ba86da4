"""The worker's end of the socket pair: orders in, statements out. Loads no numpy, because orders come before limits."""

from __future__ import annotations

import socket
from typing import Final

from pinnace_agent.worker.protocol import Frames, Order, Statement, frame

_READ_BYTES: Final = 64 * 1024


class Orphaned(Exception):
    """The supervisor is gone."""


class Supervisor:
    """Who gives the orders."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self._frames = Frames()

    def say(self, statement: Statement) -> None:
        """Send a statement; the supervisor always reads, so this does not wait for long."""
        self.control.sendall(frame(statement))

    def orders(self) -> list[Order]:
        """Wait for bytes and return the orders that are whole, perhaps none.

        Raises:
            Orphaned
        """
        data = self.control.recv(_READ_BYTES)
        if not data:
            raise Orphaned
        found: list[Order] = []
        for message in self._frames.feed(data):
            if not isinstance(message, Order):
                raise AssertionError(f"the supervisor sent a statement: {message.KIND}")
            found.append(message)
        return found
