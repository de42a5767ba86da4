"""The port ``Files`` in memory for thousands of devices in one process: what many of them hold is kept once.

Nothing here survives the process and no power is cut, so a sync is a promise that costs nothing; names, sizes, what is
full and what is missing are as on a real disk. A disk that loses what was not synced is ``pinnace_sim.disk``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pinnace_agent.store_port import StorageBroken, StorageFull

SHARED_FROM_BYTES: Final = 1024  # smaller content is the device's own, and sharing it would cost more than it saves
_NEW_RELEASE: Final = "tmp/releases."  # where the store writes a release file before it gets its name


class Pool:
    """Content that devices of this process have in common, each once. It grows with the models, not the devices."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    @property
    def size_bytes(self) -> int:
        """What is held."""
        return sum(len(each) for each in self._known)

    def one(self, data: bytes) -> bytes:
        """Return the one copy of some content."""
        return self._known.setdefault(data, data) if len(data) >= SHARED_FROM_BYTES else data


@dataclass(slots=True)
class _File:
    """Stretches of content by their offset, none over another; zeros between them."""

    size_bytes: int
    stretches: dict[int, bytes] = field(default_factory=dict)

    def read(self, offset: int, size_bytes: int) -> bytes:
        end = min(self.size_bytes, offset + size_bytes)
        whole = self.stretches.get(offset)
        if whole is not None and offset + len(whole) >= end:
            return whole if offset + len(whole) == end else whole[: end - offset]
        pieces, at = [], offset
        for start in sorted(self.stretches):
            piece = self.stretches[start]
            if start + len(piece) <= at or start >= end:
                continue
            pieces.append(bytes(max(0, start - at)))
            first = max(0, at - start)
            pieces.append(piece[first : end - start])
            at = start + min(len(piece), end - start)
        return b"".join((*pieces, bytes(max(0, end - at))))

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        for start, piece in list(self.stretches.items()):
            if start < end and offset < start + len(piece):
                del self.stretches[start]
                if start < offset:
                    self.stretches[start] = piece[: offset - start]
                if end < start + len(piece):
                    self.stretches[end] = piece[end - start :]
        self.stretches[offset] = data
        self.size_bytes = max(self.size_bytes, end)


class SharedDisk:
    """``Files`` of one device over the pool of its process. What is shared counts on each device's disk."""

    def __init__(self, pool: Pool, capacity_bytes: int) -> None:
        self._pool, self._capacity_bytes = pool, capacity_bytes
        self._used_bytes = 0
        self._folders: dict[str, dict[str, _File]] = {"": {}}

    def location(self, path: str) -> Path:
        """See ``Files``; nothing lies there."""
        return Path("/memory") / path

    def make_dir(self, path: str) -> None:
        """See ``Files``."""
        self._folders.setdefault(path, {})

    def names(self, path: str) -> tuple[str, ...]:
        """See ``Files``."""
        return tuple(sorted(self._folders.get(path, ())))

    def size_bytes(self, path: str) -> int | None:
        """See ``Files``."""
        file = self._find(path)
        return None if file is None else file.size_bytes

    def read(self, path: str, offset: int, size_bytes: int) -> bytes | None:
        """See ``Files``."""
        file = self._find(path)
        return None if file is None else file.read(offset, size_bytes)

    def create(self, path: str, data: bytes) -> None:
        """See ``Files``."""
        if path.startswith(_NEW_RELEASE):
            data = self._pool.one(data)
        self._put(path, _File(len(data), {0: data} if data else {}), "create")

    def allocate(self, path: str, size_bytes: int) -> None:
        """See ``Files``; the zeros take no memory."""
        self._put(path, _File(size_bytes), "allocate")

    def write(self, path: str, offset: int, data: bytes) -> None:
        """See ``Files``."""
        file = self._there(path)
        more = offset + len(data) - file.size_bytes
        if more > self.free_bytes():
            raise StorageFull("write", path, "No space left on device")
        self._used_bytes += max(0, more)
        file.write(offset, self._pool.one(data))

    def sync(self, path: str) -> None:
        """See ``Files``."""
        self._there(path)

    def rename(self, old: str, new: str) -> None:
        """See ``Files``."""
        file = self._there(old)
        folder, name = self._split(new)
        over = folder.get(name)
        self._used_bytes -= over.size_bytes if over is not None and over is not file else 0
        old_folder, old_name = self._split(old)
        del old_folder[old_name]
        folder[name] = file

    def sync_dir(self, path: str) -> None:
        """See ``Files``."""
        if path not in self._folders:
            raise StorageBroken("sync", path, "No such directory")

    def remove(self, path: str) -> None:
        """See ``Files``."""
        folder, name = self._split(path)
        file = folder.pop(name, None)
        self._used_bytes -= file.size_bytes if file is not None else 0

    def free_bytes(self) -> int:
        """See ``Files``."""
        return max(0, self._capacity_bytes - self._used_bytes)

    def _put(self, path: str, file: _File, doing: str) -> None:
        folder, name = self._split(path)
        over = folder.get(name)
        more = file.size_bytes - (over.size_bytes if over is not None else 0)
        if more > self.free_bytes():
            raise StorageFull(doing, path, "No space left on device")
        folder[name] = file
        self._used_bytes += more

    def _there(self, path: str) -> _File:
        file = self._find(path)
        if file is None:
            raise StorageBroken("find", path, "No such file or directory")
        return file

    def _find(self, path: str) -> _File | None:
        folder, _, name = path.rpartition("/")
        return self._folders.get(folder, {}).get(name)

    def _split(self, path: str) -> tuple[dict[str, _File], str]:
        folder, _, name = path.rpartition("/")
        if folder not in self._folders:
            raise StorageBroken("write", path, "No such file or directory")
        return self._folders[folder], name
