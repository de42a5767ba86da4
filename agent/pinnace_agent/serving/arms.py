"""Two workers that both answer: the one that holds the socket asks the other one for its share."""

from __future__ import annotations

from pinnace_agent.core import effects, events
from pinnace_agent.core.slot import Servable
from pinnace_agent.serving.processes import SLOW_SAMPLES_MIN, Processes
from pinnace_agent.serving.workers import Answering, Asked, Both, Control, Job, Workers, aim_of, runs
from pinnace_agent.worker.events import WorkerRef
from pinnace_contract.histogram import Histogram
from pinnace_contract.latest import Arm, Swap


class Arms:
    """The two arms of a split: they come up in any order, and either may die and come back."""

    def __init__(self, processes: Processes) -> None:
        self._processes, self._host, self._telling = processes, processes.host, processes.telling

    def keep_both(self, model: Workers, effect: Both, split: effects.Split) -> None:
        """See that both arms are there and joined; whoever is there answers everything until then."""
        if model.split is None and model.latency.n >= SLOW_SAMPLES_MIN:
            model.slow_over_s = model.latency.quantile(0.95)
        if model.split is None:
            model.latency = Histogram()
        model.split, main = split, aim_of(effect)
        model.main = main
        ref = next((each for each in (model.serving, model.beside) if runs(each, main)), None)
        if ref is not None:
            if isinstance(effect, effects.Activate):
                self._telling.say(effect.model, events.Activated(ticket=effect.ticket))
        elif model.candidate is not None and model.candidate in model.started and runs(model.candidate, main):
            model.jobs[model.candidate] = Job(effect=effect)
            self.take_place(model, model.candidate)
        elif not model.under_way(main, effects.Activate, effects.Serve):
            self._processes.begin(effect.model, Job(effect=effect), after_s=getattr(effect, "after_s", 0.0))
        there = any(runs(each, split.control) for each in (model.serving, model.beside))
        if not there and not model.under_way(split.control, Control):
            self._processes.begin(effect.model, Job(effect=Control(model=effect.model, servable=split.control)))
        self.join(model)

    def take_place(self, model: Workers, ref: WorkerRef) -> None:
        """Let an arm that has loaded take the socket, if nobody has it, else its share."""
        if model.serving is None:
            self._processes.put_in_front(model, ref)
        else:
            model.beside = ref
            if not isinstance(model.jobs[ref].effect, effects.Activate):
                del model.jobs[ref]  # nobody waits to hear of it
            self.join(model)

    def join(self, model: Workers) -> None:
        """Tell both arms of each other, once."""
        split, front, beside = model.split, model.serving, model.beside
        if split is None or front is None or beside is None or model.joined == (front, beside):
            return
        model.joined = front, beside
        self._host.split(
            front,
            beside,
            control_percent=split.share_percent,
            beside_is_control=runs(beside, split.control),
            slow_over_s=model.slow_over_s,
        )

    def part(self, model: Workers, effect: Answering, stays: Servable) -> bool:
        """End a split, if there is one, for the arm that stays: True where it is there, or on its way."""
        split, front, beside = model.split, model.serving, model.beside
        model.split = model.joined = None
        loading = model.taken_over(stays, effect, Control)
        self._processes.give_up(model, Control)
        if split is None:
            return False
        if front is not None and not runs(front, stays) and _is_at_once(effect, split):
            self._processes.end(model, front, "the release was given up; what answered beside it takes its place")
        if beside is not None and runs(beside, stays):
            model.jobs[beside] = Job(effect=effect)
            self._host.serve(beside, Arm.SERVING, model.slow_over_s)
            return True
        if front is not None and runs(front, stays):
            self._host.serve(front, Arm.SERVING, model.slow_over_s)
            self._telling.answered(model, effect)
        if beside is not None:
            self._processes.end(model, beside, "its share is over")
        return loading or runs(front, stays) or model.under_way(stays, type(effect))


def _is_at_once(effect: Answering, split: effects.Split) -> bool:
    """Tell whether what gives way must not answer meanwhile.

    A release that is on trial says so itself; one that is committed gives way to its control only when it was stopped,
    or can start no more.
    """
    if isinstance(effect, effects.Revert):
        return effect.swap is Swap.STOP_FIRST
    return isinstance(effect, effects.Serve) and effect.servable == split.control


def note_asked(model: Workers, beside: WorkerRef) -> None:
    """The one beside says that it answers, so whoever holds the socket asks it, and may miss an answer of it."""
    front, split = model.serving, model.split
    if front is None or split is None:
        return
    arm, before = Arm.CONTROL if runs(beside, split.control) else Arm.CANDIDATE, model.asked.get(front)
    same = before is not None and (before.release, before.variant) == (beside.release, beside.variant)
    untold = before.missing_max if before is not None and same else 0
    model.asked[front] = Asked(release=beside.release, variant=beside.variant, arm=arm, missing_max=untold + 1)
