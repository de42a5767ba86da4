"""A candidate that is shown what the serving worker answers, while it answers nobody itself."""

from __future__ import annotations

from pinnace_agent.core import effects, events
from pinnace_agent.worker import events as worker_events
from pinnace_agent.worker.events import ExitCause
from pinnace_contract.latest import (
    Arm,
    Block,
    Cause,
    ShadowCounts,
    Swap,
)
from tests.agent.serving.world import (
    MODEL,
    NEW,
    OLD,
    World,
)


def shown(world: World, ticket: int = 5) -> None:
    world.serving.act(effects.Shadow(model=MODEL, ticket=ticket, candidate=NEW, share_percent=30))


def in_shadow() -> World:
    """The old one serves, the new one passed its self-test and is shown copies."""
    world = World()
    world.running(OLD)
    world.serving.act(effects.SelfTest(model=MODEL, ticket=4, candidate=NEW, swap=Swap.OVERLAP))
    world.loads(1)
    world.tests(1)
    shown(world)
    world.orders.clear()
    return world


def test_a_tested_candidate_is_shown_what_the_serving_worker_answers() -> None:
    world = World()
    world.running(OLD)
    world.serving.act(effects.SelfTest(model=MODEL, ticket=4, candidate=NEW, swap=Swap.OVERLAP))
    world.loads(1)
    world.tests(1)
    world.serving.take()
    shown(world)
    assert world.serving.take() == [(MODEL, events.Shadowing(ticket=5))]
    assert world.orders == [("start", "new"), ("self_test", "new"), ("shadow", "old to new: 30 %")]
    assert world.serving.serving(MODEL) == world.started[0]


def test_a_new_run_starts_both_and_joins_them_once_both_are_up() -> None:
    world = World()
    world.serving.act(effects.Serve(model=MODEL, servable=OLD))
    shown(world)
    world.loads(1)
    assert world.serving.take() == [(MODEL, events.Shadowing(ticket=5))]
    assert not [order for order in world.orders if order[0] == "shadow"]
    world.loads(0)
    world.serves(0)
    assert world.orders[-2:] == [("serve", "old"), ("shadow", "old to new: 30 %")]


def test_both_are_asked_for_their_counts_and_only_the_serving_ones_count_as_served() -> None:
    world = in_shadow()
    world.serving.take()
    world.serving.collect()
    assert world.orders == [("collect", "old"), ("collect", "new")]
    counts = ShadowCounts(pairs=7, disagreements=2)
    block = Block(model=MODEL, release=NEW.release, variant=NEW.variant, arm=Arm.SHADOW, n=7, shadow=counts)
    assert world.serving.heard(worker_events.Collected(worker=world.started[1], block=block)) == block
    compared = events.Compared(release=NEW.release, variant=NEW.variant, pairs=7, disagreements=2)
    assert world.serving.take() == [(MODEL, compared)]


def test_a_death_in_the_shadow_is_the_candidates_and_nobody_is_told_503() -> None:
    world = in_shadow()
    world.serving.take()
    world.exits(1)
    ((_, exited),) = world.serving.take()
    assert isinstance(exited, events.WorkerExited)
    assert (exited.release, exited.cause) == (NEW.release, Cause.CRASHED)
    assert world.reasons == []
    shown(world, ticket=6)
    world.loads(2)
    assert world.serving.take() == [(MODEL, events.Shadowing(ticket=6))]
    assert world.orders == [("start", "new"), ("shadow", "old to new: 30 %")]


def test_what_serves_is_joined_again_after_its_own_death() -> None:
    world = in_shadow()
    world.exits(0)
    world.serving.take()
    world.serving.act(effects.Serve(model=MODEL, servable=OLD))
    world.loads(2)
    world.serves(2)
    assert world.orders == [("start", "old"), ("serve", "old"), ("shadow", "old to new: 30 %")]


def test_the_end_of_a_shadow_is_the_end_of_its_worker_or_its_turn_to_serve() -> None:
    given_up = in_shadow()
    given_up.serving.act(effects.StopCandidate(model=MODEL))
    assert given_up.orders == [("stop", "new")]
    given_up.serving.collect()
    assert given_up.orders[1:] == [("collect", "old")]
    promoted = in_shadow()
    promoted.serving.take()
    promoted.serving.act(effects.Activate(model=MODEL, ticket=6, candidate=NEW, swap=Swap.OVERLAP))
    promoted.serves(1)
    assert promoted.orders == [("serve", "new"), ("stop", "old")]
    assert promoted.serving.take() == [(MODEL, events.Activated(ticket=6))]
    promoted.exits(0, ExitCause.ORDERED)
    assert promoted.serving.serving(MODEL) == promoted.started[1]


def test_a_candidate_that_cannot_be_started_again_is_told_with_its_cause() -> None:
    world = in_shadow()
    world.exits(1)
    world.serving.take()
    shown(world, ticket=6)
    world.serving.heard(worker_events.LoadFailed(worker=world.started[2], cause=Cause.NO_MEMORY, detail="no room"))
    ((_, exited),) = world.serving.take()
    assert isinstance(exited, events.WorkerExited)
    assert (exited.release, exited.cause) == (NEW.release, Cause.NO_MEMORY)
