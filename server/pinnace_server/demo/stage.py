"""Sets the demo's stage: a server, five enrolled agents and their applications, as processes and threads of this one.

Owns what is started, in which order, and that all of it is gone afterwards. Leaves the story to ``run``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pinnace_server import admin_token
from pinnace_server.demo import processes
from pinnace_server.demo.application import Application, Tally
from pinnace_server.demo.digits import LabelledImages, camera_stream, load_splits
from pinnace_server.demo.errors import PathTooLong, StoryWentWrong
from pinnace_server.demo.fleet import Fleet
from pinnace_server.demo.processes import Child, Children
from pinnace_server.demo.versions import MODEL

DEVICES = 5
REPORT_EVERY_S = 2  # a minute is right in the field; here the server should notice while somebody watches
START_S = 90.0  # for the server, and then for the agents, on a board that does all of it at once
POLL_S = 0.2
SOCKET_PATH_BYTES_MAX = 107  # of a Unix socket's name, by the kernel
_SERVES_AT = re.compile(r"^pinnace serves at (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the demo keeps its things."""

    folder: Path

    @property
    def server(self) -> Path:
        """The server's data directory."""
        return self.folder / "server"

    @property
    def logs(self) -> Path:
        """What the children print."""
        return self.folder / "logs"

    def version(self, name: str) -> Path:
        """Where a version's files are made."""
        return self.folder / "versions" / name

    def store(self, device: str) -> Path:
        """The store of one agent."""
        return self.folder / "devices" / device

    def run_dir(self, device: str) -> Path:
        """Where the sockets of one device are."""
        return self.store(device) / "run"

    def check(self) -> None:
        """Refuse a folder in which the devices' sockets would have names that are too long.

        Raises:
            PathTooLong
        """
        longest = self.run_dir(device_name(DEVICES)) / f"{MODEL}.sock"
        if (size := len(str(longest).encode())) > SOCKET_PATH_BYTES_MAX:
            raise PathTooLong(folder=self.folder, bytes_over=size - SOCKET_PATH_BYTES_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything that runs."""

    place: Place
    fleet: Fleet
    token: str
    children: Children
    applications: tuple[Application, ...]

    def tallies(self) -> dict[str, Tally]:
        """Return what each application noticed so far, by device."""
        return {application.device: application.tally() for application in self.applications}

    def raise_the_curtain(self) -> None:
        """Let the applications begin to ask."""
        for application in self.applications:
            application.start()


@contextmanager
def set_stage(place: Place, *, port: int, tell: Callable[[str], None]) -> Iterator[Stage]:
    """Start everything, and end it when the block ends, however that is.

    Raises:
        DemoError: something did not start; the message says what and why.
    """
    place.check()
    with ExitStack() as stack:
        children = stack.enter_context(Children(logs=place.logs))
        tell("starting the server")
        server = _start_server(children, place, port)
        camera = load_splits().camera  # meanwhile: importing scikit-learn takes a second or two
        fleet, token = _wait_for_server(children, server, place)
        fleet.add_model("Handwritten digits, 8 × 8 pixels")
        tell(f"enrolling {DEVICES} devices")
        _start_agents(children, place, fleet)
        applications = _applications(place, camera)
        for application in applications:
            stack.callback(application.stop)
        yield Stage(place=place, fleet=fleet, token=token, children=children, applications=applications)


def device_name(number: int) -> str:
    """Name a device, from 1 on."""
    return f"device-{number}"


def _start_server(children: Children, place: Place, port: int) -> Child:
    command: list[str | Path] = [processes.program("pinnace"), "serve", "--data-dir", place.server, "--port", str(port)]
    return children.start("server", command)


def _wait_for_server(children: Children, server: Child, place: Place) -> tuple[Fleet, str]:
    _wait(children, "the server to start", lambda: _SERVES_AT.search(server.log.read_text()) is not None)
    found = _SERVES_AT.search(server.log.read_text())
    token = admin_token.read(place.server)
    if found is None or token is None:
        raise StoryWentWrong(f"the server started without an admin token in {place.server}")
    fleet = Fleet(url=found[1], token=token)
    _wait(children, "the server's broker", fleet.ready)
    return fleet, token


def _start_agents(children: Children, place: Place, fleet: Fleet) -> None:
    agent = processes.program("pinnace-agent")
    claim = fleet.claim_token(DEVICES)
    for name in map(device_name, range(1, DEVICES + 1)):
        where: list[str | Path] = ["--store", place.store(name)]
        enroll: list[str | Path] = [agent, "enroll", "--server", fleet.url, "--token", claim, "--name", name]
        processes.run(enroll + where)
        run: list[str | Path] = [agent, "run", "--report-every-s", str(REPORT_EVERY_S)]
        children.start(name, run + where)
    _wait(children, "the agents to report", lambda: sum(device.online for device in fleet.devices()) == DEVICES)


def _applications(place: Place, camera: LabelledImages) -> tuple[Application, ...]:
    return tuple(
        Application(
            device=device_name(number),
            run_dir=place.run_dir(device_name(number)),
            stream=camera_stream(camera, seed=number),
        )
        for number in range(1, DEVICES + 1)
    )


def _wait(children: Children, what: str, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S
    while not done():
        children.check()
        if time.monotonic() >= deadline:
            raise StoryWentWrong(f"waited {START_S:.0f} s for {what}; the logs are in {children.logs}")
        time.sleep(POLL_S)
