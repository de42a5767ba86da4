"""The store on a disk that works, on one that is full or broken, and on one that somebody has damaged."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pinnace_agent import store_state
from pinnace_agent.adapters.filesystem import Directory, locked
from pinnace_agent.core.device import DeviceState
from pinnace_agent.core.slot import Servable
from pinnace_agent.store import Store
from pinnace_agent.store_blobs import ChunksInvalid, DigestMismatch, NoRoom
from pinnace_agent.store_port import Files, StateLost, StorageBroken, StorageFull, StoreLocked, write_durably
from pinnace_contract import codec
from pinnace_contract.ids import BootId, Digest, ReleaseId, VersionName, digest_of
from pinnace_contract.latest import Blob, Cause, Chunk, DroppedRange, ReportRange
from pinnace_sim.disk import Disk
from tests.agent.core.scene import INCARNATION, blob, release, variant

STATE = DeviceState(incarnation=INCARNATION)
BOOT = BootId("0" * 32)


@pytest.fixture(params=["memory", "disk"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Files]:
    """Both implementations of the port have to behave alike."""
    if request.param == "memory":
        yield Disk()
    else:
        with locked(tmp_path / "store"):
            yield Directory(tmp_path / "store")


@pytest.fixture
def store(files: Files) -> Store:
    made = Store(files)
    assert made.open() is None
    return made


def broken(fails: Callable[[str, str], bool]) -> Callable[[str, str], None]:
    """What a disk calls before each operation, for one whose operations of some kind fail."""

    def before_each(operation: str, path: str) -> None:
        if fails(operation, path):
            raise StorageBroken(operation, path, "Input/output error")

    return before_each


def blob_of(data: bytes, chunk_bytes: int = 4) -> Blob:
    pieces = pieces_of(data, chunk_bytes)
    chunks = tuple(Chunk(digest=digest_of(piece), size_bytes=len(piece)) for piece in pieces)
    return Blob(digest=digest_of(data), size_bytes=len(data), chunks=chunks)


def pieces_of(data: bytes, chunk_bytes: int = 4) -> list[bytes]:
    return [data[start : start + chunk_bytes] for start in range(0, len(data), chunk_bytes)]


def installed(store: Store, number: int) -> tuple[Servable, tuple[Blob, ...]]:
    """Put a whole release on the disk."""
    made = release(number, variants=(variant(f"weights {number}"),))
    data = codec.to_json(made)
    release_id = ReleaseId(digest_of(data))
    store.add_release(release_id, data)
    blobs = made.blobs(made.variants[0])
    texts = {blob(text).digest: text.encode() for text in (f"weights {number}", f"golden of v{number}")}
    for part in store.reserve(blobs, ()):
        store.put_chunk(part, 0, texts[part.blob.digest])
    store.finish(blobs)
    found = made.variants[0].digest
    return Servable(release=release_id, variant=found, version=VersionName(f"v{number}")), blobs


# --- state -------------------------------------------------------------------------------------------------------


def test_state_comes_back_as_it_was_saved(store: Store, files: Files) -> None:
    store.save(replace(STATE, generation=7))
    loaded = Store(files).open()
    assert loaded is not None
    assert (loaded.state.generation, loaded.saves, loaded.damage) == (7, 1, "")


@pytest.mark.parametrize("name", [store_state.STATE, store_state.COPY])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone", "not ours"])
def test_damage_to_one_copy_costs_nothing_and_is_mended(store: Store, files: Files, name: str, damage: str) -> None:
    store.save(replace(STATE, generation=1))
    store.save(replace(STATE, generation=2))
    hurt(files, name, damage)
    loaded = Store(files).open()
    assert loaded is not None
    assert loaded.state.generation == 2
    assert (name in loaded.damage) == (damage != "gone")
    again = Store(files).open()
    assert again is not None
    assert again.damage == ""


def test_damage_to_both_copies_is_said_and_changes_nothing(store: Store, files: Files) -> None:
    store.save(STATE)
    for name in (store_state.STATE, store_state.COPY):
        hurt(files, name, "flip")
    before = files.read(store_state.STATE, 0, 10_000)
    with pytest.raises(StateLost, match=r"checksum of state\.json is wrong"):
        Store(files).open()
    assert files.read(store_state.STATE, 0, 10_000) == before


def test_newest_whole_copy_wins(store: Store, files: Files) -> None:
    store.save(replace(STATE, generation=1))
    old = files.read(store_state.STATE, 0, 10_000)
    assert old is not None
    store.save(replace(STATE, generation=2))
    write_durably(files, store_state.STATE, old)
    loaded = Store(files).open()
    assert loaded is not None
    assert (loaded.state.generation, loaded.saves) == (2, 2)


def test_state_of_another_schema_is_refused_not_overwritten(store: Store, files: Files) -> None:
    store.save(STATE)
    for name in (store_state.STATE, store_state.COPY):
        tree = json.loads(files.read(name, 0, 10_000) or b"")
        write_durably(files, name, json.dumps(tree | {"schema": 99}).encode())
    with pytest.raises(StateLost, match="schema 99, this agent reads 1"):
        Store(files).open()


def test_leftovers_of_a_crash_are_swept(store: Store, files: Files) -> None:
    files.create("tmp/half", b"written")
    Store(files).open()
    assert files.names("tmp") == ()


def hurt(files: Files, name: str, damage: str) -> None:
    data = files.read(name, 0, 100_000)
    assert data is not None
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    if damage == "gone":
        files.remove(name)
    else:
        files.create(name, {"flip": flipped, "cut": data[:middle], "empty": b"", "not ours": b"[1]"}[damage])


# --- blobs -------------------------------------------------------------------------------------------------------


def test_chunks_in_any_order_make_the_blob(store: Store, files: Files) -> None:
    data = b"the weights of a model"
    (part,) = store.reserve([blob_of(data)], ())
    for index, piece in reversed(list(enumerate(pieces_of(data)))):
        assert store.put_chunk(part, index, piece)
    assert not part.missing
    store.finish([part.blob])
    assert store.has(part.blob)
    assert files.read(f"blobs/{part.blob.digest}", 0, 100) == data
    assert files.names("parts") == ()


def test_fetch_goes_on_where_it_was_left(store: Store, files: Files) -> None:
    data = b"the weights of a model"
    (part,) = store.reserve([blob_of(data)], ())
    store.put_chunk(part, 1, pieces_of(data)[1])
    store.put_chunk(part, 3, pieces_of(data)[3])
    (again,) = Store(files).reserve([blob_of(data)], ())
    assert again.missing == {0, 2, 4, 5}
    assert again.held_bytes == 8


def test_duplicate_chunk_is_not_written_again(store: Store) -> None:
    data = b"the weights of a model"
    (part,) = store.reserve([blob_of(data)], ())
    assert store.put_chunk(part, 0, pieces_of(data)[0])
    assert not store.put_chunk(part, 0, pieces_of(data)[0])


def test_wrong_chunk_is_refused_and_writes_nothing(store: Store) -> None:
    data = b"the weights of a model"
    (part,) = store.reserve([blob_of(data)], ())
    with pytest.raises(DigestMismatch, match="chunk 0 of blob"):
        store.put_chunk(part, 0, b"evil")
    assert 0 in part.missing


def test_blob_that_does_not_hash_is_not_given_its_name(store: Store, files: Files) -> None:
    data = b"the weights of a model"
    lying = replace(blob_of(data), digest=digest_of(b"something else"))
    (part,) = store.reserve([lying], ())
    for index, piece in enumerate(pieces_of(data)):
        store.put_chunk(part, index, piece)
    with pytest.raises(DigestMismatch):
        store.finish([lying])
    assert not store.has(lying)
    assert files.names("parts") == ()


def test_blob_that_the_disk_changed_is_noticed_and_fetched_again(store: Store, files: Files) -> None:
    servable, blobs = installed(store, 1)
    files.write(f"blobs/{servable.variant}", 0, b"X")
    with pytest.raises(DigestMismatch, match="on the disk"):
        store.finish(blobs)
    assert [part.blob.digest for part in store.reserve(blobs, ())] == [servable.variant]


def test_chunk_list_that_does_not_add_up_is_refused(store: Store) -> None:
    honest = blob_of(b"the weights of a model")
    with pytest.raises(ChunksInvalid, match="its chunks add up to 22"):
        store.reserve([replace(honest, size_bytes=23)], ())


def test_release_file_must_be_the_one_it_is_called(store: Store) -> None:
    with pytest.raises(DigestMismatch):
        store.add_release(ReleaseId("0" * 64), b"{}")


def test_release_file_that_the_disk_changed_is_not_returned(store: Store, files: Files) -> None:
    servable, _ = installed(store, 1)
    assert store.release(servable.release) is not None
    files.write(f"releases/{servable.release}.json", 5, b"X")
    assert store.release(servable.release) is None
    assert store.release_bytes(servable.release) is None


# --- room and garbage --------------------------------------------------------------------------------------------


def test_garbage_is_what_nothing_keeps(store: Store, files: Files) -> None:
    kept, kept_blobs = installed(store, 1)
    _, gone_blobs = installed(store, 2)
    store.reserve([blob_of(b"half a blob that nobody wants any more")], ())
    collected = store.collect_garbage([kept])
    assert collected.files == 4  # release file, weights, golden vectors, part
    assert all(store.has(each) for each in kept_blobs)
    assert not any(store.has(each) for each in gone_blobs)
    assert files.names("releases") == (f"{kept.release}.json",)
    assert files.names("parts") == ()


def test_part_of_what_is_being_fetched_is_kept(store: Store, files: Files) -> None:
    made = release(1, variants=(variant("weights 1"),))
    data = codec.to_json(made)
    store.add_release(ReleaseId(digest_of(data)), data)
    store.reserve(made.blobs(made.variants[0]), ())
    trying = Servable(release=ReleaseId(digest_of(data)), variant=made.variants[0].digest, version=VersionName("v1"))
    assert store.collect_garbage([trying]).files == 0


def test_nothing_is_collected_while_it_is_unknown_what_a_kept_release_needs(store: Store, files: Files) -> None:
    kept, kept_blobs = installed(store, 1)
    installed(store, 2)
    files.write(f"releases/{kept.release}.json", 5, b"X")
    collected = store.collect_garbage([kept])
    assert (collected.files, collected.unreadable) == (0, (kept.release,))
    assert all(store.has(each) for each in kept_blobs)


def test_release_that_is_not_here_protects_nothing(store: Store) -> None:
    _, blobs = installed(store, 1)
    absent = Servable(release=ReleaseId("0" * 64), variant=Digest("0" * 64), version=VersionName("v9"))
    assert store.collect_garbage([absent]).files == 3
    assert not any(store.has(each) for each in blobs)


def test_no_room_says_what_is_needed_what_is_there_and_what_could_be_freed() -> None:
    disk = Disk()
    store = Store(disk)
    store.open()
    kept, _ = installed(store, 1)
    installed(store, 2)
    used = (1 << 40) - disk.free_bytes()
    disk.capacity_bytes = used + 1_000
    with pytest.raises(NoRoom) as caught:
        store.reserve([blob_of(bytes(2_000), 1_000)], [kept])
    assert (caught.value.need_bytes, caught.value.have_bytes) == (2_100, 1_000)
    assert caught.value.cause is Cause.NO_ROOM
    freed = store.collect_garbage([kept]).freed_bytes
    assert caught.value.would_free_bytes == freed > 0


def test_reserved_space_is_not_needed_twice() -> None:
    disk = Disk()
    store = Store(disk)
    store.open()
    disk.capacity_bytes = 2_500
    wanted = blob_of(b"weights!" * 250, 1_000)
    store.reserve([wanted], ())
    (part,) = store.reserve([wanted], ())
    assert part.missing == {0, 1}


def test_full_disk_loses_nothing() -> None:
    disk = Disk()
    store = Store(disk)
    store.open()
    store.save(replace(STATE, generation=1))
    disk.capacity_bytes = 0
    with pytest.raises(StorageFull) as caught:
        store.save(replace(STATE, generation=2))
    assert caught.value.cause is Cause.NO_ROOM
    disk.capacity_bytes = 1 << 20
    store.save(replace(STATE, generation=3))
    loaded = Store(disk).open()
    assert loaded is not None
    assert loaded.state.generation == 3


@pytest.mark.parametrize("operation", ["create", "sync", "rename", "sync_dir"])
def test_broken_disk_is_a_typed_error_and_the_last_state_stays(operation: str) -> None:
    disk = Disk()
    store = Store(disk)
    store.open()
    store.save(replace(STATE, generation=1))
    disk.before_each = broken(lambda doing, path: doing == operation)
    with pytest.raises(StorageBroken, match="Input/output error"):
        store.save(replace(STATE, generation=2))
    disk.before_each = None
    loaded = Store(disk).open()
    assert loaded is not None
    # A rename that went through may stay; a save that was refused may have happened, but never half of it.
    assert loaded.state.generation in ((1, 2) if operation == "sync_dir" else (1,))


def test_disk_that_fails_only_for_the_copy_does_not_undo_a_save() -> None:
    disk = Disk()
    store = Store(disk)
    store.open()
    disk.before_each = broken(lambda doing, path: doing == "rename" and path.endswith(".bak"))
    store.save(replace(STATE, generation=1))
    disk.before_each = None
    loaded = Store(disk).open()
    assert loaded is not None
    assert loaded.state.generation == 1


# --- metadata and identity ---------------------------------------------------------------------------------------


def test_metadata_is_replaced_as_a_unit(store: Store, files: Files) -> None:
    store.save_metadata("director", {"root.1": b"r", "timestamp": b"t1"})
    store.save_metadata("director", {"root.1": b"r", "timestamp": b"t2"})
    assert Store(files).metadata("director") == {"root.1": b"r", "timestamp": b"t2"}


def test_damaged_metadata_is_no_metadata(store: Store, files: Files) -> None:
    store.save_metadata("image", {"root.1": b"r"})
    files.create("metadata/image", b"\xff\xff")
    assert store.metadata("image") == {}
    assert store.metadata("never written") == {}


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden"])
def test_names_stay_inside_the_store(store: Store, name: str) -> None:
    with pytest.raises(StorageBroken):
        store.save_identity(name, b"")


def test_identity_is_for_the_agents_user_alone(tmp_path: Path) -> None:
    store = Store(Directory(tmp_path))
    store.open()
    store.save_identity("device.key", b"secret")
    assert store.identity("device.key") == b"secret"
    assert stat.S_IMODE((tmp_path / "identity" / "device.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "identity").stat().st_mode) == 0o700


# --- spool -------------------------------------------------------------------------------------------------------


def report(number: int) -> DroppedRange:
    return DroppedRange(boot=BOOT, seq_from=number, seq_to=number)


def numbers(store: Store) -> list[int]:
    return [each.seq_from for each in store.spooled()]


def test_reports_wait_in_order_until_they_are_acknowledged(store: Store, files: Files) -> None:
    for number in (2, 1, 3):
        store.spool(report(number), b"report %d" % number, at_s=1_000 + number)
    again = Store(files)
    assert numbers(again) == [1, 2, 3]
    assert again.spooled_bytes(again.spooled()[0]) == b"report 1"
    again.acknowledge(
        [ReportRange(boot=BOOT, seq_from=1, seq_to=2), ReportRange(boot=BootId("9" * 32), seq_from=3, seq_to=3)]
    )
    assert numbers(again) == [3]


def test_spool_is_bounded_in_bytes_and_owns_up_to_what_it_dropped(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pinnace_agent.store_spool.BYTES_MAX", 1_000)
    for number in range(1, 15):
        store.spool(report(number), bytes(100), at_s=number)
    assert numbers(store) == list(range(5, 15))
    assert store.dropped() == (DroppedRange(boot=BOOT, seq_from=1, seq_to=4),)
    store.forget_dropped(store.dropped())
    assert store.dropped() == ()


def test_spool_forgets_reports_of_two_weeks_ago_and_says_so(store: Store) -> None:
    store.spool(report(1), b"old", at_s=0)
    store.spool(report(2), b"new", at_s=14 * 86_400 + 1)
    assert numbers(store) == [2]
    assert store.dropped() == (report(1),)


def test_spool_on_a_full_disk_gives_up_its_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    store = Store(disk)
    store.open()
    for number in range(1, 4):
        store.spool(report(number), bytes(1_000), at_s=number)
    disk.capacity_bytes = (1 << 40) - disk.free_bytes() + 500
    store.spool(report(4), bytes(1_000), at_s=4)
    assert numbers(store) == [2, 3, 4]
    assert store.dropped() == (report(1),)


def test_strange_names_in_the_spool_are_left_alone(store: Store, files: Files) -> None:
    files.create("spool/readme.txt", b"hello")
    store.spool(report(1), b"x", at_s=1)
    assert numbers(store) == [1]


@pytest.mark.parametrize("kill_at", range(12))
def test_no_number_is_lost_by_a_kill_while_the_spool_makes_room(kill_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinnace_agent.store_spool.BYTES_MAX", 300)
    disk = Disk()
    store = Store(disk)
    store.open()
    for number in range(1, 4):
        store.spool(report(number), bytes(100), at_s=number)
    found: list[Disk] = []
    disk.before_each = lambda *_: found.extend(disk.snapshot().crashes(8))
    store.spool(report(4), bytes(100), at_s=4)
    for crashed in found[kill_at::12]:
        after = Store(crashed)
        after.open()
        accounted = {each.seq_from for each in after.spooled()}
        for each in after.dropped():
            accounted.update(range(each.seq_from, each.seq_to + 1))
        assert accounted >= {1, 2, 3}


# --- the lock ----------------------------------------------------------------------------------------------------


HOLDER = """
import sys
from pathlib import Path
from pinnace_agent.adapters.filesystem import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_agent_on_the_same_store_is_refused_by_pid(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(StoreLocked, match=f"process {other.pid} already runs an agent on"), locked(tmp_path):
            pass
        other.kill()
    with locked(tmp_path):  # the system let go when its holder died
        assert (tmp_path / "lock").read_text().strip() == str(os.getpid())


# --- the real disk -----------------------------------------------------------------------------------------------


def test_read_only_directory_is_a_broken_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Directory(tmp_path)
    files.make_dir("tmp")

    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("pinnace_agent.adapters.filesystem.os.open", refuse)
    with pytest.raises(StorageBroken, match="cannot write tmp/x in the store: Read-only file system"):
        files.create("tmp/x", b"")


def test_full_directory_is_a_full_store_and_keeps_no_half_reserved_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Directory(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pinnace_agent.adapters.filesystem.os.posix_fallocate", full)
    with pytest.raises(StorageFull):
        files.allocate("part", 1_000)
    assert files.size_bytes("part") is None


def test_disk_without_fallocate_still_reserves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Directory(tmp_path)

    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr("pinnace_agent.adapters.filesystem.os.posix_fallocate", unsupported)
    files.allocate("part", 3_000_000)
    assert files.size_bytes("part") == 3_000_000


def test_writing_to_a_file_that_has_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageBroken, match="it is not there"):
        Directory(tmp_path).write("gone", 0, b"x")


def test_blob_path_is_where_the_worker_finds_it(tmp_path: Path) -> None:
    store = Store(Directory(tmp_path))
    store.open()
    servable, _ = installed(store, 1)
    assert digest_of(store.blob_path(Digest(servable.variant)).read_bytes()) == servable.variant
