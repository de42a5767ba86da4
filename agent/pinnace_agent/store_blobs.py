"""Immutable content by digest: chunks written in place into a reserved part file, hashed whole, then given its name.

What a part already holds is found by hashing its chunks, not by believing a bitmap: after a power cut the disk, and not
the agent, decides which writes survived. A name under ``blobs/`` therefore always stands for durable, whole content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from pinnace_agent.errors import DeviceTrouble, Refused
from pinnace_agent.store_port import Files
from pinnace_contract.ids import Digest, digest_of
from pinnace_contract.latest import Blob, Cause

BLOBS: Final = "blobs"
PARTS: Final = "parts"
READ_BYTES: Final = 128 * 1024  # pieces of 1 MiB hash 4 % faster, but glibc keeps 1.8 MiB of heap once they were read
SYNC_EVERY_BYTES: Final = 4 * 1024 * 1024  # how much of a transfer a power cut may take back
MARGIN: Final = 0.05  # of room: the file system's own needs, and the state's


class DigestMismatch(Refused):
    """Bytes that are not what their digest says."""

    cause = Cause.DIGEST_MISMATCH

    def __init__(self, what: str, expected: Digest, found: Digest) -> None:
        self.expected, self.found = expected, found
        super().__init__(f"{what}: expected SHA-256 {expected}, found {found}")


class ChunksInvalid(Refused):
    """A signed release whose chunk list contradicts itself: whoever made it has to make another."""

    cause = Cause.RELEASE_INVALID

    def __init__(self, digest: Digest, size_bytes: int, found_bytes: int) -> None:
        self.digest, self.size_bytes, self.found_bytes = digest, size_bytes, found_bytes
        super().__init__(f"blob {digest[:12]} has {size_bytes} bytes, but its chunks add up to {found_bytes}")


class NoRoom(DeviceTrouble):
    """The missing bytes and a margin do not fit on the disk."""

    cause = Cause.NO_ROOM

    def __init__(self, need_bytes: int, have_bytes: int, would_free_bytes: int) -> None:
        self.need_bytes, self.have_bytes, self.would_free_bytes = need_bytes, have_bytes, would_free_bytes
        super().__init__(
            f"needs {need_bytes} bytes of disk, has {have_bytes}; collecting garbage would free {would_free_bytes}"
        )


@dataclass(slots=True)
class Part:
    """One blob on its way: which chunks are still missing. Made by ``open_part``, changed by ``put``."""

    blob: Blob
    offsets: tuple[int, ...]
    missing: set[int]
    unsynced_bytes: int = field(default=0)

    @property
    def path(self) -> str:
        """Where the chunks lie until all are there."""
        return f"{PARTS}/{self.blob.digest}"

    @property
    def held_bytes(self) -> int:
        """How much of the blob is on the disk."""
        return self.blob.size_bytes - sum(self.blob.chunks[index].size_bytes for index in self.missing)


def path_of(digest: Digest) -> str:
    """Return where the whole blob lies."""
    return f"{BLOBS}/{digest}"


def has(files: Files, blob: Blob) -> bool:
    """Tell whether the blob is here, whole and durable."""
    return files.size_bytes(path_of(blob.digest)) == blob.size_bytes


def need_bytes(files: Files, blobs: Iterable[Blob]) -> int:
    """Return how much more disk the blobs need, with the margin; what is reserved already is not counted."""
    wanted = {blob.digest: blob for blob in blobs if not has(files, blob)}.values()
    missing = sum(blob.size_bytes for blob in wanted if files.size_bytes(f"{PARTS}/{blob.digest}") != blob.size_bytes)
    return missing + int(missing * MARGIN)


def open_part(files: Files, blob: Blob) -> Part:
    """Take up a blob where it was left, or reserve the space for it.

    Raises:
        ChunksInvalid: the chunk list does not add up to the blob.
        StorageFull, StorageBroken: nothing was reserved.
    """
    sizes = [chunk.size_bytes for chunk in blob.chunks]
    if sum(sizes) != blob.size_bytes:
        raise ChunksInvalid(blob.digest, blob.size_bytes, sum(sizes))
    part = Part(blob=blob, offsets=(0, *accumulate(sizes))[: len(sizes)], missing=set(range(len(sizes))))
    if has(files, blob):
        part.missing.clear()
    elif files.size_bytes(part.path) == blob.size_bytes:
        part.missing = {index for index in part.missing if not _holds(files, part, index)}
    else:
        files.allocate(part.path, blob.size_bytes)
    return part


def put(files: Files, part: Part, index: int, data: bytes) -> bool:
    """Write one chunk if it is what the release says, and tell whether it was still missing.

    Raises:
        DigestMismatch: it is something else; nothing was written.
        StorageFull, StorageBroken
    """
    if index not in part.missing:
        return False
    chunk = part.blob.chunks[index]
    found = digest_of(data)
    if found != chunk.digest or len(data) != chunk.size_bytes:
        raise DigestMismatch(f"chunk {index} of blob {part.blob.digest[:12]}", chunk.digest, found)
    files.write(part.path, part.offsets[index], data)
    part.missing.discard(index)
    part.unsynced_bytes += len(data)
    if part.unsynced_bytes >= SYNC_EVERY_BYTES:
        files.sync(part.path)
        part.unsynced_bytes = 0
    return True


def finish(files: Files, blob: Blob) -> None:
    """Hash a complete part, make it durable and give it its name; a blob that has its name is hashed again.

    Raises:
        DigestMismatch: it is not the blob; it was removed, for fetching it again is all that helps.
        StorageFull, StorageBroken
    """
    if has(files, blob):
        check(files, blob.digest)
        return
    part = f"{PARTS}/{blob.digest}"
    found = _hashed(files, part)
    if found != blob.digest:
        files.remove(part)
        raise DigestMismatch(f"blob {blob.digest[:12]}", blob.digest, found)
    files.sync(part)
    files.rename(part, path_of(blob.digest))
    files.sync_dir(BLOBS)


def check(files: Files, digest: Digest) -> None:
    """Hash a blob that has its name.

    Raises:
        DigestMismatch: the disk has changed it; it is removed, because its name promises otherwise.
    """
    found = _hashed(files, path_of(digest))
    if found != digest:
        files.remove(path_of(digest))
        raise DigestMismatch(f"blob {digest[:12]} on the disk", digest, found)


def _holds(files: Files, part: Part, index: int) -> bool:
    chunk = part.blob.chunks[index]
    data = files.read(part.path, part.offsets[index], chunk.size_bytes)
    return data is not None and digest_of(data) == chunk.digest


def _hashed(files: Files, path: str) -> Digest:
    hashing, offset = hashlib.sha256(), 0
    while data := files.read(path, offset, READ_BYTES):
        hashing.update(data)
        offset += len(data)
    return Digest(hashing.hexdigest())
