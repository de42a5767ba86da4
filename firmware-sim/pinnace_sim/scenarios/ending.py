"""A scenario's world when it is over, as expectations look at it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from pinnace_contract.latest import Cause
from pinnace_server.domain.queries import EventQuery, Page
from pinnace_server.domain.records import Event, EventKind
from pinnace_sim.memory.store import MemoryStore
from pinnace_sim.plan import Plan
from pinnace_sim.server import Disk
from pinnace_sim.world import MODEL, Outcome, World

EVENTS_MAX: Final = 10_000
Lines = list[dict[str, object]]


class Ending:
    """A world that was played, and what it wrote."""

    def __init__(self, world: World, outcome: Outcome) -> None:
        self.world, self.outcome = world, outcome
        self.lines: Lines = [json.loads(line) for line in outcome.lines[1:]]

    def serves(self, who: str) -> str:
        """Return the version that a device serves; empty: none."""
        run = self.world.devices[who].run
        serving = run.workers.serving(MODEL) if run is not None else None
        return self.world.checks.names[serving.release] if serving is not None else ""

    def served(self, version: str) -> list[str]:
        """Return the devices on which a version ever answered, alone or beside another."""
        return sorted({str(line["who"]) for line in self.find("serves", version=version)})

    def receipts(self, who: str) -> tuple[str, ...]:
        """Return what a device's receipts said, in the order in which they were composed."""
        found = []
        for receipt in self.world.checks.receipts[who].values():
            version = "" if receipt.release is None else self.world.checks.names[receipt.release]
            cause = "" if receipt.cause is Cause.NONE else str(receipt.cause)
            found.append(" ".join(word for word in (version, str(receipt.outcome), cause) if word))
        return tuple(found)

    def events(self, kind: str) -> list[Event]:
        """Return what the server's log says, the oldest first."""
        query = EventQuery(kinds=(EventKind(kind),), after=0, page=Page(limit=EVENTS_MAX))
        with self.world.server.store.read() as tables:
            return list(tables.events.listing(query).rows)

    def find(self, what: str, who: str = "", **facts: object) -> Lines:
        """Return the lines of a kind, of somebody, in which these facts stand."""
        wanted = {"what": what} | ({"who": who} if who else {}) | facts
        return [line for line in self.lines if all(line.get(name) == value for name, value in wanted.items())]

    def times(self, what: str, who: str = "", **facts: object) -> list[float]:
        """Return when such lines were written."""
        return [float(str(line["at"])) for line in self.find(what, who, **facts)]

    def phases(self, who: str, generation: int) -> list[str]:
        """Return the phases that a device went through for a generation."""
        return [str(line["phase"]) for line in self.find("phase", who, generation=generation)]

    def id(self, who: str) -> str:
        """Return the id that lines about a device's connection and desired state carry."""
        return self.world.devices[who].id


def played(plan: Plan, store: Callable[[], Disk] = MemoryStore) -> Ending:
    """Play a plan and keep its log."""
    world = World(plan, keeps_log=True, store=store)
    return Ending(world, world.run())
