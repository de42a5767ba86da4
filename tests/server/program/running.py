"""``pinnace serve`` as a process, as an operator starts it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

START_TIMEOUT_S = 90.0  # seconds on a busy machine, and a broker beside it
STOP_TIMEOUT_S = 60.0


class Serving:
    """A server that runs, its words so far, and its end."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pinnace_server.cli", "serve", "--port", "0", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PATH": os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])},
        )
        self.words = ""
        self._said = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        found = re.search(r"serves at (\S+)", self.words)
        assert found is not None, self.words
        return found[1]

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self) -> None:
        """Until it says that Ctrl-C ends it, which is its last word at the start."""
        self._said.wait(START_TIMEOUT_S)
        assert "Ctrl-C ends it" in self.words, self.words

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and return how it did."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait for its end."""
        try:
            status = self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._reader.join(STOP_TIMEOUT_S)
        return status

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.words += line
            if "Ctrl-C ends it" in line:
                self._said.set()
        self._said.set()


@contextlib.contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Serving]:
    """Start a server, wait until it can be reached, and end it."""
    server = Serving(folder, *arguments)
    try:
        server.wait()
        yield server
    finally:
        server.end()
