"""How to hold a device in each phase of an update, by what really keeps one there, and how to let it go on.

A hold assigns version 2, goes on when the device is in the phase, and lets go at its end. What is asserted of the phase
is the test's.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from pinnace_agent.client import Client
from pinnace_contract import topics
from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Data, Phase
from tests.e2e.fleet import Device, Server, is_worker, until
from tests.e2e.models import Rows
from tests.lossy_proxy import LossyProxy, nothing

LONG_TRIAL: Final[dict[str, Any]] = {"mode": "live", "inferences": 100, "duration_s": 3600}
VETO_S: Final = 3600.0
VETO_REASON: Final = "the line is running"
LOOK_AGAIN_S: Final = 0.002  # a worker that is seen so soon has not even imported what it is going to load


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A server, a device that has committed version 1, and the connection between them, which can be made to lose."""

    server: Server
    camera: Device
    proxy: LossyProxy
    rows: Rows

    def assign(self, version: str, **terms: Any) -> None:
        self.server.assign(version, self.camera.id, **terms)

    def slot(self) -> dict[str, Any]:
        """What the API says of the model on the device."""
        found = self.server.model_on(self.camera.id)
        assert found is not None
        return found

    def shows(self, phase: Phase) -> dict[str, Any]:
        """Wait until the API says that the device is in this phase."""
        return until(f"the API says {phase}", lambda: slot if (slot := self.slot())["phase"] == phase else None)

    def answers(self, version: str) -> None:
        """Wait until a variant of this version answers."""
        digests = self.server.digests(version)
        until(f"{version} answers", lambda: self.camera.answering(self.rows[:1]) in digests)

    def down(self, channel: topics.Down) -> topics.DownTopic:
        return topics.DownTopic(device=DeviceId(self.camera.id), channel=channel)


Hold = Callable[[Scene], AbstractContextManager[None]]


@contextlib.contextmanager
def _without_chunks(scene: Scene, blobs: set[str]) -> Iterator[None]:
    data = scene.down(topics.Down.DATA)
    scene.proxy.lost = lambda topic, payload: topic == data and Data.from_bytes(payload).blob in blobs
    scene.assign("2")
    until("a chunk is lost", lambda: scene.proxy.dropped[data])
    try:
        yield
    finally:
        scene.proxy.lost = nothing


def _offered(scene: Scene) -> AbstractContextManager[None]:
    return _without_chunks(scene, {scene.server.release("2")})


def _fetching(scene: Scene) -> AbstractContextManager[None]:
    return _without_chunks(scene, scene.server.digests("2"))


@contextlib.contextmanager
def _verifying(scene: Scene) -> Iterator[None]:
    """A disk that hangs: a file of the release that has arrived whole becomes one that nobody ever answers for.

    A device asks for one blob after another, so when a chunk of the second one passes, the first one is on its disk.
    """
    store, stuck = scene.camera.store, scene.camera.store.with_name("stuck")
    os.mkfifo(stuck)
    data, release = scene.down(topics.Down.DATA), scene.server.release("2")
    blobs: list[str] = []

    def hang(topic: topics.Topic, payload: bytes) -> bool:
        blob = Data.from_bytes(payload).blob if topic == data else release
        if blob != release and blob not in blobs:
            blobs.append(blob)
            if len(blobs) == 2:
                (store / "stuck").hardlink_to(stuck)
                (store / "stuck").replace(store / "parts" / blobs[0])
        return False

    scene.proxy.lost = hang
    scene.assign("2")
    until("the file that hangs", lambda: len(blobs) > 1)
    try:
        yield
    finally:
        scene.proxy.lost = nothing
        with contextlib.suppress(OSError):  # nobody waits: the agent was killed
            os.close(os.open(stuck, os.O_WRONLY | os.O_NONBLOCK))


@contextlib.contextmanager
def _staged(scene: Scene) -> Iterator[None]:
    with Client(scene.camera.run_dir) as application:
        application.veto("digits", VETO_S, VETO_REASON)
    scene.assign("2")
    try:
        yield
    finally:
        with Client(scene.camera.run_dir) as application:
            application.lift_veto("digits")


@contextlib.contextmanager
def _self_test(scene: Scene) -> Iterator[None]:
    """The candidate's worker is stopped as soon as it is one, so it says nothing: neither good nor bad."""
    (serving,) = until("one worker", lambda: workers if len(workers := scene.camera.workers()) == 1 else None)
    scene.assign("2")
    candidate, *_ = until(
        "the candidate's worker",
        lambda: [pid for pid in scene.camera.workers() if pid != serving],
        poll_s=LOOK_AGAIN_S,
    )
    os.kill(candidate, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(candidate, signal.SIGCONT)
        until("it ends by itself", lambda: not is_worker(candidate))


@contextlib.contextmanager
def _trial(scene: Scene) -> Iterator[None]:
    """Too few inferences; to let go is to ask the model more."""
    scene.assign("2", trial=LONG_TRIAL)
    yield


@contextlib.contextmanager
def _awaiting_contact(scene: Scene) -> Iterator[None]:
    ack = scene.down(topics.Down.ACK)
    scene.proxy.lost = lambda topic, _payload: topic == ack
    scene.assign("2")
    scene.shows(Phase.AWAITING_CONTACT)
    before = scene.proxy.dropped[ack]
    until("an acknowledgement is lost", lambda: scene.proxy.dropped[ack] > before)
    try:
        yield
    finally:
        scene.proxy.lost = nothing


HOLDS: Final[dict[Phase, Hold]] = {
    Phase.OFFERED: _offered,
    Phase.FETCHING: _fetching,
    Phase.VERIFYING: _verifying,
    Phase.STAGED: _staged,
    Phase.SELF_TEST: _self_test,
    Phase.TRIAL: _trial,
    Phase.AWAITING_CONTACT: _awaiting_contact,
}
CANDIDATE_SERVES: Final = (Phase.TRIAL, Phase.AWAITING_CONTACT)


@contextlib.contextmanager
def held(scene: Scene, phase: Phase) -> Iterator[None]:
    """Hold the device in a phase of its update to version 2; in ``idle`` it stays by itself, without one."""
    with contextlib.nullcontext() if phase is Phase.IDLE else HOLDS[phase](scene):
        is_in(scene, phase)
        yield


def is_in(scene: Scene, phase: Phase) -> None:
    """Wait until the API says that the device is in this phase, and hold what else it says against what answers."""
    slot = scene.shows(phase)
    updating, read = phase is not Phase.IDLE, phase not in (Phase.IDLE, Phase.OFFERED)
    assert slot["current"]["version"] == "1"
    assert slot["wanted"]["version"] == ("2" if updating else "1")
    assert slot["outcome"] == (None if updating else "committed")
    assert (slot["candidate"] or {}).get("version") == ("2" if read else None)
    assert (slot["cause"], slot["detail"]) == (("VETO", VETO_REASON) if phase is Phase.STAGED else ("NONE", ""))
    scene.answers("2" if phase in CANDIDATE_SERVES else "1")
