"""Copies of what was asked and answered, from the worker that serves to a candidate in its shadow.

Owns the stream between the two and the promise that nobody who asks waits for it: the sender keeps a bounded queue,
drops the oldest and counts it, and writes only what the socket takes at once. Either side may run a hostile file, so
what comes is bounded and checked before it is used.
"""

from __future__ import annotations

import json
import math
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeGuard

import numpy as np

from pinnace_agent.reactor import READ, WRITE, Reactor
from pinnace_contract.latest import Datatype
from pinnace_runtime.arrays import Array, datatype_of, dtype_of

COPY_BYTES_MAX: Final = 8 * 1024 * 1024  # a photo of 1080p as bytes; larger requests are not shadowed
QUEUE_BYTES_MAX: Final = 8 * 1024 * 1024  # of the serving worker's memory
QUEUE_MAX: Final = 32
HEADER_BYTES_MAX: Final = 16 * 1024
OUTPUTS_MAX: Final = 64
_PREFIX: Final = struct.Struct(">II")  # bytes of the header, bytes of body and outputs
_WHOLE: Final = 2**32
_MIXER: Final = 2_654_435_761  # Knuth's: neighbours' numbers land far apart, so a share is no rhythm of the line


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One request as it came, and what was answered. ``dropped`` copies before it were never sent."""

    body: memoryview
    json_bytes: int | None
    outputs: Mapping[str, Array]
    dropped: int = 0


class BrokenCopy(Exception):
    """What came is no copy: the stream is of no more use."""


def chosen(number: int, share_percent: int) -> bool:
    """Tell whether the request of this number is one of a share; for ever the same, and of every kind."""
    return (number * _MIXER % _WHOLE) * 100 < share_percent * _WHOLE


class Forwarder:
    """The serving worker's end."""

    def __init__(self, reactor: Reactor, to: socket.socket, share_percent: int) -> None:
        self._reactor, self._to, self._share_percent = reactor, to, share_percent
        self._queue: deque[tuple[Copy, int]] = deque()
        self._queued_bytes = 0
        self._sending: list[memoryview] = []
        self._blocked = False
        self.dropped = 0
        to.setblocking(False)
        # Nothing is ever said this way, so "readable" can only mean that the candidate has left.
        reactor.add(to, self._ready, READ)

    def wants(self, number: int) -> bool:
        """Tell whether the answer of this number is one of the share; of a hash, so that both see every kind."""
        return not self.closed and chosen(number, self._share_percent)

    @property
    def closed(self) -> bool:
        """Whether the candidate has left."""
        return self._to.fileno() < 0

    def offer(self, body: memoryview, json_bytes: int | None, outputs: Mapping[str, Array]) -> None:
        """Queue a copy and send what the socket takes; never waits. ``body`` must not change any more."""
        if self.closed:
            return
        size_bytes = len(body) + sum(array.nbytes for array in outputs.values())
        if size_bytes > COPY_BYTES_MAX:
            self.dropped += 1
            return
        while self._queue and (len(self._queue) >= QUEUE_MAX or self._queued_bytes + size_bytes > QUEUE_BYTES_MAX):
            self._queued_bytes -= self._queue.popleft()[1]
            self.dropped += 1
        self._queue.append((Copy(body=body, json_bytes=json_bytes, outputs=outputs), size_bytes))
        self._queued_bytes += size_bytes
        if not self._blocked:
            self._send()

    def close(self) -> None:
        """Send nothing more."""
        if not self.closed:
            self._reactor.remove(self._to)
            self._to.close()
        self._queue.clear()
        self._sending.clear()

    def _ready(self, ready: int) -> None:
        if ready & READ:
            self.close()
        else:
            self._send()

    def _send(self) -> None:
        """Write once: what one write takes is what the kernel buffers, so a turn of the loop is never long."""
        if not self._sending and self._queue:
            copy, size_bytes = self._queue.popleft()
            self._queued_bytes -= size_bytes
            self._sending = _parts(copy, self.dropped)
            self.dropped = 0
        try:
            sent = self._to.sendmsg(self._sending) if self._sending else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        while self._sending and sent >= len(self._sending[0]):
            sent -= len(self._sending.pop(0))
        if sent:
            self._sending[0] = self._sending[0][sent:]
        blocked = bool(self._sending or self._queue)
        if blocked is not self._blocked:
            self._blocked = blocked
            self._reactor.want(self._to, READ | WRITE if blocked else READ)


class Receiver:
    """The candidate's end: one copy a turn of the loop, so that orders are heard in between."""

    def __init__(self, reactor: Reactor, source: socket.socket, answer: Callable[[Copy], None]) -> None:
        self._reactor, self._source, self._answer = reactor, source, answer
        self._prefix = bytearray()
        self._content = memoryview(b"")
        self._header_bytes = self._filled = 0
        source.setblocking(False)
        reactor.add(source, self._ready, READ)

    def close(self) -> None:
        """Take nothing more."""
        if self._source.fileno() >= 0:
            self._reactor.remove(self._source)
            self._source.close()

    def _ready(self, _ready: int) -> None:
        try:
            copy = self._read()
        except BlockingIOError:
            return
        except (OSError, BrokenCopy):
            self.close()
            return
        if copy is not None:
            self._answer(copy)

    def _read(self) -> Copy | None:
        while len(self._prefix) < _PREFIX.size:
            data = self._source.recv(_PREFIX.size - len(self._prefix))
            if not data:
                raise BrokenCopy("the other side has left")
            self._prefix += data
            if len(self._prefix) == _PREFIX.size:
                self._header_bytes, content_bytes = _PREFIX.unpack(self._prefix)
                if self._header_bytes > HEADER_BYTES_MAX or content_bytes > COPY_BYTES_MAX:
                    raise BrokenCopy("larger than any copy is")
                self._content, self._filled = memoryview(bytearray(self._header_bytes + content_bytes)), 0
        while self._filled < len(self._content):
            n = self._source.recv_into(self._content[self._filled :])
            if not n:
                raise BrokenCopy("the other side has left")
            self._filled += n
        content, self._content = self._content, memoryview(b"")
        self._prefix.clear()
        return _copy(bytes(content[: self._header_bytes]), content[self._header_bytes :])


# --- one copy as bytes ---------------------------------------------------------------------------------------------


def _parts(copy: Copy, dropped: int) -> list[memoryview]:
    arrays = {name: np.asarray(array, order="C") for name, array in copy.outputs.items()}
    described = [[name, datatype_of(array.dtype).value, list(array.shape)] for name, array in arrays.items()]
    header = json.dumps([dropped, copy.json_bytes, len(copy.body), described]).encode()
    content = [copy.body, *(array.reshape(-1).view(np.uint8).data for array in arrays.values() if array.nbytes)]
    prefix = _PREFIX.pack(len(header), sum(len(part) for part in content))
    return [memoryview(prefix + header), *(part for part in content if len(part))]


def _copy(header: bytes, content: memoryview) -> Copy:
    """Return the copy that these bytes are.

    Raises:
        BrokenCopy
    """
    try:
        dropped, json_bytes, body_bytes, described = json.loads(header)
        if not (_is_size(dropped) and (json_bytes is None or _is_size(json_bytes)) and _is_size(body_bytes)):
            raise BrokenCopy("not the sizes of a copy")
        outputs = _outputs(described, content[body_bytes:])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BrokenCopy(str(error)) from error
    return Copy(body=content[:body_bytes], json_bytes=json_bytes, outputs=outputs, dropped=dropped)


def _outputs(described: Sequence[tuple[object, str, Sequence[object]]], content: memoryview) -> dict[str, Array]:
    if len(described) > OUTPUTS_MAX:
        raise BrokenCopy("more outputs than a model has")
    outputs: dict[str, Array] = {}
    place = 0
    for name, datatype, shape in described:
        axes = [axis for axis in shape if _is_size(axis)]
        if not isinstance(name, str) or len(axes) != len(shape):
            raise BrokenCopy("not the description of an output")
        dtype = dtype_of(Datatype(datatype))
        end = place + dtype.itemsize * math.prod(axes)
        outputs[name] = np.frombuffer(bytes(content[place:end]), dtype).reshape(axes)
        place = end
    if place != len(content):
        raise BrokenCopy("the outputs are not as long as the copy")
    return outputs


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and 0 <= value < _WHOLE
