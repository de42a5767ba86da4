"""Two workers that both answer: they come up in any order, either may die, and one of them stays."""

from __future__ import annotations

import pytest

from pinnace_agent.core import effects, events
from pinnace_agent.worker import events as worker_events
from pinnace_agent.worker.events import ExitCause
from pinnace_contract.latest import (
    Cause,
    Swap,
)
from tests.agent.serving.world import (
    MODEL,
    NEW,
    OLD,
    PASSED,
    SPLIT,
    World,
    activate,
    in_split,
)

BOTH = ("split", "old asks new: 20 % to old")


def test_a_tested_candidate_answers_beside_the_control_and_nothing_is_stopped() -> None:
    world = World()
    world.running(OLD)
    world.serving.act(effects.SelfTest(model=MODEL, ticket=4, candidate=NEW, swap=Swap.OVERLAP))
    world.loads(1)
    world.tests(1)
    world.serving.take()
    activate(world)
    assert world.orders == [("start", "new"), ("self_test", "new"), BOTH]
    assert world.serving.take() == []
    world.answers(1)
    assert world.serving.take() == [(MODEL, events.Activated(ticket=5))]
    assert world.serving.variants() == {MODEL: NEW.variant}


def test_a_new_run_starts_both_arms_whichever_comes_up_first() -> None:
    for first, orders in (
        (0, [("serve", "new"), ("split", "new asks old: 20 % to old")]),
        (1, [("serve", "old"), BOTH]),
    ):
        world = World()
        world.serving.act(effects.Serve(model=MODEL, servable=NEW, split=SPLIT))
        assert world.orders == [("start", "new"), ("start", "old")]
        world.orders.clear()
        world.loads(first)
        world.serves(first)
        world.loads(1 - first)
        assert world.orders == orders


def test_two_arms_that_come_up_at_once_are_both_kept() -> None:
    world = World()
    activate(world)
    world.loads(0)
    world.loads(1)
    world.serves(0)
    world.serves(1)
    assert ("stop", "new") not in world.orders
    assert world.orders[-1] == BOTH
    assert world.serving.take() == [(MODEL, events.Activated(ticket=5))]


def test_a_candidate_that_dies_is_told_and_its_control_goes_on() -> None:
    world = in_split()
    world.exits(1)
    ((_, exited),) = world.serving.take()
    assert isinstance(exited, events.WorkerExited)
    assert (exited.release, world.reasons) == (NEW.release, [])
    assert world.serving.variants() == {MODEL: OLD.variant}
    activate(world, ticket=6)
    world.loads(2)
    assert world.orders == [("start", "new"), BOTH]
    world.answers(2)
    assert world.serving.take() == [(MODEL, events.Activated(ticket=6))]


def test_a_control_that_dies_leaves_the_socket_to_the_candidate_and_comes_back_beside_it() -> None:
    world = in_split()
    world.exits(0)
    ((_, exited),) = world.serving.take()
    assert isinstance(exited, events.WorkerExited)
    assert (exited.release, world.reasons, world.orders) == (OLD.release, [], [("serve", "new")])
    world.serves(1)
    world.orders.clear()
    activate(world)
    assert world.serving.take() == [(MODEL, events.Activated(ticket=5))]
    world.loads(2)
    assert world.orders == [("start", "old"), ("split", "new asks old: 20 % to old")]


def test_going_back_takes_no_load_whichever_holds_the_socket() -> None:
    back = effects.Revert(model=MODEL, ticket=9, to=OLD, cause=Cause.ERROR_RATE)
    world = in_split()
    world.serving.act(back)
    assert world.orders == [("serve", "old"), ("stop", "new")]
    assert world.serving.take() == [(MODEL, events.Reverted(ticket=9))]
    world = in_split()
    world.exits(0)
    world.serves(1)
    activate(world)
    world.loads(2)
    world.orders.clear()
    world.serving.take()
    world.serving.act(back)
    assert world.orders == [("serve", "old")]
    world.serves(2)
    assert world.orders == [("serve", "old"), ("stop", "new")]
    assert world.serving.take() == [(MODEL, events.Reverted(ticket=9))]


def test_the_end_of_the_control_arm_gives_the_socket_to_what_is_committed() -> None:
    world = in_split()
    world.serving.act(effects.Serve(model=MODEL, servable=NEW))
    assert world.orders == [("serve", "new")]
    world.serves(1)
    assert world.orders == [("serve", "new"), ("stop", "old")]
    world.exits(0, ExitCause.ORDERED)
    assert world.serving.variants() == {MODEL: NEW.variant}
    assert world.serving.take() == []


ONE_LEFT = [
    ("where it was committed", effects.Serve(model=MODEL, servable=OLD), None),
    (
        "where it was on trial",
        effects.Revert(model=MODEL, ticket=9, to=OLD, cause=Cause.WITHDRAWN, swap=Swap.STOP_FIRST),
        events.Reverted(ticket=9),
    ),
]


def new_holds_the_socket() -> World:
    """The control died, so the new one holds the socket; another control is loading."""
    world = in_split()
    world.exits(0)
    world.serves(1)
    activate(world)
    world.serving.take()
    world.orders.clear()
    return world


@pytest.mark.parametrize(("sentence", "effect", "answer"), ONE_LEFT, ids=[each[0] for each in ONE_LEFT])
def test_a_release_that_is_stopped_does_not_answer_until_its_control_has_the_socket(
    sentence: str, effect: effects.Effect, answer: events.Event | None
) -> None:
    world = new_holds_the_socket()
    world.loads(2)
    world.orders.clear()
    world.serving.act(effect)
    assert world.orders == [("stop", "new"), ("serve", "old")]
    world.serves(2)
    assert world.serving.take() == ([] if answer is None else [(MODEL, answer)])
    assert world.serving.serving(MODEL) == world.started[2]


@pytest.mark.parametrize(("sentence", "effect", "answer"), ONE_LEFT, ids=[each[0] for each in ONE_LEFT])
def test_a_control_that_is_loading_when_the_other_release_is_stopped_is_what_serves(
    sentence: str, effect: effects.Effect, answer: events.Event | None
) -> None:
    world = new_holds_the_socket()
    world.serving.act(effect)
    assert world.orders == [("stop", "new")]
    world.loads(2)
    world.serves(2)
    assert world.orders == [("stop", "new"), ("serve", "old")]
    assert world.serving.take() == ([] if answer is None else [(MODEL, answer)])


@pytest.mark.parametrize(("sentence", "effect", "answer"), ONE_LEFT, ids=[each[0] for each in ONE_LEFT])
def test_a_control_that_holds_the_socket_when_the_other_release_is_stopped_serves_on(
    sentence: str, effect: effects.Effect, answer: events.Event | None
) -> None:
    world = in_split()
    world.serving.act(effect)
    assert sorted(world.orders) == [("serve", "old"), ("stop", "new")]
    assert world.serving.take() == ([] if answer is None else [(MODEL, answer)])


def test_the_end_of_the_control_arm_on_trial_answers_the_trial() -> None:
    world = in_split()
    activate(world, split=None)
    world.serves(1)
    assert world.serving.take() == [(MODEL, events.Activated(ticket=5))]
    assert world.orders == [("serve", "new"), ("stop", "old")]


def test_a_control_that_cannot_be_loaded_is_told() -> None:
    world = in_split()
    world.exits(0)
    world.serves(1)
    world.serving.take()
    activate(world)
    world.serving.take()
    world.serving.heard(worker_events.LoadFailed(worker=world.started[2], cause=Cause.DIGEST_MISMATCH, detail="torn"))
    ((_, exited),) = world.serving.take()
    assert isinstance(exited, events.WorkerExited)
    assert (exited.release, exited.cause) == (OLD.release, Cause.DIGEST_MISMATCH)


def test_golden_vectors_are_replayed_by_the_candidate_wherever_it_stands() -> None:
    world = in_split()
    world.serving.act(effects.Replay(model=MODEL, ticket=8, candidate=NEW))
    assert world.orders == [("self_test", "new")]
    world.tests(1)
    ((_, replayed),) = world.serving.take()
    assert isinstance(replayed, events.Replayed)


def test_golden_vectors_that_are_under_way_when_the_control_in_front_dies_count_all_the_same() -> None:
    world = in_split()
    world.serving.act(effects.Replay(model=MODEL, ticket=8, candidate=NEW))
    world.exits(0)
    world.serves(1)
    world.serving.take()
    world.tests(1)
    assert world.serving.take() == [(MODEL, events.Replayed(ticket=8, vectors=8, errors=0, golden=PASSED))]


def test_only_the_candidates_own_golden_vectors_are_its_evidence() -> None:
    world = in_split()
    world.serving.act(effects.Replay(model=MODEL, ticket=8, candidate=NEW))
    world.tests(0)
    assert world.serving.take() == []
    world.exits(1)
    world.serving.take()
    activate(world, ticket=9)
    world.loads(2)
    world.answers(2)
    world.serving.take()
    world.tests(2)
    assert world.serving.take() == []


def test_without_a_model_both_arms_stop() -> None:
    world = in_split()
    world.serving.act(effects.Unload(model=MODEL, cause=Cause.WITHDRAWN))
    assert sorted(world.orders) == [("stop", "new"), ("stop", "old")]
    assert world.serving.variants() == {}
