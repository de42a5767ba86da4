"""What the store needs of a disk, and what a disk can do to it.

Paths are relative to the store, with ``/``. Nothing is durable before ``sync`` (a file's content) or ``sync_dir`` (the
names in a directory) has returned; that is the whole model, and a crash file system in the tests takes it at its word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pinnace_agent.errors import AgentError, DeviceTrouble
from pinnace_contract.latest import Cause


class StorageError(DeviceTrouble):
    """The disk did not do what it was asked; what was on it before is still there."""

    cause = Cause.STORAGE_ERROR

    def __init__(self, doing: str, path: str, problem: str) -> None:
        self.doing, self.path, self.problem = doing, path, problem
        super().__init__(f"cannot {doing} {path} in the store: {problem}")


class StorageFull(StorageError):
    """No space left, or the quota is used up: free some, then the agent goes on by itself."""

    cause = Cause.NO_ROOM


class StorageBroken(StorageError):
    """Read-only, an I/O error, no permission: look at the disk and at who owns the store."""


class StoreLocked(DeviceTrouble):
    """Another agent runs on this store."""

    cause = Cause.CLONE_SUSPECTED

    def __init__(self, root: Path, pid: int | None) -> None:
        self.root, self.pid = root, pid
        who = f"process {pid}" if pid else "another process"
        super().__init__(f"{who} already runs an agent on {root}; stop it, or give this agent a store of its own")


class StateLost(AgentError):
    """Both copies of the state are damaged, or from an agent that writes them differently. Nothing was changed."""

    cause = Cause.STORAGE_ERROR

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(
            f"the device's state cannot be read ({problem}); put state.json back from a copy, "
            "or move the store away and enrol the device again"
        )


class Files(Protocol):
    """A directory on some disk. Every method but the reading ones raises ``StorageFull`` or ``StorageBroken``."""

    def location(self, path: str) -> Path:
        """Return where the file lies, for a process that reads it itself."""
        ...

    def make_dir(self, path: str) -> None:
        """Make a directory unless it is there."""
        ...

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory; none where there is no directory."""
        ...

    def size_bytes(self, path: str) -> int | None:
        """Return the size of a file, or None where there is none."""
        ...

    def read(self, path: str, offset: int, size_bytes: int) -> bytes | None:
        """Return up to ``size_bytes`` from ``offset`` on, or None where there is no file."""
        ...

    def create(self, path: str, data: bytes) -> None:
        """Write a file whole, over whatever was there, for the agent's user alone."""
        ...

    def allocate(self, path: str, size_bytes: int) -> None:
        """Make a file of zeros whose space is really reserved."""
        ...

    def write(self, path: str, offset: int, data: bytes) -> None:
        """Write into a file that is there."""
        ...

    def sync(self, path: str) -> None:
        """Make a file's content durable."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, over whatever had it."""
        ...

    def sync_dir(self, path: str) -> None:
        """Make the names in a directory durable."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file if it is there."""
        ...

    def free_bytes(self) -> int:
        """Return how many bytes may still be written."""
        ...


def read_whole(files: Files, path: str, size_bytes_max: int) -> bytes | None:
    """Return a file of at most ``size_bytes_max`` bytes, or None where there is none.

    Raises:
        StorageBroken: it is larger, so it is not what this name stands for.
    """
    data = files.read(path, 0, size_bytes_max + 1)
    if data is not None and len(data) > size_bytes_max:
        raise StorageBroken("read", path, f"it is larger than {size_bytes_max} bytes")
    return data


def write_durably(files: Files, path: str, data: bytes) -> None:
    """Replace a file at once and for good: a power cut leaves old or new before this returns, and new after."""
    folder, _, name = path.rpartition("/")
    new = f"tmp/{folder.replace('/', '.')}.{name}"
    files.create(new, data)
    files.sync(new)
    files.rename(new, path)
    files.sync_dir(folder)
