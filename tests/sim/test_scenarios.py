"""Every hard case of the life of an update is played, and tells the story that its golden transcript tells."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import pytest

from pinnace_sim import cli, replay
from pinnace_sim.faults import DELIBERATE, FaultKind
from pinnace_sim.plan import Nature, OrderKind
from pinnace_sim.scenarios import blue_green, cases, others, splits, telling, transcript
from pinnace_sim.scenarios.form import Scenario, Shown
from tests.sim import make_golden

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
SHOWN_MAX = 5  # lines of a difference


def _sentence(name: str) -> str:
    return name.replace("-", " ")


@pytest.mark.parametrize("name", cases.BY_NAME, ids=_sentence)
def test_a_hard_case_goes_as_it_must(name: str) -> None:
    played = transcript.play(cases.find(name))
    assert not played.problems, "\n".join(played.problems)
    golden = make_golden.path_of(name).read_text().splitlines()
    different = [
        f"line {number}\n  golden: {expected}\n  now:    {found}"
        for number, (expected, found) in enumerate(zip_longest(golden, played.transcript, fillvalue=""), 1)
        if expected != found
    ]
    assert not different, (
        f"{len(different)} of {len(golden)} lines differ; read them, then: python -m tests.sim.make_golden {name}\n"
        + "\n".join(different[:SHOWN_MAX])
    )


def _with(scenario: Scenario, kind: OrderKind, **changes: object) -> Scenario:
    """Return a scenario in which the last order of a kind is another one."""
    orders = list(scenario.plan.orders)
    (*_, place) = (number for number, each in enumerate(orders) if each.kind is kind)
    orders[place] = replace(orders[place], **changes)  # type: ignore[arg-type]
    return replace(scenario, plan=replace(scenario.plan, orders=tuple(orders)))


def _without_power_cuts(scenario: Scenario) -> Scenario:
    kept = tuple(each for each in scenario.plan.incidents if each.kind is not FaultKind.POWER_CUT)
    return replace(scenario, plan=replace(scenario.plan, incidents=kept))


def _version_1_leaves_early(scenario: Scenario) -> Scenario:
    begins = next(each for each in scenario.plan.orders if each.kind is OrderKind.BEGIN)
    return _with(scenario, OrderKind.BEGIN, policy=begins.policy.replace('"keep_s": 7200', '"keep_s": 3600'))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        pytest.param(
            _without_power_cuts(splits.GOOD), "lost its power in the split", id="nobody loses its power in a split"
        ),
        pytest.param(_with(splits.GOLDEN, OrderKind.REGISTER, hardware=""), "was tried on", id="all of them fail"),
        pytest.param(
            _with(splits.SILENT, OrderKind.REGISTER, nature=Nature.WRONG), "first wave has three", id="it never answers"
        ),
        pytest.param(_version_1_leaves_early(blue_green.GOOD), "should have left", id="version 1 leaves early"),
        pytest.param(_with(blue_green.WRONG, OrderKind.REGISTER, hardware=""), "were ready", id="nobody is ready"),
        pytest.param(
            _without_power_cuts(blue_green.LATE), "lost its power at", id="nobody loses its power while it waits"
        ),
    ],
)
def test_a_world_that_does_not_show_what_a_scenario_claims_is_not_as_it_must_be(other: Scenario, said: str) -> None:
    problems = transcript.play(other).problems
    assert any(said in each for each in problems), problems


def test_every_golden_transcript_is_a_scenarios() -> None:
    assert {path.stem for path in make_golden.GOLDEN.glob("*.jsonl")} == set(cases.BY_NAME)


@pytest.mark.parametrize("case", others.HARD_CASES)
def test_a_row_of_the_hard_cases_is_played_waits_or_is_shown(case: str) -> None:
    assert [each for each in (*cases.ALL, *others.WAITS, *others.SHOWN) if each.case == case]


@pytest.mark.parametrize("shown", others.SHOWN, ids=lambda shown: shown.test.partition("::")[2])
def test_a_test_that_shows_a_case_is_there(shown: Shown) -> None:
    path, _, name = shown.test.partition("::")
    assert f"def {name}(" in (REPOSITORY / path).read_text()


def test_parts_that_are_waited_for_are_known() -> None:
    assert {each.part for each in others.WAITS} == {"Rollouts", "Trust", "Delivery"}
    assert {each.case for each in others.WAITS} <= set(others.HARD_CASES)


def test_every_fault_that_only_hands_plan_is_in_a_scenario() -> None:
    planned = {incident.kind for each in cases.ALL if isinstance(each, Scenario) for incident in each.plan.incidents}
    assert planned >= DELIBERATE


def test_the_log_of_a_scenario_is_played_again_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.jsonl"
    assert cli.main(["run", "wrong-on-one-device-only", "--log", str(log)]) == 0
    assert replay.replay(log).differs_at is None
    printed = capsys.readouterr().out
    assert re.search(r"^ +0:10:09\.\d  b +phase idle, generation 3 \(GOLDEN_MISMATCH", printed, re.MULTILINE)


def test_scenarios_are_listed_with_those_that_wait(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["scenarios"]) == 0
    printed = capsys.readouterr().out
    for name in cases.BY_NAME:
        assert name in printed
    assert "Delivery  broker, URL or CA moves: endpoints" in printed


def test_a_name_that_is_nearly_right_is_helped(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "candidate-hang"]) == 2
    assert "candidate-hangs" in capsys.readouterr().err


def test_many_worlds_have_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "cancel-in-each-phase", "--log", str(tmp_path / "x")]) == 2
    assert "without --log" in capsys.readouterr().err


def test_every_kind_of_line_is_told_in_words() -> None:
    for path in make_golden.GOLDEN.glob("*.jsonl"):
        for line in telling.told(path.read_text().splitlines()):
            assert "{" not in line
