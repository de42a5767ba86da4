"""Makes an answer of a template: a whole page, or with ``X-Partial: 1`` its content alone; in the reader's theme."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import Response

from pinnace_server.console import svg, times, words
from pinnace_server.console.sessions import Session, SessionStore, form_token
from pinnace_server.console.statics import Statics

_TEMPLATES = Path(__file__).parent / "templates"
_PACK_FROM_BYTES = 1024
_PACK_LEVEL = 4  # a page of 40 kB in well under a millisecond
_THEMES = ("light", "dark")


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """An entry of the navigation. Only screens that exist are listed."""

    name: str
    word: str
    address: str


SCREENS = (
    Screen(name="overview", word="Overview", address="/"),
    Screen(name="devices", word="Devices", address="/devices"),
    Screen(name="models", word="Models", address="/models"),
    Screen(name="rollouts", word="Rollouts", address="/rollouts"),
    Screen(name="log", word="Events", address="/log"),
)


def is_partial(request: Request) -> bool:
    """Whether the page's script asks for the content alone."""
    return request.headers.get("x-partial") == "1"


@functools.cache
def _environment() -> jinja2.Environment:
    """Return the templates, compiled once a process."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        size=words.size,
        number=words.number,
        brief=words.brief,
        decimal=words.decimal,
        length_of_time=words.length_of_time,
        query=_query,
    )
    return environment


class Pages:
    """The templates and what all of them may use."""

    def __init__(self, statics: Statics, sessions: SessionStore, clock: Callable[[], datetime], version: str) -> None:
        self._sessions = sessions
        self._clock = clock
        self._shared: dict[str, object] = {
            "screens": SCREENS,
            "static": statics.address,
            "build": statics.build,
            "words": words,
            "svg": svg,
            "times": times,
            "product_version": version,
        }

    def answer(
        self,
        request: Request,
        session: Session | None,
        template: str,
        *,
        title: str,
        screen: str = "",
        status: int = 200,
        **values: object,
    ) -> Response:
        """Render a template. ``screen`` is the entry of the navigation that the page belongs to."""
        theme = request.cookies.get("pinnace_theme", "")
        # A refresh that nobody asked for must not swallow a word meant for the reader.
        unasked = "x-live" in request.headers
        text = (
            _environment()
            .get_template(template)
            .render(
                self._shared,
                layout="partial.html" if is_partial(request) else "base.html",
                partial=is_partial(request),
                title=title,
                screen=screen,
                session=session,
                token=form_token(session) if session else "",
                notices=self._sessions.take(session.id) if session and not unasked else (),
                now=self._clock(),
                changes_version=getattr(request.state, "changes_version", 0),
                path=request.url.path,
                origin=str(request.base_url).rstrip("/"),
                theme=theme if theme in _THEMES else "",
                request_id=getattr(request.state, "request_id", ""),
                **values,
            )
        )
        return _packed(request, text, status)


def _packed(request: Request, text: str, status: int) -> Response:
    body, headers = text.encode(), {"Vary": "Accept-Encoding, X-Partial, Cookie"}
    if len(body) >= _PACK_FROM_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, _PACK_LEVEL, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(body, status_code=status, media_type="text/html", headers=headers)


def _query(path: str, **parameters: str) -> str:
    """Join a path and the parameters that say something."""
    said = {name: value for name, value in parameters.items() if value}
    return f"{path}?{urlencode(said)}" if said else path
