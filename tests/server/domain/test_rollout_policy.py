"""A policy from what people write: what is filled in, what is refused and with which words, and the way back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import (
    ContactMode,
    ContactPolicy,
    Deadlines,
    OnNoContact,
    Swap,
    TrialMode,
    TrialPolicy,
)
from pinnace_server.domain import selector
from pinnace_server.domain.policy import PLAIN_TERMS, Terms
from pinnace_server.domain.rollout_policy import policy as parts
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.domain.rollout_policy.policy import PromoteOn, RolloutPolicy
from pinnace_server.domain.rollout_policy.sizes import Count, Percent, Rest, percent, read_share, written
from pinnace_server.domain.windows import LocalMinute, Weekday, WeeklyWindow, ZoneName
from pinnace_server.errors import Code, Refused

IN_FULL = """
cohort:
  selector: site=plant-7, hw.class in (pi4, jetson), tags has line-2
  membership: dynamic
strategy: {kind: ab, control_percent: 20, duration_s: 86400}
waves: [1, 5%, 12.5%, rest]
holdback: 10%
gates:
  guards:
    errors: {points: 0.2}
    slow: null
    outcome: {metric: part-accepted, points: 1}
  soak_s: 3600
  promote_on: proven
  on_hold_timeout: ask
windows:
  zone: Europe/Berlin
  weekly:
    - {days: [mon, tue, wed, thu], opens: 22:00, closes: 04:00}
    - {days: [sat, sun], opens: 00:00, closes: 24:00}
budgets: {devices_in_flight_max: 50, healthy_per_site_min: 3, bytes_per_device_max: 200000000}
silence_s: 7200
approvals:
  - {before: 2}
  - {before: last, by: [ops, quality], count: 2}
  - {before: holdback}
on_rollback: stay
priority: 80
supersedes: true
terms:
  trial: {inferences: 500}
  swap: overlap
"""


def test_policy_in_full_is_read() -> None:
    found = reading.read(yaml.safe_load(IN_FULL))
    assert found == RolloutPolicy(
        cohort=parts.Cohort(
            selector=selector.parse("site=plant-7, hw.class in (pi4, jetson), tags has line-2"),
            membership=parts.Membership.DYNAMIC,
        ),
        strategy=parts.Ab(control_percent=20, duration_s=86_400),
        waves=(Count(devices=1), percent(5), Percent(hundredths=1_250), Rest()),
        holdback=percent(10),
        gates=parts.Gates(
            guards=parts.Guards(
                errors=parts.Margin(points=0.2, ratio=1.25),
                slow=None,
                outcome=parts.Outcome(metric="part-accepted", points=1),
            ),
            soak_s=3_600,
            promote_on=PromoteOn.PROVEN,
            on_hold_timeout=parts.OnHold.ASK,
        ),
        windows=parts.Windows(
            zone=ZoneName("Europe/Berlin"),
            weekly=(
                WeeklyWindow(
                    days=(Weekday.MONDAY, Weekday.TUESDAY, Weekday.WEDNESDAY, Weekday.THURSDAY),
                    opens=LocalMinute(22 * 60),
                    closes=LocalMinute(4 * 60),
                ),
                WeeklyWindow(
                    days=(Weekday.SATURDAY, Weekday.SUNDAY), opens=LocalMinute(0), closes=LocalMinute(24 * 60)
                ),
            ),
        ),
        budgets=parts.Budgets(
            devices_in_flight_max=50, healthy_per_site_min=Count(devices=3), bytes_per_device_max=200_000_000
        ),
        silence_s=7_200,
        approvals=(
            parts.Approval(before=parts.BeforeWave(number=2)),
            parts.Approval(before=parts.BeforeLast(), by=("ops", "quality"), count=2),
            parts.Approval(before=parts.BeforeHoldback()),
        ),
        on_rollback=parts.OnRollback.STAY,
        priority=80,
        supersedes=True,
        terms=Terms(trial=TrialPolicy(inferences=500), swap=Swap.OVERLAP),
    )


def test_cohort_alone_gets_what_a_careful_operator_would_choose() -> None:
    found = reading.read({"cohort": "site=plant-7"})
    assert found == RolloutPolicy(cohort=parts.Cohort(selector=selector.parse("site=plant-7")))
    assert [written(size) for size in found.waves] == ["5%", "25%", "rest"]
    assert found.holdback == percent(5)
    assert isinstance(found.strategy, parts.Canary)
    guards = found.gates.guards
    assert None not in (guards.errors, guards.slow, guards.installs, guards.missing)
    assert found.gates.on_hold_timeout is parts.OnHold.PAUSE
    assert found.on_rollback is parts.OnRollback.LAST_GOOD
    assert not found.supersedes
    assert found.terms == PLAIN_TERMS


def test_what_is_not_said_of_a_part_keeps_that_part_s_default() -> None:
    found = reading.read({"cohort": "", "gates": {"guards": {"installs": {"ratio": 1.5}}}})
    assert found.gates.guards.installs == parts.Margin(points=3.0, ratio=1.5)
    assert found.gates.guards.errors == parts.Margin(points=0.5, ratio=1.25)
    assert found.gates.soak_s == parts.Gates().soak_s


@pytest.mark.parametrize(("trusted", "meant"), [(False, ["site=lyon"]), (True, ["site=lyon", "hw.class=pi4"])])
def test_reported_labels_count_only_where_trusted_and_never_over_an_operator_s(trusted: bool, meant: list[str]) -> None:
    texts = ["site=lyon", "hw.class=pi4", "site=paris"]
    cohorts = [parts.Cohort(selector=selector.parse(text), trust_reported=trusted) for text in texts]
    own, reported = {"site": "lyon"}, {"site": "paris", "hw.class": "pi4"}
    device = DeviceId("camera-1")
    found = [text for text, one in zip(texts, cohorts, strict=True) if one.means(device, own, reported)]
    assert found == meant


def test_all_at_once_has_one_wave_and_no_control_group_unless_said() -> None:
    found = reading.read({"cohort": "", "strategy": "all_at_once"})
    assert found.waves == parts.ONE_WAVE
    assert found.holdback is None


def test_site_atomic_needs_no_healthy_rest_of_a_site_unless_said() -> None:
    assert reading.read({"cohort": "", "strategy": "site_atomic"}).budgets.healthy_per_site_min is None
    several = reading.read({"cohort": "", "strategy": "site_atomic", "budgets": {"devices_in_flight_max": 7}})
    assert several.budgets == parts.Budgets(devices_in_flight_max=7, healthy_per_site_min=None)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"cohort": None}, "policy.cohort: expected a mapping with selector, .*, found null"),
        ({"cohort": {}}, "policy.cohort: expected 'selector', which has no default, found an empty mapping"),
        ({"cohort": 7}, "policy.cohort.selector: expected a selector, .*, found 7"),
        ({"cohort": "site="}, "policy.cohort.selector: selector: expected a value for site .* at character 6"),
        ({"cohort": {"selecter": ""}}, "policy.cohort: unknown key 'selecter'; did you mean 'selector'"),
        ({"cohort": {"selector": "", "membership": "dynamc"}}, "policy.cohort.membership: .* did you mean 'dynamic'"),
        ({"cohort": {"selector": "", "trust_reported": "yes"}}, "trust_reported: expected true or false, found 'yes'"),
        ({"wave": []}, "policy: unknown key 'wave'; did you mean 'waves'"),
        ({True: 1}, "policy: unknown key True; known here: cohort, "),
        ({"strategy": "canery"}, "policy.strategy: expected one of .*, found 'canery'; did you mean 'canary'"),
        ({"strategy": {"lease_s": 9}}, "policy.strategy.kind: expected one of .*, found null"),
        ({"strategy": {"kind": "ab", "control": 9}}, "policy.strategy: unknown key 'control'; .* 'control_percent'"),
        ({"strategy": {"kind": "canary", "lease_s": 9}}, "unknown key 'lease_s'; nothing can be set here"),
        ({"strategy": {"kind": "site_atomic", "lease_s": 60}}, "lease_s: expected a whole number from 300 to 86400"),
        (
            {"strategy": "shadow", "terms": {"swap": "stop_first"}},
            "policy.terms.swap: expected auto or overlap with shadow, which has both in memory, found stop_first",
        ),
        (
            {
                "strategy": {"kind": "shadow", "duration_s": 7_200},
                "windows": {"weekly": [{"opens": "22:00", "closes": "23:59"}], "zone": "UTC"},
            },
            r"policy.strategy.duration_s: expected less than the longest window \(7140 s\), .* found 7200",
        ),
        (
            {"strategy": "shadow", "gates": {"guards": {"shadow": None}}},
            "policy.gates.guards.shadow: expected a share with shadow, which measures it, found null",
        ),
        (
            {"strategy": "blue_green", "terms": {"swap": "stop_first"}},
            "policy.terms.swap: expected auto or overlap with blue_green, which has both in memory, found stop_first",
        ),
        ({"strategy": "ab"}, "policy.gates.guards.outcome: expected a metric, which ab compares, found null"),
        (
            {
                "strategy": "ab",
                "gates": {"guards": {"outcome": {"metric": "sold"}}},
                "terms": {"swap": "stop_first"},
            },
            "policy.terms.swap: expected auto or overlap with ab, which has both in memory, found stop_first",
        ),
        (
            {
                "strategy": {"kind": "ab", "duration_s": 3_600},
                "gates": {"guards": {"outcome": {"metric": "sold"}}},
            },
            r"policy.strategy.duration_s: expected at least gates.soak_s \(14400 s\), .* found 3600",
        ),
        ({"waves": []}, "policy.waves: expected a list of 1 to 32, found a list of 0"),
        ({"waves": "5%"}, "policy.waves: expected a list of 1 to 32, found '5%'"),
        ({"waves": [0, "rest"]}, r"policy.waves\[0\]: expected a number of devices .*, or 'rest', found 0"),
        ({"waves": [True, "rest"]}, r"policy.waves\[0\]: .* found True"),
        ({"waves": ["0%", "rest"]}, r"policy.waves\[0\]: .* found '0%'"),
        ({"waves": ["101%", "rest"]}, r"policy.waves\[0\]: .* found '101%'"),
        ({"waves": ["5.125%", "rest"]}, r"policy.waves\[0\]: .* found '5.125%'"),
        ({"waves": [1, "5%"]}, "policy.waves: expected 'rest' as the last wave, or .*, found 5% in all and no 'rest'"),
        ({"waves": ["rest", "5%"]}, r"policy.waves\[0\]: expected 'rest' as the last wave only"),
        ({"waves": ["60%", "50%"]}, "policy.waves: expected shares of at most 100% in all, found 110% in all"),
        ({"waves": ["50%", "50%", "rest"]}, r"policy.waves\[2\]: expected no 'rest' after shares of 100% in all"),
        ({"waves": [1, "rest"], "strategy": "all_at_once"}, r"policy.waves: expected \['rest'\] with all_at_once"),
        ({"holdback": "5%", "strategy": "all_at_once"}, "policy.holdback: expected null with all_at_once"),
        (
            {"strategy": "all_at_once", "gates": {"guards": {"outcome": {"metric": "sold"}}}},
            "policy.gates.guards.outcome: expected null with all_at_once, which leaves nobody to compare with",
        ),
        (
            {"strategy": "all_at_once", "gates": {"guards": {"predictions": 10}}},
            "policy.gates.guards.predictions: expected null with all_at_once",
        ),
        ({"holdback": "60%"}, "policy.holdback: expected at most half the cohort, found 60%"),
        ({"holdback": "rest"}, "policy.holdback: expected a number of devices .* or null, found 'rest'"),
        ({"gates": {"soak": 3}}, "policy.gates: unknown key 'soak'; did you mean 'soak_s'"),
        ({"gates": {"soak_s": "1h"}}, "policy.gates.soak_s: expected a whole number from 0 to 7776000, found '1h'"),
        ({"gates": {"soak_s": 1.5}}, "policy.gates.soak_s: expected a whole number .*, found 1.5"),
        ({"gates": {"soak_s": True}}, "policy.gates.soak_s: expected a whole number .*, found True"),
        ({"gates": {"soak_s": 10**5000}}, "policy.gates.soak_s: .*, found a number too large to show"),
        (
            {"gates": {"guards": {"errors": False}}},
            "errors: expected a mapping .* or null, found False",
        ),
        ({"gates": {"guards": {"errors": {"ratio": float("nan")}}}}, "errors.ratio: expected a number .*, found nan"),
        ({"gates": {"guards": {"errors": {"points": 0, "ratio": 1}}}}, "errors: expected points above 0 or a ratio"),
        ({"gates": {"guards": {"predictions": 0}}}, "guards.predictions.points: expected a number from 1 to"),
        ({"gates": {"guards": {"fairness": {}}}}, "fairness: expected 'points', which has no default"),
        ({"gates": {"guards": {"outcome": {"metric": ""}}}}, "outcome.metric: expected a text of 1 to 64 characters"),
        ({"gates": {"promote_on": "prooven"}}, "policy.gates.promote_on: .* did you mean 'proven'"),
        ({"windows": []}, "policy.windows.weekly: expected a list of 1 to 32, found a list of 0"),
        ({"windows": [{"opens": "22:00"}]}, r"policy.windows.weekly\[0\]: expected 'closes', .* found a mapping with"),
        ({"windows": [{"opens": "22.00", "closes": "4:00"}]}, r"weekly\[0\].opens: expected a time of day"),
        ({"windows": [{"opens": 1441, "closes": "4:00"}]}, r"weekly\[0\].opens: expected a time of day"),
        ({"windows": [{"opens": "24:00", "closes": "4:00"}]}, r"weekly\[0\].opens: expected 00:00 to 23:59"),
        ({"windows": [{"opens": "1:00", "closes": "4:00", "days": []}]}, r"\[0\].days: expected a list of 1 to 7"),
        (
            {"windows": [{"opens": "1:00", "closes": "4:00", "days": ["tues"]}]},
            r"\[0\].days\[0\]: expected one of mon, .*, found 'tues'; did you mean 'tue'",
        ),
        (
            {"windows": {"weekly": [{"opens": "1:00", "closes": "4:00"}], "zone": "Europe/Berlni"}},
            "policy.windows.zone: time zone: .*, found 'Europe/Berlni'; did you mean Europe/Berlin",
        ),
        ({"budgets": {"devices_in_flight_max": 0}}, "devices_in_flight_max: expected a whole number from 1 to 1000000"),
        (
            {"strategy": "site_atomic", "budgets": {"healthy_per_site_min": "50%"}},
            "policy.budgets.healthy_per_site_min: expected null with site_atomic, .*, found '50%'",
        ),
        ({"approvals": [{}]}, r"policy.approvals\[0\]: expected 'before', which has no default"),
        ({"approvals": [{"before": 4}]}, r"policy.approvals\[0\].before: expected a wave from 1 to 3, found 4"),
        ({"approvals": [{"before": "end"}]}, r"policy.approvals\[0\].before: expected the number of a wave"),
        ({"approvals": [{"before": "holdback"}], "holdback": None}, "this policy holds nobody back"),
        ({"approvals": [{"before": 1, "by": ["x" * 65]}]}, r"by\[0\]: expected a text of 1 to 64 characters"),
        ({"priority": 101}, "policy.priority: expected a whole number from 0 to 100, found 101"),
        ({"terms": {"trial": {"mode": "unknown"}}}, "policy.terms.trial.mode: expected one of live, none, found"),
        ({"terms": {"trial": {"inferences": 0}}}, "policy.terms.trial.inferences: expected a whole number from 1 to"),
        ({"terms": {"deadlines": {"accept_by_s": "soon"}}}, "deadlines.accept_by_s: .* or null, found 'soon'"),
    ],
)
def test_mistake_is_refused_with_its_path_and_what_was_expected(changed: dict[Any, Any], said: str) -> None:
    with pytest.raises(Refused, match=said) as refused:
        reading.read({"cohort": "site=lyon", **changed})
    assert refused.value.code in (Code.INVALID, Code.BAD_SELECTOR)
    assert refused.value.message.startswith("policy")
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("tree", [None, 7, "site=lyon", [], True])
def test_what_is_no_mapping_is_no_policy(tree: object) -> None:
    with pytest.raises(Refused, match="policy: expected a mapping with cohort, strategy, "):
        reading.read(tree)


def test_hour_that_yaml_takes_for_a_number_is_an_hour() -> None:
    tree = yaml.safe_load("[{opens: 22:00, closes: 04:00}]")
    assert tree[0]["opens"] == 22 * 60
    found = reading.read({"cohort": "", "windows": tree})
    assert found.windows is not None
    assert found.windows.weekly[0].opens == 22 * 60
    assert found.windows.weekly[0].closes == 4 * 60


@pytest.mark.parametrize(
    ("text", "hundredths"), [("5%", 500), ("5 %", 500), ("0.5%", 50), ("0.05%", 5), ("12.50%", 1_250), ("100%", 10_000)]
)
def test_share_is_read_exactly(text: str, hundredths: int) -> None:
    share = read_share(text)
    assert share == Percent(hundredths=hundredths)
    assert read_share(written(share)) == share


@pytest.mark.parametrize(
    ("asked", "devices", "needed"),
    [
        (PromoteOn.BY_FLEET_SIZE, 29, PromoteOn.UNREFUTED),
        (PromoteOn.BY_FLEET_SIZE, 30, PromoteOn.PROVEN),
        (PromoteOn.PROVEN, 3, PromoteOn.PROVEN),
        (PromoteOn.UNREFUTED, 3_000, PromoteOn.UNREFUTED),
    ],
)
def test_small_fleets_go_on_what_is_unrefuted(asked: PromoteOn, devices: int, needed: PromoteOn) -> None:
    assert parts.Gates(promote_on=asked).promotes_on(devices) is needed


def test_approvals_stand_before_their_wave() -> None:
    found = reading.read(yaml.safe_load(IN_FULL))
    before = {wave: [each.count for each in found.approvals_before(wave)] for wave in range(1, 7)}
    assert before == {1: [], 2: [1], 3: [], 4: [2], 5: [1], 6: []}


def test_zone_is_the_site_s_own_before_the_policy_s() -> None:
    found = reading.read(yaml.safe_load(IN_FULL)).windows
    assert found is not None
    assert found.zone_of("Asia/Tokyo") == "Asia/Tokyo"
    assert found.zone_of(None) == "Europe/Berlin"
    assert parts.Windows(weekly=found.weekly).zone_of(None) is None


# --- laws ---------------------------------------------------------------------------------------------------------

COUNTS = st.integers(1, 1_000).map(lambda n: Count(devices=n))
PERCENTS = st.integers(1, 5_000).map(lambda part: Percent(hundredths=part))
SHARES = COUNTS | PERCENTS
SMALL = st.integers(1, 2_000).map(lambda part: Percent(hundredths=part))
POINTS = st.floats(0.01, 100) | st.integers(1, 100)
MARGINS = st.none() | st.builds(parts.Margin, points=POINTS, ratio=st.floats(1, 100))
SECONDS = st.integers(3_600, 86_400)
GATES = st.builds(
    parts.Gates,
    guards=st.builds(
        parts.Guards,
        errors=MARGINS,
        slow=MARGINS,
        unsure=MARGINS,
        fairness=MARGINS,
        shadow=st.none() | st.builds(parts.Ceiling, percent=POINTS),
        predictions=st.none() | st.builds(parts.Shift, points=st.floats(1, 100)),
        outcome=st.builds(
            parts.Outcome, metric=st.text(min_size=1, max_size=64), better=st.sampled_from(parts.Better), points=POINTS
        ),
    ),
    exposure=st.builds(parts.Exposure, duration_s=SECONDS, devices=st.integers(1, 50)),
    soak_s=SECONDS,
    promote_on=st.sampled_from(PromoteOn),
    on_hold_timeout=st.sampled_from(parts.OnHold),
    hold_timeout_s=SECONDS,
)
STRATEGIES = st.one_of(
    st.just(parts.Canary()),
    st.builds(
        parts.Ab,
        control_percent=st.integers(1, 99),
        duration_s=SECONDS,
        unsplit=st.sampled_from(parts.Unsplit),
    ),
    st.builds(
        parts.Shadow,
        duration_s=SECONDS,
        share_percent=st.integers(1, 100),
        unshadowed=st.sampled_from(parts.Unshadowed),
    ),
    st.builds(parts.BlueGreen, wait_s=SECONDS, keep_s=SECONDS),
    st.builds(parts.SiteAtomic, lease_s=SECONDS),
)
WINDOWS = st.builds(
    parts.Windows,
    weekly=st.lists(
        st.builds(
            WeeklyWindow,
            days=st.lists(st.sampled_from(Weekday), min_size=1, max_size=7).map(tuple),
            opens=st.integers(0, 1_439).map(LocalMinute),
            closes=st.integers(0, 1_440).map(LocalMinute),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    zone=st.none() | st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]).map(ZoneName),
)
POINTS_OF_APPROVAL = st.one_of(st.integers(1, 2).map(lambda n: parts.BeforeWave(number=n)), st.just(parts.BeforeLast()))
TERMS = st.builds(
    Terms,
    trial=st.builds(TrialPolicy, mode=st.sampled_from([TrialMode.LIVE, TrialMode.NONE])),
    contact=st.builds(
        ContactPolicy,
        mode=st.sampled_from([ContactMode.REQUIRED, ContactMode.NONE]),
        on_no_contact=st.sampled_from([OnNoContact.COMMIT, OnNoContact.REVERT]),
    ),
    deadlines=st.builds(Deadlines, force_after_s=st.none() | SECONDS),
    metered=st.booleans(),
)


def fitting(*, site_atomic: Any, **given: Any) -> RolloutPolicy:
    """A policy whose parts suit its strategy."""
    gates: parts.Gates = given["gates"]
    if isinstance(given["strategy"], parts.Shadow):
        guards = replace(gates.guards, shadow=gates.guards.shadow or parts.Ceiling(percent=1))
        given |= {"gates": replace(gates, guards=guards)}
        if given["windows"] is not None:
            night = WeeklyWindow(opens=LocalMinute(0), closes=LocalMinute(1_440))
            weekly = (*given["windows"].weekly, night)
            given |= {"windows": replace(given["windows"], weekly=weekly)}
            given |= {"strategy": replace(given["strategy"], duration_s=min(given["strategy"].duration_s, 80_000))}
    if isinstance(given["strategy"], parts.Ab):
        given |= {"gates": replace(given["gates"], soak_s=min(gates.soak_s, given["strategy"].duration_s))}
    at_sites = isinstance(given["strategy"], parts.SiteAtomic)
    return RolloutPolicy(**given, budgets=parts.Budgets(healthy_per_site_min=None if at_sites else site_atomic))


POLICIES = st.builds(
    fitting,
    site_atomic=st.none() | SHARES,
    cohort=st.builds(
        parts.Cohort,
        selector=st.sampled_from(["", "site=lyon", 'note!="a, b", tags lacks x', "a in (b, c)"]).map(selector.parse),
        membership=st.sampled_from(parts.Membership),
        trust_reported=st.booleans(),
    ),
    strategy=STRATEGIES,
    waves=st.lists(
        COUNTS | st.integers(1, 2_000).map(lambda part: Percent(hundredths=part)), min_size=1, max_size=4
    ).map(lambda sizes: (*sizes, Rest())),
    holdback=st.none() | SHARES,
    gates=GATES,
    windows=st.none() | WINDOWS,
    approvals=st.lists(
        st.builds(parts.Approval, before=POINTS_OF_APPROVAL, by=st.sampled_from([(), ("ops",), ("ops", "jo")])),
        max_size=3,
    ).map(tuple),
    on_rollback=st.sampled_from(parts.OnRollback),
    priority=st.integers(0, 100),
    supersedes=st.booleans(),
    terms=TERMS,
)


@given(POLICIES)
def test_every_policy_is_read_back_from_its_spelling(one: RolloutPolicy) -> None:
    assert reading.problems(one) == ()
    tree = reading.plain(one)
    assert reading.read(tree) == one
    assert reading.plain(reading.read(json.loads(json.dumps(tree)))) == tree
    assert reading.read(yaml.safe_load(yaml.safe_dump(tree))) == one


def test_spelling_holds_every_field_so_that_a_later_default_changes_no_stored_policy() -> None:
    def names(tree: object) -> set[str]:
        if isinstance(tree, Mapping):
            return set(tree).union(*map(names, tree.values()))
        return set().union(*map(names, tree)) if isinstance(tree, list) else set()

    spelled = names(reading.plain(reading.read(yaml.safe_load(IN_FULL))))
    written_out = (
        RolloutPolicy,
        parts.Cohort,
        parts.Ab,
        parts.Gates,
        parts.Guards,
        parts.Budgets,
        parts.Approval,
        Terms,
    )
    assert {field.name for part in written_out for field in dataclasses.fields(part)} <= spelled


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["rest", "5%", "ab", ""])
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


def replaced(tree: Any, data: st.DataObject) -> Any:
    """Put something else somewhere into a tree."""
    if isinstance(tree, dict) and tree and data.draw(st.integers(0, 5)):
        key = data.draw(st.sampled_from(list(tree)))
        return {**tree, key: replaced(tree[key], data)}
    if isinstance(tree, list) and tree and data.draw(st.integers(0, 5)):
        at = data.draw(st.integers(0, len(tree) - 1))
        return [*tree[:at], replaced(tree[at], data), *tree[at + 1 :]]
    return data.draw(TREES)


FULL_TREE = reading.plain(reading.read(yaml.safe_load(IN_FULL)))


@given(st.data())
def test_anything_is_read_or_refused_in_words(data: st.DataObject) -> None:
    tree = replaced(FULL_TREE, data)
    try:
        found = reading.read(tree)
    except Refused as refused:
        told = refused
    else:
        assert reading.read(reading.plain(found)) == found
        return
    assert told.message.startswith("policy")
    assert len(str(told)) < 1_000
