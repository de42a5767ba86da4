"""Shadows with real servers, agents and workers: a release is compared on devices before it serves anybody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pinnace_agent.client import Client
from tests.e2e import models
from tests.e2e.conftest import Drafts, Enrol
from tests.e2e.fleet import POLL_S, Device, Server

# Gates look once a minute, and a shadow lasts one at least.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600, method="signal")]

GATE_S = 240.0  # a limit for a broken test: three looks of a gate
ASK_EVERY_S = 0.02


@dataclass
class Applications:
    """One on each device, that asks all the time and remembers who answered."""

    rows: models.Rows
    answered: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def ask(self, camera: Device) -> None:
        with Client(camera.run_dir) as client:
            number = 0
            while not self.ended.wait(ASK_EVERY_S):
                number += 1
                image = self.rows[number % len(self.rows)][None]
                try:
                    variant = str(client.infer("digits", {"image": image}).variant)
                except Exception as error:
                    self.failed.append(f"{camera.name}: {error!r}")
                    continue
                self.answered[variant] = self.answered.get(variant, 0) + 1


@contextmanager
def applications(cameras: list[Device], rows: models.Rows) -> Iterator[Applications]:
    made = Applications(rows=rows)
    threads = [threading.Thread(target=made.ask, args=(camera,)) for camera in cameras]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        made.ended.set()
        for thread in threads:
            thread.join()


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


def begin(server: Server, version: str, duration_s: int) -> str:
    strategy = {"kind": "shadow", "duration_s": duration_s, "share_percent": 100}
    terms = {"trial": {"inferences": 30}}
    policy = {"cohort": "", "strategy": strategy, "waves": ["rest"], "holdback": None, "terms": terms}
    made = server.call("POST", "/rollouts", json={"model": "digits", "version": version, "policy": policy})
    return str(made["id"])


def rollout(server: Server, name: str) -> dict[str, Any]:
    found: dict[str, Any] = server.call("GET", f"/rollouts/{name}")
    return found


def until_gates(what: str, found: Any) -> None:
    end = time.monotonic() + GATE_S
    while not found():
        assert time.monotonic() < end, f"never seen: {what}"
        time.sleep(POLL_S * 10)


def phases(server: Server, cameras: list[Device]) -> set[str]:
    return {found["phase"] for camera in cameras if (found := server.model_on(camera.id))}


def test_a_release_that_is_surely_wrong_is_stopped_in_its_shadow_and_never_serves_anybody(
    server: Server, cameras: list[Device], drafts: Drafts, tmp_path: Path
) -> None:
    source = tmp_path / "turned.onnx"
    source.write_bytes(models.linear(drafts.data, 1.0, turned=1))
    server.add_draft(models.convert(tmp_path, "turned", source, "--calibration", str(drafts.calibration)), "2")
    with applications(cameras, drafts.data.held) as asking:
        name = begin(server, "2", duration_s=3_600)
        until_gates("all three in their shadow", lambda: phases(server, cameras) == {"shadow"})
        assert all(len(camera.workers()) == 2 for camera in cameras), "both are resident"
        until_gates("the gate moves back", lambda: rollout(server, name)["state"] == "halted")
        assert "shadow" in rollout(server, name)["reason"]
        until_gates("everybody has left the shadow", lambda: phases(server, cameras) == {"idle"})
    assert set(asking.answered) <= server.digests("1"), "version 1 answered everybody, always"
    assert asking.failed == []
    assert sum(asking.answered.values()) > 500
    for camera in cameras:
        receipts = [each for each in server.receipts(device=camera.id) if each["version"] == "2"]
        assert [each["outcome"] for each in receipts] == ["superseded"], "its golden vectors passed: they are its own"
        assert receipts[0]["receipt"]["golden"]["passed"]


def test_a_good_release_leaves_its_shadow_for_its_trial_and_is_kept(
    server: Server, cameras: list[Device], drafts: Drafts
) -> None:
    server.add_draft(drafts.second, "2")
    with applications(cameras, drafts.data.held) as asking:
        name = begin(server, "2", duration_s=60)
        until_gates("a device in its shadow", lambda: "shadow" in phases(server, cameras))
        assert set(asking.answered) <= server.digests("1")
        # Killed in its shadow: last good serves again at once, and the shadow goes on.
        cameras[0].kill()
        cameras[0].start()

        def kept() -> bool:
            found = [server.model_on(camera.id) for camera in cameras]
            return all(each and each["current"] and each["current"]["version"] == "2" for each in found)

        until_gates("everybody keeps it", kept)
    assert rollout(server, name)["state"] == "active", "its gates still watch"
    for camera in cameras:
        receipt = next(each for each in server.receipts(device=camera.id) if each["version"] == "2")
        assert receipt["outcome"] == "committed"
        times = {each["phase"]: each["seconds"] for each in receipt["receipt"]["phases"]}
        assert times["shadow"] >= 59
        assert receipt["receipt"]["evidence"]["kind"] == "live"
    assert all(failure.startswith("left") for failure in asking.failed), asking.failed[:3]
