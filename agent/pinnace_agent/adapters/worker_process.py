"""The supervisor's side of the workers: starts their processes, gives them orders, watches them, says what happened.

Every order returns at once and is carried out on this module's own thread; what came of it arrives as an event
(``worker/events.py``) through ``emit``, which must only enqueue. Every start ends in exactly one ``LoadFailed`` or
``WorkerExited``. When to start, serve or revert is the lifecycle's business, and nothing here ever loads a model.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, assert_never

from pinnace_agent.answerers import Answerers
from pinnace_agent.endpoint import Endpoint
from pinnace_agent.loopback_guard import token_hash
from pinnace_agent.outcomes import Answerer
from pinnace_agent.reactor import READ, WRITE, Reactor
from pinnace_agent.worker import answer_name, events, protocol
from pinnace_agent.worker.child import Child
from pinnace_agent.worker.events import ExitCause, WorkerEvent, WorkerId, WorkerRef
from pinnace_agent.worker.hosting import HostSettings, Start, WorkerStatus
from pinnace_agent.worker.joining import Splits
from pinnace_agent.worker.protocol import Truth
from pinnace_agent.worker.verdicts import Stall, printable, verdict
from pinnace_contract.errors import ContractError
from pinnace_contract.ids import ModelName
from pinnace_contract.latest import Arm, Cause

log = logging.getLogger(__name__)

# A process maps more than it touches: interpreter, numpy and a runtime have 150 MiB of writable mappings at 60 MiB
# resident. The resident limit is watched by us; this one stops an allocation that is far beyond it at once.
DATA_HEADROOM_BYTES: Final = 256 * 1024 * 1024
# What may wait for a worker that is busy with an inference. Labels beyond their share are dropped: an application that
# floods us with them must not look like a worker that hangs.
OUTGOING_BYTES_MAX: Final = 1024 * 1024
LABELS_BYTES_MAX: Final = 256 * 1024
LABEL_ORDERS_MAX: Final = 64  # batches of labels that wait for this module's thread
STATEMENTS_MAX: Final = 1_000  # of a worker between two looks or orders; it says a handful, and others must be heard
LAST_READS_MAX: Final = 16  # of 64 KiB; a socket's buffer holds less


@dataclass(slots=True, kw_only=True)
class _Worker:
    ref: WorkerRef
    tag: str
    child: Child
    memory_bytes_max: int
    started_s: float
    stall: Stall
    loaded: bool = False
    serving: bool = False
    served: bool = False
    memory_bytes: int = 0
    said: int = 0  # statements since it was last looked at, or told something
    refused: protocol.Refused | None = None
    stop_by_s: float | None = None
    killed: ExitCause | None = None
    why: str = ""


class WorkerHost:
    """All workers of an agent and their models' sockets."""

    def __init__(
        self,
        settings: HostSettings,
        emit: Callable[[WorkerEvent], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._emit, self._clock = settings, emit, clock
        self._token_sha256 = token_hash(settings.token) if settings.token else ""
        self._reactor = Reactor()
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._workers: dict[WorkerId, _Worker] = {}
        self._endpoints: dict[ModelName, Endpoint] = {}
        self._opened: dict[ModelName, Endpoint] = {}  # by the callers; the rest belongs to the thread
        self._ids = itertools.count(1)
        self._run_tag = secrets.token_hex(
            4
        )  # an answer of an earlier run of the agent cannot be mistaken for one of this
        self._answerers = Answerers(self._run_tag)  # by the callers
        self._splits = Splits(self._tell, self._end_split, self._lives, clock)
        self._closing = False
        self._reactor.add(self._wake, lambda _events: self._obey())
        self._thread = threading.Thread(target=self._run, name="workers", daemon=True)
        self._thread.start()

    # --- orders, from any thread -----------------------------------------------------------------------------------

    def open(self, model: ModelName, reason: str = "", retry_after_s: int = 5) -> None:
        """Make the model's socket and answer 503 with the reason until a worker serves; again, change the reason.

        Raises:
            SocketTrouble: it cannot be made there.
        """
        if model not in self._opened:
            endpoint = Endpoint(
                model=model,
                path=self._settings.run_dir / f"{model}.sock",
                group=self._settings.group,
                tcp_port=self._settings.tcp_ports.get(model),
                token_sha256=self._token_sha256,
                reactor=self._reactor,
                clock=self._clock,
            )
            self._opened[model] = endpoint
            self._ask(partial(self._adopt, endpoint))
        if reason:
            self._ask(partial(self._say, model, reason, retry_after_s))

    def close_endpoint(self, model: ModelName) -> None:
        """Remove the socket of a model that this device no longer has. Its workers must have been stopped."""
        endpoint = self._opened.pop(model, None)
        if endpoint is not None:
            endpoint.unlink()
            self._ask(partial(self._close_endpoint, model))

    def start(self, order: Start) -> WorkerRef:
        """Start a process and load; after ``open``. ``WorkerStarted``, ``LoadFailed`` or ``WorkerExited`` follows."""
        if order.model not in self._opened:
            raise AssertionError(f"open the socket of {order.model} before a worker is started for it")
        ref = WorkerRef(id=WorkerId(next(self._ids)), model=order.model, release=order.release, variant=order.variant)
        self._ask(partial(self._start, ref, order))
        return ref

    def self_test(self, worker: WorkerRef) -> None:
        """Check the golden vectors: ``SelfTested`` follows."""
        self._ask(partial(self._tell, worker, protocol.SelfTest()))

    def replay(self, worker: WorkerRef, n: int) -> None:
        """Infer ``n`` golden vectors (at most 256): ``VectorsReplayed`` follows."""
        self._ask(partial(self._tell, worker, protocol.Replay(n=n)))

    def serve(self, worker: WorkerRef, arm: Arm = Arm.SERVING, slow_over_s: float | None = None) -> None:
        """Let this worker answer: ``NowServing`` follows, then ``StoppedServing`` of the one that did before.

        May be repeated for the worker that serves, to change arm or threshold.
        """
        self._answerers.add(worker, arm)
        self._ask(partial(self._serve, worker, protocol.Serve(arm=arm, slow_over_s=slow_over_s)))

    def shadow(self, control: WorkerRef, candidate: WorkerRef, share_percent: int) -> None:
        """Show ``candidate`` this share of what ``control`` answers, over a socket pair of their own.

        May be repeated, for another control or share. It ends with either worker, or when the candidate serves.
        """
        self._ask(partial(self._pair, control, candidate, share_percent))

    def split(
        self,
        front: WorkerRef,
        beside: WorkerRef,
        *,
        control_percent: int,
        beside_is_control: bool,
        slow_over_s: float | None = None,
    ) -> None:
        """Let ``front``, which holds the socket, ask ``beside`` for its share: ``NowAnswering`` of that one follows.

        ``control_percent`` of the requests are the control's, whichever of the two that is. May be repeated. It ends
        with ``serve`` of either; where ``front`` dies, ``beside`` takes the socket at once.
        """
        arms = (Arm.CANDIDATE, Arm.CONTROL) if beside_is_control else (Arm.CONTROL, Arm.CANDIDATE)
        for worker, arm in zip((front, beside), arms, strict=True):
            self._answerers.add(worker, arm)
        self._ask(partial(self._split, front, beside, control_percent, arms, slow_over_s))

    def collect(self, worker: WorkerRef) -> None:
        """Ask for what was counted: ``Collected`` follows."""
        self._ask(partial(self._tell, worker, protocol.Collect()))

    def label(self, model: ModelName, truths: tuple[Truth, ...]) -> None:
        """Pass ground truth to the worker that answered; it shows in the labels of its next block.

        Dropped while so much waits here that nobody could follow: an application may tell it without a pause.
        """
        if self._orders.qsize() < LABEL_ORDERS_MAX:
            self._ask(partial(self._label, model, truths))

    def who_answered(self, request: str) -> Answerer | None:
        """Return whoever gave an answer in this run of the agent, by the answer's name; None: nobody that is known."""
        return self._answerers.who(request)

    def stop(self, worker: WorkerRef, reason: str = "", retry_after_s: int = 5) -> None:
        """End the worker in order: ``Collected``, then ``WorkerExited(ORDERED)``. Clients are told the reason."""
        self._ask(partial(self._stop, worker, reason, retry_after_s))

    def kill(self, worker: WorkerRef, cause: ExitCause, why: str) -> None:
        """End the worker now: ``WorkerExited`` with this cause follows."""
        self._ask(partial(self._kill_ref, worker, cause, why))

    def status(self) -> tuple[WorkerStatus, ...]:
        """Return what there is now."""
        return tuple(
            WorkerStatus(
                worker=each.ref,
                pid=each.child.process.pid,
                loaded=each.loaded,
                serving=each.serving,
                memory_bytes=each.memory_bytes,
            )
            for each in list(self._workers.values())
        )

    def close(self) -> None:
        """Stop every worker in order, remove the sockets, end the thread. Events come until it returns."""
        self._ask(self._begin_close)
        self._thread.join()

    def _ask(self, order: Callable[[], None]) -> None:
        self._orders.put(order)
        os.eventfd_write(self._wake, 1)

    # --- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            next_look_s = self._clock()
            while not (self._closing and not self._workers):
                wait_s = max(0.0, next_look_s - self._clock())
                self._reactor.turn(wait_s)
                if self._clock() >= next_look_s:
                    next_look_s = self._clock() + self._settings.watch_every_s
                    self._look()
            for endpoint in self._endpoints.values():
                endpoint.close()
        except Exception as error:
            for worker in self._workers.values():
                worker.child.process.kill()
            self._emit(events.HostFailed(detail=f"{type(error).__name__}: {error}"))
            raise

    def _obey(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        for _ in range(
            self._orders.qsize()
        ):  # what comes meanwhile has a turn of its own, so that workers are looked at
            self._orders.get_nowait()()

    def _adopt(self, endpoint: Endpoint) -> None:
        self._endpoints[endpoint.model] = endpoint
        endpoint.take_over()

    def _say(self, model: ModelName, reason: str, retry_after_s: int) -> None:
        endpoint = self._endpoints.get(model)
        if endpoint is not None:
            endpoint.say(reason, retry_after_s)

    def _close_endpoint(self, model: ModelName) -> None:
        endpoint = self._endpoints.pop(model, None)
        if endpoint is not None:
            endpoint.close()

    def _start(self, ref: WorkerRef, order: Start) -> None:
        settings = self._settings
        memory_bytes = order.memory_bytes or settings.memory_bytes
        tag = answer_name.worker_tag(self._run_tag, ref.id)
        load = protocol.Load(
            model=order.model,
            release=order.release,
            release_path=str(order.release_path),
            variant=order.variant,
            blobs=tuple(protocol.BlobPath(digest=digest, path=str(path)) for digest, path in order.blobs.items()),
            tag=tag,
            token_sha256=self._token_sha256,
            confinement=protocol.Confinement(
                data_bytes=memory_bytes + DATA_HEADROOM_BYTES, niceness=settings.niceness, threads=settings.threads
            ),
            limits=settings.limits,
        )
        try:
            child = Child(self._endpoints[order.model].sockets, settings.threads)
        except OSError as error:
            why = f"the worker process could not be started: {error.strerror}"
            self._emit(events.LoadFailed(worker=ref, cause=Cause.NO_MEMORY, detail=why))
            return
        worker = self._workers[ref.id] = _Worker(
            ref=ref,
            tag=tag,
            child=child,
            memory_bytes_max=memory_bytes,
            started_s=self._clock(),
            stall=Stall(look_s_max=2 * settings.watch_every_s),
        )
        self._reactor.add(child.control, partial(self._talk, worker))
        if child.exit_fd is not None:
            self._reactor.add(child.exit_fd, lambda _events: self._reap(worker))
        self._reactor.add(child.stderr, lambda _events: self._read_words(worker))
        self._tell(ref, load)

    def _serve(self, ref: WorkerRef, order: protocol.Serve) -> None:
        self._splits.over(ref)
        self._tell(ref, order)

    # --- talking to a worker ---------------------------------------------------------------------------------------

    def _pair(self, control: WorkerRef, candidate: WorkerRef, share_percent: int) -> None:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._tell(candidate, protocol.Shadow(), other)
        self._tell(control, protocol.Forward(share_percent=share_percent), one)

    def _split(
        self,
        front: WorkerRef,
        beside: WorkerRef,
        control_percent: int,
        arms: tuple[Arm, Arm],
        slow_over_s: float | None,
    ) -> None:
        ours, theirs = arms
        order = protocol.Split(
            control_percent=control_percent,
            arm=ours,
            slow_over_s=slow_over_s,
            release=beside.release,
            variant=beside.variant,
            other_arm=theirs,
        )
        self._splits.begin(front, beside, order, protocol.Serve(arm=theirs, slow_over_s=slow_over_s))

    def _end_split(self, ref: WorkerRef, why: str) -> None:
        self._kill_ref(ref, ExitCause.CRASHED, f"killed, because {why}")

    def _lives(self, ref: WorkerRef) -> bool:
        worker = self._workers.get(ref.id)
        return worker is not None and worker.stop_by_s is None and worker.killed is None

    def _tell(self, ref: WorkerRef, order: protocol.Order, passed: socket.socket | None = None) -> None:
        worker = self._workers.get(ref.id)
        if worker is None or not self._reactor.holds(worker.child.control):
            if passed is not None:
                passed.close()
            return  # it has ended, and the event that says so is on its way
        worker.said = 0
        worker.child.say(order, passed)
        self._reactor.want(worker.child.control, READ | WRITE)
        if len(worker.child.outgoing) > OUTGOING_BYTES_MAX:
            self._kill(worker, ExitCause.HUNG, "killed, because it has stopped reading its orders")

    def _talk(self, worker: _Worker, ready: int) -> None:
        if ready & WRITE:
            worker.child.send()
            if not worker.child.outgoing:
                self._reactor.want(worker.child.control, READ)
        if ready & READ:
            self._hear(worker)

    def _label(self, model: ModelName, truths: tuple[Truth, ...]) -> None:
        for worker in self._workers.values():
            if worker.ref.model != model or len(worker.child.outgoing) > LABELS_BYTES_MAX:
                continue
            mine = tuple(each for each in truths if each.request.startswith(worker.tag + "-"))
            for i in range(0, len(mine), protocol.LABELS_MAX):
                self._tell(worker.ref, protocol.Label(truths=mine[i : i + protocol.LABELS_MAX]))

    def _stop(self, ref: WorkerRef, reason: str, retry_after_s: int) -> None:
        worker = self._workers.get(ref.id)
        if worker is None or worker.stop_by_s is not None:
            return
        endpoint = self._endpoints.get(ref.model)
        if endpoint is not None and reason:
            endpoint.say(reason, retry_after_s)
        worker.stop_by_s = self._clock() + self._settings.stop_s
        self._no_longer_serving(worker)
        self._tell(ref, protocol.Stop())

    def _kill_ref(self, ref: WorkerRef, cause: ExitCause, why: str) -> None:
        worker = self._workers.get(ref.id)
        if worker is not None:
            self._kill(worker, cause, why)

    def _kill(self, worker: _Worker, cause: ExitCause, why: str) -> None:
        if worker.killed is None:
            worker.killed, worker.why = cause, why
            worker.child.process.kill()

    def _hear(self, worker: _Worker) -> None:
        try:
            messages = worker.child.hear()
        except ContractError as error:
            messages = None
            self._kill(worker, ExitCause.CRASHED, f"killed, because it broke the protocol: {error}")
        if messages is None:
            self._reactor.remove(worker.child.control)  # its process is ending, or will be found hung
            return
        for message in messages:
            worker.said += 1
            if worker.said > STATEMENTS_MAX:
                self._reactor.remove(worker.child.control)
                why = f"killed, because it made more than {STATEMENTS_MAX} statements that nobody asked for"
                self._kill(worker, ExitCause.CRASHED, why)
                return
            self._heard(worker, message)

    def _heard(self, worker: _Worker, message: protocol.Order | protocol.Statement) -> None:
        ref = worker.ref
        match message:
            case protocol.Loaded(load_ms=load_ms, peak_memory_bytes=peak, runtime=runtime):
                worker.loaded = True
                self._emit(events.WorkerStarted(worker=ref, load_ms=load_ms, peak_memory_bytes=peak, runtime=runtime))
            case protocol.Refused():
                worker.refused = message
            case protocol.Tested():
                self._emit(
                    events.SelfTested(
                        worker=ref,
                        result=message.result,
                        latency=message.latency,
                        peak_memory_bytes=message.peak_memory_bytes,
                        detail=message.detail,
                        log=printable(worker.child.last_words),
                    )
                )
            case protocol.Replayed(n=n, errors=errors, result=result, latency=latency):
                self._emit(events.VectorsReplayed(worker=ref, n=n, errors=errors, result=result, latency=latency))
            case protocol.Serving(arm=arm):
                self._now_serving(worker, arm)
            case protocol.Answering(arm=arm):
                self._splits.answers(ref)
                self._emit(events.NowAnswering(worker=ref, arm=arm))
            case protocol.Parted():
                self._splits.parted(ref)
            case protocol.Drained():
                worker.serving = False
                self._emit(events.StoppedServing(worker=ref))
            case protocol.Counted(block=block):
                self._emit(events.Collected(worker=ref, block=block))
            case (
                protocol.Load()
                | protocol.SelfTest()
                | protocol.Replay()
                | protocol.Serve()
                | protocol.StopServing()
                | protocol.Collect()
                | protocol.Stop()
                | protocol.Label()
                | protocol.Forward()
                | protocol.Shadow()
                | protocol.Split()
                | protocol.Answer()
            ):
                self._kill(worker, ExitCause.CRASHED, f"killed, because it gave an order: {message.KIND}")
            case _:
                assert_never(message)

    def _now_serving(self, worker: _Worker, arm: Arm) -> None:
        if worker.stop_by_s is not None or worker.killed is not None:
            return
        endpoint = self._endpoints.get(worker.ref.model)
        gap_s = endpoint.hand_over() if endpoint is not None else 0.0
        worker.serving = worker.served = True
        self._emit(events.NowServing(worker=worker.ref, arm=arm, gap_ms=gap_s * 1000))
        for other in tuple(self._workers.values()):
            if other.serving and other is not worker and other.ref.model == worker.ref.model:
                self._tell(other.ref, protocol.StopServing())

    def _inherited(self, worker: _Worker) -> bool:
        """Let the other arm take the socket of one that died; who connects meanwhile waits for it."""
        found = self._splits.heir(worker.ref)
        heir = self._workers.get(found[0].id) if found is not None else None
        if found is None or heir is None:
            return False
        heir.serving = heir.served = True  # should it die now, too, its end is the model's
        self._tell(heir.ref, found[1])
        return True

    def _no_longer_serving(self, worker: _Worker) -> None:
        worker.serving = False
        endpoint = self._endpoints.get(worker.ref.model)
        others = any(each.serving and each.ref.model == worker.ref.model for each in self._workers.values())
        if endpoint is not None and worker.served and not others:
            endpoint.lost()

    # --- watching --------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        now = self._clock()
        for endpoint in self._endpoints.values():
            endpoint.expire()
        for worker in tuple(self._workers.values()):
            self._look_at(worker, now)
        self._splits.look()

    def _look_at(self, worker: _Worker, now: float) -> None:
        settings = self._settings
        if worker.child.exit_fd is None and worker.child.ended:
            self._reap(worker)
            return
        worker.said = 0
        worker.memory_bytes = worker.child.resident_bytes()
        if worker.memory_bytes > worker.memory_bytes_max:
            found, limit = worker.memory_bytes // 2**20, worker.memory_bytes_max // 2**20
            self._kill(worker, ExitCause.MEMORY_EXCEEDED, f"killed at {found} MiB of memory; its limit is {limit} MiB")
        if worker.stop_by_s is not None and now >= worker.stop_by_s:
            self._kill(
                worker, ExitCause.ORDERED, f"killed, because it had not ended {settings.stop_s:g} s after the order"
            )
        elif not worker.loaded:
            if now - worker.started_s > settings.load_s:
                self._kill(worker, ExitCause.HUNG, f"killed, because it had not loaded after {settings.load_s:g} s")
        else:
            signs = worker.child.vitals.read()
            if worker.stall.look(signs, now) > settings.hang_s:
                what = "one inference has been running" if signs[1] is not None else "its loop has not turned"
                self._kill(worker, ExitCause.HUNG, f"killed, because {what} for more than {settings.hang_s:g} s")

    def _read_words(self, worker: _Worker) -> None:
        if not worker.child.read_words():
            self._reactor.remove(worker.child.stderr)

    def _reap(self, worker: _Worker) -> None:
        returncode = worker.child.process.wait()
        for _ in range(LAST_READS_MAX):  # its last statements, to the end of the stream
            if self._reactor.holds(worker.child.control):
                self._hear(worker)
        worker.child.read_words()
        was_serving = worker.serving
        self._forget(worker)
        log = printable(worker.child.last_words)
        refused = worker.refused
        if refused is not None and worker.killed is None:
            self._emit(events.LoadFailed(worker=worker.ref, cause=refused.cause, detail=refused.detail, log=log))
            return
        cause, why = verdict(
            returncode,
            stopping=worker.stop_by_s is not None,
            killed=worker.killed,
            why=worker.why,
            last_words=worker.child.last_words,
        )
        endpoint = self._endpoints.get(worker.ref.model)
        if was_serving and endpoint is not None and cause is not ExitCause.ORDERED:
            endpoint.say(f"the worker of {worker.ref.model} has ended ({cause}); another one is to take its place", 2)
        self._emit(
            events.WorkerExited(
                worker=worker.ref, cause=cause, detail=why, log=log, loaded=worker.loaded, served=worker.served
            )
        )

    def _forget(self, worker: _Worker) -> None:
        del self._workers[worker.ref.id]
        if worker.serving and not self._inherited(worker):
            self._no_longer_serving(worker)
        self._splits.over(worker.ref)
        for source in (worker.child.control, worker.child.exit_fd, worker.child.stderr):
            if source is not None:
                self._reactor.remove(source)
        worker.child.close()

    def _begin_close(self) -> None:
        self._closing = True
        for worker in tuple(self._workers.values()):
            self._stop(worker.ref, "the agent is stopping", 5)
