"""One request at a time over a kept HTTP/1.1 connection on a Unix socket."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from pinnace_agent.client.errors import BadAnswer, ClientError, InferenceFailed, NotReachable, Refused, Unavailable

HEAD_BYTES_MAX: Final = 16 * 1024
ANSWER_BYTES_MAX: Final = 256 * 1024 * 1024
_FIRST_READ_BYTES: Final = 8 * 1024


@dataclass(slots=True, kw_only=True)
class Answer:
    """What came back: the status, the headers in lower case, the body, and descriptors that came with it."""

    status: int
    headers: dict[str, str]
    body: memoryview
    descriptors: tuple[int, ...] = ()


class _NotTaken(Exception):
    """The connection ended before the whole request was read: nobody can have acted on it."""


class HttpConnection:
    """A connection that is made when it is needed, and again when it was lost. For one thread."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._path, self._timeout_s = path, timeout_s
        self.sock: socket.socket | None = None

    def ask(self, head: bytes, parts: Sequence[memoryview] = (), *, descriptors: int = 0) -> Answer:
        """Send a request and return the answer, up to that many descriptors with it.

        A request that nobody has read is sent again, once: that happens when workers are swapped. One that was read and
        not answered is not: it may be what the worker died of.

        Raises:
            ClientError
        """
        try:
            try:
                return self._ask(head, parts, descriptors)
            except _NotTaken:
                self.close()
                return self._ask(head, parts, descriptors)
        except _NotTaken as error:
            self.close()
            raise Unavailable(f"the worker at {self._path} went away before it was asked", 1) from error
        except BlockingIOError as error:  # how SO_RCVTIMEO and SO_SNDTIMEO say so
            self.close()
            raise Unavailable(f"no answer from {self._path} within {self._timeout_s:g} s", 1) from error
        except ClientError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise NotReachable(f"{self._path}: {error.strerror}") from error

    def close(self) -> None:
        """End the connection."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def _ask(self, head: bytes, parts: Sequence[memoryview], descriptors: int) -> Answer:
        sock = self.sock or self._connect()
        taken = True
        try:
            _send_all(sock, [memoryview(head), *parts])
        except (BrokenPipeError, ConnectionResetError):
            taken = False  # but a refusal may have been sent before, and be there to be read
        answer = _receive(sock, descriptors)
        if answer is None and taken:
            raise Unavailable(f"the worker at {self._path} went away while it was asked", 1)
        if answer is None:
            raise _NotTaken
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The kernel's own timeouts: Python's cost two more system calls for each one.
        limit = struct.pack("@ll", int(self._timeout_s), int(self._timeout_s % 1 * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        try:
            sock.connect(str(self._path))
        except FileNotFoundError as error:
            raise NotReachable(
                f"there is no socket at {self._path}: is the agent running, and has it this model?"
            ) from error
        except PermissionError as error:
            raise NotReachable(f"{self._path} is for the agent's user and group: join group 'pinnace'") from error
        except ConnectionRefusedError as error:
            raise NotReachable(f"nobody listens on {self._path}: the agent is not running") from error
        self.sock = sock
        return sock


def check(answer: Answer) -> Answer:
    """Return a good answer.

    Raises:
        Unavailable, Refused, InferenceFailed
    """
    if answer.status < 300:
        return answer
    message = _message(answer)
    if answer.status == 503:
        after = answer.headers.get("retry-after", "1")
        raise Unavailable(message, int(after) if after.isdecimal() else 1)
    if answer.status >= 500:
        raise InferenceFailed(message)
    raise Refused(message, answer.status)


def _message(answer: Answer) -> str:
    try:
        return str(json.loads(bytes(answer.body))["error"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status}"


def _send_all(sock: socket.socket, parts: list[memoryview]) -> None:
    while parts:
        sent = sock.sendmsg(parts)
        while parts and sent >= len(parts[0]):
            sent -= len(parts.pop(0))
        if sent:
            parts[0] = parts[0][sent:]


def _receive(sock: socket.socket, descriptors: int) -> Answer | None:
    """Return the answer, or None where the connection ended before a byte of it."""
    received, found = b"", []
    while (end := received.find(b"\r\n\r\n")) < 0:
        if len(received) > HEAD_BYTES_MAX:
            raise BadAnswer(f"the answer's head has more than {HEAD_BYTES_MAX} bytes")
        try:
            if descriptors:
                chunk, passed, _, _ = socket.recv_fds(sock, _FIRST_READ_BYTES, descriptors)
                found += passed
            else:
                chunk = sock.recv(_FIRST_READ_BYTES)
        except ConnectionResetError as error:
            raise _NotTaken from error  # a Unix socket says so when it was closed with bytes that nobody read
        if not chunk:
            return None
        received += chunk
    status, headers = _head(bytes(received[:end]))
    length = headers.get("content-length", "")
    if not length.isdecimal() or len(length) > 10 or int(length) > ANSWER_BYTES_MAX:
        raise BadAnswer(f"expected an answer of at most {ANSWER_BYTES_MAX} bytes, found {length[:20]!r}")
    body = np.empty(int(length), np.uint8).data
    begun = received[end + 4 :]
    body[: len(begun)] = begun
    filled = len(begun)
    while filled < len(body):
        n = sock.recv_into(body[filled:])
        if n == 0:
            raise BadAnswer("the answer was cut off")
        filled += n
    return Answer(status=status, headers=headers, body=body, descriptors=tuple(found))


@lru_cache(maxsize=16)  # answers to the same question differ in their numbers, rarely in their heads
def _head(data: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = data.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
        raise BadAnswer("the other end does not speak HTTP")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return int(rest[:3]), headers
