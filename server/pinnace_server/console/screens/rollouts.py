"""The rollouts and one of them, and moving its devices back."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pinnace_server.console.desk import Desk
from pinnace_server.console.guard import Form
from pinnace_server.console.query import RolloutQuery
from pinnace_server.console.screens.models import TYPED_FROM_DEVICES
from pinnace_server.console.sessions import Session
from pinnace_server.console.shown import Notice, Progress
from pinnace_server.domain.records import RolloutState
from pinnace_server.errors import ServerError


def routes(desk: Desk) -> list[Route]:
    """Return the routes under /rollouts that show, and the one that moves back."""
    reads, guard = desk.services.rollouts, desk.guard

    def show_list(request: Request, session: Session) -> Response:
        query = RolloutQuery.parse(request.query_params)
        return desk.pages.answer(
            request,
            session,
            "rollouts.html",
            title="Rollouts",
            screen="rollouts",
            query=query,
            rollouts=reads.rollouts(query),
            states=tuple(RolloutState),
        )

    def show_one(request: Request, session: Session) -> Response:
        rollout = reads.rollout(request.path_params["rollout"])
        one = rollout.progress
        return desk.pages.answer(
            request,
            session,
            "rollout.html",
            title=f"Rollout of {one.model} {one.version}".rstrip(),
            screen="rollouts",
            rollout=rollout,
            one=one,
            approves=rollout.to_approve(session.actor),
        )

    def ask(request: Request, session: Session, problem: str = "", status: int = 200) -> Response:
        rollout = reads.rollout(request.path_params["rollout"]).progress
        return desk.pages.answer(
            request,
            session,
            "roll_back.html",
            title=f"Roll back {rollout.model} {rollout.version}",
            screen="rollouts",
            status=status,
            rollout=rollout,
            typed=_many(rollout),
            problem=problem,
        )

    def roll_back(request: Request, session: Session, form: Form) -> Response:
        rollout = reads.rollout(request.path_params["rollout"]).progress
        if _many(rollout) and form.get("typed", "").strip() != rollout.model:
            return ask(request, session, f"Type the name of the model, {rollout.model}, to confirm.", 422)
        try:
            count = desk.services.actions.roll_back(rollout=rollout.rollout, actor=session.actor)
        except ServerError as refusal:
            return ask(request, session, str(refusal), 409)
        devices = "1 device goes" if count == 1 else f"{count:,} devices go"
        text = f"The rollout of {rollout.model} {rollout.version} is halted; {devices} back."
        desk.sessions.leave(session.id, Notice(severity="ok", text=text))
        return RedirectResponse(f"/rollouts/{rollout.rollout}", status_code=303)

    return [
        Route("/rollouts", guard.seen(show_list), methods=["GET"], name="rollouts"),
        Route("/rollouts/{rollout}", guard.seen(show_one), methods=["GET"], name="rollout"),
        Route("/rollouts/{rollout}/rollback", guard.seen(ask), methods=["GET"], name="roll_back"),
        Route("/rollouts/{rollout}/rollback", guard.posted(roll_back), methods=["POST"], name="roll_back_post"),
    ]


def _many(rollout: Progress) -> bool:
    return rollout.committed + rollout.under_way > TYPED_FROM_DEVICES
