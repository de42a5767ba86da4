"""The demo's child processes: the server and the agents, started as a user would start them and ended by their own ids.

Owns starting, the log of each child, and an end that leaves nothing behind. Leaves what the children do to them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from pinnace_server.demo.errors import ChildFailed, ProgramMissing

STOP_S = 15.0  # an agent may be in the middle of a save, the server of a transaction; after that the child is killed
RUN_S = 120.0  # the longest that a command that should end by itself may take: a conversion on a slow board
POLL_S = 0.05
LOG_TAIL_LINES = 12  # what is shown of a child that died
LOG_TAIL_BYTES = 8 * 1024


class Child:
    """One running program whose output goes to a file."""

    def __init__(self, *, name: str, command: Sequence[str | Path], log: Path, settings: Mapping[str, str]) -> None:
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            # A session of its own, so that Ctrl-C at the terminal reaches the demo alone, which then ends its children
            # in the right order.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **settings},
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise ChildFailed if the program has ended by itself."""
        if self._ended():
            raise ChildFailed(name=self.name, log=self.log, said=tail(self.log))

    def ask_to_stop(self) -> None:
        """Send the polite signal; ``stop`` waits for the end."""
        if not self._ended():
            os.kill(self._process.pid, signal.SIGTERM)

    def stop(self) -> None:
        """Wait for the end; after ``STOP_S`` kill the child. Whatever it started and left behind is killed with it."""
        self.ask_to_stop()
        deadline = time.monotonic() + STOP_S
        while not self._ended() and time.monotonic() < deadline:
            time.sleep(POLL_S)
        if self._process.returncode is not None:
            return
        # The child's status is collected only now: until then its id cannot name anybody else's process or group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _ended(self) -> bool:
        if self._process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


class Children:
    """Every child of the demo; leaving the ``with`` ends them all, the newest first, whatever happened."""

    def __init__(self, *, logs: Path) -> None:
        self.logs = logs
        self._children: list[Child] = []

    def __enter__(self) -> Children:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str | Path], *, settings: Mapping[str, str] | None = None) -> Child:
        """Start a program that should run until the demo ends it."""
        child = Child(name=name, command=command, log=self.logs / f"{name}.log", settings=settings or {})
        self._children.append(child)
        return child

    def check(self) -> None:
        """Raise ChildFailed for the first child that has ended by itself."""
        for child in self._children:
            child.check()

    def stop(self) -> None:
        """End every child: agents say goodbye while there still is a server to hear it."""
        ended = self._children[::-1]
        self._children = []
        with _undisturbed():
            for child in ended[:-1]:
                child.ask_to_stop()
            for child in ended:
                child.stop()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let a second, impatient Ctrl-C not leave children behind: ending them is bounded by ``STOP_S`` anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(command: Sequence[str | Path], *, settings: Mapping[str, str] | None = None) -> str:
    """Run a program that ends by itself and return what it printed.

    Raises:
        ChildFailed: it failed or took too long; the error holds what it said.
    """
    name = Path(command[0]).name + f" {command[1]}"
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
            env={**os.environ, **(settings or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise ChildFailed(name=name, log=None, said=f"it did not end within {RUN_S:.0f} s") from error
    if done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-LOG_TAIL_LINES:])
        raise ChildFailed(name=name, log=None, said=said)
    return done.stdout


def program(name: str) -> Path:
    """Find an installed program of this project: beside this Python first, then on the PATH.

    Raises:
        ProgramMissing: it is in neither place.
    """
    beside = Path(sys.executable).with_name(name)
    if beside.is_file():
        return beside
    found = shutil.which(name)
    if found is None:
        raise ProgramMissing(name=name, looked_in=beside.parent)
    return Path(found)


def tail(log: Path) -> str:
    """Return the last lines of a log."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:])
