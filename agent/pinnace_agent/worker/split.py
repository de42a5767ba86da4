"""Two arms behind one socket: the worker that holds it asks the one beside it for its share, and passes on the answer.

Owns the stream between the two. A request waits for its answer, as it would for the model of this process; what does
not come (the other worker died, or said something that is no answer) is answered here, and counted as the other arm's
failure. Who leaves in order says so, and that is nobody's failure. Either side may run a hostile file, so what comes is
bounded and checked.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from pinnace_agent.http_message import Part
from pinnace_agent.reactor import READ, Reactor
from pinnace_agent.worker import open_inference, protocol
from pinnace_agent.worker.copies import chosen
from pinnace_agent.worker.reply import Reply
from pinnace_contract.ids import ModelName
from pinnace_contract.latest import Arm, Block, ErrorCount

LOOK_EVERY_S: Final = 0.5  # while an answer is waited for, the supervisor still sees that this loop lives
ANSWER_S_MAX: Final = 60.0  # the supervisor kills a worker that hangs long before
PASS_ON_S_MAX: Final = 10.0  # to take an answer that was asked for
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
TENSORS_MAX: Final = 64
_QUESTION: Final = struct.Struct(">Qq")  # bytes of the body; how many of them are JSON, -1: all
_ANSWER: Final = struct.Struct(">IQI")  # status (0: I am leaving), bytes of JSON, number of tensors
_TENSOR: Final = struct.Struct(">Q")


class Broken(Exception):
    """What came is no question or answer, or none came: the stream is of no more use."""


class Left(Exception):
    """The other side left in order."""


class Split:
    """The end of the worker that holds the socket."""

    def __init__(self, to: socket.socket, order: protocol.Split, model: ModelName, beat: Callable[[], None]) -> None:
        """``beat`` tells the supervisor that this process lives."""
        self._to, self._order, self._model, self._beat = to, order, model, beat
        self._lost = 0
        to.settimeout(LOOK_EVERY_S)

    def asks(self, number: int) -> bool:
        """Tell whether the request of this number is the other arm's: of a hash, so that both see every kind.

        The same numbers are the control's, whichever of the two holds the socket.
        """
        control = chosen(number, self._order.control_percent)
        return self._to.fileno() >= 0 and control == (self._order.other_arm is Arm.CONTROL)

    def ask(self, body: memoryview, json_bytes: int | None) -> Reply | None:
        """Return the other arm's answer; None: it has none, and this arm is to answer."""
        until_s = time.monotonic() + ANSWER_S_MAX
        try:
            self._send(_QUESTION.pack(len(body), -1 if json_bytes is None else json_bytes), body, until_s)
            return self._read(until_s)
        except Left:
            self.close()
        except (OSError, Broken):
            self._lost += 1
            self.close()
        return None

    def take_lost(self) -> Block | None:
        """Return, once, what the other arm was asked and did not answer: its failures, which it cannot count."""
        n, self._lost = self._lost, 0
        if not n:
            return None
        return Block(
            model=self._model,
            release=self._order.release,
            variant=self._order.variant,
            arm=self._order.other_arm,
            n=n,
            errors=(ErrorCount(name=protocol.NO_ANSWER, n=n),),
        )

    def close(self) -> None:
        """Ask nothing more."""
        self._to.close()

    def _send(self, prefix: bytes, body: memoryview, until_s: float) -> None:
        parts = [memoryview(prefix), body]
        while parts:
            try:
                sent = self._patiently(partial(self._to.sendmsg, parts), until_s)
            except OSError:
                self._read(until_s)  # it may have said that it leaves
                raise
            while parts and sent >= len(parts[0]):
                sent -= len(parts.pop(0))
            if parts and sent:
                parts[0] = parts[0][sent:]

    def _read(self, until_s: float) -> Reply:
        status, json_bytes, tensors = _ANSWER.unpack(self._exactly(_ANSWER.size, until_s))
        if status == 0:
            raise Left
        if json_bytes > ANSWER_BYTES_MAX or tensors > TENSORS_MAX or not 200 <= status <= 599:
            raise Broken("no answer that a worker gives")
        sizes = [_TENSOR.unpack(self._exactly(_TENSOR.size, until_s))[0] for _ in range(tensors)]
        if sum(sizes) > ANSWER_BYTES_MAX:
            raise Broken("larger than any answer is")
        said = bytes(self._exactly(json_bytes, until_s))
        return Reply(status=status, json=said, tensors=tuple(self._exactly(size, until_s) for size in sizes))

    def _exactly(self, n: int, until_s: float) -> memoryview:
        room = memoryview(bytearray(n))
        filled = 0
        while filled < n:
            rest = room[filled:]
            found = self._patiently(partial(self._to.recv_into, rest), until_s)
            if not found:
                raise Broken("the other side has gone")
            filled += found
        return room

    def _patiently(self, work: Callable[[], int], until_s: float) -> int:
        while True:
            try:
                return work()
            except TimeoutError:
                self._beat()
                if time.monotonic() > until_s:
                    raise Broken("no answer in time") from None


class Answering:
    """The end of the worker beside it: one question a turn of the loop, so that orders are heard in between."""

    def __init__(
        self,
        reactor: Reactor,
        source: socket.socket,
        answer: Callable[[memoryview, int | None], Reply],
        body_bytes_max: int,
    ) -> None:
        self._reactor, self._source, self._answer = reactor, source, answer
        self._body_bytes_max = body_bytes_max
        self._prefix = bytearray()
        self._body = memoryview(b"")
        self._json_bytes: int | None = None
        self._filled = 0
        source.setblocking(False)
        reactor.add(source, self._ready, READ)

    def leave(self) -> None:
        """Answer nothing more, and say so: whoever asks meanwhile is to answer itself."""
        if self._source.fileno() >= 0:
            with contextlib.suppress(OSError):
                self._source.send(_ANSWER.pack(0, 0, 0))
            self._close()

    def _close(self) -> None:
        if self._source.fileno() >= 0:
            self._reactor.remove(self._source)
            self._source.close()

    def _ready(self, _ready: int) -> None:
        try:
            if self._whole():
                body, self._body = self._body, memoryview(b"")
                self._prefix.clear()
                self._pass_on(self._answer(body, self._json_bytes))
        except BlockingIOError:
            return
        except (OSError, Broken):
            self._close()

    def _whole(self) -> bool:
        """Read what there is; tell whether a question is whole."""
        while len(self._prefix) < _QUESTION.size:
            data = self._source.recv(_QUESTION.size - len(self._prefix))
            if not data:
                raise Broken("the other side has gone")
            self._prefix += data
            if len(self._prefix) == _QUESTION.size:
                size_bytes, json_bytes = _QUESTION.unpack(self._prefix)
                if size_bytes > self._body_bytes_max or not -1 <= json_bytes <= size_bytes:
                    raise Broken("no question that a client asks")
                self._json_bytes = None if json_bytes < 0 else json_bytes
                self._body, self._filled = open_inference.room_for(size_bytes, max(json_bytes, 0)), 0
        while self._filled < len(self._body):
            n = self._source.recv_into(self._body[self._filled :])
            if not n:
                raise Broken("the other side has gone")
            self._filled += n
        return True

    def _pass_on(self, reply: Reply) -> None:
        sizes = [len(each) for each in reply.tensors]
        head = _ANSWER.pack(reply.status, len(reply.json), len(sizes)) + b"".join(_TENSOR.pack(each) for each in sizes)
        self._source.settimeout(PASS_ON_S_MAX)
        try:
            parts: tuple[Part, ...] = (head + reply.json, *reply.tensors)
            for part in parts:
                self._source.sendall(part)
        finally:
            if self._source.fileno() >= 0:
                self._source.setblocking(False)
