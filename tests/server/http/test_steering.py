"""A rollout in waves over the API, as an operator's program would steer it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from pinnace_server.cli.steering import problem_of
from tests.server.http.conftest import Api
from tests.server.world import MODEL, TestedDevice

QUICK = {"cohort": "", "waves": [1, "rest"], "holdback": None, "gates": {"soak_s": 600}}


@pytest.fixture
def devices(api_server: Api) -> list[TestedDevice]:
    server = api_server.server
    made = [server.device(f"camera-{n}", labels={"site": "lyon"}) for n in range(3)]
    server.assign(server.version("1"))
    for device in made:
        device.commit()
    server.version("2")
    return made


def post(api: Api, path: str, body: Any, status: int = 200) -> Any:
    answer = api.client.post(f"/api/v1{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def get(api: Api, path: str) -> Any:
    answer = api.client.get(f"/api/v1{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def is_told(device: TestedDevice) -> bool:
    entry = device.entry()
    return entry is not None and device.current is not None and entry.release != device.current.release


def begun(api: Api, **changes: Any) -> str:
    body = {"model": MODEL, "version": "2", "policy": {**QUICK, **changes}}
    rollout = post(api, "/rollouts", body, 201)
    api.server.controller.tick()
    return str(rollout["id"])


def test_a_rollout_begins_and_shows_its_waves(api_server: Api, devices: list[TestedDevice]) -> None:
    rollout = get(api_server, f"/rollouts/{begun(api_server)}")
    assert (rollout["strategy"], rollout["paused"]) == ("canary", "")
    assert rollout["policy"]["waves"] == [1, "rest"]
    assert rollout["policy"]["gates"]["guards"]["errors"] == {"points": 0.5, "ratio": 1.25}, "defaults are written out"
    assert [(wave["number"], wave["devices"]) for wave in rollout["waves"]] == [(1, 1), (2, 2)]
    assert rollout["waves"][0]["states"] == {"assigned": 1}
    assert rollout["waves"][1]["started_at_s"] is None
    assert rollout["waiting_on"] == {"ANSWER": 1, "EARLIER_WAVE": 2}


def test_a_plain_assignment_has_no_waves(api_server: Api, devices: list[TestedDevice]) -> None:
    made = post(api_server, "/assignments", {"model": MODEL, "version": "2"}, 201)
    rollout = get(api_server, f"/rollouts/{made['id']}")
    assert (rollout["strategy"], rollout["policy"], rollout["waves"]) == ("plain", None, [])
    answer = post(api_server, f"/rollouts/{made['id']}/pause", {"reason": "lunch"}, 409)
    assert "plain assignment" in answer["message"]


def test_a_preview_begins_nothing(api_server: Api, devices: list[TestedDevice]) -> None:
    seen = post(api_server, "/rollouts/preview", {"model": MODEL, "version": "2", "policy": QUICK})
    assert get(api_server, "/rollouts")["total"] == 1
    assert [(wave["number"], len(wave["devices"])) for wave in seen["waves"]] == [(1, 1), (2, 2)]
    assert seen["waves"][0]["hardware"] == {"test": 1}
    assert seen["foresight"].startswith("what this fleet could notice is not known: nobody asked")
    real = begun(api_server)
    first = [each["device"] for each in get(api_server, f"/rollouts/{real}/devices")["items"] if each["wave"] == 1]
    assert first == seen["waves"][0]["devices"], "it is dealt as it was shown"


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"cohort": "site="}, "policy.cohort.selector: selector: expected a value for site"),
        ({"cohort": "", "waves": [1, 2]}, "policy.waves: expected 'rest' as the last wave"),
        ({"cohort": "", "wave": ["rest"]}, "wave"),
        ({"cohort": "", "strategy": "blue"}, "blue_green, site_atomic, found 'blue'"),
        ({}, "cohort"),
    ],
)
def test_a_policy_that_means_nothing_is_refused_in_words(
    api_server: Api, devices: list[TestedDevice], policy: dict[str, Any], said: str
) -> None:
    answer = post(api_server, "/rollouts", {"model": MODEL, "version": "2", "policy": policy}, 400)
    assert said in answer["message"]


def test_it_is_paused_resumed_approved_and_promoted(api_server: Api, devices: list[TestedDevice]) -> None:
    name = begun(api_server, approvals=[{"before": 2}])
    assert post(api_server, f"/rollouts/{name}/pause", {"reason": "audit"})["paused"] == "admin: audit"
    assert get(api_server, f"/rollouts/{name}/why")["next"]["command"] == f"pinnace rollout resume {name}"
    assert post(api_server, f"/rollouts/{name}/resume", {})["paused"] == ""
    post(api_server, f"/rollouts/{name}/promote", {"wave": 1, "reason": "checked by hand"})
    api_server.server.controller.tick()
    why = get(api_server, f"/rollouts/{name}/why")
    assert (why["waiting_on"], why["next"]["kind"], why["next"]["wave"]) == ("APPROVAL", "approve", 2)
    post(api_server, f"/rollouts/{name}/approve", {})
    api_server.server.controller.tick()
    waves = get(api_server, f"/rollouts/{name}")["waves"]
    assert (waves[0]["promoted_by"], waves[1]["states"]) == ("person:admin", {"assigned": 1, "waiting": 1})


def test_a_promotion_says_why(api_server: Api, devices: list[TestedDevice]) -> None:
    name = begun(api_server)
    post(api_server, f"/rollouts/{name}/promote", {"wave": 1, "reason": ""}, 422)


def test_failed_devices_are_retried(api_server: Api, devices: list[TestedDevice]) -> None:
    name = begun(api_server, strategy="all_at_once", waves=["rest"])
    devices[0].end(outcome="failed", cause="NO_ROOM")  # type: ignore[arg-type]
    api_server.server.controller.tick()
    assert post(api_server, f"/rollouts/{name}/retry", {"devices": [devices[0].id]}) == {"devices": 1}
    assert "ended badly" in post(api_server, f"/rollouts/{name}/retry", {}, 409)["message"]


def test_a_cohort_is_narrowed_and_widened(api_server: Api, devices: list[TestedDevice]) -> None:
    name = begun(api_server)
    assert post(api_server, f"/rollouts/{name}/cohort", {"cohort": "site=paris"}) == {"joined": 0, "let_go": 2}
    assert post(api_server, f"/rollouts/{name}/cohort", {"cohort": {"selector": ""}}) == {"joined": 2, "let_go": 0}


def test_a_device_says_why(api_server: Api, devices: list[TestedDevice]) -> None:
    name = begun(api_server)
    waits = [
        answer
        for device in devices
        for answer in get(api_server, f"/devices/{device.id}/why")["answers"]
        if answer["waiting_on"] == "EARLIER_WAVE"
    ]
    assert len(waits) == 2
    assert {answer["rollout"] for answer in waits} == {name}
    assert "wave 1 is not promoted yet" in waits[0]["why"]


def test_a_ruling_hands_out_what_it_was_made_from(api_server: Api, devices: list[TestedDevice]) -> None:
    name = begun(api_server, gates={"soak_s": 0, "hold_timeout_s": 60, "on_hold_timeout": "ask"})
    next(device for device in devices if is_told(device)).commit()
    api_server.server.clock.move(600)
    api_server.server.controller.tick()
    events = get(api_server, f"/events?rollout={name}&kind=wave_asked")["items"]
    (event,) = events
    kept = get(api_server, f"/events/{event['number']}/verdict")
    assert kept["digest"] == event["data"]["record"] == hashlib.sha256(kept["record"].encode()).hexdigest()
    answer = api_server.client.get(f"/api/v1/events/{event['number'] + 1000}/verdict")
    assert answer.status_code == 404


class TestAudit:
    """Somebody who does not believe the server works its rulings out again."""

    @pytest.fixture
    def ruling(self, api_server: Api, devices: list[TestedDevice]) -> tuple[dict[str, Any], str]:
        name = begun(api_server, gates={"soak_s": 0, "hold_timeout_s": 60, "on_hold_timeout": "ask"})
        next(device for device in devices if is_told(device)).commit()
        api_server.server.clock.move(600)
        api_server.server.controller.tick()
        (event,) = get(api_server, f"/events?rollout={name}&kind=wave_asked")["items"]
        return event, get(api_server, f"/events/{event['number']}/verdict")["record"]

    def test_a_true_one_holds(self, ruling: tuple[dict[str, Any], str]) -> None:
        assert problem_of(*ruling) == ""

    @staticmethod
    def forged(event: dict[str, Any], kept: dict[str, Any], **changes: str) -> str:
        record = json.dumps(kept)
        digest = hashlib.sha256(record.encode()).hexdigest()
        return problem_of(event | changes | {"data": event["data"] | {"record": digest}}, record)

    def test_a_record_that_the_log_does_not_name_is_refused(self, ruling: tuple[dict[str, Any], str]) -> None:
        event, record = ruling
        assert "not the one that the log names" in problem_of(event, record + " ")

    def test_a_verdict_that_does_not_follow_is_refused(self, ruling: tuple[dict[str, Any], str]) -> None:
        event, record = ruling
        kept = json.loads(record)
        kept["evidence"]["wave_size"] += 100
        kept["evidence"]["reachable"] += 100
        assert "does not follow" in self.forged(event, kept)

    def test_the_record_of_another_wave_is_refused(self, ruling: tuple[dict[str, Any], str]) -> None:
        event, record = ruling
        kept = json.loads(record)
        kept["about"]["wave"] = 2
        assert "the record is about" in self.forged(event, kept)

    def test_a_ruling_that_the_verdict_does_not_give_is_refused(self, ruling: tuple[dict[str, Any], str]) -> None:
        event, record = ruling
        assert "the verdict hold" in self.forged(event, json.loads(record), kind="wave_promoted")
