"""Blue and green: a candidate that is ready, the switch, and what stands by for the way back."""

from __future__ import annotations

from collections.abc import Callable

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
    SPLIT,
    World,
    in_split,
    servable,
)


def made_ready(world: World, ticket: int = 5) -> None:
    world.serving.act(effects.MakeReady(model=MODEL, ticket=ticket, candidate=NEW))


def ready() -> World:
    """The old one serves, the new one passed its self-test and waits."""
    world = World()
    world.running(OLD)
    world.serving.act(effects.SelfTest(model=MODEL, ticket=4, candidate=NEW, swap=Swap.OVERLAP))
    world.loads(1)
    world.tests(1)
    made_ready(world)
    world.orders.clear()
    return world


def switched() -> World:
    """The new one serves, the old one stands by."""
    world = ready()
    world.serving.act(effects.Activate(model=MODEL, ticket=6, candidate=NEW, swap=Swap.OVERLAP, keeps=OLD))
    world.serves(1)
    world.serving.take()
    return world


def test_a_switch_stops_nobody() -> None:
    world = ready()
    assert world.serving.take()[-1] == (MODEL, events.MadeReady(ticket=5))
    world.serving.act(effects.Activate(model=MODEL, ticket=6, candidate=NEW, swap=Swap.OVERLAP, keeps=OLD))
    world.serves(1)
    assert world.serving.take() == [(MODEL, events.Activated(ticket=6))]
    assert world.orders == [("serve", "new")]


GONE = [
    ("it died a moment ago", lambda world: world.exits(0)),
    (
        "it is to be loaded again",
        lambda world: (world.exits(0), world.serving.act(effects.Serve(model=MODEL, servable=OLD, after_s=4.0))),
    ),
]


@pytest.mark.parametrize(("sentence", "happens"), GONE, ids=[each[0] for each in GONE])
def test_a_switch_from_what_is_not_there_says_that_nothing_stands_by(
    sentence: str, happens: Callable[[World], object]
) -> None:
    world = ready()
    happens(world)
    world.serving.take()
    world.serving.act(effects.Activate(model=MODEL, ticket=6, candidate=NEW, swap=Swap.OVERLAP, keeps=OLD))
    world.serves(1)
    gone, activated = world.serving.take()
    assert isinstance(gone[1], events.StandbyExited)
    assert (gone[1].release, gone[1].variant, gone[1].cause) == (OLD.release, OLD.variant, Cause.CRASHED)
    assert activated == (MODEL, events.Activated(ticket=6))
    world.serving.act(effects.KeepStandby(model=MODEL, servable=OLD, after_s=10.0))
    world.now_s = 10.0
    world.serving.tick()
    world.loads(len(world.started) - 1)
    assert world.serving.take() == [(MODEL, events.StandbyUp(release=OLD.release, variant=OLD.variant))]


def test_a_switch_from_what_is_still_loading_lets_it_load_and_stand_by() -> None:
    world = ready()
    world.exits(0)
    world.serving.act(effects.Serve(model=MODEL, servable=OLD))
    world.serving.take()
    world.orders.clear()
    world.serving.act(effects.Activate(model=MODEL, ticket=6, candidate=NEW, swap=Swap.OVERLAP, keeps=OLD))
    world.serves(1)
    assert world.serving.take() == [(MODEL, events.Activated(ticket=6))]
    world.loads(len(world.started) - 1)
    assert world.serving.take() == [(MODEL, events.StandbyUp(release=OLD.release, variant=OLD.variant))]
    assert world.orders == [("serve", "new")], "nobody is stopped, and nobody is asked to answer beside the new one"


def test_a_green_that_is_started_again_keeps_what_stands_by() -> None:
    world = switched()
    world.exits(1)
    world.serving.take()
    world.serving.act(effects.Activate(model=MODEL, ticket=7, candidate=NEW, swap=Swap.OVERLAP, keeps=OLD))
    world.loads(2)
    world.serves(2)
    assert world.serving.take() == [(MODEL, events.Activated(ticket=7))]


def test_a_standby_that_is_on_its_way_again_is_not_said_to_be_gone_twice() -> None:
    world = switched()
    world.exits(1)
    world.exits(0)
    world.serving.take()
    world.serving.act(effects.Activate(model=MODEL, ticket=7, candidate=NEW, swap=Swap.OVERLAP, keeps=OLD))
    world.serving.act(effects.KeepStandby(model=MODEL, servable=OLD, after_s=10.0))
    world.loads(2)
    world.serves(2)
    assert world.serving.take() == [(MODEL, events.Activated(ticket=7))]


def test_what_stands_by_is_asked_for_its_last_answers_and_no_more() -> None:
    world = switched()
    world.orders.clear()
    world.serving.heard(worker_events.StoppedServing(worker=world.started[0]))
    assert world.orders == [("collect", "old")]
    world.serving.collect()
    assert world.orders == [("collect", "old"), ("collect", "new")]


BACK = [
    ("in the trial", effects.Revert(model=MODEL, ticket=7, to=OLD, cause=Cause.ERROR_RATE), events.Reverted(ticket=7)),
    (
        "at once, where nothing may be served meanwhile",
        effects.Revert(model=MODEL, ticket=7, to=OLD, cause=Cause.GOLDEN_MISMATCH, swap=Swap.STOP_FIRST),
        events.Reverted(ticket=7),
    ),
    (
        "by the server",
        effects.Activate(model=MODEL, ticket=7, candidate=OLD, swap=Swap.OVERLAP),
        events.Activated(ticket=7),
    ),
    ("because it is all there is", effects.Serve(model=MODEL, servable=OLD), None),
]


@pytest.mark.parametrize(("sentence", "effect", "answer"), BACK, ids=[each[0] for each in BACK])
def test_switching_back_starts_nothing(sentence: str, effect: effects.Effect, answer: events.Event | None) -> None:
    world = switched()
    world.orders.clear()
    world.serving.act(effect)
    world.serves(0)
    assert world.orders == [("serve", "old"), ("stop", "new")]
    assert world.serving.take() == ([] if answer is None else [(MODEL, answer)])
    assert world.serving.serving(MODEL) == world.started[0]


@pytest.mark.parametrize(("sentence", "effect", "answer"), BACK, ids=[each[0] for each in BACK])
def test_a_standby_that_is_loading_is_what_is_gone_back_to(
    sentence: str, effect: effects.Effect, answer: events.Event | None
) -> None:
    world = switched()
    world.exits(0)
    world.serving.act(effects.KeepStandby(model=MODEL, servable=OLD))
    world.serving.take()
    world.orders.clear()
    world.serving.act(effect)
    world.serving.act(effects.EndStandby(model=MODEL))
    at_once = isinstance(effect, effects.Revert) and effect.swap is Swap.STOP_FIRST
    assert world.orders == ([("stop", "new")] if at_once else [])
    world.loads(2)
    world.serves(2)
    assert sorted(world.orders) == [("serve", "old"), ("stop", "new")]
    assert world.serving.take() == ([] if answer is None else [(MODEL, answer)])
    assert world.serving.serving(MODEL) == world.started[2]


def test_a_standby_that_was_to_be_loaded_later_is_not_loaded_beside_what_is_gone_back_to() -> None:
    world = switched()
    world.exits(0)
    world.serving.act(effects.KeepStandby(model=MODEL, servable=OLD, after_s=10.0))
    world.serving.act(effects.Revert(model=MODEL, ticket=7, to=OLD, cause=Cause.ERROR_RATE))
    world.now_s = 10.0
    world.serving.tick()
    assert len(world.started) == 3
    world.loads(2)
    world.serves(2)
    assert world.serving.serving(MODEL) == world.started[2]


def test_what_serves_is_started_again_beside_a_standby_that_is_loading() -> None:
    world = switched()
    world.exits(0)
    world.serving.act(effects.KeepStandby(model=MODEL, servable=OLD))
    world.exits(1)
    world.serving.take()
    world.serving.act(effects.Activate(model=MODEL, ticket=7, candidate=NEW, swap=Swap.OVERLAP))
    world.loads(2)
    world.loads(3)
    world.serves(3)
    up = events.StandbyUp(release=OLD.release, variant=OLD.variant)
    assert world.serving.take() == [(MODEL, up), (MODEL, events.Activated(ticket=7))]
    assert not [order for order in world.orders if order[0] == "stop"]


def test_the_death_of_what_stands_by_is_told_as_such_and_nobody_is_told_503() -> None:
    world = switched()
    world.exits(0)
    died = events.StandbyExited(release=OLD.release, variant=OLD.variant, cause=Cause.CRASHED, detail="signal 9")
    assert (world.serving.take(), world.reasons) == ([(MODEL, died)], [])
    world.serving.act(effects.KeepStandby(model=MODEL, servable=OLD, after_s=10.0))
    world.now_s = 10.0
    world.serving.tick()
    world.loads(2)
    assert world.serving.take() == [(MODEL, events.StandbyUp(release=OLD.release, variant=OLD.variant))]
    assert world.orders[-1] == ("start", "old")
    assert world.serving.serving(MODEL) == world.started[1]


def test_a_standby_that_cannot_be_loaded_is_told() -> None:
    world = switched()
    world.exits(0)
    world.serving.take()
    world.serving.act(effects.KeepStandby(model=MODEL, servable=OLD))
    world.serving.heard(worker_events.LoadFailed(worker=world.started[2], cause=Cause.NO_MEMORY, detail="no room"))
    died = events.StandbyExited(release=OLD.release, variant=OLD.variant, cause=Cause.NO_MEMORY, detail="no room")
    assert world.serving.take() == [(MODEL, died)]


def test_the_end_of_its_stay_is_the_end_of_its_worker() -> None:
    world = switched()
    world.serving.act(effects.EndStandby(model=MODEL))
    assert world.orders[-1] == ("stop", "old")
    world.exits(0, ExitCause.ORDERED)
    world.serving.act(effects.EndStandby(model=MODEL))
    assert world.serving.take() == []


def test_keeping_a_standby_that_is_there_starts_nothing() -> None:
    world = switched()
    before = list(world.orders)
    world.serving.act(effects.KeepStandby(model=MODEL, servable=OLD))
    assert world.orders == before


def test_a_candidate_that_dies_while_it_is_ready_is_told_and_made_ready_again() -> None:
    world = ready()
    world.serving.take()
    world.exits(1)
    ((_, exited),) = world.serving.take()
    assert isinstance(exited, events.WorkerExited)
    assert (exited.release, world.reasons) == (NEW.release, [])
    made_ready(world, ticket=6)
    world.loads(2)
    assert world.serving.take() == [(MODEL, events.MadeReady(ticket=6))]


def test_nothing_is_left_when_the_model_goes() -> None:
    world = switched()
    world.orders.clear()
    world.serving.act(effects.Unload(model=MODEL, cause=Cause.REMOVED))
    assert sorted(world.orders) == [("stop", "new"), ("stop", "old")]


def test_a_control_arm_ends_a_standby_before_it_is_started_itself() -> None:
    world = switched()
    world.orders.clear()
    world.serving.act(effects.Serve(model=MODEL, servable=NEW, split=SPLIT))
    assert world.orders == [("stop", "old"), ("start", "old")]
    world.exits(0, ExitCause.ORDERED)
    world.loads(2)
    assert world.orders[-1] == ("split", "new asks old: 20 % to old")
    assert world.serving.take() == []


def test_after_a_control_arm_a_switch_keeps_what_served_alone() -> None:
    third = servable("3")
    world = in_split()
    world.serving.act(effects.Serve(model=MODEL, servable=NEW))
    world.serves(1)
    world.exits(0, ExitCause.ORDERED)
    world.serving.act(effects.SelfTest(model=MODEL, ticket=7, candidate=third, swap=Swap.OVERLAP))
    world.loads(2)
    world.tests(2)
    world.serving.act(effects.MakeReady(model=MODEL, ticket=8, candidate=third))
    world.orders.clear()
    world.serving.take()
    world.serving.act(effects.Activate(model=MODEL, ticket=9, candidate=third, swap=Swap.OVERLAP, keeps=NEW))
    world.serves(2)
    assert world.serving.take() == [(MODEL, events.Activated(ticket=9))]
    assert [order for order, _ in world.orders] == ["serve"]
    world.serving.act(effects.Revert(model=MODEL, ticket=10, to=NEW, cause=Cause.ERROR_RATE))
    world.serves(1)
    assert world.serving.take() == [(MODEL, events.Reverted(ticket=10))]
