"""Which worker is the candidate and which one answers: the lifecycle's wishes against a host that only takes notes."""

from __future__ import annotations

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
    World,
    name_of,
)


def test_a_candidate_is_tested_beside_what_serves_and_then_takes_over() -> None:
    world = World()
    world.running(OLD)
    world.serving.act(effects.SelfTest(model=MODEL, ticket=4, candidate=NEW, swap=Swap.OVERLAP))
    world.loads(1)
    world.tests(1)
    ((_, tested),) = world.serving.take()
    assert isinstance(tested, events.SelfTested)
    assert (tested.ticket, tested.runtime, tested.peak_memory_bytes) == (4, "onnxruntime 1", 7)
    world.serving.act(effects.Activate(model=MODEL, ticket=5, candidate=NEW, swap=Swap.OVERLAP))
    world.serves(1)
    assert world.serving.take() == [(MODEL, events.Activated(ticket=5))]
    assert world.orders == [("start", "new"), ("self_test", "new"), ("serve", "new"), ("stop", "old")]


def test_stop_first_waits_until_the_old_worker_has_given_back_its_memory() -> None:
    world = World()
    world.running(OLD)
    world.serving.act(effects.SelfTest(model=MODEL, ticket=4, candidate=NEW, swap=Swap.STOP_FIRST))
    assert world.orders == [("stop", "old")]
    world.exits(0, ExitCause.ORDERED)
    assert world.orders == [("stop", "old"), ("start", "new")]
    assert world.serving.take() == []


def test_a_late_start_of_the_old_release_does_not_take_the_socket_back() -> None:
    world = World()
    world.serving.act(effects.Serve(model=MODEL, servable=OLD))
    world.serving.act(effects.SelfTest(model=MODEL, ticket=1, candidate=NEW, swap=Swap.OVERLAP))
    world.loads(1)
    world.tests(1)
    world.serving.act(effects.Activate(model=MODEL, ticket=2, candidate=NEW, swap=Swap.OVERLAP))
    world.loads(0)
    world.serves(1)
    assert ("serve", "old") not in world.orders
    assert world.orders[-1] == ("serve", "new") or ("stop", "old") in world.orders


def test_a_crash_of_what_serves_is_told_with_its_last_words() -> None:
    world = World()
    world.running(OLD)
    world.exits(0)
    ((_, exited),) = world.serving.take()
    assert exited == events.WorkerExited(
        release=OLD.release, variant=OLD.variant, cause=Cause.CRASHED, detail="signal 9", log="last words"
    )
    assert "CRASHED" in world.reasons[-1]


def test_a_restart_with_back_off_starts_when_it_is_due() -> None:
    world = World()
    world.serving.act(effects.Serve(model=MODEL, servable=OLD, after_s=4.0))
    world.now_s = 3.9
    world.serving.tick()
    assert world.started == []
    world.now_s = 4.0
    world.serving.tick()
    assert len(world.started) == 1


def test_a_self_test_does_not_make_a_waiting_restart_forgotten() -> None:
    world = World()
    world.serving.act(effects.Serve(model=MODEL, servable=OLD, after_s=4.0))
    world.serving.act(effects.SelfTest(model=MODEL, ticket=1, candidate=NEW, swap=Swap.OVERLAP))
    world.now_s = 5.0
    world.serving.tick()
    assert [name_of(ref) for ref in world.started] == ["new", "old"]


def test_a_candidate_that_dies_before_it_serves_fails_its_self_test() -> None:
    world = World()
    world.running(OLD)
    world.serving.act(effects.SelfTest(model=MODEL, ticket=3, candidate=NEW, swap=Swap.OVERLAP))
    world.exits(1, ExitCause.MEMORY_EXCEEDED)
    ((_, failed),) = world.serving.take()
    assert isinstance(failed, events.SelfTestFailed)
    assert (failed.ticket, failed.cause) == (3, Cause.MEMORY_EXCEEDED)
    assert world.serving.serving(MODEL) == world.started[0]


def test_reverting_keeps_the_candidate_until_the_old_one_serves() -> None:
    world = World()
    world.running(NEW)
    world.serving.act(effects.Revert(model=MODEL, ticket=9, to=OLD, cause=Cause.LATENCY))
    world.loads(1)
    world.serves(1)
    assert world.orders == [("start", "old"), ("serve", "old"), ("stop", "new")]
    assert world.serving.take() == [(MODEL, events.Reverted(ticket=9))]


def test_reverting_from_wrong_answers_stops_them_at_once() -> None:
    world = World()
    world.running(NEW)
    world.serving.act(effects.Revert(model=MODEL, ticket=9, to=OLD, cause=Cause.GOLDEN_MISMATCH, swap=Swap.STOP_FIRST))
    assert world.orders == [("stop", "new")]
    world.exits(0, ExitCause.ORDERED)
    assert world.orders == [("stop", "new"), ("start", "old")]


def test_a_device_with_room_for_one_model_stops_the_candidate_before_it_goes_back() -> None:
    world = World()
    world.running(NEW)
    world.serving.act(effects.Revert(model=MODEL, ticket=9, to=OLD, cause=Cause.LATENCY, swap=Swap.STOP_FIRST))
    assert world.orders == [("stop", "new")]
    world.exits(0, ExitCause.ORDERED)
    assert world.orders[-1] == ("start", "old")


def test_a_candidate_that_took_over_just_before_it_was_given_up_gives_the_socket_back() -> None:
    world = World()
    world.running(OLD)
    world.serving.act(effects.Activate(model=MODEL, ticket=5, candidate=NEW, swap=Swap.OVERLAP))
    world.loads(1)
    world.serving.act(effects.Revert(model=MODEL, ticket=6, to=OLD, cause=Cause.NEWER_GENERATION))
    world.serves(1)
    assert world.orders[-1] == ("serve", "old")


def test_reverting_to_nothing_says_why() -> None:
    world = World()
    world.running(NEW)
    world.serving.act(effects.Revert(model=MODEL, ticket=9, to=None, cause=Cause.CRASHED, detail="three times"))
    assert world.serving.take() == [(MODEL, events.Reverted(ticket=9))]
    assert "CRASHED three times" in world.reasons[-1]


def test_a_fallback_that_cannot_start_is_told() -> None:
    world = World()
    world.serving.act(effects.Revert(model=MODEL, ticket=9, to=OLD, cause=Cause.CRASHED))
    failed = worker_events.LoadFailed(worker=world.started[0], cause=Cause.LOAD_FAILED, detail="no such operator")
    world.serving.heard(failed)
    assert world.serving.take() == [
        (MODEL, events.RevertFailed(ticket=9, cause=Cause.LOAD_FAILED, detail="no such operator"))
    ]


def test_what_an_ordered_stop_leaves_is_nobodys_crash() -> None:
    world = World()
    world.running(OLD)
    world.serving.act(effects.Unload(model=MODEL, cause=Cause.REMOVED))
    world.exits(0, ExitCause.ORDERED)
    assert world.serving.take() == []
    assert world.serving.serving(MODEL) is None
