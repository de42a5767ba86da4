"""How a worker ended and whether it still lives: numbers in, words out."""

from __future__ import annotations

import signal

import pytest

from pinnace_agent.worker.events import ExitCause
from pinnace_agent.worker.protocol import EXIT_LOAD_FAILED, EXIT_MEMORY, EXIT_ORPHANED
from pinnace_agent.worker.verdicts import LOG_BYTES_MAX, Stall, printable, verdict


@pytest.mark.parametrize(
    ("returncode", "stopping", "last_words", "cause", "says"),
    [
        pytest.param(0, True, b"", ExitCause.ORDERED, "", id="it stopped when it was told to"),
        pytest.param(0, False, b"", ExitCause.CRASHED, "by itself with exit code 0", id="it stopped untold"),
        pytest.param(1, False, b"", ExitCause.CRASHED, "exit code 1", id="an exception"),
        pytest.param(1, True, b"", ExitCause.CRASHED, "exit code 1", id="an exception while stopping"),
        pytest.param(EXIT_LOAD_FAILED, False, b"", ExitCause.CRASHED, "exit code", id="it refused without saying so"),
        pytest.param(EXIT_MEMORY, False, b"", ExitCause.MEMORY_EXCEEDED, "allocation failed", id="out of memory"),
        pytest.param(
            -signal.SIGABRT,
            False,
            b"terminate called after throwing an instance of 'std::bad_alloc'",
            ExitCause.MEMORY_EXCEEDED,
            "allocation failed",
            id="C++ out of memory",
        ),
        pytest.param(-signal.SIGABRT, False, b"assertion", ExitCause.CRASHED, "SIGABRT", id="an assertion in C++"),
        pytest.param(-signal.SIGSEGV, True, b"", ExitCause.CRASHED, "SIGSEGV", id="a crash while stopping"),
        pytest.param(-signal.SIGKILL, False, b"", ExitCause.CRASHED, "when memory runs out", id="killed by the kernel"),
        pytest.param(-99, False, b"", ExitCause.CRASHED, "signal 99", id="a signal without a name"),
        pytest.param(EXIT_ORPHANED, False, b"", ExitCause.CRASHED, "lost its supervisor", id="orphaned"),
    ],
)
def test_end_by_itself(returncode: int, stopping: bool, last_words: bytes, cause: ExitCause, says: str) -> None:
    found, why = verdict(returncode, stopping=stopping, killed=None, why="", last_words=last_words)
    assert found is cause
    assert says in why


def test_cause_of_a_kill_is_the_killers() -> None:
    found = verdict(-9, stopping=True, killed=ExitCause.HUNG, why="it slept", last_words=b"bad_alloc")
    assert found == (ExitCause.HUNG, "it slept")


def test_every_exit_cause_has_a_wire_cause() -> None:
    assert [cause.wire for cause in ExitCause] == ["NONE", "CRASHED", "HUNG", "MEMORY_EXCEEDED"]


def test_stall_counts_while_the_signs_stay_the_same() -> None:
    stall = Stall(look_s_max=2)
    looks = [stall.look(signs, now) for now, signs in enumerate("aaabbbb")]
    assert looks == [0, 1, 2, 0, 1, 2, 3]


def test_machine_that_stood_still_is_nobodys_fault() -> None:
    stall = Stall(look_s_max=2)
    stall.look("a", 0)
    assert stall.look("a", 3600) == 2
    assert stall.look("b", 3601) == 0


def test_last_words_are_bounded_and_cannot_steer_a_terminal() -> None:
    assert printable(b"\x1b[2Jgone\x07\nand \xff more\n") == "?[2Jgone?\nand � more"
    assert len(printable(b"x" * 100_000)) == LOG_BYTES_MAX
