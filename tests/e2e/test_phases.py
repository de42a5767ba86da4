"""What may come in the middle of an update, phase by phase: a newer assignment, kill -9 of the agent, of a worker.

The server, the broker, the agents and the workers are real. What the API says is held against what answers.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinnace_contract.latest import Phase
from tests.brokers import Mosquitto, running_mosquitto
from tests.e2e.conftest import Drafts, Enrol
from tests.e2e.fleet import Device, Server, is_worker, running, runs, until
from tests.e2e.holds import CANDIDATE_SERVES, HOLDS, LONG_TRIAL, Scene, held, is_in
from tests.lossy_proxy import LossyProxy
from tests.needs import need

pytestmark = [pytest.mark.slow, pytest.mark.mosquitto, pytest.mark.timeout(300, method="signal")]

# What keeps the device in these phases outlives the agent: the veto is in its state, the trial is still too short.
OUTLIVING = (Phase.STAGED, Phase.TRIAL)
KILLS = 2  # one less than what a trial takes for the candidate's own fault
# `tests/agent/test_agent_process.py` goes through every phase with an agent alone. With a server `make test` takes one
# in which it delivers, one in which the candidate serves, and one in which the device waits for it.
WITH_A_SERVER = (Phase.FETCHING, Phase.TRIAL, Phase.AWAITING_CONTACT)
PHASES = [pytest.param(each, marks=[] if each in WITH_A_SERVER else [pytest.mark.soak]) for each in HOLDS]


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, drafts: Drafts, third_draft: Path
) -> Iterator[tuple[Server, Mosquitto]]:
    """One server and its broker for all tests of this file: nothing here touches them. Each test has a device."""
    folder = tmp_path_factory.mktemp("phases")
    with (
        running_mosquitto(need("mosquitto"), folder / "mosquitto") as broker,
        running(folder, "--broker", broker.url) as server,
    ):
        server.call("POST", "/models", json={"name": "digits"})
        for version, draft in (("1", drafts.first), ("2", drafts.second), ("3", third_draft)):
            server.add_draft(draft, version)
        yield server, broker


@pytest.fixture
def proxy(served: tuple[Server, Mosquitto]) -> Iterator[LossyProxy]:
    with LossyProxy(served[1].port) as made:
        yield made


@pytest.fixture
def scene(served: tuple[Server, Mosquitto], proxy: LossyProxy, device: Enrol, drafts: Drafts) -> Scene:
    server, _ = served
    camera = device(server, "camera", "--broker", proxy.url)
    server.assign("1", camera.id, contact={"mode": "none"})
    assert server.outcome(camera.id, "1")["outcome"] == "committed"
    runs(server, camera, "1", drafts.data.held[:1])
    return Scene(server=server, camera=camera, proxy=proxy, rows=drafts.data.held)


@pytest.mark.parametrize("phase", PHASES, ids=str)
def test_a_newer_assignment_takes_over_in_a_phase(scene: Scene, phase: Phase) -> None:
    server, camera = scene.server, scene.camera
    with held(scene, phase):
        scene.assign("3")
        interrupted = server.outcome(camera.id, "2")
    assert interrupted["outcome"] == ("reverted" if phase in CANDIDATE_SERVES else "superseded")
    assert interrupted["cause"] == "NEWER_GENERATION"
    assert server.outcome(camera.id, "3")["outcome"] == "committed"
    runs(server, camera, "3", scene.rows[:1])
    assert [good["version"] for good in scene.slot()["last_good"]] == ["1"]
    assert _told(scene) == ["1 committed", f"2 {interrupted['outcome']}", "3 committed"]


@pytest.mark.parametrize("phase", PHASES, ids=str)
def test_kill_9_of_the_agent_in_a_phase_is_survived(scene: Scene, phase: Phase) -> None:
    server, camera = scene.server, scene.camera
    with contextlib.ExitStack() as hold:
        hold.enter_context(held(scene, phase))
        workers = camera.workers()
        camera.kill()
        until("the will", lambda: server.device(camera.id)["status"] == "offline")
        if phase not in OUTLIVING:
            hold.close()
        until("no worker outlives it", lambda: not any(is_worker(pid) for pid in workers))
        assert camera.answering(scene.rows[:1]) is None
        camera.start()
        until("it is back", lambda: server.device(camera.id)["status"] != "offline")
        if phase in OUTLIVING:
            is_in(scene, phase)
    if phase is Phase.TRIAL:
        _ask(scene)
    assert server.outcome(camera.id, "2")["outcome"] == "committed"
    runs(server, camera, "2", scene.rows[:1])
    assert _told(scene) == ["1 committed", "2 committed"]


@pytest.mark.parametrize("phase", [Phase.IDLE, Phase.STAGED, Phase.TRIAL], ids=str)
def test_kill_9_of_the_worker_in_a_phase_is_survived(scene: Scene, phase: Phase) -> None:
    server, camera = scene.server, scene.camera
    assert camera.process is not None
    agent = camera.process.pid
    with held(scene, phase):
        for _ in range(KILLS):
            _kill_the_worker(camera)
            is_in(scene, phase)
    assert (camera.process.pid, camera.process.poll()) == (agent, None)
    if phase is Phase.TRIAL:
        _ask(scene)
    kept = "1" if phase is Phase.IDLE else "2"
    receipt = server.outcome(camera.id, kept)
    assert receipt["outcome"] == "committed"
    if phase is Phase.TRIAL:
        assert receipt["receipt"]["evidence"]["crashes"] == KILLS
    runs(server, camera, kept, scene.rows[:1])


def _kill_the_worker(camera: Device) -> None:
    (worker,) = until("one worker", lambda: found if len(found := camera.workers()) == 1 else None)
    os.kill(worker, signal.SIGKILL)
    until("another worker", lambda: [pid for pid in camera.workers() if pid != worker])


def _ask(scene: Scene) -> None:
    """Give a candidate on trial what its trial waits for."""
    for index in range(LONG_TRIAL["inferences"] + 20):
        scene.camera.infer(scene.rows[index : index + 1])


def _told(scene: Scene) -> list[str]:
    """The device's receipts, oldest first."""
    found = scene.server.receipts(device=scene.camera.id)
    return [f"{each['version']} {each['outcome']}" for each in reversed(found)]
