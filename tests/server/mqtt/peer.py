"""Another client of the broker, for tests: a device or an observer, as paho makes it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

# Everything here takes milliseconds; the bound is for a machine that does ten other things.
TIMEOUT_S = 30.0
POLL_S = 0.01


def eventually(true: Callable[[], bool]) -> None:
    """Wait for another process or thread that has no way to tell us."""
    deadline = time.monotonic() + TIMEOUT_S
    while not true():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(POLL_S)


def connects(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


class Peer:
    """Collects what it receives and lets a test wait for it."""

    def __init__(self, port: int, client_id: str = "", *, keeps_session: bool = False) -> None:
        self.host, self.port = "127.0.0.1", port
        self.received: list[tuple[str, bytes]] = []
        self.on_receive: Callable[[str, bytes], None] = lambda _topic, _payload: None
        self._changed = threading.Condition()
        self._subscribed = 0
        self.client = Client(CallbackAPIVersion.VERSION2, client_id, clean_session=not keeps_session)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_message = self._on_message
        self.client.on_connect = self._on_anything
        self.client.on_subscribe = self._on_subscribe

    def connect(self) -> None:
        self.client.connect(self.host, self.port)
        self.client.loop_start()
        self.wait_until(self.client.is_connected)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def subscribe(self, topic: str, qos: int = 1) -> None:
        before = self._subscribed
        self.client.subscribe(topic, qos)
        self.wait_until(lambda: self._subscribed > before)

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos, retain).wait_for_publish(TIMEOUT_S)

    def payloads(self, topic: str) -> list[bytes]:
        with self._changed:
            return [payload for each, payload in self.received if each == topic]

    def wait_until(self, true: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(true, TIMEOUT_S), f"did not happen; received {self.received!r:.500}"

    def wait_for(self, topic: str, payload: bytes) -> None:
        self.wait_until(lambda: (topic, payload) in self.received)

    def settle(self) -> None:
        """Everything that the broker had for us before this call is here when it returns: it keeps the order."""
        marker = f"settled/{id(self)}"
        self.subscribe(marker)
        self.publish(marker, b"")
        self.wait_until(lambda: (marker, b"") in self.received)
        with self._changed:
            self.received.remove((marker, b""))

    def _on_message(self, _: Client, __: object, message: MQTTMessage) -> None:
        with self._changed:
            self.received.append((message.topic, bytes(message.payload)))
            self._changed.notify_all()
        self.on_receive(message.topic, bytes(message.payload))

    def _on_anything(self, *_: object) -> None:
        with self._changed:
            self._changed.notify_all()

    def _on_subscribe(self, *_: object) -> None:
        with self._changed:
            self._subscribed += 1
            self._changed.notify_all()


@contextlib.contextmanager
def peer(port: int, client_id: str = "", *, keeps_session: bool = False) -> Iterator[Peer]:
    each = Peer(port, client_id, keeps_session=keeps_session)
    each.connect()
    try:
        yield each
    finally:
        each.close()
