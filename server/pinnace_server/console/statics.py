"""The console's own files, read once, under an address that names their content: they may be kept for ever."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

_DIRECTORY = Path(__file__).parent / "static"
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFile:
    """One file as it is sent."""

    plain: bytes
    packed: bytes
    media_type: str


class Statics:
    """Every static file, in memory. ``build`` changes when any of them does, so a page never mixes two versions."""

    def __init__(self, directory: Path = _DIRECTORY) -> None:
        found = sorted(path for path in directory.iterdir() if path.suffix in _TYPES)
        self._files = {
            path.name: StaticFile(
                plain=(data := path.read_bytes()),
                packed=gzip.compress(data, 9, mtime=0),
                media_type=_TYPES[path.suffix],
            )
            for path in found
        }
        content = hashlib.sha256()
        for name, file in self._files.items():
            content.update(name.encode() + b"\0" + hashlib.sha256(file.plain).digest())
        self.build = content.hexdigest()[:16]

    def address(self, name: str) -> str:
        """Return where a file is.

        Raises:
            KeyError: there is no such file; a template names it wrongly.
        """
        if name not in self._files:
            raise KeyError(name)
        return f"/static/{self.build}/{name}"

    def answer(self, request: Request) -> Response:
        """Serve ``/static/{build}/{name}``. An older build is gone: mixing modules of two builds would be worse."""
        file = self._files.get(request.path_params["name"])
        if file is None or request.path_params["build"] != self.build:
            return Response("not found", status_code=404, media_type="text/plain")
        headers = {"Cache-Control": _FOR_EVER, "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(file.packed, media_type=file.media_type, headers={**headers, "Content-Encoding": "gzip"})
        return Response(file.plain, media_type=file.media_type, headers=headers)
