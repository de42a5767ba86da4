"""A wave begins only after the one before was promoted, and never more devices move than budgets let."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_contract.ids import DeviceId
from pinnace_server.domain import ramp as ramps
from pinnace_server.domain.gates import installs
from pinnace_server.domain.gates.evidence import Guard
from pinnace_server.domain.gates.verdicts import Decision, Ground, Kind, Reason, Thresholds, Verdict
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.ramp import Agreement, Mover, Part, Ramp, Ruling, RulingKind, SiteOthers, Wave
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.domain.rollout_policy.policy import RolloutPolicy

HOUR_S = 3_600.0


def policy(**tree: object) -> RolloutPolicy:
    return reading.read({"cohort": "site=plant-7", **tree})


def verdict(decision: Decision, *grounds: Ground) -> Verdict:
    return Verdict(
        decision=decision,
        kind=Kind.RELATIVE,
        grounds=grounds,
        readings=(),
        thresholds=Thresholds(roll_back=1.0, proven=1.0, refuting=1.0),
        installs=NOTHING_INSTALLED,
    )


NOTHING_INSTALLED = installs.read((), 0.03)
HOLD = verdict(Decision.HOLD, Ground(reason=Reason.EXPOSURE_TIME, found=10, needed=30))
PROVEN = verdict(Decision.PROMOTE_PROVEN)
WORSE = verdict(Decision.ROLL_BACK, Ground(reason=Reason.REGRESSION, guard=Guard.ERRORS, found=8.0, needed=7.0))


def ramp(rules: RolloutPolicy, *waves: Wave, agreements: tuple[Agreement, ...] = (), paused: str = "") -> Ramp:
    return Ramp(policy=rules, waves=waves, agreements=agreements, paused=paused)


WAITING = Wave(number=1, devices=3)
BEGUN = replace(WAITING, started_at_s=0.0, switched_at_s=60.0)
PROMOTED = replace(BEGUN, promoted_at_s=HOUR_S, promoted_by="proven")
NEXT = Wave(number=2, devices=5)


def test_the_first_wave_begins_by_itself() -> None:
    found = ramps.standing(ramp(policy(), WAITING, NEXT), None, 0.0)
    assert found.ruling is not None
    assert (found.ruling.kind, found.ruling.wave) == (RulingKind.START, 1)


def test_the_next_wave_begins_when_the_one_before_is_promoted() -> None:
    found = ramps.standing(ramp(policy(), PROMOTED, NEXT), None, HOUR_S)
    assert found.ruling is not None
    assert (found.ruling.kind, found.ruling.wave) == (RulingKind.START, 2)


def test_a_wave_waits_while_its_gates_collect() -> None:
    rules = policy(gates={"soak_s": 3600})
    soaking = ramps.standing(ramp(rules, BEGUN, NEXT), HOLD, 120.0)
    assert (soaking.ruling, soaking.waiting_on, soaking.until_s) == (None, WaitingOn.SOAK_TIME, 3_660.0)
    assert soaking.detail == "watched for 10 min of 30 min"
    collecting = ramps.standing(ramp(rules, BEGUN, NEXT), HOLD, 4_000.0)
    assert collecting.waiting_on is WaitingOn.GATE_COLLECTING


def test_a_wave_that_nobody_serves_yet_waits_on_its_devices() -> None:
    begun = replace(BEGUN, switched_at_s=None)
    assert ramps.standing(ramp(policy(), begun, NEXT), None, 120.0).waiting_on is WaitingOn.DEVICES


@pytest.mark.parametrize(
    ("decision", "by"), [(Decision.PROMOTE_PROVEN, "proven"), (Decision.PROMOTE_UNREFUTED, "unrefuted")]
)
def test_a_promoting_verdict_promotes_and_says_how(decision: Decision, by: str) -> None:
    found = ramps.standing(ramp(policy(), BEGUN, NEXT), verdict(decision), 120.0).ruling
    assert found is not None
    assert (found.kind, found.wave, found.by) == (RulingKind.PROMOTE, 1, by)


def test_what_is_worse_is_rolled_back_even_in_a_pause() -> None:
    found = ramps.standing(ramp(policy(), BEGUN, NEXT, paused="lunch"), WORSE, 120.0).ruling
    assert found is not None
    assert found.kind is RulingKind.ROLL_BACK
    assert found.why.startswith("errors got worse")


def test_a_pause_promotes_and_begins_nothing() -> None:
    for waves in ((WAITING, NEXT), (BEGUN, NEXT), (PROMOTED, NEXT)):
        found = ramps.standing(ramp(policy(), *waves, paused="ann says: lunch"), PROVEN, 120.0)
        assert (found.ruling, found.waiting_on, found.detail) == (None, WaitingOn.PAUSED, "ann says: lunch")


def test_a_wave_without_devices_is_promoted_as_empty() -> None:
    found = ramps.standing(ramp(policy(), replace(BEGUN, devices=0), NEXT), None, 120.0).ruling
    assert found is not None
    assert (found.kind, found.by) == (RulingKind.PROMOTE, "empty")


@pytest.mark.parametrize(
    ("on_hold", "kind"), [("ask", RulingKind.ASK), ("pause", RulingKind.PAUSE), ("roll_back", RulingKind.ROLL_BACK)]
)
def test_what_is_not_decided_in_time_is_the_policys(on_hold: str, kind: RulingKind) -> None:
    rules = policy(gates={"soak_s": 3600, "hold_timeout_s": 7200, "on_hold_timeout": on_hold})
    before = ramps.standing(ramp(rules, BEGUN, NEXT), HOLD, 60.0 + 3 * HOUR_S - 1)
    assert before.ruling is None
    found = ramps.standing(ramp(rules, BEGUN, NEXT), HOLD, 60.0 + 3 * HOUR_S).ruling
    assert found is not None
    assert found.kind is kind
    assert "2 hours after its soak time" in found.why


def test_a_person_who_was_asked_is_waited_for() -> None:
    asked = replace(BEGUN, asked_at_s=50 * HOUR_S)
    found = ramps.standing(ramp(policy(), asked, NEXT), HOLD, 60 * HOUR_S)
    assert (found.ruling, found.waiting_on) == (None, WaitingOn.APPROVAL)


class TestApprovals:
    RULES = policy(approvals=[{"before": 2, "by": ["ann", "approver"], "count": 2}])

    def standing(self, *agreements: Agreement) -> ramps.Standing:
        return ramps.standing(ramp(self.RULES, PROMOTED, NEXT, agreements=agreements), None, HOUR_S)

    def test_a_wave_waits_for_so_many_people(self) -> None:
        found = self.standing()
        assert (found.ruling, found.waiting_on) == (None, WaitingOn.APPROVAL)
        assert found.detail == "2 more people of ann, approver must agree before wave 2 begins"

    def test_one_person_counts_once(self) -> None:
        ann = Agreement(wave=2, person="ann", at_s=1.0)
        assert self.standing(ann, ann).waiting_on is WaitingOn.APPROVAL

    def test_who_may_not_does_not_count(self) -> None:
        ann, eve = Agreement(wave=2, person="ann", at_s=1.0), Agreement(wave=2, person="eve", at_s=1.0)
        assert self.standing(ann, eve).waiting_on is WaitingOn.APPROVAL

    def test_a_role_counts(self) -> None:
        ann = Agreement(wave=2, person="ann", at_s=1.0)
        bob = Agreement(wave=2, person="bob", at_s=2.0, roles=("approver",))
        found = self.standing(ann, bob).ruling
        assert found is not None
        assert found.kind is RulingKind.START

    def test_an_agreement_is_for_one_wave(self) -> None:
        ann, bob = (Agreement(wave=1, person=who, at_s=1.0, roles=("approver",)) for who in ("ann", "bob"))
        assert self.standing(ann, bob).waiting_on is WaitingOn.APPROVAL


def test_a_rollout_whose_waves_are_all_promoted_has_nothing_to_decide() -> None:
    found = ramps.standing(ramp(policy(), PROMOTED, replace(PROMOTED, number=2)), None, HOUR_S)
    assert (found.ruling, found.waiting_on) == (None, None)


WAVES = st.builds(
    Wave,
    number=st.just(0),
    devices=st.integers(0, 3),
    started_at_s=st.none() | st.just(0.0),
    switched_at_s=st.none() | st.just(60.0),
    promoted_at_s=st.none() | st.just(HOUR_S),
    asked_at_s=st.none() | st.just(HOUR_S),
)


@given(
    st.lists(WAVES, min_size=1, max_size=4),
    st.sampled_from([None, HOLD, PROVEN, WORSE]),
    st.sampled_from(["", "lunch"]),
    st.lists(st.sampled_from(["ann", "bob"]), max_size=2),
    st.floats(0.0, 1e6),
)
def test_whatever_stands_written_what_is_ruled_may_be_carried_out(
    drawn: list[Wave], said: Verdict | None, paused: str, people: list[str], now_s: float
) -> None:
    waves = tuple(replace(wave, number=n) for n, wave in enumerate(drawn, 1))
    rules = policy(approvals=[{"before": 2, "count": 2}])
    agreements = tuple(Agreement(wave=2, person=who, at_s=1.0) for who in people)
    found = ramp(rules, *waves, agreements=agreements, paused=paused)
    ruling = ramps.standing(found, said, now_s).ruling
    if ruling is not None:
        assert ramps.check(ruling, found) == ()


@pytest.mark.parametrize(
    ("ruling", "waves", "problem"),
    [
        (Ruling(kind=RulingKind.START, wave=2, why=""), (BEGUN, NEXT), "wave 1, which comes before, is not promoted"),
        (Ruling(kind=RulingKind.START, wave=1, why=""), (BEGUN, NEXT), "wave 1 has begun already"),
        (Ruling(kind=RulingKind.PROMOTE, wave=1, why="", by="proven"), (WAITING, NEXT), "wave 1 has not begun"),
        (Ruling(kind=RulingKind.PROMOTE, wave=1, why=""), (BEGUN, NEXT), "it does not say what promoted the wave"),
        (Ruling(kind=RulingKind.PROMOTE, wave=1, why="", by="x"), (PROMOTED, NEXT), "wave 1 is promoted already"),
        (
            Ruling(kind=RulingKind.PAUSE, wave=1, why="", on_time=True),
            (replace(BEGUN, asked_at_s=HOUR_S), NEXT),
            "the time of wave 1 was over before",
        ),
        (Ruling(kind=RulingKind.START, wave=9, why=""), (PROMOTED, NEXT), "there is no wave 9"),
    ],
)
def test_a_ruling_that_does_not_follow_is_never_carried_out(
    ruling: Ruling, waves: tuple[Wave, ...], problem: str
) -> None:
    assert problem in ramps.check(ruling, ramp(policy(), *waves))


# --- which devices ---------------------------------------------------------------------------------------------------


def mover(name: str, *, wave: int = 1, part: Part = Part.WAITING, healthy: bool = True, site: str = "a") -> Mover:
    return Mover(device=DeviceId(name), wave=wave, part=part, healthy=healthy, site=site)


@pytest.mark.parametrize("kind", [RulingKind.ASK, RulingKind.PAUSE, RulingKind.ROLL_BACK])
def test_a_pause_keeps_what_follows_from_time_alone(kind: RulingKind) -> None:
    """A person may pause between the look and the writing."""
    paused = ramp(policy(), BEGUN, NEXT, paused="ann: lunch")
    assert ramps.check(Ruling(kind=kind, wave=1, why="", on_time=True), paused) == ("the rollout is paused",)


def test_devices_of_later_waves_wait_and_say_for_what() -> None:
    rules = policy(budgets={"healthy_per_site_min": None})
    found = ramps.moving(ramp(rules, BEGUN, NEXT), [mover("x"), mover("y", wave=2)])
    assert found.now == ("x",)
    held = found.held[DeviceId("y")]
    assert (held.waiting_on, held.detail) == (
        WaitingOn.EARLIER_WAVE,
        "it is in wave 2, and wave 1 is not promoted yet",
    )


def test_no_more_are_under_way_than_the_budget_lets() -> None:
    rules = policy(budgets={"devices_in_flight_max": 2, "healthy_per_site_min": None})
    found = ramps.moving(ramp(rules, BEGUN), [mover("x", part=Part.IN_FLIGHT), mover("y"), mover("z")])
    assert found.now == ("y",)
    assert found.held[DeviceId("z")].waiting_on is WaitingOn.BUDGET


def test_a_site_keeps_its_least_of_healthy_devices() -> None:
    rules = policy(budgets={"healthy_per_site_min": 2})
    movers = [mover("x"), mover("y"), mover("z"), mover("w", site="b"), mover("v", healthy=False)]
    found = ramps.moving(ramp(rules, BEGUN), movers)
    assert found.now == ("x", "v"), "what is ill is no loss"
    assert found.held[DeviceId("w")].waiting_on is WaitingOn.BUDGET, "two were asked for, and the site has one"
    assert (
        found.held[DeviceId("y")].detail
        == "2 of site a are healthy, and 2 must stay so; none of those that wait go first"
    )


@pytest.mark.parametrize(
    ("least", "others", "at_once"),
    [(3, SiteOthers(8, 8), 2), (9, SiteOthers(8, 8), 1), (9, SiteOthers(8, 7), 0), ("50%", SiteOthers(2, 0), 0)],
)
def test_the_rest_of_a_site_counts_for_what_stays_healthy(least: int | str, others: SiteOthers, at_once: int) -> None:
    """Two cameras of ten: eight others do the work meanwhile, if they can."""
    rules = policy(budgets={"healthy_per_site_min": least})
    found = ramps.moving(ramp(rules, BEGUN), [mover("x"), mover("y")], {"a": others})
    assert len(found.now) == at_once


@pytest.mark.parametrize(("devices", "at_once"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_a_share_of_a_site_is_rounded_down(devices: int, at_once: int) -> None:
    movers = [mover(f"d{n}") for n in range(devices)]
    found = ramps.moving(ramp(policy(budgets={"healthy_per_site_min": "50%"}), BEGUN), movers)
    assert len(found.now) == at_once


HELD = (Part.WAITING, Part.READY)


@given(
    st.lists(st.tuples(st.sampled_from(Part), st.booleans(), st.sampled_from("ab"), st.integers(1, 3)), max_size=30),
    st.integers(1, 5),
    st.integers(1, 4),
)
def test_budgets_are_never_exceeded(drawn: list[tuple[Part, bool, str, int]], most: int, least: int) -> None:
    rules = policy(budgets={"devices_in_flight_max": most, "healthy_per_site_min": least})
    movers = [
        mover(f"d{n}", part=part, healthy=healthy, site=site, wave=wave)
        for n, (part, healthy, site, wave) in enumerate(drawn)
    ]
    found = ramps.moving(ramp(rules, BEGUN, NEXT), movers)
    going = {each.device: each for each in movers if each.device in found.now}
    assert all(each.wave == 1 and each.part in HELD for each in going.values())
    waiting = {each.device for each in movers if each.part in HELD}
    assert set(found.held) | set(found.now) == waiting
    assert not set(found.held) & set(found.now)
    already = sum(each.part is Part.IN_FLIGHT for each in movers)
    assert already + len(going) <= max(most, already)
    for site in "ab":
        here = [each for each in movers if each.site == site]
        left = sum(each.healthy and each.part is not Part.IN_FLIGHT and each.device not in going for each in here)
        before = sum(each.healthy and each.part is not Part.IN_FLIGHT for each in here)
        assert left >= min(least, before)
