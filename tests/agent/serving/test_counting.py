"""What workers count: whose it is, and what one of them may say of the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pinnace_agent.core import effects, events
from pinnace_agent.worker import events as worker_events
from pinnace_agent.worker import protocol
from pinnace_agent.worker.events import ExitCause
from pinnace_agent.worker.protocol import NO_ANSWER
from pinnace_contract.histogram import Histogram
from pinnace_contract.ids import ModelName
from pinnace_contract.latest import (
    Arm,
    Block,
    ErrorCount,
    Labels,
    LatencyCounts,
    ShadowCounts,
    Swap,
)
from tests.agent.serving.world import (
    MODEL,
    NEW,
    OLD,
    World,
    activate,
    counted,
    in_split,
    servable,
)


def test_counts_leave_out_what_was_the_callers_fault() -> None:
    world = World()
    world.running(NEW)
    latency = Histogram()
    latency.add(0.004)
    block = Block(
        model=MODEL,
        release=NEW.release,
        variant=NEW.variant,
        n=10,
        errors=(ErrorCount(name="runtime", n=2), ErrorCount(name="bad_request", n=3)),
        latency=latency.to_wire(),
    )
    counted = world.serving.heard(worker_events.Collected(worker=world.started[0], block=block))
    assert counted == block
    ((_, served),) = world.serving.take()
    assert isinstance(served, events.Served)
    assert (served.inferences, served.errors) == (7, 2)
    assert served.latency is not None
    assert served.latency.samples == 1


def test_each_arm_is_counted_for_itself() -> None:
    world = in_split()
    world.serving.collect()
    assert world.orders == [("collect", "old"), ("collect", "new")]
    for n, of, arm, errors in ((0, OLD, Arm.CONTROL, 9), (1, NEW, Arm.CANDIDATE, 1)):
        block = counted(world, n, of, arm, errors)
        assert world.serving.heard(worker_events.Collected(worker=world.started[n], block=block)) == block
    control, candidate = (event for _, event in world.serving.take() if isinstance(event, events.Served))
    assert (control.release, control.errors, control.latency) == (OLD.release, 9, None)
    assert (candidate.release, candidate.errors) == (NEW.release, 1)
    assert candidate.latency is not None
    assert candidate.latency.samples == 1


UNANSWERED = Block(
    model=MODEL,
    release=NEW.release,
    variant=NEW.variant,
    arm=Arm.CANDIDATE,
    n=1,
    errors=(ErrorCount(name=NO_ANSWER, n=1),),
)


def hands_over(world: World, n: int, block: Block) -> Block | None:
    return world.serving.heard(worker_events.Collected(worker=world.started[n], block=block))


def test_what_the_candidate_never_answered_is_counted_for_it_although_the_control_says_so() -> None:
    world = in_split()
    world.exits(1)
    world.serving.take()
    assert hands_over(world, 0, UNANSWERED) == UNANSWERED
    ((_, served),) = world.serving.take()
    assert isinstance(served, events.Served)
    assert (served.release, served.inferences, served.errors, served.latency) == (NEW.release, 1, 1, None)


def test_what_was_not_answered_is_believed_as_it_comes_from_the_worker() -> None:
    (said,) = protocol.Frames().feed(protocol.frame(protocol.Counted(block=UNANSWERED)))
    assert isinstance(said, protocol.Counted)
    assert hands_over(in_split(), 0, said.block) == UNANSWERED


INVENTED = [
    ("many failures", {"n": 1_000, "errors": (ErrorCount(name=NO_ANSWER, n=1_000),)}),
    ("failures of another kind", {"errors": (ErrorCount(name="runtime", n=1),)}),
    ("answers", {"errors": ()}),
    ("answers beside failures", {"n": 3}),
    ("nothing at all", {"n": 0, "errors": ()}),
    ("latencies", {"latency": LatencyCounts(zero=1)}),
    ("labels", {"labels": Labels(n=9, errors=9)}),
    ("the other arm", {"arm": Arm.CONTROL}),
    ("a shadow", {"arm": Arm.SHADOW, "shadow": ShadowCounts(pairs=9, disagreements=9)}),
    ("another model", {"model": ModelName("letters")}),
]


@pytest.mark.parametrize(("sentence", "more"), INVENTED, ids=[each[0] for each in INVENTED])
def test_a_worker_invents_nothing_for_its_rival(sentence: str, more: dict[str, Any]) -> None:
    world = in_split()
    assert hands_over(world, 0, replace(UNANSWERED, **more)) is None
    assert world.serving.take() == []


def test_each_time_that_the_other_says_that_it_answers_one_answer_may_be_missing() -> None:
    world = in_split()
    assert hands_over(world, 0, UNANSWERED) == UNANSWERED
    assert hands_over(world, 0, UNANSWERED) is None
    world.answers(1)  # the host joined the two again
    assert hands_over(world, 0, UNANSWERED) == UNANSWERED
    assert hands_over(world, 0, UNANSWERED) is None
    world.exits(1)
    activate(world, ticket=6)
    world.loads(2)
    assert hands_over(world, 0, UNANSWERED) is None
    world.answers(2)
    assert hands_over(world, 0, UNANSWERED) == UNANSWERED


def test_the_one_that_is_asked_says_nothing_for_the_one_that_asks() -> None:
    world = in_split()
    assert hands_over(world, 1, replace(UNANSWERED, release=OLD.release, variant=OLD.variant, arm=Arm.CONTROL)) is None


def test_what_was_not_answered_may_be_told_when_the_split_is_over_and_then_no_more() -> None:
    world = in_split()
    world.serving.act(effects.Serve(model=MODEL, servable=NEW))
    world.serves(1)
    assert hands_over(world, 0, UNANSWERED) == UNANSWERED
    assert hands_over(world, 0, UNANSWERED) is None
    world.exits(0, ExitCause.ORDERED)
    world.serving.act(effects.SelfTest(model=MODEL, ticket=7, candidate=OLD, swap=Swap.OVERLAP))
    assert hands_over(world, 2, UNANSWERED) is None


def test_nobody_counts_under_the_name_of_another_model() -> None:
    world = World()
    world.running(OLD)
    block = replace(counted(world, 0, OLD, Arm.SERVING), model=ModelName("letters"))
    assert hands_over(world, 0, block) is None


def test_a_worker_that_counts_for_a_stranger_is_not_believed() -> None:
    world = in_split()
    strange = counted(world, 0, servable("3"), Arm.CONTROL)
    assert world.serving.heard(worker_events.Collected(worker=world.started[0], block=strange)) is None
    assert world.serving.take() == []
