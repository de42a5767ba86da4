"""`pinnace demo`, as a user runs it: the story comes true, and nothing is left of it afterwards."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.needs import need_module

PINNACE = Path(sys.executable).with_name("pinnace")
STORY_S = 540  # the longest that a machine that runs other tests beside it may take


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name, because the devices' sockets are inside."""
    need_module("sklearn")
    made = Path(tempfile.mkdtemp(prefix="pnc-"))
    yield made / "demo"
    shutil.rmtree(made)


def processes_of(folder: Path) -> list[str]:
    """Every process that was told of a path inside the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended while we looked
        if str(folder) in words:
            found.append(words)
    return found


@pytest.mark.slow
@pytest.mark.timeout(STORY_S + 60)
def test_the_story_happens_as_told_and_leaves_nothing_behind(folder: Path) -> None:
    done = subprocess.run(
        [PINNACE, "demo", "--once", "--json", "--data-dir", folder],
        capture_output=True,
        text=True,
        timeout=STORY_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["as_told"] is True
    versions = {version["version"]: version for version in told["versions"]}
    assert {name: version["fate"] for name, version in versions.items()} == {
        "1": "committed",
        "2": "failed",
        "3": "reverted",
        "4": "rolled_back",
        "5": "committed",
    }
    assert versions["2"]["reason"] == "GOLDEN_MISMATCH"
    assert "agreement" in versions["2"]["converter_refused"]
    assert versions["3"]["reason"] in ("MEMORY_EXCEEDED", "CRASHED")
    assert "confidence" in versions["4"]["reason"] or "label" in versions["4"]["reason"]
    assert versions["5"]["precisions"] == ["int8-static"]
    for version in versions.values():
        assert 0 < version["seconds_median"] <= version["seconds_last"]

    answered = told["inferences"]["answered_by_version"]
    assert "2" not in answered
    assert min(answered[name] for name in ("1", "4", "5")) > 0
    # Only a model that takes its worker down with it costs answers; a change of versions costs none. A connection that
    # a worker closes in the very moment of a request may, once in a while.
    for name in ("1", "2", "4", "5"):
        images = versions[name]["inferences"]
        assert images["unanswered"] <= 0.02 * images["answered"], versions[name]
    assert versions["3"]["inferences"]["unanswered"] > 0
    assert processes_of(folder) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("number", "after", "running"),
    [(signal.SIGHUP, "enrolling", 1), (signal.SIGINT, "device-5: serving", 7)],
    ids=["while devices enrol", "while devices serve"],
)
def test_a_demo_that_is_ended_in_the_middle_takes_everything_with_it(
    folder: Path, number: signal.Signals, after: str, running: int
) -> None:
    with subprocess.Popen(
        [PINNACE, "demo", "--port", "0", "--data-dir", folder],
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        try:
            assert any(after in line for line in demo.stdout), "the demo ended by itself"
            assert len(processes_of(folder)) > running
            demo.send_signal(number)
            demo.stdout.read()
            assert demo.wait(120) == 130
        finally:
            demo.kill()
    assert processes_of(folder) == []


def test_a_port_that_is_taken_is_a_clear_error(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [PINNACE, "demo", "--once", "--json", "--port", str(port), "--data-dir", folder],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["as_told"] is False
    assert f"port {port}: another program listens there" in told["problem"]
    assert processes_of(folder) == []
