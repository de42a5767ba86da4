"""Two arms behind one socket: the worker that holds it asks the one beside it for its share, and passes on the answer.

Owns the stream between the two. A request waits for its answer, as it would for the model of this process; what does
not come (the other worker died, or said something that is no answer) is answered here, and counted as the other arm's
failure. Who leaves in order says so, and so does who has an answer that is too large to pass on: that is nobody's
failure. Either side may run a hostile file, so what comes is bounded and checked, and so is the time it takes.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Sequence
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
PASS_ON_S_MAX: Final = 10.0  # to take the whole of an answer that was asked for
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024  # what is larger is answered by whoever holds the socket
TENSORS_MAX: Final = 64
_QUESTION: Final = struct.Struct(">Qq")  # bytes of the body; how many of them are JSON, -1: all
_ANSWER: Final = struct.Struct(">IQI")  # status, bytes of JSON, number of tensors
_TENSOR: Final = struct.Struct(">Q")
_LEAVING: Final = 0  # in the place of a status
_TOO_LARGE: Final = 1


class Broken(Exception):
    """What came is no question or answer, or none came: the stream is of no more use."""


class Left(Exception):
    """The other side left in order."""


class TooLargeToPassOn(Exception):
    """The other side has an answer, and it is too large for this stream."""


class Patience:
    """Waits for a socket that has a timeout of ``LOOK_EVERY_S``, until a time that holds for everything together.

    However little comes at a time: whoever lets bytes drip must not keep this process, or have it taken for dead.
    """

    def __init__(self, seconds: float, beat: Callable[[], None], clock: Callable[[], float]) -> None:
        """``beat`` tells the supervisor that this process lives."""
        self._until_s, self._beat, self._clock = clock() + seconds, beat, clock

    def wait(self, work: Callable[[], int]) -> int:
        """Return what ``work`` does, as soon as it does something.

        Raises:
            Broken: the time is over.
        """
        while True:
            self._beat()
            if self._clock() > self._until_s:
                raise Broken("not in time")
            with contextlib.suppress(TimeoutError):
                return work()

    def send(self, to: socket.socket, parts: Sequence[Part]) -> None:
        """Send all of the parts."""
        left = [memoryview(part) for part in parts if len(part)]
        while left:
            sent = self.wait(partial(to.sendmsg, left))
            while left and sent >= len(left[0]):
                sent -= len(left.pop(0))
            if sent:
                left[0] = left[0][sent:]

    def receive(self, source: socket.socket, n: int) -> memoryview:
        """Return exactly ``n`` bytes."""
        room = memoryview(bytearray(n))
        filled = 0
        while filled < n:
            found = self.wait(partial(source.recv_into, room[filled:]))
            if not found:
                raise Broken("the other side has gone")
            filled += found
        return room


class Split:
    """The end of the worker that holds the socket."""

    def __init__(
        self,
        to: socket.socket,
        order: protocol.Split,
        model: ModelName,
        beat: Callable[[], None],
        parted: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``beat`` tells the supervisor that this process lives, ``parted`` that there is nobody to ask any more."""
        self._to, self._order, self._model, self._beat, self._parted = to, order, model, beat, parted
        self._clock = clock
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
        patience = Patience(ANSWER_S_MAX, self._beat, self._clock)
        try:
            self._send((_QUESTION.pack(len(body), -1 if json_bytes is None else json_bytes), body), patience)
            return self._read(patience)
        except TooLargeToPassOn:
            return None
        except (Left, MemoryError):  # no room here for an answer is nobody's failure either
            pass
        except (OSError, Broken):
            self._lost += 1
        self.close()
        self._parted()
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

    def _send(self, question: tuple[Part, ...], patience: Patience) -> None:
        try:
            patience.send(self._to, question)
        except OSError:
            self._read(patience)  # it may have said that it leaves
            raise

    def _read(self, patience: Patience) -> Reply:
        status, json_bytes, tensors = _ANSWER.unpack(patience.receive(self._to, _ANSWER.size))
        if status == _LEAVING:
            raise Left
        if status == _TOO_LARGE:
            raise TooLargeToPassOn
        if json_bytes > ANSWER_BYTES_MAX or tensors > TENSORS_MAX or not 200 <= status <= 599:
            raise Broken("no answer that a worker gives")
        sizes = [_TENSOR.unpack(patience.receive(self._to, _TENSOR.size))[0] for _ in range(tensors)]
        if json_bytes + sum(sizes) > ANSWER_BYTES_MAX:
            raise Broken("larger than any answer is")
        said = bytes(patience.receive(self._to, json_bytes))
        return Reply(status=status, json=said, tensors=tuple(patience.receive(self._to, size) for size in sizes))


class Answering:
    """The end of the worker beside it: one question a turn of the loop, so that orders are heard in between."""

    def __init__(
        self,
        reactor: Reactor,
        source: socket.socket,
        answer: Callable[[memoryview, int | None], Reply],
        body_bytes_max: int,
        beat: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``beat`` tells the supervisor that this process lives."""
        self._reactor, self._source, self._answer = reactor, source, answer
        self._body_bytes_max, self._beat, self._clock = body_bytes_max, beat, clock
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
                self._source.send(_ANSWER.pack(_LEAVING, 0, 0))
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
        self._source.settimeout(LOOK_EVERY_S)
        try:
            Patience(PASS_ON_S_MAX, self._beat, self._clock).send(self._source, _as_parts(reply))
        finally:
            if self._source.fileno() >= 0:
                self._source.setblocking(False)


def _as_parts(reply: Reply) -> tuple[Part, ...]:
    sizes = [len(each) for each in reply.tensors]
    if len(sizes) > TENSORS_MAX or len(reply.json) + sum(sizes) > ANSWER_BYTES_MAX:
        return (_ANSWER.pack(_TOO_LARGE, 0, 0),)
    head = _ANSWER.pack(reply.status, len(reply.json), len(sizes)) + b"".join(_TENSOR.pack(each) for each in sizes)
    return (head + reply.json, *reply.tensors)
