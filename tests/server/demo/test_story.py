"""The story's judge: what counts as told, what is still awaited, and what can no longer come right."""

from __future__ import annotations

import re

import pytest

from pinnace_contract.latest import Cause, Outcome, Phase
from pinnace_server.demo.story import AsTold, DeviceView, Ending, Rollback, Seen, Task, Verdict, Waiting, Wrong, judge
from pinnace_server.demo.versions import Fate

ASSIGNED = 100.0


def task(fate: Fate, version: str = "2") -> Task:
    return Task(version=version, previous="1", fate=fate, assigned_at_s=ASSIGNED)


def device(name: str, serving: str | None, phase: Phase = Phase.IDLE) -> DeviceView:
    return DeviceView(id=name, name=name, online=True, serving=serving, phase=phase, cause=Cause.NONE)


def ending(
    name: str, outcome: Outcome, cause: Cause = Cause.NONE, *, version: str = "2", after_s: float = 5.0
) -> Ending:
    return Ending(
        device=name, version=version, outcome=outcome, cause=cause, detail="worst of 8", at_s=ASSIGNED + after_s
    )


def seen(devices: list[DeviceView], endings: list[Ending], *, rolled_back_after_s: float | None = None) -> Seen:
    rollbacks = () if rolled_back_after_s is None else (rollback(rolled_back_after_s),)
    return Seen(devices=tuple(devices), endings=tuple(endings), rollbacks=rollbacks)


def rollback(after_s: float) -> Rollback:
    return Rollback(version="2", reason="0.53 below the 10th percentile, 0.10 expected", at_s=ASSIGNED + after_s)


def test_a_good_version_is_as_told_when_every_device_committed_and_serves_it() -> None:
    verdict = judge(
        task(Fate.COMMITTED),
        seen(
            [device("a", "2"), device("b", "2"), device("c", "2")],
            [
                ending("a", Outcome.COMMITTED, after_s=4),
                ending("b", Outcome.COMMITTED, after_s=9),
                ending("c", Outcome.COMMITTED, after_s=5),
            ],
        ),
    )
    assert verdict == AsTold(seconds=(4, 5, 9), reason="")
    assert (verdict.seconds_median, verdict.seconds_last) == (5, 9)


@pytest.mark.parametrize("cause", [Cause.CRASHED, Cause.MEMORY_EXCEEDED])
def test_a_crash_is_as_told_whatever_the_device_calls_it(cause: Cause) -> None:
    found = seen([device("a", "1")], [ending("a", Outcome.REVERTED, cause)])
    assert judge(task(Fate.REVERTED), found) == AsTold(seconds=(5,), reason=str(cause))


WAITING: dict[str, tuple[Fate, Seen, str]] = {
    "a receipt is missing": (
        Fate.COMMITTED,
        seen([device("a", "2"), device("b", "2")], [ending("a", Outcome.COMMITTED)]),
        "b",
    ),
    "a device still tries": (
        Fate.COMMITTED,
        seen([device("a", "2", Phase.AWAITING_CONTACT)], [ending("a", Outcome.COMMITTED)]),
        "a",
    ),
    "a device does not yet say that it serves the old one": (
        Fate.REVERTED,
        seen([device("a", "2")], [ending("a", Outcome.REVERTED, Cause.CRASHED)]),
        "a",
    ),
    "not every device has the bad version yet": (
        Fate.ROLLED_BACK,
        seen([device("a", "1")], []),
        "a: to commit version 2",
    ),
    "the rule has not fired": (
        Fate.ROLLED_BACK,
        seen([device("a", "2")], [ending("a", Outcome.COMMITTED)]),
        "the server's rule to notice",
    ),
    "the rule has fired and a device has not moved": (
        Fate.ROLLED_BACK,
        seen([device("a", "2")], [ending("a", Outcome.COMMITTED)], rolled_back_after_s=20),
        "a",
    ),
    "a receipt for the old version from before the rollback does not count": (
        Fate.ROLLED_BACK,
        seen(
            [device("a", "1")],
            [ending("a", Outcome.COMMITTED, version="1", after_s=1), ending("a", Outcome.COMMITTED)],
            rolled_back_after_s=20,
        ),
        "a",
    ),
}


@pytest.mark.parametrize(("fate", "found", "on"), WAITING.values(), ids=WAITING)
def test_it_says_what_it_waits_on(fate: Fate, found: Seen, on: str) -> None:
    assert judge(task(fate), found) == Waiting(on=on)


WRONG: dict[str, tuple[Fate, Seen, str]] = {
    "a bad version was committed": (
        Fate.FAILED,
        seen([device("a", "2")], [ending("a", Outcome.COMMITTED)]),
        "expected failed with GOLDEN_MISMATCH, found committed",
    ),
    "it failed for another reason": (
        Fate.FAILED,
        seen([device("a", "1")], [ending("a", Outcome.FAILED, Cause.LOAD_FAILED)]),
        "expected failed with GOLDEN_MISMATCH, found failed with LOAD_FAILED: worst of 8",
    ),
    "a good version was reverted": (
        Fate.COMMITTED,
        seen([device("a", "1")], [ending("a", Outcome.REVERTED, Cause.LATENCY)]),
        "expected committed, found reverted with LATENCY",
    ),
    "a good version was rolled back": (
        Fate.COMMITTED,
        seen([device("a", "2")], [ending("a", Outcome.COMMITTED)], rolled_back_after_s=20),
        "rolled version 2 back",
    ),
    "the silently worse one did not even get through its trial": (
        Fate.ROLLED_BACK,
        seen([device("a", "1")], [ending("a", Outcome.REVERTED, Cause.ERROR_RATE)]),
        "expected committed first, found reverted with ERROR_RATE",
    ),
}


@pytest.mark.parametrize(("fate", "found", "problem"), WRONG.values(), ids=WRONG)
def test_another_turn_than_told_is_wrong_at_once(fate: Fate, found: Seen, problem: str) -> None:
    verdict: Verdict = judge(task(fate), found)
    assert isinstance(verdict, Wrong)
    assert re.search(problem, verdict.problem)


def test_a_rollback_is_as_told_with_the_servers_reason_when_every_device_is_back() -> None:
    found = seen(
        [device("a", "1"), device("b", "1")],
        [
            *(ending(name, Outcome.COMMITTED, after_s=6) for name in "ab"),
            ending("a", Outcome.COMMITTED, version="1", after_s=22),
            ending("b", Outcome.COMMITTED, version="1", after_s=24),
        ],
        rolled_back_after_s=20,
    )
    verdict = judge(task(Fate.ROLLED_BACK), found)
    assert verdict == AsTold(seconds=(22, 24), reason="0.53 below the 10th percentile, 0.10 expected", noticed_s=20)


def test_a_device_that_tried_twice_is_judged_by_its_last_receipt() -> None:
    found = seen(
        [device("a", "2")],
        [ending("a", Outcome.COMMITTED, after_s=9), ending("a", Outcome.FAILED, Cause.NO_MEMORY, after_s=3)],
    )
    assert judge(task(Fate.COMMITTED), found) == AsTold(seconds=(9,), reason="")


def test_a_device_that_the_rollback_finds_in_its_trial_gives_the_version_up() -> None:
    found = seen(
        [device("a", "1"), device("b", "1")],
        [
            ending("a", Outcome.COMMITTED),
            ending("b", Outcome.SUPERSEDED, Cause.NEWER_GENERATION, after_s=21),
            ending("a", Outcome.COMMITTED, version="1", after_s=22),
        ],
        rolled_back_after_s=20,
    )
    assert judge(task(Fate.ROLLED_BACK), found) == AsTold(
        seconds=(21, 22), reason="0.53 below the 10th percentile, 0.10 expected", noticed_s=20
    )
