"""Who is signed in. Sessions live on the server; the browser holds a random id that says nothing by itself.

Held in memory behind a port: a restart of the server signs everybody out, which costs one paste of the token.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import threading
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from pinnace_server.console.shown import Notice

IDLE_MAX = timedelta(hours=8)  # a shift at the screen; refreshing by itself does not count as use
AGE_MAX = timedelta(hours=24)
SESSIONS_MAX = 1_000  # the oldest goes first; far more than operators, far less than memory
NOTICES_MAX = 4
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One sign-in of one person. ``secret`` never leaves the server as it is: see :func:`form_token`."""

    id: str
    actor: str
    secret: bytes
    opened_at: datetime
    used_at: datetime

    def ended(self, now: datetime) -> bool:
        """Tell whether its time is over."""
        return now - self.used_at > IDLE_MAX or now - self.opened_at > AGE_MAX


class SessionStore(Protocol):
    """Where sessions are kept."""

    def open(self, actor: str, now: datetime) -> Session: ...
    def find(self, session_id: str, now: datetime, *, used: bool = False) -> Session | None: ...
    def close(self, session_id: str) -> None: ...
    def leave(self, session_id: str, notice: Notice) -> None: ...
    def take(self, session_id: str) -> tuple[Notice, ...]: ...


class MemorySessions:
    """Sessions of this process. Safe for use by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._notices: dict[str, list[Notice]] = {}

    def open(self, actor: str, now: datetime) -> Session:
        """Start a session under a fresh id."""
        session = Session(
            id=secrets.token_urlsafe(_SECRET_BYTES),
            actor=actor,
            secret=secrets.token_bytes(_SECRET_BYTES),
            opened_at=now,
            used_at=now,
        )
        with self._lock:
            for old in [old.id for old in self._sessions.values() if old.ended(now)]:
                self._drop(old)
            while len(self._sessions) >= SESSIONS_MAX:
                self._drop(min(self._sessions.values(), key=lambda held: held.used_at).id)
            self._sessions[session.id] = session
        return session

    def find(self, session_id: str, now: datetime, *, used: bool = False) -> Session | None:
        """Return the session of this id while its time lasts; ``used`` puts off its idle end."""
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None:
                return None
            if session.ended(now):
                self._drop(session_id)
                return None
            if used:
                session = self._sessions[session_id] = replace(session, used_at=now)
            return session

    def close(self, session_id: str) -> None:
        """End a session."""
        with self._lock:
            self._drop(session_id)

    def leave(self, session_id: str, notice: Notice) -> None:
        """Leave a word for the next page of a session."""
        with self._lock:
            if session_id in self._sessions:
                self._notices.setdefault(session_id, []).append(notice)
                del self._notices[session_id][:-NOTICES_MAX]

    def take(self, session_id: str) -> tuple[Notice, ...]:
        """Take what was left, once."""
        with self._lock:
            return tuple(self._notices.pop(session_id, ()))

    def _drop(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)
        self._notices.pop(session_id, None)


def form_token(session: Session) -> str:
    """Return the session's secret under a fresh mask.

    Pages are compressed and echo what was searched for; a secret that looks the same on each page could be guessed from
    their sizes (the BREACH attack, 2013), one under a new mask cannot.
    """
    mask = secrets.token_bytes(_SECRET_BYTES)
    masked = bytes(a ^ b for a, b in zip(mask, session.secret, strict=True))
    return base64.urlsafe_b64encode(mask + masked).decode()


def fits_session(token: str, session: Session) -> bool:
    """Tell whether a form's token was made for this session."""
    try:
        raw = base64.urlsafe_b64decode(token.encode())
    except (binascii.Error, UnicodeEncodeError, ValueError):
        return False
    if len(raw) != 2 * _SECRET_BYTES:
        return False
    secret = bytes(a ^ b for a, b in zip(raw[:_SECRET_BYTES], raw[_SECRET_BYTES:], strict=True))
    return hmac.compare_digest(secret, session.secret)
