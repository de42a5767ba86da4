"""What gates' rulings were made from, for whoever does not want to believe them."""

from __future__ import annotations

from pinnace_contract.ids import Digest
from pinnace_server.domain.queries import EventQuery, Page
from pinnace_server.domain.records import Event
from pinnace_server.errors import NotFound
from pinnace_server.service.ports import World

RECORD: str = "record"
"""The fact of an event that names its record."""


class Audit:
    """Hands out records of verdicts."""

    def __init__(self, world: World) -> None:
        self._world = world

    def record(self, number: int) -> tuple[Digest, str]:
        """Return the digest and the JSON of what an event's ruling was made from.

        Raises:
            NotFound: there is no such event, or no gate ruled in it.
        """
        event = self._event(number)
        named = event.data.get(RECORD) if event is not None else None
        if named is None:
            raise NotFound("verdict of event", str(number), hint="see: pinnace audit verify")
        return Digest(named), self._world.blobs.read(Digest(named)).decode()

    def _event(self, number: int) -> Event | None:
        with self._world.store.read() as tables:
            rows = tables.events.listing(EventQuery(after=number - 1, page=Page(limit=1))).rows
        return rows[0] if rows and rows[0].number == number else None
