"""Who may speak on loopback TCP, which any web page in a browser on this machine can reach.

A page can neither set ``Host`` nor know the token. Unix sockets are guarded by their mode and group instead.
"""

from __future__ import annotations

import hashlib
import hmac

from pinnace_agent.http_message import Head, Response, refusal

HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})


def guard(head: Head, token_sha256: str) -> Response | None:
    """Return the refusal of a request on loopback, or None where it may pass."""
    if not head.loopback:
        return None
    host = head.headers.get("host", "").lower()
    name, colon, port = host.rpartition(":")
    if (name if colon and port.isdigit() else host) not in HOSTS:
        return refusal(403, "the Host header must be 127.0.0.1, localhost or [::1]", close=True)
    scheme, _, token = head.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not _matches(token.strip(), token_sha256):
        refused = refusal(401, "expected 'Authorization: Bearer TOKEN' with this agent's local token", close=True)
        refused.headers = (("WWW-Authenticate", "Bearer"),)
        return refused
    return None


def token_hash(token: str) -> str:
    """Return the form in which a worker is told the token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _matches(token: str, token_sha256: str) -> bool:
    return bool(token_sha256) and hmac.compare_digest(token_hash(token), token_sha256)
