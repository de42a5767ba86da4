"""Withdrawing a version, and putting a device in the place of another."""

from __future__ import annotations

from fastapi import APIRouter

from pinnace_server.http.guard import Actor, Served
from pinnace_server.http.problems import errors
from pinnace_server.http.routes.catalogue import version_body
from pinnace_server.http.routes.paging import NamedDevice, NamedModel, VersionText, device_id
from pinnace_server.http.schemas import withdrawal as bodies

router = APIRouter()
_WITHDRAWAL = "/models/{model}/versions/{version}/withdrawal"


@router.post(
    f"{_WITHDRAWAL}/preview",
    responses=errors(400, 401, 404, 409, 422, 503),
    summary="Show what a withdrawal would do",
    tags=["catalogue"],
)
def preview(
    served: Served, _: Actor, model: NamedModel, version: VersionText, choice: bodies.WithdrawalChoice
) -> bodies.WithdrawalPreview:
    """Return who serves a version and who would have nothing else, without withdrawing it."""
    return bodies.WithdrawalPreview.of(
        served.withdrawing.preview(model, version, choice.wire(), security=choice.security)
    )


@router.post(
    _WITHDRAWAL, responses=errors(400, 401, 404, 409, 422, 503), summary="Withdraw a version", tags=["catalogue"]
)
def withdraw(
    served: Served, actor: Actor, model: NamedModel, version: VersionText, new: bodies.NewWithdrawal
) -> bodies.Withdrawn:
    """Let no device start a version again; with `stop` it is unloaded now. Doing it again changes nothing, and a
    `stop` is not taken back. Where devices would go dark the error says how many, and asks for `confirm_dark`."""
    done = served.withdrawing.withdraw(
        model=model,
        version=version,
        mode=new.wire(),
        reason=new.reason,
        security=new.security,
        confirm_dark=new.confirm_dark,
        actor=actor,
    )
    return bodies.Withdrawn(
        version=version_body(done.version, served.catalogue.model(model)),
        did=bodies.WithdrawalPreview.of(done.preview),
        rollbacks=[str(each) for each in done.rollbacks],
    )


@router.post(
    "/devices/{device}/replace",
    responses=errors(400, 401, 404, 409, 422, 503),
    summary="Put a device in the place of another",
    tags=["fleet"],
)
def replace(served: Served, actor: Actor, device: NamedDevice, choice: bodies.Replacement) -> bodies.Replaced:
    """Give another device this one's name, labels and models, and take this one out for good. Both histories stay."""
    done = served.replacing.replace(device, device_id(choice.by), reason=choice.reason, actor=actor)
    return bodies.Replaced(
        device=done.device.id,
        rollouts=[str(each.id) for each in done.rollouts],
        left_out={str(model): why for model, why in done.left_out.items()},
    )
