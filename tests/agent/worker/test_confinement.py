"""What a worker can no longer do once it has confined itself, tried in a process that did."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

import pytest

from pinnace_agent.worker import seccomp

TRIED = """
import ctypes, json, os, resource, socket, sys
from pinnace_agent.worker.confine import confine
from pinnace_agent.worker.protocol import Confinement
listening = socket.socket(socket.AF_UNIX); listening.bind("\\0" + sys.argv[1]); listening.listen()
client = socket.socket(socket.AF_UNIX)
client.connect("\\0" + sys.argv[1])
confine(Confinement(data_bytes=2**30, niceness=3), os.getppid())
def attempt(what):
    try:
        what()
        return "done"
    except OSError as error:
        return type(error).__name__
    except MemoryError:
        return "MemoryError"
print(json.dumps({
    "accept": attempt(listening.accept),
    "internet": attempt(lambda: socket.socket(socket.AF_INET)),
    "unix": attempt(lambda: socket.socket(socket.AF_UNIX)),
    "netlink": attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "connect": attempt(lambda: client.connect("/nowhere")),
    "exec": attempt(lambda: os.execv("/bin/true", ["true"])),
    "shell": attempt(lambda: os.posix_spawn("/bin/true", ["true"], {})),
    "memory": attempt(lambda: bytearray(2**31)),
    "memfd": attempt(lambda: os.memfd_create("x")),
    "pipe": attempt(os.pipe),
    "nice": os.nice(0),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
}))
"""


@pytest.fixture(scope="module")
def attempts() -> dict[str, object]:
    command = [sys.executable, "-c", TRIED, f"pinnace-test-{os.getpid()}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("what", ["internet", "unix", "netlink", "connect", "exec", "shell"])
def test_confined_process_reaches_nothing_and_starts_nothing(attempts: dict[str, object], what: str) -> None:
    if seccomp._program(os.uname().machine, 8 if sys.maxsize > 2**32 else 4) is None:
        pytest.skip(f"no table of system calls for {os.uname().machine}")
    assert attempts[what] == "PermissionError"


@pytest.mark.parametrize("what", ["accept", "memfd", "pipe"])
def test_confined_process_can_still_serve(attempts: dict[str, object], what: str) -> None:
    assert attempts[what] == "done"


def test_confined_process_is_bounded(attempts: dict[str, object]) -> None:
    assert attempts["memory"] == "MemoryError"
    assert attempts["core"] == [0, 0]
    assert attempts["nice"] == os.nice(0) + 3


def test_limit_that_is_lower_already_stays() -> None:
    program = """
import os, resource
from pinnace_agent.worker.confine import confine
from pinnace_agent.worker.protocol import Confinement
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
confine(Confinement(), os.getppid())
print(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "100"
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 100


def test_process_whose_supervisor_is_another_ends_at_once() -> None:
    program = """
from pinnace_agent.worker.confine import confine
from pinnace_agent.worker.protocol import Confinement
confine(Confinement(), 1)
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-9, "")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "riscv64"])
def test_filter_is_well_formed(machine: str) -> None:
    program = seccomp._program(machine, 8)
    assert program is not None
    assert {len(each) for each in program} == {8}
    last = len(program) - 1
    for i, instruction in enumerate(program):
        if instruction[0] in (seccomp._IF_EQUAL, seccomp._IF_AT_LEAST):
            targets = {i + 1 + instruction[2], i + 1 + instruction[3]}
            assert max(targets) <= last
            assert last in targets  # one way of each test is "deny"


def test_unknown_machine_gets_no_filter() -> None:
    assert seccomp._program("vax", 4) is None
