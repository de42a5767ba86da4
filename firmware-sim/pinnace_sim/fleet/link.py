"""The agent's end of its connection: ``uplink.Link`` over an asyncio client, on a link of a certain pace."""

from __future__ import annotations

import asyncio
import math
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
from pinnace_sim.fleet.pace import LIVES_S, Pace

REFUSED_AFTER_S: Final = 10.0  # a connection that is begun in the dark
BEHIND_S_MAX: Final = 30.0  # of messages on their way up; more are not taken, and their owner keeps them
DARK: Final = "the link is dark"
_DATA: Final = f"/{topics.Down.DATA}"  # chunks are the only messages of QoS 0 that come down
PAUSE_FROM_S: Final = 0.02  # shorter waits are the event loop's own


class AsyncLink:
    """At most one connection at a time, as with the real one."""

    def __init__(self, device: DeviceId, emit: Callable[[LinkEvent], None], pace: Pace) -> None:
        self._device, self._emit, self._pace = device, emit, pace
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
        self._line = _Line(self._emit, number, topics.device_filters(self._device), self._pace)
        self._line.begin(address, session)

    def publish(self, topic: topics.Topic, payload: bytes, *, qos: int = 1, retained: bool = False) -> bool:
        """Hand a message to the connection; False means that it was not taken and the caller keeps it."""
        if self._line is None:
            return False
        return self._line.publish(Message(topic=str(topic), payload=payload, qos=qos, retained=retained))

    def close(self, last: tuple[topics.Topic, bytes] | None = None) -> None:
        """End the connection in order, after a last retained message if one is given; the will is then not sent."""
        line, self._line = self._line, None
        if line is not None and line.client is not None and last is not None:  # at once, whatever is on its way
            line.client.publish(Message(topic=str(last[0]), payload=last[1], qos=1, retained=True))
        if line is not None:
            line.end()

    def vanish(self) -> None:
        """Be cut off."""
        line, self._line = self._line, None
        if line is not None:
            line.end(cut=True)


class _Line:
    """One connection of a link."""

    def __init__(self, emit: Callable[[LinkEvent], None], number: int, filters: tuple[str, ...], pace: Pace) -> None:
        self._emit, self._number, self._filters, self._pace = emit, number, filters, pace
        self._loop = asyncio.get_running_loop()
        self._opening: asyncio.Task[None] | None = None
        self._following: asyncio.TimerHandle | None = None
        self._free_at_s = self._up_free_at_s = 0.0
        self._going_up = 0
        self._ended = False
        self.client: MqttClient | None = None

    def begin(self, address: Address, session: Session) -> None:
        if self._pace.is_dark(self._loop.time()):
            self._following = self._loop.call_later(REFUSED_AFTER_S, self.lost, DARK)
            return
        self._opening = self._loop.create_task(self._open(address, session))
        self._follow()

    def publish(self, message: Message) -> bool:
        """Send a message up, as fast as the link lets it; False: it is not taken."""
        now_s = self._loop.time()
        if self.client is None or self._ended or self._up_free_at_s - now_s > BEHIND_S_MAX:
            return False
        if message.qos == 0 and self._pace.loses(now_s):
            return True
        self._up_free_at_s = max(now_s, self._up_free_at_s) + len(message.payload) / self._pace.up_bytes_s(now_s)
        wait_s = self._up_free_at_s + self._pace.delay_s(now_s) - now_s
        if wait_s < PAUSE_FROM_S and not self._going_up:
            return self.client.publish(message)
        self._going_up += 1
        self._loop.call_later(wait_s, self._send, message)
        return True

    def _send(self, message: Message) -> None:
        self._going_up -= 1
        if self.client is not None and not self._ended:
            self.client.publish(message)

    def _follow(self) -> None:
        """Do what the moment asks for: end in a long darkness, hold everything back in a short one."""
        if self._ended:
            return
        now_s = self._loop.time()
        dark_s = self._pace.dark_s(now_s)
        if dark_s > LIVES_S:
            self.end(cut=True)
            self._emit(Disconnected(number=self._number, reason=DARK))
            return
        if dark_s > 0:
            self._up_free_at_s = max(self._up_free_at_s, now_s + dark_s)
            if self.client is not None:
                self.client.pause_reading(dark_s)
        next_s = self._pace.next_after(now_s)
        if next_s < math.inf:
            self._following = self._loop.call_at(next_s, self._follow)

    def end(self, *, cut: bool = False) -> None:
        self._ended = True
        if self._following is not None:
            self._following.cancel()
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
        self._free_at_s = max(now_s, self._free_at_s) + len(payload) / self._pace.down_bytes_s(now_s)
        if self.client is not None and self._free_at_s - now_s >= PAUSE_FROM_S:
            self.client.pause_reading(self._free_at_s - now_s)
        if topic.endswith(_DATA) and self._pace.loses(now_s):
            return
        delay_s = self._pace.delay_s(now_s)
        if delay_s < PAUSE_FROM_S:
            self._emit(Arrived(topic=topic, payload=payload))
        else:
            self._loop.call_later(delay_s, self._arrived_late, Arrived(topic=topic, payload=payload))

    def _arrived_late(self, message: Arrived) -> None:
        if not self._ended:
            self._emit(message)
