"""The undo journal of one transaction: how to put back what changed, the newest last.

Cheap where nothing fails, which is nearly always: a change costs one small closure, a commit forgets them.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from pinnace_sim.memory.errors import Violated

K = TypeVar("K")
V = TypeVar("V")


class Undo:
    """Changes dicts and lists, and remembers how they were. A key that comes back may stand elsewhere in its dict."""

    __slots__ = ("_spoilt", "_steps")

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []
        self._spoilt = ""

    @property
    def clean(self) -> bool:
        """Whether nothing changed since the last commit."""
        return not self._steps

    def put(self, table: dict[K, V], key: K, value: V) -> None:
        """Set a row."""
        if key in table:
            self._steps.append(partial(table.__setitem__, key, table[key]))
        else:
            self._steps.append(partial(table.pop, key))
        table[key] = value

    def drop(self, table: dict[K, V], key: K) -> None:
        """Remove a row that is there."""
        self._steps.append(partial(table.__setitem__, key, table.pop(key)))

    def mark(self, marks: dict[K, None], key: K, holds: bool) -> None:
        """Keep a key among the marked ones exactly while something holds."""
        if holds:
            if key not in marks:
                self.put(marks, key, None)
        elif key in marks:
            self.drop(marks, key)

    def append(self, rows: list[V], row: V) -> None:
        """Add a row to the end."""
        rows.append(row)
        self._steps.append(rows.pop)

    def replace_all(self, rows: list[V], kept: list[V]) -> None:
        """Make a short list these rows."""
        self._steps.append(partial(rows.__setitem__, slice(None), list(rows)))
        rows[:] = kept

    def insert(self, ordered: list[int], number: int) -> None:
        """Put a number where it belongs."""
        insort(ordered, number)
        self._steps.append(lambda: ordered.pop(bisect_left(ordered, number)))

    def cut(self, ordered: list[int], n: int) -> list[int]:
        """Take the first ``n`` away and return them."""
        taken = ordered[:n]
        del ordered[:n]
        self._steps.append(partial(ordered.__setitem__, slice(0, 0), taken))
        return taken

    def violated(self, problem: str) -> Violated:
        """Return the error to raise; from now on this transaction cannot be committed, as in SQL."""
        self._spoilt = problem
        return Violated(problem)

    def commit(self) -> None:
        """Keep what changed.

        Raises:
            Violated: somebody swallowed the error of a violation.
        """
        self.check()
        self._steps.clear()

    def check(self) -> None:
        """Make sure that what changed could be committed.

        Raises:
            Violated
        """
        if self._spoilt:
            raise Violated(f"this write cannot be committed: {self._spoilt}")

    @property
    def place(self) -> int:
        """Where the transaction is now, for ``roll_back``."""
        return len(self._steps)

    def roll_back(self, to: int = 0) -> None:
        """Put everything back that changed since a place."""
        while len(self._steps) > to:
            self._steps.pop()()
        self._spoilt = ""
