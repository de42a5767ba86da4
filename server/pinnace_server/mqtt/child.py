"""A broker as a child process: started, waited for, watched, restarted when it dies, ended with the server.

One thread owns the process for all its life, because Linux ties the child's end to the thread that started it. Which
program it is and how it is configured is left to ``mosquitto.py`` and ``amqtt_child.py``.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final, Protocol

from pinnace_server.mqtt.address import LOOPBACK, Address
from pinnace_server.mqtt.errors import BrokerFailed, PortTaken

START_TIMEOUT_S: Final = 30.0  # milliseconds on an idle machine; a Python child on a busy one takes seconds
STOP_TIMEOUT_S: Final = 10.0  # for writing the database
PORT_FREE_TIMEOUT_S: Final = 10.0  # the previous server's broker may still be writing its database
PORT_ATTEMPTS: Final = 5  # another program may take a free port between our choice and the broker's
RESTART_AFTER_S: Final = 0.2
RESTART_AFTER_S_MAX: Final = 10.0
HEALTHY_AFTER_S: Final = 60.0  # having run so long, a broker that dies is restarted at once again
LOG_LINES_SHOWN: Final = 10
_POLL_S: Final = 0.02
_WATCH_S: Final = 0.25
_PROBE_TIMEOUT_S: Final = 2.0

# MQTT 3.1.1: CONNECT with a clean session and no client id, the two bytes that begin every CONNACK, DISCONNECT.
_CONNECT: Final = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x0a\x00\x00"
_CONNACK: Final = b"\x20\x02"
_DISCONNECT: Final = b"\xe0\x00"

_log = logging.getLogger(__name__)


class Program(Protocol):
    """A broker that can be started on a loopback port and keeps its files in a folder."""

    @property
    def name(self) -> str: ...

    def command(self, folder: Path, port: int) -> list[str]: ...


class ChildBroker:
    """A broker of our own. Its port is remembered in the folder, because devices have it in their configuration."""

    def __init__(self, program: Program, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._remembered = folder / "port"
        self._log_file = folder / f"{program.name}.log"
        self._started = threading.Event()
        self._stopping = threading.Event()
        self._failure: BrokerFailed | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._port = 0
        self.restarts = 0
        self.on_restart: Callable[[], None] = lambda: None
        """Called when it runs again after it died: what it was told last may be lost."""

    @property
    def address(self) -> Address:
        """Where clients find it; known after ``start``."""
        return Address(host=LOOPBACK, port=self._port)

    @property
    def pid(self) -> int | None:
        """The running process, or None between a death and the restart."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Return when the broker accepts connections.

        Raises:
            BrokerFailed, PortTaken
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self) -> None:
        """End the broker in order, everything saved. Does nothing when it does not run."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    # --- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._first_start()
        except BrokerFailed as error:
            self._failure = error
        except OSError as error:
            self._failure = BrokerFailed(self._program.name, f"could not be started: {error}")
        finally:
            self._started.set()
        if self._failure is None:
            self._watch()

    def _first_start(self) -> None:
        remembered = self._remembered_port()
        if remembered and not _until(lambda: _is_free(remembered), PORT_FREE_TIMEOUT_S, self._stopping):
            raise PortTaken(self._program.name, remembered, self._remembered)
        for _ in range(1 if remembered else PORT_ATTEMPTS):
            self._port = remembered or _any_free_port()
            if self._spawned():
                break
            self._end()
        else:
            raise BrokerFailed(self._program.name, "did not accept connections", log=self._last_lines())
        if not remembered:
            self._remember()

    def _watch(self) -> None:
        delay_s, since = RESTART_AFTER_S, time.monotonic()
        while not self._stopping.wait(_WATCH_S):
            if self._process is not None and self._process.poll() is None:
                continue
            if time.monotonic() - since >= HEALTHY_AFTER_S:
                delay_s = RESTART_AFTER_S
            _log.error("%s ended; restarting in %.1f s. %s", self._program.name, delay_s, self._last_lines())
            if self._stopping.wait(delay_s):
                break
            delay_s = min(delay_s * 2, RESTART_AFTER_S_MAX)
            self.restarts += 1
            since = time.monotonic()
            if self._spawned():
                self.on_restart()
            else:
                self._end()
        self._end()

    def _spawned(self) -> bool:
        with self._log_file.open("wb") as log:
            self._process = process = subprocess.Popen(
                self._program.command(self._folder, self._port),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return _until(lambda: process.poll() is not None or _accepts(self._port), START_TIMEOUT_S, self._stopping) and (
            process.poll() is None
        )

    def _end(self) -> None:
        process = self._process
        if process is None:
            return
        process.terminate()
        _close(process.stdin)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _remembered_port(self) -> int:
        try:
            return int(self._remembered.read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _remember(self) -> None:
        unfinished = self._remembered.with_suffix(".new")
        unfinished.write_text(f"{self._port}\n")
        unfinished.rename(self._remembered)

    def _last_lines(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._log_file.read_text(errors="replace").splitlines()
            return "\n".join(lines[-LOG_LINES_SHOWN:])
        return ""


def _until(true: Callable[[], bool], timeout_s: float, stopping: threading.Event) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if true():
            return True
        if stopping.wait(_POLL_S):
            return False
    return False


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=_PROBE_TIMEOUT_S) as probe:
        probe.sendall(_CONNECT)
        answer = probe.recv(4)
        probe.sendall(_DISCONNECT)
        return answer.startswith(_CONNACK)
    return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _any_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        with contextlib.suppress(OSError):
            pipe.close()
