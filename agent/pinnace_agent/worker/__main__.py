"""Entry of the worker process: ``python -m pinnace_agent.worker SUPERVISOR_PID CONTROL VITALS LISTENING...``.

All but the first are inherited file descriptors. Owns the order at the start: first the confinement, and only then
numpy, the runtime and the model.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

from pinnace_agent.worker import protocol
from pinnace_agent.worker.confine import confine
from pinnace_agent.worker.control import Orphaned, Supervisor


def main() -> int:
    """Run the worker and return its exit code."""
    # A service manager that stops the agent sends these to all its processes; when a worker ends is the supervisor's
    # to say, and its death would look like a crash of the model.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    supervisor_pid, control, vitals, *listening = (int(argument) for argument in sys.argv[1:])
    supervisor = Supervisor(socket.socket(fileno=control))
    try:
        order, *waiting = _first_orders(supervisor)
        if not isinstance(order, protocol.Load):
            raise AssertionError(f"the first order must be to load, found {order.KIND}")
        confine(order.confinement, supervisor_pid)
        sockets = [socket.socket(fileno=each) for each in listening]
        return _serve(order, waiting, supervisor, protocol.Vitals(vitals), sockets)
    except (Orphaned, ConnectionError):
        return protocol.EXIT_ORPHANED
    except MemoryError:
        return protocol.EXIT_MEMORY


def _first_orders(supervisor: Supervisor) -> list[protocol.Order]:
    orders: list[protocol.Order] = []
    while not orders:
        orders = supervisor.orders()
    return orders


def _serve(
    order: protocol.Load,
    waiting: list[protocol.Order],
    supervisor: Supervisor,
    vitals: protocol.Vitals,
    listening: list[socket.socket],
) -> int:
    began_s = time.monotonic()
    from pinnace_agent.worker.loop import Loop
    from pinnace_agent.worker.model import CannotLoad, load, peak_memory_bytes

    try:
        model = load(order, vitals)
    except CannotLoad as error:
        detail = str(error)[: protocol.DETAIL_CHARS_MAX]
        supervisor.say(protocol.Refused(cause=error.cause, detail=detail))
        return protocol.EXIT_LOAD_FAILED
    loop = Loop(model=model, order=order, supervisor=supervisor, vitals=vitals, listening=listening)
    vitals.beat()
    supervisor.say(
        protocol.Loaded(
            load_ms=(time.monotonic() - began_s) * 1000,
            peak_memory_bytes=peak_memory_bytes(),
            runtime=model.timed.version[:64],
        )
    )
    loop.run(waiting)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # destructors of a runtime that ran out of memory do not end well, and nothing here is left to save
