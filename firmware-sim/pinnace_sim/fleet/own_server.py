"""A server of the fleet's own: ``pinnace serve`` as a child process in a temporary folder, with its broker."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pinnace_server.mqtt import tethered
from pinnace_sim.errors import SimError
from pinnace_sim.fleet import usage

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.05
_ADDRESS: Final = re.compile(r"pinnace serves at (http://\S+)")
_BROKER: Final = "mosquitto"


class ServerFailed(SimError):
    """The server did not start; carries its own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A server that runs. The process ids are 0 for one that somebody else started."""

    url: str
    token: str
    pid: int = 0
    broker_pid: int = 0


@contextmanager
def own_server(keep: Path | None = None) -> Iterator[Where]:
    """Run a server until the block ends; its folder is removed unless ``keep`` names one.

    Raises:
        ServerFailed
    """
    with tempfile.TemporaryDirectory(prefix="pinnace-fleet-") as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        log_path = folder / "server.log"
        command = [sys.executable, "-IS", tethered.__file__, str(os.getpid())]  # it must not stay when we are killed
        command += [sys.executable, "-m", "pinnace_server.cli", "serve"]
        command += ["--data-dir", str(folder / "data"), "--port", "0"]
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is ours: the server ends last
            )
        try:
            url = _address(process, log_path)
            token = (folder / "data" / "admin-token").read_text().strip()
            broker = next((pid for pid, name in usage.children(process.pid) if name == _BROKER), 0)
            yield Where(url=url, token=token, pid=process.pid, broker_pid=broker)
        finally:
            _end(process)


def _address(process: subprocess.Popen[bytes], log_path: Path) -> str:
    end_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end_s:
        log = log_path.read_text(errors="replace")
        found = _ADDRESS.search(log)
        if found is not None:
            return found.group(1)
        if process.poll() is not None:
            raise ServerFailed(f"the server ended with {process.returncode}:\n{log[-2000:]}")
        time.sleep(_POLL_S)
    raise ServerFailed(f"the server did not say that it serves within {START_TIMEOUT_S:.0f} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
