"""Workers without processes: they load, test, serve and die as real ones do, each version in its own nature.

Implements what the agent's loop asks of ``WorkerHost``. When things happen is said by a ``Timer``: virtual time, or an
event loop's for devices on real wires.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from pinnace_agent.outcomes import Answerer
from pinnace_agent.worker import events
from pinnace_agent.worker.events import ExitCause, WorkerEvent, WorkerId, WorkerRef
from pinnace_agent.worker.hosting import Start
from pinnace_agent.worker.protocol import NO_ANSWER, Truth
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
    arm: Arm = Arm.SERVING
    other: _Worker | None = None  # in a split
    part: float = 1.0  # of the requests, while the other one is there
    beside: bool = False  # answers its share, and does not hold the socket
    lost: _Worker | None = None  # who died of what it was asked by this one

    @property
    def asked(self) -> float:
        """The share of the requests that it answers now."""
        if not (self.serving or self.beside):
            return 0.0
        both = self.other is not None and (self.other.serving or self.other.beside)
        return self.part if both else float(self.serving)


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
    metric: str = ""
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

    def split(
        self,
        front: WorkerRef,
        beside: WorkerRef,
        *,
        control_percent: int,
        beside_is_control: bool,
        slow_over_s: float | None = None,
    ) -> None:
        """Let both answer, each its share."""
        one, other = self._workers.get(front.id), self._workers.get(beside.id)
        if one is None or other is None or not one.serving:
            return
        for worker, is_control in ((one, not beside_is_control), (other, beside_is_control)):
            self._count(worker)
            worker.arm = Arm.CONTROL if is_control else Arm.CANDIDATE
            worker.part = (control_percent if is_control else 100 - control_percent) / 100
            worker.since_s = self.timer.now_s
        one.other, other.other = other, one
        self._later(SERVE_S, other, lambda: self._now_answering(one, other))

    def collect(self, worker: WorkerRef) -> None:
        """Hand over what was counted."""
        found = self._workers.get(worker.id)
        if found is not None and (found.asked or found.share is not None):
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
        """Return who answers; of two, the one that is not the control."""
        found = [each for each in self._workers.values() if each.asked and each.ref.model == model]
        found.sort(key=lambda each: each.arm is Arm.CONTROL)
        return found[0].ref if found else None

    def answering(self, model: ModelName) -> tuple[WorkerRef, ...]:
        """Return all who answer."""
        return tuple(each.ref for each in self._workers.values() if each.asked and each.ref.model == model)

    def kill(self, cause: ExitCause) -> bool:
        """Let whoever serves die, of two either one; tell whether anybody did."""
        for worker in list(self._workers.values()):
            if worker.serving:
                unlucky = worker if worker.other is None or self.chance.random() < 0.5 else worker.other
                self._die(unlucky, cause)
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
                self._part(other)
                other.serving = False
                self.emit(events.StoppedServing(worker=other.ref))
        anew = not (worker.serving or worker.beside)
        if worker.share is not None or worker.arm is not arm:
            self._count(worker)
            worker.share = None
        self._part(worker)
        worker.arm, worker.beside = arm, False
        if anew:
            self._begins(worker)
        worker.serving = True
        self.emit(events.NowServing(worker=worker.ref, arm=arm, gap_ms=0.0))

    def _now_answering(self, front: _Worker, worker: _Worker) -> None:
        if worker.other is not front or worker.serving:
            return
        if worker.share is not None:
            self._count(worker)
            worker.share = None
        self._count(front)
        if not worker.beside:
            self._begins(worker)
        worker.beside = True
        self.emit(events.NowAnswering(worker=worker.ref, arm=worker.arm))

    def _begins(self, worker: _Worker) -> None:
        worker.served = True
        worker.since_s = self.timer.now_s
        worker.first_s = worker.since_s if worker.first_s is None else worker.first_s
        self._doom(worker)

    def _part(self, worker: _Worker) -> None:
        """End a split: whoever of the two holds the socket answers everything from now on."""
        other = worker.other
        if other is None:
            return
        for each in (worker, other):
            self._accrue(each)
        worker.other = other.other = None
        worker.beside = other.beside = False

    def _doom(self, worker: _Worker) -> None:
        if worker.nature is Nature.CRASHES:
            self._later(self.chance.expovariate(1 / SOON_S), worker, lambda: self._die(worker, ExitCause.CRASHED))
        elif worker.nature is Nature.HANGS:
            self._later(self.chance.expovariate(1 / SOON_S) + HANG_S, worker, lambda: self._die(worker, ExitCause.HUNG))

    def _die(self, worker: _Worker, cause: ExitCause) -> None:
        if worker.beside and worker.other is not None:
            worker.other.lost = worker
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
        self._part(worker)
        worker.gone, worker.serving = True, False
        self._workers.pop(worker.ref.id, None)

    def _count(self, worker: _Worker) -> None:
        self._accrue(worker)
        n = int(worker.owed)
        worker.owed -= n
        self.answered += n * (worker.share is None)
        self.emit(events.Collected(worker=worker.ref, block=self._block(worker, n)))
        lost, worker.lost = worker.lost, None
        if lost is not None:
            self.answered += 1
            self.emit(events.Collected(worker=worker.ref, block=_unanswered(lost)))

    def _accrue(self, worker: _Worker) -> None:
        """Bring what a worker has answered up to now."""
        now_s = self.timer.now_s
        shown = worker.share is not None and self.serving(worker.ref.model) is not None
        if worker.serving or worker.beside or worker.share is not None:
            share = worker.asked or (worker.share or 0.0) * shown
            worker.owed += (now_s - worker.since_s) * share * self.inferences_an_hour / 3600
            worker.since_s = now_s

    def _block(self, worker: _Worker, n: int) -> Block:
        errors = self._errors(worker, n)
        good = n - errors
        below = int(good * self._below_share(worker))
        block = Block(
            model=worker.ref.model,
            release=worker.ref.release,
            variant=worker.ref.variant,
            arm=worker.arm if worker.share is None else Arm.SHADOW,
            n=n,
            errors=(ErrorCount(name="runtime", n=errors),) if errors else (),
            latency=self._latencies(worker, n).to_wire(),
            predictions=Predictions(n=good, below=below) if good else None,
            shadow=None
            if worker.share is None
            else ShadowCounts(pairs=n, disagreements=errors + _contrary(worker, good)),
        )
        return applications.told(block, worker.nature, self.chance, self.metric) if self.tells else block

    def _errors(self, worker: _Worker, n: int) -> int:
        usual = _ERROR_SHARES.get(worker.nature, 0.0)
        own, here = (worker.amount or usual) if usual else 0.0, self.temper.error_share
        share = own + here - own * here  # a version fails beside what fails on the device whatever answers
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


def _unanswered(lost: _Worker) -> Block:
    """What one arm counts for the other: a request that it died of, and that was answered all the same."""
    ref = lost.ref
    errors = (ErrorCount(name=NO_ANSWER, n=1),)
    return Block(model=ref.model, release=ref.release, variant=ref.variant, arm=lost.arm, n=1, errors=errors)
