"""Whole sites with real servers, agents and workers: they keep a release together, and who missed the word follows."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import Drafts, Enrol
from tests.e2e.fleet import POLL_S, Device, Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600, method="signal")]

LIMIT_S = 240.0  # for a broken test: a trial that ends by its time takes twenty seconds
LEASE_S = 300


@pytest.fixture
def cameras(server: Server, device: Enrol, drafts: Drafts) -> list[Device]:
    """Three devices of one site that have committed the first version."""
    server.call("POST", "/models", json={"name": "digits"})
    server.add_draft(drafts.first, "1")
    made = [device(server, name) for name in ("left", "middle", "right")]
    for camera in made:
        server.cli("device", "label", camera.id, "site=lyon")
    server.assign("1", *(camera.id for camera in made))
    for camera in made:
        assert server.outcome(camera.id, "1")["outcome"] == "committed"
    return made


def begin(server: Server, version: str, trial_s: int = 5) -> str:
    policy = {
        "cohort": "site=lyon",
        "strategy": {"kind": "site_atomic", "lease_s": LEASE_S},
        "waves": ["rest"],
        "holdback": None,
        "terms": {"trial": {"inferences": 1_000, "duration_s": trial_s}},
    }
    made = server.call("POST", "/rollouts", json={"model": "digits", "version": version, "policy": policy})
    return str(made["id"])


def site(server: Server, name: str) -> dict[str, Any]:
    """Return how the site stands; nothing before its wave began."""
    found = server.call("GET", f"/rollouts/{name}")["sites"]
    return dict(found[0]) if found else {}


def eventually(what: str, found: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not found():
        assert time.monotonic() < end, f"never seen: {what}"
        time.sleep(POLL_S)


def phase(server: Server, camera: Device) -> str:
    found = server.model_on(camera.id)
    return str(found["phase"]) if found else ""


def outcomes(server: Server, camera: Device, version: str) -> list[tuple[str, str]]:
    found = [each for each in server.receipts(device=camera.id) if each["version"] == version]
    return [(each["outcome"], each["cause"]) for each in reversed(found)]


def test_a_site_keeps_a_release_together_and_whoever_missed_the_word_follows(
    server: Server, cameras: list[Device], drafts: Drafts
) -> None:
    server.add_draft(drafts.second, "2")
    left, middle, right = cameras
    name = begin(server, "2", trial_s=20)
    eventually("all are told", lambda: all(phase(server, each) not in ("", "idle") for each in cameras))
    right.kill()  # in the middle of its trial, which begins again where it was
    eventually("two are prepared", lambda: phase(server, left) == phase(server, middle) == "prepared")
    assert site(server, name) | {"lease_until_s": 0.0} == {
        "site": "lyon",
        "wave": 1,
        "devices": 3,
        "prepared": 2,
        "keeping": 0,
        "mixed": False,
        "waits_for": [right.id],
        "decision": None,
        "why": f"waits for 1 of 3 at site lyon ({right.id})",
        "decided_at_s": None,
        "lease_until_s": 0.0,
    }
    said = server.cli("why", left.id)
    assert f"prepared; waits for 1 of 3 at site lyon ({right.id})" in said
    assert left.answering(drafts.data.held) in server.digests("2"), "what is prepared serves"
    assert not [each for camera in cameras for each in outcomes(server, camera, "2")]
    left.kill()  # prepared, and does not hear what is decided
    right.start()
    eventually("the site is decided", lambda: site(server, name)["decision"] == "commit")
    eventually("two keep it", lambda: site(server, name)["keeping"] == 2)
    assert site(server, name)["mixed"], "and one has not said so"
    left.start()
    eventually("the third follows", lambda: site(server, name)["keeping"] == 3)
    assert not site(server, name)["mixed"]
    assert "commit at" in server.cli("rollout", "show", name)
    for camera in cameras:
        assert outcomes(server, camera, "2")[-1] == ("committed", "NONE")
        assert camera.answering(drafts.data.held) in server.digests("2")


def test_one_device_that_fails_takes_its_site_back(server: Server, cameras: list[Device], drafts: Drafts) -> None:
    server.add_draft(drafts.second, "2")
    left, middle, right = cameras
    name = begin(server, "2", trial_s=15)
    eventually("right is on trial", lambda: phase(server, right) == "trial")
    for _ in range(3):
        eventually("its worker runs", lambda: len(right.workers()) == 1)
        (worker,) = right.workers()
        os.kill(worker, signal.SIGKILL)
        eventually("it is gone", lambda worker=worker: worker not in right.workers())  # type: ignore[misc]
    eventually("the site goes back", lambda: site(server, name)["decision"] == "revert")
    assert right.id in site(server, name)["why"]
    eventually("everybody is back", lambda: all(phase(server, each) == "idle" for each in cameras))
    assert outcomes(server, right, "2") == [("reverted", "CRASHED")]
    for camera in (left, middle):
        assert outcomes(server, camera, "2") == [("reverted", "SITE_REVERTED")]
        assert camera.answering(drafts.data.held) in server.digests("1")
