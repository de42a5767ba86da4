"""A model's own socket, ``MODEL.sock``: made by the supervisor, served by a worker, and never silent.

The listening socket outlives every worker, so a change of workers refuses nobody; while there is none, the supervisor
accepts here itself and answers 503 with the reason. What workers answer is theirs.
"""

from __future__ import annotations

import contextlib
import grp
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pinnace_agent.errors import DeviceTrouble
from pinnace_agent.http_message import Head, Response, refusal
from pinnace_agent.local_http import Connection, HttpLimits, HttpServer
from pinnace_agent.loopback_guard import guard
from pinnace_agent.reactor import Reactor
from pinnace_contract.ids import ModelName
from pinnace_contract.latest import Cause

PATH_BYTES_MAX: Final = 107  # sun_path has 108 with its closing zero
BACKLOG: Final = 128  # connections that wait through a swap of workers
SOCKET_MODE: Final = 0o660

# While nobody serves the supervisor only turns clients away: few connections, short patience.
_TURNING_AWAY: Final = HttpLimits(connections=32, request_s=5.0, write_s=5.0, idle_s=5.0, linger_s=5.0)


class SocketTrouble(DeviceTrouble):
    """A local socket cannot be made where it should be."""

    cause = Cause.STORAGE_ERROR


class Endpoint:
    """The listening sockets of one model."""

    def __init__(
        self,
        *,
        model: ModelName,
        path: Path,
        group: str,
        tcp_port: int | None,
        token_sha256: str,
        reactor: Reactor,
        clock: Callable[[], float],
    ) -> None:
        """Bind and listen; clients wait until ``take_over``.

        Raises:
            SocketTrouble: the path is too long or taken, or the port is.
        """
        self.model, self.path = model, path
        self._clock = clock
        self._unserved_since_s: float | None = None
        self.reason, self.retry_after_s = f"{model} has no model yet", 5
        self.sockets = [listen_unix(path, group)]
        if tcp_port is not None:
            self.sockets.append(_listen_loopback(tcp_port))
        self._turned_away = HttpServer(
            reactor=reactor, handler=_TurnAway(self, token_sha256), clock=clock, limits=_TURNING_AWAY
        )
        self._ours = self._unlinked = False

    def say(self, reason: str, retry_after_s: int) -> None:
        """State why there is no answer."""
        self.reason, self.retry_after_s = reason, retry_after_s

    def take_over(self) -> None:
        """No worker serves: accept here."""
        if not self._ours:
            self._ours = True
            for each in self.sockets:
                self._turned_away.listen(each)

    def lost(self) -> None:
        """The worker that served does no more."""
        if self._unserved_since_s is None:
            self._unserved_since_s = self._clock()
        self.take_over()

    def hand_over(self) -> float:
        """A worker serves now; return how many seconds nobody did since one last did."""
        if self._ours:
            self._ours = False
            for each in self.sockets:
                self._turned_away.unlisten(each)
        since, self._unserved_since_s = self._unserved_since_s, None
        return 0.0 if since is None else self._clock() - since

    def expire(self) -> None:
        """Close connections that take too long."""
        self._turned_away.expire()

    def unlink(self) -> None:
        """Remove the socket's file, once: whatever has that name later is another endpoint's.

        To be called where the next one of this name would be made, before it is: a file system gives the next file the
        same inode number, so nothing tells the two apart afterwards.
        """
        if not self._unlinked:
            self._unlinked = True
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop listening and remove the socket's file."""
        self._turned_away.close()
        for each in self.sockets:
            each.close()
        self.unlink()


class _TurnAway:
    """Answers for a model that nobody serves."""

    def __init__(self, endpoint: Endpoint, token_sha256: str) -> None:
        self._endpoint, self._token_sha256 = endpoint, token_sha256

    def admit(self, head: Head) -> Response | None:
        refused = guard(head, self._token_sha256)
        if refused is not None:
            return refused
        if head.path == "/v2/health/live" and head.method == "GET":
            return Response(parts=(b'{"live":true}',), close=True)
        # Closed, so that the client's next request reaches whoever accepts by then.
        return refusal(503, self._endpoint.reason, retry_after_s=self._endpoint.retry_after_s, close=True)

    def allocate(self, _head: Head) -> memoryview:
        raise AssertionError("every request is refused by its head")

    def answer(self, _head: Head, _body: memoryview, _connection: Connection) -> Response:
        raise AssertionError("every request is refused by its head")


def listen_unix(path: Path, group: str) -> socket.socket:
    """Return a listening Unix socket, mode 0660, of the group where it exists; what an earlier run left is replaced.

    Raises:
        SocketTrouble
    """
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        raise SocketTrouble(
            f"socket path {str(path)!r} has {len(os.fsencode(path))} bytes; the system allows {PATH_BYTES_MAX}: "
            "choose a shorter run directory or model name"
        )
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _remove_stale(path)
        listening.bind(str(path))
        path.chmod(SOCKET_MODE)
        with contextlib.suppress(KeyError, PermissionError):  # without the group only this agent's own user may connect
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
        listening.listen(BACKLOG)  # last: until here nobody can connect with other rights
    except OSError as error:
        listening.close()
        raise SocketTrouble(f"cannot listen on {path}: {error.strerror}") from error
    return listening


def _remove_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketTrouble(f"{path} is in the way: expected a socket or nothing; move it elsewhere")
    path.unlink()


def _listen_loopback(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise SocketTrouble(f"cannot listen on 127.0.0.1:{port}: {error.strerror}") from error
    return listening
