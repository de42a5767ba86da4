"""Models, the versions of one, one version with its variants, and assigning it to a cohort."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pinnace_server.console import comparison
from pinnace_server.console.desk import Desk
from pinnace_server.console.guard import Form
from pinnace_server.console.query import TEXT_CHARS_MAX, PlainQuery
from pinnace_server.console.sessions import Session
from pinnace_server.console.shown import Notice
from pinnace_server.errors import ServerError

TYPED_FROM_DEVICES = 100  # beyond, the model's name is typed: one click must not move a whole fleet


def routes(desk: Desk) -> list[Route]:
    """Return the routes under /models."""
    reads, guard = desk.services.catalogue, desk.guard

    def show_list(request: Request, session: Session) -> Response:
        query = PlainQuery.parse(request.query_params)
        models = reads.models(query.page, query.size)
        return desk.pages.answer(
            request,
            session,
            "models.html",
            title="Models",
            screen="models",
            query=query,
            models=models,
        )

    def show_model(request: Request, session: Session) -> Response:
        query = PlainQuery.parse(request.query_params)
        model = reads.model(request.path_params["model"], query.page, query.size)
        return desk.pages.answer(
            request,
            session,
            "model.html",
            title=model.name,
            screen="models",
            query=query,
            model=model,
            plots=comparison.version_plots(model.versions),
        )

    def show_version(request: Request, session: Session) -> Response:
        version = reads.version(request.path_params["model"], request.path_params["version"])
        return desk.pages.answer(
            request,
            session,
            "version.html",
            title=f"{version.model} {version.version}",
            screen="models",
            version=version,
            table=comparison.variants(version),
        )

    def ask(request: Request, session: Session, selector: str, problem: str = "", status: int = 200) -> Response:
        version = reads.version(request.path_params["model"], request.path_params["version"])
        match = None
        try:
            match = reads.match(version.model, version.version, selector)
        except ServerError as refusal:
            problem, status = str(refusal), 422
        return desk.pages.answer(
            request,
            session,
            "assign.html",
            title=f"Assign {version.model} {version.version}",
            screen="models",
            status=status,
            version=version,
            selector=selector,
            match=match,
            typed=match is not None and match.devices > TYPED_FROM_DEVICES,
            problem=problem,
        )

    def ask_assign(request: Request, session: Session) -> Response:
        return ask(request, session, request.query_params.get("selector", "").strip()[:TEXT_CHARS_MAX])

    def assign(request: Request, session: Session, form: Form) -> Response:
        model, version = request.path_params["model"], request.path_params["version"]
        selector = form.get("selector", "").strip()[:TEXT_CHARS_MAX]
        try:
            match = reads.match(model, version, selector)
            if match.devices > TYPED_FROM_DEVICES and form.get("typed", "").strip() != model:
                return ask(request, session, selector, f"Type the name of the model, {model}, to confirm.", 422)
            if str(match.devices) != form.get("counted", ""):
                problem = f"The selection is now {match.devices} devices. Check it, then assign."
                return ask(request, session, selector, problem, 409)
            count = desk.services.actions.assign(model=model, version=version, selector=selector, actor=session.actor)
        except ServerError as refusal:
            return ask(request, session, selector, str(refusal), 409)
        devices = "1 device" if count == 1 else f"{count:,} devices"
        text = f"{model} {version} is assigned to {devices}. What they make of it shows below."
        desk.sessions.leave(session.id, Notice(severity="ok", text=text))
        return RedirectResponse(f"/models/{model}/{version}", status_code=303)

    return [
        Route("/models", guard.seen(show_list), methods=["GET"], name="models"),
        Route("/models/{model}", guard.seen(show_model), methods=["GET"], name="model"),
        Route("/models/{model}/{version}", guard.seen(show_version), methods=["GET"], name="version"),
        Route("/models/{model}/{version}/assign", guard.seen(ask_assign), methods=["GET"], name="version_assign"),
        Route("/models/{model}/{version}/assign", guard.posted(assign), methods=["POST"], name="version_assign_post"),
    ]
