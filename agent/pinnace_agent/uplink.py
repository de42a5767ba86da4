"""Everything that the device says, sealed with its key and sent when there is a connection; and when to connect.

Statements carry a number that grows across restarts: the connection's, saved before CONNECT, above a count. What must
not be lost is kept by others (outbox, spool) and sent again; what is retained is composed anew for each connection.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from pinnace_agent.errors import NotYet
from pinnace_contract import codec, envelope, topics
from pinnace_contract.ids import KeyId

log = logging.getLogger(__name__)

FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 120.0  # a fleet that comes back does not stop its broker with handshakes; flash and battery last
STEADY_S: Final = 60.0  # a connection that lived this long was a good one
TAKEOVERS_MAX: Final = 3
TAKEOVER_PAUSE_S: Final = 300.0  # another agent with this identity, perhaps: leave it the line for a while
_COUNT_BITS: Final = 24  # statements in one connection before the number would reach the next one's


class Link(Protocol):
    """One MQTT connection. ``will`` returns what is to be said when it breaks."""

    def connect(self, url: str, *, number: int, will: Callable[[], bytes]) -> None: ...
    def publish(self, topic: topics.Topic, payload: bytes, *, qos: int = 1, retained: bool = False) -> bool: ...
    def close(self, last: tuple[topics.Topic, bytes] | None = None) -> None: ...


class Signer(Protocol):
    """The device's key."""

    keyid: KeyId

    def sign(self, data: bytes) -> bytes: ...


class Uplink:
    """The connection to the broker, and what is said over it."""

    def __init__(self, *, link: Link, key: Signer, endpoints: tuple[str, ...], chance: random.Random) -> None:
        self._link, self._key, self._chance = link, key, chance
        self._endpoints = endpoints
        self._next_endpoint = 0
        self._count = 0
        self._failures = 0
        self._short_lives = 0
        self._connected_at_s: float | None = None
        self.number = 0
        self.connected = False
        self.retry_at_s: float | None = 0.0  # None while a connection is up or being made
        self.last_problem = ""

    def use(self, endpoints: tuple[str, ...]) -> None:
        """Replace the list of brokers to try, in order; takes effect at the next connection."""
        if endpoints and endpoints != self._endpoints:
            self._endpoints, self._next_endpoint = endpoints, 0

    def next_seq(self) -> int:
        """Return the number of the next statement."""
        self._count += 1
        return (self.number << _COUNT_BITS) + self._count

    def seal(self, message: codec.Message) -> bytes:
        """Return a message signed by this device."""
        return envelope.seal(message, self._key.keyid, self._key.sign)

    def say(self, topic: topics.Topic, sealed: bytes, *, qos: int = 1, retained: bool = False) -> bool:
        """Send sealed bytes; False when there is no connection."""
        return self.connected and self._link.publish(topic, sealed, qos=qos, retained=retained)

    def due(self, awake_s: float) -> bool:
        """Tell whether it is time to connect."""
        return self.retry_at_s is not None and awake_s >= self.retry_at_s

    def connect(self, number: int, will: Callable[[], codec.Message], awake_s: float) -> None:
        """Begin connection ``number``, which the caller has saved; ``will`` is composed under that number."""
        self.number, self._count = number, 0
        self.retry_at_s = None
        url = self._endpoints[self._next_endpoint % len(self._endpoints)]
        log.info("connecting to %s", _without_password(url))
        try:
            self._link.connect(url, number=number, will=partial(self.seal, will()))
        except NotYet as error:
            self.lost(number, str(error), awake_s)

    def established(self, number: int, awake_s: float) -> bool:
        """Note that a connection is up; False for one that was given up meanwhile."""
        if number != self.number:
            return False
        self.connected, self._connected_at_s = True, awake_s
        self._failures, self.last_problem = 0, ""
        return True

    def lost(self, number: int, reason: str, awake_s: float) -> None:
        """Note that a connection is over, and choose when to try again."""
        if number != self.number:
            return
        lived_s = awake_s - self._connected_at_s if self._connected_at_s is not None else None
        was_connected, self.connected, self._connected_at_s = self.connected, False, None
        self.last_problem = reason
        if was_connected and lived_s is not None and lived_s < STEADY_S:
            self._short_lives += 1
        elif was_connected:
            self._short_lives = 0
        if not was_connected:
            self._failures += 1
            self._next_endpoint += 1
        pause_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(self._failures, 10))
        if self._short_lives >= TAKEOVERS_MAX:
            self._short_lives, pause_s = 0, TAKEOVER_PAUSE_S
            log.warning("three connections in a row ended at once: is another agent using this identity?")
        self.retry_at_s = awake_s + pause_s * self._chance.uniform(0.5, 1.0)
        log.info("not connected (%s); trying again in %.1f s", reason, self.retry_at_s - awake_s)

    def close(self, last: tuple[topics.Topic, bytes] | None) -> None:
        """End the connection in order."""
        self._link.close(last)
        self.connected, self.retry_at_s = False, None


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
