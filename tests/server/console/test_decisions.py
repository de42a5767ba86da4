"""What was decided, where an operator looks for it: variants, switches, aliases and cohorts, over the real services."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from pinnace_contract.ids import VersionName
from pinnace_contract.latest import Phase, Running
from pinnace_server.console import mount
from pinnace_server.console.words import length_of_time
from pinnace_server.domain.aliases import AliasRule
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.records import AliasName, Rollout
from pinnace_server.domain.selector import parse
from pinnace_server.domain.waiting import WORDS
from pinnace_server.service.door import TokenDoor, hash_of
from pinnace_server.service.steering import Steering
from pinnace_server.service.whys import Whys
from tests.server.console.conftest import HOST, sign_in
from tests.server.console.fleet import TOKEN
from tests.server.console.page import Element, links, read
from tests.server.service.test_variant_profiles import commits, measured, version
from tests.server.world import MODEL, Server, TestedDevice


@pytest.fixture
def console(server: Server) -> Iterator[TestClient]:
    """Somebody who is signed in to a console over the server's services."""
    app = FastAPI()
    mounted = mount(
        app,
        world=server.world,
        rollouts=server.rollouts,
        steering=server.steering,
        whys=Whys(server.world),
        door=TokenDoor(hash_of(TOKEN)),
        version="0.1.0",
    )
    with TestClient(app, base_url=HOST, follow_redirects=False) as client:
        sign_in(client)
        yield client
    mounted.close()


def page(console: TestClient, address: str) -> str:
    answer = console.get(address)
    assert answer.status_code == 200, answer.text
    return answer.text


def section(html: str, key: str) -> Element | None:
    found = (each for each in read(html).all("section") if each.attributes.get("data-key") == key)
    return next(found, None)


def words_of(html: str, key: str) -> str:
    found = section(html, key)
    assert found is not None, f"there is no section {key}"
    return found.words


# --- variants -----------------------------------------------------------------------------------------------------


def test_device_page_says_which_variant_it_was_dealt_and_what_its_hardware_measured(
    server: Server, console: TestClient
) -> None:
    _, devices = measured(server)
    second = version(server, "2")
    rollout = server.climb(second, waves=["rest"], holdback=None)
    for device in devices[:2]:
        commits(device, second, 1, 400.0)
    html = page(console, f"/devices/{devices[5].id}")
    said = words_of(html, f"choice-{rollout.id}")
    assert "It tries int8-static because 4 ms p95 on test, fp32 11 ms; from 3 receipts of version 1." in said
    assert "The policy asks for the fastest." in said
    assert "int8-static first 400 2 receipts too few to choose by" in said
    assert "fp32 second not measured none" in said
    assert f"/rollouts/{rollout.id}" in links(html)


def test_device_page_says_that_an_assignment_takes_the_releases_order(server: Server, console: TestClient) -> None:
    _, devices = measured(server)
    (slot,) = [
        each for each in read(page(console, f"/devices/{devices[0].id}")).all("section") if "Variant of" in each.words
    ]
    assert "fp32 because the release lists it first, and a plain assignment takes that order" in slot.words
    assert "3 receipts" in slot.words
    assert "too few" not in slot.words
    server.assign(server.version("2"))
    assert "Variant of" not in read(page(console, f"/devices/{devices[0].id}")).words


# --- a switch ------------------------------------------------------------------------------------------------------


def paired(server: Server) -> tuple[Rollout, list[TestedDevice]]:
    """A blue/green rollout of three devices in its first wave, which were told to be ready."""
    first = server.version("1")
    made = [server.device(f"camera-{n}") for n in range(3)]
    server.assign(first)
    for device in made:
        device.commit()
        device.send_birth(600)
    policy = {"strategy": {"kind": "blue_green", "wait_s": 1_800}, "waves": ["rest"], "holdback": None}
    rollout = server.climb(server.version("2"), **policy)
    server.controller.tick()
    return rollout, made


def is_ready(device: TestedDevice) -> None:
    entry = device.entry()
    assert entry is not None
    assert entry.release is not None
    candidate = Running(release=entry.release, variant=entry.variants[0], version=VersionName("2"), sequence=2)
    device.say(device.state(generation=entry.generation, phase=Phase.READY, candidate=candidate))


def test_rollout_page_says_whom_a_wave_waits_for_before_it_switches_and_until_when(
    server: Server, console: TestClient
) -> None:
    rollout, devices = paired(server)
    assert section(page(console, f"/rollouts/{rollout.id}"), "switch") is None
    is_ready(devices[0])
    is_ready(devices[1])
    server.controller.tick()
    server.clock.move(120)
    server.controller.tick()
    html = page(console, f"/rollouts/{rollout.id}")
    said = words_of(html, "switch")
    assert "Switch of wave 1 2 of 3 devices are ready" in said
    assert "at the latest in 28 min" in said
    assert "30 minutes after the first of them was ready" in said
    assert f"{devices[2].id} waits for" in said
    assert devices[0].id not in said
    assert f"/devices/{devices[2].id}" in links(html)
    assert "is made ready" in words_of(html, "waves")
    assert "those that are ready switch in 28 min at the latest" in words_of(html, "why")
    assert "the policy decides" not in words_of(html, "why")


def test_rollout_page_says_when_a_wave_was_told_to_switch(server: Server, console: TestClient) -> None:
    rollout, devices = paired(server)
    for device in devices:
        is_ready(device)
    for _ in range(3):
        server.clock.move(10)
        server.controller.tick()
    html = page(console, f"/rollouts/{rollout.id}")
    assert section(html, "switch") is None
    assert "told to switch" in words_of(html, "waves")
    assert "is made ready" not in words_of(html, "waves")


# --- a cohort ------------------------------------------------------------------------------------------------------


def test_rollout_page_says_who_widened_and_narrowed_it_from_what_to_what(server: Server, console: TestClient) -> None:
    devices = [server.device(f"camera-{n}", labels={"site": ("lyon", "turin")[n % 2]}) for n in range(4)]
    server.assign(server.version("1"))
    for device in devices:
        device.commit()
    rollout = server.climb(server.version("2"), cohort="site=lyon", waves=[1, "rest"], holdback=None)
    html = page(console, f"/rollouts/{rollout.id}")
    assert section(html, "cohort") is None
    assert "EARLIER_WAVE" not in html
    assert "an earlier wave: 1" in html
    steering = Steering(server.world)
    steering.change_cohort(rollout.id, parse("site in (lyon, turin)"), actor="ana")
    server.clock.move(3_600)
    steering.change_cohort(rollout.id, parse(""), actor="bob")
    said = words_of(page(console, f"/rollouts/{rollout.id}"), "cohort")
    newest, oldest = said.index("by bob"), said.index("by ana")
    assert newest < oldest
    assert "0 joined, 0 let go, by bob from site in (lyon, turin) to every device" in said
    assert "2 joined, 0 let go, by ana from site=lyon to site in (lyon, turin)" in said
    assert "1 h ago" in said


# --- aliases -------------------------------------------------------------------------------------------------------


def test_model_page_says_where_aliases_point_by_which_rule_and_what_is_missing(
    server: Server, console: TestClient
) -> None:
    device = server.device("camera-1")
    server.version("1")
    server.aliases.point(MODEL, "staging", "1", "ana", reason="better at night")
    server.aliases.set_rule(
        AliasRule(model=MODEL, alias=AliasName("production"), source=AliasName("staging"), approvals=1), "ana"
    )
    said = words_of(page(console, f"/models/{MODEL}"), "aliases")
    assert "staging → 1 now set by hand by ana: better at night No rule: it is set by hand." in said
    assert "production points at no version" in said
    assert "Rule: it is promoted from staging, after a finished rollout with no device that failed" in said
    assert "In line: 1; missing: it needs a finished rollout of this version, and none has ended" in said
    assert "; one person must approve, nobody did" in said
    with server.store.read() as tables:
        first = tables.versions.get(MODEL, VersionName("1"))
    assert first is not None
    rollout = server.assign(first)
    device.commit()
    server.controller.tick()
    server.aliases.approve(MODEL, "production", "1", "bob")
    said = words_of(page(console, f"/models/{MODEL}"), "aliases")
    assert "approved by bob; nothing is missing" in said
    assert f"pinnace promote {MODEL} --from staging --to production" in said
    server.aliases.promote(MODEL, "production", source="staging", version="1", actor="ana", reason="a week on line 3")
    html = page(console, f"/models/{MODEL}")
    assert (
        f"promoted by its rule by ana, after the rollout {rollout.id}, approved by bob: a week on line 3"
        in words_of(html, "aliases")
    )
    assert f"/rollouts/{rollout.id}" in links(html)
    assert "In line" not in words_of(html, "aliases")


def test_model_page_says_where_aliases_pointed_since_when_and_who_moved_them(
    server: Server, console: TestClient
) -> None:
    server.device("camera-1")
    server.version("1")
    server.version("2")
    assert "No aliases yet" in words_of(page(console, f"/models/{MODEL}"), "aliases")
    assert section(page(console, f"/models/{MODEL}"), "pointed") is None
    server.aliases.point(MODEL, "production", "1", "ana", reason="the first")
    server.clock.move(3_600)
    server.aliases.point(MODEL, "production", "2", "bob", reason="faster")
    table = section(page(console, f"/models/{MODEL}"), "pointed")
    assert table is not None
    rows = [[cell.words for cell in (*row.all("th"), *row.all("td"))] for row in table.all("tr")][1:]
    assert [row[:2] for row in rows] == [["production", "2"], ["production", "1"]]
    assert rows[0][3] == "now"
    assert rows[0][4] == "set by hand by bob: faster"
    assert rows[1][2].endswith("UTC")
    assert rows[1][3] == rows[0][2]
    assert rows[1][5] == "by bob: faster"


# --- words ---------------------------------------------------------------------------------------------------------


def test_everything_that_can_be_waited_for_has_words() -> None:
    assert set(WORDS) == set(WaitingOn)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3_600, "1 hour"), (5_400, "1.5 hours"), (90, "1.5 minutes"), (86_400, "1 day"), (61, "61 s"), (3_700, "3,700 s")],
)
def test_length_of_time_is_said_in_the_largest_unit_that_leaves_a_short_number(seconds: int, said: str) -> None:
    assert length_of_time(seconds) == said
