"""The workers of one model: which of them is what, and what those that are loading are meant for.

Values and questions only; what is done about them is its neighbours'.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pinnace_agent.core import effects
from pinnace_agent.core.slot import Servable
from pinnace_agent.worker import events as worker_events
from pinnace_agent.worker.events import WorkerRef
from pinnace_agent.worker.protocol import NO_ANSWER
from pinnace_contract.histogram import Histogram
from pinnace_contract.ids import Digest, ModelName, ReleaseId
from pinnace_contract.latest import Arm, Block, ErrorCount


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Have a control arm's worker; what it is beside is another effect's."""

    model: ModelName
    servable: Servable


Both = effects.Activate | effects.Serve
Answering = Both | effects.Revert
Aimed = effects.SelfTest | effects.Shadow | effects.MakeReady | effects.KeepStandby | Answering | Control

# What a candidate's worker is started for.
CANDIDATES: Final = (effects.SelfTest, effects.Shadow, effects.MakeReady, effects.Activate)


@dataclass(slots=True, kw_only=True)
class Job:
    """What a worker that is loading, or testing, is meant for."""

    effect: Aimed


@dataclass(slots=True, kw_only=True)
class Due:
    """A start that is due later, or once the worker before it has ended and given back its memory."""

    at_s: float
    job: Job
    after_end: bool


@dataclass(slots=True, kw_only=True)
class Asked:
    """Whom a worker asks for its share, and how many answers of it may be missing that were not told of yet.

    One for each time that the other says that it answers: where an answer is missing, nothing more is asked, until the
    host joins the two again.
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
class Workers:
    """The workers of one model.

    ``shadow`` is the candidate while it is shown copies of what ``serving`` answers, ``ready`` while it waits for a
    switch; ``standby`` is loaded and answered before the last one.

    With a ``split`` there are two arms, ``main`` and its control; ``serving`` is the one that holds the socket,
    whichever it is, and asks the other one, ``beside``, for its share. ``joined``: who of them was told so; ``asked``:
    what whoever asks may still say of the other, for as long as it lives.
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
    asked: dict[WorkerRef, Asked] = field(default_factory=dict)
    started: dict[WorkerRef, worker_events.WorkerStarted] = field(default_factory=dict)
    jobs: dict[WorkerRef, Job] = field(default_factory=dict)
    replay: effects.Replay | None = None
    due: list[Due] = field(default_factory=list)
    ending: set[WorkerRef] = field(default_factory=set)
    latency: Histogram = field(default_factory=Histogram)
    slow_over_s: float | None = None

    @property
    def startable(self) -> list[Due]:
        """The starts that wait for nothing but their time."""
        return [start for start in self.due if not (start.after_end and self.ending)]

    @property
    def main_arm(self) -> WorkerRef | None:
        """The arm of a split that is not the control, where it is there."""
        if self.split is None:
            return None
        control = self.split.control
        return next(
            (each for each in (self.serving, self.beside) if each is not None and not runs(each, control)), None
        )

    def is_arm(self, ref: WorkerRef) -> bool:
        """Tell whether a worker is one of the two that a split is about."""
        split, main = self.split, self.main
        return split is not None and (runs(ref, split.control) or (main is not None and runs(ref, main)))

    def under_way(self, aim: Servable, *kinds: type[Aimed]) -> bool:
        """Tell whether a worker for this is being started already."""
        due = (start.job for start in self.due)
        return any(isinstance(job.effect, kinds) and aim_of(job.effect) == aim for job in (*due, *self.jobs.values()))

    def taken_over(self, aim: Servable, effect: Answering | effects.KeepStandby, kind: type[Aimed]) -> bool:
        """Let a worker that is loading this for another end be for this one; tell whether there is one.

        A start for that end that is only due is given up.
        """
        given_up = [each for each in self.due if isinstance(each.job.effect, kind) and aim_of(each.job.effect) == aim]
        self.due = [each for each in self.due if each not in given_up]
        for ref, job in self.jobs.items():
            if isinstance(job.effect, kind) and runs(ref, aim):
                self.jobs[ref] = Job(effect=effect)
                return True
        return False

    def forget(self, ref: WorkerRef) -> None:
        """A worker is no more."""
        self.ending.discard(ref)
        self.jobs.pop(ref, None)
        self.started.pop(ref, None)
        self.asked.pop(ref, None)
        if self.serving == ref:
            self.serving = None
        if self.replay is not None and runs(ref, self.replay.candidate):
            self.replay = None
        if self.candidate == ref:
            self.candidate = None
        if self.shadow == ref:
            self.shadow = None
        if self.beside == ref:
            self.beside = None
        if self.joined is not None and ref in self.joined:
            self.joined = None
        if self.ready == ref:
            self.ready = None
        if self.standby == ref:
            self.standby = None


def aim_of(effect: Aimed) -> Servable:
    """Return what an effect wants a worker of."""
    if isinstance(effect, effects.Serve | effects.KeepStandby | Control):
        return effect.servable
    if isinstance(effect, effects.Revert):
        assert effect.to is not None
        return effect.to
    return effect.candidate


def runs(ref: WorkerRef | None, servable: Servable) -> bool:
    """Tell whether there is a worker, and it was started with this."""
    return ref is not None and servable.is_same(ref.release, ref.variant)
