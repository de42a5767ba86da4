"""Assignments and rollouts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from pinnace_contract.ids import DeviceId
from pinnace_server.domain import selector
from pinnace_server.domain.queries import RolloutQuery
from pinnace_server.domain.records import MemberState, RolloutState
from pinnace_server.domain.records import Rollout as RolloutRecord
from pinnace_server.errors import Refused
from pinnace_server.http.guard import Actor, Served
from pinnace_server.http.problems import errors
from pinnace_server.http.routes.paging import ModelFilter, NamedRollout, Paged, device_id, model_name
from pinnace_server.http.schemas import rollouts as bodies
from pinnace_server.http.schemas.body import Listed, listed
from pinnace_server.service.services import Services

router = APIRouter(tags=["rollouts"])


@router.post(
    "/assignments",
    status_code=201,
    responses=errors(400, 401, 404, 409, 422, 503),
    summary="Assign a version to devices",
)
def assign(served: Served, actor: Actor, new: bodies.NewAssignment) -> bodies.Rollout:
    """Let the devices that a selector means now go to a version. The answer is the rollout that moves them."""
    made = served.rollouts.assign(
        model=model_name(new.model), version=new.version, selected=_selected(new), terms=new.terms(), actor=actor
    )
    return _body(served, made)


@router.post(
    "/assignments/match",
    responses=errors(400, 401, 404, 422, 503),
    summary="Show what an assignment would touch",
)
def match(served: Served, _: Actor, choice: bodies.Choice) -> bodies.Match:
    """Return the devices that an assignment would reach and those that it would leave out, without making it."""
    return bodies.Match.of(served.rollouts.match(model_name(choice.model), choice.version, _selected(choice)))


@router.get("/rollouts", responses=errors(401, 404, 422, 503), summary="List rollouts")
def rollouts(
    served: Served,
    _: Actor,
    page: Paged,
    model: ModelFilter = None,
    state: Annotated[RolloutState | None, Query(description="Only rollouts in this state.")] = None,
) -> Listed[bodies.Rollout]:
    """Return rollouts, the newest first."""
    query = RolloutQuery(model=model_name(model) if model else None, state=state, page=page)
    found = served.rollouts.listing(query)
    counts = served.rollouts.counts(rollout.id for rollout in found.rows)
    items = [bodies.Rollout.of(rollout, dict(counts.get(rollout.id, {}))) for rollout in found.rows]
    return listed(items, found.total, page)


@router.get("/rollouts/{rollout}", responses=errors(401, 404, 422, 503), summary="Show a rollout")
def rollout(served: Served, _: Actor, rollout: NamedRollout) -> bodies.RolloutDetail:
    """Return how a rollout stands, and what its devices wait on."""
    return bodies.RolloutDetail.of_progress(served.rollouts.progress(rollout))


@router.get("/rollouts/{rollout}/devices", responses=errors(401, 404, 422, 503), summary="Show a rollout's devices")
def rollout_devices(
    served: Served,
    _: Actor,
    rollout: NamedRollout,
    page: Paged,
    state: Annotated[MemberState | None, Query(description="Only devices in this state.")] = None,
) -> Listed[bodies.RolloutDevice]:
    """Return how far each device is, what it waits on, and why."""
    reports = served.rollouts.progress(rollout).report.devices
    chosen = [each for each in reports if state is None or each.state is state]
    shown = chosen[page.offset : page.offset + page.limit]
    return listed([bodies.RolloutDevice.of(each) for each in shown], len(chosen), page)


@router.post("/rollouts/{rollout}/cancel", responses=errors(401, 404, 409, 422, 503), summary="Cancel a rollout")
def cancel(served: Served, actor: Actor, rollout: NamedRollout, why: bodies.Reason) -> bodies.Rollout:
    """Stop where it is: nothing new starts, devices under way go back, those that committed stay."""
    return _body(served, served.rollouts.cancel(rollout, reason=why.reason, actor=actor))


@router.post(
    "/rollouts/{rollout}/rollback",
    status_code=201,
    responses=errors(401, 404, 409, 422, 503),
    summary="Move a rollout's devices back",
)
def roll_back(served: Served, actor: Actor, rollout: NamedRollout, why: bodies.Reason) -> bodies.Rollout:
    """Halt a rollout and move each of its devices to what it served before. The answer is the rollout that does it."""
    made = served.rollouts.roll_back(rollout, reason=why.reason or "rolled back by hand", actor=actor)
    return _body(served, made)


def _selected(choice: bodies.Choice) -> str:
    if not choice.devices:
        return choice.selector
    if choice.selector:
        raise Refused("either a selector or a list of devices, not both", hint="device in (a, b) is a selector too")
    devices: tuple[DeviceId, ...] = tuple(device_id(each) for each in choice.devices)
    return str(selector.of_devices(devices))


def _body(served: Services, rollout: RolloutRecord) -> bodies.Rollout:
    return bodies.Rollout.of(rollout, dict(served.rollouts.counts([rollout.id]).get(rollout.id, {})))
