"""Worlds with rollouts in waves: what they draw happens, breaks no rule, and costs nothing to worlds without them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from pinnace_server.domain.rollout_policy import reading
from pinnace_server.domain.rollout_policy.policy import Ab, Strategy
from pinnace_server.service.climbing import Climbing
from pinnace_server.service.controller import Controller
from pinnace_sim import cli, explore, stories, wave_stories
from pinnace_sim.applications import METRIC
from pinnace_sim.checks import Rule
from pinnace_sim.faults import NONE
from pinnace_sim.plan import Nature, OrderKind, Plan
from pinnace_sim.scenarios import waves as scenarios
from pinnace_sim.scenarios.ending import played
from pinnace_sim.scenarios.form import begun, device, first, made, steered, world
from pinnace_sim.schedule import NOON_S
from pinnace_sim.world import World

pytestmark = pytest.mark.slow

SMALL = {"devices": 4, "hours": 6.0}


@pytest.mark.parametrize("seed", range(1, 6))
def test_rollouts_in_waves_among_everything_that_can_go_wrong_break_no_rule(seed: int) -> None:
    outcome = World(wave_stories.waves(seed, **SMALL)).run()
    assert outcome.violation is None, f"seed {seed}: {outcome.violation}"


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(6, 200))
def test_more_rollouts_in_waves_break_no_rule(seed: int) -> None:
    outcome = World(wave_stories.waves(seed, devices=5, hours=10.0)).run()
    assert outcome.violation is None, f"seed {seed}: {outcome.violation}"


def test_worlds_with_waves_see_all_that_they_are_there_for() -> None:
    """Waves begin, are promoted and go back; people do everything there is to do, some of it while others write."""
    said: Counter[str] = Counter()
    done: Counter[str] = Counter()
    for seed in (2, 4, 7, 15):  # the last has enough traffic for its gates to see what is wrong
        world = World(wave_stories.waves(seed, **SMALL), keeps_log=True)
        done["races"] += world.run().counts["races"]
        done["two controllers"] += world.plan.controllers == 2
        for line in map(json.loads, world.journal.lines[1:]):
            if line["what"] in ("server_says", "order"):
                (said if line["what"] == "server_says" else done)[line["kind"]] += 1
    for kind in ("wave_started", "wave_promoted", "wave_approved", "rollout_paused", "rollout_resumed", "gate_fired"):
        assert said[kind], kind
    assert done["races"]
    assert done["two controllers"]


def test_the_story_draws_every_order_and_nature_there_is() -> None:
    plans = [wave_stories.waves(seed) for seed in range(60)]
    orders = [order for plan in plans for order in plan.orders]
    elsewhere = {OrderKind.REVERT, OrderKind.READMIT}  # scenarios give these
    assert {order.kind for order in orders} == set(OrderKind) - elsewhere
    assert {order.nature for order in orders} == set(wave_stories.NATURES)
    assert {plan.controllers for plan in plans} == {1, 2}


@pytest.mark.parametrize("story", explore.STORIES)
def test_every_policy_that_a_story_draws_is_one_that_the_server_reads(story: str) -> None:
    """One that is refused begins nothing, and its world proves nothing. A guard of outcomes asks for what is told."""
    asked: Counter[str] = Counter()
    for seed in range(1, 151):
        for order in explore.STORIES[story](seed, devices=3, hours=8.0, faults=NONE).orders:
            if order.kind is OrderKind.BEGIN:
                policy = reading.read(json.loads(order.policy))
                outcome = policy.gates.guards.outcome
                asked[policy.strategy.KIND] += 1
                asked["outcome"] += outcome is not None
                assert outcome is None or outcome.metric == METRIC, f"seed {seed}"
                assert outcome is not None or not isinstance(policy.strategy, Ab), f"seed {seed}"
                asked["windows"] += policy.windows is not None
    assert not asked or {"windows", "ab", "outcome", *(kind.KIND for kind in Strategy.__args__)} <= set(asked)


# --- what came later costs older plans nothing ------------------------------------------------------------------------


def test_a_plan_that_says_nothing_of_waves_is_written_as_before() -> None:
    tree = stories.one_update(1).tree()
    assert set(tree) == {
        "seed",
        "hours",
        "calm_hours",
        "devices",
        "orders",
        "messages",
        "incidents",
        "weights_bytes",
        "links",
        "links_repeat_s",
    }
    assert "labels" not in tree["devices"][0]
    assert not {"policy", "wave", "actor", "races", "hardware"} & set(tree["orders"][0])


def test_a_plan_with_waves_comes_back_from_its_log() -> None:
    for seed in range(20):
        plan = wave_stories.waves(seed)
        assert Plan.from_tree(json.loads(json.dumps(plan.tree()))) == plan


def test_two_runs_of_two_controllers_write_the_same_log() -> None:
    plan = replace(wave_stories.waves(2, **SMALL), controllers=2)
    first_run, second_run = (World(plan, keeps_log=True).run() for _ in range(2))
    assert first_run.lines == second_run.lines


# --- orders and natures -----------------------------------------------------------------------------------------------


def test_a_nature_of_one_class_of_hardware_is_good_elsewhere() -> None:
    plan = world(
        first(),
        made("2", 590.0, nature=Nature.WRONG, hardware="sim-b"),
        begun("2", 600.0, strategy="all_at_once"),
        devices=[device("a"), device("b", hardware="sim-b")],
    )
    ending = played(plan)
    assert (ending.serves("a"), ending.serves("b")) == ("2", "1")


def test_a_device_that_dies_silently_is_not_heard_until_the_calm() -> None:
    ending = played(
        world(first(), made("2", 590.0, nature=Nature.DIES_SILENTLY), begun("2", 600.0, strategy="all_at_once"))
    )
    (cut_s,) = ending.times("power_cut", "a")
    (calm_s,) = ending.times("calm")
    (served_s,) = (at_s for at_s in ending.times("serves", "a", version="2") if at_s < calm_s)
    assert cut_s == pytest.approx(served_s + 600.0)
    assert [at_s for at_s in ending.times("boot", "a") if at_s > cut_s] == [pytest.approx(calm_s)]


def test_people_retry_and_narrow_and_what_is_refused_is_said_in_words() -> None:
    plan = world(
        first(),
        made("2", 590.0, nature=Nature.WRONG),
        begun("2", 600.0, strategy="all_at_once", cohort="has site"),
        steered(OrderKind.RETRY, 700.0, by="ann"),
        steered(OrderKind.APPROVE, 720.0, by="ann"),
        devices=[device("a", site="kiel"), device("b")],
    )
    narrowed = replace(plan.orders[-1], kind=OrderKind.COHORT, at_s=730.0, policy=json.dumps("site=lyon"))
    ending = played(replace(plan, orders=(*plan.orders, narrowed)))
    assert ending.outcome.violation is None
    assert ending.receipts("a") == ("1 committed", "2 failed GOLDEN_MISMATCH", "2 rejected KNOWN_BAD")
    (refused,) = ending.find("order_refused")
    assert "no wave left" in str(refused["problem"])
    (changed,) = ending.events("cohort_changed")
    assert "means site=lyon now" in changed.summary


def test_an_order_that_races_is_done_just_before_the_controller_writes() -> None:
    """The pause comes between the look at who may go and the plan for them: nobody is told anything."""
    plan = world(
        first(),
        made("2", 590.0),
        begun("2", 600.0, strategy="all_at_once", approvals=[{"before": 1}]),
        steered(OrderKind.APPROVE, 640.0),
        steered(OrderKind.PAUSE, 640.5),
    )
    orders = tuple(replace(each, races=3 * (each.kind is OrderKind.PAUSE)) for each in plan.orders)
    ending = played(replace(plan, orders=orders))
    assert ending.outcome.violation is None
    assert ending.outcome.counts["races"] == 1
    assert ending.serves("a") == "1"
    assert len(ending.events("wave_started")) == len(ending.events("rollout_paused")) == 1


def test_an_order_that_finds_nobody_to_race_with_is_done_all_the_same() -> None:
    plan = world(
        first(), made("2", 590.0), begun("2", 600.0, approvals=[{"before": 1}]), steered(OrderKind.APPROVE, 660.0)
    )
    orders = tuple(replace(each, races=int(each.kind is OrderKind.APPROVE)) for each in plan.orders)
    assert played(replace(plan, orders=orders)).serves("a") == "2"


# --- rules ------------------------------------------------------------------------------------------------------------


def test_what_the_server_catches_and_would_try_again_ends_a_world(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_controller: Controller) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Controller, "judge_all", broken)
    violation = World(stories.one_update(1, devices=1, hours=0.2, faults=NONE)).run().violation
    assert violation is not None
    assert violation.rule is Rule.SERVER_FAILED
    assert "a bug" in violation.text


def test_a_wave_that_is_past_its_time_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is wrong with it but that nobody looks any more."""
    monkeypatch.setattr(Climbing, "climb_all", _climb_for_an_hour)
    plan = replace(scenarios.HOLDS.plan, orders=scenarios.HOLDS.plan.orders[:4])
    violation = World(plan).run().violation
    assert violation is not None
    assert violation.rule is Rule.NOT_CONVERGED
    assert "past its time" in violation.text


_CLIMB_ALL = Climbing.climb_all


def _climb_for_an_hour(climbing: Climbing) -> None:
    if climbing._world.clock.now() - NOON_S < 5_400.0:
        _CLIMB_ALL(climbing)


def test_worlds_with_waves_are_explored(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["explore", "--story", "waves", "--seeds", "1", "--devices", "2", "--hours", "2", "--processes", "1"]
    assert cli.main([*asked, "--no-logs"]) == 0
    assert "1 worlds" in capsys.readouterr().out
