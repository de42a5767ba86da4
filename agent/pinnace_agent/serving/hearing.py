"""Takes what happened to workers: one has loaded, was tested, answers now, died."""

from __future__ import annotations

from pinnace_agent.core import effects, events
from pinnace_agent.serving import counting
from pinnace_agent.serving.arms import Arms, note_asked
from pinnace_agent.serving.beside import Beside
from pinnace_agent.serving.processes import Processes
from pinnace_agent.serving.workers import Both, Control, Workers, runs
from pinnace_agent.worker import events as worker_events
from pinnace_contract.histogram import Histogram
from pinnace_contract.latest import Arm, Block, Cause


class Hearing:
    """Worker events in, in the order in which they happened."""

    def __init__(self, processes: Processes, beside: Beside, arms: Arms) -> None:
        self._processes, self._beside, self._arms = processes, beside, arms
        self._host, self._telling = processes.host, processes.telling

    def heard(self, event: worker_events.WorkerEvent) -> Block | None:
        """Take one; returns counts for the report window when there are any."""
        if isinstance(event, worker_events.HostFailed):
            raise RuntimeError(event.detail)  # ours: crash, restart, recover
        model = self._processes.of(event.worker.model)
        if isinstance(event, worker_events.Collected):
            return counting.collected(model, event, self._telling)
        if isinstance(event, worker_events.WorkerExited):
            self._exited(model, event)
        elif event.worker in model.ending:
            if isinstance(event, worker_events.LoadFailed):
                model.forget(event.worker)
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

    def _loaded(self, model: Workers, event: worker_events.WorkerStarted) -> None:
        model.started[event.worker] = event
        job = model.jobs.get(event.worker)
        if job is None:
            return
        if isinstance(job.effect, effects.SelfTest):
            self._host.self_test(event.worker)
        elif isinstance(job.effect, effects.Shadow):
            del model.jobs[event.worker]
            self._beside.show(model, event.worker, job.effect)
        elif isinstance(job.effect, effects.MakeReady):
            del model.jobs[event.worker]
            self._beside.is_ready(model, event.worker, job.effect)
        elif isinstance(job.effect, effects.KeepStandby):
            del model.jobs[event.worker]
            self._beside.stands_by(model, event.worker)
        elif model.split is not None and isinstance(job.effect, Both | Control):
            self._arms.take_place(model, event.worker)
        else:
            self._processes.put_in_front(model, event.worker)

    def _tested(self, model: Workers, event: worker_events.SelfTested) -> None:
        job, replay = model.jobs.get(event.worker), model.replay
        if job is not None and isinstance(job.effect, effects.SelfTest):
            del model.jobs[event.worker]
            started = model.started[event.worker]
            self._telling.say(
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
        elif replay is not None and runs(event.worker, replay.candidate):
            model.replay = None
            self._telling.say(
                event.worker.model,
                events.Replayed(ticket=replay.ticket, vectors=event.result.vectors, errors=0, golden=event.result),
            )

    def _now_serving(self, model: Workers, event: worker_events.NowServing) -> None:
        before, model.serving = model.serving, event.worker
        if model.beside == event.worker:
            model.beside = model.joined = None
        job = model.jobs.pop(event.worker, None)
        keeps = job.effect.keeps if job is not None and isinstance(job.effect, effects.Activate) else None
        if before is not None and before != event.worker:
            if model.is_arm(before) and model.is_arm(event.worker):
                model.beside = before  # both came up at once, and it was the first
            elif keeps is not None and runs(before, keeps):
                self._beside.end_standby(model)
                model.standby = before
            else:
                self._processes.end(model, before, "another release serves now")
        if model.candidate == event.worker:
            model.candidate = None
        if before != event.worker:
            if model.split is None:
                model.latency = Histogram()
            self._beside.pair(model)
        self._arms.join(model)
        if job is not None:
            self._telling.answered(model, job.effect, event.gap_ms)

    def _now_answering(self, model: Workers, event: worker_events.NowAnswering) -> None:
        if event.worker != model.beside:
            return  # something newer was ordered meanwhile
        note_asked(model, event.worker)
        job = model.jobs.pop(event.worker, None)
        if model.candidate == event.worker:
            model.candidate = None
        if job is not None:
            self._telling.answered(model, job.effect)

    def _load_failed(self, model: Workers, event: worker_events.LoadFailed) -> None:
        job = model.jobs.get(event.worker)
        model.forget(event.worker)
        if job is not None:
            self._telling.failed(job, event.cause, event.detail, event.log)

    def _exited(self, model: Workers, event: worker_events.WorkerExited) -> None:
        ordered = event.worker in model.ending
        job = model.jobs.get(event.worker)
        served, beside = model.serving == event.worker, event.worker in (model.shadow, model.ready, model.beside)
        stood_by = model.standby == event.worker
        model.forget(event.worker)
        if ordered:
            self._processes.tick()
            return
        cause = event.cause.wire if event.cause is not worker_events.ExitCause.ORDERED else Cause.CRASHED
        if job is not None:
            self._telling.failed(job, cause, event.detail, event.log)
        elif served and model.beside is not None:
            self._processes.put_in_front(model, model.beside)
        elif served:
            self._host.open(event.worker.model, f"the model's worker ended: {cause} {event.detail}".strip())
        if job is None and (served or beside):
            self._telling.exited(event.worker, cause, event.detail, event.log)
        elif job is None and stood_by:
            self._telling.standby_exited(event.worker, cause, event.detail)
