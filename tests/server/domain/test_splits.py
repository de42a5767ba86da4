"""Who is told to keep last good beside a release, on which terms, and what becomes of those who cannot."""

from __future__ import annotations

from dataclasses import replace

from pinnace_contract.latest import ArmMode, Arms, Cause, Entry, Intent, ModelState, Outcome, Phase, Window
from pinnace_server.domain import planner, plans, progress, splits
from pinnace_server.domain.beside import SELF_TEST_S
from pinnace_server.domain.plans import Assign, Observed, Plan, Skip
from pinnace_server.domain.policy import Policy, SplitTerms, Target, Wave
from pinnace_server.domain.records import Assignment, MemberState, Slot
from tests.server.domain.test_planner import MODEL, NAMES, NOW, RELEASES, ROLLOUT, VARIANT, device, member, running

DEVICE = NAMES[0]
TERMS = SplitTerms(control_percent=20, duration_s=7 * 86_400)
FETCH_S = 86_400


def observed(serves: int | None = 0, assignment: Assignment | None = None, *, beside: int | None = None) -> Observed:
    state = ModelState(
        model=MODEL,
        generation=0,
        phase=Phase.IDLE,
        current=None if serves is None else running(serves),
        control=None if beside is None else running(beside),
    )
    slot = Slot(device=DEVICE, model=MODEL, state=state, incarnation=device(DEVICE).incarnation, seq=1, said_at_s=NOW)
    return Observed(device=device(DEVICE), member=member(DEVICE, 1), slot=slot, assignment=assignment)


def policy(terms: SplitTerms | None = TERMS, window: Window | None = None, to: int = 1) -> Policy:
    target = Target(device=DEVICE, release=RELEASES[to], sequence=to, variants=(VARIANT,), window=window)
    waves = (Wave(number=1, targets=(target,)),)
    return Policy(rollout=ROLLOUT, model=MODEL, intent=Intent.UPGRADE, waves=waves, split=terms)


def planned(seen: Observed, found: Policy) -> tuple[Plan, Assign | Skip]:
    made, _ = planner.plan(found, {DEVICE: seen}, None, NOW)
    assert made is not None
    assert plans.check(made, {DEVICE: seen}, None) == ()
    (change,) = made.changes
    assert isinstance(change, Assign | Skip)
    return made, change


def entry_of(seen: Observed, found: Policy | None = None) -> Entry:
    _, change = planned(seen, found or policy())
    assert isinstance(change, Assign)
    return change.entry


def without_memory(rollout: str = ROLLOUT, cause: Cause = Cause.NO_MEMORY) -> Assignment:
    return Assignment(
        device=DEVICE,
        model=MODEL,
        entry=entry_of(observed()),
        rollout=type(ROLLOUT)(rollout),
        actor="",
        assigned_at_s=NOW,
        outcome=Outcome.FAILED,
        cause=cause,
        detail="needs 300 bytes of memory; 200 are free",
    )


def test_a_device_keeps_what_it_serves_for_its_share_and_as_long_as_the_policy_says() -> None:
    assert entry_of(observed()).arms == Arms(
        mode=ArmMode.SPLIT,
        control=RELEASES[0],
        share_percent=20,
        until_s=int(NOW) + FETCH_S + SELF_TEST_S + TERMS.duration_s,
        duration_s=TERMS.duration_s,
    )


def test_the_end_counts_from_the_opening_of_the_window() -> None:
    opens_s = int(NOW) + 50_000
    arms = entry_of(observed(), policy(window=Window(opens_s=opens_s, closes_s=opens_s + 9_000))).arms
    assert arms is not None
    assert arms.until_s == opens_s + FETCH_S + SELF_TEST_S + TERMS.duration_s


def test_without_terms_nothing_is_kept_beside() -> None:
    assert entry_of(observed(), policy(None)).arms is None


def test_what_goes_back_keeps_nothing_beside() -> None:
    seen = observed(serves=1)
    assert seen.slot is not None
    state = replace(seen.slot.state, last_good=(running(0),))
    entry = entry_of(replace(seen, slot=replace(seen.slot, state=state)), policy(to=0))
    assert (entry.intent, entry.arms) == (Intent.ROLLBACK, None)


def test_a_first_release_goes_without_a_control_arm_and_says_so() -> None:
    made, change = planned(observed(serves=None), policy())
    assert isinstance(change, Assign)
    assert change.entry.arms is None
    assert change.why == "without a control arm: it serves nothing that could keep a share of the requests"
    after = plans.applied(change, made, observed(serves=None))
    assert after.member.detail == change.why


def test_a_device_without_memory_for_two_goes_without_and_is_not_asked_again() -> None:
    _, change = planned(observed(assignment=without_memory()), policy())
    assert isinstance(change, Assign)
    assert (change.entry.arms, change.entry.attempt) == (None, 1)
    assert "no memory for two releases (needs 300 bytes" in change.why


def test_what_another_rollout_found_or_another_cause_says_nothing() -> None:
    for last in (without_memory("r-other"), without_memory(cause=Cause.GOLDEN_MISMATCH)):
        assert entry_of(observed(assignment=last)).arms is not None


def test_who_cannot_is_left_out_where_the_policy_says_so() -> None:
    terms = replace(TERMS, leaves_out=True)
    for seen, cause in (
        (observed(serves=None), Cause.NO_FALLBACK),
        (observed(assignment=without_memory()), Cause.NO_MEMORY),
    ):
        _, change = planned(seen, policy(terms))
        assert isinstance(change, Skip)
        assert (change.cause, change.detail.startswith("left out: it ")) == (cause, True)
    assert entry_of(observed(), policy(terms)).arms is not None


def test_a_device_that_is_done_says_what_its_control_arm_still_answers() -> None:
    told = replace(without_memory(), outcome=Outcome.COMMITTED, cause=Cause.NONE, detail="")
    seen = observed(serves=1, assignment=told, beside=0)
    seen = replace(seen, member=replace(seen.member, state=MemberState.COMMITTED))
    report = progress.report(policy(), 1, seen, None, NOW)
    version = running(0).version
    assert report.detail == f"20 % of its requests are still answered by version {version}, its control arm"
    assert splits.told(observed(serves=1, assignment=told)) == ""
