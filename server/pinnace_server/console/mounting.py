"""Puts the console together and under an application: everything that the API does not claim is the console's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Scope

from pinnace_server.console import faults
from pinnace_server.console.acting import ServerActions
from pinnace_server.console.desk import Desk
from pinnace_server.console.guard import Guard
from pinnace_server.console.headers import SecurityHeaders
from pinnace_server.console.pages import Pages
from pinnace_server.console.ports import AdminDoor, ConsoleServices
from pinnace_server.console.reading.catalogue import CatalogueReads
from pinnace_server.console.reading.fleet import FleetReads
from pinnace_server.console.reading.latency import LatencyCache
from pinnace_server.console.reading.overview import OverviewReads
from pinnace_server.console.reading.releases import ReleaseCache
from pinnace_server.console.reading.rollouts import RolloutReads
from pinnace_server.console.screens import (
    devices,
    door,
    live,
    log,
    models,
    overview,
    rollout_begin,
    rollout_steps,
    rollouts,
)
from pinnace_server.console.sessions import MemorySessions, SessionStore
from pinnace_server.console.statics import Statics
from pinnace_server.console.stream import Changes, Pace, Streams
from pinnace_server.service.ports import World
from pinnace_server.service.rollouts import Rollouts
from pinnace_server.service.steering import Steering
from pinnace_server.service.whys import Whys

_NOT_OURS = ("/api/", "/docs", "/redoc", "/openapi.json", "/metrics")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """A console that is ready to serve. Call ``close`` when the server stops, or open streams hold it up."""

    app: ASGIApp
    routes: tuple[BaseRoute, ...]
    streams: Streams
    close: Callable[[], None]


def build(
    services: ConsoleServices,
    *,
    sessions: SessionStore | None = None,
    clock: Callable[[], datetime] = _now,
    pace: Pace | None = None,
) -> Console:
    """Build the console over these services."""
    sessions = sessions or MemorySessions()
    statics, changes = Statics(), Changes(first=int(clock().timestamp() * 1000))
    desk = Desk(
        services=services,
        sessions=sessions,
        guard=Guard(sessions=sessions, changes=changes, clock=clock),
        pages=Pages(statics, sessions, clock, services.version),
        streams=Streams(changes, pace),
        clock=clock,
    )
    unsubscribe = services.changes.subscribe(changes.mark)
    routes: list[BaseRoute] = [Route("/static/{build}/{name}", statics.answer, methods=["GET"], name="static")]
    for screen in (door, overview, devices, models, rollout_begin, rollout_steps, rollouts, log, live):
        routes += screen.routes(desk)

    def close() -> None:
        unsubscribe()
        desk.streams.close()

    # Outside the application: the page for our own faults comes from Starlette's outermost layer and needs them too.
    app = SecurityHeaders(Starlette(routes=routes, exception_handlers=faults.handlers(desk)))
    return Console(app=app, routes=tuple(routes), streams=desk.streams, close=close)


def mount(
    app: FastAPI,
    *,
    world: World,
    rollouts: Rollouts,
    steering: Steering,
    whys: Whys,
    door: AdminDoor,
    version: str,
) -> Console:
    """Put the console over the server's services under ``app``; call it after the API's routes are in place."""
    releases, latency = ReleaseCache(), LatencyCache()
    behind = ConsoleServices(
        overview=OverviewReads(world, releases, latency),
        fleet=FleetReads(world, releases, whys),
        catalogue=CatalogueReads(world, rollouts, latency),
        rollouts=RolloutReads(world, steering),
        actions=ServerActions(rollouts, steering),
        changes=world.changes,
        door=door,
        version=version,
    )
    console = build(behind, clock=lambda: datetime.fromtimestamp(world.clock.now(), UTC))
    app.router.routes.append(ConsoleMount("/", app=console.app))
    return console


class ConsoleMount(Mount):
    """A mount at the root that leaves the API's addresses to the API, so that its 404 and 405 stay its own."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match whatever is not the API's."""
        if scope["type"] != "http" or scope["path"].startswith(_NOT_OURS):
            return Match.NONE, {}
        return super().matches(scope)
