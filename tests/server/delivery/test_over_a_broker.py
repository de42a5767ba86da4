"""Delivery to devices over a real broker, asked for as the agent asks: whole in the end, whatever gets lost."""

from __future__ import annotations

import contextlib
import queue
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pinnace_agent import transfer
from pinnace_contract import codec
from pinnace_contract.errors import ContractError
from pinnace_contract.ids import DeviceId, Digest, digest_of
from pinnace_contract.latest import CHUNK_BYTES_MAX, Blob, Chunk, Data, Want
from pinnace_contract.topics import Down, DownTopic, Topic, Up, UpTopic
from pinnace_server.mqtt import broker as brokers
from pinnace_server.mqtt.address import LOOPBACK, Address
from pinnace_server.mqtt.gateway import Gateway
from pinnace_server.service.delivery import PacedDelivery, Withheld
from pinnace_server.service.wishes import Rates
from tests.brokers import Mosquitto
from tests.contract.examples import INCARNATION
from tests.server.mqtt.peer import TIMEOUT_S, Peer, eventually, peer

# Both sides wait for seconds before they take a chunk for lost; here those seconds pass faster.
SPEED = 10.0
WEIGHTS = random.Random(7).randbytes(3_000_000)
PIECES = tuple(WEIGHTS[at : at + CHUNK_BYTES_MAX] for at in range(0, len(WEIGHTS), CHUNK_BYTES_MAX))
BLOB = Blob(
    digest=digest_of(WEIGHTS),
    size_bytes=len(WEIGHTS),
    chunks=tuple(Chunk(digest=digest_of(piece), size_bytes=len(piece)) for piece in PIECES),
)


def _clock() -> float:
    return time.monotonic() * SPEED


class Shelf:
    """One blob for everybody."""

    def read(self, digest: Digest, offset: int = 0, size: int | None = None) -> bytes:
        assert digest == BLOB.digest
        return WEIGHTS[offset : None if size is None else offset + size]

    def offered(self, device: DeviceId, blob: Digest) -> Blob | Withheld:
        return BLOB if blob == BLOB.digest else Withheld.NOT_FOUND


@dataclass(slots=True)
class LossyOutlet:
    """Passes messages on to the gateway, or loses them as QoS 0 allows."""

    gateway: Gateway
    loss: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    lost: int = 0
    order: list[str] = field(default_factory=list)

    def publish(self, topic: Topic, payload: bytes, *, retained: bool = False, qos: int = 1) -> None:
        self.order.append(str(topic))
        if self.chance.random() < self.loss:
            self.lost += 1
        else:
            self.gateway.publish(topic, payload, retained=retained, qos=qos)

    def waiting_out_bytes(self) -> int:
        return self.gateway.waiting_out_bytes()


@dataclass(slots=True)
class Server:
    """Gateway and delivery, with nothing of the rest."""

    outlet: LossyOutlet
    delivery: PacedDelivery


@contextlib.contextmanager
def _server(port: int, *, loss: float = 0.0, rates: Rates | None = None) -> Iterator[Server]:
    def receive(messages: Sequence[tuple[str, bytes]]) -> None:
        for _, payload in messages:
            with contextlib.suppress(ContractError):
                delivery.wanted(codec.from_json(Want, payload))

    gateway = Gateway(Address(host=LOOPBACK, port=port), receive, tuple, now_s=time.time)
    outlet = LossyOutlet(gateway=gateway, loss=loss)
    delivery = PacedDelivery(Shelf(), Shelf(), outlet, rates=rates, monotonic_s=_clock)
    gateway.start()
    delivery.start()
    try:
        assert gateway.wait_connected(TIMEOUT_S)
        yield Server(outlet=outlet, delivery=delivery)
    finally:
        delivery.stop()
        gateway.stop()


class Device:
    """Fetches the blob as the agent does: its decisions, a client of its own, chunks checked against the list."""

    def __init__(self, client: Peer, name: str) -> None:
        self.name = DeviceId(name)
        self.client = client
        self.pieces: dict[int, bytes] = {}
        self.duplicates = 0
        self.wish = transfer.Wish(
            blob=BLOB.digest, chunks=len(PIECES), missing=frozenset(range(len(PIECES))), asked=frozenset()
        )
        self._chunks: queue.Queue[Data] = queue.Queue()
        self._chance = random.Random(name)
        client.on_receive = lambda _topic, payload: self._chunks.put(Data.from_bytes(payload))
        client.subscribe(str(DownTopic(device=self.name, channel=Down.DATA)), qos=0)

    @property
    def whole(self) -> bool:
        return b"".join(self.pieces[n] for n in sorted(self.pieces)) == WEIGHTS

    def turn(self) -> None:
        """Take what came, and ask if it is time to."""
        with contextlib.suppress(queue.Empty):
            data = self._chunks.get(timeout=0.01)
            assert digest_of(data.payload) == BLOB.chunks[data.index].digest
            self.duplicates += data.index in self.pieces
            self.pieces[data.index] = data.payload
            self.wish = transfer.arrived(self.wish, data.index, _clock())
        self.wish, bitmap = transfer.ask(self.wish, _clock(), self._chance)
        if bitmap is not None:
            want = Want(
                device=self.name,
                incarnation=INCARNATION,
                seq=1,
                blob=BLOB.digest,
                chunks=len(PIECES),
                missing=bitmap,
                window=transfer.WINDOW_CHUNKS,
            )
            topic = str(UpTopic(device=self.name, channel=Up.WANT))
            self.client.client.publish(topic, codec.to_json(want), qos=0)

    def fetch(self) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not self.wish.complete:
            assert time.monotonic() < deadline, f"still missing {sorted(self.wish.missing)}"
            self.turn()


def test_blob_arrives_whole_and_once_when_nothing_is_lost(mosquitto: Mosquitto) -> None:
    with _server(mosquitto.port) as server, peer(mosquitto.port) as client:
        device = Device(client, "camera-07")
        device.fetch()
        assert device.whole
        assert device.duplicates == 0
        assert server.delivery.status().chunks_sent == len(PIECES)


def test_blob_arrives_whole_when_a_tenth_of_all_chunks_is_lost(mosquitto: Mosquitto) -> None:
    with _server(mosquitto.port, loss=0.1) as server, peer(mosquitto.port) as client:
        device = Device(client, "camera-07")
        device.fetch()
        assert device.whole
        assert server.outlet.lost > 0  # the fault happened
        assert server.delivery.status().chunks_sent < 2 * len(PIECES)


def test_two_devices_share_a_slow_link_evenly(mosquitto: Mosquitto) -> None:
    rates = Rates(total_bytes_s=8 * 1024 * 1024, total_burst_bytes=0, device_burst_bytes=0)
    with (
        _server(mosquitto.port, rates=rates) as server,
        peer(mosquitto.port) as first_client,
        peer(mosquitto.port) as second_client,
    ):
        first, second = Device(first_client, "camera-07"), Device(second_client, "camera-08")
        deadline = time.monotonic() + TIMEOUT_S
        while not (first.wish.complete and second.wish.complete):
            assert time.monotonic() < deadline
            first.turn()
            second.turn()
        assert first.whole
        assert second.whole
        half = server.outlet.order[: len(PIECES)]
        assert abs(half.count(half[0]) - len(half) / 2) <= transfer.WINDOW_CHUNKS


def test_delivery_goes_on_where_it_was_after_the_broker_was_killed(mosquitto: Mosquitto) -> None:
    with _server(mosquitto.port) as server, peer(mosquitto.port, "camera-07", keeps_session=True) as client:
        device = Device(client, "camera-07")
        while len(device.pieces) < len(PIECES) // 2:
            device.turn()
        mosquitto.kill()
        eventually(lambda: not client.client.is_connected())
        mosquitto.start()
        client.wait_until(client.client.is_connected)
        client.subscribe(str(DownTopic(device=device.name, channel=Down.DATA)), qos=0)
        device.fetch()
        assert device.whole
        assert server.delivery.status().chunks_sent < 2 * len(PIECES)


def test_device_that_does_not_read_is_sent_no_more_than_its_window(mosquitto: Mosquitto) -> None:
    with _server(mosquitto.port) as server, peer(mosquitto.port) as client:
        silent = Device(client, "camera-07")
        silent.turn()
        eventually(lambda: server.delivery.status().chunks_sent == transfer.WINDOW_CHUNKS)
        eventually(lambda: server.outlet.waiting_out_bytes() == 0)
        assert server.delivery.step() is None


def test_blob_arrives_whole_over_the_fallback_broker(tmp_path: Path) -> None:
    broker = brokers.find(tmp_path, kind=brokers.BrokerKind.AMQTT)
    broker.start()
    try:
        with _server(broker.address.port), peer(broker.address.port) as client:
            device = Device(client, "camera-07")
            device.fetch()
            assert device.whole
    finally:
        broker.stop()


@pytest.mark.parametrize("devices", [20])
def test_wave_of_devices_that_start_at_once_all_get_it(mosquitto: Mosquitto, devices: int) -> None:
    with _server(mosquitto.port) as server, contextlib.ExitStack() as stack:
        wave = [Device(stack.enter_context(peer(mosquitto.port)), f"camera-{n}") for n in range(devices)]
        deadline = time.monotonic() + 2 * TIMEOUT_S
        while waiting := [device for device in wave if not device.wish.complete]:
            assert time.monotonic() < deadline, [len(device.wish.missing) for device in waiting]
            for device in waiting:
                device.turn()
        assert all(device.whole for device in wave)
        assert server.delivery.status().chunks_sent < 2 * devices * len(PIECES)
