"""Rollouts that move whole sites, with real agents and the real server: what is bad is stopped, what is good climbs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pinnace_contract.latest import SiteDecision, SiteVerdict
from pinnace_server.domain import sites
from pinnace_server.domain.records import Assignment
from pinnace_server.domain.sites import Site, SiteRuling
from pinnace_server.service import sets, siting
from pinnace_server.service.ports import Tables
from pinnace_sim import wave_stories
from pinnace_sim.checks import Rule, Violation
from pinnace_sim.faults import FaultKind, Incident
from pinnace_sim.plan import DevicePlan, Nature, Plan
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


# --- rules ------------------------------------------------------------------------------------------------------------


FAILS = {"2": Nature.WRONG}


def lyon(*devices: DevicePlan, incidents: Sequence[Incident] = (), lease_s: int = 900) -> Plan:
    """Devices at lyon, and a version 2 for all of them at once."""
    strategy = {"kind": "site_atomic", "lease_s": lease_s}
    begins = begun("2", BEGUN_S, **SITES | {"waves": ["rest"], "strategy": strategy})
    return world(first(), made("2", MADE_S), begins, devices=devices, incidents=incidents, hours=1.5)


def broken(plan: Plan) -> Violation:
    violation = World(plan).run().violation
    assert violation is not None
    return violation


def test_who_is_off_at_one_look_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told that lyon goes back; a is off when that is decided, and on again long before its lease ends."""
    decisions_for = siting.decisions_for

    def commits_alone(tables: Tables, assignments: Iterable[Assignment]) -> tuple[SiteDecision, ...]:
        return tuple(each for each in decisions_for(tables, assignments) if each.verdict is SiteVerdict.COMMIT)

    monkeypatch.setattr(siting, "decisions_for", commits_alone)
    monkeypatch.setattr(sets, "decisions_for", commits_alone)
    off = Incident(at_s=BEGUN_S + 20, kind=FaultKind.POWER_CUT, who="a", lasts_s=120.0)
    slow = device("d", site="lyon", bytes_s=1_000.0, natures=FAILS)
    found = broken(lyon(device("a", site="lyon"), slow, incidents=[off]))
    assert (found.rule, found.who) == (Rule.SITE_MIXED, "a")
    assert "told to revert" in found.text


def test_a_line_that_carries_other_things_first_has_its_own_time() -> None:
    """a has what it asked for a second time in front of the word that lyon goes back: it hears it after minutes."""
    slow, wrong = device("a", site="lyon", bytes_s=2_000.0), device("d", site="lyon", bytes_s=1_950.0, natures=FAILS)
    plan = replace(lyon(slow, wrong, lease_s=3_600), weights_bytes=400_000)
    ending = played(plan)
    assert ending.outcome.violation is None
    (decided_s,) = ending.times("server_says", kind="site_decided")
    (back_s,) = ending.times("receipt", "a", cause="SITE_REVERTED")
    assert back_s - decided_s > 120


def test_a_commit_at_the_end_of_a_lease_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever decides forgets that leases end: d is prepared when the one of a, that nobody hears, is nearly over."""
    decide = sites.decide

    def without_leases(site: Site, now_s: float) -> SiteRuling | None:
        return decide(
            replace(site, residents=tuple(replace(each, lease_until_s=None) for each in site.residents)), now_s
        )

    monkeypatch.setattr(sites, "decide", without_leases)
    cut = [Incident(at_s=BEGUN_S + 60, kind=FaultKind.PARTITION, who="a", lasts_s=1_500.0)]
    cut.append(Incident(at_s=BEGUN_S + 2, kind=FaultKind.PARTITION, who="d", lasts_s=270.0))
    slow = device("d", site="lyon", bytes_s=20_000.0)
    found = broken(lyon(device("a", site="lyon"), slow, incidents=cut, lease_s=300))
    assert (found.rule, found.who) == (Rule.DECIDED_TOO_LATE, "a")


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
