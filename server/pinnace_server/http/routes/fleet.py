"""Devices, receipts, claim tokens, enrolment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Path, Query

from pinnace_contract import codec
from pinnace_contract.ids import IncarnationId, ReceiptId, VersionName
from pinnace_contract.latest import Outcome
from pinnace_server.domain import selector
from pinnace_server.domain.queries import DeviceOrder, DeviceQuery, ReceiptQuery
from pinnace_server.domain.records import DeviceState, Status, TokenId
from pinnace_server.errors import NotFound
from pinnace_server.http.guard import Actor, Served
from pinnace_server.http.problems import errors
from pinnace_server.http.routes.paging import (
    DeviceFilter,
    ModelFilter,
    NamedDevice,
    NamedModel,
    Paged,
    VersionFilter,
    device_id,
    model_name,
)
from pinnace_server.http.schemas import fleet as bodies
from pinnace_server.http.schemas import rollouts as rollout_bodies
from pinnace_server.http.schemas.body import Listed, listed
from pinnace_server.service.fleet import Seen
from pinnace_server.service.services import Services
from pinnace_server.service.telemetry import MINUTES_MAX

router = APIRouter(tags=["fleet"])
_ALIVE = (DeviceState.PENDING, DeviceState.ACTIVE, DeviceState.QUARANTINED)


@router.get("/devices", responses=errors(400, 401, 404, 422, 503), summary="List devices")
def devices(
    served: Served,
    _: Actor,
    page: Paged,
    text: Annotated[str, Query(description="Part of id, name or serial number.", max_length=200)] = "",
    status: Annotated[Status | None, Query(description="Only devices that are so now.")] = None,
    state: Annotated[
        list[DeviceState] | None, Query(description="All but decommissioned ones if left out.", max_length=4)
    ] = None,
    model: ModelFilter = None,
    version: Annotated[str | None, Query(description="Only devices that serve this version.", max_length=64)] = None,
    selector_text: Annotated[
        str, Query(alias="selector", description="`key=value, key in (a, b), has key`.", max_length=4096)
    ] = "",
    order: Annotated[DeviceOrder, Query(description="What to sort by.")] = DeviceOrder.NAME,
    descending: Annotated[bool, Query(description="Turn the order round.")] = False,
) -> Listed[bodies.Device]:
    """Return devices with their models."""
    query = DeviceQuery(
        now_s=served.fleet.now(),
        text=text,
        status=status,
        states=tuple(state) if state else _ALIVE,
        model=model_name(model) if model else None,
        version=VersionName(version) if version else None,
        selector=selector.parse(selector_text),
        order=order,
        descending=descending,
        page=page,
    )
    found = served.fleet.listing(query)
    versions = _versions(served, found.rows)
    return listed([bodies.Device.of(seen, versions, query.now_s) for seen in found.rows], found.total, page)


@router.get("/devices/{device}", responses=errors(401, 404, 422, 503), summary="Show a device")
def device(served: Served, _: Actor, device: NamedDevice) -> bodies.DeviceDetail:
    """Return one device with everything that is known of it, and how old that is."""
    full = served.fleet.device(device)
    return bodies.DeviceDetail.of_full(full, _versions(served, [full.seen]))


@router.patch("/devices/{device}", responses=errors(400, 401, 404, 422, 503), summary="Name or label a device")
def change_device(
    served: Served, actor: Actor, device: NamedDevice, change: bodies.DeviceChange
) -> bodies.DeviceDetail:
    """Set a device's name and labels."""
    if change.labels:
        served.fleet.label(device, change.labels, actor)
    if change.name is not None:
        served.fleet.rename(device, change.name)
    full = served.fleet.device(device)
    return bodies.DeviceDetail.of_full(full, _versions(served, [full.seen]))


@router.post(
    "/devices/{device}/readmit", responses=errors(401, 404, 409, 422, 503), summary="End a device's quarantine"
)
def readmit(served: Served, actor: Actor, device: NamedDevice, choice: bodies.Readmission) -> bodies.DeviceDetail:
    """Decide which of two stores is the device; it gets assignments again."""
    served.fleet.readmit(device, IncarnationId(choice.incarnation) if choice.incarnation else None, actor)
    full = served.fleet.device(device)
    return bodies.DeviceDetail.of_full(full, _versions(served, [full.seen]))


@router.post(
    "/devices/{device}/decommission", responses=errors(401, 404, 422, 503), summary="Take a device out for good"
)
def decommission(served: Served, actor: Actor, device: NamedDevice) -> bodies.DeviceDetail:
    """Nothing it says counts from now on, and it gets nothing more. Its history stays."""
    served.fleet.decommission(device, actor)
    full = served.fleet.device(device)
    return bodies.DeviceDetail.of_full(full, _versions(served, [full.seen]))


@router.post(
    "/devices/{device}/models/{model}/revert",
    status_code=201,
    responses=errors(401, 404, 409, 422, 503),
    summary="Move one device back",
)
def revert(
    served: Served, actor: Actor, device: NamedDevice, model: NamedModel, why: rollout_bodies.Reason
) -> rollout_bodies.Rollout:
    """Move a device to the release that it served before. The answer is the rollout that does it."""
    made = served.rollouts.revert(device=device, model=model, reason=why.reason, actor=actor)
    return rollout_bodies.Rollout.of(made, dict(served.rollouts.counts([made.id]).get(made.id, {})))


@router.get(
    "/devices/{device}/latency", responses=errors(400, 401, 404, 422, 503), summary="Show a device's latency by minute"
)
def latency(
    served: Served,
    _: Actor,
    device: NamedDevice,
    model: ModelFilter = None,
    minutes: Annotated[int, Query(ge=1, le=MINUTES_MAX, description="How far back to look.")] = 60,
) -> bodies.Series:
    """Return what a device counted in the last minutes, from its reports."""
    points = served.telemetry.points(device, model_name(model) if model else None, minutes)
    return bodies.Series(points=[bodies.Point.of(point) for point in points])


@router.get("/report-ranges", responses=errors(401, 404, 422, 503), summary="List which reports were received")
def report_ranges(served: Served, _: Actor, page: Paged, device: DeviceFilter = None) -> Listed[bodies.ReportRange]:
    """Return which report numbers of each run of each agent are accounted for, by device: what is not in, is not here
    yet."""
    found = served.telemetry.received(page, device_id(device) if device else None)
    return listed([bodies.ReportRange.of(received) for received in found.rows], found.total, page)


@router.get("/receipts", responses=errors(401, 404, 422, 503), summary="List receipts")
def receipts(
    served: Served,
    _: Actor,
    page: Paged,
    device: DeviceFilter = None,
    model: ModelFilter = None,
    version: VersionFilter = None,
    outcome: Annotated[Outcome | None, Query(description="Only this outcome.")] = None,
) -> Listed[bodies.Receipt]:
    """Return how assignments ended, the newest first."""
    query = ReceiptQuery(
        device=device_id(device) if device else None,
        model=model_name(model) if model else None,
        version=VersionName(version) if version else None,
        outcome=outcome,
        page=page,
    )
    found = served.fleet.receipts(query)
    return listed([bodies.Receipt.of(record) for record in found.rows], found.total, page)


@router.get("/receipts/{receipt}", responses=errors(401, 404, 422, 503), summary="Show a receipt")
def receipt(
    served: Served,
    _: Actor,
    receipt: Annotated[str, Path(description="A receipt's id.", pattern="^[0-9a-f]{64}$")],
) -> bodies.Receipt:
    """Return one receipt, with the log that a failed one carries."""
    with served.world.store.read() as tables:
        found = tables.receipts.get(ReceiptId(receipt))
    if found is None:
        raise NotFound("receipt", receipt)
    return bodies.Receipt.of(found)


@router.get("/claim-tokens", responses=errors(401, 422, 503), summary="List claim tokens")
def claim_tokens(served: Served, _: Actor, page: Paged) -> Listed[bodies.ClaimToken]:
    """Return claim tokens, the newest first, without their secrets."""
    found = served.enrolment.tokens(page)
    return listed([bodies.ClaimToken.of(claim) for claim in found.rows], found.total, page)


@router.post(
    "/claim-tokens", status_code=201, responses=errors(400, 401, 422, 503), summary="Make a claim token for devices"
)
def create_claim_token(served: Served, actor: Actor, new: bodies.NewClaimToken) -> bodies.MadeClaimToken:
    """Make a claim token. Its text is in this answer and nowhere else."""
    made = served.enrolment.create(
        uses=new.uses,
        life_s=new.life_s,
        note=new.note,
        serial_pattern=new.serial_pattern,
        labels=new.labels,
        actor=actor,
    )
    return bodies.MadeClaimToken(token=made.text, claim=bodies.ClaimToken.of(made.record))


@router.delete(
    "/claim-tokens/{token}",
    status_code=204,
    responses=errors(401, 404, 422, 503),
    summary="Revoke a claim token",
    response_description="The token is worthless now.",
)
def revoke_claim_token(
    served: Served, actor: Actor, token: Annotated[str, Path(description="The token's id.", max_length=64)]
) -> None:
    """Make a claim token worthless. Devices that used it stay."""
    served.enrolment.revoke(TokenId(token), actor)


@router.post("/enrol", responses=errors(400, 403, 409, 422, 503), summary="Enrol a device", tags=["devices only"])
def enrol(served: Served, request: bodies.EnrolBody) -> bodies.EnrolledBody:
    """Take a device in: what `pinnace-agent enroll` calls. Needs a claim token, not the admin token."""
    enrolled = served.enrolment.enrol(request.request())
    return bodies.EnrolledBody.model_validate(codec.plain(enrolled))


def _versions(served: Services, seen: Iterable[Seen]) -> dict[str, str]:
    releases = {one.release for each in seen for one in each.assignments if one.release is not None}
    found: dict[str, str] = {}
    with served.world.store.read() as tables:
        for release in releases:
            version = tables.versions.of_release(release)
            if version is not None:
                found[release] = version.version
    return found
