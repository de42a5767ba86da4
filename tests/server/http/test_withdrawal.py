"""Withdrawing a version and replacing a device over the API, as an operator's program would."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.http.conftest import Api
from tests.server.world import MODEL, TestedDevice

ONE = f"/models/{MODEL}/versions/1"


@pytest.fixture
def device(api_server: Api) -> TestedDevice:
    server = api_server.server
    made = server.device("camera", labels={"site": "lyon"})
    server.assign(server.version("1"))
    made.commit()
    server.controller.tick()
    return made


def post(api: Api, path: str, body: Any, status: int = 200) -> Any:
    answer = api.client.post(f"/api/v1{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def get(api: Api, path: str) -> Any:
    answer = api.client.get(f"/api/v1{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_preview_says_who_would_go_dark_and_withdraws_nothing(api_server: Api, device: TestedDevice) -> None:
    api_server.server.aliases.point(MODEL, "production", "1", "ann")
    seen = post(api_server, f"{ONE}/withdrawal/preview", {"mode": "stop", "security": True})
    assert (seen["serving"], seen["dark"], seen["told"]) == ([device.id], [device.id], 1)
    assert (seen["aliases"], seen["before"], seen["least_next_epoch"]) == (["production"], None, 1)
    assert get(api_server, ONE)["withdrawn"] is None


def test_stopping_asks_for_the_number_of_devices_that_go_dark(api_server: Api, device: TestedDevice) -> None:
    body = {"mode": "stop", "reason": "reads zeros as eights"}
    refused = post(api_server, f"{ONE}/withdrawal", body, 409)
    assert (refused["code"], refused["hint"]) == ("CONFIRM_DARK", "say that you know it: --confirm-dark 1")
    assert device.id in refused["message"]
    done = post(api_server, f"{ONE}/withdrawal", {**body, "confirm_dark": 1})
    assert (done["version"]["withdrawn"], done["version"]["withdrawn_by"]) == ("stop", "admin")
    assert (done["did"]["dark"], done["rollbacks"]) == ([device.id], [])
    shown = get(api_server, ONE)
    assert (shown["withdrawn"], shown["withdrawn_reason"]) == ("stop", "reads zeros as eights")
    assert get(api_server, "/events?kind=withdrawn")["items"][0]["data"]["dark"] == "1"


def test_stop_is_not_taken_back(api_server: Api, device: TestedDevice) -> None:
    post(api_server, f"{ONE}/withdrawal", {"mode": "retire", "reason": "why"})
    post(api_server, f"{ONE}/withdrawal", {"mode": "stop", "reason": "why", "confirm_dark": 1})
    refused = post(api_server, f"{ONE}/withdrawal", {"mode": "retire", "reason": "why"}, 409)
    assert refused["code"] == "WITHDRAWN"


def test_withdrawn_version_is_not_assigned(api_server: Api, device: TestedDevice) -> None:
    post(api_server, f"{ONE}/withdrawal", {"mode": "retire", "reason": "why"})
    refused = post(api_server, "/assignments", {"model": MODEL, "version": "1"}, 409)
    assert refused["code"] == "WITHDRAWN"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        pytest.param(f"{ONE}/withdrawal", {"mode": "retire"}, 422, id="no reason"),
        pytest.param(f"{ONE}/withdrawal", {"mode": "retire", "reason": " "}, 400, id="a blank reason"),
        pytest.param(f"{ONE}/withdrawal", {"mode": "unknown", "reason": "x"}, 422, id="no such mode"),
        pytest.param(f"/models/{MODEL}/versions/9/withdrawal", {"mode": "stop", "reason": "x"}, 404, id="no version"),
    ],
)
def test_withdrawal_that_is_not_one_is_refused(
    api_server: Api, device: TestedDevice, path: str, body: dict[str, str], status: int
) -> None:
    assert post(api_server, path, body, status)["message"]
    assert get(api_server, ONE)["withdrawn"] is None


def test_device_takes_the_place_of_another(api_server: Api, device: TestedDevice) -> None:
    new = api_server.server.device("new")
    done = post(api_server, f"/devices/{device.id}/replace", {"by": new.id, "reason": "lens broken"})
    assert (done["device"], len(done["rollouts"]), done["left_out"]) == (new.id, 1, {})
    assert get(api_server, f"/devices/{new.id}")["labels"] == {"site": "lyon"}
    assert get(api_server, f"/devices/{device.id}")["state"] == "decommissioned"
    again = post(api_server, f"/devices/{device.id}/replace", {"by": new.id}, 409)
    assert "decommissioned already" in again["message"]
    assert post(api_server, f"/devices/{new.id}/replace", {"by": "No One"}, 404)["code"] == "NOT_FOUND"
