"""HTTP/1.1 on local sockets: requests read within limits, answers written, and no client that others wait for.

One thread and one reactor: the worker, the supervisor's own socket and its 503 answers each embed an ``HttpServer``
in theirs. What a request means is left to the handler. A body is received straight into the buffer that the handler
gives, an answer leaves in one gathered ``sendmsg``.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from pinnace_agent.http_message import HEAD_BYTES_MAX, Head, Part, Response, head_bytes, parse_head, refusal
from pinnace_agent.reactor import READ, WRITE, Reactor

FIRST_READ_BYTES: Final = 4 * 1024  # head and a tensor's description; what follows goes where the body belongs
LINGER_BYTES_MAX: Final = 64 * 1024 * 1024  # what a refused client may still send before it reads its answer
HEADS_KEPT_MAX: Final = 64
HEADS_KEPT_BYTES_MAX: Final = 1024
SLOW_S: Final = 2.0  # to send a request, or to take an answer, while others wait for the connection
PARTS_MAX: Final = 512  # buffers in one sendmsg; IOV_MAX is 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Bounds of one server. The times are seconds."""

    connections: int = 64
    body_bytes: int = 64 * 1024 * 1024
    bodies_bytes: int = 128 * 1024 * 1024  # of all requests that are on their way at once
    answers_bytes: int = 128 * 1024 * 1024  # of all answers that wait for their clients to take them
    request_s: float = 30.0  # from a request's first byte to its last
    write_s: float = 30.0  # for a client to take an answer
    idle_s: float = 600.0
    linger_s: float = 5.0


class Handler(Protocol):
    """What the server asks for each request, in this order."""

    def admit(self, head: Head, /) -> Response | None:
        """Refuse a request by its head, before its body is read; None lets it in."""
        ...

    def allocate(self, head: Head, /) -> memoryview:
        """Return ``head.length`` writable bytes for the body. Raises MemoryError when there is no room."""
        ...

    def answer(self, head: Head, body: memoryview, connection: Connection, /) -> Response:
        """Answer a whole request."""
        ...


class HttpServer:
    """Listening sockets and their connections in somebody else's reactor."""

    def __init__(
        self,
        *,
        reactor: Reactor,
        handler: Handler,
        clock: Callable[[], float],
        limits: HttpLimits | None = None,
    ) -> None:
        self.reactor, self.handler, self.clock = reactor, handler, clock
        self.limits = limits or HttpLimits()
        self.connections: dict[int, Connection] = {}
        self.bodies_bytes = 0
        self.draining = False
        self._heads: dict[tuple[bytes, bool], Head] = {}
        self._listening: list[socket.socket] = []

    def listen(self, listening: socket.socket) -> None:
        """Accept on a bound and listening socket from now on."""
        listening.setblocking(False)
        self.draining = False
        self._listening.append(listening)
        self.reactor.add(listening, lambda _events: self._accept(listening))

    def unlisten(self, listening: socket.socket) -> None:
        """Accept no more here; the socket stays open, because others may accept on it."""
        if listening in self._listening:
            self._listening.remove(listening)
            self.reactor.remove(listening)

    def drain(self) -> None:
        """Accept nothing more, finish what has begun, close what is idle."""
        self.draining = True
        for listening in tuple(self._listening):
            self.unlisten(listening)
        for connection in tuple(self.connections.values()):
            connection.drain()

    def expire(self) -> None:
        """Close what took longer than its limit. To be called about once a second."""
        now = self.clock()
        for connection in tuple(self.connections.values()):
            if now >= connection.deadline:
                connection.expired()

    def close(self) -> None:
        """Stop accepting and drop every connection."""
        for listening in tuple(self._listening):
            self.unlisten(listening)
        for connection in tuple(self.connections.values()):
            connection.close()

    def head_of(self, data: bytes, loopback: bool) -> Head | Response:
        """Read a request's head. A client repeats its own again and again, so heads are kept, by their bytes."""
        known = self._heads.get((data, loopback))
        if known is not None:
            return known
        parsed = parse_head(data, loopback=loopback)
        if isinstance(parsed, Head) and len(data) <= HEADS_KEPT_BYTES_MAX:
            if len(self._heads) >= HEADS_KEPT_MAX:
                self._heads.clear()
            self._heads[data, loopback] = parsed
        return parsed

    def make_room_for_answers(self) -> None:
        """Drop the client that has been slowest to take its answer, and the next, while too many bytes wait."""
        unsent_bytes = {each: each.unsent_bytes for each in self.connections.values()}
        excess_bytes = sum(unsent_bytes.values()) - self.limits.answers_bytes
        slowest_first = sorted((each for each, size in unsent_bytes.items() if size), key=lambda each: each.deadline)
        for connection in slowest_first:
            if excess_bytes <= 0:
                return
            excess_bytes -= unsent_bytes[connection]
            connection.close()

    def _accept(self, listening: socket.socket) -> None:
        try:
            listening.setblocking(False)  # a worker that inherited it, and runs a hostile file, has the same flags
            accepted, _ = listening.accept()
        except OSError:
            return  # somebody else took it, or the client went away
        accepted.setblocking(False)
        loopback = accepted.family != socket.AF_UNIX
        if loopback:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) >= self.limits.connections and not self._evict():
            answer = refusal(503, f"all {self.limits.connections} connections are in use; try again", retry_after_s=1)
            with contextlib.suppress(OSError):
                accepted.send(head_bytes(answer, keep_alive=False) + bytes(answer.parts[0]))
            accepted.close()
            return
        connection = Connection(server=self, sock=accepted, loopback=loopback)
        self.connections[accepted.fileno()] = connection
        self.reactor.add(accepted, connection.ready)

    def _evict(self) -> bool:
        """Make room for a newcomer: who asks nothing, or was refused, or is slow at it, has had its turn."""
        now = self.clock()
        done = [connection for connection in self.connections.values() if connection.idle or connection.refused]
        slow = done or [each for each in self.connections.values() if now - each.busy_since_s >= SLOW_S]
        if not slow:
            return False
        min(slow, key=lambda connection: connection.deadline).close()
        return True


class _State(Enum):
    HEAD = auto()
    BODY = auto()
    WRITING = auto()
    LINGER = auto()  # answered with an error; what the client still sends is thrown away so that it reads the answer
    ADOPTED = auto()  # the handler speaks something else here now
    CLOSED = auto()


class Connection:
    """One client. Moves through its states as the socket becomes readable and writable."""

    __slots__ = (
        "_body",
        "_filled",
        "_head",
        "_lingers",
        "_out",
        "_received",
        "_response",
        "_state",
        "_thrown_bytes",
        "deadline",
        "loopback",
        "on_closed",
        "server",
        "sock",
    )

    def __init__(self, *, server: HttpServer, sock: socket.socket, loopback: bool) -> None:
        self.server, self.sock, self.loopback = server, sock, loopback
        self.deadline = server.clock() + server.limits.idle_s
        self.on_closed: Callable[[], None] | None = None
        self._state = _State.HEAD
        self._received = b""
        self._head: Head | None = None
        self._body = memoryview(b"")
        self._filled = 0
        self._out: list[Part] = []
        self._response: Response | None = None
        self._thrown_bytes = 0
        self._lingers = False

    @property
    def idle(self) -> bool:
        """Nothing of a request has come and nothing is left to be sent."""
        return self._state is _State.HEAD and not self._received

    @property
    def refused(self) -> bool:
        """All has been said, and what the client still sends is thrown away."""
        return self._state is _State.LINGER

    @property
    def busy_since_s(self) -> float:
        """When the request began to come, or the answer to leave; never, for one that speaks something else now."""
        limits = self.server.limits
        if self._state is _State.ADOPTED:
            return self.server.clock()
        return self.deadline - (limits.write_s if self._state is _State.WRITING else limits.request_s)

    @property
    def unsent_bytes(self) -> int:
        """How much of an answer waits here for its client to take it."""
        return sum(map(len, self._out)) if self._state is _State.WRITING else 0

    def ready(self, mask: int) -> None:
        """Go on: the socket is readable or writable."""
        try:
            if mask & WRITE:
                self._write()
            elif self._state is _State.HEAD:
                self._read_head()
            elif self._state is _State.BODY:
                self._read_body()
            elif self._state in (_State.LINGER, _State.ADOPTED):
                self._throw_away()
        except BlockingIOError:
            if self._state is _State.WRITING:
                self.close()
        except OSError:
            self.close()

    def adopt(self, on_closed: Callable[[], None]) -> None:
        """After the present answer speak no more HTTP here; tell when the client has gone."""
        self.on_closed = on_closed

    def drain(self) -> None:
        """Close if nothing is under way; else the present answer is the last."""
        if self._state is _State.HEAD and not self._received:
            with contextlib.suppress(OSError):
                self._read_head()  # a request that is already in the socket is still answered
        if self._state in (_State.HEAD, _State.ADOPTED) and not self._received:
            self.close()

    def expired(self) -> None:
        """The time of the present state is over."""
        if self._state is _State.ADOPTED:
            return
        if self._state is _State.BODY or (self._state is _State.HEAD and self._received):
            self._refuse(refusal(408, f"the whole request must arrive within {self.server.limits.request_s:g} s"))
        else:
            self.close()

    def close(self) -> None:
        """Forget the client."""
        if self._state is _State.CLOSED:
            return
        self._forget_body()
        self._state = _State.CLOSED
        del self.server.connections[self.sock.fileno()]
        self.server.reactor.remove(self.sock)
        self.sock.close()
        if self.on_closed is not None:
            self.on_closed()

    # --- reading ---------------------------------------------------------------------------------------------------

    def _read_head(self) -> None:
        chunk = self.sock.recv(FIRST_READ_BYTES)
        if not chunk:
            self.close()
            return
        if not self._received:
            self.deadline = self.server.clock() + self.server.limits.request_s
        self._received += chunk
        self._advance()

    def _advance(self) -> None:
        """Take one request after the other out of what has been received."""
        while self._state is _State.HEAD and self._received:
            end = self._received.find(b"\r\n\r\n")
            if end < 0 or end > HEAD_BYTES_MAX:
                if len(self._received) > HEAD_BYTES_MAX:
                    self._refuse(refusal(431, f"request line and headers may have {HEAD_BYTES_MAX} bytes"))
                return
            parsed = self.server.head_of(self._received[: end + 4], self.loopback)
            self._received = self._received[end + 4 :]
            if isinstance(parsed, Response):
                self._refuse(parsed)
                return
            self._head = parsed
            refused = self._admit(parsed)
            if refused is not None:
                self._refuse_head(parsed, refused)
                continue
            self._begin_body(parsed)

    def _admit(self, head: Head) -> Response | None:
        limits = self.server.limits
        if head.length > limits.body_bytes:
            return refusal(413, f"a request may have {limits.body_bytes} bytes; this one has {head.length}", close=True)
        refused = self.server.handler.admit(head)
        if refused is None and self.server.bodies_bytes + head.length > limits.bodies_bytes:
            refused = refusal(503, "too many large requests are on their way; try again", retry_after_s=1, close=True)
        return refused

    def _refuse_head(self, head: Head, refused: Response) -> None:
        """Answer without the body. A small body that is already here is skipped and the connection kept."""
        if head.length > len(self._received):
            self._refuse(refused)
            return
        self._received = self._received[head.length :]
        self._send(refused)

    def _begin_body(self, head: Head) -> None:
        try:
            self._body = self.server.handler.allocate(head) if head.length else memoryview(b"")
        except MemoryError:
            self._refuse(refusal(503, f"no memory for a request of {head.length} bytes; try again", retry_after_s=1))
            return
        self.server.bodies_bytes += len(self._body)
        taken = min(head.length, len(self._received))
        if taken:
            self._body[:taken] = self._received[:taken]
            self._received = self._received[taken:]
        self._filled = taken
        if taken < head.length:
            self._state = _State.BODY
            if head.headers.get("expect", "").lower() == "100-continue":
                self.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            with contextlib.suppress(BlockingIOError):
                self._read_body()
        else:
            self._answer()

    def _read_body(self) -> None:
        body = self._body
        while self._filled < len(body):
            n = self.sock.recv_into(body[self._filled :])
            if n == 0:
                self.close()
                return
            self._filled += n
        self._answer()

    def _throw_away(self) -> None:
        chunk = self.sock.recv(64 * 1024)
        self._thrown_bytes += len(chunk)
        if not chunk or self._thrown_bytes > LINGER_BYTES_MAX or self._state is _State.ADOPTED:
            self.close()

    # --- answering -------------------------------------------------------------------------------------------------

    def _answer(self) -> None:
        head = self._head
        if head is None:
            raise AssertionError("a body without a head")
        body, self._body = self._body, memoryview(b"")
        try:
            response = self.server.handler.answer(head, body, self)
        finally:
            self.server.bodies_bytes -= len(body)
        if self._state is not _State.CLOSED:
            self._send(response)

    def _refuse(self, response: Response) -> None:
        """Answer what was not read to its end, then close when the client has had time to read the answer."""
        response.close = self._lingers = True
        self._forget_body()
        self._send(response)

    def _send(self, response: Response) -> None:
        keep = not (response.close or self.server.draining) and self._head is not None and self._head.keep_alive
        self._response, self._state = response, _State.WRITING
        response.close = not keep
        head = head_bytes(response, keep_alive=keep)
        self._out = [head] if self._head is not None and self._head.method == "HEAD" else [head, *response.parts]
        self._flush(first=True)

    def _write(self) -> None:
        self._flush(first=False)
        if self._state is _State.HEAD:
            self._advance()

    def _flush(self, *, first: bool) -> None:
        response = self._response
        if response is None:
            raise AssertionError("nothing to send")
        if first and response.descriptors:
            # On a connection whose last answer was taken there is room; where there is not, the client is refused.
            self._take_sent(socket.send_fds(self.sock, self._out, list(response.descriptors)))
        while self._out:
            try:
                sent = self.sock.sendmsg(self._out[:PARTS_MAX])
            except BlockingIOError:
                if first:
                    self.deadline = self.server.clock() + self.server.limits.write_s
                    self.server.reactor.want(self.sock, WRITE)
                    self.server.make_room_for_answers()
                return
            self._take_sent(sent)
        self._sent(response, waited=not first)

    def _take_sent(self, sent: int) -> None:
        whole = 0
        while whole < len(self._out) and sent >= len(self._out[whole]):
            sent -= len(self._out[whole])
            whole += 1
        del self._out[:whole]
        if sent:
            self._out[0] = memoryview(self._out[0])[sent:]

    def _sent(self, response: Response, *, waited: bool) -> None:
        self._response = self._head = None
        if waited:
            self.server.reactor.want(self.sock, READ)
        if response.sent is not None:
            response.sent()
        limits, now = self.server.limits, self.server.clock()
        if self.on_closed is not None:
            self._state = _State.ADOPTED
        elif response.close and (self._lingers or self._received):
            self._state, self.deadline = _State.LINGER, now + limits.linger_s
            self.sock.shutdown(socket.SHUT_WR)
        elif response.close:
            self.close()
        else:
            self._state = _State.HEAD
            self.deadline = now + (limits.request_s if self._received else limits.idle_s)

    def _forget_body(self) -> None:
        self.server.bodies_bytes -= len(self._body)
        self._body = memoryview(b"")
