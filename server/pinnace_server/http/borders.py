"""What is refused before a route sees it: bodies over their limit, and requests for another host.

A page in a browser on this machine can reach loopback under a name of its own (DNS rebinding); its requests carry that
name.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pinnace_server.errors import Code
from pinnace_server.http import problems

LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})


class HostBorder:
    """Lets through what is addressed to one of these names."""

    def __init__(self, app: ASGIApp, names: Collection[str] = LOOPBACK_NAMES) -> None:
        self._app = app
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _name(Headers(scope=scope).get("host", "")) in self._names:
            await self._app(scope, receive, send)
            return
        refusal = problems.answer(
            400, Code.INVALID, "this server does not go by that name", f"address it as {', '.join(sorted(self._names))}"
        )
        await refusal(scope, receive, send)


class BodyBorder:
    """Bounds every body but an upload's, which its route bounds itself."""

    def __init__(self, app: ASGIApp, size_bytes_max: int, uploads: str) -> None:
        self._app = app
        self._size_bytes_max = size_bytes_max
        self._uploads = uploads
        self._words = f"a body has at most {size_bytes_max} bytes here"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == self._uploads:
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isascii() or not declared.isdecimal() or int(declared) > self._size_bytes_max:
            await problems.answer(413, Code.TOO_LARGE, self._words)(scope, receive, send)
            return
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._size_bytes_max:
                raise HTTPException(413, self._words)  # the one kind that FastAPI lets through while it reads a body
            return message

        await self._app(scope, bounded, send)


def _name(host: str) -> str:
    name, bracket, rest = host.rpartition("]")
    if not bracket:
        name, rest = host.partition(":")[0], ""
    elif rest and not rest.startswith(":"):
        return ""
    return (name + bracket).lower()
