"""Errors on their way out: one handler chooses the status, one body says what was wrong and what to do (RFC 9457)."""

from __future__ import annotations

import logging
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from pinnace_contract.errors import ContractError
from pinnace_server.errors import (
    Code,
    Conflict,
    NotFound,
    Refused,
    ServerError,
    SignatureInvalid,
    SigningRefused,
    TooLarge,
    Unauthorized,
    Unavailable,
)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 5

_log = logging.getLogger(__name__)

_FAMILIES: Final[tuple[tuple[type[ServerError], int], ...]] = (
    (NotFound, 404),
    (Conflict, 409),
    (TooLarge, 413),
    (Unauthorized, 401),
    (SignatureInvalid, 403),
    (SigningRefused, 409),
    (Unavailable, 503),
    (Refused, 400),
)
_CODES: Final = {Code.TOKEN_REFUSED: 403, Code.NO_ROOM: 507}

WORDS: Final = {
    400: "The request itself is wrong; the same request will fail again.",
    401: "No admin token, or not the right one.",
    403: "The claim token is not good.",
    404: "It names something that this server does not have.",
    409: "Right in itself, but not in the state that things are in.",
    413: "Over a limit that the message names.",
    422: "A parameter or the body is not in the declared form.",
    503: "Busy; try again after `Retry-After` seconds.",
    507: "The disk is full.",
}
_EXAMPLES: Final = {
    400: ("BAD_SELECTOR", "selector: expected a condition at character 1, found '=x'", "write key=value, …"),
    401: ("UNAUTHORIZED", "this needs the admin token", "send it as Authorization: Bearer TOKEN"),
    403: ("TOKEN_REFUSED", "the claim token has expired", "ask the operator for a new one: pinnace token create"),
    404: ("NOT_FOUND", "there is no device 'camera-7' on this server", ""),
    409: ("EXISTS", "version 2 of digits is there already, and a version never changes", "choose another version name"),
    413: ("TOO_LARGE", "an upload has at most 536870912 bytes here, this one has more", ""),
    422: ("INVALID", "query limit: Input should be less than or equal to 200", "see /docs for the declared form"),
    503: ("BUSY", "the database was busy for 30 s", "try again; nothing was changed"),
    507: ("NO_ROOM", "the disk is full: the upload was not kept", "make room and try again"),
}


class Problem(BaseModel):
    """What was wrong."""

    model_config = ConfigDict(frozen=True)

    code: str = Field(description="A stable word for programs.")
    message: str = Field(description="What was expected and what was found.")
    hint: str = Field(default="", description="What to do.")
    status: int = Field(description="The HTTP status again.")


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of a route's errors; 401 and 422 are every route's."""
    return {status: _documented(status) for status in sorted({*statuses})}


def install(app: FastAPI) -> None:
    """Let every error of the application leave as a problem."""
    app.add_exception_handler(ServerError, _server_error)
    app.add_exception_handler(ContractError, _contract_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)


def status_of(error: ServerError) -> int:
    """Return the HTTP status of an error."""
    if error.code in _CODES:
        return _CODES[error.code]
    return next((status for family, status in _FAMILIES if isinstance(error, family)), 500)


def answer(status: int, code: str, message: str, hint: str = "") -> JSONResponse:
    """Return a problem as a response."""
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = Problem(code=code, message=message, hint=hint, status=status).model_dump()
    return JSONResponse(body, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def _documented(status: int) -> dict[str, Any]:
    code, message, hint = _EXAMPLES[status]
    example = {"code": code, "message": message, "hint": hint, "status": status}
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": WORDS[status],
        "model": Problem,
        "content": {MEDIA_TYPE: {"schema": schema, "example": example}},
    }


async def _server_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServerError)
    status = status_of(error)
    if status >= 500:
        _log.error("%s", error)
    return answer(status, error.code, error.message, error.hint)


async def _contract_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ContractError)
    return answer(400, error.code, str(error))


async def _validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    wrong = [f"{' '.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()[:5]]
    return answer(422, Code.INVALID, "; ".join(wrong)[:1000], "see /docs for the declared form")


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    words = {404: (Code.NOT_FOUND, "there is no such address here"), 405: (Code.INVALID, "not with this method")}
    other = Code.TOO_LARGE if error.status_code == 413 else Code.INVALID
    code, message = words.get(error.status_code, (other, str(error.detail)))
    return answer(error.status_code, code, message, "see /docs for every address")


async def _bug(request: Request, error: Exception) -> JSONResponse:
    _log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
    return answer(500, Code.INTERNAL, "the server failed at this; its log says more")
