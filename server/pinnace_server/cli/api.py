"""The API as the verbs call it: one request, one answer, one error that says what to do. Standard library only."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pinnace_server import admin_token
from pinnace_server.settings import DATA_DIRECTORY, HOST, PORT

SERVER_SETTING: Final = "PINNACE_SERVER"
TOKEN_SETTING: Final = "PINNACE_TOKEN"  # noqa: S105 -- a setting's name
TIMEOUT_S: Final = 60.0
UPLOAD_TIMEOUT_S: Final = 600.0
PAGE: Final = 200
PIECE_BYTES: Final = 256 * 1024

Answer = dict[str, Any]


class CallFailed(Exception):
    """The server said no, or nothing. ``code`` is its own word, empty where there was none."""

    def __init__(self, message: str, *, hint: str = "", code: str = "", status: int = 0) -> None:
        self.message, self.hint, self.code, self.status = message, hint, code, status
        super().__init__(message)


class Api:
    """One server and the token for it."""

    def __init__(self, server: str, token: str) -> None:
        self.server = server.rstrip("/")
        self._token = token

    def get(self, path: str, **query: object) -> Answer:
        """Return what an address holds."""
        return self._call("GET", path, query=query)

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Answer:
        """Send a body and return the answer."""
        return self._call("POST", path, body=body)

    def put(self, path: str, body: Mapping[str, object]) -> Answer:
        """Send a body and return the answer."""
        return self._call("PUT", path, body=body)

    def patch(self, path: str, body: Mapping[str, object]) -> Answer:
        """Send a change and return the answer."""
        return self._call("PATCH", path, body=body)

    def delete(self, path: str, **query: object) -> Answer:
        """Remove something."""
        return self._call("DELETE", path, query=query)

    def all(self, path: str, **query: object) -> Iterator[Answer]:
        """Return every row of a list."""
        offset: int | None = 0
        while offset is not None:
            answer = self.get(path, **query, limit=PAGE, offset=offset)
            yield from answer["items"]
            offset = answer["next"]

    def upload(self, file: Path) -> str:
        """Send a file into quarantine and return its digest."""
        try:
            with file.open("rb") as content:
                headers = {"Content-Type": "application/octet-stream", "Content-Length": str(file.stat().st_size)}
                answer = self._send("POST", "/uploads", content, headers, UPLOAD_TIMEOUT_S)
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            raise CallFailed(f"{file}: {error.strerror}") from error
        return str(answer["digest"])

    def download(self, path: str, digest: str, file: Path) -> None:
        """Write what an address holds into a file, and make sure that it is what its digest says."""
        hasher = hashlib.sha256()
        try:
            with self._opened("GET", path, None, {}, UPLOAD_TIMEOUT_S) as answer, file.open("wb") as out:
                while piece := answer.read(PIECE_BYTES):
                    hasher.update(piece)
                    out.write(piece)
        except OSError as error:
            raise CallFailed(f"{file} could not be downloaded: {error}") from error
        if hasher.hexdigest() != digest:
            raise CallFailed(
                f"{file.name}: expected content with digest {digest[:12]}…, received another", hint="try again"
            )

    def _call(
        self, method: str, path: str, *, query: Mapping[str, object] | None = None, body: object = None
    ) -> Answer:
        given = {name: value for name, value in (query or {}).items() if value is not None and value != ""}
        if given:
            path = f"{path}?{urllib.parse.urlencode(given, doseq=True)}"
        data = json.dumps(body).encode() if body is not None or method in ("POST", "PUT", "PATCH") else None
        headers = {"Content-Type": "application/json"} if data is not None else {}
        return self._send(method, path, data, headers, TIMEOUT_S)

    def _send(self, method: str, path: str, data: Any, headers: dict[str, str], timeout_s: float) -> Answer:
        try:
            with self._opened(method, path, data, headers, timeout_s) as answer:
                text = answer.read()
        except OSError as error:
            raise self._silent(error) from error
        return json.loads(text) if text else {}

    def _opened(self, method: str, path: str, data: Any, headers: dict[str, str], timeout_s: float) -> Any:
        request = urllib.request.Request(  # noqa: S310 -- the scheme is checked where the server is read
            f"{self.server}/api/v1{path}",
            data=data,
            headers={**headers, "Authorization": f"Bearer {self._token}", "Accept": "application/json"},
            method=method,
        )
        try:
            return urllib.request.urlopen(request, timeout=timeout_s)  # noqa: S310
        except urllib.error.HTTPError as error:
            raise _said_no(error) from error
        except OSError as error:
            raise self._silent(error) from error

    def _silent(self, error: OSError) -> CallFailed:
        return CallFailed(
            f"no server answers at {self.server}: {getattr(error, 'reason', error)}",
            hint=f"start one with: pinnace serve; or name it with --server or {SERVER_SETTING}",
        )


def open_api(server: str | None, token: str | None) -> Api:
    """Return the API that arguments, settings or the data directory here name.

    Raises:
        CallFailed: no token is known, or the server is no address.
    """
    address = server or os.environ.get(SERVER_SETTING) or f"http://{HOST}:{PORT}"
    if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
        raise CallFailed(f"{address!r} is no server's address", hint="expected http://HOST:PORT")
    found = token or os.environ.get(TOKEN_SETTING) or admin_token.read(DATA_DIRECTORY)
    if not found:
        raise CallFailed(
            "no admin token is known",
            hint=f"give --token or {TOKEN_SETTING}, or work in the directory where {DATA_DIRECTORY} lies; "
            "the first start of the server prints the token",
        )
    return Api(address, found)


def quoted(part: str) -> str:
    """Return a part of an address."""
    return urllib.parse.quote(part, safe="@")


def _said_no(error: urllib.error.HTTPError) -> CallFailed:
    text = error.read(64 * 1024).decode(errors="replace")
    try:
        problem = json.loads(text)
        return CallFailed(
            str(problem["message"]), hint=str(problem.get("hint", "")), code=str(problem["code"]), status=error.code
        )
    except (ValueError, KeyError, TypeError):
        return CallFailed(f"the server answered {error.code}: {text[:200]}", status=error.code)
