"""Splits with real servers, agents and workers: both releases answer, each its share, and one for the other."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Any

import pytest

from pinnace_agent.client import Client
from tests.e2e.conftest import Drafts
from tests.e2e.fleet import Device, Server
from tests.e2e.test_shadow import applications, cameras, until_gates
from tests.e2e.test_told import guards

__all__ = ["cameras"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600, method="signal")]


def begin(server: Server, version: str) -> str:
    policy = {
        "cohort": "",
        "strategy": {"kind": "ab", "control_percent": 20, "duration_s": 3_600},
        "waves": ["rest"],
        "holdback": None,
        "gates": {"soak_s": 3_600, "guards": {"outcome": {"metric": "sold"}}},
        "terms": {"trial": {"inferences": 30}},
    }
    made = server.call("POST", "/rollouts", json={"model": "digits", "version": version, "policy": policy})
    return str(made["id"])


def tell(camera: Device, drafts: Drafts) -> Counter[str]:
    """Ask, and tell what came of each answer; return how many each version gave."""
    gave: Counter[str] = Counter()
    with Client(camera.run_dir) as client:
        for row in drafts.data.held[:60]:
            answer = client.infer("digits", {"image": row[None]})
            assert client.outcome("digits", "sold", True, request=answer.request)
            gave[str(answer.version)] += 1
    return gave


def kept(server: Server, camera: Device) -> dict[str, Any] | None:
    found = server.model_on(camera.id)
    return found if found and found["current"] and found["current"]["version"] == "2" else None


def test_both_answer_beyond_the_commit_and_nobody_is_refused_when_one_of_them_dies(
    server: Server, cameras: list[Device], drafts: Drafts
) -> None:
    server.add_draft(drafts.second, "2")
    with applications(cameras, drafts.data.held) as asking:
        rollout = begin(server, "2")
        until_gates("everybody keeps it", lambda: all(kept(server, camera) for camera in cameras))
        assert all(len(camera.workers()) == 2 for camera in cameras), "last good is still resident"
        before = dict(asking.answered)

        def answered_by(version: str) -> int:
            return sum(asking.answered.get(each, 0) - before.get(each, 0) for each in server.digests(version))

        until_gates("five hundred answers", lambda: answered_by("1") + answered_by("2") >= 500)
        share = answered_by("1") / (answered_by("1") + answered_by("2"))
        assert 0.1 < share < 0.3
        sold = tell(cameras[1], drafts)
        assert sold["1"] > 0, "what came of the control's answers is known too"
        until_gates(
            "what came of version 2", lambda: guards(server, rollout).get("outcome", {}).get("trials") == sold["2"]
        )
        # The younger worker is the candidate's, and holds no socket: what it was asked, the other one answers.
        os.kill(max(cameras[0].workers()), signal.SIGKILL)
        until_gates("it is started again", lambda: len(cameras[0].workers()) == 2)
    assert asking.failed == []
    for camera in cameras:
        receipt = next(each for each in server.receipts(device=camera.id) if each["version"] == "2")
        assert receipt["outcome"] == "committed"
