"""What can go wrong in the server: one root, one family per fault, one class per cause that a caller may tell apart.

Each carries a stable code, a message (what was expected, what was found) and what the reader can do. The HTTP status is
chosen from the family in ``http/problems.py``, nowhere else.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """Stable words for API clients, events and the command line. Never changed, only added to."""

    INTERNAL = "INTERNAL"
    INVALID = "INVALID"
    NOT_FOUND = "NOT_FOUND"
    EXISTS = "EXISTS"
    STATE = "STATE"
    TOO_LARGE = "TOO_LARGE"
    UNAUTHORIZED = "UNAUTHORIZED"
    TOKEN_REFUSED = "TOKEN_REFUSED"  # noqa: S105 -- a word, not a secret
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    REQUEST_REFUSED = "REQUEST_REFUSED"
    MODEL_REFUSED = "MODEL_REFUSED"
    BAD_SELECTOR = "BAD_SELECTOR"
    NO_DEVICES = "NO_DEVICES"
    NO_FALLBACK = "NO_FALLBACK"
    CLONE_SUSPECTED = "CLONE_SUSPECTED"
    SIGNING_REFUSED = "SIGNING_REFUSED"
    NO_ROOM = "NO_ROOM"
    BUSY = "BUSY"
    CANCELLED = "CANCELLED"
    ALIAS_RULED = "ALIAS_RULED"
    RULE_NOT_MET = "RULE_NOT_MET"
    CARD_INCOMPLETE = "CARD_INCOMPLETE"
    ARCHIVED = "ARCHIVED"
    IN_USE = "IN_USE"
    NOT_KEPT = "NOT_KEPT"
    WITHDRAWN = "WITHDRAWN"
    CONFIRM_DARK = "CONFIRM_DARK"
    RESTORED = "RESTORED"
    SCHEMA_NEWER = "SCHEMA_NEWER"
    DATA_DIRECTORY = "DATA_DIRECTORY"
    ADDRESS_IN_USE = "ADDRESS_IN_USE"
    BIND_REFUSED = "BIND_REFUSED"
    BROKER = "BROKER"


class ServerError(Exception):
    """Root of everything this server raises on purpose."""

    code: Code = Code.INTERNAL

    def __init__(self, message: str, *, hint: str = "", code: Code | None = None) -> None:
        self.message, self.hint = message, hint
        if code is not None:
            self.code = code
        super().__init__(f"{message}; {hint}" if hint else message)


class Refused(ServerError):
    """Theirs: the request itself is wrong. The same request will fail again."""

    code = Code.INVALID


class NotFound(ServerError):
    """Theirs: it names something that this server does not have."""

    code = Code.NOT_FOUND

    def __init__(self, kind: str, name: str, *, hint: str = "") -> None:
        self.kind, self.name = kind, name
        super().__init__(f"there is no {kind} {name!r} on this server", hint=hint)


class Conflict(ServerError):
    """Theirs: right in itself, but not in the state that the fleet is in."""

    code = Code.STATE


class Unreadable(Conflict):
    """What stands in a row cannot be read by this server: a newer one wrote it, or it was damaged."""


class TooLarge(ServerError):
    """Theirs: over a limit that the message names."""

    code = Code.TOO_LARGE


class Unauthorized(ServerError):
    """Theirs: no token, or not the right one. Says nothing about which."""

    code = Code.UNAUTHORIZED


class SignatureInvalid(ServerError):
    """Theirs: a message that its device did not sign."""

    code = Code.SIGNATURE_INVALID


class Unavailable(ServerError):
    """The way there, or this machine's own troubles: worth a retry later."""

    code = Code.BUSY


class SigningRefused(ServerError):
    """The signer did not sign what was asked of it. The signing package's errors are of this class."""

    code = Code.SIGNING_REFUSED


class StartRefused(ServerError):
    """The server cannot start like this; the message says what to change."""

    code = Code.DATA_DIRECTORY
