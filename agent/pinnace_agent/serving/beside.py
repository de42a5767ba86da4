"""What is loaded beside the worker that serves, and answers nobody: a shadow, a candidate that is ready, a standby."""

from __future__ import annotations

from pinnace_agent.core import effects, events
from pinnace_agent.core.slot import Servable
from pinnace_agent.serving.processes import Processes
from pinnace_agent.serving.workers import Answering, Job, Workers, runs
from pinnace_agent.worker.events import WorkerRef
from pinnace_contract.latest import Swap


class Beside:
    """Workers that wait, and how they come to the front."""

    def __init__(self, processes: Processes) -> None:
        self._processes, self._telling = processes, processes.telling

    # --- a candidate that is shown copies ------------------------------------------------------------------------

    def shadow(self, effect: effects.Shadow) -> None:
        """Show the candidate copies, once it is loaded."""
        model = self._processes.of(effect.model)
        ref = model.candidate
        self._processes.give_up(model, effects.SelfTest, effects.Shadow)
        if ref is not None and ref in model.started and runs(ref, effect.candidate):
            self.show(model, ref, effect)
        else:
            self._processes.begin(effect.model, Job(effect=effect))

    def show(self, model: Workers, ref: WorkerRef, effect: effects.Shadow) -> None:
        """The candidate is loaded: its shadow begins."""
        model.shadow, model.share_percent = ref, effect.share_percent
        self.pair(model)
        self._telling.say(effect.model, events.Shadowing(ticket=effect.ticket))

    def pair(self, model: Workers) -> None:
        """Join whoever serves with the candidate in its shadow; while nobody serves there is nothing to copy."""
        if model.serving is not None and model.shadow is not None:
            self._processes.host.shadow(model.serving, model.shadow, model.share_percent)

    # --- a candidate that waits for its switch -------------------------------------------------------------------

    def make_ready(self, effect: effects.MakeReady) -> None:
        """Have the candidate ready, once it is loaded."""
        model = self._processes.of(effect.model)
        ref = model.candidate
        self._processes.give_up(model, effects.SelfTest, effects.MakeReady)
        if ref is not None and ref in model.started and runs(ref, effect.candidate):
            self.is_ready(model, ref, effect)
        else:
            self._processes.begin(effect.model, Job(effect=effect))

    def is_ready(self, model: Workers, ref: WorkerRef, effect: effects.MakeReady) -> None:
        """The candidate is loaded, and waits."""
        model.ready = ref
        self._telling.say(effect.model, events.MadeReady(ticket=effect.ticket))

    # --- what served before a switch -----------------------------------------------------------------------------

    def keep_standby(self, effect: effects.KeepStandby) -> None:
        """Have the standby loaded, if it is not."""
        model = self._processes.of(effect.model)
        loading = [ref for ref, job in model.jobs.items() if isinstance(job.effect, effects.KeepStandby)]
        if any(runs(ref, effect.servable) for ref in (model.standby, *loading)):
            return
        self._processes.give_up(model, effects.KeepStandby)
        self._processes.begin(effect.model, Job(effect=effect), after_s=effect.after_s)

    def stands_by(self, model: Workers, ref: WorkerRef) -> None:
        """The standby is loaded again."""
        model.standby = ref
        self._telling.say(ref.model, events.StandbyUp(release=ref.release, variant=ref.variant))

    def end_standby(self, model: Workers) -> None:
        """Stop the standby, and whatever would become one."""
        self._processes.give_up(model, effects.KeepStandby)
        if model.standby is not None:
            self._processes.end(model, model.standby)
            model.standby = None

    def fronted(self, model: Workers, servable: Servable, effect: Answering) -> bool:
        """Put the standby in front if it is what is wanted, once it is loaded; tell whether it is."""
        ref = model.standby
        if ref is not None and runs(ref, servable):
            model.standby = None
            model.jobs[ref] = Job(effect=effect)
            self._processes.put_in_front(model, ref)
            return True
        taken = model.taken_over(servable, effect, effects.KeepStandby)
        at_once = isinstance(effect, effects.Revert) and effect.swap is Swap.STOP_FIRST
        if taken and at_once and model.serving is not None:
            self._processes.end(model, model.serving, "the release on trial was given up")
        return taken
