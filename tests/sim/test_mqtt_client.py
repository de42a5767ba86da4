"""The simulator's own MQTT client against a real mosquitto: what it says arrives, and what waits for it, and wills."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import pytest

from pinnace_sim.fleet import mqtt_client
from pinnace_sim.fleet.mqtt_client import Message, MqttClient, Session, open_connection
from tests.brokers import Mosquitto

PATIENCE_S: Final = 30.0  # a bound for a broken test
TOPIC: Final = "pinnace/v1/up/camera-1/receipt"
STATE: Final = "pinnace/v1/up/camera-1/state"
CAMERA: Final = Session(client_id="camera-1")
SERVER: Final = Session(client_id="server")


class Ear:
    """Hears for a connection and lets a test wait."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.sessions: list[bool] = []
        self.ends: list[str] = []
        self._changed = asyncio.Event()

    def connected(self, session_kept: bool) -> None:
        self.sessions.append(session_kept)
        self._changed.set()

    def arrived(self, topic: str, payload: bytes) -> None:
        self.received.append((topic, payload))
        self._changed.set()

    def lost(self, reason: str) -> None:
        self.ends.append(reason)
        self._changed.set()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    async def hears(self, *payloads: bytes) -> None:
        await self.until(lambda: [payload for _, payload in self.received] == list(payloads))


async def joined(broker: Mosquitto, session: Session, *filters: str) -> tuple[MqttClient, Ear]:
    ear = Ear()
    client = await open_connection("127.0.0.1", broker.port, session, ear)
    await ear.until(lambda: bool(ear.sessions))
    if filters:
        client.subscribe(filters)
    return client, ear


async def settled(client: MqttClient) -> None:
    """Wait until the broker has acknowledged everything, and with it all that came before."""
    async with asyncio.timeout(PATIENCE_S):
        while client.unacknowledged:
            await asyncio.sleep(0.005)


def played(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 2 * PATIENCE_S))  # type: ignore[arg-type]  # a coroutine function's


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("qos", [0, 1])
def test_what_is_published_arrives_and_is_acknowledged(mosquitto: Mosquitto, qos: int) -> None:
    async def story() -> None:
        _, server = await joined(mosquitto, SERVER, "pinnace/v1/up/#")
        camera, _ = await joined(mosquitto, CAMERA)
        assert camera.publish(Message(topic=TOPIC, payload=b"done", qos=qos))
        assert camera.unacknowledged == qos
        await server.hears(b"done")
        await settled(camera)

    played(story)


def test_what_was_sent_meanwhile_comes_with_the_session(mosquitto: Mosquitto) -> None:
    async def story() -> None:
        camera, ear = await joined(mosquitto, CAMERA, "pinnace/v1/down/camera-1/#")
        server, _ = await joined(mosquitto, SERVER)
        assert server.publish(Message(topic="pinnace/v1/down/camera-1/ack", payload=b"first"))
        await ear.hears(b"first")
        camera.close()
        await settled(server)
        assert server.publish(Message(topic="pinnace/v1/down/camera-1/ack", payload=b"meanwhile"))
        await settled(server)
        _, again = await joined(mosquitto, CAMERA)
        await again.hears(b"meanwhile")
        assert (ear.sessions, again.sessions) == ([False], [True])

    played(story)


def test_what_was_not_acknowledged_is_sent_again(mosquitto: Mosquitto) -> None:
    async def story() -> None:
        class Deaf(Ear):
            def arrived(self, topic: str, payload: bytes) -> None:
                super().arrived(topic, payload)
                client.vanish()  # in the middle of it: no acknowledgement leaves

        ear = Deaf()
        client = await open_connection("127.0.0.1", mosquitto.port, CAMERA, ear)
        await ear.until(lambda: bool(ear.sessions))
        client.subscribe(("pinnace/v1/down/camera-1/#",))
        server, _ = await joined(mosquitto, SERVER)
        assert server.publish(Message(topic="pinnace/v1/down/camera-1/ack", payload=b"twice"))
        await ear.hears(b"twice")
        _, again = await joined(mosquitto, CAMERA)
        await again.hears(b"twice")

    played(story)


def test_will_is_sent_for_who_vanishes_and_not_for_who_says_goodbye(mosquitto: Mosquitto) -> None:
    async def story() -> None:
        will = Message(topic=STATE, payload=b"gone", retained=True)
        _, server = await joined(mosquitto, SERVER, STATE)
        polite, _ = await joined(mosquitto, replace(CAMERA, will=replace(will, payload=b"never said")))
        assert polite.publish(Message(topic=STATE, payload=b"goodbye"))
        polite.close()
        await server.hears(b"goodbye")
        cut, _ = await joined(mosquitto, replace(CAMERA, will=will))
        cut.vanish()
        await server.hears(b"goodbye", b"gone")
        _, later = await joined(mosquitto, Session(client_id="console"), STATE)
        await later.hears(b"gone")

    played(story)


def test_retained_message_greets_who_comes_later(mosquitto: Mosquitto) -> None:
    async def story() -> None:
        server, _ = await joined(mosquitto, SERVER)
        assert server.publish(Message(topic="pinnace/v1/down/camera-1/desired", payload=b"run 2", retained=True))
        await settled(server)
        _, ear = await joined(mosquitto, CAMERA, "pinnace/v1/down/camera-1/#", "pinnace/v1/meta/#")
        await ear.hears(b"run 2")

    played(story)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 65_000, 1_000_000])
def test_payload_of_any_size_is_whole(mosquitto: Mosquitto, size: int) -> None:
    async def story() -> None:
        payload = bytes(n % 251 for n in range(size))
        _, ear = await joined(mosquitto, SERVER, TOPIC)
        camera, _ = await joined(mosquitto, CAMERA)
        assert camera.publish(Message(topic=TOPIC, payload=payload))
        assert camera.publish(Message(topic=TOPIC, payload=b"next"))
        await ear.hears(payload, b"next")

    played(story)


def test_slow_reader_gets_everything_in_order(mosquitto: Mosquitto) -> None:
    async def story() -> None:
        class Slow(Ear):
            def arrived(self, topic: str, payload: bytes) -> None:
                super().arrived(topic, payload)
                client.pause_reading(0.01)

        ear = Slow()
        client = await open_connection("127.0.0.1", mosquitto.port, SERVER, ear)
        await ear.until(lambda: bool(ear.sessions))
        client.subscribe((TOPIC,))
        camera, _ = await joined(mosquitto, CAMERA)
        sent = [b"%d" % n * 20_000 for n in range(20)]
        for payload in sent:
            assert camera.publish(Message(topic=TOPIC, payload=payload))
        await ear.hears(*sent)

    played(story)


def test_more_than_can_be_kept_is_not_taken(mosquitto: Mosquitto) -> None:
    async def story() -> None:
        camera, _ = await joined(mosquitto, CAMERA)
        mosquitto.pause()
        taken = [camera.publish(Message(topic=TOPIC, payload=b"x")) for _ in range(mqtt_client.UNACKNOWLEDGED_MAX + 1)]
        assert taken == [True] * mqtt_client.UNACKNOWLEDGED_MAX + [False]
        mosquitto.resume()
        await settled(camera)
        assert camera.publish(Message(topic=TOPIC, payload=b"x"))

    played(story)


def test_silence_is_broken_by_pings_so_that_the_broker_keeps_the_connection(mosquitto: Mosquitto) -> None:
    async def story() -> None:
        _, ear = await joined(mosquitto, replace(CAMERA, keepalive_s=1), TOPIC)
        server, _ = await joined(mosquitto, SERVER)
        await asyncio.sleep(2.5)  # the broker ends a connection after one and a half keepalives
        assert server.publish(Message(topic=TOPIC, payload=b"still there"))
        await ear.hears(b"still there")
        assert not ear.ends

    played(story)


def test_hanging_broker_is_given_up(mosquitto: Mosquitto) -> None:
    async def story() -> None:
        _, ear = await joined(mosquitto, replace(CAMERA, keepalive_s=1))
        mosquitto.pause()
        await ear.until(lambda: bool(ear.ends))
        mosquitto.resume()
        assert ear.ends == ["the broker fell silent"]

    played(story)


def test_broker_that_restarts_is_noticed_and_knows_the_session_again(mosquitto: Mosquitto) -> None:
    async def story() -> None:
        camera, ear = await joined(mosquitto, CAMERA, TOPIC)
        assert camera.publish(Message(topic=TOPIC, payload=b"before"))
        await ear.hears(b"before")
        mosquitto.restart()
        await ear.until(lambda: bool(ear.ends))
        assert not camera.is_up
        assert not camera.publish(Message(topic=TOPIC, payload=b"nobody"))
        _, again = await joined(mosquitto, CAMERA)
        assert again.sessions == [True]
        server, _ = await joined(mosquitto, SERVER)
        assert server.publish(Message(topic=TOPIC, payload=b"after"))
        await again.hears(b"after")

    played(story)


def test_nobody_hears_of_a_connection_that_was_closed(mosquitto: Mosquitto) -> None:
    async def story() -> None:
        camera, ear = await joined(mosquitto, CAMERA)
        camera.close()
        camera.vanish()
        await asyncio.sleep(0.05)
        assert ear.ends == []
        assert not camera.publish(Message(topic=TOPIC, payload=b"x"))

    played(story)


def test_nobody_listening_is_an_error() -> None:
    async def story() -> None:
        with pytest.raises(OSError, match="Connect call failed"):
            await open_connection("127.0.0.1", 1, CAMERA, Ear())

    played(story)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x20\x02\x00\x05", "refused the connection with code 5"),
        (b"\x20\x02\x00\x00\x90\x03\x00\x01\x80", "refused a subscription"),
        (b"\x20\x02\x00\x00\x34\x05\x00\x01t\x00\x01", "QoS 2"),
        (b"\x20\x02\x00\x00\x30\x01\x00", "not understood"),
        (b"\x30\xff\xff\xff\xff\x01", "without a length"),
        (b"\x30\xff\xff\xff\x7f", "sent a packet of 268435455 bytes"),
        (b"\xf0\x00", "a packet of type 15"),
    ],
    ids=["refused", "subscription", "qos 2", "short publish", "no length", "too large", "not of 3.1.1"],
)
def test_what_is_not_understood_ends_the_connection(data: bytes, why: str) -> None:
    async def story() -> None:
        async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            for byte in data:  # one at a time: packets come in pieces
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(0)
            await reader.read()
            writer.close()

        listening = await asyncio.start_server(broker, "127.0.0.1", 0)
        ear = Ear()
        await open_connection("127.0.0.1", listening.sockets[0].getsockname()[1], CAMERA, ear)
        await ear.until(lambda: bool(ear.ends))
        assert why in ear.ends[0]
        assert len(ear.ends) == 1
        listening.close()

    played(story)
