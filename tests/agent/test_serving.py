"""Which worker is the candidate and which one answers: the lifecycle's wishes against a host that only takes notes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pinnace_agent.core import effects, events
from pinnace_agent.core.slot import Servable
from pinnace_agent.serving import Serving
from pinnace_agent.worker import events as worker_events
from pinnace_agent.worker import protocol
from pinnace_agent.worker.events import ExitCause, WorkerId, WorkerRef
from pinnace_agent.worker.protocol import NO_ANSWER
from pinnace_contract.histogram import Histogram
from pinnace_contract.ids import Digest, ModelName, ReleaseId, VersionName, digest_of
from pinnace_contract.latest import (
    Arm,
    Block,
    Cause,
    ErrorCount,
    GoldenResult,
    Labels,
    LatencyCounts,
    ShadowCounts,
    Swap,
)

MODEL = ModelName("digits")
PASSED = GoldenResult(vectors=8, passed=True, max_abs=0.0)


def servable(name: str) -> Servable:
    return Servable(
        release=ReleaseId(digest_of(name.encode())),
        variant=digest_of(f"{name}-weights".encode()),
        version=VersionName(name),
    )


OLD, NEW = servable("1"), servable("2")


@dataclass
class World:
    """A host that notes orders, and a clock that a test moves."""

    now_s: float = 0.0
    orders: list[tuple[str, str]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    started: list[WorkerRef] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.serving = Serving(self, self._start, lambda: self.now_s)

    def _start(self, model: ModelName, release: ReleaseId, variant: Digest) -> WorkerRef:
        ref = WorkerRef(id=WorkerId(len(self.started) + 1), model=model, release=release, variant=variant)
        self.started.append(ref)
        self.orders.append(("start", _name(ref)))
        return ref

    def open(self, model: ModelName, reason: str = "", retry_after_s: int = 5) -> None:
        self.reasons.append(reason)

    def self_test(self, worker: WorkerRef) -> None:
        self.orders.append(("self_test", _name(worker)))

    def serve(self, worker: WorkerRef, arm: Arm = Arm.SERVING, slow_over_s: float | None = None) -> None:
        self.orders.append(("serve", _name(worker)))

    def shadow(self, control: WorkerRef, candidate: WorkerRef, share_percent: int) -> None:
        self.orders.append(("shadow", f"{_name(control)} to {_name(candidate)}: {share_percent} %"))

    def split(
        self,
        front: WorkerRef,
        beside: WorkerRef,
        *,
        control_percent: int,
        beside_is_control: bool,
        slow_over_s: float | None = None,
    ) -> None:
        control = beside if beside_is_control else front
        asks = f"{_name(front)} asks {_name(beside)}"
        self.orders.append(("split", f"{asks}: {control_percent} % to {_name(control)}"))

    def collect(self, worker: WorkerRef) -> None:
        self.orders.append(("collect", _name(worker)))

    def stop(self, worker: WorkerRef, reason: str = "", retry_after_s: int = 5) -> None:
        self.orders.append(("stop", _name(worker)))

    # what workers do

    def loads(self, n: int) -> None:
        self.serving.heard(
            worker_events.WorkerStarted(
                worker=self.started[n], load_ms=1.0, peak_memory_bytes=5, runtime="onnxruntime 1"
            )
        )

    def tests(self, n: int) -> None:
        self.serving.heard(
            worker_events.SelfTested(
                worker=self.started[n], result=PASSED, latency=LatencyCounts(), peak_memory_bytes=7, detail="", log=""
            )
        )

    def serves(self, n: int) -> None:
        self.serving.heard(worker_events.NowServing(worker=self.started[n], arm=Arm.SERVING, gap_ms=0.0))

    def answers(self, n: int) -> None:
        self.serving.heard(worker_events.NowAnswering(worker=self.started[n], arm=Arm.CANDIDATE))

    def exits(self, n: int, cause: ExitCause = ExitCause.CRASHED) -> None:
        self.serving.heard(
            worker_events.WorkerExited(
                worker=self.started[n], cause=cause, detail="signal 9", log="last words", loaded=True, served=True
            )
        )

    def running(self, aim: Servable) -> None:
        """Bring a release to answer, as at the start of the agent."""
        self.serving.act(effects.Serve(model=MODEL, servable=aim))
        self.loads(len(self.started) - 1)
        self.serves(len(self.started) - 1)
        self.orders.clear()
        self.serving.take()


def _name(ref: WorkerRef) -> str:
    return "old" if ref.release == OLD.release else "new"


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
    assert [_name(ref) for ref in world.started] == ["new", "old"]


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


def test_what_an_ordered_stop_leaves_is_nobodys_crash() -> None:
    world = World()
    world.running(OLD)
    world.serving.act(effects.Unload(model=MODEL, cause=Cause.REMOVED))
    world.exits(0, ExitCause.ORDERED)
    assert world.serving.take() == []
    assert world.serving.serving(MODEL) is None


# --- in the shadow ---------------------------------------------------------------------------------------------------


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


# --- two arms ------------------------------------------------------------------------------------------------------

SPLIT = effects.Split(control=OLD, share_percent=20)
BOTH = ("split", "old asks new: 20 % to old")


def activate(world: World, ticket: int = 5, split: effects.Split | None = SPLIT) -> None:
    world.serving.act(effects.Activate(model=MODEL, ticket=ticket, candidate=NEW, swap=Swap.OVERLAP, split=split))


def counted(world: World, n: int, of: Servable, arm: Arm, errors: int = 0, inferences: int = 10) -> Block:
    latency = Histogram()
    latency.add(0.01)
    return Block(
        model=MODEL,
        release=of.release,
        variant=of.variant,
        arm=arm,
        n=inferences,
        errors=(ErrorCount(name="runtime", n=errors),) if errors else (),
        latency=latency.to_wire(),
    )


def hands_over(world: World, n: int, block: Block) -> Block | None:
    return world.serving.heard(worker_events.Collected(worker=world.started[n], block=block))


UNANSWERED = Block(
    model=MODEL,
    release=NEW.release,
    variant=NEW.variant,
    arm=Arm.CANDIDATE,
    n=1,
    errors=(ErrorCount(name=NO_ANSWER, n=1),),
)


def in_split() -> World:
    """The old one holds the socket as control; the new one is on trial beside it."""
    world = World()
    world.running(OLD)
    world.serving.act(effects.SelfTest(model=MODEL, ticket=4, candidate=NEW, swap=Swap.OVERLAP))
    world.loads(1)
    world.tests(1)
    activate(world)
    world.answers(1)
    world.serving.take()
    world.orders.clear()
    return world


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
    ("it is loaded again", lambda world: (world.exits(0), world.serving.act(effects.Serve(model=MODEL, servable=OLD)))),
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
