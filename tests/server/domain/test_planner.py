"""What a plan may and may not do, over any fleet that can be observed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_contract.ids import DeviceId, Digest, IncarnationId, KeyId, ModelName, ReleaseId, RolloutId, VersionName
from pinnace_contract.latest import Cause, Entry, Intent, ModelState, Outcome, Phase, Running
from pinnace_server.domain import planner, plans
from pinnace_server.domain.plans import Adopt, Assign, Observed, Skip
from pinnace_server.domain.policy import PLAIN_TERMS, ROLLBACK_TERMS, Policy, Target, Wave
from pinnace_server.domain.records import Assignment, Device, DeviceState, Member, MemberState, Slot

NOW = 1000.0
MODEL, ROLLOUT, OTHER = ModelName("digits"), RolloutId("r-1"), RolloutId("r-0")
RELEASES = tuple(ReleaseId(f"{n:064x}") for n in range(1, 4))
VARIANT = Digest("f" * 64)
NAMES = tuple(DeviceId(f"camera-{n}") for n in range(4))


def running(n: int) -> Running:
    return Running(release=RELEASES[n], variant=VARIANT, version=VersionName(str(n)), sequence=n)


def device(name: DeviceId, **changes: object) -> Device:
    made = Device(
        id=name,
        key=KeyId("0" * 64),
        public_key_pem="",
        state=DeviceState.ACTIVE,
        incarnation=IncarnationId("a" * 32),
        enrolled_at_s=0.0,
        online=True,
        seen_at_s=NOW,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def member(name: DeviceId, target: int, **changes: object) -> Member:
    made = Member(rollout=ROLLOUT, device=name, release=RELEASES[target], variants=(VARIANT,), changed_at_s=0.0)
    return replace(made, **changes)  # type: ignore[arg-type]


@st.composite
def observations(draw: st.DrawFn, name: DeviceId, target: int) -> Observed:
    generation = draw(st.integers(0, 5))
    current = draw(st.none() | st.integers(0, 2))
    good = draw(st.lists(st.integers(0, 2), max_size=2, unique=True))
    assignment = None
    if draw(st.booleans()):
        wanted = draw(st.integers(0, 2))
        assignment = Assignment(
            device=name,
            model=MODEL,
            entry=Entry(model=MODEL, generation=generation, release=RELEASES[wanted], variants=(VARIANT,)),
            rollout=draw(st.sampled_from([ROLLOUT, OTHER])),
            actor="",
            assigned_at_s=0.0,
            outcome=draw(st.none() | st.sampled_from([Outcome.COMMITTED, Outcome.FAILED, Outcome.REVERTED])),
        )
    slot = None
    if draw(st.booleans()):
        state = ModelState(
            model=MODEL,
            generation=generation,
            phase=draw(st.sampled_from([Phase.IDLE, Phase.FETCHING, Phase.TRIAL])),
            current=None if current is None else running(current),
            last_good=tuple(running(n) for n in good),
        )
        slot = Slot(device=name, model=MODEL, state=state, incarnation=IncarnationId("a" * 32), seq=1, said_at_s=NOW)
    return Observed(
        device=device(
            name,
            state=draw(st.sampled_from(DeviceState)),
            cause=draw(st.sampled_from([Cause.NONE, Cause.CLONE_SUSPECTED])),
            generation=generation,
            reported_generation=draw(st.integers(0, 7)),
        ),
        member=member(name, target, state=draw(st.sampled_from([MemberState.WAITING, MemberState.ASSIGNED]))),
        assignment=assignment,
        slot=slot,
        busy=draw(st.booleans()),
        attempts=draw(st.integers(0, 3)),
    )


@st.composite
def fleets(draw: st.DrawFn) -> tuple[Policy, dict[DeviceId, Observed]]:
    target = draw(st.integers(0, 2))
    observed = {name: draw(observations(name, target)) for name in NAMES[: draw(st.integers(1, 4))]}
    targets = tuple(
        Target(device=name, release=RELEASES[target], sequence=target, variants=(VARIANT,)) for name in observed
    )
    policy = Policy(
        rollout=ROLLOUT,
        model=MODEL,
        intent=draw(st.sampled_from([Intent.UPGRADE, Intent.ROLLBACK])),
        waves=(Wave(number=0, targets=targets),),
        terms=replace(PLAIN_TERMS, again=draw(st.booleans())),
        supersedes=draw(st.booleans()),
    )
    return policy, observed


@given(fleets())
def test_generation_only_grows(fleet: tuple[Policy, dict[DeviceId, Observed]]) -> None:
    policy, observed = fleet
    made, _ = planner.plan(policy, observed, None, NOW)
    for change in made.changes if made else ():
        if isinstance(change, Assign):
            known = observed[change.device].device
            assert change.entry.generation > max(known.generation, known.reported_generation)


@given(fleets())
def test_applying_a_plan_leaves_nothing_to_plan(fleet: tuple[Policy, dict[DeviceId, Observed]]) -> None:
    policy, observed = fleet
    made, _ = planner.plan(policy, observed, None, NOW)
    after = plans.apply(made, observed) if made else observed
    again, _ = planner.plan(policy, after, made, NOW + 1)
    assert again is made


@given(fleets())
def test_quarantined_or_decommissioned_device_gets_no_assignment(
    fleet: tuple[Policy, dict[DeviceId, Observed]],
) -> None:
    policy, observed = fleet
    made, _ = planner.plan(policy, observed, None, NOW)
    assigned = [change.device for change in made.changes if isinstance(change, Assign)] if made else []
    states = {observed[name].device.state for name in assigned}
    assert states <= {DeviceState.ACTIVE, DeviceState.PENDING}


@given(fleets())
def test_every_plan_passes_its_check(fleet: tuple[Policy, dict[DeviceId, Observed]]) -> None:
    policy, observed = fleet
    made, _ = planner.plan(policy, observed, None, NOW)
    if made is not None:
        assert plans.check(made, observed, None) == ()


@given(fleets())
def test_report_has_each_device_once_and_every_unfinished_one_waits_on_something(
    fleet: tuple[Policy, dict[DeviceId, Observed]],
) -> None:
    policy, observed = fleet
    _, report = planner.plan(policy, observed, None, NOW)
    assert sorted(each.device for each in report.devices) == sorted(observed)
    for each in report.devices:
        if each.state in (MemberState.WAITING, MemberState.ASSIGNED):
            assert each.waiting_on is not None


@given(fleets())
def test_cancelled_policy_plans_nothing(fleet: tuple[Policy, dict[DeviceId, Observed]]) -> None:
    policy, observed = fleet
    made, _ = planner.plan(replace(policy, cancelled=True), observed, None, NOW)
    assert made is None


def _policy(target: int = 1, intent: Intent = Intent.UPGRADE, **changes: object) -> Policy:
    targets = (Target(device=NAMES[0], release=RELEASES[target], sequence=target, variants=(VARIANT,)),)
    made = Policy(rollout=ROLLOUT, model=MODEL, intent=intent, waves=(Wave(number=0, targets=targets),))
    return replace(made, **changes)  # type: ignore[arg-type]


def _assigned(target: int, outcome: Outcome | None, rollout: RolloutId = OTHER) -> Assignment:
    entry = Entry(model=MODEL, generation=3, release=RELEASES[target], variants=(VARIANT,))
    return Assignment(
        device=NAMES[0], model=MODEL, entry=entry, rollout=rollout, actor="", assigned_at_s=0, outcome=outcome
    )


@pytest.mark.parametrize(
    ("policy", "assignment", "busy", "kind"),
    [
        pytest.param(_policy(), None, False, Assign, id="never told anything"),
        pytest.param(_policy(), _assigned(0, Outcome.COMMITTED), False, Assign, id="on another release"),
        pytest.param(_policy(), _assigned(1, None), True, Adopt, id="on its way there already"),
        pytest.param(_policy(), _assigned(1, Outcome.COMMITTED), False, Adopt, id="there already"),
        pytest.param(_policy(), _assigned(1, Outcome.FAILED), False, Assign, id="failed there before, and again"),
        pytest.param(
            _policy(terms=replace(PLAIN_TERMS, again=False)),
            _assigned(1, Outcome.FAILED),
            False,
            Adopt,
            id="failed there before, and not again",
        ),
        pytest.param(_policy(), _assigned(0, None), True, Assign, id="taken over from another rollout"),
        pytest.param(_policy(supersedes=False), _assigned(0, None), True, None, id="waits for another rollout"),
    ],
)
def test_device_is(policy: Policy, assignment: Assignment | None, busy: bool, kind: type | None) -> None:
    observed = {
        NAMES[0]: Observed(
            device=device(NAMES[0], generation=3), member=member(NAMES[0], 1), assignment=assignment, busy=busy
        )
    }
    made, _ = planner.plan(policy, observed, None, NOW)
    assert [type(change) for change in made.changes] == [kind] if made else kind is None


def test_upgrade_to_an_older_release_that_the_device_never_committed_is_left_out() -> None:
    state = ModelState(model=MODEL, generation=3, phase=Phase.IDLE, current=running(2))
    slot = Slot(device=NAMES[0], model=MODEL, state=state, incarnation=IncarnationId("a" * 32), seq=1, said_at_s=NOW)
    observed = {NAMES[0]: Observed(device=device(NAMES[0]), member=member(NAMES[0], 1), slot=slot)}
    made, _ = planner.plan(_policy(), observed, None, NOW)
    assert made is not None
    assert isinstance(made.changes[0], Skip)
    assert made.changes[0].cause is Cause.OLDER_RELEASE


class TestCheck:
    def plan(self) -> tuple[plans.Plan, dict[DeviceId, Observed]]:
        observed = {NAMES[0]: Observed(device=device(NAMES[0]), member=member(NAMES[0], 1))}
        made, _ = planner.plan(_policy(), observed, None, NOW)
        assert made is not None
        return made, observed

    def test_plan_of_another_parent_is_refused(self) -> None:
        made, observed = self.plan()
        assert "newest" in plans.check(made, observed, made)[0]

    def test_plan_that_was_altered_is_refused(self) -> None:
        made, observed = self.plan()
        assert "hash" in plans.check(replace(made, made_at_s=1), observed, None)[0]

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"generation": 9}, "does not grow"),
            ({"reported_generation": 1}, "does not grow"),
            ({"state": DeviceState.QUARANTINED}, "no new assignments"),
            ({"incarnation": IncarnationId("b" * 32)}, "incarnation"),
        ],
    )
    def test_plan_that_was_overtaken_is_refused(self, changes: dict[str, object], said: str) -> None:
        made, observed = self.plan()
        overtaken = {NAMES[0]: replace(observed[NAMES[0]], device=device(NAMES[0], **changes))}
        assert any(said in problem for problem in plans.check(made, overtaken, None))


def test_reissued_rollback_becomes_a_plain_entry() -> None:
    entries = (
        Entry(model=MODEL, generation=3, release=RELEASES[0], intent=Intent.ROLLBACK),
        Entry(model=ModelName("other"), generation=5, intent=Intent.REMOVE),
    )
    again = planner.reissued(entries, 9)
    assert [(entry.generation, entry.intent) for entry in again] == [(9, Intent.UPGRADE), (9, Intent.REMOVE)]


@pytest.mark.parametrize(("told", "intent"), [(True, Intent.ROLLBACK), (False, Intent.UPGRADE)])
def test_rollback_of_a_store_that_holds_nothing_is_a_plain_entry(told: bool, intent: Intent) -> None:
    """It committed nothing that it could go back to, and would refuse."""
    state = ModelState(model=MODEL, generation=0, phase=Phase.IDLE, current=running(1), last_good=(running(0),))
    slot = Slot(device=NAMES[0], model=MODEL, state=state, incarnation=IncarnationId("a" * 32), seq=1, said_at_s=NOW)
    seen = Observed(device=device(NAMES[0]), member=member(NAMES[0], 0), slot=slot if told else None)
    target = Target(device=NAMES[0], release=RELEASES[0], variants=(VARIANT,))
    policy = Policy(
        rollout=ROLLOUT,
        model=MODEL,
        intent=Intent.ROLLBACK,
        waves=(Wave(number=0, targets=(target,)),),
        terms=ROLLBACK_TERMS,
    )
    made, _ = planner.plan(policy, {NAMES[0]: seen}, None, NOW)
    assert made is not None
    (change,) = made.changes
    assert isinstance(change, Assign)
    assert (change.entry.intent, change.entry.trial) == (intent, ROLLBACK_TERMS.trial)
