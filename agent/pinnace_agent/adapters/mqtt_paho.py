"""One MQTT connection by paho-mqtt. Its thread only puts events on the agent's queue; when to connect is the daemon's.

A connection is made anew each time, because the will carries the connection's number, which is saved before CONNECT.
Valid on MQTT 3.1.1: the session is kept (clean start off), so a broker holds QoS 1 messages while the device is away.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from pinnace_agent.errors import NotYet
from pinnace_contract import topics
from pinnace_contract.ids import DeviceId

KEEPALIVE_S: Final = 30
CONNECT_TIMEOUT_S: Final = 10.0
PAYLOAD_BYTES_MAX: Final = 2 * 1024 * 1024  # the image repository's targets are the largest that a device reads
QUEUED_MESSAGES_MAX: Final = 64  # what paho may hold unsent; the outbox and the spool hold the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """The broker accepted connection ``number``; without ``session`` it forgot what it kept for this device."""

    number: int
    session: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected:
    """Connection ``number`` is over, or never came to be."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A message, unchecked."""

    topic: str
    payload: bytes


LinkEvent = Connected | Disconnected | Arrived


class BadEndpoint(NotYet):
    """A broker URL that cannot be used."""


class MqttLink:
    """At most one connection at a time; ``emit`` is called from paho's thread and must only enqueue."""

    def __init__(self, device: DeviceId, emit: Callable[[LinkEvent], None]) -> None:
        self._device = device
        self._emit = emit
        self._client: paho.Client | None = None
        self._number = 0

    def connect(self, url: str, *, number: int, will: Callable[[], bytes]) -> None:
        """Begin connection ``number``; its end, or its failure, arrives as ``Disconnected``.

        Raises:
            BadEndpoint: the URL is not one of a broker.
        """
        self.close()
        host, port, tls, user, password = _endpoint(url)
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"pinnace-{self._device}",
            clean_session=False,
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,
        )
        client.max_queued_messages_set(QUEUED_MESSAGES_MAX)
        client.connect_timeout = CONNECT_TIMEOUT_S
        if user:
            client.username_pw_set(user, password)
        if tls:
            client.tls_set(cert_reqs=ssl.CERT_REQUIRED)
        state = topics.UpTopic(device=self._device, channel=topics.Up.STATE)
        client.will_set(str(state), will(), qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.user_data_set(number)
        self._client, self._number = client, number
        client.connect_async(host, port, keepalive=KEEPALIVE_S)
        client.loop_start()

    def publish(self, topic: topics.Topic, payload: bytes, *, qos: int = 1, retained: bool = False) -> bool:
        """Hand a message to the connection; False means that it was not taken and the caller keeps it."""
        if self._client is None or not self._client.is_connected():
            return False
        return self._client.publish(str(topic), payload, qos=qos, retain=retained).rc == paho.MQTT_ERR_SUCCESS

    def close(self, last: tuple[topics.Topic, bytes] | None = None) -> None:
        """End the connection in order, after a last retained message if one is given; the will is then not sent."""
        client, self._client = self._client, None
        if client is None:
            return
        client.on_disconnect = None
        client.on_connect = None
        client.on_connect_fail = None
        if last is not None and client.is_connected():
            sent = client.publish(str(last[0]), last[1], qos=1, retain=True)
            # if the connection goes away meanwhile, the will says the same
            with contextlib.suppress(RuntimeError, ValueError):
                sent.wait_for_publish(timeout=2.0)
        client.disconnect()
        client.loop_stop()

    def _on_connect(self, client: paho.Client, number: Any, flags: Any, reason: Any, properties: Any) -> None:
        del properties
        if reason.is_failure:
            return  # paho calls on_disconnect next
        for pattern in topics.device_filters(self._device):
            client.subscribe(pattern, qos=1)
        self._emit(Connected(number=number, session=bool(flags.session_present)))

    def _on_connect_fail(self, client: paho.Client, number: Any) -> None:
        del client
        self._emit(Disconnected(number=number, reason="the broker cannot be reached"))

    def _on_disconnect(self, client: paho.Client, number: Any, flags: Any, reason: Any, properties: Any) -> None:
        del client, flags, properties
        self._emit(Disconnected(number=number, reason=str(reason)))

    def _on_message(self, client: paho.Client, number: Any, message: paho.MQTTMessage) -> None:
        del client, number
        if len(message.payload) > PAYLOAD_BYTES_MAX:
            return  # nothing in the contract is as large, and the queue holds many
        self._emit(Arrived(topic=message.topic, payload=bytes(message.payload)))


def _endpoint(url: str) -> tuple[str, int, bool, str, str]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise BadEndpoint(f"{url}: expected mqtt://HOST:PORT or mqtts://HOST:PORT") from error
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise BadEndpoint(f"{url}: expected mqtt://HOST:PORT or mqtts://HOST:PORT")
    tls = parts.scheme == "mqtts"
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return parts.hostname, port or (8883 if tls else 1883), tls, user, password
