"""What is decided about a site that moves whole, and who of it may begin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_contract.ids import DeviceId, IncarnationId, ModelName
from pinnace_contract.latest import ModelState, Phase, SiteVerdict
from pinnace_server.domain.plans import Held, WaitingOn
from pinnace_server.domain.ramp import Agreement, Mover, Part, Ramp, Wave, moving
from pinnace_server.domain.records import Slot
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.domain.sites import (
    CLOCK_OFF_S,
    MARGIN_S,
    Resident,
    Site,
    Stay,
    decide,
    lease_until_s,
    waits,
    whole,
)

NOW = 10_000.0
LEASE_END = NOW + 900.0
HELD = Held(waiting_on=WaitingOn.DEVICE_OFFLINE)


def at(*stays: Stay, **more: Any) -> Site:
    """A site with a device of each kind; prepared ones have a quarter of an hour left."""
    residents = tuple(
        Resident(
            device=DeviceId(f"camera-{n}"),
            stay=stay,
            why="GOLDEN_MISMATCH" if stay is Stay.ENDED_BADLY else "",
            lease_until_s=LEASE_END if stay is Stay.PREPARED else None,
        )
        for n, stay in enumerate(stays)
    )
    return Site(name="lyon", wave=1, residents=residents, **more)


def verdict(site: Site, now_s: float = NOW) -> SiteVerdict | None:
    found = decide(site, now_s)
    return None if found is None else found.verdict


@pytest.mark.parametrize(
    ("stays", "expected"),
    [
        ((), None),
        ((Stay.WAITING, Stay.WAITING), None),
        ((Stay.PREPARED, Stay.WAITING), None),
        ((Stay.PREPARED, Stay.UNDER_WAY), None),
        ((Stay.PREPARED, Stay.PREPARED), SiteVerdict.COMMIT),
        ((Stay.PREPARED, Stay.KEEPS), SiteVerdict.COMMIT),
        ((Stay.KEEPS, Stay.KEEPS), None),
        ((Stay.PREPARED, Stay.OUT), SiteVerdict.COMMIT),
        ((Stay.OUT, Stay.OUT), None),
        ((Stay.PREPARED, Stay.ENDED_BADLY), SiteVerdict.REVERT),
        ((Stay.WAITING, Stay.ENDED_BADLY), SiteVerdict.REVERT),
        ((Stay.ENDED_BADLY,), SiteVerdict.REVERT),
    ],
)
def test_a_site_commits_when_all_that_count_are_prepared_and_goes_back_with_the_first(
    stays: tuple[Stay, ...], expected: SiteVerdict | None
) -> None:
    assert verdict(at(*stays)) is expected


def test_a_decision_says_who_failed() -> None:
    found = decide(at(Stay.PREPARED, Stay.ENDED_BADLY), NOW)
    assert found is not None
    assert (found.why, found.prepared, found.counted) == ("camera-1: GOLDEN_MISMATCH", 1, 2)


def test_nothing_is_decided_twice() -> None:
    ruling = decide(at(Stay.PREPARED), NOW)
    assert ruling is not None
    assert decide(at(Stay.PREPARED, Stay.ENDED_BADLY, ruling=ruling), NOW) is None


@given(st.lists(st.sampled_from(list(Stay)), max_size=6), st.floats(-500, 2_000))
def test_no_commit_is_signed_when_a_lease_is_about_to_end_and_none_without_everybody(
    stays: list[Stay], later_s: float
) -> None:
    site = at(*stays)
    found = verdict(site, NOW + later_s)
    if found is SiteVerdict.COMMIT:
        assert NOW + later_s <= LEASE_END - MARGIN_S
        assert {each.stay for each in site.counted} <= {Stay.PREPARED, Stay.KEEPS}
    prepared_one = any(each.stay is Stay.PREPARED for each in site.residents)
    if prepared_one and NOW + later_s > LEASE_END - MARGIN_S:
        assert found is SiteVerdict.REVERT


@pytest.mark.parametrize(
    ("stays", "said"),
    [
        (
            (Stay.PREPARED, Stay.UNDER_WAY, Stay.WAITING, Stay.KEEPS),
            "waits for 2 of 4 at site lyon (camera-1, camera-2)",
        ),
        ((Stay.PREPARED, *[Stay.UNDER_WAY] * 4), "waits for 4 of 5 at site lyon (camera-1, camera-2, camera-3 …)"),
        ((Stay.PREPARED,), "all 1 at site lyon are prepared, and it is decided at once"),
    ],
)
def test_what_is_waited_for_is_said(stays: tuple[Stay, ...], said: str) -> None:
    assert waits(at(*stays)) == said


@pytest.mark.parametrize(
    ("stays", "mixed"),
    [
        ((Stay.KEEPS, Stay.KEEPS), False),
        ((Stay.KEEPS, Stay.PREPARED), True),
        ((Stay.PREPARED, Stay.PREPARED), False),
        ((Stay.KEEPS, Stay.OUT), False),
        ((Stay.KEEPS, Stay.ENDED_BADLY), True),
    ],
)
def test_a_site_is_mixed_when_some_keep_it_and_others_do_not(stays: tuple[Stay, ...], mixed: bool) -> None:
    assert at(*stays).mixed is mixed


# --- leases -------------------------------------------------------------------------------------------------------


def prepared(left_s: int | None = 600, phase: Phase = Phase.PREPARED, generation: int = 7) -> ModelState:
    return ModelState(model=ModelName("digits"), generation=generation, phase=phase, lease_left_s=left_s)


def slot(state: ModelState, until_s: float | None) -> Slot:
    return Slot(
        device=DeviceId("camera-1"),
        model=state.model,
        state=state,
        incarnation=IncarnationId("a" * 32),
        seq=1,
        said_at_s=NOW,
        lease_until_s=until_s,
    )


@pytest.mark.parametrize(
    ("said_at_s", "expected"),
    [
        (NOW, NOW + 600),
        (NOW - 100, NOW + 500),  # it was under way for long
        (NOW + 100, NOW + 600),  # a clock that is ahead prolongs nothing
        (NOW - CLOCK_OFF_S - 1, NOW + 600),  # one that is far behind says nothing
    ],
)
def test_a_lease_ends_when_the_device_says_or_before(said_at_s: float, expected: float) -> None:
    assert lease_until_s(prepared(), said_at_s, NOW, None) == expected


def test_saying_it_again_makes_no_lease_longer() -> None:
    before = slot(prepared(), NOW + 300)
    assert lease_until_s(prepared(), NOW, NOW, before) == NOW + 300
    assert lease_until_s(prepared(left_s=100), NOW, NOW, before) == NOW + 100
    assert lease_until_s(prepared(generation=8), NOW, NOW, before) == NOW + 600


def test_what_is_not_prepared_has_no_lease() -> None:
    assert lease_until_s(prepared(phase=Phase.TRIAL), NOW, NOW, None) is None
    assert lease_until_s(prepared(left_s=None), NOW, NOW, None) is None


# --- who may begin ------------------------------------------------------------------------------------------------


def mover(n: int, **more: Any) -> Mover:
    given = {"device": DeviceId(f"camera-{n}"), "wave": 1, "part": Part.WAITING, "site": "lyon"} | more
    return Mover(**given)


def let(
    *movers: Mover, sites: tuple[Site, ...] = (), most: int | None = None
) -> tuple[list[str], dict[str, WaitingOn]]:
    policy = reading.read({"cohort": "", "strategy": "site_atomic", "budgets": {"devices_in_flight_max": most}})
    ramp = Ramp(policy=policy, waves=(Wave(number=1, devices=9, started_at_s=1.0),), agreements=_NOBODY)
    found = moving(ramp, whole(movers, {each.name: each for each in sites}, ramp.begun))
    return list(found.now), {str(device): held.waiting_on for device, held in found.held.items()}


_NOBODY: tuple[Agreement, ...] = ()
WAITS = at(Stay.WAITING, Stay.WAITING)
KIEL = replace(WAITS, name="kiel")


def test_a_site_begins_as_a_whole_or_not_at_all() -> None:
    assert let(mover(0), mover(1), sites=(WAITS,))[0] == ["camera-0", "camera-1"]
    now, held = let(mover(0), mover(1, held=HELD), sites=(WAITS,))
    assert (now, held) == ([], {"camera-0": WaitingOn.SITE, "camera-1": WaitingOn.DEVICE_OFFLINE})


@pytest.mark.parametrize("on", [WaitingOn.QUARANTINED, WaitingOn.CLONE_SUSPECTED])
def test_a_device_in_quarantine_keeps_nobody_back(on: WaitingOn) -> None:
    now, held = let(mover(0), mover(1, held=Held(waiting_on=on)), sites=(WAITS,))
    assert (now, list(held)) == (["camera-0"], ["camera-1"])


def test_a_site_that_began_goes_on_although_one_of_it_vanished() -> None:
    begun = at(Stay.UNDER_WAY, Stay.WAITING, Stay.WAITING)
    now, _ = let(mover(0, part=Part.OVER), mover(1), mover(2, held=HELD), sites=(begun,))
    assert now == ["camera-1"]


def test_nobody_of_a_site_that_went_back_is_told() -> None:
    ruling = decide(at(Stay.WAITING, Stay.ENDED_BADLY), NOW)
    now, held = let(mover(0), sites=(at(Stay.WAITING, Stay.ENDED_BADLY, ruling=ruling),))
    assert (now, held) == ([], {"camera-0": WaitingOn.SITE})


def test_a_joiner_of_a_site_that_commits_is_told_by_itself() -> None:
    ruling = decide(at(Stay.PREPARED), NOW)
    now, _ = let(mover(0), mover(1, held=HELD), sites=(at(Stay.KEEPS, Stay.WAITING, ruling=ruling),))
    assert now == ["camera-0"]


def test_budgets_let_whole_sites() -> None:
    lyon = [mover(n) for n in (0, 1)]
    kiel = [mover(n, site="kiel") for n in (2, 3)]
    now, held = let(*lyon, *kiel, sites=(WAITS, KIEL), most=3)
    assert now == ["camera-0", "camera-1"]
    assert held == {"camera-2": WaitingOn.BUDGET, "camera-3": WaitingOn.BUDGET}
    assert let(*lyon, *kiel, sites=(WAITS, KIEL), most=4)[0] == ["camera-0", "camera-1", "camera-2", "camera-3"]


def test_nobody_takes_the_places_of_a_site_that_goes_whole() -> None:
    """Devices of several sites stand in one queue: the first of kiel takes the places of all of it."""
    queue = [mover(0, site="kiel"), mover(1), mover(2), mover(3, site=""), mover(4, site="kiel")]
    now, held = let(*queue, sites=(WAITS, KIEL), most=3)
    assert now == ["camera-0", "camera-3", "camera-4"]
    assert held == {"camera-1": WaitingOn.BUDGET, "camera-2": WaitingOn.BUDGET}


def test_nobody_goes_with_a_site_above_the_budget() -> None:
    queue = [mover(0), mover(3, site=""), mover(1), mover(2)]
    now, held = let(*queue, sites=(at(*[Stay.WAITING] * 3),), most=2)
    assert (now, held) == (["camera-0", "camera-1", "camera-2"], {"camera-3": WaitingOn.BUDGET})


def test_a_site_above_the_budget_goes_by_itself() -> None:
    lyon = [mover(n) for n in (0, 1, 2)]
    site = at(*[Stay.WAITING] * 3)
    assert let(*lyon, sites=(site,), most=1)[0] == ["camera-0", "camera-1", "camera-2"]
    busy = mover(9, site="kiel", part=Part.IN_FLIGHT)
    now, held = let(busy, *lyon, sites=(site,), most=1)
    assert (now, set(held.values())) == ([], {WaitingOn.BUDGET})


def test_a_device_without_a_site_goes_alone() -> None:
    assert let(mover(0, site=""), mover(1, held=HELD), sites=(WAITS,))[0] == ["camera-0"]
