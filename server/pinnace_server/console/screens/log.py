"""The log of events: everything that changed the state of the fleet, who did it and when."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pinnace_server.console.desk import Desk
from pinnace_server.console.query import PAGE_SIZES, EventQuery
from pinnace_server.console.sessions import Session


def routes(desk: Desk) -> list[Route]:
    """Return the route of /log."""

    def show(request: Request, session: Session) -> Response:
        query = EventQuery.parse(request.query_params)
        events = desk.services.overview.events(query)
        return desk.pages.answer(
            request, session, "log.html", title="Events", screen="log", query=query, events=events, sizes=PAGE_SIZES
        )

    return [Route("/log", desk.guard.seen(show), methods=["GET"], name="log")]
