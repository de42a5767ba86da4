"""The log, health, and what runs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from pinnace_contract.ids import VersionName
from pinnace_server.domain.queries import DeviceQuery, EventQuery
from pinnace_server.domain.records import EventKind, Severity
from pinnace_server.errors import Unavailable
from pinnace_server.http.guard import Actor, Served
from pinnace_server.http.problems import errors
from pinnace_server.http.routes.paging import (
    DeviceFilter,
    ModelFilter,
    Paged,
    VersionFilter,
    device_id,
    model_name,
    rollout_id,
)
from pinnace_server.http.schemas import rollouts as bodies
from pinnace_server.http.schemas.body import listed
from pinnace_server.service.services import Services

router = APIRouter(tags=["log"])
open_router = APIRouter(tags=["system"])
WAIT_S_MAX: Final = 30.0
WAITERS_MAX: Final = 200  # each holds a connection, and nothing else
_waiting: set[object] = set()


@router.get("/events", responses=errors(401, 404, 422, 503), summary="Read the log, or wait for its next line")
async def events(
    served: Served,
    _: Actor,
    page: Paged,
    text: Annotated[str, Query(description="Part of the summary or of a device's id.", max_length=200)] = "",
    kind: Annotated[list[EventKind] | None, Query(description="Only these kinds.", max_length=64)] = None,
    severity: Annotated[Severity | None, Query(description="Only this severity.")] = None,
    device: DeviceFilter = None,
    model: ModelFilter = None,
    version: VersionFilter = None,
    rollout: Annotated[str | None, Query(description="Only this rollout.", max_length=64)] = None,
    actor: Annotated[str, Query(description="Only this actor.", max_length=128)] = "",
    after: Annotated[
        int | None, Query(ge=0, description="Only events with a larger number, oldest first; else newest first.")
    ] = None,
    wait_s: Annotated[
        float, Query(ge=0, le=WAIT_S_MAX, description="With `after`: how long to wait where there is none yet.")
    ] = 0.0,
) -> bodies.EventList:
    """Return events. `after` and `wait_s` together follow the log: ask again after the last number of each answer."""
    query = EventQuery(
        text=text,
        kinds=tuple(kind or ()),
        severity=severity,
        device=device_id(device) if device else None,
        model=model_name(model) if model else None,
        version=VersionName(version) if version else None,
        rollout=rollout_id(rollout) if rollout else None,
        actor=actor,
        after=after,
        page=page,
    )
    if after is not None and wait_s > 0:
        return await _wait_for(served, query, wait_s)
    return await run_in_threadpool(_read, served, query)


@router.get("/system", responses=errors(401, 422, 503), summary="Show what runs", tags=["system"])
def system(served: Served, _: Actor) -> bodies.System:
    """Return the state of the server and of what it talks to."""
    status, counts, now = served.status(), served.ingest.counts(), served.fleet.now()
    return bodies.System(
        version=served.version,
        started_at_s=served.started_at_s,
        now_s=now,
        broker=status.broker,
        broker_url=status.broker_url,
        connected=status.connected,
        messages={"taken": counts.taken, "refused": counts.refused},
        waiting_out_bytes=status.waiting_out_bytes,
        disk_free_bytes=status.disk_free_bytes,
        devices={str(word): n for word, n in served.fleet.by_status(DeviceQuery(now_s=now)).items()},
        events=served.log.last_number(),
    )


@open_router.get("/health", responses=errors(422, 503), summary="Tell that the server answers")
def health(served: Served) -> bodies.Health:
    """Return at once, without a token."""
    return bodies.Health(status="ok", version=served.version)


@open_router.get(
    "/ready",
    response_model=bodies.Readiness,
    responses={**errors(422), 503: {"model": bodies.Readiness, "description": "Something that it needs is away."}},
    summary="Tell whether the server can do its work",
)
def ready(served: Served) -> JSONResponse:
    """Look at database and broker, without a token."""
    try:
        served.log.last_number()
        database = True
    except Exception:  # whatever is wrong with the database is what this address is asked for
        database = False
    broker = served.status().connected
    found = bodies.Readiness(ready=database and broker, database=database, broker=broker)
    return JSONResponse(found.model_dump(), status_code=200 if found.ready else 503)


def _read(served: Services, query: EventQuery) -> bodies.EventList:
    # The end of the log is read first: an event that comes in between is shown twice rather than never.
    last = served.log.last_number()
    found = served.log.listing(query)
    rows = listed([bodies.Event.of(event) for event in found.rows], found.total, query.page)
    return bodies.EventList(items=rows.items, total=rows.total, next=rows.next, last=last)


async def _wait_for(served: Services, query: EventQuery, wait_s: float) -> bodies.EventList:
    if len(_waiting) >= WAITERS_MAX:
        raise Unavailable(f"{WAITERS_MAX} others wait for the log already", hint="ask without wait_s")
    loop, changed, ticket = asyncio.get_running_loop(), asyncio.Event(), object()

    def heard(topic: str) -> None:
        if topic == "events":
            loop.call_soon_threadsafe(changed.set)

    stop = served.world.changes.subscribe(heard)
    _waiting.add(ticket)
    deadline = loop.time() + wait_s
    try:
        while True:
            changed.clear()
            found = await run_in_threadpool(_read, served, query)
            left = deadline - loop.time()
            if found.items or left <= 0:
                return found
            try:
                await asyncio.wait_for(changed.wait(), left)
            except TimeoutError:
                return found
    finally:
        stop()
        _waiting.discard(ticket)
