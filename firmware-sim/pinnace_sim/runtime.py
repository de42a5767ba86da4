"""Workers without processes: they load, test, serve and die as real ones do, each version in its own nature.

Implements what the agent's loop asks of ``WorkerHost``. When things happen is said by a ``Timer``: virtual time, or an
event loop's for devices on real wires.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from pinnace_agent.adapters.worker_process import Start
from pinnace_agent.outcomes import Answerer
from pinnace_agent.worker import events
from pinnace_agent.worker.events import ExitCause, WorkerEvent, WorkerId, WorkerRef
from pinnace_agent.worker.protocol import Truth
from pinnace_contract.histogram import Histogram, bucket_of
from pinnace_contract.ids import ModelName, ReleaseId
from pinnace_contract.latest import (
    Arm,
    Block,
    Cause,
    ErrorCount,
    GoldenResult,
    LatencyCounts,
    Predictions,
    ShadowCounts,
)
from pinnace_sim import applications
from pinnace_sim.plan import Nature
from pinnace_sim.temper import EVEN_TEMPER, Temper

RUNTIME: Final = "onnxruntime 1.20"
LOAD_S: Final = (0.3, 2.0)
TEST_S: Final = (0.1, 0.5)
SERVE_S: Final = 0.05
STOP_S: Final = 0.1
HANG_S: Final = 10.0
SLOW_TIMES: Final = 100.0  # what is slow is past every expectation
SOON_S: Final = 20.0  # mean time to the death of a version that dies under load
SLOWER_TIMES: Final = 1.2
ERROR_SHARE: Final = 0.3
FEW_ERRORS_SHARE: Final = 0.03
UNSURE_SHARE: Final = 0.6
DIFFERING_SHARE: Final = 0.01  # of a good version's answers in its shadow: it is another version, after all
CONTRARY_SHARE: Final = 0.8
PEAK_BYTES: Final = 10_000_000
DRAWS_MAX: Final = 32  # latencies that are drawn for one report; more inferences are spread over them


_ERROR_SHARES: Final = {Nature.ERRORS: ERROR_SHARE, Nature.ERRORS_3_PERCENT: FEW_ERRORS_SHARE}


class Timer(Protocol):
    """Says what time it is and lets things happen later."""

    @property
    def now_s(self) -> float: ...
    def after(self, seconds: float, action: Callable[[], None], /) -> object: ...


@dataclass(slots=True, kw_only=True)
class _Worker:
    ref: WorkerRef
    nature: Nature
    amount: float = 0.0
    loaded: bool = False
    serving: bool = False
    served: bool = False
    since_s: float = 0.0
    first_s: float | None = None
    owed: float = 0.0
    gone: bool = False
    share: float | None = None


@dataclass(slots=True, kw_only=True)
class Workers:
    """All workers of one run of an agent. ``problem`` looks at a worker's files; ``started`` is told of each start.

    ``amount_of``: the share of answers that fail, or by how much more they take, of a release of such a nature; 0: what
    is usual for its nature.
    """

    timer: Timer
    emit: Callable[[WorkerEvent], None]
    chance: random.Random
    nature_of: Callable[[ReleaseId], Nature]
    problem: Callable[[Start], str]
    started: Callable[[Start], None]
    inferences_an_hour: float
    temper: Temper = EVEN_TEMPER
    amount_of: Callable[[ReleaseId], float] = lambda _release: 0.0
    tells: bool = False
    slow_until_s: float = 0.0
    answered: int = 0
    _workers: dict[WorkerId, _Worker] = field(default_factory=dict)
    _last_id: int = 0
    _off: bool = False

    # --- what the loop asks ------------------------------------------------------------------------------------------

    def open(self, model: ModelName, reason: str = "", retry_after_s: int = 5) -> None:
        """There is no socket to open."""

    def label(self, model: ModelName, truths: tuple[Truth, ...]) -> None:
        """Nobody here knows the truth."""

    def who_answered(self, request: str) -> Answerer | None:
        """Nobody here names an answer."""
        return None

    def start(self, order: Start) -> WorkerRef:
        """Begin to load."""
        self._last_id += 1
        ref = WorkerRef(id=WorkerId(self._last_id), model=order.model, release=order.release, variant=order.variant)
        worker = _Worker(ref=ref, nature=self.nature_of(order.release), amount=self.amount_of(order.release))
        self._workers[ref.id] = worker
        self.started(order)
        self._later(self.chance.uniform(*LOAD_S), worker, lambda: self._load(worker, order))
        return ref

    def self_test(self, worker: WorkerRef) -> None:
        """Answer the golden vectors."""
        found = self._workers.get(worker.id)
        if found is not None:
            self._later(self.chance.uniform(*TEST_S), found, lambda: self._tested(found))

    def serve(self, worker: WorkerRef, arm: Arm = Arm.SERVING, slow_over_s: float | None = None) -> None:
        """Answer from now on, in the place of whoever did."""
        found = self._workers.get(worker.id)
        if found is not None:
            self._later(SERVE_S, found, lambda: self._now_serving(found, arm))

    def shadow(self, control: WorkerRef, candidate: WorkerRef, share_percent: int) -> None:
        """Let the candidate answer copies of this share of what the control answers."""
        found = self._workers.get(candidate.id)
        if found is None or found.serving or control.id not in self._workers:
            return
        if found.share is None:
            self._doom(found)
        else:
            self._count(found)
        found.share, found.since_s = share_percent / 100, self.timer.now_s

    def collect(self, worker: WorkerRef) -> None:
        """Hand over what was counted."""
        found = self._workers.get(worker.id)
        if found is not None and (found.serving or found.share is not None):
            self._count(found)

    def stop(self, worker: WorkerRef, reason: str = "", retry_after_s: int = 5) -> None:
        """End in order."""
        found = self._workers.get(worker.id)
        if found is not None and not found.gone:
            self._later(STOP_S, found, lambda: self._stopped(found))

    # --- what the world does -----------------------------------------------------------------------------------------

    def off(self) -> None:
        """The agent is no more, and its workers with it."""
        self._off = True

    def serving(self, model: ModelName) -> WorkerRef | None:
        """Return who answers."""
        return next((each.ref for each in self._workers.values() if each.serving and each.ref.model == model), None)

    def kill(self, cause: ExitCause) -> bool:
        """Let whoever serves die; tell whether anybody did."""
        for worker in list(self._workers.values()):
            if worker.serving:
                self._die(worker, cause)
                return True
        return False

    # --- inside ------------------------------------------------------------------------------------------------------

    def _later(self, seconds: float, worker: _Worker, action: Callable[[], None]) -> None:
        def due() -> None:
            if not self._off and not worker.gone:
                action()

        self.timer.after(seconds, due)

    def _load(self, worker: _Worker, order: Start) -> None:
        problem = self.problem(order)
        if problem or worker.nature is Nature.UNLOADABLE:
            cause = Cause.DIGEST_MISMATCH if problem else Cause.LOAD_FAILED
            self._forget(worker)
            self.emit(events.LoadFailed(worker=worker.ref, cause=cause, detail=problem or "it cannot be parsed"))
            return
        worker.loaded = True
        self.emit(events.WorkerStarted(worker=worker.ref, load_ms=300.0, peak_memory_bytes=PEAK_BYTES, runtime=RUNTIME))

    def _tested(self, worker: _Worker) -> None:
        passed = worker.nature is not Nature.WRONG
        self.emit(
            events.SelfTested(
                worker=worker.ref,
                result=GoldenResult(vectors=8, passed=passed, max_abs=0.0 if passed else 1.0),
                latency=LatencyCounts(),
                peak_memory_bytes=PEAK_BYTES,
                detail="" if passed else "8 of 8 vectors differ",
                log="",
            )
        )

    def _now_serving(self, worker: _Worker, arm: Arm) -> None:
        for other in self._workers.values():
            if other.serving and other is not worker and other.ref.model == worker.ref.model:
                self._count(other)
                other.serving = False
                self.emit(events.StoppedServing(worker=other.ref))
        if worker.share is not None:
            self._count(worker)
            worker.share = None
        if not worker.serving:
            worker.serving = worker.served = True
            worker.since_s = self.timer.now_s
            worker.first_s = worker.since_s if worker.first_s is None else worker.first_s
            self._doom(worker)
        self.emit(events.NowServing(worker=worker.ref, arm=arm, gap_ms=0.0))

    def _doom(self, worker: _Worker) -> None:
        if worker.nature is Nature.CRASHES:
            self._later(self.chance.expovariate(1 / SOON_S), worker, lambda: self._die(worker, ExitCause.CRASHED))
        elif worker.nature is Nature.HANGS:
            self._later(self.chance.expovariate(1 / SOON_S) + HANG_S, worker, lambda: self._die(worker, ExitCause.HUNG))

    def _die(self, worker: _Worker, cause: ExitCause) -> None:
        self._forget(worker)
        self.emit(
            events.WorkerExited(
                worker=worker.ref,
                cause=cause,
                detail="ended by SIGSEGV" if cause is ExitCause.CRASHED else "killed, because it hung",
                log="",
                loaded=worker.loaded,
                served=worker.served,
            )
        )

    def _stopped(self, worker: _Worker) -> None:
        if worker.loaded:
            self._count(worker)
        self._forget(worker)
        self.emit(
            events.WorkerExited(
                worker=worker.ref,
                cause=ExitCause.ORDERED,
                detail="",
                log="",
                loaded=worker.loaded,
                served=worker.served,
            )
        )

    def _forget(self, worker: _Worker) -> None:
        worker.gone, worker.serving = True, False
        self._workers.pop(worker.ref.id, None)

    def _count(self, worker: _Worker) -> None:
        now_s = self.timer.now_s
        shown = worker.share is not None and self.serving(worker.ref.model) is not None
        if worker.serving or worker.share is not None:
            share = 1.0 if worker.serving else (worker.share or 0.0) * shown
            worker.owed += (now_s - worker.since_s) * share * self.inferences_an_hour / 3600
            worker.since_s = now_s
        n = int(worker.owed)
        worker.owed -= n
        self.answered += n * (worker.share is None)
        self.emit(events.Collected(worker=worker.ref, block=self._block(worker, n)))

    def _block(self, worker: _Worker, n: int) -> Block:
        errors = self._errors(worker, n)
        good = n - errors
        below = int(good * self._below_share(worker))
        block = Block(
            model=worker.ref.model,
            release=worker.ref.release,
            variant=worker.ref.variant,
            arm=Arm.SERVING if worker.share is None else Arm.SHADOW,
            n=n,
            errors=(ErrorCount(name="runtime", n=errors),) if errors else (),
            latency=self._latencies(worker, n).to_wire(),
            predictions=Predictions(n=good, below=below) if good else None,
            shadow=None
            if worker.share is None
            else ShadowCounts(pairs=n, disagreements=errors + _contrary(worker, good)),
        )
        return applications.told(block, worker.nature, self.chance) if self.tells else block

    def _errors(self, worker: _Worker, n: int) -> int:
        usual = _ERROR_SHARES.get(worker.nature, 0.0)
        share = max((worker.amount or usual) if usual else 0.0, self.temper.error_share)
        return sum(self.chance.random() < share for _ in range(n)) if share else 0

    def _latencies(self, worker: _Worker, n: int) -> Histogram:
        slow = worker.nature is Nature.SLOW or self.timer.now_s < self.slow_until_s
        times = 1 + worker.amount if worker.amount else SLOWER_TIMES
        slower = times if worker.nature is Nature.SLOWER_20_PERCENT else 1.0
        middle_s = self.temper.latency_s * (SLOW_TIMES if slow else slower)
        found = Histogram()
        spread = self.temper.latency_spread
        draws = min(n, DRAWS_MAX) if spread else min(n, 1)
        for number in range(draws):
            bucket = bucket_of(middle_s * self.chance.lognormvariate(0.0, spread) if spread else middle_s)
            assert bucket is not None
            found.merge(Histogram({bucket: n // draws + (number < n % draws)}))
        return found

    def _below_share(self, worker: _Worker) -> float:
        if worker.nature is Nature.UNSURE:
            return UNSURE_SHARE
        since_s = 0.0 if worker.first_s is None else self.timer.now_s - worker.first_s
        return min(1.0, self.temper.below_share + self.temper.drift_an_hour * since_s / 3600)


def _contrary(worker: _Worker, answers: int) -> int:
    share = CONTRARY_SHARE if worker.nature is Nature.CONTRARY else DIFFERING_SHARE
    return int(answers * share)
