"""What verbs print of the API's answers, as a stranger would read it."""

from __future__ import annotations

import time

import pytest

from pinnace_server.cli.aliases import standing_words
from pinnace_server.cli.fleet import device_words
from pinnace_server.cli.rollouts import rollout_words
from pinnace_server.cli.shown import at, waits_for
from pinnace_server.cli.steering import answer_words
from tests.server.http.conftest import Api
from tests.server.http.test_steering import begun, get, is_told, post
from tests.server.service.test_variant_profiles import measured, version
from tests.server.world import MODEL, TestedDevice


@pytest.fixture
def devices(api_server: Api) -> list[TestedDevice]:
    """Three devices that serve the first version; there is a second."""
    server = api_server.server
    made = [server.device(f"camera-{n}") for n in range(3)]
    server.assign(server.version("1"))
    for device in made:
        device.commit()
    server.version("2")
    return made


def test_device_show_says_which_variant_and_why(api_server: Api) -> None:
    server = api_server.server
    _, devices = measured(server)
    rollout = server.climb(version(server, "2"), waves=["rest"], holdback=None)
    answer = get(api_server, f"/devices/{devices[0].id}")
    (choice,) = answer["variants"]
    assert (choice["rule"], choice["order"]) == ("the fastest", ["int8-static", "fp32"])
    lines = [" ".join(line.split()) for line in device_words(answer).splitlines()[-4:]]
    assert lines == [
        f"digits 2 rollout {rollout.id}; the policy asks for the fastest",
        "variant int8-static because 4 ms p95 on test, fp32 11 ms; from 3 receipts of version 1",
        "if it fails then fp32",
        "on test fp32 not measured; int8-static not measured",
    ]


def test_why_and_show_tell_in_words_what_is_waited_for(api_server: Api, devices: list[TestedDevice]) -> None:
    rollout = begun(api_server)
    waiting = next(each for each in devices if not is_told(each))
    (answer,) = get(api_server, f"/devices/{waiting.id}/why")["answers"]
    first, *_ = answer_words(answer).splitlines()
    assert first == f"{waiting.id}: waiting, waits for an earlier wave (EARLIER_WAVE)   [digits 2]"
    said = rollout_words(get(api_server, f"/rollouts/{rollout}"))
    lines = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in said.splitlines()}
    assert lines["selector"] == "every device"
    assert lines["waits for"] == "an answer to what was told: 1; an earlier wave: 2"
    assert lines["evidence"] == "no inference on the release yet"
    post(api_server, f"/rollouts/{rollout}/pause", {"reason": "lunch"})
    (answer,) = get(api_server, f"/devices/{waiting.id}/why")["answers"]
    assert answer["why"].startswith("the rollout is paused (")
    refused = post(api_server, f"/rollouts/{rollout}/pause", {"reason": "lunch"}, 409)
    assert refused["hint"] == f"to go on: pinnace rollout resume {rollout}"


def test_wave_that_waits_for_its_switch_is_not_said_to_wait_for_the_policy() -> None:
    step = {"kind": "switch", "words": "the others are ready", "command": "", "at_s": None, "until_s": 1_000_000.0}
    answer = {"about": "r-1", "state": "active", "why": "2 of 3", "model": "m", "version": "2", "variant": ""}
    said = answer_words({**answer, "waiting_on": "SWITCH", "next": step})
    assert f"(until {at(1_000_000.0)}, then those that are ready switch)" in said
    assert "the policy decides" in answer_words({**answer, "waiting_on": "SWITCH", "next": {**step, "kind": "promote"}})


def test_a_time_names_its_zone_and_a_code_of_a_newer_server_is_shown_as_it_is() -> None:
    assert at(1_000_000.0).endswith(time.strftime("%Z", time.localtime(1_000_000.0)))
    assert waits_for("OF_A_NEWER_SERVER") == "OF_A_NEWER_SERVER"
    assert waits_for(None) == ""


def test_a_promotion_that_was_done_is_not_said_to_lack_an_approval(api_server: Api) -> None:
    server = api_server.server
    server.device("camera")
    server.version("1")
    for alias in ("staging", "production"):
        server.aliases.point(MODEL, alias, "1", "ana")
    rule = {"source": "staging", "needs": [], "failures_max": 0, "approvals": 1}
    assert api_server.client.put(f"/api/v1/models/{MODEL}/aliases/production/rule", json=rule).status_code == 200
    said = standing_words(get(api_server, f"/models/{MODEL}/aliases/production/promotion"))
    assert said.endswith("nothing to move: it points at what is in line already")
    assert "missing" not in said
    server.version("2")
    server.aliases.point(MODEL, "staging", "2", "ana")
    said = standing_words(get(api_server, f"/models/{MODEL}/aliases/production/promotion"))
    assert said.endswith("missing: one person must approve, nobody did")
