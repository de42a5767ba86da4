"""What a device's store meets in the field: a disk that is too small, a disk that is full, a second agent.

The server, the broker and the agents are real. What the API says is held against what answers.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e import models
from tests.e2e.conftest import Drafts, Enrol, Fleet
from tests.e2e.fleet import PATIENCE_S, Device, Server, runs, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300, method="signal")]

DISK_MIB: Final = 3  # some times what an enrolled device with one small version takes
EXIT_TO_BE_MENDED: Final = 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def cramped(small_disk: Path, server: Server, device: Enrol, drafts: Drafts) -> Fleet:
    """A server with both versions, and a device on a small disk that has committed the first."""
    server.call("POST", "/models", json={"name": "digits"})
    server.add_draft(drafts.first, "1")
    server.add_draft(drafts.second, "2")
    camera = device(server, "camera", store=small_disk / "store")
    server.assign("1", camera.id)
    assert server.outcome(camera.id, "1")["outcome"] == "committed"
    return server, camera


def test_a_version_that_does_not_fit_on_the_disk_is_refused_with_figures(
    cramped: Fleet, drafts: Drafts, tmp_path: Path
) -> None:
    server, camera = cramped
    padding = tmp_path / "table.bin"
    padding.write_bytes(os.urandom((DISK_MIB + 1) * 1024 * 1024))
    options = ("--calibration", str(drafts.calibration), "--asset", f"configuration:table={padding}")
    server.add_draft(models.convert(tmp_path, "large", drafts.source, *options), "3")
    server.assign("3", camera.id)
    receipt = server.outcome(camera.id, "3")
    assert (receipt["outcome"], receipt["cause"]) == ("failed", "NO_ROOM")
    needs, has = _figures(receipt["detail"])
    assert needs > padding.stat().st_size
    assert has < DISK_MIB * 1024 * 1024
    runs(server, camera, "1", drafts.data.held[:1])
    server.assign("2", camera.id)
    assert server.outcome(camera.id, "2")["outcome"] == "committed"
    runs(server, camera, "2", drafts.data.held[:1])


def _figures(detail: str) -> tuple[int, int]:
    """The bytes that are needed, and those that there are, of what an operator reads."""
    words = detail.replace(",", "").replace(";", "").split()
    return int(words[words.index("needs") + 1]), int(words[words.index("has") + 1])


def test_a_full_disk_is_told_and_the_waiting_assignment_commits_when_there_is_room(
    cramped: Fleet, drafts: Drafts, small_disk: Path
) -> None:
    server, camera = cramped
    hog = small_disk / "hog"
    until("a disk where nothing gives way", lambda: _is_full(hog) and (camera.status() or {})["reports_waiting"] == 0)
    server.assign("2", camera.id)
    until("the trouble in the API", lambda: server.device(camera.id)["refused_cause"] == "NO_ROOM")
    assert _is_full(hog)
    assert "No space left" in server.device(camera.id)["refused_detail"]
    assert (server.model_on(camera.id) or {})["outcome"] is None
    runs(server, camera, "1", drafts.data.held[:1])
    hog.unlink()
    assert server.outcome(camera.id, "2")["outcome"] == "committed"
    runs(server, camera, "2", drafts.data.held[:1])
    until("the trouble is over in the API", lambda: server.device(camera.id)["refused_cause"] == "NONE")


def _is_full(hog: Path) -> bool:
    """Let the hog take what there is. Reports that are acknowledged meanwhile make a little room again."""
    with contextlib.suppress(OSError), hog.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(1024))
    return os.statvfs(hog.parent).f_bavail == 0


def test_a_second_agent_on_the_same_store_is_refused_and_changes_nothing(fleet: Fleet, drafts: Drafts) -> None:
    server, camera = fleet
    runs(server, camera, "1", drafts.data.held[:1])
    before = _believed(server, camera)
    assert camera.process is not None
    refused = subprocess.run(camera.command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert refused.returncode == EXIT_TO_BE_MENDED
    assert f"process {camera.process.pid} already runs an agent" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert camera.process.poll() is None
    runs(server, camera, "1", drafts.data.held[:1])
    assert _believed(server, camera) == before
    server.assign("2", camera.id)
    assert server.outcome(camera.id, "2")["outcome"] == "committed"
    runs(server, camera, "2", drafts.data.held[:1])


def _believed(server: Server, camera: Device) -> dict[str, Any]:
    """What the API says of a device, but for its clocks and its counts."""
    found = server.device(camera.id)
    slots = [{name: value for name, value in slot.items() if name != "said_at_s"} for slot in found["models"]]
    kept = ("status", "state", "cause", "incarnation", "generation", "reported_generation", "refused_cause")
    return {name: found[name] for name in kept} | {"models": slots, "receipts": server.receipts(device=camera.id)}
