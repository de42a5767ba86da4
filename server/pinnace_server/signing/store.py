"""What the signer must never forget: the metadata it issued and the highest numbers of every device.

One SQLite file, because a version number and the bytes that carry it have to reach the disk together or not at all;
a commit is on the disk before it returns. Every row carries a digest of itself, so that a flipped bit is an error and
not a signature. What the rows mean is left to ``image.py`` and ``director.py``.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from pinnace_contract.ids import DeviceId, Digest, digest_of
from pinnace_server.signing.errors import StoreDamaged, StoreUnavailable

FILE_NAME: Final = "signing.db"
SCHEMA_VERSION: Final = 1
BUSY_TIMEOUT_S: Final = 10.0  # a second process signs for milliseconds; longer means that it hangs

# Columns stand in the order of the dataclasses' fields.
_SCHEMA: Final = f"""
BEGIN;
CREATE TABLE metadata (
    repository TEXT NOT NULL, role TEXT NOT NULL, version INTEGER NOT NULL, signed_at_s REAL NOT NULL,
    body BLOB NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (repository, role, version)
) STRICT;
CREATE TABLE device (
    device TEXT PRIMARY KEY, generation INTEGER NOT NULL, entries TEXT NOT NULL, carried TEXT NOT NULL,
    targets_at_s REAL NOT NULL, timestamp_at_s REAL NOT NULL,
    targets_version INTEGER NOT NULL, snapshot_version INTEGER NOT NULL, timestamp_version INTEGER NOT NULL,
    targets BLOB NOT NULL, snapshot BLOB NOT NULL, timestamp BLOB NOT NULL, digest TEXT NOT NULL
) STRICT;
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedFile:
    """One version of one role's file."""

    repository: str
    role: str
    version: int
    signed_at_s: float
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecord:
    """The director's files of one device as last issued. ``entries`` and ``carried`` are digests of what they say."""

    device: DeviceId
    generation: int
    entries: Digest
    carried: Digest
    targets_at_s: float
    timestamp_at_s: float
    targets_version: int
    snapshot_version: int
    timestamp_version: int
    targets: bytes
    snapshot: bytes
    timestamp: bytes


_Row = TypeVar("_Row", SignedFile, DeviceRecord)
_FILE_COLUMNS: Final = ", ".join(each.name for each in fields(SignedFile))
_DEVICE_COLUMNS: Final = ", ".join(each.name for each in fields(DeviceRecord))


class Store:
    """Rows of the two tables; every method is for the inside of ``transaction()``."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._lock = threading.RLock()

    @classmethod
    def open(cls, folder: Path, *, create: bool) -> Self:
        """Open the store in ``folder``.

        Raises:
            StoreDamaged: it is missing without ``create``, or is not what was written.
        """
        path = folder / FILE_NAME
        if not path.exists() and not create:
            raise StoreDamaged(path, "the store is missing, and the keys beside it were used before")
        if not path.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _translated(path):
            connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=32
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")  # in WAL mode the only one that syncs at every commit
            _check(path, connection)
            store = cls(path, connection)
            store._check_rows()
        for each in (folder, folder.parent):
            _sync_folder(each)
        return store

    @classmethod
    def in_memory(cls, backup: bytes | None = None) -> Self:
        """Return a store that lasts as long as this object, new or put back: for a server that is simulated."""
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        path = Path(":memory:")
        if backup is not None:
            connection.deserialize(backup)
        _check(path, connection)
        return cls(path, connection)

    def backup(self) -> bytes:
        """Return everything that is stored, as the bytes of a database file."""
        with self._lock:
            return self._connection.serialize()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and on the disk before it returns; also against other processes.

        Inside another one it is a part of that: still all or nothing, and on the disk with all the rest.

        Raises:
            StoreUnavailable, StoreDamaged
        """
        with self._lock, _translated(self._path):
            part = self._connection.in_transaction
            begin, commit = ("SAVEPOINT part", "RELEASE part") if part else ("BEGIN IMMEDIATE", "COMMIT")
            self._connection.execute(begin)
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK TO part" if part else "ROLLBACK")
                if part:
                    self._connection.execute(commit)
                raise
            self._connection.execute(commit)

    def files(self, repository: str, role: str) -> tuple[SignedFile, ...]:
        """Return the kept versions of a role's file, the newest first."""
        found = self._connection.execute(
            f"SELECT {_FILE_COLUMNS}, digest FROM metadata WHERE repository = ? AND role = ? ORDER BY version DESC",  # noqa: S608
            (repository, role),
        )
        return tuple(self._checked(SignedFile, row) for row in found)

    def signed_at_s(self, repository: str, role: str) -> float:
        """Return when the newest version of a role's file was signed; there must be one."""
        (at_s,) = self._connection.execute(
            "SELECT signed_at_s FROM metadata WHERE repository = ? AND role = ? ORDER BY version DESC LIMIT 1",
            (repository, role),
        ).fetchone()
        return float(at_s)

    def add_file(self, file: SignedFile) -> None:
        """Add a version; one that is there already is never replaced."""
        self._connection.execute("INSERT INTO metadata VALUES (?, ?, ?, ?, ?, ?)", _with_digest(file))

    def drop_files(self, repository: str, role: str, *, below_version: int) -> None:
        """Forget versions that nobody is told of any more."""
        self._connection.execute(
            "DELETE FROM metadata WHERE repository = ? AND role = ? AND version < ?", (repository, role, below_version)
        )

    def device(self, device: DeviceId) -> DeviceRecord | None:
        """Return what was last issued to a device, or None when nothing ever was."""
        row = self._connection.execute(
            f"SELECT {_DEVICE_COLUMNS}, digest FROM device WHERE device = ?",  # noqa: S608
            (device,),
        ).fetchone()
        return None if row is None else self._checked(DeviceRecord, row)

    def put_device(self, record: DeviceRecord) -> None:
        """Replace what was last issued to a device."""
        self._connection.execute(
            "INSERT OR REPLACE INTO device VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _with_digest(record)
        )

    def devices(self) -> tuple[DeviceId, ...]:
        """Return every device that was ever issued anything."""
        return tuple(DeviceId(row[0]) for row in self._connection.execute("SELECT device FROM device ORDER BY device"))

    def generations(self) -> dict[DeviceId, int]:
        """Return the highest generation of every device."""
        found = self._connection.execute("SELECT device, generation FROM device")
        return {DeviceId(device): int(generation) for device, generation in found}

    def timestamps(self, before_s: float) -> tuple[tuple[DeviceId, float], ...]:
        """Return when each device's timestamp was signed that is not newer than this, the oldest first."""
        found = self._connection.execute(
            "SELECT device, timestamp_at_s FROM device WHERE timestamp_at_s <= ? ORDER BY timestamp_at_s", (before_s,)
        )
        return tuple((DeviceId(device), at_s) for device, at_s in found)

    def _check_rows(self) -> None:
        # All of them: a row whose own name was damaged would never be asked for, and its numbers would start again.
        for row in self._connection.execute(f"SELECT {_FILE_COLUMNS}, digest FROM metadata"):  # noqa: S608
            self._checked(SignedFile, row)
        for row in self._connection.execute(f"SELECT {_DEVICE_COLUMNS}, digest FROM device"):  # noqa: S608
            self._checked(DeviceRecord, row)

    def _checked(self, kind: type[_Row], row: tuple[Any, ...]) -> _Row:
        *values, digest = row
        if _digest(tuple(values)) != digest:
            raise StoreDamaged(self._path, f"the record of {values[0]} is not what was written")
        return kind(**{field.name: value for field, value in zip(fields(kind), values, strict=True)})


def _with_digest(row: SignedFile | DeviceRecord) -> tuple[object, ...]:
    values = astuple(row)
    return *values, _digest(values)


def _digest(values: tuple[object, ...]) -> Digest:
    return digest_of(repr(values).encode())


def _check(path: Path, connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.executescript(_SCHEMA)
    elif version != SCHEMA_VERSION:
        raise StoreDamaged(path, f"expected a store of version {SCHEMA_VERSION}, found version {version}")
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise StoreDamaged(path, f"SQLite's check says: {verdict}")


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(path, str(error)) from error
    except sqlite3.DatabaseError as error:
        raise StoreDamaged(path, str(error)) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
