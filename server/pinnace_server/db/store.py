"""The database: one SQLite file in WAL mode, one transaction at a time for writers.

``synchronous=FULL`` because acknowledgements are sent after a commit, and a device deletes its only copy on them: what
was acknowledged must survive a power cut.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import QueuePool
from sqlmodel import Session

from pinnace_server.db.aliases import SqlAliases
from pinnace_server.db.catalogue import SqlModels, SqlVersions
from pinnace_server.db.fleet import SqlDevices
from pinnace_server.db.log import SqlClaims, SqlEvents, SqlJobs
from pinnace_server.db.profiles import SqlProfiles
from pinnace_server.db.rollouts import SqlAssignments, SqlRollouts
from pinnace_server.db.rows import run
from pinnace_server.db.telemetry import SqlReceipts, SqlReports
from pinnace_server.db.turns import Turns
from pinnace_server.errors import Code, StartRefused, Unavailable

BUSY_TIMEOUT_MS: Final = 10_000  # another program may look into the file; none should hold it this long
WRITE_WAIT_S: Final = 30.0  # a writer that waits longer behind others gives up with an error instead of piling up
CONNECTIONS_MAX: Final = 50  # the web server's forty threads, the gateway and the controller
_WRITES: Final = "pinnace_writes"
_PART: Final = "one_of_together"


class SqlTables:
    """``ports.Tables`` on one session, which is one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.models = SqlModels(session)
        self.aliases = SqlAliases(session)
        self.versions = SqlVersions(session)
        self.devices = SqlDevices(session)
        self.assignments = SqlAssignments(session)
        self.rollouts = SqlRollouts(session)
        self.receipts = SqlReceipts(session)
        self.profiles = SqlProfiles(session)
        self.reports = SqlReports(session)
        self.events = SqlEvents(session)
        self.claims = SqlClaims(session)
        self.jobs = SqlJobs(session)

    @contextmanager
    def part(self) -> Iterator[None]:
        """Undo what the block wrote, and nothing else, when it raises."""
        run(self._session, f"SAVEPOINT {_PART}")
        try:
            yield
            self._session.flush()
        except BaseException:
            self._session.expunge_all()
            self.devices.forget()
            with suppress(OperationalError):  # a full disk has undone the whole transaction, and this part with it
                run(self._session, f"ROLLBACK TO {_PART}")
                run(self._session, f"RELEASE {_PART}")
            raise
        run(self._session, f"RELEASE {_PART}")


class _Together(threading.local):
    """The transaction that this thread's writes are a part of."""

    tables: SqlTables | None = None


class SqlStore:
    """``ports.Store``. Opening it brings the schema up to date."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        """Open or make the database. ``durable`` false is for tests, which cut no power and want no fsync.

        Raises:
            StartRefused: the file is of a newer server, or is not a database.
        """
        self._engine = _engine(path, "FULL" if durable else "OFF")
        self._writing = Turns()
        self._together = _Together()
        try:
            with self._engine.connect().execution_options(**{_WRITES: True}) as connection:
                _migrate(connection, path)
        except DatabaseError as error:
            self.close()
            raise _unusable(path, error) from error
        except StartRefused:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[SqlTables]:
        if self._together.tables is not None:
            yield self._together.tables
            return
        with Session(self._engine) as session:
            yield SqlTables(session)
            session.rollback()

    @contextmanager
    def write(self) -> Iterator[SqlTables]:
        if self._together.tables is not None:
            with _translated(), self._together.tables.part():
                yield self._together.tables
            return
        with self._transaction() as tables:
            yield tables

    @contextmanager
    def together(self) -> Iterator[None]:
        with self._transaction() as tables:
            self._together.tables = tables
            try:
                yield
            finally:
                self._together.tables = None

    @contextmanager
    def _transaction(self) -> Iterator[SqlTables]:
        if not self._writing.acquire(WRITE_WAIT_S):
            raise Unavailable(f"the database was busy for {WRITE_WAIT_S:.0f} s", hint="try again; nothing was changed")
        try:
            writer = self._engine.execution_options(**{_WRITES: True})
            with _translated(), Session(writer) as session:
                yield SqlTables(session)
                session.commit()
        finally:
            self._writing.release()

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:  # full, read-only, busy: the rows are not what is wrong
        problem = f"the database does not take what is written: {error.orig}"
        raise Unavailable(problem, hint="nothing was changed; look at the disk, then try again") from error


def _engine(path: Path, synchronous: str) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=5,
        max_overflow=CONNECTIONS_MAX - 5,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # this module says when a transaction begins, not the driver
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes its lock at once: one that begins as a reader can fail in the middle.
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _migrate(connection: Connection, path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    known = {revision.revision for revision in script.walk_revisions()}
    with connection.begin():
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None and current not in known:
            raise StartRefused(
                f"{path} has schema {current!r}, which this server does not know: a newer server wrote it",
                hint="start the newer server, or restore the backup that was made before the upgrade",
                code=Code.SCHEMA_NEWER,
            )
        command.upgrade(config, "head")


def _unusable(path: Path, error: DatabaseError) -> StartRefused:
    return StartRefused(
        f"{path} cannot be used as the database: {error.orig}",
        hint="check that the directory is writable and the disk is not full, or name another --data-dir",
    )
