"""Inference through memory that a client shares with the worker; the HTTP connection that asked for it is its lease.

The worker makes memory and two pipes and hands memory and the client's ends over the Unix socket; when that connection
ends, so does the sharing. Pipes, because each end has flags of its own: a client could have the worker wait on an event
descriptor for ever. Meaning and counting of a request are the service's, the layout is in ``shared_layout.py``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
from collections.abc import Callable
from typing import Final

from pinnace_agent.http_message import Part, Response, refusal
from pinnace_agent.local_http import Connection
from pinnace_agent.reactor import Reactor
from pinnace_agent.shared_layout import NOTICE, NOTICES_BYTES, Layout, SharedAnswer, read_question, write_answer
from pinnace_agent.worker.reply import Reply
from pinnace_agent.worker.service import Service

WORDS_BYTES_MAX: Final = 4096
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class SharedMemory:
    """All sessions of this worker, within two bounds: of bytes and of number."""

    def __init__(self, reactor: Reactor, service: Service, *, size_bytes_max: int, connections_max: int) -> None:
        """A session holds its connection for as long as its client likes, so half of them are left for others."""
        self._reactor, self._service, self._size_bytes_max = reactor, service, size_bytes_max
        self._sessions_max = max(1, connections_max // 2)
        self._size_bytes = self._sessions = 0

    def open(self, body: memoryview, connection: Connection) -> Response:
        """Answer a request for shared memory: ``{"request_bytes": …, "answer_bytes": …}``."""
        layout = _asked_layout(body)
        if layout is None:
            return refusal(400, 'expected {"request_bytes": N, "answer_bytes": M}, whole numbers above 0')
        if self._size_bytes + layout.size_bytes > self._size_bytes_max:
            free = self._size_bytes_max - self._size_bytes
            return refusal(503, f"{layout.size_bytes} bytes to be shared, {free} are free: use HTTP", retry_after_s=5)
        if self._sessions >= self._sessions_max:
            return refusal(
                503, f"all {self._sessions_max} places for shared memory are taken: use HTTP", retry_after_s=5
            )
        try:
            session = _Session(layout, self._service, self._reactor.remove)
        except OSError as error:
            return refusal(503, f"no memory to share: {error.strerror}", retry_after_s=5)
        self._size_bytes += layout.size_bytes
        self._sessions += 1
        self._reactor.add(session.asked, session.ready)

        def closed() -> None:
            session.ready(0)  # what was asked before the end is still answered
            self._reactor.remove(session.asked)
            self._size_bytes -= layout.size_bytes
            self._sessions -= 1
            session.close()

        connection.adopt(closed)
        return Response(
            parts=(json.dumps({"size_bytes": layout.size_bytes}).encode(),),
            descriptors=session.theirs,
            sent=session.handed_over,
        )


class _Session:
    """One client's memory."""

    def __init__(self, layout: Layout, service: Service, unwatch: Callable[[int], None]) -> None:
        """``unwatch`` waits no more for what the client asks.

        Raises:
            OSError: no memory, or no descriptors.
        """
        self._layout, self._service, self._unwatch = layout, service, unwatch
        with contextlib.ExitStack() as undo:
            memory = os.memfd_create("pinnace-tensors", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            undo.callback(os.close, memory)
            os.ftruncate(memory, layout.size_bytes)
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
            self.asked, asks = _pipe(undo)
            hears, self._answered = _pipe(undo)
            self._pages = mmap.mmap(memory, layout.size_bytes)
            undo.pop_all()
        self.theirs = (memory, asks, hears)
        self._memory = memoryview(self._pages)
        self._number = 0
        self._handed_over = False

    def handed_over(self) -> None:
        """Keep nothing of what is the client's."""
        if not self._handed_over:
            self._handed_over = True
            for each in self.theirs:
                os.close(each)

    def ready(self, _events: int) -> None:
        """Answer what was asked, if something was."""
        try:
            if not os.read(self.asked, NOTICES_BYTES):
                self._unwatch(self.asked)  # the client asks no more
                return
        except BlockingIOError:
            return
        question = read_question(self._memory)
        if question.number == self._number:
            return
        self._number = question.number
        if self._layout.holds_question(question):
            body = self._memory[question.start : question.start + question.total_bytes]
            reply = self._service.infer(body, question.json_bytes, lent=True)
        else:
            reply = _error(400, "the request does not lie in the shared memory")
        self._answer(reply)

    def close(self) -> None:
        """Forget the client."""
        self.handed_over()
        os.close(self.asked)
        os.close(self._answered)
        with contextlib.suppress(BufferError):  # an array that is still being counted keeps the pages until it is gone
            self._memory.release()
            self._pages.close()

    def _answer(self, reply: Reply) -> None:
        needed = len(reply.json) + sum(map(len, reply.tensors))
        start = self._layout.answer_start(len(reply.json))
        if start + needed > self._layout.size_bytes:
            reply = _error(413, f"the answer has {needed} bytes; ask for more shared memory", answer_bytes=needed)
            needed, start = len(reply.json), self._layout.answer_start(len(reply.json))
        place = start
        parts: tuple[Part, ...] = (reply.json, *reply.tensors)
        for part in parts:
            end = place + len(part)
            self._memory[place:end] = part
            place = end
        write_answer(self._memory, SharedAnswer(self._number, reply.status, start, len(reply.json), needed))
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # a client that does not hear it is its own affair
            os.write(self._answered, NOTICE)


def _pipe(undo: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for end in ends:
        undo.callback(os.close, end)
    return ends


def _asked_layout(body: memoryview) -> Layout | None:
    if len(body) > WORDS_BYTES_MAX:
        return None
    try:
        asked = json.loads(bytes(body))
        request_bytes, answer_bytes = asked["request_bytes"], asked["answer_bytes"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not all(isinstance(each, int) and 0 < each < 2**40 for each in (request_bytes, answer_bytes)):
        return None
    pages = [-(-each // mmap.PAGESIZE) * mmap.PAGESIZE for each in (request_bytes, answer_bytes)]
    return Layout(request_bytes=pages[0], answer_bytes=pages[1])


def _error(status: int, message: str, **facts: int) -> Reply:
    return Reply(status=status, json=json.dumps({"error": message, **facts}).encode())
