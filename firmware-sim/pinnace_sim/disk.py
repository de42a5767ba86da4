"""A disk that does what disks do: it loses whatever was not synced, is full, breaks, or loses its power.

``Disk`` takes the port ``Files`` of the agent's store at its word: content is durable after ``sync`` of the file, a
name after ``sync_dir`` of its directory, and whatever is not durable may survive a crash whole, torn, or not at all.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pinnace_agent.store_port import StorageBroken, StorageFull


@dataclass(slots=True)
class Inode:
    """A file's content as it is, and as it would be after a crash that takes every write back."""

    now: bytes = b""
    durable: bytes = b""

    def survivors(self) -> tuple[bytes, ...]:
        """What a crash may leave: nothing of the unsynced writes, all of them, or a torn half of what is there."""
        if self.now == self.durable:
            return (self.now,)
        torn = self.now[: len(self.now) // 2] + self.durable[len(self.now) // 2 :]
        return tuple(dict.fromkeys((self.durable, self.now, torn)))


@dataclass(slots=True)
class Folder:
    """The names in a directory as they are, and those that are durable with what was done since, in order."""

    now: dict[str, Inode] = field(default_factory=dict)
    durable: dict[str, Inode] = field(default_factory=dict)
    pending: list[tuple[str, Inode | None]] = field(default_factory=list)

    def change(self, name: str, inode: Inode | None) -> None:
        """Give a name to a file, or take it away."""
        if inode is None:
            self.now.pop(name, None)
        else:
            self.now[name] = inode
        self.pending.append((name, inode))

    def survivors(self) -> Iterator[dict[str, Inode]]:
        """What a crash may leave of the names: any number of the first unsynced changes."""
        names = dict(self.durable)
        yield dict(names)
        for name, inode in self.pending:
            if inode is None:
                names.pop(name, None)
            else:
                names[name] = inode
            yield dict(names)


class Disk:
    """The port ``Files`` in memory.

    ``before_each`` is called before every operation that changes the disk, with what it is and to which path; what it
    raises stops the operation: a power cut, or an error of the disk. A disk without ``syncs`` or ``syncs_dirs`` only
    says that it has synced.
    """

    def __init__(self, *, syncs: bool = True, syncs_dirs: bool = True, capacity_bytes: int = 1 << 40) -> None:
        self.folders: dict[str, Folder] = {"": Folder()}
        self.syncs, self.syncs_dirs = syncs, syncs_dirs
        self.capacity_bytes = capacity_bytes
        self.operations = 0
        self.skipped_syncs = 0
        self.before_each: Callable[[str, str], None] | None = None
        self._used_bytes = 0

    # --- the port ----------------------------------------------------------------------------------------------------

    def location(self, path: str) -> Path:
        """Return a path that exists nowhere else."""
        return Path("/memory") / path

    def make_dir(self, path: str) -> None:
        """See ``Files``."""
        self._begin("make_dir", path)
        self.folders.setdefault(path, Folder())

    def names(self, path: str) -> tuple[str, ...]:
        """See ``Files``."""
        return tuple(sorted(self.folders[path].now)) if path in self.folders else ()

    def size_bytes(self, path: str) -> int | None:
        """See ``Files``."""
        inode = self._find(path)
        return None if inode is None else len(inode.now)

    def read(self, path: str, offset: int, size_bytes: int) -> bytes | None:
        """See ``Files``."""
        inode = self._find(path)
        return None if inode is None else inode.now[offset : offset + size_bytes]

    def create(self, path: str, data: bytes) -> None:
        """See ``Files``."""
        self._begin("create", path, len(data))
        self._put(path, Inode(now=data))

    def allocate(self, path: str, size_bytes: int) -> None:
        """See ``Files``."""
        self._begin("allocate", path, size_bytes)
        self._put(path, Inode(now=bytes(size_bytes)))

    def write(self, path: str, offset: int, data: bytes) -> None:
        """See ``Files``."""
        self._begin("write", path)
        inode = self._there(path)
        before = len(inode.now)
        inode.now = inode.now[:offset] + data + inode.now[offset + len(data) :]
        self._used_bytes += len(inode.now) - before

    def sync(self, path: str) -> None:
        """See ``Files``."""
        self._begin("sync", path)
        inode = self._there(path)
        if self.syncs:
            inode.durable = inode.now
        else:
            self.skipped_syncs += inode.durable != inode.now

    def rename(self, old: str, new: str) -> None:
        """See ``Files``."""
        self._begin("rename", new)
        inode = self._there(old)
        self._put(new, inode)
        self._drop(old)

    def sync_dir(self, path: str) -> None:
        """See ``Files``."""
        self._begin("sync_dir", path)
        folder = self.folders[path]
        if self.syncs_dirs:
            folder.durable, folder.pending = dict(folder.now), []
        else:
            self.skipped_syncs += bool(folder.pending)

    def remove(self, path: str) -> None:
        """See ``Files``."""
        self._begin("remove", path)
        if self._find(path) is not None:
            self._drop(path)

    def free_bytes(self) -> int:
        """See ``Files``."""
        return max(0, self.capacity_bytes - self._used_bytes)

    # --- faults ------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Disk:
        """This very disk, with what is durable and what is not, to go on from twice."""
        disk = self._like()
        disk.skipped_syncs = self.skipped_syncs
        disk.folders = copy.deepcopy(self.folders)
        disk._used_bytes = self._used_bytes
        return disk

    def killed(self) -> Disk:
        """The process died, the machine did not: everything that was written is there."""
        return self._as({path: dict(folder.now) for path, folder in self.folders.items()}, lambda inode: inode.now)

    def after_power_cut(self, chance: random.Random) -> Disk:
        """Return one of the disks that a power cut at this moment may leave."""
        names = {path: chance.choice(tuple(folder.survivors())) for path, folder in self.folders.items()}
        return self._as(names, lambda inode: chance.choice(inode.survivors()))

    def crashes(self, states_max: int) -> list[Disk]:
        """Return up to ``states_max`` different disks that a power cut at this moment may leave.

        Names survive in any combination of the directories' own orders; content survives whole, torn or not at all.
        The extremes come first: nothing unsynced survived, everything did, names without their content did; then chance
        picks, the same ones on every run.
        """
        names = {path: tuple(folder.survivors()) for path, folder in self.folders.items()}
        extremes = [{path: each[end] for path, each in names.items()} for end in (0, -1)]
        chance = random.Random(self.operations)
        picked = ({path: chance.choice(each) for path, each in names.items()} for _ in range(states_max))
        found: dict[object, Disk] = {}
        for surviving in (*extremes, *picked):
            for pick in range(3):
                disk = self._as(surviving, partial(_survivor, pick))
                if len(found) < states_max:
                    found.setdefault(disk.fingerprint(), disk)
        return list(found.values())

    def fingerprint(self) -> object:
        """What the disk holds; equal for disks that cannot be told apart."""
        return frozenset(
            (path, name, inode.now) for path, folder in self.folders.items() for name, inode in folder.now.items()
        )

    def _like(self) -> Disk:
        disk = type(self)(syncs=self.syncs, syncs_dirs=self.syncs_dirs, capacity_bytes=self.capacity_bytes)
        disk.operations = self.operations
        return disk

    def _as(self, names: dict[str, dict[str, Inode]], content: Callable[[Inode], bytes]) -> Disk:
        disk = self._like()
        made: dict[int, Inode] = {}
        for path, found in names.items():
            folder = Folder()
            for name, inode in found.items():
                if id(inode) not in made:
                    data = content(inode)
                    made[id(inode)] = Inode(now=data, durable=data)
                folder.now[name] = folder.durable[name] = made[id(inode)]
                disk._used_bytes += len(made[id(inode)].now)
            disk.folders[path] = folder
        return disk

    def _begin(self, operation: str, path: str, more_bytes: int = 0) -> None:
        if self.before_each is not None:
            self.before_each(operation, path)
        self.operations += 1
        if more_bytes > self.free_bytes():
            raise StorageFull(operation, path, "No space left on device")

    def _put(self, path: str, inode: Inode) -> None:
        folder, name = self._split(path)
        over = folder.now.get(name)
        folder.change(name, inode)
        self._used_bytes += len(inode.now) - (len(over.now) if over else 0)

    def _drop(self, path: str) -> None:
        folder, name = self._split(path)
        self._used_bytes -= len(folder.now[name].now)
        folder.change(name, None)

    def _there(self, path: str) -> Inode:
        inode = self._find(path)
        if inode is None:
            raise StorageBroken("find", path, "No such file or directory")
        return inode

    def _find(self, path: str) -> Inode | None:
        folder, _, name = path.rpartition("/")
        return self.folders[folder].now.get(name) if folder in self.folders else None

    def _split(self, path: str) -> tuple[Folder, str]:
        folder, _, name = path.rpartition("/")
        if folder not in self.folders:
            raise StorageBroken("write", path, "No such file or directory")
        return self.folders[folder], name


def _survivor(pick: int, inode: Inode) -> bytes:
    survivors = inode.survivors()
    return survivors[pick % len(survivors)]
