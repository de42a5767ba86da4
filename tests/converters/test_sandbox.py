"""A child that misbehaves in any way is an error of its parent, and gone.

Real children run in ``test_conversion.py``; here a script stands in for one, so that it can do what only a taken-over
process would.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pinnace_contract.latest import Precision, Runtime
from pinnace_converters import jobs, sandbox
from pinnace_converters.declaration import Declaration
from pinnace_converters.errors import ConversionError, DataInvalid, ModelRefused, PassFailed, SandboxEnded
from pinnace_converters.options import Limits

LIMITS = Limits(wall_s=20.0, cpu_s=5)
JOB = jobs.Inspect(runtime=Runtime.ONNX, declaration=Declaration())
BUILT = '{"records": [], "census": {"nodes": 1, "precision": "fp32"}}'  # a valid answer

Child = Callable[[str], None]


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Child:
    """Make this shell script what runs instead of Python."""

    def stand_in(script: str) -> None:
        path = tmp_path / "child"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return stand_in


def run(limits: Limits = LIMITS, tick: sandbox.Tick = lambda text: None) -> tuple[jobs.Built, dict[str, bytes]]:
    work = sandbox.Work(name="the work", job=JOB, files={"given": b"given"}, wanted={"made": 10})
    return sandbox.run(work, jobs.Built, limits, tick)


def test_an_answer_and_the_wanted_files_come_back(child: Child) -> None:
    child(f"cat given > made; echo '{BUILT}' > result.json")

    found, files = run()

    assert (found.census.precision, files) == (Precision.FP32, {"made": b"given"})


def test_what_it_says_reaches_the_caller_bounded(child: Child) -> None:
    child(f"echo loading; printf '\\033[31mred\\n'; echo made > made; echo '{BUILT}' > result.json")
    heard: list[str] = []

    run(tick=heard.append)

    assert [line for line in heard if line] == ["loading", "?[31mred"]


LIES: list[tuple[str, str, type[ConversionError], str]] = [
    ("no answer", "exit 0", SandboxEnded, "no usable answer"),
    ("an answer of another kind", "echo made > made; echo '{}' > result.json", SandboxEnded, "built.records"),
    ("an endless answer", "head -c 2000000 /dev/zero > result.json", SandboxEnded, "more than"),
    (
        "a link to another file",
        f"echo '{BUILT}' > result.json; ln -s /etc/hostname made",
        SandboxEnded,
        "no usable answer",
    ),
    ("a pipe for a file", f"echo '{BUILT}' > result.json; mkfifo made", SandboxEnded, "no regular file"),
    ("a folder for a file", f"echo '{BUILT}' > result.json; mkdir made", SandboxEnded, "no usable answer"),
    ("a file too large", f"echo '{BUILT}' > result.json; echo 12345678901 > made", SandboxEnded, "more than 10 bytes"),
    ("a status without words", "echo 'it hurts' >&2; exit 7", SandboxEnded, "status 7 and said it hurts"),
    ("a crash", "kill -SEGV $$", SandboxEnded, "SIGSEGV"),
    ("an abort", "kill -ABRT $$", SandboxEnded, "SIGABRT"),
    ("a kill", "kill -KILL $$", SandboxEnded, "was killed"),
    (
        "a crash after a good answer",
        f"echo made > made; echo '{BUILT}' > result.json; kill -SEGV $$",
        SandboxEnded,
        "SIGSEGV",
    ),
    ("talk without end", "yes", SandboxEnded, "talks without end"),
    (
        "a refusal",
        """echo '{"code": "MODEL_REFUSED", "text": "not this one"}' > failure.json; exit 3""",
        ModelRefused,
        "^not this one$",
    ),
    (
        "wrong data",
        """echo '{"code": "DATA_INVALID", "text": "not these"}' > failure.json; exit 3""",
        DataInvalid,
        "^not these$",
    ),
    (
        "a failed pass",
        """echo '{"code": "PASS_FAILED", "text": "no", "pass_name": "p", "done": ["a"]}' > failure.json; exit 3""",
        PassFailed,
        r"pass 'p' failed: no \\(done before it: a\\)".replace("\\\\", "\\"),
    ),
    (
        "a code that nobody knows",
        """echo '{"code": "WAT", "text": "no"}' > failure.json; exit 3""",
        PassFailed,
        "pass 'the work' failed: no",
    ),
]


@pytest.mark.parametrize(("script", "error", "says"), [each[1:] for each in LIES], ids=[each[0] for each in LIES])
def test_whatever_a_child_does_is_a_clear_error(
    script: str, error: type[ConversionError], says: str, child: Child
) -> None:
    child(script)

    with pytest.raises(error, match=says):
        run()


def test_a_child_that_hangs_is_ended_with_all_it_started(child: Child, tmp_path: Path) -> None:
    child(f"sleep 600 & echo $! > {tmp_path}/grandchild; wait")

    with pytest.raises(SandboxEnded, match=r"took more than 2 s"):
        run(Limits(wall_s=2.0))
    _wait_until_gone(int((tmp_path / "grandchild").read_text()))


def test_a_caller_that_has_enough_ends_the_child(child: Child, tmp_path: Path) -> None:
    child(f"echo $$ > {tmp_path}/pid; echo started; exec sleep 600")

    class Enough(Exception):
        pass

    def stop(text: str) -> None:
        if text == "started":
            raise Enough

    with pytest.raises(Enough):
        run(tick=stop)
    _wait_until_gone(int((tmp_path / "pid").read_text()))


def test_a_silent_child_still_lets_the_caller_speak(child: Child) -> None:
    child("exec sleep 600")

    class Enough(Exception):
        pass

    def stop(text: str) -> None:
        raise Enough

    with pytest.raises(Enough):
        run(tick=stop)


def test_a_child_finds_nothing_of_our_environment_and_its_own_folder(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    child(f"env > /dev/stderr; ls > made; echo '{BUILT}' > result.json; exit 9")

    with pytest.raises(SandboxEnded) as raised:
        run()

    assert "hunter2" not in str(raised.value)
    assert "HOME=" in str(raised.value)


def test_the_private_folder_is_gone_afterwards(child: Child, tmp_path: Path) -> None:
    child(f"pwd > {tmp_path}/where; exit 1")

    with pytest.raises(SandboxEnded):
        run()
    assert not Path((tmp_path / "where").read_text().strip()).exists()


@pytest.mark.parametrize(
    ("what", "limit"),
    [
        ("RLIMIT_AS", 256 * 1024**2),
        ("RLIMIT_CPU", 7),
        ("RLIMIT_FSIZE", 4096),
        ("RLIMIT_NOFILE", 256),
        ("RLIMIT_CORE", 0),
    ],
)
def test_a_child_limits_itself_before_anything_else(what: str, limit: int, tmp_path: Path) -> None:
    script = (
        "import resource; from pinnace_converters import child; child.limit(256 * 1024**2, 7, 4096); "
        f"print(resource.getrlimit(resource.{what}))"
    )
    import subprocess

    found = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert found.stdout.strip() == str((limit, limit))


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":  # ended; whoever adopted it has not looked yet
            return
        os.sched_yield()
    pytest.fail(f"process {pid} still runs")
