"""What a person does with a rollout under way: each step asks first, on a page of its own or in a dialog."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pinnace_server.console.desk import Desk
from pinnace_server.console.guard import Form
from pinnace_server.console.ports import Actions
from pinnace_server.console.screens.models import TYPED_FROM_DEVICES
from pinnace_server.console.sessions import Session
from pinnace_server.console.shown import Notice
from pinnace_server.console.shown_rollouts import RolloutDetail, WaveRow
from pinnace_server.errors import Refused, ServerError

REASON_CHARS_MAX: Final = 512  # as the API has it


class Reason(StrEnum):
    """Whether a step asks why."""

    NO = "no"
    MAY = "may"
    MUST = "must"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A step for one rollout at one moment: what it does in words, the button that does it, and the wave it is about.

    ``refused`` says why it does not apply, and is empty where it does.
    """

    text: str = ""
    button: str = ""
    wave: int | None = None
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do. ``act`` does it and returns what was done, for the reader."""

    name: str
    title: str
    asked: Callable[[RolloutDetail, str], Asked]
    act: Callable[[Actions, str, Form, str], str]
    reason: Reason = Reason.NO
    danger: bool = False


def routes(desk: Desk) -> list[Route]:
    """Return the two routes of each step."""
    return [route for step in STEPS for route in _routes(desk, step)]


def _routes(desk: Desk, step: Step) -> list[Route]:
    reads, guard = desk.services.rollouts, desk.guard

    def ask(request: Request, session: Session, problem: str = "", status: int = 200, reason: str = "") -> Response:
        rollout = reads.rollout(request.path_params["rollout"])
        return desk.pages.answer(
            request,
            session,
            "rollout_step.html",
            title=f"{step.title} {rollout.progress.model} {rollout.progress.version}",
            screen="rollouts",
            status=status,
            rollout=rollout.progress,
            step=step,
            asked=step.asked(rollout, session.actor),
            typed=_is_typed(step, rollout),
            reason=reason,
            problem=problem,
        )

    def do(request: Request, session: Session, form: Form) -> Response:
        rollout = reads.rollout(request.path_params["rollout"])
        reason, model = form.get("reason", "").strip()[:REASON_CHARS_MAX], rollout.progress.model
        if _is_typed(step, rollout) and form.get("typed", "").strip() != model:
            return ask(request, session, f"Type the name of the model, {model}, to confirm.", 422, reason)
        if step.reason is Reason.MUST and not reason:
            return ask(request, session, "Say why: the log keeps it.", 422)
        try:
            done = step.act(desk.services.actions, rollout.progress.rollout, {**form, "reason": reason}, session.actor)
        except ServerError as refusal:
            return ask(request, session, str(refusal), 409, reason)
        desk.sessions.leave(session.id, Notice(severity="ok", text=done))
        return RedirectResponse(f"/rollouts/{rollout.progress.rollout}", status_code=303)

    address, name = f"/rollouts/{{rollout}}/{step.name}", f"rollout_{step.name}"
    return [
        Route(address, guard.seen(ask), methods=["GET"], name=name),
        Route(address, guard.posted(do), methods=["POST"], name=f"{name}_post"),
    ]


def _is_typed(step: Step, rollout: RolloutDetail) -> bool:
    return step is CANCEL and rollout.progress.under_way > TYPED_FROM_DEVICES


# --- what each asks -----------------------------------------------------------------------------------------------


def _not_steerable(rollout: RolloutDetail) -> str:
    if not rollout.active:
        return f"This rollout is {rollout.progress.state} already."
    return "" if rollout.waves else "This is a plain assignment, which has no waves to steer."


def _asked_pause(rollout: RolloutDetail, _: str) -> Asked:
    refused = _not_steerable(rollout) or ("It is paused already." if rollout.pause else "")
    text = (
        "No wave begins and no device is assigned until somebody resumes it. Devices under way go on, and a release "
        "that gets worse is still moved back."
    )
    return Asked(text=text, button="Pause", refused=refused)


def _asked_resume(rollout: RolloutDetail, _: str) -> Asked:
    refused = _not_steerable(rollout) or ("" if rollout.pause else "It is not paused.")
    text = "It goes on where it was: devices of waves that began are assigned, and its gates may promote again."
    return Asked(text=text, button="Resume", refused=refused)


def _asked_approve(rollout: RolloutDetail, actor: str) -> Asked:
    wave = rollout.to_approve(actor)
    if wave is None:
        refused = _not_steerable(rollout) or "There is no wave that you could still agree to."
        return Asked(refused=refused)
    missing = wave.agreements - len(wave.agreed)
    others = "" if missing == 1 else f" {missing - 1} more must agree after you."
    waits = "" if _is_next(rollout, wave) else " It still waits for the waves before it."
    text = f"You agree that {wave.name} may begin, with {_devices(wave.devices)}.{others}{waits}"
    return Asked(text=text, button=f"Approve {wave.name}", wave=wave.number, refused="")


def _asked_promote(rollout: RolloutDetail, _: str) -> Asked:
    wave = rollout.to_promote
    if wave is None:
        paused = "It is paused; resume it first." if rollout.pause else ""
        return Asked(refused=_not_steerable(rollout) or paused or "No wave is being watched.")
    after = [each for each in rollout.waves if each.number > wave.number]
    then = f"{after[0].name} with {_devices(after[0].devices)} may begin" if after else "the rollout may finish"
    text = f"You decide for the gates that {wave.name} is good enough, so that {then}. The log keeps who, and why."
    return Asked(text=text, button=f"Promote {wave.name}", wave=wave.number)


def _asked_retry(rollout: RolloutDetail, _: str) -> Asked:
    refused = _not_steerable(rollout)
    if not refused and not rollout.again:
        refused = "The policy says that a release is not tried twice (terms.again)."
    if not refused and not rollout.to_retry:
        refused = "No device of it ended badly."
    devices = _devices(rollout.to_retry)
    text = f"{devices.capitalize()} on which the release ended badly will be assigned it again."
    return Asked(text=text, button=f"Retry {devices}", refused=refused)


def _asked_cancel(rollout: RolloutDetail, _: str) -> Asked:
    refused = "" if rollout.active else f"This rollout is {rollout.progress.state} already."
    one = rollout.progress
    text = (
        f"It ends where it is, for good. {_devices(one.committed).capitalize()} that committed stay on "
        f"{one.model} {one.version}; {one.under_way:,} under way go back; {one.waiting:,} that wait are never told. "
        "To move everything back, roll it back instead."
    )
    return Asked(text=text, button="Cancel the rollout", refused=refused)


def _is_next(rollout: RolloutDetail, wave: WaveRow) -> bool:
    return rollout.current is not None and rollout.current.number == wave.number


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count:,} devices"


# --- what each does -----------------------------------------------------------------------------------------------


def _pause(actions: Actions, rollout: str, form: Form, actor: str) -> str:
    actions.pause(rollout=rollout, reason=form["reason"], actor=actor)
    return "The rollout is paused. Devices under way go on."


def _resume(actions: Actions, rollout: str, form: Form, actor: str) -> str:
    actions.resume(rollout=rollout, reason=form["reason"], actor=actor)
    return "The rollout goes on."


def _approve(actions: Actions, rollout: str, form: Form, actor: str) -> str:
    wave = _wave(form)
    actions.approve(rollout=rollout, wave=wave, actor=actor)
    return f"You agreed that wave {wave} may begin."


def _promote(actions: Actions, rollout: str, form: Form, actor: str) -> str:
    wave = _wave(form)
    actions.promote(rollout=rollout, wave=wave, reason=form["reason"], actor=actor)
    return f"Wave {wave} is promoted by you, and not by its gates."


def _retry(actions: Actions, rollout: str, _: Form, actor: str) -> str:
    count = actions.retry(rollout=rollout, actor=actor)
    return f"{_devices(count)} will try again."


def _cancel(actions: Actions, rollout: str, form: Form, actor: str) -> str:
    actions.cancel(rollout=rollout, reason=form["reason"], actor=actor)
    return "The rollout is cancelled. What committed stays, what was under way goes back."


def _wave(form: Form) -> int:
    text = form.get("wave", "")
    if not (text.isascii() and text.isdecimal() and len(text) < 4):
        raise Refused(f"expected the number of a wave, found {text[:20]!r}")
    return int(text)


CANCEL: Final = Step(
    name="cancel", title="Cancel the rollout of", asked=_asked_cancel, act=_cancel, reason=Reason.MAY, danger=True
)
STEPS: Final = (
    Step(name="pause", title="Pause the rollout of", asked=_asked_pause, act=_pause, reason=Reason.MAY),
    Step(name="resume", title="Resume the rollout of", asked=_asked_resume, act=_resume, reason=Reason.MAY),
    Step(name="approve", title="Approve the rollout of", asked=_asked_approve, act=_approve),
    Step(name="promote", title="Promote by hand:", asked=_asked_promote, act=_promote, reason=Reason.MUST),
    Step(name="retry", title="Retry the rollout of", asked=_asked_retry, act=_retry),
    CANCEL,
)
