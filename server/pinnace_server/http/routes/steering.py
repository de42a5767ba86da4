"""Rollouts in waves: beginning and steering them, and asking why."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from pinnace_server.domain.records import Rollout as RolloutRecord
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.domain.rollout_policy.policy import Cohort
from pinnace_server.domain.selector import Selector
from pinnace_server.http.guard import Actor, Served
from pinnace_server.http.problems import errors
from pinnace_server.http.routes.paging import NamedDevice, NamedRollout, device_id, model_name
from pinnace_server.http.schemas import rollouts as rollout_bodies
from pinnace_server.http.schemas import steering as bodies
from pinnace_server.http.schemas.rollouts import Reason
from pinnace_server.service.services import Services

router = APIRouter(tags=["rollouts"])


@router.post(
    "/rollouts", status_code=201, responses=errors(400, 401, 404, 409, 422, 503), summary="Begin a rollout in waves"
)
def begin(served: Served, actor: Actor, new: bodies.NewRollout) -> rollout_bodies.Rollout:
    """Deal the policy's cohort into waves and begin. The first wave starts at once, or when whoever must agreed."""
    made = served.steering.begin(
        model=model_name(new.model),
        version=new.version,
        policy=reading.read(new.policy),
        reason=new.reason,
        actor=actor,
        people=served.door.people,
    )
    return _body(served, made)


@router.post(
    "/rollouts/preview",
    responses=errors(400, 401, 404, 409, 422, 503),
    summary="Show what a rollout would do",
)
def preview(served: Served, _: Actor, choice: bodies.PolicyChoice) -> bodies.RolloutPreview:
    """Return who would move in which wave and what the first wave could notice, without beginning anything."""
    seen = served.steering.preview(
        model=model_name(choice.model),
        version=choice.version,
        policy=reading.read(choice.policy),
        people=served.door.people,
    )
    return bodies.RolloutPreview.of(seen)


@router.post("/rollouts/{rollout}/pause", responses=errors(401, 404, 409, 422, 503), summary="Pause a rollout")
def pause(served: Served, actor: Actor, rollout: NamedRollout, why: Reason) -> rollout_bodies.Rollout:
    """Begin nothing new. Devices under way go on, and what is worse is still moved back."""
    return _body(served, served.steering.pause(rollout, reason=why.reason, actor=actor))


@router.post("/rollouts/{rollout}/resume", responses=errors(401, 404, 409, 422, 503), summary="Resume a rollout")
def resume(served: Served, actor: Actor, rollout: NamedRollout, why: Reason) -> rollout_bodies.Rollout:
    """Go on after a pause."""
    return _body(served, served.steering.resume(rollout, reason=why.reason, actor=actor))


@router.post("/rollouts/{rollout}/approve", responses=errors(401, 404, 409, 422, 503), summary="Agree to a wave")
def approve(served: Served, actor: Actor, rollout: NamedRollout, choice: bodies.Approval) -> rollout_bodies.Rollout:
    """Agree that a wave may begin. A wave begins when as many people agreed as the policy asks for."""
    return _body(served, served.steering.approve(rollout, choice.wave, actor=actor))


@router.post(
    "/rollouts/{rollout}/promote", responses=errors(400, 401, 404, 409, 422, 503), summary="Promote a wave by hand"
)
def promote(served: Served, actor: Actor, rollout: NamedRollout, choice: bodies.Promotion) -> rollout_bodies.Rollout:
    """Decide for the gates of the current wave that the next one may begin. The log keeps who, and why."""
    return _body(served, served.steering.promote(rollout, choice.wave, reason=choice.reason, actor=actor))


@router.post("/rollouts/{rollout}/retry", responses=errors(401, 404, 409, 422, 503), summary="Retry failed devices")
def retry(served: Served, actor: Actor, rollout: NamedRollout, choice: bodies.Retry) -> bodies.Retried:
    """Let devices on which the release ended badly try it again, under a higher attempt."""
    devices = tuple(device_id(each) for each in choice.devices)
    return bodies.Retried(devices=served.steering.retry(rollout, devices, actor=actor))


@router.post(
    "/rollouts/{rollout}/cohort", responses=errors(400, 401, 404, 409, 422, 503), summary="Widen or narrow a rollout"
)
def change_cohort(
    served: Served, actor: Actor, rollout: NamedRollout, choice: bodies.CohortChange
) -> bodies.CohortChanged:
    """Let a rollout mean other devices from now on: new ones join its waves, and those that still wait are let go."""
    joined, gone = served.steering.change_cohort(rollout, _cohort(choice), actor=actor)
    return bodies.CohortChanged(joined=joined, let_go=gone)


@router.get("/rollouts/{rollout}/why", responses=errors(401, 404, 422, 503), summary="Say why a rollout stands there")
def why_rollout(served: Served, _: Actor, rollout: NamedRollout) -> bodies.Why:
    """Return what a rollout waits on, in words, and the next thing that would change it."""
    return bodies.Why.of(served.whys.of_rollout(rollout))


@router.get(
    "/devices/{device}/why",
    responses=errors(401, 404, 422, 503),
    summary="Say why a device is where it is",
    tags=["devices"],
)
def why_device(served: Served, _: Actor, device: NamedDevice) -> bodies.WhyDevice:
    """Return what a device waits on, in words, and the next thing that would change it."""
    answers = [bodies.Why.of(each) for each in served.whys.of_device(device)]
    return bodies.WhyDevice(device=device, answers=answers)


@router.get(
    "/events/{number}/verdict",
    responses=errors(401, 404, 422, 503),
    summary="Show what a ruling was made from",
    tags=["log"],
)
def verdict(
    served: Served, _: Actor, number: Annotated[int, Path(ge=1, description="The event's number.")]
) -> bodies.VerdictRecord:
    """Return the record of a gate's verdict: every count and setting. `pinnace audit verify` works it out again."""
    digest, text = served.audit.record(number)
    return bodies.VerdictRecord(event=number, digest=digest, record=text)


def _cohort(choice: bodies.CohortChange) -> Cohort | Selector:
    found = reading.read({"cohort": choice.cohort}).cohort
    return found.selector if isinstance(choice.cohort, str) else found


def _body(served: Services, rollout: RolloutRecord) -> rollout_bodies.Rollout:
    counts = dict(served.rollouts.counts([rollout.id]).get(rollout.id, {}))
    return rollout_bodies.Rollout.of(rollout, counts)
