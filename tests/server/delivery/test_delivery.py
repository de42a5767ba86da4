"""What is sent for a want, step by step: chunks by the list or plain pieces, and a status where there is nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from pinnace_contract.ids import DeviceId, Digest, digest_of
from pinnace_contract.latest import (
    CHUNK_BYTES_MAX,
    STATUS_GONE,
    STATUS_NOT_FOUND,
    STATUS_OK,
    Blob,
    Chunk,
    Data,
    Want,
)
from pinnace_contract.topics import Down, DownTopic, Topic
from pinnace_server.errors import NotFound
from pinnace_server.service.delivery import BACKLOG_BYTES_MAX, PacedDelivery, Withheld
from tests.contract.examples import INCARNATION

DEVICE, STRANGER = DeviceId("camera-07"), DeviceId("camera-08")
WEIGHTS = bytes(range(256)) * 1_000
RELEASE = b"r" * (CHUNK_BYTES_MAX + 100)
WITHDRAWN = digest_of(b"withdrawn")


def cut(data: bytes, *sizes: int) -> Blob:
    """A blob in chunks of these sizes; the last is what is left."""
    ends = [sum(sizes[:n]) for n in range(1, len(sizes) + 1)]
    pieces = [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]
    chunks = tuple(Chunk(digest=digest_of(piece), size_bytes=len(piece)) for piece in pieces)
    return Blob(digest=digest_of(data), size_bytes=len(data), chunks=chunks)


@dataclass(slots=True)
class World:
    """Blobs, what the one device may have, and what was published; time stands still."""

    files: dict[Digest, bytes] = field(default_factory=dict)
    lists: dict[Digest, Blob] = field(default_factory=dict)
    published: list[tuple[str, Data]] = field(default_factory=list)
    backlog_bytes: int = 0
    reads: int = 0

    def add(self, data: bytes, blob: Blob) -> Digest:
        self.files[digest_of(data)] = data
        self.lists[blob.digest] = blob
        return blob.digest

    def read(self, digest: Digest, offset: int = 0, size: int | None = None) -> bytes:
        self.reads += 1
        if digest not in self.files:
            raise NotFound("blob", digest)
        return self.files[digest][offset : None if size is None else offset + size]

    def offered(self, device: DeviceId, blob: Digest) -> Blob | Withheld:
        if blob == WITHDRAWN:
            return Withheld.GONE
        return self.lists.get(blob, Withheld.NOT_FOUND) if device == DEVICE else Withheld.NOT_FOUND

    def publish(self, topic: Topic, payload: bytes, *, retained: bool = False, qos: int = 1) -> None:
        assert (retained, qos) == (False, 0)
        self.published.append((str(topic), Data.from_bytes(payload)))

    def waiting_out_bytes(self) -> int:
        return self.backlog_bytes


@pytest.fixture
def world() -> World:
    each = World()
    each.add(WEIGHTS, cut(WEIGHTS, 60_000, 50_000, 40_000, 65_536))
    each.add(RELEASE, Blob(digest=digest_of(RELEASE), size_bytes=len(RELEASE), chunks=()))
    return each


@pytest.fixture
def delivery(world: World) -> PacedDelivery:
    return PacedDelivery(world, world, world, monotonic_s=lambda: 0.0)


def want(blob: Digest, *missing: int, device: DeviceId = DEVICE, chunks: int = 8, window: int = 16) -> Want:
    bits = bytearray((chunks + 7) // 8 if missing else 0)
    for index in missing:
        bits[index // 8] |= 1 << index % 8
    return Want(
        device=device, incarnation=INCARNATION, blob=blob, chunks=chunks, missing=bytes(bits), window=window, seq=1
    )


def _sent(delivery: PacedDelivery, world: World) -> list[Data]:
    while delivery.step() == 0:
        pass
    assert {topic for topic, _ in world.published} <= {
        str(DownTopic(device=device, channel=Down.DATA)) for device in (DEVICE, STRANGER)
    }
    return [data for _, data in world.published]


def test_missing_chunks_are_sent_as_the_signed_list_cuts_them(delivery: PacedDelivery, world: World) -> None:
    delivery.wanted(want(digest_of(WEIGHTS), 1, 4))
    sent = _sent(delivery, world)
    assert [data.index for data in sent] == [1, 4]
    assert sent[0].payload == WEIGHTS[60_000:110_000]
    assert sent[1].payload == WEIGHTS[215_536:]
    listed = world.lists[digest_of(WEIGHTS)].chunks
    assert [digest_of(data.payload) for data in sent] == [listed[1].digest, listed[4].digest]


@pytest.mark.parametrize("missing", [(), (0, 1)], ids=["empty bitmap", "bitmap that covers them"])
def test_release_file_is_sent_in_plain_pieces(delivery: PacedDelivery, world: World, missing: tuple[int, ...]) -> None:
    delivery.wanted(want(digest_of(RELEASE), *missing, chunks=2))
    sent = _sent(delivery, world)
    assert b"".join(data.payload for data in sent) == RELEASE
    assert [len(data.payload) for data in sent] == [CHUNK_BYTES_MAX, 100]


def test_empty_file_is_one_empty_chunk(delivery: PacedDelivery, world: World) -> None:
    blob = world.add(b"", Blob(digest=digest_of(b""), size_bytes=0, chunks=()))
    delivery.wanted(want(blob))
    assert _sent(delivery, world) == [Data(blob=blob, index=0, payload=b"")]


def test_bits_beyond_the_end_are_ignored(delivery: PacedDelivery, world: World) -> None:
    delivery.wanted(want(digest_of(WEIGHTS), 0, 9, 200, chunks=256))
    assert [data.index for data in _sent(delivery, world)] == [0]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        pytest.param(want(digest_of(b"unknown"), 0), STATUS_NOT_FOUND, id="unknown"),
        pytest.param(want(digest_of(WEIGHTS), 0, device=STRANGER), STATUS_NOT_FOUND, id="not assigned to this device"),
        pytest.param(want(WITHDRAWN, 0), STATUS_GONE, id="withdrawn"),
    ],
)
def test_what_a_device_may_not_have_is_answered_with_a_status(
    delivery: PacedDelivery, world: World, asked: Want, status: int
) -> None:
    delivery.wanted(asked)
    assert _sent(delivery, world) == [Data(blob=asked.blob, index=0, status=status)]
    assert world.reads == 0


def test_withdrawal_ends_a_wish_under_way(delivery: PacedDelivery, world: World) -> None:
    delivery.wanted(want(digest_of(WEIGHTS), 0, 1, 2))
    assert delivery.step() == 0
    del world.lists[digest_of(WEIGHTS)]
    delivery.wanted(want(digest_of(WEIGHTS), 1, 2))
    assert [data.status for data in _sent(delivery, world)] == [STATUS_OK, STATUS_NOT_FOUND]


def test_blob_that_is_gone_from_the_disk_is_said_to_be_missing(delivery: PacedDelivery, world: World) -> None:
    del world.files[digest_of(WEIGHTS)]
    delivery.wanted(want(digest_of(WEIGHTS), 0, 1))
    assert [data.status for data in _sent(delivery, world)] == [STATUS_NOT_FOUND]


def test_chunks_are_read_only_when_they_are_sent(delivery: PacedDelivery, world: World) -> None:
    world.backlog_bytes = BACKLOG_BYTES_MAX + 1
    delivery.wanted(want(digest_of(WEIGHTS), 0, 1))
    assert delivery.step() != 0
    assert (world.reads, world.published) == (0, [])
    world.backlog_bytes = 0
    assert len(_sent(delivery, world)) == 2


def test_want_of_the_same_blob_replaces_the_one_before(delivery: PacedDelivery, world: World) -> None:
    delivery.wanted(want(digest_of(WEIGHTS), 0, 1, 2))
    delivery.wanted(want(digest_of(WEIGHTS), 2))
    assert [data.index for data in _sent(delivery, world)] == [2]


def test_status_counts_what_was_done(delivery: PacedDelivery, world: World) -> None:
    delivery.wanted(want(digest_of(WEIGHTS), 0, 1))
    delivery.wanted(want(WITHDRAWN, 0))
    _sent(delivery, world)
    status = delivery.status()
    assert (status.chunks_sent, status.bytes_sent, status.refused, status.chunks_waiting) == (2, 110_000, 1, 0)


def test_failing_database_does_not_end_delivery(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [RuntimeError("the database is away")]
    monkeypatch.setattr("pinnace_server.service.delivery.ERROR_WAIT_S", 0.0)
    healthy = world.offered

    class Flaky:
        def offered(self, device: DeviceId, blob: Digest) -> Blob | Withheld:
            if failures:
                raise failures.pop()
            return healthy(device, blob)

    delivery = PacedDelivery(world, Flaky(), world)
    delivery.start()
    try:
        while failures or not world.published:
            delivery.wanted(want(digest_of(WEIGHTS), 0))
    finally:
        delivery.stop()
    assert world.published[0][1].payload == WEIGHTS[:60_000]
