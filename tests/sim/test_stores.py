"""A plan writes the same log over the twin in memory and over the real database, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest

import pytest

from pinnace_sim import cli, stories, wave_stories
from pinnace_sim.faults import FaultKind
from pinnace_sim.plan import Plan
from pinnace_sim.scenarios import cases, sweeps
from pinnace_sim.scenarios.form import Scenario
from pinnace_sim.sql import SqlDisk
from pinnace_sim.world import Outcome, World

pytestmark = pytest.mark.slow

HOURS_MAX = 8.0  # weeks over SQL take most of a minute, and show nothing that hours do not
SCENARIOS = {each.name: each.plan for each in cases.ALL if isinstance(each, Scenario) and each.plan.hours <= HOURS_MAX}
# Of each strategy `make test` plays the shortest, and whatever kills a server: others read and write the same rows, and
# take five to twenty seconds each. `make soak` plays them all.
SOAKS = {
    "ab-of-a-release-that-is-wrong-on-one-class",
    "ab-of-a-release-that-takes-its-devices-down",
    "ab-then-alone",
    "all-at-once",
    "blue-green-dies-silently",
    "blue-green-golden-vectors-fail-on-one-kind",
    "blue-green-has-errors",
    "blue-green-switches-together",
    "canary-dies-silently",
    "canary-goes-back-from-its-first-wave",
    "canary-is-slower",
    "golden-failure-stops-its-hardware",
    "misspelt-metric-holds",
    "outcome-goes-back",
    "overlapping-cohorts",
    "predictions-drift-and-go-back",
    "shadow-then-trial",
    "site-commits-and-the-gates-move-it-back",
    "site-commits-together",
    "site-decided-while-one-cannot-hear",
    "site-whose-lease-runs-out",
    "told-and-good",
    "undecided-wave-is-paused",
    "unfair-goes-back",
    "wan-cut-of-a-site-in-mid-wave",
    "waves-wait-for-agreement",
}
PLAYED = [pytest.param(name, marks=[pytest.mark.soak] if name in SOAKS else []) for name in SCENARIOS]
COMMITS = 12  # of an assignment, each with a kill before and after it


@pytest.fixture
def disk() -> Iterator[SqlDisk]:
    made = SqlDisk()
    yield made
    made.close()


def _same(plan: Plan, disk: SqlDisk) -> Outcome:
    in_memory = World(plan, keeps_log=True).run()
    over_sql = World(plan, keeps_log=True, store=lambda: disk).run()
    assert in_memory.violation is None
    for number, (expected, found) in enumerate(zip_longest(in_memory.lines, over_sql.lines), 1):
        assert found == expected, f"line {number}"
    return over_sql


@pytest.mark.parametrize("name", PLAYED)
def test_a_hard_case_goes_the_same_way(name: str, disk: SqlDisk) -> None:
    _same(SCENARIOS[name], disk)


def test_all_but_the_longest_are_played_over_both() -> None:
    assert {each.name for each in cases.ALL if isinstance(each, Scenario)} - set(SCENARIOS) == {"away-for-weeks"}
    assert set(SCENARIOS) > SOAKS


@pytest.mark.parametrize("number", range(2 * COMMITS))
def test_a_kill_at_a_commit_goes_the_same_way(number: int, disk: SqlDisk) -> None:
    outcome = _same(sweeps.server_killed(number), disk)
    assert outcome.counts[FaultKind.SERVER_KILL]
    assert any('"what":"server_killed"' in line for line in outcome.lines), "it was killed at that commit"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_world_goes_the_same_way(seed: int, disk: SqlDisk) -> None:
    _same(stories.one_update(seed, devices=2, hours=6.0), disk)


def test_a_world_with_waves_and_two_controllers_goes_the_same_way(disk: SqlDisk) -> None:
    plan = replace(wave_stories.waves(2, devices=3, hours=3.0), controllers=2)
    _same(plan, disk)


def test_worlds_are_explored_over_the_database(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["explore", "--store", "sql", "--seeds", "1", "--devices", "1", "--hours", "1"]
    assert cli.main([*asked, "--processes", "1", "--no-logs"]) == 0
    assert "1 world" in capsys.readouterr().out
