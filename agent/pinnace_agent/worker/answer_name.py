"""What an answer is called, and who gave it: its worker, in which arm, and which of that worker's answers it is.

Truth and outcome may come long after the answer, when its worker serves in another arm or is gone; so the arm is a part
of the name. To applications a name is opaque.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pinnace_contract.latest import Arm

NUMBER_DIGITS_MAX: Final = 16
_LETTERS: Final = {Arm.SERVING: "s", Arm.CONTROL: "c", Arm.CANDIDATE: "d", Arm.SHADOW: "h"}
_ARMS: Final = {letter: arm for arm, letter in _LETTERS.items()}
_HEX: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerName:
    """``RUN-WORKER-ARM NUMBER``, as in ``5f0c1a2b-1-c7``. ``run`` is this run of the agent; numbers are hexadecimal."""

    run: str
    worker: int
    arm: Arm
    number: int


def worker_tag(run: str, worker: int) -> str:
    """Return what the names of all answers of one worker begin with."""
    return f"{run}-{worker:x}"


def named(tag: str, arm: Arm, number: int) -> str:
    """Return the name of an answer of the worker with this tag."""
    return f"{tag}-{_LETTERS[arm]}{number:x}"


def read(name: str) -> AnswerName | None:
    """Return what a name says; None: no answer is called that."""
    match name.split("-"):
        case [run, worker, last] if last[:1] in _ARMS and _is_hex(worker) and _is_hex(last[1:]):
            return AnswerName(run=run, worker=int(worker, 16), arm=_ARMS[last[0]], number=int(last[1:], 16))
        case _:
            return None


def _is_hex(text: str) -> bool:
    return 0 < len(text) <= NUMBER_DIGITS_MAX and not set(text) - _HEX
