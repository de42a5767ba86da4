"""Whether windows are open by a clock on the wall, and that the checks see who is changed outside of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from pinnace_server.domain.plans import Held
from pinnace_server.domain.ramp import Mover, _Room
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.service import ramps
from pinnace_sim.activation_checks import is_open
from pinnace_sim.checks import Rule, Violation
from pinnace_sim.plan import DevicePlan, Plan
from pinnace_sim.scenarios.ending import played
from pinnace_sim.scenarios.form import begun, device, first, made, world
from pinnace_sim.world import World

NIGHT = {"weekly": [{"days": ["mon"], "opens": "22:00", "closes": "02:00"}], "zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-11-23T21:59", False),
        ("2026-11-23T22:00", True),
        ("2026-11-24T01:59", True),
        ("2026-11-24T02:00", False),
        ("2026-11-24T22:30", False),
    ],
)
def test_window_is_open_by_the_clock_of_its_site_also_past_midnight(at: str, expected: bool) -> None:
    windows = reading.read({"cohort": "", "windows": NIGHT}).windows
    assert windows is not None
    at_s = datetime.fromisoformat(at).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    assert is_open(windows, "Europe/Berlin", at_s) is expected


def changing(*devices: DevicePlan, **policy: object) -> Plan:
    gates = {"soak_s": 60, "exposure": {"duration_s": 0}}
    begins = begun("2", 3_600.0, strategy="all_at_once", gates=gates, **policy)
    return world(first(), made("2", 3_590.0), begins, devices=devices, hours=2.0)


def at_site(*names: str) -> list[DevicePlan]:
    return [device(name, site="kiel") for name in names]


def broken(plan: Plan) -> Violation | None:
    return World(plan).run().violation


CLOSED = {"weekly": [{"opens": "14:00", "closes": "16:00"}], "zone": "Asia/Kolkata"}
"""Worlds begin at noon UTC, which is half past five in the afternoon there: it opens tomorrow."""


def test_who_begins_outside_its_windows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = changing(*at_site("a"), windows=CLOSED)
    assert broken(plan) is None, "it waits, and may"
    monkeypatch.setattr(ramps._Zones, "of", _always_open)
    found = broken(plan)
    assert found is not None
    assert (found.rule, found.who) == (Rule.OUTSIDE_WINDOW, "a")


def _always_open(_zones: object, _named: str | None) -> Held | None:
    return None


@pytest.mark.parametrize("least", ["50%", 1])
def test_a_site_that_is_emptied_is_found(least: str | int, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = changing(*at_site("a", "b"), budgets={"healthy_per_site_min": least})
    assert broken(plan) is None, "one goes after the other"
    monkeypatch.setattr(_Room, "take", _counts_nobody)
    found = broken(plan)
    assert found is not None
    assert found.rule is Rule.TOO_FEW_HEALTHY
    assert "nobody stay(s)" in found.text


def _counts_nobody(_room: object, _mover: Mover) -> None:
    """Whoever is let go is missed by nobody."""


def test_a_site_does_without_who_is_under_way_in_another_rollout() -> None:
    """b, whose link is slow, fetches version 2; a is not told of version 3 before b has it: one of kiel must stay."""
    a, b = at_site("a", "b")
    plan = world(
        first(),
        made("2", 3_580.0),
        made("3", 3_590.0),
        begun("2", 3_600.0, strategy="all_at_once", cohort="device=b-8a7858"),
        begun("3", 3_610.0, strategy="all_at_once", budgets={"healthy_per_site_min": 1}),
        devices=[a, replace(b, bytes_s=1_000.0)],
        hours=1.5,
    )
    ending = played(plan)
    assert ending.outcome.violation is None
    (has_it_s,) = ending.times("receipt", "b", version="2", outcome="committed")
    assert ending.times("phase", "a", phase="offered")[-1] > has_it_s


def test_a_device_without_a_site_is_of_no_site() -> None:
    plan = changing(*(replace(each, labels=()) for each in at_site("a", "b")), budgets={"healthy_per_site_min": 1})
    assert broken(plan) is None
