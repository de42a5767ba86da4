"""Who is joined with whom in a split, and again when they part: without a process."""

from __future__ import annotations

import socket

import pytest

from pinnace_agent.worker import protocol
from pinnace_agent.worker.events import WorkerId, WorkerRef
from pinnace_agent.worker.joining import JOINED_S, JOINS_MAX, Splits
from pinnace_contract.ids import Digest, ModelName, ReleaseId
from pinnace_contract.latest import Arm

FRONT, BESIDE = (
    WorkerRef(id=WorkerId(n), model=ModelName("digits"), release=ReleaseId(c * 64), variant=Digest(c * 64))
    for n, c in ((1, "a"), (2, "b"))
)
ORDER = protocol.Split(
    control_percent=20, arm=Arm.CONTROL, release=BESIDE.release, variant=BESIDE.variant, other_arm=Arm.CANDIDATE
)
HEIR = protocol.Serve(arm=Arm.CANDIDATE)
ANSWER = protocol.Answer(arm=Arm.CANDIDATE)


class Supervisor:
    """Remembers what workers were told, and keeps the sockets that they were handed."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.told: list[tuple[WorkerRef, protocol.Order]] = []
        self.ended: list[tuple[WorkerRef, str]] = []
        self.handed: list[socket.socket] = []
        self.living = {FRONT, BESIDE}
        self.splits = Splits(
            self._tell, lambda ref, why: self.ended.append((ref, why)), self.living.__contains__, lambda: self.now_s
        )
        self.splits.begin(FRONT, BESIDE, ORDER, HEIR)

    def _tell(self, ref: WorkerRef, order: protocol.Order, passed: socket.socket | None = None, /) -> None:
        assert passed is not None
        self.handed.append(passed)
        self.told.append((ref, order))

    def took(self) -> list[tuple[WorkerRef, protocol.Order]]:
        told, self.told = self.told, []
        return told

    def part(self, after_s: float = 1.0) -> None:
        self.now_s += after_s
        self.splits.parted(FRONT)
        self.splits.look()


def test_who_is_to_ask_is_told_only_when_the_other_one_answers() -> None:
    made = Supervisor()
    assert made.took() == [(BESIDE, ANSWER)]
    made.splits.answers(FRONT)
    assert made.took() == []
    made.splits.answers(BESIDE)
    assert made.took() == [(FRONT, ORDER)]
    theirs, ours = made.handed
    ours.send(b"asked")
    assert theirs.recv(9) == b"asked"


def test_what_parts_is_joined_again_at_the_next_look_and_only_then() -> None:
    made = Supervisor()
    made.splits.answers(BESIDE)
    made.took()
    made.splits.look()
    assert made.took() == []
    made.part()
    assert made.took() == [(BESIDE, ANSWER)]
    made.splits.look()
    assert made.took() == []


def test_an_arm_that_parts_again_and_again_is_ended() -> None:
    made = Supervisor()
    for _ in range(JOINS_MAX):
        made.part()
    assert made.ended == []
    made.part()
    assert made.ended == [(BESIDE, f"it did not answer its share of the requests {JOINS_MAX + 1} times in a row")]


def test_one_that_parts_now_and_then_is_joined_for_ever() -> None:
    made = Supervisor()
    for _ in range(5 * JOINS_MAX):
        made.part(after_s=JOINED_S + 1)
    assert made.ended == []


@pytest.mark.parametrize("going", [FRONT, BESIDE])
def test_what_is_ending_is_joined_with_nobody(going: WorkerRef) -> None:
    made = Supervisor()
    made.took()
    made.living.discard(going)
    made.part()
    assert made.took() == []


@pytest.mark.parametrize("served", [FRONT, BESIDE])
def test_a_split_that_is_over_is_not_joined_again_and_has_no_heir(served: WorkerRef) -> None:
    made = Supervisor()
    assert made.splits.heir(FRONT) == (BESIDE, HEIR)
    made.took()
    made.splits.over(served)
    made.splits.answers(BESIDE)
    made.part()
    assert made.took() == []
    assert made.splits.heir(FRONT) is None
    assert made.handed[0].recv(9) == b"", "nobody holds the other end"
