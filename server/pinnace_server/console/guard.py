"""Who may see a page and who may post a form: the session's cookie, the form's token, and where the browser says it is.

Wraps handlers: ``seen`` for pages, ``posted`` for forms. A handler gets its session and never asks again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pinnace_server.console.sessions import Session, SessionStore, fits_session
from pinnace_server.console.stream import Changes

FORM_BYTES_MAX = 16 * 1024  # a selector and a token; nothing of the console posts more
FORM_FIELDS_MAX = 32
_COOKIE = "pinnace_session"
_FORM_TYPE = "application/x-www-form-urlencoded"

Form = dict[str, str]
Shows = Callable[[Request, Session], Response]
Posts = Callable[[Request, Session, Form], Response]


class SignedOut(Exception):
    """There is no session, or its time is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Finds the session of a request and refuses forged forms."""

    sessions: SessionStore
    changes: Changes
    clock: Callable[[], datetime]

    def session_of(self, request: Request) -> Session | None:
        """Return the session, or None when signed out. A refresh that nobody asked for is not use."""
        used = "x-live" not in request.headers and request.url.path != "/events"
        return self.sessions.find(request.cookies.get(cookie_name(request), ""), self.clock(), used=used)

    def need(self, request: Request) -> Session:
        """Return the session.

        Raises:
            SignedOut: there is none.
        """
        session = self.session_of(request)
        if session is None:
            raise SignedOut
        return session

    def seen(self, handler: Shows) -> Callable[[Request], Response]:
        """Return an endpoint, run in the thread pool, that shows a page to whoever is signed in."""

        def endpoint(request: Request) -> Response:
            # Before the services are asked: what changes meanwhile is told to the page as missed, rather than lost.
            request.state.changes_version = self.changes.version
            return handler(request, self.need(request))

        return endpoint

    def posted(self, handler: Posts) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint that takes a form of this console from whoever is signed in."""

        async def endpoint(request: Request) -> Response:
            refuse_other_sites(request)
            session = self.need(request)
            form = await read_form(request)
            if not fits_session(form.get("token", ""), session):
                raise HTTPException(403, "This form was made for another sign-in. Reload the page and send it again.")
            return await run_in_threadpool(handler, request, session, form)

        return endpoint


def cookie_name(request: Request) -> str:
    """Return the cookie's name; over HTTPS the prefix that browsers refuse to take from any other host or path."""
    return f"__Host-{_COOKIE}" if request.url.scheme == "https" else _COOKIE


def keep_session(response: Response, request: Request, session: Session) -> None:
    """Give the session's id to the browser. It ends with the browser, or when the server says so."""
    secure = request.url.scheme == "https"
    response.set_cookie(cookie_name(request), session.id, path="/", httponly=True, samesite="lax", secure=secure)


def drop_session(response: Response, request: Request) -> None:
    """Take the session's id from the browser."""
    response.delete_cookie(cookie_name(request), path="/", httponly=True, secure=request.url.scheme == "https")


def refuse_other_sites(request: Request) -> None:
    """Refuse a form that another site sent.

    Browsers send ``Sec-Fetch-Site`` only over HTTPS or to loopback, but ``Origin`` with every post. The first counts
    where it is: a proxy that gives this server another name makes the second look foreign.

    Raises:
        HTTPException: 403, saying so.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        ours = site in ("same-origin", "none")
    else:
        ours = origin is None or urlsplit(origin).netloc == request.headers.get("host", "")
    if not ours:
        raise HTTPException(403, "This form came from another site. Nothing was done.")


async def read_form(request: Request) -> Form:
    """Read an URL-encoded form of bounded size; of a field given twice the last counts.

    Raises:
        HTTPException: 413 or 415.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        raise HTTPException(415, f"Expected a form ({_FORM_TYPE}).")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > FORM_BYTES_MAX:
            raise HTTPException(413, f"The form is larger than {FORM_BYTES_MAX} bytes.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX))
    except ValueError as fault:
        raise HTTPException(400, "The form could not be read.") from fault


def local_path(wanted: str) -> str:
    """Return ``wanted`` when it is a path of this console, else the overview: an open redirect is a phisher's tool."""
    is_path = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if is_path and urlsplit(wanted).netloc == "" else "/"
