"""The API as an application: routes under ``/api/v1``, borders around them, one way for errors to leave."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import FastAPI

from pinnace_server.http import problems, reference
from pinnace_server.http.borders import LOOPBACK_NAMES, BodyBorder, HostBorder
from pinnace_server.http.routes import (
    aliases,
    catalogue,
    export,
    fleet,
    registry,
    rollouts,
    steering,
    system,
    withdrawal,
    work,
)
from pinnace_server.service.services import Services
from pinnace_server.settings import JSON_BODY_BYTES_MAX

PREFIX = "/api/v1"
_DESCRIPTION = """
Models, versions, devices and rollouts of one fleet. Every address needs the admin token (`Authorization: Bearer TOKEN`)
except health, readiness and a device's enrolment. Lists come in stretches (`limit`, `offset`; `total` and `next` in the
answer). Errors are `application/problem+json` with a stable `code`, what was wrong, and what to do. Times are Unix
seconds of the server.
"""


def build(
    services: Services,
    *,
    hosts: Collection[str] = LOOPBACK_NAMES,
) -> FastAPI:
    """Build the application. ``hosts`` are the names that it may be addressed by."""
    app = FastAPI(
        title="Pinnace",
        version=services.version,
        description=_DESCRIPTION,
        docs_url=None,  # FastAPI's page fetches its parts from elsewhere; ours is in reference.py
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.services = services
    for router in (
        catalogue.router,
        aliases.router,
        registry.router,
        work.router,
        fleet.router,
        export.router,
        rollouts.router,
        steering.router,
        withdrawal.router,
        system.router,
        system.open_router,
    ):
        app.include_router(router, prefix=PREFIX)
    reference.install(app)
    problems.install(app)
    app.add_middleware(BodyBorder, size_bytes_max=JSON_BODY_BYTES_MAX, uploads=PREFIX + work.UPLOADS)
    app.add_middleware(HostBorder, names=hosts)
    return app
