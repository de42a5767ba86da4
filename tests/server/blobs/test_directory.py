"""Blobs and uploads on a disk: whole or not there, and bounded."""

from __future__ import annotations

import errno
import io
import os
import threading
from pathlib import Path

import pytest

from pinnace_contract.ids import Digest, digest_of
from pinnace_server.blobs.directory import DirectoryBlobs
from pinnace_server.blobs.quarantine import Quarantine
from pinnace_server.errors import Code, NotFound, Refused, TooLarge, Unavailable

CONTENT = bytes(range(256)) * 1000


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_content_is_found_by_its_digest_from_any_source(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    for n, source in enumerate((CONTENT, io.BytesIO(CONTENT), tmp_path / "file")):
        blobs = DirectoryBlobs(tmp_path / f"blobs-{n}")
        digest = blobs.add(source)
        assert digest == digest_of(CONTENT)
        assert blobs.has(digest)
        assert blobs.size(digest) == len(CONTENT)
        assert blobs.read(digest, 10, 20) == CONTENT[10:30]
        assert blobs.read(digest, len(CONTENT) - 5, 100) == CONTENT[-5:]


def test_same_content_is_one_file_however_often_it_is_added_at_once(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    threads = [threading.Thread(target=blobs.add, args=(CONTENT,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files(tmp_path)) == 1


def test_content_over_the_limit_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        DirectoryBlobs(tmp_path).add(CONTENT, size_bytes_max=len(CONTENT) - 1)
    assert files(tmp_path) == []


def test_full_disk_leaves_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = DirectoryBlobs(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable) as refused:
        blobs.add(CONTENT)
    assert refused.value.code is Code.NO_ROOM
    assert files(tmp_path) == []


def test_what_a_killed_server_left_half_written_is_gone_at_the_next_start(tmp_path: Path) -> None:
    DirectoryBlobs(tmp_path)
    (tmp_path / "incoming" / "half").write_bytes(b"half")
    DirectoryBlobs(tmp_path)
    assert files(tmp_path) == []


@pytest.mark.parametrize("ask", [DirectoryBlobs.size, DirectoryBlobs.read, DirectoryBlobs.open])
def test_content_that_is_not_there_is_not_found(tmp_path: Path, ask: object) -> None:
    with pytest.raises(NotFound):
        ask(DirectoryBlobs(tmp_path), Digest("0" * 64))  # type: ignore[operator]


class TestQuarantine:
    @pytest.fixture
    def quarantine(self, tmp_path: Path) -> Quarantine:
        return Quarantine(tmp_path, file_bytes_max=100, total_bytes_max=250)

    def test_upload_is_there_when_it_is_finished(self, quarantine: Quarantine) -> None:
        upload = quarantine.begin()
        upload.write(b"some ")
        upload.write(b"bytes")
        digest = upload.finish()
        upload.abandon()
        assert quarantine.path(digest).read_bytes() == b"some bytes"
        quarantine.forget(digest)
        with pytest.raises(NotFound):
            quarantine.path(digest)

    def test_abandoned_upload_gives_its_room_back(self, quarantine: Quarantine, tmp_path: Path) -> None:
        for _ in range(10):
            upload = quarantine.begin()
            upload.write(b"x" * 100)
            upload.abandon()
        assert files(tmp_path) == []

    def test_uploads_that_come_at_once_share_the_limit(self, quarantine: Quarantine) -> None:
        uploads = [quarantine.begin() for _ in range(3)]
        uploads[0].write(b"a" * 100)
        uploads[1].write(b"b" * 100)
        with pytest.raises(TooLarge):
            uploads[2].write(b"c" * 100)
        uploads[0].abandon()
        uploads[2].write(b"c" * 100)

    def test_what_waited_for_a_day_is_swept(self, quarantine: Quarantine) -> None:
        upload = quarantine.begin()
        upload.write(b"old")
        digest = upload.finish()
        os.utime(quarantine.path(digest), (0, 0))
        quarantine.begin().abandon()
        with pytest.raises(NotFound):
            quarantine.path(digest)

    @pytest.mark.parametrize("name", ["", "..", "../etc/passwd", "x" * 64, "a" * 63])
    def test_name_that_is_no_digest_is_no_file(self, quarantine: Quarantine, name: str) -> None:
        with pytest.raises(NotFound):
            quarantine.path(Digest(name))
        quarantine.forget(Digest(name))

    def test_upload_that_is_not_what_was_announced_is_refused(self, quarantine: Quarantine, tmp_path: Path) -> None:
        upload = quarantine.begin()
        upload.write(b"something")
        with pytest.raises(Refused):
            upload.finish(Digest("0" * 64))
        assert files(tmp_path) == []
