"""The benchmark of whole rollouts: its smallest cell from end to end, and what its worlds are made of."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import rollout_worlds
from benchmarks.rollout_worlds import BAD_HARDWARE, Setup
from pinnace_contract.ids import DeviceId
from pinnace_sim.climbs import End
from pinnace_sim.plan import DevicePlan, Nature, Plan
from pinnace_sim.scenarios.ending import played
from pinnace_sim.scenarios.form import device, first, world
from pinnace_sim.temper import Temper
from pinnace_sim.world import World

pytestmark = pytest.mark.slow

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "rollouts.py"
SOON = {"gates": {"soak_s": 600, "exposure": {"duration_s": 600}}}


def test_the_smallest_cell_is_measured_and_names_its_seeds() -> None:
    command = [sys.executable, str(BENCHMARK), "--only", "good_3", "--runs", "1", "--processes", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = {each["figure"]: each for each in map(json.loads, done.stdout.splitlines())}
    assert found["good_promoted_3"]["value"] == 100
    assert found["good_promoted_3"]["aim"] == ">= 95"
    assert found["good_stopped_3"]["value"] == 0
    assert found["runs_good_3"]["value"] == 1
    assert "good_3: seeds 1 to 1" in done.stderr


def test_a_bad_release_is_stopped_before_everybody_served_it() -> None:
    found = rollout_worlds.play(_one_class("canary"), 1)
    assert (found.end, found.problem) == (End.INSTALLS_STOPPED, "")
    assert 0 < found.served < 8


def test_a_world_of_a_seed_always_ends_the_same_way() -> None:
    setup = Setup(name="twice", devices=2, policy=SOON, past_hours=1.0, hours=1.0)
    first, second = (World(rollout_worlds.plan(setup, 5), keeps_log=True).run() for _ in range(2))
    assert first.lines == second.lines


def test_a_world_that_nobody_ends_is_over_with_its_hours_and_asks_nothing_of_a_calm() -> None:
    silent = Setup(name="silent", devices=2, policy={}, nature=Nature.DIES_SILENTLY, past_hours=1.0, hours=2.0)
    found = rollout_worlds.play(silent, 1)
    assert (found.problem, found.hours) == ("", pytest.approx(2.0))
    assert found.end in (End.HELD, End.HELD_LAST, End.BUDGET_HELD)


def test_worlds_are_played_of_every_strategy() -> None:
    command = [sys.executable, str(BENCHMARK), "--only", "strategies", "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (found,) = map(json.loads, done.stdout.splitlines())
    assert (found["figure"], found["value"]) == ("strategies_not_played", 0)


def test_devices_that_differ_come_back_from_a_log_and_even_ones_are_written_as_before() -> None:
    plan = rollout_worlds.plan(_one_class("all_at_once"), 3)
    assert len({each.temper for each in plan.devices}) == len(plan.devices)
    assert Plan.from_tree(json.loads(json.dumps(plan.tree()))) == plan
    even = Plan(seed=1, hours=1.0, calm_hours=0.0, devices=(DevicePlan(name="a"),), orders=())
    assert "temper" not in even.tree()["devices"][0]


def test_a_good_version_is_as_good_as_its_device_lets_it_be() -> None:
    poor = replace(device("poor"), temper=Temper(error_share=1.0))
    ending = played(world(first(), devices=[device("good"), poor]))
    (release,) = ending.world.checks.names
    with ending.world.server.store.read() as tables:
        good, bad = (tables.reports.counts([DeviceId(ending.id(who))], release) for who in ("good", "poor"))
    assert good.n == bad.n > 0
    assert (good.errors, bad.errors) == (0, bad.n)


def _one_class(strategy: str) -> Setup:
    return Setup(
        name="golden",
        devices=8,
        policy={"strategy": strategy, "waves": ["50%", "rest"], **SOON} if strategy == "canary" else SOON,
        nature=Nature.WRONG,
        hardware=BAD_HARDWARE,
        past_hours=1.0,
        hours=4.0,
    )
