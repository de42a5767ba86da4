"""The store in memory: one value is the disk, and outlives the servers that are started on it.

A write that raises leaves everything as it was. ``before_commit`` and ``after_commit`` are where a simulated server may
be killed: before, nothing of the write is kept; after, all of it is, and nobody was told.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from pinnace_sim.memory.aliases import MemoryAliases
from pinnace_sim.memory.catalogue import MemoryModels, MemoryVersions
from pinnace_sim.memory.fleet import MemoryDevices
from pinnace_sim.memory.log import MemoryClaims, MemoryEvents, MemoryJobs
from pinnace_sim.memory.profiles import MemoryProfiles
from pinnace_sim.memory.rollouts import MemoryAssignments, MemoryRollouts
from pinnace_sim.memory.tables import Disk
from pinnace_sim.memory.telemetry import MemoryReceipts, MemoryReports

CommitHook: TypeAlias = Callable[[int], None]


_TOGETHER: Final = "together"


class MemoryTables:
    """``ports.Tables``."""

    def __init__(self, disk: Disk) -> None:
        self.models = MemoryModels(disk)
        self.aliases = MemoryAliases(disk)
        self.versions = MemoryVersions(disk)
        self.devices = MemoryDevices(disk)
        self.assignments = MemoryAssignments(disk)
        self.rollouts = MemoryRollouts(disk)
        self.receipts = MemoryReceipts(disk)
        self.profiles = MemoryProfiles(disk)
        self.reports = MemoryReports(disk)
        self.events = MemoryEvents(disk)
        self.claims = MemoryClaims(disk)
        self.jobs = MemoryJobs(disk)


class MemoryStore:
    """``ports.Store``. Transactions of several threads wait for each other; one inside another is a bug.

    SQL would let a read stand beside a write and see what was before; no service does, and here it cannot be.
    """

    def __init__(self, *, before_commit: CommitHook | None = None, after_commit: CommitHook | None = None) -> None:
        """Make an empty store. Hooks are told the number of the commit, from 1, and may be changed at any time."""
        self.before_commit, self.after_commit = before_commit, after_commit
        self._commits = 0
        self._disk = Disk()
        self._tables = MemoryTables(self._disk)
        self._turn = threading.RLock()
        self._open = ""

    @property
    def commits(self) -> int:
        """How many writes were committed."""
        return self._commits

    def copied(self) -> MemoryStore:
        """Return a store of its own that holds what this one holds now: a backup. Nothing may be under way."""
        with self._turn:
            assert not self._open, f"a copy was made inside a {self._open}"
            made = MemoryStore()
            made.become(self)
            return made

    def keep(self) -> Callable[[], None]:
        """Make a backup, and return what puts it back. Servers over this store need not know."""
        backup = self.copied()
        return lambda: self.become(backup)

    def become(self, backup: MemoryStore) -> None:
        """Hold what another one holds, and forget everything else."""
        with self._turn:
            assert not self._open, f"a backup was put back inside a {self._open}"
            self._disk = copy.deepcopy(backup._disk)
            self._tables = MemoryTables(self._disk)

    @contextmanager
    def read(self) -> Iterator[MemoryTables]:
        """One consistent look; nothing written in it is kept."""
        with self._turn:
            if self._open == _TOGETHER:
                yield self._tables
                return
            self._begin("read")
            try:
                yield self._tables
            finally:
                self._disk.undo.roll_back()
                self._open = ""

    @contextmanager
    def write(self) -> Iterator[MemoryTables]:
        """One transaction; nothing is kept when the block or ``before_commit`` raises."""
        with self._turn:
            if self._open == _TOGETHER:
                with self._part():
                    yield self._tables
                return
        with self._transaction("write"):
            yield self._tables

    @contextmanager
    def together(self) -> Iterator[None]:
        """Commit all writes inside the block at its end; one that raises leaves nothing of itself."""
        with self._transaction(_TOGETHER):
            yield

    @contextmanager
    def _part(self) -> Iterator[None]:
        undo = self._disk.undo
        place = undo.place
        try:
            yield
            undo.check()
        except BaseException:
            undo.roll_back(place)
            raise

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        with self._turn:
            self._begin(kind)
            commit = self._commits + 1
            try:
                yield
                if self.before_commit is not None:
                    self.before_commit(commit)
                self._disk.undo.commit()
                self._commits = commit
            finally:
                self._disk.undo.roll_back()  # of nothing, after a commit
                self._open = ""
        if self.after_commit is not None:
            self.after_commit(commit)

    def close(self) -> None:
        """Do nothing: what is stored stays for the next server."""

    def _begin(self, kind: str) -> None:
        assert not self._open, f"a {kind} was begun inside a {self._open}"
        self._open = kind
