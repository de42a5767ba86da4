"""Files of a release, hashed when they are loaded: what is then read is what was hashed.

A file is opened once and read through its open descriptor, so that a file put in its place afterwards is not seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from pinnace_contract.ids import Digest
from pinnace_contract.latest import Blob, Cause

_READ_BYTES: Final = 1024 * 1024


class NotAsSigned(Exception):
    """A file of the release is missing or is not what its digest says."""

    def __init__(self, cause: Cause, problem: str) -> None:
        self.cause = cause
        super().__init__(problem)


class VerifiedBlobs:
    """Opens blobs by digest."""

    def __init__(self, paths: Mapping[Digest, Path]) -> None:
        self._paths = paths

    @contextlib.contextmanager
    def path(self, blob: Blob, what: str) -> Iterator[Path]:
        """Give a path to the open, verified file, for libraries that want a path.

        Raises:
            NotAsSigned
        """
        with open_verified(self._path_of(blob.digest, what), blob.digest, what) as descriptor:
            yield Path(f"/proc/self/fd/{descriptor}")

    def bytes(self, blob: Blob, what: str) -> bytes:
        """Return the content.

        Raises:
            NotAsSigned
        """
        return read_verified(self._path_of(blob.digest, what), blob.digest, what)

    def _path_of(self, digest: Digest, what: str) -> Path:
        path = self._paths.get(digest)
        if path is None:
            raise NotAsSigned(Cause.STORAGE_ERROR, f"the worker was given no path for {what} {digest[:12]}")
        return path


def read_verified(path: Path, digest: Digest, what: str) -> bytes:
    """Return a file's content.

    Raises:
        NotAsSigned
    """
    with open_verified(path, digest, what) as descriptor:
        content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    if hashlib.sha256(content).hexdigest() != digest:
        raise NotAsSigned(Cause.DIGEST_MISMATCH, f"{what} changed while it was read")
    return content


@contextlib.contextmanager
def open_verified(path: Path, digest: Digest, what: str) -> Iterator[int]:
    """Give the descriptor of a file that has this digest.

    Raises:
        NotAsSigned
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotAsSigned(Cause.STORAGE_ERROR, f"{what} {digest[:12]} cannot be opened: {error.strerror}") from error
    try:
        found = _hash(descriptor)
        if found != digest:
            raise NotAsSigned(
                Cause.DIGEST_MISMATCH, f"{what}: expected SHA-256 {digest[:12]}…, the file on disk has {found[:12]}…"
            )
        yield descriptor
    finally:
        os.close(descriptor)


def _hash(descriptor: int) -> str:
    digest = hashlib.sha256()
    place = 0
    while chunk := os.pread(descriptor, _READ_BYTES, place):
        digest.update(chunk)
        place += len(chunk)
    return digest.hexdigest()
