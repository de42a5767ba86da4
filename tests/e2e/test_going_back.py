"""A real server that is lost and put back from yesterday's backup, and a real device from which a version is taken."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pinnace_server.domain import eras
from tests.e2e.conftest import Drafts, Enrol, Fleet
from tests.e2e.fleet import BIN, PATIENCE_S, Server, runs, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300, method="signal")]


def restore(server: Server, *options: str) -> str:
    command = [str(BIN / "pinnace"), "restore", "--data-dir", str(server.data), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_lost_server_is_put_back_and_a_version_is_stopped(fleet: Fleet, drafts: Drafts, tmp_path: Path) -> None:
    server, camera = fleet
    backup = tmp_path / "backup"
    server.stop()
    shutil.copytree(server.data, backup)
    server.start()
    server.assign("2", camera.id)
    assert server.outcome(camera.id, "2")["outcome"] == "committed"
    runs(server, camera, "2", drafts.data.held[:1])
    server.kill()
    shutil.rmtree(server.data)
    shutil.copytree(backup, server.data)
    assert "era 1 begins: 1 device(s)" in restore(server, "--reason", "the disk died")
    server.start()

    until("the device is adopted", lambda: "device_adopted" in server.cli("events", "--limit", "50"))
    runs(server, camera, "2", drafts.data.held[:1])
    until("the device takes the new era", lambda: eras.era_of(server.device(camera.id)["reported_generation"]) == 1)
    assert server.model_on(camera.id)["cause"] == "NONE"  # type: ignore[index]

    seen = server.cli("withdraw", "digits", "2", "--mode", "stop", "--dry-run")
    assert f"serving it: 1 ({camera.id})" in seen
    assert "having nothing else that may run: none" in seen
    server.cli("withdraw", "digits", "2", "--mode", "stop", "--reason", "reads zeros as eights")
    runs(server, camera, "1", drafts.data.held[:1])
    refused = server.cli("withdraw", "digits", "1", "--mode", "stop", "--reason", "so does this", expect=1)
    assert f"1 device would go dark ({camera.id})" in refused
    server.cli("withdraw", "digits", "1", "--mode", "stop", "--reason", "so does this", "--confirm-dark", "1")
    until("nothing answers", lambda: camera.answering(drafts.data.held[:1]) is None)
    until("the API knows", lambda: (server.model_on(camera.id) or {}).get("cause") == "WITHDRAWN")


def test_database_that_is_older_than_the_signer_does_not_start(fleet: Fleet, tmp_path: Path) -> None:
    server, camera = fleet
    server.stop()
    shutil.copy(server.data / "pinnace.db", tmp_path / "yesterday.db")
    server.start()
    server.assign("2", camera.id)
    server.outcome(camera.id, "2")
    server.stop()
    for rest in ("-wal", "-shm"):
        (server.data / f"pinnace.db{rest}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "yesterday.db", server.data / "pinnace.db")
    with pytest.raises(AssertionError, match="it was put back from a backup"):
        server.start()
    assert "pinnace restore --data-dir" in server.log
    restore(server)
    server.start()
    until("the device is adopted", lambda: "device_adopted" in server.cli("events", "--limit", "50"))


def test_device_takes_the_place_of_another(fleet: Fleet, device: Enrol, drafts: Drafts) -> None:
    server, camera = fleet
    server.cli("device", "label", camera.id, "site=lyon")
    spare = device(server, "spare")
    until("the spare one is there", lambda: server.device(spare.id)["state"] == "active")
    said = server.cli("device", "replace", camera.id, spare.id, "--reason", "lens broken")
    assert f"device {spare.id} takes the place of {camera.id}, which is decommissioned" in said
    assert "given by rollout r-" in said
    digests = server.digests("1")
    until("the spare one tries it", lambda: spare.answering(drafts.data.held[:1]) in digests)
    for i in range(110):  # an ordinary trial: it never ran this
        spare.infer(drafts.data.held[i : i + 1])
    assert server.outcome(spare.id, "1")["outcome"] == "committed"
    runs(server, spare, "1", drafts.data.held[:1])
    assert server.device(spare.id)["labels"] == {"site": "lyon"}
    assert server.device(camera.id)["state"] == "decommissioned"
