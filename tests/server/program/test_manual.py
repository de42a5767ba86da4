"""Every option of ``pinnace serve``, every field of a policy and everything that is waited on stands in the manual."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
import yaml

from pinnace_server.cli import program
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.rollout_policy import reading

DOCS = Path(__file__).parents[3] / "docs"
MANUAL = DOCS / "operating-the-server.md"
ROLLOUTS = DOCS / "rollouts.md"
SHADOW = DOCS / "shadow.md"
SITE_ATOMIC = DOCS / "site-atomic.md"
AB = DOCS / "ab.md"
BLUE_GREEN = DOCS / "blue-green.md"


def test_every_option_of_serve_is_in_the_manual() -> None:
    parser = program.make_parser()
    (verbs,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    options = {option for action in verbs.choices["serve"]._actions for option in action.option_strings}
    documented = set(re.findall(r"^\| `(--[a-z-]+)` \|", MANUAL.read_text(), re.MULTILINE))
    assert {option for option in options if option.startswith("--")} - {"--help"} == documented


UNSAID = (WaitingOn.PLANNING, WaitingOn.OFFERED)
"""Over within seconds."""


def fields(tree: object, path: str = "") -> list[str]:
    """Return the names of a tree's fields, but for what stands under ``terms``, which the device contract describes."""
    if not isinstance(tree, dict) or path == "terms":
        return []
    return [found for name, value in tree.items() for found in (name, *fields(value, name))]


def test_every_field_of_a_policy_is_in_the_manual() -> None:
    said = ROLLOUTS.read_text()
    named = fields(reading.plain(reading.read({"cohort": ""})))
    assert [name for name in named if not re.search(rf"\b{name}\b", said)] == []


def test_the_policies_that_the_manual_shows_are_such() -> None:
    whole, guarded = re.findall(r"```yaml\n(.*?)```", ROLLOUTS.read_text(), re.DOTALL)
    found = reading.read(yaml.safe_load(whole))
    assert found.windows is not None
    assert len(found.waves) == 3
    guards = reading.read({"cohort": "", **yaml.safe_load(guarded)}).gates.guards
    assert None not in (guards.outcome, guards.fairness, guards.predictions)


@pytest.mark.parametrize(("kind", "page"), [("shadow", SHADOW), ("blue_green", BLUE_GREEN)])
def test_every_setting_of_a_strategy_is_in_the_manual(kind: str, page: Path) -> None:
    strategy = reading.plain(reading.read({"cohort": "", "strategy": kind}))["strategy"]
    assert isinstance(strategy, dict)
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", page.read_text(), re.MULTILINE))
    assert set(strategy) - {"kind"} == documented


def test_every_setting_of_whole_sites_is_in_the_manual() -> None:
    strategy = reading.plain(reading.read({"cohort": "", "strategy": "site_atomic"}))["strategy"]
    assert isinstance(strategy, dict)
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", SITE_ATOMIC.read_text(), re.MULTILINE))
    assert set(strategy) - {"kind"} <= documented


def test_every_setting_of_a_split_is_in_the_manual() -> None:
    outcome = {"gates": {"guards": {"outcome": {"metric": "sold"}}}}
    strategy = reading.plain(reading.read({"cohort": "", "strategy": "ab", **outcome}))["strategy"]
    assert isinstance(strategy, dict)
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", AB.read_text(), re.MULTILINE))
    assert set(strategy) - {"kind"} == documented


@pytest.mark.parametrize("on", [each for each in WaitingOn if each not in UNSAID])
def test_everything_that_is_waited_on_is_in_the_manual(on: WaitingOn) -> None:
    assert f"`{on}`" in ROLLOUTS.read_text()
