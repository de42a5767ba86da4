"""A real mosquitto for a test, as a child process that can be stopped, killed and started again.

Owns the process, its configuration and its port. What is said over it is left to the tests.
"""

import contextlib
import getpass
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

# A start takes milliseconds; the bound is for a machine that does ten other things.
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.01
# Another process may take the port between our asking for a free one and the broker's binding it.
PORT_ATTEMPTS = 5

CONFIGURATION = """\
listener {port} 127.0.0.1
allow_anonymous true
user {user}
persistence true
persistence_location {folder}/
autosave_on_changes true
autosave_interval 1
max_queued_messages 0
max_queued_bytes 16777216
log_dest file {folder}/mosquitto.log
log_type all
"""


class BrokerFailed(Exception):
    """The broker did not do what the test asked of it; carries its log."""


class Mosquitto:
    """One broker on a loopback port, which it keeps over restarts."""

    def __init__(self, program: Path, folder: Path, configuration: str = CONFIGURATION) -> None:
        self.program = program
        self.folder = folder
        self.configuration = configuration
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None or not self.running:
            raise BrokerFailed("the broker is not running")
        return self._process.pid

    @property
    def log(self) -> str:
        path = self.folder / "mosquitto.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start, or start again on the same port with what persistence kept; returns when it accepts connections."""
        if self.running:
            raise BrokerFailed("the broker is running already")
        for _ in range(1 if self.port else PORT_ATTEMPTS):
            port = self.port or _free_port()
            if self._started(port):
                self.port = port
                return
        raise BrokerFailed(f"mosquitto did not start:\n{self.log}")

    def stop(self) -> None:
        """An orderly end: SIGTERM, and everything saved."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """A power cut: SIGKILL, and only what autosave wrote is kept."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """The broker hangs: its port stays open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _started(self, port: int) -> bool:
        path = self.folder / "mosquitto.conf"
        path.write_text(self.configuration.format(port=port, user=getpass.getuser(), folder=self.folder))
        self._process = subprocess.Popen(
            [self.program, "-c", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
            time.sleep(POLL_S)
        self._end(signal.SIGKILL)
        return False

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or not self.running:
            raise BrokerFailed("the broker is not running")
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self.running:
            self._process.send_signal(number)
            # A paused broker sees SIGTERM only when it goes on.
            self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


@contextlib.contextmanager
def running_mosquitto(program: Path, folder: Path, configuration: str = CONFIGURATION) -> Iterator[Mosquitto]:
    """A broker until the block ends; `configuration` is a template with `{port}`, `{user}` and `{folder}`."""
    folder.mkdir(parents=True, exist_ok=True)
    broker = Mosquitto(program, folder, configuration)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
