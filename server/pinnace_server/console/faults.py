"""Plain pages for what went wrong: signed out, forbidden, not there, and our own fault. They need no script."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from pinnace_server.console.desk import Desk
from pinnace_server.console.guard import SignedOut
from pinnace_server.console.pages import is_partial
from pinnace_server.errors import NotFound, ServerError

_log = logging.getLogger(__name__)
Handler = Callable[[Request, Exception], Response | Awaitable[Response]]

_TITLES = {
    400: "That was not understood",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    413: "Too large",
    415: "Wrong kind of content",
    500: "The server made a mistake",
}


def handlers(desk: Desk) -> dict[int | type[Exception], Handler]:
    """Return what answers each kind of fault."""

    def page(request: Request, status: int, text: str) -> Response:
        session = desk.guard.session_of(request)
        title = _TITLES.get(status, "That did not work")
        return desk.pages.answer(request, session, "error.html", title=title, status=status, code=status, text=text)

    def signed_out(request: Request, _: Exception) -> Response:
        if is_partial(request):
            return PlainTextResponse("signed out", status_code=401)
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        # A form cannot be sent again after signing in: the page that held it is what to come back to.
        back = f"?next={quote(wanted, safe='')}" if request.method == "GET" and wanted != "/" else ""
        return RedirectResponse(f"/login{back}", status_code=303)

    def not_there(request: Request, fault: Exception) -> Response:
        return page(request, 404, f"Sorry, {fault}. It may have been removed, or the address is mistyped.")

    def not_done(request: Request, fault: Exception) -> Response:
        return page(request, 409, f"Nothing was done: {fault}.")

    def refused(request: Request, fault: Exception) -> Response:
        assert isinstance(fault, HTTPException)
        text = "There is no page at this address." if fault.status_code == 404 else fault.detail
        return page(request, fault.status_code, text)

    def ours(request: Request, fault: Exception) -> Response:
        _log.error("a page failed", exc_info=fault, extra={"path": request.url.path})
        return page(request, 500, "The server's log has the details. What runs on the devices is not affected.")

    return {SignedOut: signed_out, NotFound: not_there, ServerError: not_done, HTTPException: refused, Exception: ours}
