"""Blue and green with real servers, agents and workers: under load nothing is lost, and the way back takes no load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Drafts, Enrol
from tests.e2e.fleet import Device, Server, until
from tests.e2e.test_shadow import applications, rollout, until_gates

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600, method="signal")]

SWITCH_MS_MAX = 10_000.0  # a limit for a broken test; a load of the model alone is not far from it on a busy board


@pytest.fixture
def cameras(server: Server, device: Enrol, drafts: Drafts) -> list[Device]:
    """Three devices that have committed the first version."""
    server.call("POST", "/models", json={"name": "digits"})
    server.add_draft(drafts.first, "1")
    made = [device(server, name) for name in ("left", "middle", "right")]
    server.assign("1", *(camera.id for camera in made))
    for camera in made:
        assert server.outcome(camera.id, "1")["outcome"] == "committed"
    return made


def begin(server: Server, keep_s: int = 3_600) -> str:
    strategy = {"kind": "blue_green", "keep_s": keep_s}
    terms = {"trial": {"inferences": 30}}
    policy = {"cohort": "", "strategy": strategy, "waves": ["rest"], "holdback": None, "terms": terms}
    made = server.call("POST", "/rollouts", json={"model": "digits", "version": "2", "policy": policy})
    return str(made["id"])


def serves(server: Server, cameras: list[Device], version: str) -> bool:
    found = [server.model_on(camera.id) for camera in cameras]
    return all(
        each and each["phase"] == "idle" and each["current"] and each["current"]["version"] == version for each in found
    )


def newest(server: Server, camera: Device) -> dict[str, Any]:
    return server.receipts(device=camera.id)[0]


def test_a_cohort_switches_and_switches_back_under_load_and_no_request_fails(
    server: Server, cameras: list[Device], drafts: Drafts, tmp_path: Path
) -> None:
    server.add_draft(drafts.second, "2")
    with applications(cameras, drafts.data.held) as asking:
        name = begin(server)
        until_gates("everybody keeps it", lambda: serves(server, cameras, "2"))
        for camera in cameras:
            receipt = newest(server, camera)
            assert receipt["outcome"] == "committed"
            assert 0 < receipt["receipt"]["switch_ms"] < SWITCH_MS_MAX
            assert receipt["receipt"]["swap_gap_ms"] == 0
            assert "ready" in {each["phase"] for each in receipt["receipt"]["phases"]}
            standby = server.model_on(camera.id)["standby"]  # type: ignore[index]
            assert (standby["version"], standby["warm"]) == ("1", True)
        before = {camera.name: set(camera.workers()) for camera in cameras}
        assert all(len(workers) == 2 for workers in before.values()), "both are loaded"
        assert "1 (until" in server.cli("device", "show", cameras[0].id)
        server.cli("rollout", "rollback", name, "--reason", "it is wrong")
        until_gates("everybody is back", lambda: serves(server, cameras, "1"))
        for camera in cameras:
            receipt = newest(server, camera)
            assert (receipt["version"], receipt["outcome"]) == ("1", "committed")
            assert receipt["receipt"].get("load_ms") is None, "nothing was loaded"
            assert 0 < receipt["receipt"]["switch_ms"] < SWITCH_MS_MAX
            until("green has ended", lambda camera=camera: len(camera.workers()) == 1)
            assert set(camera.workers()) <= before[camera.name], "who answers now was there all the while"
    assert asking.failed == []
    for version in ("1", "2"):
        assert set(asking.answered) & server.digests(version), f"version {version} answered"
    assert sum(asking.answered.values()) > 100
    assert rollout(server, name)["state"] == "halted"
    assert " ms" in server.cli("receipts", "--device", cameras[0].id)


def test_a_killed_agent_serves_what_it_served_and_loads_the_other_again(
    server: Server, cameras: list[Device], drafts: Drafts
) -> None:
    server.add_draft(drafts.second, "2")
    with applications(cameras, drafts.data.held):
        begin(server)
        until_gates("everybody keeps it", lambda: serves(server, cameras, "2"))
    camera = cameras[0]
    camera.kill()
    camera.start()
    until("version 2 answers", lambda: camera.answering(drafts.data.held[:1]) in server.digests("2"))
    until("version 1 stands by again", lambda: len(camera.workers()) == 2)
    until("the server knows", lambda: server.model_on(camera.id)["standby"]["warm"])  # type: ignore[index]
