"""The overview: what needs attention first, then how the fleet is."""

from __future__ import annotations

from itertools import groupby

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pinnace_server.console.desk import Desk
from pinnace_server.console.sessions import Session
from pinnace_server.domain.records import Status


def routes(desk: Desk) -> list[Route]:
    """Return the route of /."""

    def show(request: Request, session: Session) -> Response:
        overview = desk.services.overview.overview()
        shares = [(model, tuple(parts)) for model, parts in groupby(overview.shares, key=lambda share: share.model)]
        tiles = (Status.ONLINE, Status.DEGRADED, Status.UPDATING, Status.OFFLINE)
        return desk.pages.answer(
            request,
            session,
            "overview.html",
            title="Overview",
            screen="overview",
            overview=overview,
            shares=shares,
            tiles=tiles,
        )

    return [Route("/", desk.guard.seen(show), methods=["GET"], name="overview")]
