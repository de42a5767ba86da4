"""Rows by their key, and lists of them, without an object-relational session in between.

A message of a device is some twenty small statements; through the session each costs half a millisecond of bookkeeping
for rows that are read, turned into a value and forgotten. Searches with conditions that vary stay with the session.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import Boolean
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, SQLModel

R = TypeVar("R", bound=SQLModel)


class Rows(Generic[R]):
    """One table. What it returns has the attributes of ``R`` and cannot be changed."""

    def __init__(self, kind: type[R]) -> None:
        table = cast(Any, kind).__table__
        columns = list(table.columns)
        names = [column.name for column in columns]
        key = [column.name for column in table.primary_key.columns]
        others = [name for name in names if name not in key]
        listed, marks = ", ".join(f'"{name}"' for name in names), ", ".join("?" for _ in names)
        change = ", ".join(f'"{name}" = excluded."{name}"' for name in others)
        by_key = " AND ".join(f'"{name}" = ?' for name in key)
        self._names = names
        self._make: Callable[[Iterable[Any]], Any] = cast(Any, namedtuple(kind.__name__, names))._make
        self._booleans = [at for at, column in enumerate(columns) if isinstance(column.type, Boolean)]
        self._select = f"SELECT {listed} FROM {table.name}"  # noqa: S608 -- names of our own tables
        self._get = f"{self._select} WHERE {by_key}"
        self._delete = f"DELETE FROM {table.name} WHERE"  # noqa: S608
        self._add = f"INSERT INTO {table.name} ({listed}) VALUES ({marks})"  # noqa: S608
        self._put = f"{self._add} ON CONFLICT ({', '.join(key)}) DO " + (
            f"UPDATE SET {change}" if others else "NOTHING"
        )

    def get(self, session: Session, *key: object) -> R | None:
        """Return the row of a key."""
        found = run(session, self._get, key).fetchone()
        return None if found is None else self._row(found)

    def where(self, session: Session, condition: str, *values: object) -> list[R]:
        """Return the rows that a condition in SQL means, which may say their order."""
        return [self._row(found) for found in run(session, f"{self._select} WHERE {condition}", values)]

    def add(self, session: Session, **values: object) -> None:
        """Add a row that is not there."""
        run(session, self._add, self._in_order(values))

    def put(self, session: Session, **values: object) -> None:
        """Make the row of a key this one."""
        run(session, self._put, self._in_order(values))

    def delete(self, session: Session, condition: str, *values: object) -> None:
        """Remove the rows that a condition in SQL means."""
        run(session, f"{self._delete} {condition}", values)

    def _in_order(self, values: dict[str, object]) -> tuple[object, ...]:
        assert len(values) == len(self._names), f"every column has a value: {sorted(set(self._names) ^ set(values))}"
        return tuple(values[name] for name in self._names)

    def _row(self, found: Sequence[Any]) -> R:
        if self._booleans:
            values = list(found)
            for at in self._booleans:
                values[at] = bool(values[at])
            found = values
        return cast(R, self._make(found))


def run(session: Session, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
    """Execute one statement on the session's connection; what the session holds back is written first.

    Raises:
        DatabaseError: as the session would.
    """
    if session.new or session.dirty or session.deleted:
        session.flush()
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, sqlite3.Connection)
    try:
        return connection.execute(sql, values)
    except sqlite3.Error as error:
        raise DBAPIError.instance(sql, tuple(values), error, sqlite3.Error) from error


def marks(values: Sequence[object]) -> str:
    """Return the parameters of an IN list."""
    return ", ".join("?" for _ in values)
