"""What comes between a controller's look and its writing: a thread that an operator's request runs in, another server.

A world has one thread. Where services look in one transaction and write in the next, others of a real server have had
their turn meanwhile; here they have it just before the controller writes.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Final, Protocol

from pinnace_server.service.changes import ChangeHub
from pinnace_server.service.controller import Controller
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.rollouts import Rollouts
from pinnace_sim import chance as chances

SECOND_EVERY_S: Final = (20.0, 90.0)
SECOND_BETWEEN_SHARE: Final = 0.25  # of the first one's writings: the second has the whole of a turn just before


class Store(Protocol):
    """``ports.Store``."""

    def read(self) -> AbstractContextManager[Tables]: ...
    def write(self) -> AbstractContextManager[Tables]: ...
    def together(self) -> AbstractContextManager[None]: ...
    def close(self) -> None: ...


class Interleaved:
    """``ports.Store`` of a controller: before each writing of its, others have their turn."""

    def __init__(self, store: Store, turn: Callable[[], None]) -> None:
        self._store, self._turn = store, turn

    def read(self) -> AbstractContextManager[Tables]:
        """See ``ports.Store``."""
        return self._store.read()

    @contextmanager
    def write(self) -> Iterator[Tables]:
        """See ``ports.Store``."""
        self._turn()
        with self._store.write() as tables:
            yield tables

    def together(self) -> AbstractContextManager[None]:
        """See ``ports.Store``."""
        return self._store.together()

    def close(self) -> None:
        """Leave the store to its owner."""


class Others:
    """Who else has a turn: what operators' threads do, once each, and a second controller on the same rows."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._raced: deque[tuple[int, Callable[[], None]]] = deque()
        self._second: Controller | None = None
        self._busy = False

    def race(self, writing: int, action: Callable[[], None]) -> None:
        """Let something be done just before the controller's next writing (1), the one after it (2), and so on."""
        self._raced.append((writing, action))

    def beside(self, world: World, changed: Callable[[str], None]) -> None:
        """Begin a second controller over a server's rows. It hears nothing of what the first server's devices say."""
        changes = ChangeHub()
        changes.subscribe(changed)
        own = replace(world, changes=changes, chance=chances.SeededChance(self._draw))
        self._second = Controller(own, Rollouts(own))

    def rest_s(self) -> float:
        """Return how long the second controller rests."""
        return self._draw.uniform(*SECOND_EVERY_S)

    def tick(self) -> None:
        """Let the second controller have a turn of its own."""
        if self._second is not None:
            self._second.tick()

    def turn(self) -> None:
        """Let everybody have a turn; nobody has one inside of another's."""
        if self._busy:
            return
        self._busy = True
        try:
            for _ in range(len(self._raced)):
                left, action = self._raced.popleft()
                if left > 1:
                    self._raced.append((left - 1, action))
                else:
                    action()
            if self._second is not None and self._draw.random() < SECOND_BETWEEN_SHARE:
                self._second.tick()
        finally:
            self._busy = False
