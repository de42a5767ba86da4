"""Starts workers when they are due, ends them, and lets one of them take a model's socket."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Protocol

from pinnace_agent.core import effects
from pinnace_agent.errors import AgentError
from pinnace_agent.serving.telling import Telling
from pinnace_agent.serving.workers import Aimed, Due, Job, Workers, aim_of, runs
from pinnace_agent.worker.events import WorkerRef
from pinnace_contract.ids import Digest, ModelName, ReleaseId
from pinnace_contract.latest import Arm

SLOW_SAMPLES_MIN: Final = 100  # fewer say little about a 95th percentile


class Host(Protocol):
    """What is asked of the supervisor's side of the workers."""

    def open(self, model: ModelName, reason: str = "", retry_after_s: int = 5) -> None: ...
    def self_test(self, worker: WorkerRef) -> None: ...
    def serve(self, worker: WorkerRef, arm: Arm = Arm.SERVING, slow_over_s: float | None = None) -> None: ...
    def shadow(self, control: WorkerRef, candidate: WorkerRef, share_percent: int) -> None: ...
    def split(
        self,
        front: WorkerRef,
        beside: WorkerRef,
        *,
        control_percent: int,
        beside_is_control: bool,
        slow_over_s: float | None = None,
    ) -> None: ...
    def collect(self, worker: WorkerRef) -> None: ...
    def stop(self, worker: WorkerRef, reason: str = "", retry_after_s: int = 5) -> None: ...


class Starter(Protocol):
    """Starts a worker for a variant of a release; it knows where their files are."""

    def __call__(self, model: ModelName, release: ReleaseId, variant: Digest) -> WorkerRef: ...


class Processes:
    """The workers of every model, and the starts that are due."""

    def __init__(self, host: Host, start: Starter, clock: Callable[[], float], telling: Telling) -> None:
        self.host, self.telling = host, telling
        self.models: dict[ModelName, Workers] = {}
        self._start, self._clock = start, clock

    def of(self, name: ModelName) -> Workers:
        """Return the workers of a model."""
        return self.models.setdefault(name, Workers())

    @property
    def due_s(self) -> float:
        """When the next start is due; one that waits for another worker's end begins with that."""
        starts = (start for model in self.models.values() for start in model.startable)
        return min((start.at_s for start in starts), default=math.inf)

    def tick(self) -> None:
        """Begin the starts that are due."""
        now_s = self._clock()
        for model in self.models.values():
            for start in model.startable:
                if start.at_s <= now_s:
                    model.due.remove(start)
                    self._load(start.job)

    def begin(
        self,
        name: ModelName,
        job: Job,
        *,
        stop_first: bool = False,
        after_s: float = 0.0,
        why: str = "the model is being replaced",
    ) -> None:
        """Start a worker for a job, now, later, or once what serves has been stopped for it."""
        model = self.of(name)
        if stop_first and model.serving is not None:
            self.end(model, model.serving, why)
        model.due.append(Due(at_s=self._clock() + after_s, job=job, after_end=stop_first))
        self.tick()

    def give_up(self, model: Workers, *kinds: type[Aimed]) -> None:
        """Forget starts that are due or under way for effects that something newer has replaced."""
        model.due = [start for start in model.due if not isinstance(start.job.effect, kinds)]
        for ref, job in list(model.jobs.items()):
            if isinstance(job.effect, kinds):
                self.end(model, ref, "something newer took its place")

    def end(self, model: Workers, ref: WorkerRef, why: str = "") -> None:
        """Stop a worker in order; whoever asks the socket meanwhile is told why."""
        model.ending.add(ref)
        model.jobs.pop(ref, None)
        if model.serving == ref:
            model.serving = None
        if model.beside == ref:
            model.beside = model.joined = None
        self.host.stop(ref, why)

    def end_all(self, model: Workers, why: str) -> None:
        """Stop every worker of a model."""
        model.due.clear()
        for ref in {*model.jobs, model.serving, model.beside, model.candidate, model.standby}:
            if ref is not None:
                self.end(model, ref, why)
        model.candidate = model.shadow = model.ready = model.standby = model.split = None

    def put_in_front(self, model: Workers, ref: WorkerRef) -> None:
        """Let a worker take the socket."""
        split = model.split
        if split is None and model.serving is not None and model.latency.n >= SLOW_SAMPLES_MIN:
            model.slow_over_s = model.latency.quantile(0.95)
        arm = Arm.SERVING if split is None else Arm.CONTROL if runs(ref, split.control) else Arm.CANDIDATE
        self.host.serve(ref, arm, model.slow_over_s)

    def _load(self, job: Job) -> None:
        aim = aim_of(job.effect)
        model = self.of(job.effect.model)
        try:
            ref = self._start(job.effect.model, aim.release, aim.variant)
        except AgentError as error:
            self.telling.failed(job, error.cause, str(error), "")
            self.host.open(job.effect.model, f"the model cannot be started: {error}")
            return
        model.jobs[ref] = job
        if isinstance(job.effect, effects.SelfTest | effects.Shadow | effects.MakeReady | effects.Activate):
            model.candidate = ref
