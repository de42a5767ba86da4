"""How much the client still has to send: what makes it possible to pace, and to say no before memory runs out.

paho tells the number of a message only when it has taken it, and may report it sent before that; and it calls back
while it holds locks of its own. So this keeps one small lock that is never held while paho is called.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Final

BYTES_MAX: Final = 64 * 1024 * 1024  # above it nothing more is taken
MESSAGES_MAX: Final = 10_000  # QoS 1 without acknowledgement; MQTT itself has 65,535 numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    size_bytes: int
    qos: int


class Outgoing:
    """Messages taken by the client and not yet sent (QoS 0) or acknowledged by the broker (QoS 1)."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[int, _Waiting] = {}
        self._sent_early: set[int] = set()
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of payload that wait."""
        return self._size_bytes

    @property
    def count(self) -> int:
        """Messages that wait."""
        return len(self._waiting)

    def has_room(self, size_bytes: int) -> bool:
        """Tell whether a message may still be handed to the client."""
        return self._size_bytes + size_bytes <= BYTES_MAX

    def taken(self, number: int, size_bytes: int, qos: int) -> None:
        """The client took a message."""
        with self._changed:
            if number in self._sent_early:
                self._sent_early.discard(number)
                return
            self._forget(number)  # numbers come round again
            self._waiting[number] = _Waiting(size_bytes=size_bytes, qos=qos)
            self._size_bytes += size_bytes

    def sent(self, number: int) -> None:
        """The client is done with a message."""
        with self._changed:
            if number in self._waiting:
                self._forget(number)
            else:
                self._sent_early.add(number)
            self._changed.notify_all()

    def connection_ended(self) -> None:
        """QoS 0 messages went with the connection."""
        with self._changed:
            for number in [number for number, each in self._waiting.items() if each.qos == 0]:
                self._forget(number)
            self._changed.notify_all()

    def wait_below(self, size_bytes: int, timeout_s: float) -> bool:
        """Wait until at most so much waits; False when the time is over first."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._size_bytes > size_bytes:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    return self._size_bytes <= size_bytes
            return True

    def _forget(self, number: int) -> None:
        gone = self._waiting.pop(number, None)
        if gone is not None:
            self._size_bytes -= gone.size_bytes
