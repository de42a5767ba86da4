"""Signing in with the admin token, and out."""

from __future__ import annotations

import threading
from collections import deque
from datetime import datetime, timedelta

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pinnace_server.console.desk import Desk
from pinnace_server.console.guard import (
    Form,
    cookie_name,
    drop_session,
    keep_session,
    local_path,
    read_form,
    refuse_other_sites,
)
from pinnace_server.console.sessions import Session

FAILURES_MAX = 10  # a minute, over all clients: the token cannot be guessed, but a log can be filled
_WINDOW = timedelta(minutes=1)
TOKEN_CHARS_MAX = 512


class Failures:
    """Counts failed sign-ins of the last minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: deque[datetime] = deque(maxlen=FAILURES_MAX)

    def too_many(self, now: datetime) -> bool:
        """Tell whether to refuse without looking."""
        with self._lock:
            return len(self._times) == FAILURES_MAX and now - self._times[0] < _WINDOW

    def add(self, now: datetime) -> None:
        """Count one."""
        with self._lock:
            self._times.append(now)


def routes(desk: Desk) -> list[Route]:
    """Return the routes of /login and /logout."""
    failures = Failures()

    def form_page(request: Request, wanted: str, *, problem: str = "", status: int = 200) -> Response:
        return desk.pages.answer(
            request, None, "login.html", title="Sign in", status=status, wanted=wanted, problem=problem
        )

    def show(request: Request) -> Response:
        wanted = local_path(request.query_params.get("next", "/"))
        if desk.guard.session_of(request):
            return RedirectResponse(wanted, status_code=303)
        return form_page(request, wanted)

    def sign_in(request: Request, form: Form) -> Response:
        wanted, now = local_path(form.get("next", "/")), desk.clock()
        token = form.get("admin_token", "").strip()[:TOKEN_CHARS_MAX]
        actor = desk.services.door.actor_of(token) if token else None
        # The right token is always let in: others' failures must not lock its owner out, and 256 bits are not guessed.
        if actor is None and failures.too_many(now):
            problem = "Too many failed sign-ins. Wait a minute, then try again."
            return form_page(request, wanted, problem=problem, status=429)
        if actor is None:
            failures.add(now)
            problem = "This is not the admin token of this server." if token else "Paste the admin token first."
            return form_page(request, wanted, problem=problem, status=403)
        # A fresh id at every sign-in: one that somebody planted before is worth nothing after.
        desk.sessions.close(request.cookies.get(cookie_name(request), ""))
        response = RedirectResponse(wanted, status_code=303)
        keep_session(response, request, desk.sessions.open(actor, now))
        return response

    async def post(request: Request) -> Response:
        refuse_other_sites(request)
        return await run_in_threadpool(sign_in, request, await read_form(request))

    def sign_out(request: Request, session: Session, form: Form) -> Response:  # noqa: ARG001 a form without fields
        desk.sessions.close(session.id)
        response = RedirectResponse("/login", status_code=303)
        drop_session(response, request)
        return response

    return [
        Route("/login", show, methods=["GET"], name="login"),
        Route("/login", post, methods=["POST"], name="login_post"),
        Route("/logout", desk.guard.posted(sign_out), methods=["POST"], name="logout"),
    ]
