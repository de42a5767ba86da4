"""A rollout in waves with real processes, as an operator types it: previewed, begun, approved, promoted, audited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Drafts, Enrol, Fleet
from tests.e2e.fleet import runs, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300, method="signal")]

POLICY = """
cohort: site=lyon
waves: [1, rest]
holdback: null
approvals:
  - before: last
gates:
  soak_s: 1
  exposure: {duration_s: 0, devices: 0}
terms:
  trial: {mode: none}
budgets: {healthy_per_site_min: null}
"""


def test_a_version_climbs_through_its_waves(fleet: Fleet, device: Enrol, drafts: Drafts, tmp_path: Path) -> None:
    server, camera = fleet
    cameras = [camera, device(server, "left"), device(server, "right")]
    for each in cameras:
        server.cli("device", "label", each.id, "site=lyon")
    server.assign("1", cameras[1].id, cameras[2].id)
    for each in cameras[1:]:
        assert server.outcome(each.id, "1")["outcome"] == "committed"
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)

    seen = server.cli("rollout", "start", "digits", "2", "--policy", str(file), "--dry-run")
    assert seen.startswith("wave 1: 1 device (")
    assert "wave 2: 2 devices (" in seen
    begun = json.loads(server.cli("rollout", "start", "digits", "2", "--policy", str(file), "--json"))
    name = str(begun["id"])

    until("a person is asked", lambda: "must agree before wave 2 begins" in server.cli("why", name))
    digests = server.digests("2")
    on_it = [each for each in cameras if each.answering(drafts.data.held[:1]) in digests]
    assert len(on_it) == 1
    assert on_it[0].id in seen.splitlines()[0], "it is dealt as it was shown"
    waiting = next(each for each in cameras if each is not on_it[0])
    assert "waits for an earlier wave (EARLIER_WAVE)" in server.cli("why", waiting.id)

    server.cli("rollout", "approve", name)
    for each in cameras:
        assert server.outcome(each.id, "2")["outcome"] == "committed"
        runs(server, each, "2", drafts.data.held[:1])
    until("it is over", lambda: server.call("GET", f"/rollouts/{name}")["state"] == "finished")
    waves = server.call("GET", f"/rollouts/{name}")["waves"]
    assert [wave["promoted_by"] for wave in waves] == ["unrefuted", "unrefuted"]
    assert "2 verdict(s), 0 of them broken" in server.cli("audit", "verify", "--rollout", name)
