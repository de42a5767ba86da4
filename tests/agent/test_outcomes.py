"""Outcomes: for which release each one counts, once; and one metric a model."""

from __future__ import annotations

import queue
from typing import Any

import pytest

from pinnace_agent.outcomes import METRIC_HELD_S, TOLD_MAX, Answerer, NotTaken, Outcome, Outcomes
from pinnace_agent.requests import Desk, Told
from pinnace_agent.worker.events import WorkerId, WorkerRef
from pinnace_contract.ids import Digest, ModelName, ReleaseId
from pinnace_contract.latest import OutcomeCounts

DIGITS = ModelName("digits")
OLD, NEW = (
    WorkerRef(id=WorkerId(n), model=DIGITS, release=ReleaseId(c * 64), variant=Digest("c" * 64))
    for n, c in ((1, "a"), (2, "b"))
)


class Device:
    """A device whose worker of the old release has ended: it is known by its answers alone."""

    def __init__(self, queue_max: int = 0) -> None:
        self.now_s, self.answering = 0.0, [NEW]
        self.happened: queue.Queue[Any] = queue.Queue(queue_max)
        self.outcomes = Outcomes(self._who, lambda _model: self.answering, lambda: self.now_s)
        self.desk = Desk(self.happened, lambda _model, _truths: None, self.outcomes)
        self.desk.models = frozenset({DIGITS})

    def _who(self, request: str) -> Answerer | None:
        worker = {"old": OLD, "new": NEW}.get(request.partition("-")[0])
        return None if worker is None else Answerer(worker=worker)

    def told(self) -> dict[ReleaseId, OutcomeCounts | None]:
        told: Told = self.happened.get_nowait()
        return {block.release: block.outcome for block in told.blocks}


def ok(request: str | None = None, metric: str = "accepted", successes: int = 1, trials: int = 1) -> Outcome:
    return Outcome(metric=metric, request=request, trials=trials, successes=successes)


def counts(trials: int, successes: int) -> OutcomeCounts:
    return OutcomeCounts(metric="accepted", trials=trials, successes=successes)


def test_outcome_counts_for_the_release_that_answered_also_after_a_switch() -> None:
    device = Device()
    found = device.desk.outcome(DIGITS, [ok("old-1"), ok("old-2", successes=0), ok("new-1"), ok(successes=7, trials=9)])
    assert (found.counted, found.unknown, found.repeated) == (4, 0, 0)
    assert device.told() == {OLD.release: counts(2, 1), NEW.release: counts(10, 8)}


def test_answer_that_nobody_gave_counts_for_nobody() -> None:
    device = Device()
    assert device.desk.outcome(DIGITS, [ok("another-run-1")]).unknown == 1
    assert device.happened.empty()
    other = WorkerRef(id=WorkerId(3), model=ModelName("other"), release=OLD.release, variant=OLD.variant)
    outcomes = Outcomes(lambda _: Answerer(worker=other), lambda _: (), lambda: 0.0)
    assert outcomes.weigh(DIGITS, [ok("x-1")]).unknown == 1, "an answer of another model"


def test_an_answer_has_one_outcome() -> None:
    device = Device()
    assert device.desk.outcome(DIGITS, [ok("old-1"), ok("old-1")]).repeated == 1
    assert device.desk.outcome(DIGITS, [ok("old-1"), ok("old-2")]).repeated == 1
    assert device.told() == {OLD.release: counts(1, 1)}
    assert device.told() == {OLD.release: counts(1, 1)}


def test_so_many_answers_are_remembered_and_no_more() -> None:
    device = Device()
    for first in range(0, TOLD_MAX + 1000, 1000):
        device.desk.outcome(DIGITS, [ok(f"new-{n:x}") for n in range(first, first + 1000)])
    assert device.desk.outcome(DIGITS, [ok("new-0")]).repeated == 0
    assert device.desk.outcome(DIGITS, [ok(f"new-{TOLD_MAX:x}")]).repeated == 1


def test_second_metric_is_refused_until_nobody_tells_the_first() -> None:
    device = Device()
    device.desk.outcome(DIGITS, [ok()])
    with pytest.raises(NotTaken, match="digits counts 'accepted', found 'returned'") as refused:
        device.desk.outcome(DIGITS, [ok(), ok(metric="returned")])
    assert refused.value.status == 409
    device.now_s += METRIC_HELD_S
    assert device.desk.outcome(DIGITS, [ok(metric="returned")]).counted == 1
    with pytest.raises(NotTaken, match="one metric"):
        device.desk.outcome(DIGITS, [ok()])
    with pytest.raises(NotTaken, match="one metric"):
        Device().desk.outcome(DIGITS, [ok(), ok(metric="returned")])


def test_outcome_of_no_answer_needs_something_that_serves() -> None:
    device = Device()
    device.answering = []
    with pytest.raises(NotTaken, match="nothing serves digits") as refused:
        device.desk.outcome(DIGITS, [ok()])
    assert (refused.value.status, refused.value.retry_after_s) == (503, 5)
    assert device.desk.outcome(DIGITS, [ok("old-1")]).counted == 1


def test_outcome_of_no_answer_is_nobodys_while_two_releases_answer() -> None:
    device = Device()
    device.answering = [OLD, NEW]
    with pytest.raises(NotTaken, match=r"two releases answer for digits now, .* name the answer") as refused:
        device.desk.outcome(DIGITS, [ok()])
    assert (refused.value.status, refused.value.retry_after_s) == (409, None)
    assert device.desk.outcome(DIGITS, [ok("old-1"), ok("new-1")]).counted == 2


def test_model_that_is_not_here_is_refused() -> None:
    with pytest.raises(NotTaken, match="no model 'other'") as refused:
        Device().desk.outcome(ModelName("other"), [ok()])
    assert refused.value.status == 404


def test_busy_agent_forgets_what_it_did_not_take() -> None:
    device = Device(queue_max=1)
    device.desk.outcome(DIGITS, [ok("old-1")])
    with pytest.raises(NotTaken, match="busy") as refused:
        device.desk.outcome(DIGITS, [ok("old-2")])
    assert refused.value.status == 503
    device.told()
    assert device.desk.outcome(DIGITS, [ok("old-2")]).counted == 1
