"""Whoever answered in this run of the agent: what came of an answer is often known when its worker is gone."""

from __future__ import annotations

from typing import Final

from pinnace_agent.outcomes import Answerer
from pinnace_agent.worker import answer_name
from pinnace_agent.worker.events import WorkerId, WorkerRef
from pinnace_contract.latest import Arm

ANSWERERS_MAX: Final = 256  # workers that an outcome may still be told for, the last ones that ever served


class Answerers:
    """Workers that were let answer, and the arms in which they were. Written by one thread, read by any."""

    def __init__(self, run: str) -> None:
        """``run`` begins the names of all answers of this run of the agent."""
        self._run = run
        self._known: dict[WorkerId, tuple[WorkerRef, frozenset[Arm]]] = {}

    def add(self, worker: WorkerRef, arm: Arm) -> None:
        """Remember a worker that is let answer in this arm."""
        _, arms = self._known.pop(worker.id, (worker, frozenset[Arm]()))  # the one named last is forgotten last
        self._known[worker.id] = worker, arms | {arm}
        if len(self._known) > ANSWERERS_MAX:
            del self._known[next(iter(self._known))]

    def who(self, request: str) -> Answerer | None:
        """Return whoever gave an answer, by the answer's name; None: nobody that is known."""
        name = answer_name.read(request)
        if name is None or name.run != self._run:
            return None
        worker, arms = self._known.get(WorkerId(name.worker), (None, frozenset[Arm]()))
        return Answerer(worker=worker, arm=name.arm) if worker is not None and name.arm in arms else None
