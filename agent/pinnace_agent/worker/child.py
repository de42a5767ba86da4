"""One worker process as its supervisor holds it: started, spoken to, listened to, measured.

Owns the process, its end of the socket pair, the page with its signs of life and its last words. What they mean, and
when a worker must end, is ``adapters/worker_process.py``'s to say.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pinnace_agent.worker import protocol
from pinnace_agent.worker.verdicts import LOG_BYTES_MAX

READ_BYTES: Final = 64 * 1024


@dataclass(slots=True, kw_only=True)
class _Passed:
    """A socket for the worker, and where among the outgoing bytes its order begins."""

    at: int
    sock: socket.socket


class Child:
    """A worker process and everything that leads to it."""

    def __init__(self, sockets: Sequence[socket.socket], threads: int) -> None:
        """Start the process; it inherits the listening sockets and waits for its first order.

        Raises:
            OSError: it cannot be started.
        """
        with contextlib.ExitStack() as undo:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            undo.callback(ours.close)
            page = protocol.Vitals.create()
            try:
                self.vitals = protocol.Vitals(page)
                self.process = _start((theirs.fileno(), page, *(each.fileno() for each in sockets)), threads)
            finally:
                theirs.close()
                os.close(page)
            undo.pop_all()
        ours.setblocking(False)
        self.control = ours
        self.exit_fd = _exit_fd(self.process.pid)
        if self.process.stderr is None:
            raise AssertionError("stderr is a pipe")
        self.stderr = self.process.stderr
        os.set_blocking(self.stderr.fileno(), False)
        self.outgoing = bytearray()
        self._passing: deque[_Passed] = deque()
        self.last_words = b""
        self._frames = protocol.Frames()

    def say(self, order: protocol.Order, passed: socket.socket | None = None) -> None:
        """Queue an order; ``send`` is to be called when the socket is writable. ``passed`` goes with it, and away."""
        if passed is not None:
            self._passing.append(_Passed(at=len(self.outgoing), sock=passed))
        self.outgoing += protocol.frame(order)

    def send(self) -> None:
        """Send what fits. What a process that is ending does not read any more is dropped."""
        try:
            sent = self._sent()
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(self.outgoing)
            self._forget_passing()
        del self.outgoing[:sent]
        for each in self._passing:
            each.at -= sent

    def _sent(self) -> int:
        """Send up to the next order that brings a descriptor, or from it on: it goes with that order's first byte."""
        if not self._passing:
            return self.control.send(self.outgoing)
        first = self._passing[0]
        if first.at > 0:
            return self.control.send(self.outgoing[: first.at])
        end = self._passing[1].at if len(self._passing) > 1 else len(self.outgoing)
        sent = socket.send_fds(self.control, [self.outgoing[:end]], [first.sock.fileno()])
        self._passing.popleft().sock.close()
        return sent

    def _forget_passing(self) -> None:
        while self._passing:
            self._passing.popleft().sock.close()

    def hear(self) -> list[protocol.Order | protocol.Statement] | None:
        """Return the messages that have come; None: it speaks no more.

        Raises:
            ContractError: what it says is not this protocol.
        """
        try:
            data = self.control.recv(READ_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            return None
        return self._frames.feed(data) if data else None

    def read_words(self) -> bool:
        """Take what it wrote to its standard error; False: it writes no more."""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self.stderr.fileno(), READ_BYTES)
            self.last_words = (self.last_words + data)[-LOG_BYTES_MAX:]
            return bool(data)
        return True

    @property
    def ended(self) -> bool:
        """Whether the process is no more; for systems on which no descriptor says so."""
        return self.process.poll() is not None

    def resident_bytes(self) -> int:
        """Return how much memory it has in RAM."""
        return resident_bytes(self.process.pid)

    def close(self) -> None:
        """Let go of a process that has ended."""
        self._forget_passing()
        self.control.close()
        if self.exit_fd is not None:
            os.close(self.exit_fd)
        self.vitals.close()
        self.stderr.close()


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has in RAM; 0 when it is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _exit_fd(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the process ends; None before Linux 5.3."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _start(passed: tuple[int, ...], threads: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "pinnace_agent.worker", str(os.getpid()), *map(str, passed)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
        env=_environment(threads),
        pass_fds=passed,
        start_new_session=True,  # a Ctrl-C at the terminal is the supervisor's to handle
    )


def _environment(threads: int) -> dict[str, str]:
    """Return all that a worker inherits: where its code is, and that libraries start no threads of their own."""
    kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return {
        **kept,
        "LC_ALL": "C.UTF-8",
        "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime 1.29 and later else report models to their maker, with a thread
        "OPENBLAS_NUM_THREADS": "1",  # else numpy's import alone reserves a buffer for each core
        "OMP_NUM_THREADS": str(threads),
    }
