"""What the lifecycle hears: what came of its effects, and of the workers that died on their own."""

from __future__ import annotations

import logging

from pinnace_agent.core import effects, events
from pinnace_agent.serving.workers import Aimed, Job, Workers, aim_of, runs
from pinnace_agent.worker.events import WorkerRef
from pinnace_contract.ids import ModelName
from pinnace_contract.latest import Cause

log = logging.getLogger(__name__)

CoreEvent = tuple[ModelName, events.Event]


class Telling:
    """Core events in order, until they are taken."""

    def __init__(self) -> None:
        self._out: list[CoreEvent] = []

    def take(self) -> list[CoreEvent]:
        """Return what the lifecycle must hear of, in order."""
        out, self._out = self._out, []
        return out

    def say(self, model: ModelName, event: events.Event) -> None:
        """Let it hear this."""
        self._out.append((model, event))

    def answered(self, workers: Workers, effect: Aimed, gap_ms: float = 0.0) -> None:
        """Say that what an effect wanted to answer does."""
        if isinstance(effect, effects.Activate):
            self._miss_standby(workers, effect)
            self.say(effect.model, events.Activated(ticket=effect.ticket, gap_ms=gap_ms))
        elif isinstance(effect, effects.Revert):
            self.say(effect.model, events.Reverted(ticket=effect.ticket))

    def failed(self, job: Job, cause: Cause, detail: str, words: str) -> None:
        """Say that the worker of a job did not come up, with its last words."""
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
            aim = aim_of(effect)
            outcome = events.WorkerExited(
                release=aim.release, variant=aim.variant, cause=cause, detail=detail, log=words
            )
        self.say(effect.model, outcome)

    def exited(self, ref: WorkerRef, cause: Cause, detail: str, words: str) -> None:
        """Say that a worker that answered, or was to, is no more."""
        self.say(
            ref.model,
            events.WorkerExited(release=ref.release, variant=ref.variant, cause=cause, detail=detail, log=words),
        )

    def standby_exited(self, ref: WorkerRef, cause: Cause, detail: str) -> None:
        """Say that the standby is no more."""
        self.say(ref.model, events.StandbyExited(release=ref.release, variant=ref.variant, cause=cause, detail=detail))

    def _miss_standby(self, workers: Workers, effect: effects.Activate) -> None:
        """Say so where what should have been kept had gone before it could be, and nothing brings it back."""
        keeps = effect.keeps
        if keeps is None or runs(workers.standby, keeps) or workers.under_way(keeps, effects.KeepStandby):
            return
        gone = events.StandbyExited(
            release=keeps.release,
            variant=keeps.variant,
            cause=Cause.CRASHED,
            detail="its worker was not up when the other release took over",
        )
        self.say(effect.model, gone)
