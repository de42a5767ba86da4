"""A broker's connection that loses what a test chooses: a TCP proxy that reads MQTT on its way to the client.

Owns the loss and its count. What is worth losing is the test's to say; the broker is ``tests/brokers.py``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Final, Self

from pinnace_contract import topics
from pinnace_contract.errors import BadTopic

LOOPBACK: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 30.0  # binding a port takes no time; the bound is for a machine that does ten other things
LENGTH_BYTES_MAX: Final = 4  # of "remaining length", by both versions of the protocol
MQTT_5: Final = 5
CONNECT, PUBLISH = 1, 3  # packet types: the upper half of a packet's first byte

Lost = Callable[[topics.Topic, bytes], bool]
"""``lost(topic, payload)`` says whether a message is lost. It is called on the proxy's thread, one at a time."""


def nothing(_topic: topics.Topic, _payload: bytes) -> bool:
    """Lose no message."""
    return False


class LossyProxy:
    """Listens on a loopback port of its own, and for each client makes a connection to the broker.

    MQTT 3.1.1 and 5, without TLS and without topic aliases (which a broker uses only for clients that offer to take
    them). Only messages to the client can be lost, of QoS 0 and 1. The broker is told that a QoS 1 message arrived, as
    by a client that dies right after: else its few places in flight would soon be taken, and nothing more would come.
    """

    def __init__(self, broker_port: int) -> None:
        self.lost: Lost = nothing
        """Set it at any time; it counts from the next message on."""
        self.dropped: Counter[topics.Topic] = Counter()
        """How many messages were lost under each topic."""
        self.port = 0
        self._broker_port = broker_port
        self._loop = asyncio.new_event_loop()
        self._listening, self._closing = threading.Event(), asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="lossy-proxy", daemon=True)

    @property
    def url(self) -> str:
        return f"mqtt://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Return when clients can connect."""
        self._thread.start()
        if not self._listening.wait(START_TIMEOUT_S):
            raise AssertionError("the proxy does not listen")

    def close(self) -> None:
        """End every connection, without a word of MQTT, and the thread; raises what ``lost`` raised."""
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, LOOPBACK, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._closing.wait()
        server.close()
        await asyncio.gather(*self._connections)

    async def _connected(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        with contextlib.closing(to_client):
            try:
                from_broker, to_broker = await asyncio.open_connection(LOOPBACK, self._broker_port)
            except OSError:
                return  # there is no broker just now, and that is what the client sees
            with contextlib.closing(to_broker):
                client = _Client()
                failure = await _first_of(
                    self._to_broker(client, from_client, to_broker),
                    self._to_client(client, from_broker, to_client, to_broker),
                    self._closing.wait(),
                )
                self._failure = self._failure or failure

    async def _to_broker(self, client: _Client, source: asyncio.StreamReader, to_broker: asyncio.StreamWriter) -> None:
        while True:
            packet = await _packet(source)
            if packet.kind == CONNECT:
                client.version = _version(packet)
            to_broker.write(packet.head + packet.body)
            await to_broker.drain()

    async def _to_client(
        self,
        client: _Client,
        source: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        to_broker: asyncio.StreamWriter,
    ) -> None:
        while True:
            packet = await _packet(source)
            message = _message(packet, client.version) if packet.kind == PUBLISH else None
            if message is not None and self.lost(message.topic, message.payload):
                self.dropped[message.topic] += 1
                to_broker.write(message.answer)  # whole packets only ever: this one lands between two of the client's
                continue
            to_client.write(packet.head + packet.body)
            await to_client.drain()


async def _first_of(*works: Coroutine[None, None, object]) -> Exception | None:
    """Go on when one of them is over, and leave none behind; return what is not just the end of a connection."""
    tasks = [asyncio.create_task(work) for work in works]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    wrong = (end for end in ends if isinstance(end, Exception))
    return next((each for each in wrong if not isinstance(each, asyncio.IncompleteReadError | OSError)), None)


@dataclass(slots=True)
class _Client:
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packet:
    head: bytes
    body: bytes

    @property
    def kind(self) -> int:
        return self.head[0] >> 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    """A PUBLISH that can be lost, and what the broker waits for afterwards: a PUBACK, or nothing for QoS 0."""

    topic: topics.Topic
    payload: bytes
    answer: bytes


async def _packet(source: asyncio.StreamReader) -> _Packet:
    """Read one packet.

    Raises:
        asyncio.IncompleteReadError: the connection is over.
    """
    head, length = await source.readexactly(1), 0
    for place in range(LENGTH_BYTES_MAX):
        head += await source.readexactly(1)
        length |= (head[-1] & 0x7F) << (7 * place)
        if head[-1] < 0x80:
            break
    return _Packet(head=head, body=await source.readexactly(length))


def _version(connect: _Packet) -> int:
    """Return the protocol level of a CONNECT: it stands behind the protocol's name."""
    return connect.body[2 + int.from_bytes(connect.body[:2])]


def _message(publish: _Packet, version: int) -> _Message | None:
    """Return what a PUBLISH says, or None where it is not ours to lose."""
    qos = publish.head[0] >> 1 & 3
    if qos > 1:
        return None
    body, at = publish.body, 2 + int.from_bytes(publish.body[:2])
    name = body[2:at].decode()
    number, at = (body[at : at + 2], at + 2) if qos else (b"", at)
    if version == MQTT_5:
        at = _behind_properties(body, at)
    try:
        topic = topics.parse(name)
    except BadTopic:
        return None
    return _Message(topic=topic, payload=body[at:], answer=b"\x40\x02" + number if qos else b"")


def _behind_properties(body: bytes, at: int) -> int:
    length = 0
    for place in range(LENGTH_BYTES_MAX):
        byte = body[at + place]
        length |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return at + place + 1 + length
    raise AssertionError("the broker sent properties whose length has no end")
