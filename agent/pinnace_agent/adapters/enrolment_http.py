"""Enrolment: one HTTP request with the claim token, and the roots that it pins checked before anything is kept."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Final
from urllib.parse import urlsplit

from pinnace_agent.errors import NotYet, Refused
from pinnace_contract import codec
from pinnace_contract.errors import ContractError
from pinnace_contract.latest import Cause, Enrolled, EnrolRequest

TIMEOUT_S: Final = 30.0
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class EnrolmentRefused(Refused):
    """The server said no; the message is its own."""

    cause = Cause.SIGNATURE_INVALID


class ServerUnreachable(NotYet):
    """No answer, or none that can be read."""


def enrol(server: str, request: EnrolRequest) -> Enrolled:
    """Ask ``server`` (its base URL) for an identity.

    Raises:
        EnrolmentRefused: the claim token is used up, expired or unknown, or the request is not acceptable.
        ServerUnreachable: nobody answered, or not a Pinnace server.
    """
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EnrolmentRefused(f"{server}: expected the server's address, as in https://pinnace.example:8080")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise EnrolmentRefused(f"{server}: a claim token is only sent over https, or over http to this machine")
    message = urllib.request.Request(  # noqa: S310  # the scheme is checked above
        f"{server.rstrip('/')}/api/v1/enrol",
        data=codec.to_json(request),
        headers={"Content-Type": "application/json", "Accept": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(message, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return codec.from_json(Enrolled, answer.read(Enrolled.BYTES_MAX + 1))
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise ServerUnreachable(f"{server} answered {error.code}; try again later") from error
        raise EnrolmentRefused(f"{server} refused: {_problem(error)}") from error
    except (OSError, ContractError) as error:
        raise ServerUnreachable(f"{server} gave no usable answer: {error}") from error


def _problem(error: urllib.error.HTTPError) -> str:
    text = error.read(4096).decode(errors="replace")
    try:
        tree = json.loads(text)
        return str(tree.get("message") or tree.get("detail") or text)[:500]
    except (ValueError, AttributeError):
        return f"{error.code} {text[:200]}"
