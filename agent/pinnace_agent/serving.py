"""From the lifecycle's wishes to workers and back: which worker is the candidate, which one answers the socket.

The core speaks of releases, ``WorkerHost`` of processes; this maps one to the other for every model. It decides nothing
about releases, and is driven by one thread: effects and worker events go in, core events and counted blocks come out.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from pinnace_agent.core import effects, events
from pinnace_agent.core.slot import Servable
from pinnace_agent.errors import AgentError
from pinnace_agent.worker import events as worker_events
from pinnace_agent.worker.events import WorkerRef
from pinnace_agent.worker.protocol import NO_ANSWER
from pinnace_contract.errors import ContractError
from pinnace_contract.histogram import Histogram
from pinnace_contract.ids import Digest, ModelName, ReleaseId
from pinnace_contract.latest import Arm, Block, Cause, ErrorCount, LatencySummary, ShadowCounts, Swap

log = logging.getLogger(__name__)

CALLERS_FAULT: Final = "bad_request"  # errors under this name say nothing about the model
SLOW_SAMPLES_MIN: Final = 100  # fewer say little about a 95th percentile

# What a candidate's worker is started for.
_CANDIDATES: Final = (effects.SelfTest, effects.Shadow, effects.MakeReady, effects.Activate)

CoreEvent = tuple[ModelName, events.Event]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Control:
    """Have a control arm's worker; what it is beside is another effect's."""

    model: ModelName
    servable: Servable


_Both = effects.Activate | effects.Serve
_Answering = _Both | effects.Revert
_Aimed = effects.SelfTest | effects.Shadow | effects.MakeReady | effects.KeepStandby | _Answering | _Control


@dataclass(slots=True, kw_only=True)
class _Job:
    """What a worker that is loading, or testing, is meant for."""

    effect: _Aimed
    tested: worker_events.SelfTested | None = None


@dataclass(slots=True, kw_only=True)
class _Waiting:
    """A start that is due later, or once the worker before it has ended and given back its memory."""

    at_s: float
    job: _Job
    after_end: bool


@dataclass(slots=True, kw_only=True)
class _Asked:
    """Whom a worker was told to ask for its share, and how many answers of it may be missing that were not told of yet.

    One each time: where an answer is missing, nothing more is asked.
    """

    release: ReleaseId
    variant: Digest
    arm: Arm
    missing_max: int

    def unanswered(self, model: ModelName, n: int) -> Block:
        """Return what the one that asked counts for the one that did not answer, and nothing else."""
        errors = (ErrorCount(name=NO_ANSWER, n=n),)
        return Block(model=model, release=self.release, variant=self.variant, arm=self.arm, n=n, errors=errors)


@dataclass(slots=True, kw_only=True)
class _Model:
    """The workers of one model.

    ``shadow`` is the candidate while it is shown copies of what ``serving`` answers, ``ready`` while it waits for a
    switch; ``standby`` is loaded and answered before the last one.

    With a ``split`` there are two arms, ``main`` and its control; ``serving`` is the one that holds the socket,
    whichever it is, and asks the other one, ``beside``, for its share. ``joined``: who of them was told so; ``asked``:
    what whoever was told may still say of the other, for as long as it lives.
    """

    serving: WorkerRef | None = None
    candidate: WorkerRef | None = None
    shadow: WorkerRef | None = None
    ready: WorkerRef | None = None
    standby: WorkerRef | None = None
    share_percent: int = 0
    split: effects.Split | None = None
    main: Servable | None = None
    beside: WorkerRef | None = None
    joined: tuple[WorkerRef, WorkerRef] | None = None
    asked: dict[WorkerRef, _Asked] = field(default_factory=dict)
    started: dict[WorkerRef, worker_events.WorkerStarted] = field(default_factory=dict)
    jobs: dict[WorkerRef, _Job] = field(default_factory=dict)
    replay: effects.Replay | None = None
    waiting: list[_Waiting] = field(default_factory=list)
    ending: set[WorkerRef] = field(default_factory=set)
    latency: Histogram = field(default_factory=Histogram)
    slow_over_s: float | None = None


class Serving:
    """The workers of every model, as the lifecycle wants them."""

    def __init__(self, host: Host, start: Starter, clock: Callable[[], float]) -> None:
        self._host, self._start_worker, self._clock = host, start, clock
        self._models: dict[ModelName, _Model] = {}
        self._out: list[CoreEvent] = []

    # --- effects in ----------------------------------------------------------------------------------------------

    def act(self, effect: effects.Effect) -> None:
        """Carry out one effect; what comes of it arrives as worker events."""
        if isinstance(effect, effects.SelfTest):
            self._begin(effect.model, _Job(effect=effect), stop_first=effect.swap is Swap.STOP_FIRST)
        elif isinstance(effect, effects.Shadow):
            self._shadow(effect)
        elif isinstance(effect, effects.MakeReady):
            self._make_ready(effect)
        elif isinstance(effect, effects.KeepStandby):
            self._keep_standby(effect)
        elif isinstance(effect, effects.EndStandby):
            self._end_standby(self._model(effect.model))
        elif isinstance(effect, effects.Activate):
            self._activate(effect)
        elif isinstance(effect, effects.Serve):
            self._serve(effect)
        elif isinstance(effect, effects.Revert):
            self._revert(effect)
        elif isinstance(effect, effects.Replay):
            self._replay(effect)
        elif isinstance(effect, effects.StopCandidate):
            self._stop_candidate(effect.model, "the release on trial was given up")
        elif isinstance(effect, effects.Unload):
            self._unload(effect)

    def tick(self) -> None:
        """Begin the starts that are due."""
        now_s = self._clock()
        for model in self._models.values():
            for start in _startable(model):
                if start.at_s <= now_s:
                    model.waiting.remove(start)
                    self._load(start.job)

    def explain(self, name: ModelName, why: str) -> None:
        """Say why nothing answers for a model."""
        self._host.open(name, why)

    def collect(self) -> None:
        """Ask every worker that answers, applications or copies, for its counts."""
        for model in self._models.values():
            for ref in (model.serving, model.beside, model.shadow):
                if ref is not None:
                    self._host.collect(ref)

    def serving(self, model: ModelName) -> WorkerRef | None:
        """Return the worker that answers a model's socket."""
        found = self._models.get(model)
        return found.serving if found else None

    def answering(self, model: ModelName) -> tuple[WorkerRef, ...]:
        """Return the workers that answer a model's requests: two in a split."""
        found = self._models.get(model)
        return () if found is None else tuple(ref for ref in (found.serving, found.beside) if ref is not None)

    def variants(self) -> dict[ModelName, Digest]:
        """Return the variant that answers each model's socket, where one does; in a split, what is not the control."""
        found = {name: _main(model) or model.serving for name, model in self._models.items()}
        return {name: ref.variant for name, ref in found.items() if ref is not None}

    @property
    def due_s(self) -> float:
        """When the next start is due; one that waits for another worker's end begins with that."""
        starts = (start for model in self._models.values() for start in _startable(model))
        return min((start.at_s for start in starts), default=math.inf)

    def take(self) -> list[CoreEvent]:
        """Return what the lifecycle must hear of, in order."""
        out, self._out = self._out, []
        return out

    def _model(self, name: ModelName) -> _Model:
        return self._models.setdefault(name, _Model())

    def _begin(
        self,
        name: ModelName,
        job: _Job,
        *,
        stop_first: bool = False,
        after_s: float = 0.0,
        why: str = "the model is being replaced",
    ) -> None:
        model = self._model(name)
        if stop_first and model.serving is not None:
            self._end(model, model.serving, why)
        model.waiting.append(_Waiting(at_s=self._clock() + after_s, job=job, after_end=stop_first))
        self.tick()

    def _load(self, job: _Job) -> None:
        aim = _aim(job.effect)
        model = self._model(job.effect.model)
        try:
            ref = self._start_worker(job.effect.model, aim.release, aim.variant)
        except AgentError as error:
            self._failed(job, error.cause, str(error), "")
            self._host.open(job.effect.model, f"the model cannot be started: {error}")
            return
        model.jobs[ref] = job
        if isinstance(job.effect, effects.SelfTest | effects.Shadow | effects.MakeReady | effects.Activate):
            model.candidate = ref

    def _shadow(self, effect: effects.Shadow) -> None:
        model = self._model(effect.model)
        ref = model.candidate
        self._give_up(model, effects.SelfTest, effects.Shadow)
        if ref is not None and ref in model.started and _is(ref, effect.candidate):
            self._show(model, ref, effect)
        else:
            self._begin(effect.model, _Job(effect=effect))

    def _show(self, model: _Model, ref: WorkerRef, effect: effects.Shadow) -> None:
        model.shadow, model.share_percent = ref, effect.share_percent
        self._pair(model)
        self._out.append((effect.model, events.Shadowing(ticket=effect.ticket)))

    def _pair(self, model: _Model) -> None:
        """Join whoever serves with the candidate in its shadow; while nobody serves there is nothing to copy."""
        if model.serving is not None and model.shadow is not None:
            self._host.shadow(model.serving, model.shadow, model.share_percent)

    def _make_ready(self, effect: effects.MakeReady) -> None:
        model = self._model(effect.model)
        ref = model.candidate
        self._give_up(model, effects.SelfTest, effects.MakeReady)
        if ref is not None and ref in model.started and _is(ref, effect.candidate):
            self._is_ready(model, ref, effect)
        else:
            self._begin(effect.model, _Job(effect=effect))

    def _is_ready(self, model: _Model, ref: WorkerRef, effect: effects.MakeReady) -> None:
        model.ready = ref
        self._out.append((effect.model, events.MadeReady(ticket=effect.ticket)))

    def _keep_standby(self, effect: effects.KeepStandby) -> None:
        model = self._model(effect.model)
        loading = [ref for ref, job in model.jobs.items() if isinstance(job.effect, effects.KeepStandby)]
        if any(_is(ref, effect.servable) for ref in (model.standby, *loading)):
            return
        self._give_up(model, effects.KeepStandby)
        self._begin(effect.model, _Job(effect=effect), after_s=effect.after_s)

    def _end_standby(self, model: _Model) -> None:
        self._give_up(model, effects.KeepStandby)
        if model.standby is not None:
            self._end(model, model.standby)
            model.standby = None

    def _fronted(self, model: _Model, servable: Servable, effect: _Answering) -> bool:
        """Put the standby in front if it is what is wanted, once it is loaded; tell whether it is."""
        ref = model.standby
        if ref is not None and _is(ref, servable):
            model.standby = None
            model.jobs[ref] = _Job(effect=effect)
            self._put_in_front(model, ref)
            return True
        taken = _taken_over(model, servable, effect, effects.KeepStandby)
        at_once = isinstance(effect, effects.Revert) and effect.swap is Swap.STOP_FIRST
        if taken and at_once and model.serving is not None:
            self._end(model, model.serving, "the release on trial was given up")
        return taken

    def _activate(self, effect: effects.Activate) -> None:
        model = self._model(effect.model)
        ref = model.candidate
        model.shadow = model.ready = None
        if effect.split is not None:
            self._give_up(model, effects.Shadow, effects.MakeReady, effects.Revert)
            self._keep_both(model, effect, effect.split)
            return
        self._give_up(model, effects.Shadow, effects.MakeReady, effects.Serve, effects.Revert)
        if self._part(model, effect, effect.candidate):
            return
        if _is(model.serving, effect.candidate):
            self._answered(effect)
        elif ref is not None and ref in model.started and _is(ref, effect.candidate):
            model.jobs[ref] = _Job(effect=effect)
            self._put_in_front(model, ref)
        elif not self._fronted(model, effect.candidate, effect):
            self._begin(effect.model, _Job(effect=effect), stop_first=effect.swap is Swap.STOP_FIRST)

    def _serve(self, effect: effects.Serve) -> None:
        model = self._model(effect.model)
        if effect.split is not None:
            self._keep_both(model, effect, effect.split)
            return
        if self._part(model, effect, effect.servable):
            return
        already = [model.serving, *(ref for ref, job in model.jobs.items() if isinstance(job.effect, effects.Serve))]
        if any(_is(ref, effect.servable) for ref in already):
            return
        self._give_up(model, effects.Serve)
        if not self._fronted(model, effect.servable, effect):
            self._begin(effect.model, _Job(effect=effect), after_s=effect.after_s)

    # --- two arms ------------------------------------------------------------------------------------------------

    def _keep_both(self, model: _Model, effect: _Both, split: effects.Split) -> None:
        """See that both arms are there and joined; whoever is there answers everything until then."""
        self._end_standby(model)
        if model.split is None and model.latency.n >= SLOW_SAMPLES_MIN:
            model.slow_over_s = model.latency.quantile(0.95)
        if model.split is None:
            model.latency = Histogram()
        model.split, main = split, _aim(effect)
        model.main = main
        ref = next((each for each in (model.serving, model.beside) if _is(each, main)), None)
        if ref is not None:
            if isinstance(effect, effects.Activate):
                self._out.append((effect.model, events.Activated(ticket=effect.ticket)))
        elif model.candidate is not None and model.candidate in model.started and _is(model.candidate, main):
            model.jobs[model.candidate] = _Job(effect=effect)
            self._take_place(model, model.candidate)
        elif not _under_way(model, main, effects.Activate, effects.Serve):
            self._begin(effect.model, _Job(effect=effect), after_s=getattr(effect, "after_s", 0.0))
        there = any(_is(each, split.control) for each in (model.serving, model.beside))
        if not there and not _under_way(model, split.control, _Control):
            self._begin(effect.model, _Job(effect=_Control(model=effect.model, servable=split.control)))
        self._join(model)

    def _take_place(self, model: _Model, ref: WorkerRef) -> None:
        """Let an arm that has loaded take the socket, if nobody has it, else its share."""
        if model.serving is None:
            self._put_in_front(model, ref)
        else:
            model.beside = ref
            if not isinstance(model.jobs[ref].effect, effects.Activate):
                del model.jobs[ref]  # nobody waits to hear of it
            self._join(model)

    def _join(self, model: _Model) -> None:
        """Tell both arms of each other, once."""
        split, front, beside = model.split, model.serving, model.beside
        if split is None or front is None or beside is None or model.joined == (front, beside):
            return
        beside_is_control = _is(beside, split.control)
        model.joined = front, beside
        _note_asked(model, front, beside, Arm.CONTROL if beside_is_control else Arm.CANDIDATE)
        self._host.split(
            front,
            beside,
            control_percent=split.share_percent,
            beside_is_control=beside_is_control,
            slow_over_s=model.slow_over_s,
        )

    def _part(self, model: _Model, effect: _Answering, stays: Servable) -> bool:
        """End a split, if there is one, for the arm that stays: True where it is there, or on its way."""
        split, front, beside = model.split, model.serving, model.beside
        model.split = model.joined = None
        loading = _taken_over(model, stays, effect, _Control)
        self._give_up(model, _Control)
        if split is None:
            return False
        if front is not None and not _is(front, stays) and _is_at_once(effect, split):
            self._end(model, front, "the release was given up; what answered beside it takes its place")
        if beside is not None and _is(beside, stays):
            model.jobs[beside] = _Job(effect=effect)
            self._host.serve(beside, Arm.SERVING, model.slow_over_s)
            return True
        if front is not None and _is(front, stays):
            self._host.serve(front, Arm.SERVING, model.slow_over_s)
            self._answered(effect)
        if beside is not None:
            self._end(model, beside, "its share is over")
        return loading or _is(front, stays) or _under_way(model, stays, type(effect))

    def _answered(self, effect: _Aimed, gap_ms: float = 0.0) -> None:
        """Tell the lifecycle that what an effect wanted to answer does."""
        if isinstance(effect, effects.Activate):
            self._miss_standby(effect)
            self._out.append((effect.model, events.Activated(ticket=effect.ticket, gap_ms=gap_ms)))
        elif isinstance(effect, effects.Revert):
            self._out.append((effect.model, events.Reverted(ticket=effect.ticket)))

    def _miss_standby(self, effect: effects.Activate) -> None:
        """Say so where what should have been kept had gone before it could be, and nothing brings it back."""
        keeps, model = effect.keeps, self._model(effect.model)
        if keeps is None or _is(model.standby, keeps) or _under_way(model, keeps, effects.KeepStandby):
            return
        gone = events.StandbyExited(
            release=keeps.release,
            variant=keeps.variant,
            cause=Cause.CRASHED,
            detail="its worker was not up when the other release took over",
        )
        self._out.append((effect.model, gone))

    # --- going back ----------------------------------------------------------------------------------------------

    def _revert(self, effect: effects.Revert) -> None:
        model = self._model(effect.model)
        why = f"the release on trial was given up: {effect.cause} {effect.detail}".strip()
        if effect.to is not None and self._part(model, effect, effect.to):
            self._stop_candidate(effect.model, why)
            return
        if effect.to is None:
            self._stop_all(model, why)
            self._host.open(effect.model, why)
            self._out.append((effect.model, events.Reverted(ticket=effect.ticket)))
            return
        if _is(model.serving, effect.to):
            self._stop_candidate(effect.model, why)
            self._out.append((effect.model, events.Reverted(ticket=effect.ticket)))
            return
        stop_first = effect.swap is Swap.STOP_FIRST
        self._give_up(model, *_CANDIDATES, effects.Serve, effects.Revert)
        model.candidate = model.shadow = model.ready = None
        if self._fronted(model, effect.to, effect):
            return
        self._begin(effect.model, _Job(effect=effect), stop_first=stop_first, why=why)

    def _replay(self, effect: effects.Replay) -> None:
        model = self._model(effect.model)
        ref = next((each for each in (model.serving, model.beside) if _is(each, effect.candidate)), None)
        if ref is not None:
            model.replay = effect
            self._host.self_test(ref)

    def _stop_candidate(self, name: ModelName, why: str) -> None:
        model = self._model(name)
        self._give_up(model, *_CANDIDATES)
        if model.candidate is not None and model.candidate != model.serving:
            self._end(model, model.candidate, why)
        model.candidate = model.shadow = model.ready = None

    def _unload(self, effect: effects.Unload) -> None:
        model = self._model(effect.model)
        why = f"no model: {effect.cause} {effect.detail}".strip()
        self._stop_all(model, why)
        self._host.open(effect.model, why)

    def _stop_all(self, model: _Model, why: str) -> None:
        model.waiting.clear()
        for ref in {*model.jobs, model.serving, model.beside, model.candidate, model.standby}:
            if ref is not None:
                self._end(model, ref, why)
        model.candidate = model.shadow = model.ready = model.standby = model.split = None

    def _give_up(self, model: _Model, *kinds: type[_Aimed]) -> None:
        """Forget starts that are due or under way for effects that something newer has replaced."""
        model.waiting = [start for start in model.waiting if not isinstance(start.job.effect, kinds)]
        for ref, job in list(model.jobs.items()):
            if isinstance(job.effect, kinds):
                self._end(model, ref, "something newer took its place")

    def _end(self, model: _Model, ref: WorkerRef, why: str = "") -> None:
        model.ending.add(ref)
        model.jobs.pop(ref, None)
        if model.serving == ref:
            model.serving = None
        if model.beside == ref:
            model.beside = model.joined = None
        self._host.stop(ref, why)

    def _put_in_front(self, model: _Model, ref: WorkerRef) -> None:
        split = model.split
        if split is None and model.serving is not None and model.latency.n >= SLOW_SAMPLES_MIN:
            model.slow_over_s = model.latency.quantile(0.95)
        arm = Arm.SERVING if split is None else Arm.CONTROL if _is(ref, split.control) else Arm.CANDIDATE
        self._host.serve(ref, arm, model.slow_over_s)

    # --- worker events in ----------------------------------------------------------------------------------------

    def heard(self, event: worker_events.WorkerEvent) -> Block | None:
        """Take what happened to a worker; returns counts for the report window when there are any."""
        if isinstance(event, worker_events.HostFailed):
            raise RuntimeError(event.detail)  # ours: crash, restart, recover
        model = self._model(event.worker.model)
        if isinstance(event, worker_events.Collected):
            return self._collected(model, event)
        if isinstance(event, worker_events.WorkerExited):
            self._exited(model, event)
        elif event.worker in model.ending:
            if isinstance(event, worker_events.LoadFailed):
                self._gone(model, event.worker)
            elif isinstance(event, worker_events.NowServing) and model.serving is not None:
                # It took the socket over just before it was given up, and the host told the other one to let go.
                self._host.serve(model.serving, Arm.SERVING, model.slow_over_s)
        elif isinstance(event, worker_events.WorkerStarted):
            self._loaded(model, event)
        elif isinstance(event, worker_events.LoadFailed):
            self._load_failed(model, event)
        elif isinstance(event, worker_events.SelfTested):
            self._tested(model, event)
        elif isinstance(event, worker_events.NowServing):
            self._now_serving(model, event)
        elif isinstance(event, worker_events.NowAnswering):
            self._now_answering(model, event)
        elif isinstance(event, worker_events.StoppedServing) and event.worker == model.standby:
            self._host.collect(event.worker)  # its last answers, which nobody asks it for any more
        return None

    def _loaded(self, model: _Model, event: worker_events.WorkerStarted) -> None:
        model.started[event.worker] = event
        job = model.jobs.get(event.worker)
        if job is None:
            return
        if isinstance(job.effect, effects.SelfTest):
            self._host.self_test(event.worker)
        elif isinstance(job.effect, effects.Shadow):
            del model.jobs[event.worker]
            self._show(model, event.worker, job.effect)
        elif isinstance(job.effect, effects.MakeReady):
            del model.jobs[event.worker]
            self._is_ready(model, event.worker, job.effect)
        elif isinstance(job.effect, effects.KeepStandby):
            del model.jobs[event.worker]
            model.standby = event.worker
            up = events.StandbyUp(release=event.worker.release, variant=event.worker.variant)
            self._out.append((event.worker.model, up))
        elif model.split is not None and isinstance(job.effect, _Both | _Control):
            self._take_place(model, event.worker)
        else:
            self._put_in_front(model, event.worker)

    def _tested(self, model: _Model, event: worker_events.SelfTested) -> None:
        job, replay = model.jobs.get(event.worker), model.replay
        if job is not None and isinstance(job.effect, effects.SelfTest):
            del model.jobs[event.worker]
            started = model.started[event.worker]
            self._out.append(
                (
                    event.worker.model,
                    events.SelfTested(
                        ticket=job.effect.ticket,
                        golden=event.result,
                        runtime=started.runtime,
                        load_ms=started.load_ms,
                        peak_memory_bytes=max(event.peak_memory_bytes, started.peak_memory_bytes),
                        log=f"{event.detail}\n{event.log}".strip(),
                    ),
                )
            )
        elif replay is not None and _is(event.worker, replay.candidate):
            model.replay = None
            answered = events.Replayed(
                ticket=replay.ticket, vectors=event.result.vectors, errors=0, golden=event.result
            )
            self._out.append((event.worker.model, answered))

    def _now_serving(self, model: _Model, event: worker_events.NowServing) -> None:
        before, model.serving = model.serving, event.worker
        if model.beside == event.worker:
            model.beside = model.joined = None
        job = model.jobs.pop(event.worker, None)
        keeps = job.effect.keeps if job is not None and isinstance(job.effect, effects.Activate) else None
        if before is not None and before != event.worker:
            if _is_arm(model, before) and _is_arm(model, event.worker):
                model.beside = before  # both came up at once, and it was the first
            elif keeps is not None and _is(before, keeps):
                self._end_standby(model)
                model.standby = before
            else:
                self._end(model, before, "another release serves now")
        if model.candidate == event.worker:
            model.candidate = None
        if before != event.worker:
            if model.split is None:
                model.latency = Histogram()
            self._pair(model)
        self._join(model)
        if job is not None:
            self._answered(job.effect, event.gap_ms)

    def _now_answering(self, model: _Model, event: worker_events.NowAnswering) -> None:
        if event.worker != model.beside:
            return  # something newer was ordered meanwhile
        job = model.jobs.pop(event.worker, None)
        if model.candidate == event.worker:
            model.candidate = None
        if job is not None:
            self._answered(job.effect)

    def _collected(self, model: _Model, event: worker_events.Collected) -> Block | None:
        block = event.block
        own = _is_own(event.worker, block)
        if not own and not _is_unanswered(model, event.worker, block):
            log.warning("a worker counted what is not its own: %s of %s, as %s", block.model, block.release, block.arm)
            return None
        if block.arm is Arm.SHADOW:  # nobody saw these answers
            if block.shadow is not None and block.shadow.pairs:
                self._out.append((event.worker.model, _compared(event.worker, block.shadow)))
            return block
        errors = sum(error.n for error in block.errors if error.name != CALLERS_FAULT)
        callers = sum(error.n for error in block.errors if error.name == CALLERS_FAULT)
        judged = own and event.worker == (_main(model) or model.serving)
        if judged:
            try:
                model.latency.merge(Histogram.from_wire(block.latency))
            except ContractError as error:
                log.warning("a worker's latencies were dropped: %s", error)
        self._out.append(
            (
                event.worker.model,
                events.Served(
                    release=block.release,
                    variant=block.variant,
                    inferences=max(0, block.n - callers),
                    errors=errors,
                    latency=summary_of(model.latency) if judged else None,
                ),
            )
        )
        return block

    def _load_failed(self, model: _Model, event: worker_events.LoadFailed) -> None:
        job = model.jobs.get(event.worker)
        self._gone(model, event.worker)
        if job is not None:
            self._failed(job, event.cause, event.detail, event.log)

    def _exited(self, model: _Model, event: worker_events.WorkerExited) -> None:
        ordered = event.worker in model.ending
        job = model.jobs.get(event.worker)
        served, beside = model.serving == event.worker, event.worker in (model.shadow, model.ready, model.beside)
        stood_by = model.standby == event.worker
        self._gone(model, event.worker)
        if ordered:
            self.tick()
            return
        cause = event.cause.wire if event.cause is not worker_events.ExitCause.ORDERED else Cause.CRASHED
        if job is not None:
            self._failed(job, cause, event.detail, event.log)
        elif served and model.beside is not None:
            self._put_in_front(model, model.beside)
        elif served:
            self._host.open(event.worker.model, f"the model's worker ended: {cause} {event.detail}".strip())
        if job is None and (served or beside):
            self._out.append((event.worker.model, _worker_exited(event.worker, cause, event.detail, event.log)))
        elif job is None and stood_by:
            self._out.append((event.worker.model, _standby_exited(event.worker, cause, event.detail)))

    def _failed(self, job: _Job, cause: Cause, detail: str, words: str) -> None:
        effect = job.effect
        log.warning("%s: a worker did not come up: %s %s", effect.model, cause, detail)
        if isinstance(effect, effects.SelfTest):
            outcome: events.Event = events.SelfTestFailed(ticket=effect.ticket, cause=cause, detail=detail, log=words)
        elif isinstance(effect, effects.Revert):
            outcome = events.RevertFailed(ticket=effect.ticket, cause=cause, detail=detail)
        elif isinstance(effect, effects.KeepStandby):
            aim = effect.servable
            outcome = events.StandbyExited(release=aim.release, variant=aim.variant, cause=cause, detail=detail)
        else:
            aim = _aim(effect)
            outcome = events.WorkerExited(
                release=aim.release, variant=aim.variant, cause=cause, detail=detail, log=words
            )
        self._out.append((effect.model, outcome))

    def _gone(self, model: _Model, ref: WorkerRef) -> None:
        model.ending.discard(ref)
        model.jobs.pop(ref, None)
        model.started.pop(ref, None)
        model.asked.pop(ref, None)
        if model.serving == ref:
            model.serving = None
        if model.replay is not None and _is(ref, model.replay.candidate):
            model.replay = None
        if model.candidate == ref:
            model.candidate = None
        if model.shadow == ref:
            model.shadow = None
        if model.beside == ref:
            model.beside = None
        if model.joined is not None and ref in model.joined:
            model.joined = None
        if model.ready == ref:
            model.ready = None
        if model.standby == ref:
            model.standby = None


def summary_of(latency: Histogram) -> LatencySummary | None:
    """Return the percentiles of a histogram of seconds, in milliseconds; None when nothing was measured."""
    n = latency.n
    if n == 0:
        return None
    p50, p95, p99 = ((latency.quantile(share) or 0.0) * 1000 for share in (0.5, 0.95, 0.99))
    return LatencySummary(samples=n, p50_ms=round(p50, 3), p95_ms=round(p95, 3), p99_ms=round(p99, 3))


def _startable(model: _Model) -> list[_Waiting]:
    return [start for start in model.waiting if not (start.after_end and model.ending)]


def _main(model: _Model) -> WorkerRef | None:
    """Return the arm of a split that is not the control, where it is there."""
    if model.split is None:
        return None
    control = model.split.control
    return next((each for each in (model.serving, model.beside) if each is not None and not _is(each, control)), None)


def _is_arm(model: _Model, ref: WorkerRef) -> bool:
    """Tell whether a worker is one of the two that a split is about."""
    split, main = model.split, model.main
    return split is not None and (_is(ref, split.control) or (main is not None and _is(ref, main)))


def _is_at_once(effect: _Answering, split: effects.Split) -> bool:
    """Tell whether what gives way must not answer meanwhile.

    A release that is on trial says so itself; one that is committed gives way to its control only when it was stopped,
    or can start no more.
    """
    if isinstance(effect, effects.Revert):
        return effect.swap is Swap.STOP_FIRST
    return isinstance(effect, effects.Serve) and effect.servable == split.control


def _under_way(model: _Model, aim: Servable, *kinds: type[_Aimed]) -> bool:
    """Tell whether a worker for this is being started already."""
    waiting = (start.job for start in model.waiting)
    return any(isinstance(job.effect, kinds) and _aim(job.effect) == aim for job in (*waiting, *model.jobs.values()))


def _taken_over(model: _Model, aim: Servable, effect: _Answering, kind: type[_Aimed]) -> bool:
    """Let a worker that is loading this for another end be for this one; tell whether there is one.

    A start for that end that is only due is given up.
    """
    due = [each for each in model.waiting if isinstance(each.job.effect, kind) and _aim(each.job.effect) == aim]
    model.waiting = [each for each in model.waiting if each not in due]
    for ref, job in model.jobs.items():
        if isinstance(job.effect, kind) and _is(ref, aim):
            model.jobs[ref] = _Job(effect=effect)
            return True
    return False


def _is_own(ref: WorkerRef, block: Block) -> bool:
    return (block.model, block.release, block.variant) == (ref.model, ref.release, ref.variant)


def _note_asked(model: _Model, front: WorkerRef, beside: WorkerRef, arm: Arm) -> None:
    before = model.asked.get(front)
    same = before is not None and (before.release, before.variant) == (beside.release, beside.variant)
    untold = before.missing_max if before is not None and same else 0
    model.asked[front] = _Asked(release=beside.release, variant=beside.variant, arm=arm, missing_max=untold + 1)


def _is_unanswered(model: _Model, ref: WorkerRef, block: Block) -> bool:
    """Tell whether this is what the other arm was asked and did not answer: whoever asked it may say that, once."""
    asked = model.asked.get(ref)
    if asked is None or not 0 < block.n <= asked.missing_max or block != asked.unanswered(ref.model, block.n):
        return False
    asked.missing_max -= block.n
    return True


def _aim(effect: _Aimed) -> Servable:
    if isinstance(effect, effects.Serve | effects.KeepStandby | _Control):
        return effect.servable
    if isinstance(effect, effects.Revert):
        assert effect.to is not None
        return effect.to
    return effect.candidate


def _is(ref: WorkerRef | None, servable: Servable) -> bool:
    return ref is not None and servable.is_same(ref.release, ref.variant)


def _compared(ref: WorkerRef, counts: ShadowCounts) -> events.Compared:
    return events.Compared(
        release=ref.release, variant=ref.variant, pairs=counts.pairs, disagreements=counts.disagreements
    )


def _standby_exited(ref: WorkerRef, cause: Cause, detail: str) -> events.StandbyExited:
    return events.StandbyExited(release=ref.release, variant=ref.variant, cause=cause, detail=detail)


def _worker_exited(ref: WorkerRef, cause: Cause, detail: str, words: str) -> events.WorkerExited:
    return events.WorkerExited(release=ref.release, variant=ref.variant, cause=cause, detail=detail, log=words)
