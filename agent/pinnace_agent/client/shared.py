"""Asks through shared memory: tensors are laid where the worker reads them, and a notice says that they are there."""

from __future__ import annotations

import array
import fcntl
import json
import mmap
import os
import select
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import quote

import numpy as np

from pinnace_agent.client.errors import BadAnswer, ClientError, NotReachable, Refused, Unavailable
from pinnace_agent.client.http import Answer, HttpConnection, check
from pinnace_agent.shared_layout import (
    ALIGNMENT,
    DESCRIPTORS,
    NOTICE,
    NOTICES_BYTES,
    Layout,
    Question,
    SharedAnswer,
    read_answer,
    write_question,
)

_LEAST_BYTES: Final = 64 * 1024
_TOO_SMALL: Final = 413


class SharedConnection:
    """One model's shared memory, made when it is needed, anew when it was lost or is too small. For one thread."""

    def __init__(self, path: Path, model: str, timeout_s: float) -> None:
        if not hasattr(os, "memfd_create"):
            raise NotReachable("shared memory needs Linux; leave out shared_memory=True")
        self._path, self._model, self._timeout_s = path, model, timeout_s
        self._session: _Session | None = None
        self._answer_bytes = _LEAST_BYTES

    def ask(self, described: bytes, parts: Sequence[memoryview]) -> Answer:
        """Send a request and return the answer. A request that nobody has taken is sent again, once.

        Raises:
            ClientError
        """
        needed = len(described) + sum(map(len, parts)) + ALIGNMENT
        answer = self._ask(described, parts, needed)
        if answer.status == _TOO_SMALL:
            self._answer_bytes = _next_power(_needed_for_answer(answer) + ALIGNMENT)
            self.close()
            answer = self._ask(described, parts, needed)
        return answer

    def close(self) -> None:
        """Share no more."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _ask(self, described: bytes, parts: Sequence[memoryview], needed: int) -> Answer:
        try:
            return self._with_room_for(needed).ask(described, parts)
        except _NotTaken:
            self.close()
        except ClientError:
            self.close()
            raise
        try:
            return self._with_room_for(needed).ask(described, parts)
        except _NotTaken as error:
            self.close()
            raise Unavailable(f"the worker at {self._path} went away before it was asked", 1) from error
        except ClientError:
            self.close()
            raise

    def _with_room_for(self, needed: int) -> _Session:
        session = self._session
        if session is None or session.layout.request_bytes < needed:
            self.close()
            layout = Layout(request_bytes=_next_power(needed), answer_bytes=self._answer_bytes)
            session = self._session = _Session(self._path, self._model, self._timeout_s, layout)
        return session


class _NotTaken(Exception):
    """The worker went away before it took the request."""


class _Session:
    def __init__(self, path: Path, model: str, timeout_s: float, layout: Layout) -> None:
        self.layout, self._path, self._timeout_s = layout, path, timeout_s
        self._number = 0
        self._connection = HttpConnection(path, timeout_s)
        body = json.dumps({"request_bytes": layout.request_bytes, "answer_bytes": layout.answer_bytes}).encode()
        head = (
            f"POST /v2/models/{quote(model)}/shared_memory HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        answer = check(self._connection.ask(head.encode() + body, descriptors=DESCRIPTORS))
        if len(answer.descriptors) != DESCRIPTORS or self._connection.sock is None:
            for descriptor in answer.descriptors:
                os.close(descriptor)
            self._connection.close()
            raise BadAnswer(f"expected {DESCRIPTORS} descriptors of shared memory, found {len(answer.descriptors)}")
        memory, self._asked, self._answered = answer.descriptors
        self._pages = mmap.mmap(memory, layout.size_bytes)
        os.close(memory)
        self._memory = memoryview(self._pages)
        self._poll = select.poll()
        self._poll.register(self._answered, select.POLLIN)
        self._poll.register(self._connection.sock, select.POLLIN)

    def ask(self, described: bytes, parts: Sequence[memoryview]) -> Answer:
        """Lay a request, wait and return a copy of the answer."""
        self._number += 1
        start = place = self.layout.question_start(self._number, len(described))
        whole: tuple[bytes | memoryview, ...] = (described, *parts)
        for part in whole:
            end = place + len(part)
            self._memory[place:end] = part
            place = end
        write_question(self._memory, Question(self._number, start, len(described), place - start))
        try:
            os.write(self._asked, NOTICE)
        except BrokenPipeError as error:
            raise _NotTaken from error
        return self._copied(self._wait())

    def close(self) -> None:
        """End the connection, which is the lease of the memory."""
        self._connection.close()
        os.close(self._asked)
        os.close(self._answered)
        self._memory.release()
        self._pages.close()

    def _wait(self) -> SharedAnswer:
        until_s = time.monotonic() + self._timeout_s
        left_s = self._timeout_s
        while left_s > 0:
            ready = self._poll.poll(left_s * 1000)
            answered = any(descriptor == self._answered for descriptor, _ in ready)
            if answered:
                os.read(self._answered, NOTICES_BYTES)
            answer = read_answer(self._memory)
            if answer.number == self._number:
                return answer
            if ready and not answered:
                self._raise_gone()
            left_s = until_s - time.monotonic()
        raise Unavailable(f"no answer from {self._path} within {self._timeout_s:g} s", 1)

    def _raise_gone(self) -> NoReturn:
        unread = array.array("i", [0])
        fcntl.ioctl(self._asked, termios.FIONREAD, unread)
        if unread[0]:
            raise _NotTaken
        raise Unavailable(f"the worker at {self._path} went away while it was asked", 1)

    def _copied(self, found: SharedAnswer) -> Answer:
        if not self.layout.holds_answer(found):
            raise BadAnswer("the answer does not lie in the shared memory")
        body = np.empty(found.total_bytes, np.uint8).data
        body[:] = self._memory[found.start : found.start + found.total_bytes]
        headers = {"inference-header-content-length": str(found.json_bytes)}
        return Answer(status=found.status, headers=headers, body=body)


def _needed_for_answer(answer: Answer) -> int:
    try:
        needed = json.loads(bytes(answer.body))["answer_bytes"]
    except (ValueError, KeyError, TypeError) as error:
        raise Refused("the answer is too large for shared memory", _TOO_SMALL) from error
    if not isinstance(needed, int) or needed < 0:
        raise BadAnswer("the worker did not say how large its answer is")
    return needed


def _next_power(size_bytes: int) -> int:
    return max(_LEAST_BYTES, 1 << (size_bytes - 1).bit_length())
