"""Rollouts that move whole sites, with real agents and the real server: what is bad is stopped, what is good climbs."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace_sim import wave_stories
from pinnace_sim.plan import Nature
from pinnace_sim.scenarios.ending import Ending, played
from pinnace_sim.scenarios.form import begun, device, first, made, world
from pinnace_sim.scenarios.sites import BEGUN_S, GATES, MADE_S, SITES
from pinnace_sim.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LYON, KIEL = "abcd", "ef"


def rolled_out(nature: Nature = Nature.GOOD, hardware: str = "", **more: Any) -> Ending:
    """Four devices at lyon, of which d is of another class of hardware, then two at kiel."""
    devices = [
        device(
            name,
            report_every_s=300,
            site="lyon" if name in LYON else "kiel",
            hardware="sim-b" if name == "d" else "sim",
        )
        for name in LYON + KIEL
    ]
    gates = GATES | {"hold_timeout_s": 3_600}
    version = made("2", MADE_S, nature=nature, hardware=hardware)
    plan = world(first(), version, begun("2", BEGUN_S, **SITES | {"gates": gates}), devices=devices, hours=4.0)
    ending = played(plan, **more)
    assert ending.outcome.violation is None
    return ending


def decided(ending: Ending) -> dict[str, str]:
    return {event.data["site"]: event.data["verdict"] for event in ending.events("site_decided")}


def served(ending: Ending) -> set[str]:
    return {str(line["who"]) for line in ending.find("serves", version="2")}


def test_a_good_release_climbs_from_site_to_site() -> None:
    ending = rolled_out()
    assert decided(ending) == {"lyon": "commit", "kiel": "commit"}
    assert {ending.serves(who) for who in LYON + KIEL} == {"2"}
    assert len(ending.events("wave_promoted")) == 2


def test_golden_vectors_that_fail_on_one_class_take_the_whole_site_back() -> None:
    ending = rolled_out(Nature.WRONG, "sim-b")
    assert decided(ending) == {"lyon": "revert"}
    assert {ending.serves(who) for who in LYON + KIEL} == {"1"}
    assert not served(ending) & set("d" + KIEL)


def test_three_errors_in_a_hundred_move_a_site_back_that_committed() -> None:
    ending = rolled_out(Nature.ERRORS_3_PERCENT)
    assert decided(ending) == {"lyon": "commit"}
    assert len(ending.events("gate_fired")) == 1
    assert {ending.serves(who) for who in LYON + KIEL} == {"1"}
    assert served(ending) == set(LYON)


def test_a_release_that_dies_silently_stays_at_its_first_site() -> None:
    ending = rolled_out(Nature.DIES_SILENTLY)
    assert not ending.events("wave_promoted")
    assert not served(ending) & set(KIEL)


@pytest.mark.parametrize("seed", [8, 76, 104])
def test_worlds_of_whole_sites_break_no_rule(seed: int) -> None:
    found = World(wave_stories.waves(seed, devices=6, hours=8.0), keeps_log=True).run()
    assert found.violation is None
    assert any("site_decided" in line for line in found.lines)


def test_one_in_four_worlds_may_move_whole_sites() -> None:
    sited = {
        seed for seed in range(40) if any("site_atomic" in order.policy for order in wave_stories.waves(seed).orders)
    }
    assert sited
    assert {seed % wave_stories.SITES_EVERY for seed in sited} == {0}
