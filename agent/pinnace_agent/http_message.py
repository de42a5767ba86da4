"""HTTP/1.1 messages: a request's head out of bytes, an answer's head into bytes. No socket is known here.

Reading heads is httptools' part (llhttp is strict about what smuggling lives on); what is allowed in them is said here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import httptools

HEAD_BYTES_MAX: Final = 16 * 1024  # request line and headers; a bearer token and a few lines are under 1 KiB
HEADERS_MAX: Final = 64
LENGTH_DIGITS_MAX: Final = 19  # of a body's length; Python reads no number of some thousand digits, zeros or not

PHRASES: Final = {
    100: "Continue",
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    411: "Length Required",
    413: "Content Too Large",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

Part = bytes | memoryview


@dataclass(slots=True, kw_only=True)
class Head:
    """What came before the body. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    length: int
    keep_alive: bool
    loopback: bool
    route: object = None  # for the handler, which may note here what the path means; kept with the head


@dataclass(slots=True, kw_only=True)
class Response:
    """An answer: its parts leave one after the other, uncopied. ``descriptors`` travel with it over a Unix socket."""

    status: int = 200
    parts: tuple[Part, ...] = ()
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False
    descriptors: tuple[int, ...] = ()
    sent: Callable[[], None] | None = None


def refusal(status: int, message: str, *, retry_after_s: int | None = None, close: bool = False) -> Response:
    """Return a JSON error: what was expected, what was found and what to do."""
    headers = () if retry_after_s is None else (("Retry-After", str(retry_after_s)),)
    return Response(status=status, parts=(json.dumps({"error": message}).encode(),), headers=headers, close=close)


def not_allowed(*methods: str) -> Response:
    """Return a 405 that names what is allowed."""
    allowed = ", ".join(methods)
    found = refusal(405, f"this address takes {allowed}")
    found.headers = (("Allow", allowed),)
    return found


@dataclass(slots=True)
class _Reader:
    """What httptools calls back with."""

    target: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


def parse_head(data: bytes, *, loopback: bool) -> Head | Response:
    """Read a request's head; the answer to a head that cannot be read is a response."""
    reader = _Reader()
    parser = httptools.HttpRequestParser(reader)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # the rest of the head has been read; an offer to speak something else may be ignored
    except httptools.HttpParserError as error:
        return refusal(400, f"expected an HTTP/1.1 request: {error}")
    version = parser.get_http_version()
    if version not in ("1.0", "1.1"):
        return refusal(400, f"expected HTTP/1.1, found {version!r}")
    if not reader.target or len(reader.headers) > HEADERS_MAX:
        return refusal(431 if reader.target else 400, f"expected a request line and at most {HEADERS_MAX} headers")
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in reader.headers}
    if "transfer-encoding" in headers:
        return refusal(411, "chunked bodies are not taken here: send Content-Length")
    length = headers.get("content-length", "0").strip()
    if not is_length(length):
        return refusal(
            400, f"expected a Content-Length of at most {LENGTH_DIGITS_MAX} digits, found {len(length)} characters"
        )
    method = parser.get_method().decode("ascii")
    if method in ("POST", "PUT") and "content-length" not in headers:
        return refusal(411, f"{method} needs a Content-Length")
    return Head(
        method=method,
        path=reader.target.partition(b"?")[0].decode("latin-1"),
        headers=headers,
        length=int(length),
        keep_alive=version == "1.1" and "close" not in headers.get("connection", "").lower(),
        loopback=loopback,
    )


def is_length(text: str) -> bool:
    """Tell whether this is a number of bytes, in decimal digits."""
    return text.isdecimal() and len(text) <= LENGTH_DIGITS_MAX


def head_bytes(response: Response, *, keep_alive: bool) -> bytes:
    length = sum(map(len, response.parts))
    lines = [
        f"HTTP/1.1 {response.status} {PHRASES.get(response.status, 'Error')}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {length}",
        *(f"{name}: {value}" for name, value in response.headers),
    ]
    if not keep_alive:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
