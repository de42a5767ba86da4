"""The fleet as a snapshot, for tools that plan with it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from pinnace_server.http.guard import Actor, Served
from pinnace_server.http.problems import errors
from pinnace_server.http.routes.paging import Paged
from pinnace_server.http.schemas import export as bodies
from pinnace_server.http.schemas.body import listed

router = APIRouter(tags=["fleet"])


@router.get("/fleet/export", responses=errors(401, 422, 503), summary="Export the fleet as a snapshot")
def export_fleet(
    served: Served,
    _: Actor,
    page: Paged,
    salt: Annotated[
        str | None,
        Query(
            description="Makes it anonymous: ids are hashed together with this text, labels are left out. Draw one for "
            "each snapshot, give it with every stretch, and forget it.",
            pattern="^[0-9a-f]{32,64}$",
        ),
    ] = None,
) -> bodies.FleetExport:
    """Return what devices are like, how their links behave and what they run, without secrets; decommissioned ones are
    left out. `pinnace-sim rehearse` plays a rollout on such a fleet."""
    found = served.export.devices(page, salt)
    rows = listed([bodies.ExportedDevice.of(each) for each in found.rows], found.total, page)
    versions = served.export.versions() if page.offset == 0 else ()
    return bodies.FleetExport(
        server_version=served.version,
        made_at_s=served.export.now(),
        anonymous=salt is not None,
        devices=rows.items,
        versions=[bodies.ExportedVersion.of(each) for each in versions],
        total=rows.total,
        next=rows.next,
    )
