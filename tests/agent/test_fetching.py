"""Transfers against files in memory: resumed, damaged, withdrawn, without room."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from pinnace_agent.core import effects, events
from pinnace_agent.core.slot import Servable
from pinnace_agent.fetching import BAD_CHUNKS_MAX, MIXED_MAX_S, Fetching
from pinnace_agent.store_blobs import DigestMismatch, NoRoom, Part
from pinnace_agent.trust import MetadataMixed, SignatureInvalid
from pinnace_contract import codec
from pinnace_contract.ids import Digest, ModelName, ReleaseId, digest_of
from pinnace_contract.latest import Blob, Cause, Chunk, Data, Release
from tests.contract import examples

MODEL = ModelName("defect-detect")
PIECES = [bytes([n]) * 100 for n in range(40)]
WEIGHTS = Blob(
    digest=digest_of(b"".join(PIECES)),
    size_bytes=4000,
    chunks=tuple(Chunk(digest=digest_of(piece), size_bytes=100) for piece in PIECES),
)
RELEASE = dataclasses.replace(
    examples.RELEASE,
    variants=(dataclasses.replace(examples.RELEASE.variants[0], blob=WEIGHTS),),
    assets=(),
    baseline=None,
    golden=dataclasses.replace(examples.RELEASE.golden, blob=WEIGHTS),
)
RELEASE_BYTES = codec.to_json(RELEASE)
RELEASE_ID = ReleaseId(digest_of(RELEASE_BYTES))
FETCH_RELEASE = effects.FetchRelease(model=MODEL, ticket=1, release=RELEASE_ID, size_bytes=len(RELEASE_BYTES))
FETCH = effects.Fetch(
    model=MODEL, ticket=2, release=RELEASE_ID, variant=RELEASE.variants[0].digest, metered_too=True, transfer=None
)


@dataclass
class World:
    """The store, the server's answers and the clock of one device."""

    now_s: float = 0.0
    connected: bool = True
    held: dict[ReleaseId, bytes] = field(default_factory=dict)
    missing: set[int] = field(default_factory=lambda: set(range(len(PIECES))))
    room: bool = True
    listed: bool = True
    asked: list[tuple[Digest, set[int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fetching = Fetching(
            files=self,
            check=self._check,
            ask=self._ask,
            kept=lambda: (),
            clock=lambda: self.now_s,
            chance=random.Random(1),
        )

    def _check(self, model: ModelName, release: ReleaseId, data: bytes | None) -> Release | None:
        if not self.listed:
            raise MetadataMixed("not listed")
        if data is not None and digest_of(data) != Digest(release):
            raise SignatureInvalid("other bytes")
        return None if data is None else RELEASE

    def _ask(self, blob: Digest, chunks: int, bitmap: bytes) -> bool:
        if self.connected:
            self.asked.append((blob, {n for n in range(chunks) if bitmap[n // 8] >> n % 8 & 1}))
        return self.connected

    def release_bytes(self, release: ReleaseId) -> bytes | None:
        return self.held.get(release)

    def add_release(self, release: ReleaseId, data: bytes) -> None:
        self.held[release] = data

    def reserve(self, blobs: Iterable[Blob], kept: Iterable[Servable]) -> tuple[Part, ...]:
        if not self.room:
            raise NoRoom(4200, 100, 50)
        return (Part(blob=WEIGHTS, offsets=tuple(range(0, 4000, 100)), missing=self.missing),) if self.missing else ()

    def put_chunk(self, part: Part, index: int, data: bytes) -> bool:
        if digest_of(data) != part.blob.chunks[index].digest:
            raise DigestMismatch("chunk", part.blob.chunks[index].digest, digest_of(data))
        part.missing.discard(index)
        return True

    def send(self, *indices: int, flip: bool = False) -> None:
        for index in indices:
            payload = b"?" + PIECES[index][1:] if flip else PIECES[index]
            self.fetching.received(Data(blob=WEIGHTS.digest, index=index, payload=payload))

    def heard(self) -> list[events.Event]:
        return [event for _, event in self.fetching.take()]


def test_a_release_file_is_asked_for_checked_and_kept() -> None:
    world = World()
    world.fetching.fetch_release(FETCH_RELEASE)
    assert world.asked == [(Digest(RELEASE_ID), {0})]
    world.fetching.received(Data(blob=Digest(RELEASE_ID), index=0, payload=RELEASE_BYTES))
    (read,) = world.heard()
    assert isinstance(read, events.ReleaseRead)
    assert (read.ticket, read.release) == (1, RELEASE)
    assert world.held == {RELEASE_ID: RELEASE_BYTES}


def test_a_release_that_is_here_is_not_asked_for() -> None:
    world = World(held={RELEASE_ID: RELEASE_BYTES})
    world.fetching.fetch_release(FETCH_RELEASE)
    assert world.asked == []
    assert isinstance(world.heard()[0], events.ReleaseRead)


def test_other_bytes_under_a_releases_name_are_refused_in_the_end() -> None:
    world = World()
    world.fetching.fetch_release(FETCH_RELEASE)
    for _ in range(BAD_CHUNKS_MAX):
        world.fetching.received(Data(blob=Digest(RELEASE_ID), index=0, payload=b"{}"))
    (refused,) = world.heard()
    assert isinstance(refused, events.ReleaseRefused)
    assert refused.cause is Cause.DIGEST_MISMATCH
    assert world.held == {}


def test_a_release_that_is_not_listed_yet_is_waited_for() -> None:
    world = World(listed=False)
    world.fetching.fetch_release(FETCH_RELEASE)
    assert world.asked == []
    world.listed = True
    world.fetching.tick()
    assert world.asked != []


def test_a_release_that_is_never_listed_is_an_error_after_ten_minutes() -> None:
    world = World(listed=False)
    world.fetching.fetch_release(FETCH_RELEASE)
    world.now_s = MIXED_MAX_S + 1
    world.fetching.tick()
    (refused,) = world.heard()
    assert isinstance(refused, events.ReleaseRefused)
    assert refused.cause is Cause.META_INCONSISTENT


def test_a_blob_is_fetched_window_by_window_and_told_once() -> None:
    world = World()
    world.fetching.fetch(FETCH, RELEASE)
    while world.fetching.busy:
        world.send(*sorted(world.asked[-1][1])[:16])
    assert world.heard() == [events.Fetched(ticket=2)]
    assert len(world.asked) == 3


def test_a_fetch_goes_on_where_it_was() -> None:
    world = World(missing={3, 5})
    world.fetching.fetch(FETCH, RELEASE)
    assert world.asked == [(WEIGHTS.digest, {3, 5})]


def test_nothing_missing_is_fetched_at_once() -> None:
    world = World(missing=set())
    world.fetching.fetch(FETCH, RELEASE)
    assert world.heard() == [events.Fetched(ticket=2)]


def test_one_damaged_chunk_is_asked_for_again() -> None:
    world = World(missing={3})
    world.fetching.fetch(FETCH, RELEASE)
    world.send(3, flip=True)
    assert world.heard() == []
    assert len(world.asked) == 1
    world.now_s = 2.0
    world.fetching.tick()
    assert len(world.asked) == 2
    world.send(3)
    assert world.heard()[-1] == events.Fetched(ticket=2)


def test_a_chunk_that_is_always_damaged_fails_the_fetch_and_names_it() -> None:
    world = World(missing={3})
    world.fetching.fetch(FETCH, RELEASE)
    for _ in range(BAD_CHUNKS_MAX):
        world.send(3, flip=True)
    (failed,) = world.heard()
    assert isinstance(failed, events.FetchFailed)
    assert failed.cause is Cause.DIGEST_MISMATCH
    assert "chunk 3" in failed.detail


def test_no_room_is_told_with_its_numbers() -> None:
    world = World(room=False)
    world.fetching.fetch(FETCH, RELEASE)
    (failed,) = world.heard()
    assert isinstance(failed, events.FetchFailed)
    assert failed.cause is Cause.NO_ROOM
    assert "4200" in failed.detail


def test_without_a_connection_it_asks_when_there_is_one() -> None:
    world = World(connected=False)
    world.fetching.fetch(FETCH, RELEASE)
    world.connected = True
    world.fetching.reconnected()
    assert len(world.asked) == 1


@pytest.mark.parametrize("status", [404, 410, 500])
def test_a_server_that_does_not_have_it_is_asked_again_later(status: int) -> None:
    world = World(missing={0})
    world.fetching.fetch(FETCH, RELEASE)
    world.fetching.received(Data(blob=WEIGHTS.digest, index=0, status=status))
    assert world.heard() == []
    world.now_s = 10.0
    world.fetching.tick()
    assert len(world.asked) == 2


def test_progress_is_told_once_a_second() -> None:
    world = World()
    world.fetching.fetch(FETCH, RELEASE)
    world.send(0, 1)
    world.now_s = 1.5
    world.send(2, 3)
    (told,) = world.heard()
    assert isinstance(told, events.ChunksFetched)
    assert told.fetched_bytes == 300


def test_a_stopped_fetch_asks_for_nothing_more() -> None:
    world = World()
    world.fetching.fetch(FETCH, RELEASE)
    world.fetching.stop(MODEL)
    world.now_s = 100.0
    world.fetching.tick()
    world.send(0)
    assert len(world.asked) == 1
    assert world.heard() == []
