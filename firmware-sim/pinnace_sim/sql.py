"""The server's real database under a world: the same file for every server that is started on it.

Slower than its twin in memory, and a check of it: a plan writes the same log over both, byte for byte. A server is
killed before or after a commit here as there; the file is not synced, for what a power cut does to SQLite is SQLite's.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pinnace_server.db.store import SqlStore, SqlTables

CommitHook = Callable[[int], None]
_FILE: Final = "pinnace.db"
_READ: Final = "read"
_WRITE: Final = "write"
_TOGETHER: Final = "together"


class SqlDisk:
    """``server.Disk`` over SQLite in a directory of its own, for one thread."""

    def __init__(self) -> None:
        self.before_commit: CommitHook | None = None
        self.after_commit: CommitHook | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="pinnace-sim-"))
        self._store = SqlStore(self._folder / _FILE, durable=False)
        self._commits = 0
        self._open = ""

    @contextmanager
    def read(self) -> Iterator[SqlTables]:
        """See ``ports.Store``; inside of a write it is a bug, as it is in memory."""
        if self._open != _TOGETHER:
            assert not self._open, f"a read was begun inside a {self._open}"
            with self._opened(_READ), self._store.read() as tables:
                yield tables
            return
        with self._store.read() as tables:
            yield tables

    @contextmanager
    def write(self) -> Iterator[SqlTables]:
        """See ``ports.Store``."""
        if self._open == _TOGETHER:
            with self._store.write() as tables:
                yield tables
            return
        with self._committing(_WRITE), self._store.write() as tables:
            yield tables
            self._before()

    @contextmanager
    def together(self) -> Iterator[None]:
        """See ``ports.Store``."""
        with self._committing(_TOGETHER), self._store.together():
            yield
            self._before()

    def keep(self) -> Callable[[], None]:
        """Make a backup, and return what puts it back. Servers over this disk need not know."""
        self._store.close()
        content = (self._folder / _FILE).read_bytes()
        self._store = SqlStore(self._folder / _FILE, durable=False)

        def put_back() -> None:
            self._store.close()
            for each in self._folder.glob(f"{_FILE}*"):
                each.unlink()
            (self._folder / _FILE).write_bytes(content)
            self._store = SqlStore(self._folder / _FILE, durable=False)

        return put_back

    def close(self) -> None:
        """Let go of the file and remove it."""
        self._store.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def _committing(self, kind: str) -> Iterator[None]:
        with self._opened(kind):
            yield
        self._commits += 1
        if self.after_commit is not None:
            self.after_commit(self._commits)

    def _before(self) -> None:
        if self.before_commit is not None:
            self.before_commit(self._commits + 1)

    @contextmanager
    def _opened(self, kind: str) -> Iterator[None]:
        assert not self._open, f"a {kind} was begun inside a {self._open}"
        self._open = kind
        try:
            yield
        finally:
            self._open = ""
