"""Who is told to compare a release before serving it, on which terms, and what becomes of those who cannot."""

from __future__ import annotations

from dataclasses import replace

from pinnace_contract.latest import ArmMode, Arms, Cause, Entry, Intent, ModelState, Outcome, Phase, Window
from pinnace_server.domain import planner, plans
from pinnace_server.domain.beside import SELF_TEST_S
from pinnace_server.domain.plans import Assign, Observed, Plan, Skip
from pinnace_server.domain.policy import Policy, ShadowTerms, Target, Wave
from pinnace_server.domain.records import Assignment, MemberState, Slot
from tests.server.domain.test_planner import MODEL, NAMES, NOW, RELEASES, ROLLOUT, VARIANT, device, member, running

DEVICE = NAMES[0]
TERMS = ShadowTerms(duration_s=1_800, share_percent=25, differing_percent_max=10)
FETCH_S = 86_400


def observed(serves: int | None = 0, assignment: Assignment | None = None) -> Observed:
    current = None if serves is None else running(serves)
    state = ModelState(model=MODEL, generation=0, phase=Phase.IDLE, current=current)
    slot = Slot(device=DEVICE, model=MODEL, state=state, incarnation=device(DEVICE).incarnation, seq=1, said_at_s=NOW)
    return Observed(device=device(DEVICE), member=member(DEVICE, 1), slot=slot, assignment=assignment)


def planned(
    seen: Observed,
    *,
    terms: ShadowTerms | None = TERMS,
    window: Window | None = None,
    to: int = 1,
    intent: Intent = Intent.UPGRADE,
) -> tuple[Plan, Assign | Skip]:
    target = Target(device=DEVICE, release=RELEASES[to], sequence=to, variants=(VARIANT,), window=window)
    waves = (Wave(number=1, targets=(target,)),)
    policy = Policy(rollout=ROLLOUT, model=MODEL, intent=intent, waves=waves, shadow=terms)
    made, _ = planner.plan(policy, {DEVICE: seen}, None, NOW)
    assert made is not None
    assert plans.check(made, {DEVICE: seen}, None) == ()
    (change,) = made.changes
    assert isinstance(change, Assign | Skip)
    return made, change


def entry_of(seen: Observed, **more: object) -> Entry:
    _, change = planned(seen, **more)  # type: ignore[arg-type]
    assert isinstance(change, Assign)
    return change.entry


def without_memory(rollout: str = ROLLOUT, cause: Cause = Cause.NO_MEMORY) -> Assignment:
    told = entry_of(observed())
    return Assignment(
        device=DEVICE,
        model=MODEL,
        entry=told,
        rollout=type(ROLLOUT)(rollout),
        actor="",
        assigned_at_s=NOW,
        outcome=Outcome.FAILED,
        cause=cause,
        detail="needs 300 bytes of memory; 200 are free",
    )


def test_a_device_compares_with_what_it_serves_for_as_long_as_the_policy_says() -> None:
    assert entry_of(observed()).arms == Arms(
        mode=ArmMode.SHADOW,
        control=RELEASES[0],
        share_percent=25,
        until_s=int(NOW) + FETCH_S + SELF_TEST_S + 1_800,
        duration_s=1_800,
        differing_percent_max=10,
    )


def test_the_end_counts_from_the_opening_of_the_window() -> None:
    opens_s = int(NOW) + 50_000
    arms = entry_of(observed(), window=Window(opens_s=opens_s, closes_s=opens_s + 9_000)).arms
    assert arms is not None
    assert arms.until_s == opens_s + FETCH_S + SELF_TEST_S + 1_800


def test_without_the_strategy_nothing_is_compared() -> None:
    assert entry_of(observed(), terms=None).arms is None


def test_a_way_back_is_not_compared() -> None:
    seen = observed(serves=2)
    assert seen.slot is not None
    good = replace(seen, slot=replace(seen.slot, state=replace(seen.slot.state, last_good=(running(1),))))
    entry = entry_of(good)
    assert (entry.intent, entry.arms) == (Intent.ROLLBACK, None)


def test_a_first_release_is_tried_without_a_shadow_and_the_device_is_told_why() -> None:
    seen = observed(serves=None)
    made, change = planned(seen)
    assert isinstance(change, Assign)
    assert change.entry.arms is None
    assert change.why == "without a shadow: it serves nothing that the release could be compared with"
    after = plans.apply(made, {DEVICE: seen})[DEVICE]
    assert (after.member.state, after.member.detail) == (MemberState.ASSIGNED, change.why)


def test_a_first_release_is_left_out_where_the_policy_says_so() -> None:
    _, change = planned(observed(serves=None), terms=replace(TERMS, leaves_out=True))
    assert isinstance(change, Skip)
    assert (change.cause, change.detail) == (
        Cause.NO_FALLBACK,
        "left out: it serves nothing that the release could be compared with",
    )


def test_a_device_that_has_no_memory_for_two_is_told_again_without_a_shadow() -> None:
    _, change = planned(observed(assignment=without_memory()))
    assert isinstance(change, Assign)
    assert (change.entry.arms, change.entry.generation) == (None, 1)
    assert change.why == (
        "without a shadow: it has no memory for two releases (needs 300 bytes of memory; 200 are free)"
    )


def test_a_device_that_has_no_memory_for_two_is_left_out_where_the_policy_says_so() -> None:
    _, change = planned(observed(assignment=without_memory()), terms=replace(TERMS, leaves_out=True))
    assert isinstance(change, Skip)
    assert change.cause is Cause.NO_MEMORY


def test_what_it_said_in_another_rollout_or_of_something_else_is_asked_anew() -> None:
    for assignment in (without_memory("r-0"), without_memory(cause=Cause.CRASHED)):
        assert entry_of(observed(assignment=assignment)).arms is not None


def test_a_new_store_has_nothing_to_compare_with() -> None:
    (again,) = planner.reissued((entry_of(observed()),), 7)
    assert (again.generation, again.arms) == (7, None)
