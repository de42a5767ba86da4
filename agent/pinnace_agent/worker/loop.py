"""The worker's one thread: orders of the supervisor and requests of applications, in turn.

Owns the order of things: an answer leaves before it is counted, what is in flight is finished before the loop stops
serving, counts are handed over before it ends.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Final, assert_never

from pinnace_agent.local_http import HttpLimits, HttpServer
from pinnace_agent.reactor import Reactor
from pinnace_agent.worker import answer_name, protocol
from pinnace_agent.worker.control import Supervisor
from pinnace_agent.worker.copies import Forwarder, Receiver
from pinnace_agent.worker.counts import Counts
from pinnace_agent.worker.model import CannotLoad, Model, means_no_memory, peak_memory_bytes
from pinnace_agent.worker.protocol import Load, Order, Vitals
from pinnace_agent.worker.reply import Reply
from pinnace_agent.worker.service import Service
from pinnace_agent.worker.shadow import Shadow
from pinnace_agent.worker.shared_memory import SharedMemory
from pinnace_agent.worker.split import Answering, Split
from pinnace_contract.latest import Arm, GoldenResult
from pinnace_runtime.errors import InferenceError

TURN_S_MAX: Final = 1.0  # the loop turns at least this often, to show that it lives
DRAIN_S_MAX: Final = (
    5.0  # for clients to take their last answers; less than the supervisor waits after an order to stop
)


class Loop:
    """Serves one loaded model until it is told to stop."""

    def __init__(
        self, *, model: Model, order: Load, supervisor: Supervisor, vitals: Vitals, listening: list[socket.socket]
    ) -> None:
        self._model, self._supervisor, self._vitals, self._listening = model, supervisor, vitals, listening
        self._reactor = Reactor()
        self._later: list[Callable[[], None]] = []
        self._counts = Counts(model, order.release)
        self._service = Service(model, order, self._counts, self._later)
        limits = order.limits
        self._server = HttpServer(
            reactor=self._reactor,
            handler=self._service,
            clock=time.monotonic,
            limits=HttpLimits(
                connections=limits.connections,
                body_bytes=limits.request_bytes,
                bodies_bytes=limits.requests_bytes,
                request_s=limits.request_s,
                idle_s=limits.idle_s,
            ),
        )
        shared = SharedMemory(
            self._reactor,
            self._service,
            size_bytes_max=limits.shared_bytes,
            connections_max=limits.connections,
        )
        self._service.with_shared_memory(shared.open)
        self._tag = order.tag
        self._serving = self._stopping = self._ended = False
        self._drain_by_s: float | None = None
        self._replayed = 0
        self._shadow_of: Receiver | None = None
        self._answering: Answering | None = None
        self._request_bytes_max = limits.request_bytes
        self._reactor.add(supervisor.control, lambda _events: self._obey_all())

    def run(self, waiting: list[Order]) -> None:
        """Obey the orders that came while the model was loaded, then serve until told to stop.

        Raises:
            Orphaned, MemoryError
        """
        for order in waiting:
            self._obey(order)
        next_look_s = time.monotonic() + TURN_S_MAX
        while not self._ended:
            self._reactor.turn(TURN_S_MAX, self._count)
            self._vitals.beat()
            now = time.monotonic()
            if now >= next_look_s:
                next_look_s = now + TURN_S_MAX
                self._server.expire()
            if self._drain_by_s is not None:
                self._look_at_draining(now)

    def _count(self) -> None:
        while self._later:
            self._later.pop(0)()

    def _look_at_draining(self, now: float) -> None:
        if self._server.connections and now < (self._drain_by_s or 0):
            return
        self._server.close()
        self._drain_by_s = None
        self._supervisor.say(protocol.Drained())
        if self._stopping:
            self._hand_over()
            self._ended = True

    # --- orders ----------------------------------------------------------------------------------------------------

    def _obey_all(self) -> None:
        for order in self._supervisor.orders():
            self._obey(order)

    def _obey(self, order: Order) -> None:
        match order:
            case protocol.SelfTest():
                self._leave()  # nobody is to wait for this arm meanwhile
                self._supervisor.say(self._tested())
            case protocol.Replay(n=n):
                self._leave()
                self._supervisor.say(self._replay(n))
            case protocol.Serve():
                self._serve(order)
            case protocol.StopServing():
                self._stop_serving()
            case protocol.Collect():
                self._hand_over()
            case protocol.Label(truths=truths):
                self._label(truths)
            case protocol.Forward(share_percent=share_percent):
                self._service.forward_to(Forwarder(self._reactor, self._passed_socket(), share_percent))
            case protocol.Shadow():
                self._shadow()
            case protocol.Split():
                self._split(order)
            case protocol.Answer():
                self._answer(order)
            case protocol.Stop():
                self._stopping = True
                self._end_shadow()
                self._leave()
                self._service.forward_to(None)
                self._stop_serving()
            case protocol.Load():
                raise AssertionError("a worker loads once")
            case _:
                assert_never(order)

    def _tested(self) -> protocol.Tested:
        try:
            result, latency = self._model.self_test()
        except (CannotLoad, InferenceError) as error:
            if means_no_memory(error):
                raise MemoryError(str(error)) from error
            return protocol.Tested(
                result=GoldenResult(vectors=0, passed=False),
                peak_memory_bytes=peak_memory_bytes(),
                detail=str(error)[: protocol.DETAIL_CHARS_MAX],
            )
        return protocol.Tested(result=result, latency=latency, peak_memory_bytes=peak_memory_bytes())

    def _replay(self, n: int) -> protocol.Replayed:
        try:
            result, errors, latency = self._model.replay(self._replayed, n)
        except CannotLoad:
            return protocol.Replayed(n=n, errors=n, result=GoldenResult(vectors=0, passed=False))
        self._replayed += n
        return protocol.Replayed(n=n, errors=errors, result=result, latency=latency)

    def _serve(self, order: protocol.Serve) -> None:
        if self._stopping:
            return
        self._end_shadow()
        self._leave()
        self._end_split()
        self._count_as(order.arm, order.slow_over_s)
        if not self._serving:
            self._serving, self._drain_by_s = True, None
            for listening in self._listening:
                self._server.listen(listening)
        self._supervisor.say(protocol.Serving(arm=order.arm))

    def _shadow(self) -> None:
        source = self._passed_socket()
        if self._serving or self._stopping:
            source.close()  # something newer was ordered meanwhile
            return
        self._end_shadow()
        self._count_as(Arm.SHADOW, None)
        self._shadow_of = Receiver(self._reactor, source, Shadow(self._model, self._counts).answer)

    def _end_shadow(self) -> None:
        if self._shadow_of is not None:
            self._shadow_of.close()
            self._shadow_of = None

    def _split(self, order: protocol.Split) -> None:
        to = self._passed_socket()
        self._end_split()
        if not self._serving or self._stopping:
            to.close()  # something newer was ordered meanwhile
            return
        self._count_as(order.arm, order.slow_over_s)
        self._service.split_with(Split(to, order, self._model.release.model, self._vitals.beat, self._parted))

    def _parted(self) -> None:
        self._supervisor.say(protocol.Parted())

    def _end_split(self) -> None:
        if self._service.split is not None:
            self._hand_over_lost()
            self._service.split_with(None)

    def _answer(self, order: protocol.Answer) -> None:
        source = self._passed_socket()
        if self._stopping:
            source.close()
            return
        self._end_shadow()
        self._leave()
        self._count_as(order.arm, order.slow_over_s)
        self._answering = Answering(
            self._reactor, source, self._answer_alone, self._request_bytes_max, self._vitals.beat
        )
        self._supervisor.say(protocol.Answering(arm=order.arm))

    def _answer_alone(self, body: memoryview, json_bytes: int | None) -> Reply:
        return self._service.infer(body, json_bytes, alone=True)

    def _leave(self) -> None:
        if self._answering is not None:
            self._answering.leave()
            self._answering = None

    def _hand_over(self) -> None:
        self._hand_over_own()
        self._hand_over_lost()

    def _hand_over_own(self) -> None:
        for block in self._counts.take():
            self._supervisor.say(protocol.Counted(block=block))

    def _hand_over_lost(self) -> None:
        lost = self._service.split.take_lost() if self._service.split is not None else None
        if lost is not None:
            self._supervisor.say(protocol.Counted(block=lost))

    def _passed_socket(self) -> socket.socket:
        return socket.socket(fileno=self._supervisor.descriptor())

    def _count_as(self, arm: Arm, slow_over_s: float | None) -> None:
        if arm is not self._counts.arm and not self._counts.empty:
            self._hand_over_own()
        self._counts.arm = arm
        self._counts.slow_over_s = float("inf") if slow_over_s is None else slow_over_s

    def _stop_serving(self) -> None:
        self._serving = False
        self._end_split()
        self._drain_by_s = time.monotonic() + DRAIN_S_MAX
        self._server.drain()

    def _label(self, truths: tuple[protocol.Truth, ...]) -> None:
        for truth in truths:
            name = answer_name.read(truth.request)
            if name is not None and answer_name.worker_tag(name.run, name.worker) == self._tag:
                self._counts.label(name.number, truth)
