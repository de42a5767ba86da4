"""Carries out the lifecycle's effects: who is to answer a model's socket, and what becomes of the others."""

from __future__ import annotations

from pinnace_agent.core import effects, events
from pinnace_agent.serving.arms import Arms
from pinnace_agent.serving.beside import Beside
from pinnace_agent.serving.processes import Processes
from pinnace_agent.serving.workers import CANDIDATES, Both, Job, Workers, runs
from pinnace_contract.ids import ModelName
from pinnace_contract.latest import Swap


class Acting:
    """Effects in; what comes of them arrives as worker events. Doing one twice is doing it once."""

    def __init__(self, processes: Processes, beside: Beside, arms: Arms) -> None:
        self._processes, self._beside, self._arms = processes, beside, arms
        self._host, self._telling = processes.host, processes.telling

    def act(self, effect: effects.Effect) -> None:
        """Carry out one effect."""
        if isinstance(effect, effects.SelfTest):
            self._processes.begin(effect.model, Job(effect=effect), stop_first=effect.swap is Swap.STOP_FIRST)
        elif isinstance(effect, effects.Shadow):
            self._beside.shadow(effect)
        elif isinstance(effect, effects.MakeReady):
            self._beside.make_ready(effect)
        elif isinstance(effect, effects.KeepStandby):
            self._beside.keep_standby(effect)
        elif isinstance(effect, effects.EndStandby):
            self._beside.end_standby(self._processes.of(effect.model))
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

    def _activate(self, effect: effects.Activate) -> None:
        model = self._processes.of(effect.model)
        ref = model.candidate
        model.shadow = model.ready = None
        if effect.split is not None:
            self._processes.give_up(model, effects.Shadow, effects.MakeReady, effects.Revert)
            self._keep_both(model, effect, effect.split)
            return
        if effect.keeps is not None:  # after a restart it may still be loading
            stays = effects.KeepStandby(model=effect.model, servable=effect.keeps)
            model.taken_over(effect.keeps, stays, effects.Serve)
        self._processes.give_up(model, effects.Shadow, effects.MakeReady, effects.Serve, effects.Revert)
        if self._arms.part(model, effect, effect.candidate):
            return
        if runs(model.serving, effect.candidate):
            self._telling.answered(model, effect)
        elif ref is not None and ref in model.started and runs(ref, effect.candidate):
            model.jobs[ref] = Job(effect=effect)
            self._processes.put_in_front(model, ref)
        elif not self._beside.fronted(model, effect.candidate, effect):
            self._processes.begin(effect.model, Job(effect=effect), stop_first=effect.swap is Swap.STOP_FIRST)

    def _serve(self, effect: effects.Serve) -> None:
        model = self._processes.of(effect.model)
        if effect.split is not None:
            self._keep_both(model, effect, effect.split)
            return
        if self._arms.part(model, effect, effect.servable):
            return
        already = [model.serving, *(ref for ref, job in model.jobs.items() if isinstance(job.effect, effects.Serve))]
        if any(runs(ref, effect.servable) for ref in already):
            return
        self._processes.give_up(model, effects.Serve)
        if not self._beside.fronted(model, effect.servable, effect):
            self._processes.begin(effect.model, Job(effect=effect), after_s=effect.after_s)

    def _keep_both(self, model: Workers, effect: Both, split: effects.Split) -> None:
        self._beside.end_standby(model)
        self._arms.keep_both(model, effect, split)

    def _revert(self, effect: effects.Revert) -> None:
        model = self._processes.of(effect.model)
        why = f"the release on trial was given up: {effect.cause} {effect.detail}".strip()
        if effect.to is not None and self._arms.part(model, effect, effect.to):
            self._stop_candidate(effect.model, why)
            return
        if effect.to is None:
            self._processes.end_all(model, why)
            self._host.open(effect.model, why)
            self._telling.say(effect.model, events.Reverted(ticket=effect.ticket))
            return
        if runs(model.serving, effect.to):
            self._stop_candidate(effect.model, why)
            self._telling.say(effect.model, events.Reverted(ticket=effect.ticket))
            return
        stop_first = effect.swap is Swap.STOP_FIRST
        self._processes.give_up(model, *CANDIDATES, effects.Serve, effects.Revert)
        model.candidate = model.shadow = model.ready = None
        if self._beside.fronted(model, effect.to, effect):
            return
        self._processes.begin(effect.model, Job(effect=effect), stop_first=stop_first, why=why)

    def _replay(self, effect: effects.Replay) -> None:
        model = self._processes.of(effect.model)
        ref = next((each for each in (model.serving, model.beside) if runs(each, effect.candidate)), None)
        if ref is not None:
            model.replay = effect
            self._host.self_test(ref)

    def _stop_candidate(self, name: ModelName, why: str) -> None:
        model = self._processes.of(name)
        self._processes.give_up(model, *CANDIDATES)
        if model.candidate is not None and model.candidate != model.serving:
            self._processes.end(model, model.candidate, why)
        model.candidate = model.shadow = model.ready = None

    def _unload(self, effect: effects.Unload) -> None:
        model = self._processes.of(effect.model)
        why = f"no model: {effect.cause} {effect.detail}".strip()
        self._processes.end_all(model, why)
        self._host.open(effect.model, why)
