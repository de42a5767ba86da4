"""Beginning a rollout in waves: a policy as text, what it would do, and only then the button that begins it."""

from __future__ import annotations

import hashlib
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pinnace_server.console.desk import Desk
from pinnace_server.console.guard import Form
from pinnace_server.console.query import TEXT_CHARS_MAX
from pinnace_server.console.screens.models import TYPED_FROM_DEVICES
from pinnace_server.console.screens.rollout_steps import REASON_CHARS_MAX
from pinnace_server.console.sessions import Session
from pinnace_server.console.shown import Notice
from pinnace_server.console.shown_rollouts import RolloutPreview
from pinnace_server.errors import ServerError

CHOICES_MAX: Final = 100  # models and versions offered; others begin with the command line
POLICY_CHARS_MAX: Final = 8_000  # fits the largest form; longer ones begin with the command line
EXAMPLE: Final = """\
# Who moves: labels, as site in (lyon, paris);
# '' is every device.
cohort: ''

# Each wave begins when the gates of the one
# before say that the release is no worse.
strategy: canary
waves: [5%, 25%, rest]

# The control group stays on the old release
# until the end, and moves last.
holdback: 5%

gates:
  # A wave is watched four hours at the least;
  soak_s: 14400
  # a day later, if that was not enough:
  # pause, ask or roll_back.
  on_hold_timeout: pause
  hold_timeout_s: 86400

# Somebody agrees before the last wave begins.
approvals:
- before: last
"""


def routes(desk: Desk) -> list[Route]:
    """Return the routes that begin a rollout."""
    reads, catalogue, guard = desk.services.rollouts, desk.services.catalogue, desk.guard

    def page(
        request: Request,
        session: Session,
        form: Form,
        *,
        preview: RolloutPreview | None = None,
        problem: str = "",
        status: int = 200,
    ) -> Response:
        models = catalogue.models(1, CHOICES_MAX).rows
        model = form.get("model", "") or (models[0].name if models else "")
        versions = catalogue.model(model, 1, CHOICES_MAX).versions if model else ()
        return desk.pages.answer(
            request,
            session,
            "rollout_begin.html",
            title="New rollout",
            screen="rollouts",
            status=status,
            models=models,
            model=model,
            versions=[version for version in versions if not version.withdrawn],
            version=form.get("version", ""),
            policy=_policy(form),
            policy_chars_max=POLICY_CHARS_MAX,
            reason=form.get("reason", ""),
            preview=preview,
            seen=_seen(form, preview) if preview is not None else "",
            typed=preview is not None and _is_typed(preview),
            problem=problem,
        )

    def ask(request: Request, session: Session) -> Response:
        given = {name: request.query_params.get(name, "")[:TEXT_CHARS_MAX] for name in ("model", "version")}
        return page(request, session, given)

    def preview(request: Request, session: Session, form: Form) -> Response:
        try:
            found = _previewed(form)
        except ServerError as refusal:
            return page(request, session, form, problem=str(refusal), status=422)
        return page(request, session, form, preview=found)

    def begin(request: Request, session: Session, form: Form) -> Response:
        model, version = form.get("model", ""), form.get("version", "")
        try:
            found = _previewed(form)
            problem = _unlike(form, found)
            if problem:
                return page(request, session, form, preview=found, problem=problem, status=409)
            if _is_typed(found) and form.get("typed", "").strip() != model:
                problem = f"Type the name of the model, {model}, to confirm."
                return page(request, session, form, preview=found, problem=problem, status=422)
            made = desk.services.actions.begin(
                model=model,
                version=version,
                policy=_policy(form),
                reason=form.get("reason", "").strip()[:REASON_CHARS_MAX],
                actor=session.actor,
            )
        except ServerError as refusal:
            return page(request, session, form, problem=str(refusal), status=409)
        text = f"The rollout of {model} {version} has begun. What its waves make of it shows below."
        desk.sessions.leave(session.id, Notice(severity="ok", text=text))
        return RedirectResponse(f"/rollouts/{made}", status_code=303)

    def _previewed(form: Form) -> RolloutPreview:
        return reads.preview(form.get("model", ""), form.get("version", ""), _policy(form))

    return [
        Route("/rollouts/new", guard.seen(ask), methods=["GET"], name="rollout_begin"),
        Route("/rollouts/new", guard.posted(begin), methods=["POST"], name="rollout_begin_post"),
        Route("/rollouts/preview", guard.posted(preview), methods=["POST"], name="rollout_preview_post"),
    ]


def _policy(form: Form) -> str:
    """Return the policy as it was typed; browsers send line ends of their own."""
    return form.get("policy", EXAMPLE).replace("\r\n", "\n")


def _seen(form: Form, preview: RolloutPreview) -> str:
    """Return what tells one preview from another: what was asked, and how many devices it found."""
    parts = (
        form.get("model", ""),
        form.get("version", ""),
        _policy(form),
        *(str(wave.devices) for wave in preview.waves),
    )
    return hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()


def _unlike(form: Form, preview: RolloutPreview) -> str:
    """Return why what was previewed is not what would begin; empty: it is."""
    if not form.get("seen"):
        return "Look at the preview first, then begin."
    if form["seen"] != _seen(form, preview):
        return "This is not what you previewed: the policy, the version or the devices changed. Look again, then begin."
    return ""


def _is_typed(preview: RolloutPreview) -> bool:
    """Tell whether the first wave alone moves more devices than one click should."""
    return bool(preview.waves) and preview.waves[0].devices > TYPED_FROM_DEVICES
