"""A directory of the device's disk, and the lock that keeps a second agent out of it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pinnace_agent.store_port import StorageBroken, StorageError, StorageFull, StoreLocked

LOCK_NAME: Final = "lock"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_FALLOCATE: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
_ZEROS: Final = bytes(1024 * 1024)


class Directory:
    """The port ``Files`` on a real directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def location(self, path: str) -> Path:
        """Return where the file lies."""
        return self._root / path

    def make_dir(self, path: str) -> None:
        """Make a directory unless it is there."""
        with _told("make directory", path):
            (self._root / path).mkdir(mode=0o700, parents=True, exist_ok=True)

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory."""
        try:
            with _told("list", path):
                return tuple(sorted(os.listdir(self._root / path)))  # noqa: PTH208  # names are all that is wanted
        except FileNotFoundError:
            return ()

    def size_bytes(self, path: str) -> int | None:
        """Return the size of a file, or None."""
        try:
            with _told("look at", path):
                return (self._root / path).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, path: str, offset: int, size_bytes: int) -> bytes | None:
        """Return a part of a file, or None."""
        try:
            with _told("read", path), (self._root / path).open("rb", buffering=0) as file:
                file.seek(offset)
                return _read_fully(file.fileno(), size_bytes)
        except FileNotFoundError:
            return None

    def create(self, path: str, data: bytes) -> None:
        """Write a file whole."""
        # Removed first: the mode given to open() counts only for a new file.
        self.remove(path)
        with _told("write", path), _opened(self._root / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
            _write_fully(fd, data, 0)

    def allocate(self, path: str, size_bytes: int) -> None:
        """Make a file of zeros with its space reserved, so that a full disk shows now and not at the last chunk."""
        self.remove(path)
        try:
            with _told("reserve space for", path), _opened(self._root / path, os.O_WRONLY | os.O_CREAT) as fd:
                _reserve(fd, size_bytes)
        except StorageFull:
            self.remove(path)
            raise

    def write(self, path: str, offset: int, data: bytes) -> None:
        """Write into a file that is there."""
        with _told("write", path), _opened(self._root / path, os.O_WRONLY) as fd:
            _write_fully(fd, data, offset)

    def sync(self, path: str) -> None:
        """Make a file's content durable."""
        with _told("sync", path), _opened(self._root / path, os.O_RDONLY) as fd:
            os.fsync(fd)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""
        with _told("rename", f"{old} to {new}"):
            (self._root / old).replace(self._root / new)

    def sync_dir(self, path: str) -> None:
        """Make the names in a directory durable."""
        with _told("sync", path or "."), _opened(self._root / path, os.O_RDONLY | os.O_DIRECTORY) as fd:
            os.fsync(fd)

    def remove(self, path: str) -> None:
        """Remove a file if it is there."""
        with _told("remove", path):
            (self._root / path).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Return how many bytes this user may still write."""
        with _told("look at", "."):
            room = os.statvfs(self._root)
            return room.f_bavail * room.f_frsize


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep every other agent off this store while the context lasts; the system lets go if this process dies.

    Raises:
        StoreLocked: another process has it.
        StorageBroken: there is no store and none can be made here.
    """
    with _told("make", str(root)):
        root.mkdir(parents=True, exist_ok=True)
        fd = os.open(root / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreLocked(root, _pid_in(fd)) from None
        with contextlib.suppress(OSError):  # the pid is a courtesy to the reader of an error; the lock is what counts
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _pid_in(fd: int) -> int | None:
    text = os.pread(fd, 32, 0).decode(errors="replace").strip()
    return int(text) if text.isdecimal() else None


@contextlib.contextmanager
def _told(doing: str, path: str) -> Iterator[None]:
    """Turn what the system says into the store's errors; a missing file is the caller's to judge."""
    try:
        yield
    except FileNotFoundError:
        if doing in ("list", "look at", "read"):
            raise
        raise StorageBroken(doing, path, "it is not there") from None
    except StorageError:
        raise
    except OSError as error:
        kind = StorageFull if error.errno in _FULL else StorageBroken
        raise kind(doing, path, error.strerror or type(error).__name__) from error


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _read_fully(fd: int, size_bytes: int) -> bytes:
    parts = []
    while size_bytes > 0:
        part = os.read(fd, size_bytes)
        if not part:
            break
        parts.append(part)
        size_bytes -= len(part)
    return b"".join(parts)


def _write_fully(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _reserve(fd: int, size_bytes: int) -> None:
    if size_bytes == 0:
        return
    try:
        os.posix_fallocate(fd, 0, size_bytes)
    except OSError as error:
        if error.errno not in _NO_FALLOCATE:
            raise
        for offset in range(0, size_bytes, len(_ZEROS)):
            _write_fully(fd, _ZEROS[: size_bytes - offset], offset)
