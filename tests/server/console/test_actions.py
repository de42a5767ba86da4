"""Assigning and reverting: asked first, done once, refused with a reason, and never by another site."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from pinnace_server.console.actions import API_OF_ACTION, OF_THE_SESSION
from pinnace_server.console.mounting import Console
from pinnace_server.console.screens.models import TYPED_FROM_DEVICES
from pinnace_server.console.screens.rollout_steps import STEPS
from pinnace_server.http import app as http_app
from pinnace_server.service.services import Services
from tests.server.console.fleet import MODEL, Fleet
from tests.server.console.page import form, read

ASSIGN = f"/models/{MODEL}/5/assign"
FORMS = {
    ASSIGN: f"{ASSIGN}?selector=site%3Dlyon",
    "/devices/dev-0006/assign": "/devices/dev-0006/assign",
    "/devices/dev-0006/revert": f"/devices/dev-0006/revert?model={MODEL}",
    "/rollouts/r-5/rollback": "/rollouts/r-5/rollback",
    **{f"/rollouts/r-5/{step.name}": f"/rollouts/r-5/{step.name}" for step in STEPS},
    "/rollouts/new": f"/rollouts/new?model={MODEL}&version=5",
    "/rollouts/preview": f"/rollouts/new?model={MODEL}&version=5",
    "/logout": "/",
}

SENT_BY = {"/rollouts/preview": "/rollouts/new"}  # another button of the same form
WITHOUT_A_REFUSAL = ("/logout", "/rollouts/new", "/rollouts/preview")


def fields_of(operator: TestClient, action: str) -> dict[str, str]:
    return form(operator.get(FORMS[action]).text, SENT_BY.get(action, action))


def test_assigning_to_a_cohort_names_the_count_and_does_it_once(operator: TestClient, fleet: Fleet) -> None:
    page = operator.get(f"{ASSIGN}?selector=site%3Dlyon")
    assert "Assign to 15 devices" in page.text
    assert fleet.moved == []
    answer = operator.post(ASSIGN, data=form(page.text, ASSIGN))
    assert answer.status_code == 303
    assert fleet.moved == [("assign", MODEL, "5", "site=lyon", "admin")]
    after = operator.get(answer.headers["location"])
    assert f"{MODEL} 5 is assigned to 15 devices" in after.text
    assert "is assigned to 15 devices" not in operator.get(answer.headers["location"]).text


def test_refresh_by_itself_does_not_swallow_the_outcome(operator: TestClient) -> None:
    fields = form(operator.get(ASSIGN).text, ASSIGN)
    where = operator.post(ASSIGN, data=fields).headers["location"]
    operator.get(where, headers={"X-Partial": "1", "X-Live": "1"})
    assert "is assigned to" in operator.get(where).text


def test_assigning_to_one_device(operator: TestClient, fleet: Fleet) -> None:
    fields = form(operator.get("/devices/dev-0006/assign").text, "/devices/dev-0006/assign")
    answer = operator.post("/devices/dev-0006/assign", data=fields | {"version": "5"})
    assert answer.headers["location"] == "/devices/dev-0006"
    assert fleet.moved == [("assign", MODEL, "5", "device=dev-0006", "admin")]


def test_withdrawn_version_is_not_offered(operator: TestClient) -> None:
    page = read(operator.get("/devices/dev-0006/assign").text)
    assert [option.attributes["value"] for option in page.all("option")] == ["5", "4", "3", "1"]
    assert "Assign…" in operator.get(f"/models/{MODEL}/2").text
    assert f"/models/{MODEL}/2/assign" not in operator.get(f"/models/{MODEL}/2").text


def test_reverting_a_device(operator: TestClient, fleet: Fleet) -> None:
    page = operator.get(f"/devices/dev-0006/revert?model={MODEL}")
    answer = operator.post("/devices/dev-0006/revert", data=form(page.text, "/devices/dev-0006/revert"))
    assert answer.status_code == 303
    assert fleet.moved == [("revert", "dev-0006", MODEL, "admin")]
    assert f"told to go back to {MODEL} 4" in operator.get("/devices/dev-0006").text


def test_rolling_a_rollout_back(operator: TestClient, fleet: Fleet) -> None:
    assert "/rollouts/r-5/rollback" in operator.get(f"/models/{MODEL}/5").text
    page = operator.get("/rollouts/r-5/rollback")
    answer = operator.post("/rollouts/r-5/rollback", data=form(page.text, "/rollouts/r-5/rollback"))
    assert fleet.moved == [("roll_back", "r-5", "admin")]
    after = operator.get(answer.headers["location"])
    assert "is halted; 36 devices go back." in after.text
    assert "/rollouts/r-5/rollback" not in after.text
    assert "nothing to move back" in operator.get("/rollouts/r-5/rollback").text


@pytest.mark.parametrize("action", [action for action in FORMS if action not in WITHOUT_A_REFUSAL])
def test_refused_action_keeps_the_form_and_says_why(operator: TestClient, fleet: Fleet, action: str) -> None:
    fields = fields_of(operator, action) | {"reason": "checked by hand"}
    fleet.refusal = "rollout r-7 of ana holds these devices; wait for it or cancel it"
    answer = operator.post(action, data=fields)
    assert answer.status_code == 409
    assert fleet.refusal in answer.text
    assert "Cancel" in answer.text


def test_selection_that_changed_since_it_was_counted_is_asked_again(operator: TestClient, fleet: Fleet) -> None:
    fields = form(operator.get(f"{ASSIGN}?selector=site%3Dlyon").text, ASSIGN)
    fleet.rows = fleet.rows[:20]
    answer = operator.post(ASSIGN, data=fields)
    assert answer.status_code == 409
    assert "The selection is now 7 devices" in answer.text
    assert fleet.moved == []


def test_unreadable_selector_is_explained_in_the_dialog(operator: TestClient) -> None:
    answer = operator.get(f"{ASSIGN}?selector=%3D%3D", headers={"X-Partial": "1"})
    assert answer.status_code == 422
    assert "selector: expected a condition" in read(answer.text).words


def test_more_than_a_hundred_devices_need_the_typed_name(operator_of: Callable[[Fleet], TestClient]) -> None:
    fleet = Fleet(TYPED_FROM_DEVICES + 2)
    operator = operator_of(fleet)
    page = operator.get(ASSIGN)
    assert f"type {MODEL} to confirm" in page.text
    fields = form(page.text, ASSIGN)
    assert operator.post(ASSIGN, data=fields | {"typed": "yes"}).status_code == 422
    assert fleet.moved == []
    assert operator.post(ASSIGN, data=fields | {"typed": MODEL}).status_code == 303


@pytest.mark.parametrize("action", FORMS)
@pytest.mark.parametrize(
    ("headers", "change", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, {}, 403),
        ({"Sec-Fetch-Site": "same-site"}, {}, 403),
        ({"Origin": "http://elsewhere.test"}, {}, 403),
        ({"Origin": "null"}, {}, 403),
        ({}, {"token": ""}, 403),
        ({}, {"token": "A" * 86 + "=="}, 403),
        ({}, {"token": "é"}, 403),
        ({"Content-Type": "text/plain"}, {}, 415),
        ({}, {"more": "x" * 20_000}, 413),
    ],
    ids=[
        "from another site",
        "from a sibling host",
        "by its origin from another site",
        "from a sandboxed frame",
        "without a token",
        "with an invented token",
        "with a token that is no token",
        "as another type",
        "too large",
    ],
)
def test_forged_form_does_nothing(
    operator: TestClient, fleet: Fleet, action: str, headers: dict[str, str], change: dict[str, str], status: int
) -> None:
    fields = fields_of(operator, action) | change
    answer = operator.post(action, data=fields, headers=headers)
    assert answer.status_code == status
    assert fleet.moved == []
    assert operator.get("/").status_code == 200


def test_form_behind_a_proxy_with_another_name_is_taken(operator: TestClient, fleet: Fleet) -> None:
    fields = form(operator.get(ASSIGN).text, ASSIGN)
    headers = {"Sec-Fetch-Site": "same-origin", "Origin": "https://console.example"}
    assert operator.post(ASSIGN, data=fields, headers=headers).status_code == 303
    assert len(fleet.moved) == 1


def test_form_of_another_session_is_refused(operator: TestClient, fleet: Fleet, stranger: TestClient) -> None:
    fields = form(operator.get(ASSIGN).text, ASSIGN)
    operator.post("/logout", data=form(operator.get("/").text, "/logout"))
    operator.post("/login", data={"admin_token": "pnc-admin-0123456789abcdef"})
    assert operator.post(ASSIGN, data=fields).status_code == 403
    assert fleet.moved == []


@pytest.mark.parametrize("action", FORMS)
def test_stranger_can_do_nothing(stranger: TestClient, fleet: Fleet, action: str) -> None:
    answer = stranger.post(action, data={"token": "x", "model": MODEL, "version": "5", "selector": ""})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login"
    assert fleet.moved == []


def _forms(console: Console) -> set[str]:
    return {route.name for route in console.routes if isinstance(route, Route) and "POST" in (route.methods or ())}


def test_everything_that_can_be_done_here_has_a_route_of_the_api(console: Console) -> None:
    assert _forms(console) == set(API_OF_ACTION) | OF_THE_SESSION
    api = http_app.build(cast(Services, SimpleNamespace(version="0.1.0"))).openapi()["paths"]
    for method, path in API_OF_ACTION.values():
        assert method in api[path], path
