"""How a worker and a client on one device share memory: one file of pages, two places for requests, one for answers.

The worker makes the file and seals its size, so that a client can change bytes in it but never take pages away. A
request lies in place ``number % 2``: while the worker still counts the inputs of one request, the client may already
write the next. What a client writes is as untrusted here as on a socket: whoever reads it checks the numbers first.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

ALIGNMENT: Final = 64  # of the first tensor
DESCRIPTORS: Final = 3  # that come with the answer to "open": the memory, and ends of pipes to say and hear a notice
NOTICE: Final = b"\1"  # "I have asked", "I have answered"
NOTICES_BYTES: Final = 4096  # to read at once: however often it was said
_CONTROL_BYTES: Final = 4096
_PLACES: Final = 2
_QUESTION: Final = struct.Struct("<QQQQ")
_ANSWER: Final = struct.Struct("<QQQQQ")
_ANSWER_AT: Final = 64  # a cache line of its own


class Question(NamedTuple):
    """Where a request lies: JSON from ``start`` on, tensors behind it, ``total_bytes`` together."""

    number: int
    start: int
    json_bytes: int
    total_bytes: int


class SharedAnswer(NamedTuple):
    """Where the answer to request ``number`` lies, and its HTTP status."""

    number: int
    status: int
    start: int
    json_bytes: int
    total_bytes: int


class Layout:
    """Sizes of one shared memory. ``request_bytes`` is for each of the two places."""

    __slots__ = ("_answers_at", "answer_bytes", "request_bytes", "size_bytes")

    def __init__(self, *, request_bytes: int, answer_bytes: int) -> None:
        self.request_bytes, self.answer_bytes = request_bytes, answer_bytes
        self._answers_at = _CONTROL_BYTES + _PLACES * request_bytes
        self.size_bytes = self._answers_at + answer_bytes

    def question_start(self, number: int, json_bytes: int) -> int:
        """Return where request ``number`` begins, so that its first tensor is aligned."""
        return _CONTROL_BYTES + number % _PLACES * self.request_bytes + -json_bytes % ALIGNMENT

    def answer_start(self, json_bytes: int) -> int:
        """Return where an answer begins."""
        return self._answers_at + -json_bytes % ALIGNMENT

    def holds_question(self, question: Question) -> bool:
        """Tell whether a request lies where requests lie."""
        _, start, json_bytes, total_bytes = question
        end = self._answers_at
        return _CONTROL_BYTES <= start <= end and json_bytes <= total_bytes <= end - start

    def holds_answer(self, answer: SharedAnswer) -> bool:
        """Tell whether an answer lies where answers lie."""
        _, _, start, json_bytes, total_bytes = answer
        return self._answers_at <= start and json_bytes <= total_bytes <= self.size_bytes - start


def write_question(memory: memoryview, question: Question) -> None:
    """State where a request lies; its bytes must be there before."""
    _QUESTION.pack_into(memory, 0, *question)


def read_question(memory: memoryview) -> Question:
    """Return what the client states."""
    return Question._make(_QUESTION.unpack_from(memory))


def write_answer(memory: memoryview, answer: SharedAnswer) -> None:
    """State where an answer lies; its bytes must be there before."""
    _ANSWER.pack_into(memory, _ANSWER_AT, *answer)


def read_answer(memory: memoryview) -> SharedAnswer:
    """Return what the worker states."""
    return SharedAnswer._make(_ANSWER.unpack_from(memory, _ANSWER_AT))
