"""The supervisor's part in splits: which two workers are joined, who takes the socket of one that dies, and who parted.

Owns the socket pairs until they are handed over. What the two say to each other is ``split.py``'s, what becomes of the
model the lifecycle's.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from pinnace_agent.worker import protocol
from pinnace_agent.worker.events import WorkerId, WorkerRef

log = logging.getLogger(__name__)

JOINS_MAX: Final = 3  # of a split whose workers part, each within JOINED_S of the one before
JOINED_S: Final = 600.0


class Tell(Protocol):
    """Gives a worker an order; the socket goes with it, and away."""

    def __call__(self, ref: WorkerRef, order: protocol.Order, passed: socket.socket | None = None, /) -> None: ...


@dataclass(slots=True, kw_only=True)
class _Beside:
    """The other arm of a split, as the worker that holds the socket has it.

    ``heir``: as what that one takes the socket when this one dies. ``parted``: they lost each other, and are to be
    joined again, ``joins`` times in a row at most.
    """

    front: WorkerRef
    ref: WorkerRef
    order: protocol.Split
    heir: protocol.Serve
    joined_s: float
    parted: bool = False
    joins: int = 0


class Splits:
    """The splits of all models. For one thread."""

    def __init__(
        self,
        tell: Tell,
        end: Callable[[WorkerRef, str], None],
        lives: Callable[[WorkerRef], bool],
        clock: Callable[[], float],
    ) -> None:
        """``end`` ends a worker for a reason, ``lives`` tells of one that is neither gone nor going."""
        self._tell, self._end, self._lives, self._clock = tell, end, lives, clock
        self._beside: dict[WorkerId, _Beside] = {}  # by the worker that holds the socket
        self._awaited: dict[WorkerId, tuple[_Beside, socket.socket]] = {}  # by the one that is to say that it answers

    def begin(self, front: WorkerRef, beside: WorkerRef, order: protocol.Split, heir: protocol.Serve) -> None:
        """Join two workers, in the place of whatever ``front`` was joined with."""
        joined = _Beside(front=front, ref=beside, order=order, heir=heir, joined_s=self._clock())
        self._beside[front.id] = joined
        self._join(joined)

    def answers(self, ref: WorkerRef) -> None:
        """Let a worker that answers now be asked."""
        awaited = self._awaited.pop(ref.id, None)
        if awaited is not None:
            self._tell(awaited[0].front, awaited[0].order, awaited[1])

    def parted(self, front: WorkerRef) -> None:
        """Remember that a worker has nobody to ask; at the next look it is known who has ended."""
        joined = self._beside.get(front.id)
        if joined is not None:
            joined.parted = True

    def over(self, ref: WorkerRef) -> None:
        """Forget the split of either of its workers."""
        for joined in [each for each in self._beside.values() if ref in (each.front, each.ref)]:
            del self._beside[joined.front.id]
        for joined, sock in [each for each in self._awaited.values() if ref in (each[0].front, each[0].ref)]:
            del self._awaited[joined.ref.id]
            sock.close()

    def heir(self, front: WorkerRef) -> tuple[WorkerRef, protocol.Serve] | None:
        """Return who takes the socket of this worker, and as what."""
        joined = self._beside.get(front.id)
        return (joined.ref, joined.heir) if joined is not None and self._lives(joined.ref) else None

    def look(self) -> None:
        """Join what parted, unless one of the two is ending; end an arm that parts again and again."""
        for joined in tuple(self._beside.values()):
            if joined.parted:
                joined.parted = False
                self._join_again(joined)

    def _join(self, joined: _Beside) -> None:
        """Have the one beside answer; the one in front is told as soon as it does, so that nobody waits before."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        before = self._awaited.pop(joined.ref.id, None)
        if before is not None:
            before[1].close()
        self._awaited[joined.ref.id] = joined, one
        self._tell(joined.ref, protocol.Answer(arm=joined.heir.arm, slow_over_s=joined.heir.slow_over_s), other)

    def _join_again(self, joined: _Beside) -> None:
        if not (self._lives(joined.front) and self._lives(joined.ref)):
            return
        now_s = self._clock()
        joined.joins = 1 if now_s - joined.joined_s > JOINED_S else joined.joins + 1
        joined.joined_s = now_s
        if joined.joins > JOINS_MAX:
            self._end(joined.ref, f"it did not answer its share of the requests {JOINS_MAX + 1} times in a row")
            return
        log.warning("%s: the two workers of a split lost each other, and are joined again", joined.front.model)
        self._join(joined)
