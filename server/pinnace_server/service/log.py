"""The log, for those who read it and those who wait for its next line."""

from __future__ import annotations

from pinnace_server.domain.queries import EventQuery, Listing
from pinnace_server.domain.records import SERVER, Event, EventKind
from pinnace_server.service.ports import World


class Log:
    """Reads events."""

    def __init__(self, world: World) -> None:
        self._world = world

    def listing(self, query: EventQuery) -> Listing[Event]:
        """Return events."""
        with self._world.store.read() as tables:
            return tables.events.listing(query)

    def last_number(self) -> int:
        """Return the number of the newest event, 0 before the first."""
        with self._world.store.read() as tables:
            return tables.events.last_number()

    def started(self, version: str, broker: str) -> None:
        """Write down that the server started."""
        with self._world.store.write() as tables:
            tables.events.append(
                Event(
                    at_s=self._world.clock.now(),
                    kind=EventKind.SERVER_STARTED,
                    actor=SERVER,
                    summary=f"server {version} started, with {broker}",
                    data={"version": version, "broker": broker},
                )
            )
        self._world.changes.notify(["events"])
