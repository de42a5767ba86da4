"""From the lifecycle's wishes to workers and back: which worker is the candidate, which one answers the socket.

The core speaks of releases, ``WorkerHost`` of processes; this maps one to the other for every model. It decides nothing
about releases, and is driven by one thread: effects and worker events go in, core events and counted blocks come out.

``workers`` is what is known of a model's workers, ``processes`` starts and ends them. ``acting`` carries out effects,
``hearing`` takes what happened; ``beside`` is about what is loaded and answers nobody, ``arms`` about two that answer,
``counting`` about what they count, and ``telling`` about what the lifecycle hears.
"""

from __future__ import annotations

from collections.abc import Callable

from pinnace_agent.core import effects
from pinnace_agent.serving.acting import Acting
from pinnace_agent.serving.arms import Arms
from pinnace_agent.serving.beside import Beside
from pinnace_agent.serving.hearing import Hearing
from pinnace_agent.serving.processes import Host, Processes, Starter
from pinnace_agent.serving.telling import CoreEvent, Telling
from pinnace_agent.worker import events as worker_events
from pinnace_agent.worker.events import WorkerRef
from pinnace_contract.ids import Digest, ModelName
from pinnace_contract.latest import Block

__all__ = ["CoreEvent", "Host", "Serving", "Starter"]


class Serving:
    """The workers of every model, as the lifecycle wants them."""

    def __init__(self, host: Host, start: Starter, clock: Callable[[], float]) -> None:
        self._host, self._telling = host, Telling()
        self._processes = Processes(host, start, clock, self._telling)
        beside, arms = Beside(self._processes), Arms(self._processes)
        self._acting = Acting(self._processes, beside, arms)
        self._hearing = Hearing(self._processes, beside, arms)

    def act(self, effect: effects.Effect) -> None:
        """Carry out one effect; what comes of it arrives as worker events."""
        self._acting.act(effect)

    def heard(self, event: worker_events.WorkerEvent) -> Block | None:
        """Take what happened to a worker; returns counts for the report window when there are any."""
        return self._hearing.heard(event)

    def take(self) -> list[CoreEvent]:
        """Return what the lifecycle must hear of, in order."""
        return self._telling.take()

    def tick(self) -> None:
        """Begin the starts that are due."""
        self._processes.tick()

    @property
    def due_s(self) -> float:
        """When the next start is due; one that waits for another worker's end begins with that."""
        return self._processes.due_s

    def explain(self, name: ModelName, why: str) -> None:
        """Say why nothing answers for a model."""
        self._host.open(name, why)

    def collect(self) -> None:
        """Ask every worker that answers, applications or copies, for its counts."""
        for model in self._processes.models.values():
            for ref in (model.serving, model.beside, model.shadow):
                if ref is not None:
                    self._host.collect(ref)

    def serving(self, model: ModelName) -> WorkerRef | None:
        """Return the worker that answers a model's socket."""
        found = self._processes.models.get(model)
        return found.serving if found else None

    def answering(self, model: ModelName) -> tuple[WorkerRef, ...]:
        """Return the workers that answer a model's requests: two in a split."""
        found = self._processes.models.get(model)
        return () if found is None else tuple(ref for ref in (found.serving, found.beside) if ref is not None)

    def variants(self) -> dict[ModelName, Digest]:
        """Return the variant that answers each model's socket, where one does; in a split, what is not the control."""
        found = {name: model.main_arm or model.serving for name, model in self._processes.models.items()}
        return {name: ref.variant for name, ref in found.items() if ref is not None}
