"""Content-addressed files in a directory: ``blobs/ab/abcdef…``, written beside and renamed into place.

A file is there whole or not at all, on disk before anybody is told of it. Uploads come in through ``quarantine.py``.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
from pathlib import Path
from typing import BinaryIO, Final

from pinnace_contract.ids import Digest
from pinnace_server.errors import Code, NotFound, TooLarge, Unavailable

COPY_BYTES: Final = 1024 * 1024


class DirectoryBlobs:
    """``ports.Blobs`` in a directory of its own."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        for leftover in self._incoming.iterdir():  # of a server that was killed while it wrote
            leftover.unlink(missing_ok=True)

    def add(self, source: BinaryIO | Path | bytes, *, size_bytes_max: int | None = None) -> Digest:
        """Store content; see the port."""
        if isinstance(source, Path):
            with source.open("rb") as stream:
                return self._add(stream, size_bytes_max)
        return self._add(io.BytesIO(source) if isinstance(source, bytes) else source, size_bytes_max)

    def has(self, digest: Digest) -> bool:
        """Tell whether the content is here."""
        return self._path(digest).is_file()

    def size(self, digest: Digest) -> int:
        """Return the size in bytes."""
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError as error:
            raise _missing(digest) from error

    def read(self, digest: Digest, offset: int = 0, size: int | None = None) -> bytes:
        """Return a stretch of the content."""
        with self.open(digest) as stream:
            stream.seek(offset)
            return stream.read(-1 if size is None else size)

    def open(self, digest: Digest) -> BinaryIO:
        """Open the content for reading."""
        try:
            return self._path(digest).open("rb")
        except FileNotFoundError as error:
            raise _missing(digest) from error

    def _path(self, digest: Digest) -> Path:
        return self._root / digest[:2] / digest

    def _add(self, stream: BinaryIO, size_bytes_max: int | None) -> Digest:
        temporary = self._incoming / secrets.token_hex(8)
        try:
            digest = _copied(stream, temporary, size_bytes_max)
            self._settle(temporary, digest)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Unavailable(
                    "the disk is full: the blob was not stored", hint="make room and try again", code=Code.NO_ROOM
                ) from error
            raise
        finally:
            temporary.unlink(missing_ok=True)
        return digest

    def _settle(self, temporary: Path, digest: Digest) -> None:
        path = self._path(digest)
        if path.is_file():
            return
        path.parent.mkdir(exist_ok=True)
        temporary.replace(path)
        sync_directory(path.parent)
        sync_directory(self._root)


def sync_directory(path: Path) -> None:
    """Make names in a directory survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _copied(stream: BinaryIO, target: Path, size_bytes_max: int | None) -> Digest:
    hasher, size = hashlib.sha256(), 0
    with target.open("xb") as out:
        while piece := stream.read(COPY_BYTES):
            size += len(piece)
            if size_bytes_max is not None and size > size_bytes_max:
                raise TooLarge(f"a blob has at most {size_bytes_max} bytes here, this one has more")
            hasher.update(piece)
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())
    return Digest(hasher.hexdigest())


def _missing(digest: Digest) -> NotFound:
    return NotFound("blob", digest)
