"""What applications tell the local API arrives in the server's gates, with real servers, agents and workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pinnace_agent.client import Client, Refused
from tests.e2e.conftest import Drafts, Enrol, Fleet
from tests.e2e.fleet import Device, Server, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300, method="signal")]

POLICY = """
cohort: ""
waves: [1, rest]
holdback: null
gates:
  soak_s: 3600
  guards:
    outcome: {metric: accepted}
    fairness: {points: 5}
    predictions: 10
terms:
  trial: {mode: none}
budgets: {healthy_per_site_min: null}
"""
TOLD = 40


def tell(camera: Device, drafts: Drafts) -> list[str]:
    """Ask, label with a declared group, and tell what came of it; return the names of the answers."""
    data, names = drafts.data, []
    with Client(camera.run_dir) as client:
        for row, label in zip(data.held[:TOLD], data.held_labels[:TOLD].tolist(), strict=True):
            answer = client.infer("digits", {"image": row[None]})
            names.append(answer.request)
            client.label("digits", answer.request, label, group="even" if label % 2 == 0 else "odd")
            right = bool(answer.outputs["scores"].argmax() == label)
            assert client.outcome("digits", "accepted", right, request=answer.request)
    return names


def guards(server: Server, rollout: str) -> dict[str, dict[str, Any]]:
    """What the gate of the first wave reads, by guard."""
    verdict = server.call("GET", f"/rollouts/{rollout}")["waves"][0]["verdict"]
    return {each["guard"]: each for each in verdict["guards"]} if verdict else {}


def test_what_applications_tell_arrives_in_the_gate_of_the_release_that_answered(
    fleet: Fleet, device: Enrol, drafts: Drafts, tmp_path: Path
) -> None:
    server, first = fleet
    second = device(server, "second")
    server.assign("1", second.id)
    assert server.outcome(second.id, "1")["outcome"] == "committed"
    image = drafts.data.held[:1]
    before = {each.name: each.infer(image).request for each in (first, second)}
    for each in (first, second):
        tell(each, drafts)
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    name = str(json.loads(server.cli("rollout", "start", "digits", "2", "--policy", str(file), "--json"))["id"])

    digests = server.digests("2")

    def switched() -> Device | None:
        return next((each for each in (first, second) if each.answering(image) in digests), None)

    moved = until("a device of the first wave serves version 2", switched)
    names = tell(moved, drafts)
    with Client(moved.run_dir) as client:
        assert not client.outcome("digits", "accepted", True, request=names[0]), "an answer has one outcome"
        # Of version 1, after it has gone: it counts there, and not for what serves now.
        assert client.outcome("digits", "accepted", False, request=before[moved.name])
        with pytest.raises(Refused, match="one metric: digits counts 'accepted', found 'returned'"):
            client.outcome("digits", "returned", True)

    def arrived() -> dict[str, dict[str, Any]] | None:
        found = guards(server, name)
        whole = found.get("outcome", {}).get("trials") == TOLD and found.get("fairness", {}).get("trials") == TOLD
        return found if whole and found["predictions"]["trials"] > TOLD else None

    found = until("all that was told of version 2", arrived)
    assert found["outcome"]["bad"] == found["fairness"]["bad"] < TOLD / 4, "right answers were accepted"
    shown = server.cli("rollout", "show", name, "--json")
    assert '"metric": "accepted"' in shown
