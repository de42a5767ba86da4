"""The agent's end of its connection: ``uplink.Link`` over an asyncio client, on a link of a certain speed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from pinnace_agent.adapters.mqtt_paho import (
    KEEPALIVE_S,
    PAYLOAD_BYTES_MAX,
    Arrived,
    BadEndpoint,
    Connected,
    Disconnected,
    LinkEvent,
)
from pinnace_contract import topics
from pinnace_contract.ids import DeviceId
from pinnace_server.mqtt.address import Address
from pinnace_server.mqtt.errors import BadBrokerUrl
from pinnace_sim.fleet.mqtt_client import Message, MqttClient, Session, open_connection

PAUSE_FROM_S: Final = 0.02  # shorter waits are the event loop's own


class AsyncLink:
    """At most one connection at a time, as with the real one."""

    def __init__(self, device: DeviceId, emit: Callable[[LinkEvent], None], bytes_s: float) -> None:
        self._device, self._emit, self._bytes_s = device, emit, bytes_s
        self._line: _Line | None = None

    def connect(self, url: str, *, number: int, will: Callable[[], bytes]) -> None:
        """Begin connection ``number``; its end, or its failure, arrives as ``Disconnected``.

        Raises:
            BadEndpoint: the URL is not one of a broker.
        """
        self.close()
        try:
            address = Address.parse(url)
        except BadBrokerUrl as error:
            raise BadEndpoint(f"{url}: {error}") from error
        state = topics.UpTopic(device=self._device, channel=topics.Up.STATE)
        session = Session(
            client_id=f"pinnace-{self._device}",
            keepalive_s=KEEPALIVE_S,
            will=Message(topic=str(state), payload=will(), qos=1, retained=True),
            user=address.user,
            password=address.password,
        )
        self._line = _Line(self._emit, number, topics.device_filters(self._device), self._bytes_s)
        self._line.begin(address, session)

    def publish(self, topic: topics.Topic, payload: bytes, *, qos: int = 1, retained: bool = False) -> bool:
        """Hand a message to the connection; False means that it was not taken and the caller keeps it."""
        client = self._line.client if self._line is not None else None
        if client is None:
            return False
        return client.publish(Message(topic=str(topic), payload=payload, qos=qos, retained=retained))

    def close(self, last: tuple[topics.Topic, bytes] | None = None) -> None:
        """End the connection in order, after a last retained message if one is given; the will is then not sent."""
        if self._line is not None and self._line.client is not None and last is not None:
            self.publish(last[0], last[1], retained=True)
        line, self._line = self._line, None
        if line is not None:
            line.end()

    def vanish(self) -> None:
        """Be cut off."""
        line, self._line = self._line, None
        if line is not None:
            line.end(cut=True)


class _Line:
    """One connection of a link."""

    def __init__(
        self, emit: Callable[[LinkEvent], None], number: int, filters: tuple[str, ...], bytes_s: float
    ) -> None:
        self._emit, self._number, self._filters, self._bytes_s = emit, number, filters, bytes_s
        self._loop = asyncio.get_running_loop()
        self._opening: asyncio.Task[None] | None = None
        self._free_at_s = 0.0
        self._ended = False
        self.client: MqttClient | None = None

    def begin(self, address: Address, session: Session) -> None:
        self._opening = self._loop.create_task(self._open(address, session))

    def end(self, *, cut: bool = False) -> None:
        self._ended = True
        if self._opening is not None:
            self._opening.cancel()
        if self.client is not None:
            self.client.vanish() if cut else self.client.close()

    async def _open(self, address: Address, session: Session) -> None:
        tls = ssl.create_default_context() if address.tls else None
        try:
            self.client = await open_connection(address.host, address.port, session, self, tls=tls)
        except OSError as error:
            self.lost(f"the broker cannot be reached: {error}")

    # --- the client's side

    def connected(self, session_kept: bool) -> None:
        """The broker took the connection."""
        assert self.client is not None
        self.client.subscribe(self._filters)
        self._emit(Connected(number=self._number, session=session_kept))

    def lost(self, reason: str) -> None:
        """The connection is over, or never came to be."""
        if not self._ended:
            self._ended = True
            self._emit(Disconnected(number=self._number, reason=reason))

    def arrived(self, topic: str, payload: bytes) -> None:
        """A message came, as fast as the link lets it."""
        if self._ended or len(payload) > PAYLOAD_BYTES_MAX:
            return
        now_s = self._loop.time()
        self._free_at_s = max(now_s, self._free_at_s) + len(payload) / self._bytes_s
        if self.client is not None and self._free_at_s - now_s >= PAUSE_FROM_S:
            self.client.pause_reading(self._free_at_s - now_s)
        self._emit(Arrived(topic=topic, payload=payload))
