"""The event stream of the console."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pinnace_server.console.desk import Desk
from pinnace_server.console.stream import TooManyStreams


def routes(desk: Desk) -> list[Route]:
    """Return the route of /events."""

    async def events(request: Request) -> Response:
        session = desk.guard.session_of(request)
        if session is None:
            return PlainTextResponse("signed out", status_code=401)

        def still_allowed() -> bool:
            return desk.sessions.find(session.id, desk.clock()) is not None

        try:
            lines = desk.streams.join(session.id, still_allowed)
        except TooManyStreams:
            return PlainTextResponse("too many event streams are open", status_code=429, headers={"Retry-After": "30"})
        # A proxy that collects answers would make the stream useless.
        return StreamingResponse(lines, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    return [Route("/events", events, methods=["GET"], name="events")]
