"""The demo's children: one that dies is noticed with its last words, and none of them outlives the demo."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

import pytest

from pinnace_server.demo import processes
from pinnace_server.demo.errors import ChildFailed, ProgramMissing
from pinnace_server.demo.processes import Child, Children, program, run


def python(code: str, *arguments: str | Path) -> list[str | Path]:
    return [sys.executable, "-c", code, *arguments]


def wait_for_end(pid: int) -> None:
    """Wait until a process is gone, without asking again and again."""
    watched = os.pidfd_open(pid)
    try:
        assert select.select([watched], [], [], 30)[0], f"process {pid} is still running"
    finally:
        os.close(watched)


@pytest.fixture
def line(tmp_path: Path) -> Path:
    """A pipe with a name, through which a child says that it has come so far."""
    path = tmp_path / "line"
    os.mkfifo(path)
    return path


def test_a_child_that_dies_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with Children(logs=tmp_path) as children:
        children.start("server", python("print('port 8080 is taken'); raise SystemExit(2)"))
        wait_for_end(children._children[0]._process.pid)
        with pytest.raises(ChildFailed, match=r"server failed.*server\.log(.|\n)*port 8080 is taken"):
            children.check()


def test_a_child_that_runs_is_not_reported_and_is_gone_afterwards(tmp_path: Path, line: Path) -> None:
    with Children(logs=tmp_path) as children:
        child = children.start(
            "agent", python("import sys, time; open(sys.argv[1], 'w').close(); time.sleep(60)", line)
        )
        line.read_text()
        children.check()
    assert child._process.returncode == -15


def test_children_end_when_the_demo_fails(tmp_path: Path) -> None:
    started: list[Child] = []

    def story() -> None:
        with Children(logs=tmp_path) as children:
            started.append(children.start("agent", python("import time; time.sleep(60)")))
            raise RuntimeError("the story went wrong")

    with pytest.raises(RuntimeError, match="story"):
        story()
    assert started[0]._process.returncode is not None


def test_what_a_child_started_and_left_behind_is_ended_with_it(tmp_path: Path, line: Path) -> None:
    left_behind = (
        "import subprocess, sys\n"
        "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "open(sys.argv[1], 'w').write(str(worker.pid))\n"
    )
    with Children(logs=tmp_path) as children:
        children.start("agent", python(left_behind, line))
        worker = int(line.read_text())
    wait_for_end(worker)


def test_a_child_that_ignores_the_polite_signal_is_killed(
    tmp_path: Path, line: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_S", 0.1)
    deaf = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(sys.argv[1], 'w').close()\n"
        "time.sleep(60)\n"
    )
    child = Child(name="agent", command=python(deaf, line), log=tmp_path / "log", settings={})
    line.read_text()
    child.stop()
    assert child._process.returncode == -9
    child.stop()  # a second time is harmless


def test_the_first_started_child_is_told_to_end_only_when_the_others_have(tmp_path: Path, line: Path) -> None:
    """Agents sign off through the server's broker, so the server must still be there."""
    server = "import sys, time; open(sys.argv[1], 'w').close(); time.sleep(60)"
    agent = (
        "import os, signal, sys, time\n"
        "def goodbye(*_):\n"
        "    os.kill(int(sys.argv[2]), 0)\n"
        "    print('the server heard me', flush=True)\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, goodbye)\n"
        "open(sys.argv[1], 'w').close()\n"
        "time.sleep(60)\n"
    )
    with Children(logs=tmp_path) as children:
        first = children.start("server", python(server, line))
        line.read_text()
        children.start("agent", python(agent, line, str(first._process.pid)))
        line.read_text()
    assert (tmp_path / "agent.log").read_text() == "the server heard me\n"


def test_a_command_that_fails_is_quoted() -> None:
    with pytest.raises(ChildFailed, match="claim token: expired"):
        run(python("raise SystemExit('claim token: expired')"))
    assert run(python("print('done')")) == "done\n"


def test_a_program_that_is_not_installed_is_named() -> None:
    with pytest.raises(ProgramMissing, match="pinnace-nowhere"):
        program("pinnace-nowhere")
    assert program(Path(sys.executable).name).samefile(sys.executable)
