"""A real server process, its real broker, and real agent processes: the language of the end-to-end tests.

Everything is started as a user would start it, by the installed commands, and ended by its process id.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np

from pinnace_agent import status
from pinnace_agent.client import Client

BIN = Path(sys.executable).parent
PATIENCE_S = 90.0  # a limit for a broken test, not a time that anything should take
POLL_S = 0.05

T = TypeVar("T")


def until(what: str, found: Callable[[], T | None], poll_s: float = POLL_S) -> T:
    """Return the first thing that is found; a condition, not a sleep, decides when to go on."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        result = found()
        if result:
            return result
        time.sleep(poll_s)
    raise AssertionError(f"never seen: {what}")


class Server:
    """``pinnace serve`` in a data directory of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.data = folder / "data"
        self.log_path = folder / "server.log"
        self.options = options
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(timeout=30)

    def start(self) -> None:
        """Start, or start again on the same port; returns when the server is ready."""
        command = [str(BIN / "pinnace"), "serve", "--data-dir", str(self.data), "--port", str(self.port), *self.options]
        before = len(self.log)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.port = until("the server's address", lambda: self._address(before))
        until("the server is ready", self._ready)

    def _address(self, before: int) -> int | None:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log}")
        for word in self.log[before:].split():
            if word.startswith("http://127.0.0.1:"):
                return int(word.removeprefix("http://127.0.0.1:").split("/")[0].rstrip(".,"))
        return None

    def _ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self.http.get(f"{self.url}/api/v1/ready").status_code == 200
        return False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def token(self) -> str:
        return (self.data / "admin-token").read_text().strip()

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        if self.process is None or self.process.poll() is not None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One API call; anything but a success is an error with the server's own words."""
        headers = {"Authorization": f"Bearer {self.token}"} | options.pop("headers", {})
        answer = self.http.request(method, f"{self.url}/api/v1{path}", headers=headers, **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def cli(self, *arguments: str, expect: int = 0) -> str:
        """One command as an operator types it."""
        command = [str(BIN / "pinnace"), *arguments, "--server", self.url, "--token", self.token]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def device(self, device: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/devices/{device}")
        return found

    def model_on(self, device: str, model: str = "digits") -> dict[str, Any] | None:
        """What the server believes of one model on one device."""
        models = self.device(device)["models"]
        return next((each for each in models if each["model"] == model), None)

    def release(self, version: str, model: str = "digits") -> str:
        """The id of a version's release file."""
        return str(self.call("GET", f"/models/{model}/versions/{version}")["release"])

    def digests(self, version: str, model: str = "digits") -> set[str]:
        """The variants of a version: what answers when that version serves."""
        found = self.call("GET", f"/models/{model}/versions/{version}/variants")
        return {each["digest"] for each in found["items"]}

    def receipts(self, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", "/receipts", params=query)["items"]
        return found

    def assign(self, version: str, *devices: str, model: str = "digits", **terms: Any) -> dict[str, Any]:
        given = {"trial": {"mode": "none"}} | terms
        body = {"model": model, "version": version, "devices": list(devices), **given}
        found: dict[str, Any] = self.call("POST", "/assignments", json=body)
        return found

    def outcome(self, device: str, version: str, model: str = "digits") -> dict[str, Any]:
        """Wait for a device's receipt about a version and return it."""

        def found() -> dict[str, Any] | None:
            said = [each for each in self.receipts(device=device, model=model) if each["version"] == version]
            return said[0] if said else None

        return until(f"{device}'s receipt for {model} {version}", found)

    def add_draft(self, folder: Path, version: str, model: str = "digits") -> dict[str, Any]:
        """Register what ``pinnace convert`` wrote."""
        for blob in (folder / "blobs").iterdir():
            self.call("POST", f"/uploads?digest={blob.name}", content=blob.read_bytes())
        draft = json.loads((folder / "draft.json").read_text())
        body = {"version": version, "draft": draft}
        found: dict[str, Any] = self.call("POST", f"/models/{model}/drafts", json=body)
        return found


class Device:
    """An agent process with a store of its own."""

    def __init__(self, folder: Path, server: Server, name: str, store: Path | None = None) -> None:
        self.name, self.server = name, server
        self.store, self.run_dir = store or folder / name, folder / f"{name}-run"
        self.log_path = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.options: tuple[str, ...] = ()
        self.id = ""

    def enroll(self) -> None:
        token = self.server.call("POST", "/claim-tokens", json={"uses": 1})["token"]
        command = [str(BIN / "pinnace-agent"), "enroll", "--server", self.server.url, "--token", token]
        command += ["--store", str(self.store), "--name", self.name, "--hardware", "test"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr
        self.id = done.stdout.split("enrolled as ")[1].split(";")[0]

    @property
    def command(self) -> list[str]:
        """What starts the agent."""
        where = ("--store", str(self.store), "--run-dir", str(self.run_dir))
        return [str(BIN / "pinnace-agent"), "run", *where, "--report-every-s", "1", *self.options]

    def start(self, *options: str) -> None:
        """Start, or start again with the same options."""
        self.options = options or self.options
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        if self.process is None or self.process.poll() is not None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def workers(self) -> list[int]:
        """The worker processes that run now: not one that is just being started, and none that has ended."""
        assert self.process is not None
        found: list[int] = []
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):  # a thread that has just ended
                found += [int(pid) for pid in (thread / "children").read_text().split()]
        return [pid for pid in found if is_worker(pid)]

    def status(self) -> dict[str, Any] | None:
        try:
            return status.fetch(self.run_dir)
        except status.NotRunning:
            return None

    def infer(self, rows: np.ndarray[Any, Any], model: str = "digits", name: str = "image") -> Any:
        with Client(self.run_dir) as client:
            return client.infer(model, {name: rows})

    def answering(self, rows: np.ndarray[Any, Any], model: str = "digits") -> str | None:
        """The digest that answers inference now, by its own word; None when nothing answers."""
        try:
            return str(self.infer(rows, model).variant)
        except Exception:
            return None


def is_worker(pid: int) -> bool:
    """Whether a process runs a worker's program: neither the moment before, when it is still a copy of the agent."""
    with contextlib.suppress(OSError):
        return b"pinnace_agent.worker" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return False


def runs(server: Server, camera: Device, version: str, rows: np.ndarray[Any, Any]) -> None:
    """What answers, by its own word, and what the API believes are both this version."""
    digests = server.digests(version)
    until(f"{version} answers", lambda: camera.answering(rows) in digests)

    def believed() -> bool:
        found = server.model_on(camera.id)
        return bool(found and found["current"] and found["current"]["version"] == version)

    until(f"the API says {version}", believed)


@contextlib.contextmanager
def running(folder: Path, *options: str) -> Iterator[Server]:
    """A server that is ended, whatever happens in the test."""
    server = Server(folder, *options)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        print(server.log)
