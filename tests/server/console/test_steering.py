"""Steering and beginning rollouts: shown where it applies, asked first, done once, refused in words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from pinnace_server.console.screens import rollout_begin
from pinnace_server.console.screens.models import TYPED_FROM_DEVICES
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.policy_text import parse
from tests.server.console.fleet import HOSTILE, MODEL, Fleet
from tests.server.console.page import form, links, read

PAGE = "/rollouts/r-5"
NEW = f"/rollouts/new?model={MODEL}&version=5"


def offered(operator: TestClient, address: str = PAGE) -> set[str]:
    """The steps that a page offers."""
    return {link.removeprefix(f"{address}/") for link in links(operator.get(address).text) if f"{address}/" in link}


def done(operator: TestClient, step: str, **fields: str) -> str:
    """Do a step as a browser would, and return the words of the page that it leads to."""
    address = f"{PAGE}/{step}"
    answer = operator.post(address, data=form(operator.get(address).text, address) | fields)
    assert answer.status_code == 303, read(answer.text).words
    assert answer.headers["location"] == PAGE
    return read(operator.get(PAGE).text).words


# --- steering -----------------------------------------------------------------------------------------------------


def test_only_steps_that_apply_are_offered(operator: TestClient, fleet: Fleet) -> None:
    assert offered(operator) == {"pause", "approve", "promote", "retry", "cancel", "rollback"}
    fleet.paused = "audit"
    assert offered(operator) == {"resume", "approve", "retry", "cancel", "rollback"}
    fleet.rollout_state = "finished"
    assert offered(operator) == {"rollback"}
    fleet.rollout_state = "cancelled"
    assert offered(operator) == set()
    assert offered(operator, "/rollouts/r-4") == set()


def test_pausing_says_who_and_why_until_it_is_resumed(operator: TestClient, fleet: Fleet) -> None:
    page = done(operator, "pause", reason=f"audit of line 3 {HOSTILE}")
    assert "The rollout is paused. Devices under way go on." in page
    assert f"Paused by ana 5 min ago: audit of line 3 {HOSTILE}." in page
    assert "The rollout goes on." in done(operator, "resume")
    assert fleet.moved == [("pause", "r-5", f"audit of line 3 {HOSTILE}", "admin"), ("resume", "r-5", "", "admin")]


def test_approving_is_asked_once_of_each_person(operator: TestClient, fleet: Fleet) -> None:
    assert "You agreed that wave 3 may begin." in done(operator, "approve")
    assert fleet.moved == [("approve", "r-5", "3", "admin")]
    assert "1 of 2 agreed: admin" in read(operator.get(PAGE).text).words
    assert "approve" not in offered(operator)
    again = read(operator.get(f"{PAGE}/approve").text)
    assert "There is no wave that you could still agree to." in again.words
    assert [button for button in again.all("button") if button.words.startswith("Approve")] == []


def test_promoting_by_hand_needs_a_reason(operator: TestClient, fleet: Fleet) -> None:
    address = f"{PAGE}/promote"
    fields = form(operator.get(address).text, address)
    answer = operator.post(address, data=fields | {"reason": "  "})
    assert answer.status_code == 422
    assert "Say why: the log keeps it." in answer.text
    assert fleet.moved == []
    assert "Wave 2 is promoted by you, and not by its gates." in done(operator, "promote", reason="line 3 was checked")
    assert fleet.moved == [("promote", "r-5", "2", "line 3 was checked", "admin")]


@pytest.mark.parametrize("wave", ["", "two", "-1", "٣", "99999", HOSTILE])
def test_wave_that_is_no_number_is_refused_in_words(operator: TestClient, fleet: Fleet, wave: str) -> None:
    address = f"{PAGE}/promote"
    fields = form(operator.get(address).text, address)
    answer = operator.post(address, data=fields | {"wave": wave, "reason": "checked"})
    assert answer.status_code == 409
    assert "expected the number of a wave, found" in read(answer.text).words
    assert not read(answer.text).all("img")
    assert fleet.moved == []


def test_retrying_and_cancelling(operator: TestClient, fleet: Fleet) -> None:
    assert "4 devices will try again." in done(operator, "retry")
    assert "The rollout is cancelled." in done(operator, "cancel", reason="the wrong version")
    assert fleet.moved == [("retry", "r-5", "admin"), ("cancel", "r-5", "the wrong version", "admin")]


def test_refused_step_keeps_what_was_typed(operator: TestClient, fleet: Fleet) -> None:
    address = f"{PAGE}/promote"
    fields = form(operator.get(address).text, address) | {"reason": "checked by hand"}
    fleet.refusal = "wave 2 of rollout r-5 cannot be promoted: wave 2 is promoted already"
    answer = operator.post(address, data=fields)
    assert answer.status_code == 409
    assert fleet.refusal in answer.text
    assert form(answer.text, address)["reason"] == "checked by hand"


def test_cancelling_what_moves_more_than_a_hundred_devices_back_needs_the_typed_name(
    operator: TestClient, fleet: Fleet
) -> None:
    fleet.under_way = TYPED_FROM_DEVICES + 1
    address = f"{PAGE}/cancel"
    page = operator.get(address).text
    assert f"type {MODEL} to confirm" in page
    assert operator.post(address, data=form(page, address)).status_code == 422
    assert fleet.moved == []
    assert operator.post(address, data=form(page, address) | {"typed": MODEL}).status_code == 303


def test_assignment_without_waves_is_not_steered(operator: TestClient) -> None:
    assert "It has no" not in operator.get("/rollouts/r-6").text
    for step in ("pause", "resume", "approve", "promote", "retry"):
        page = read(operator.get(f"/rollouts/r-6/{step}").text)
        assert "This rollout is finished already." in page.words, step


def test_rollouts_are_filtered_by_state_and_model(operator: TestClient) -> None:
    rows = read(operator.get("/rollouts?state=halted").text).all("tr")[1:]
    assert [row.all("th")[0].words for row in rows] == [f"{MODEL} 4"]
    assert "0 rollouts" in read(operator.get("/rollouts?model=other").text).words
    assert "1–3 of 3 rollouts" in read(operator.get("/rollouts?state=never&page=0").text).words


# --- beginning ----------------------------------------------------------------------------------------------------


def previewed(operator: TestClient, **fields: str) -> tuple[int, str]:
    sent = form(operator.get(NEW).text, "/rollouts/new") | fields
    answer = operator.post("/rollouts/preview", data=sent)
    return answer.status_code, answer.text


def test_example_is_a_policy_that_says_the_defaults_aloud() -> None:
    said = reading.read(parse(rollout_begin.EXAMPLE))
    plain = reading.read({"cohort": "", "approvals": [{"before": "last"}]})
    assert said == plain
    assert len(rollout_begin.EXAMPLE) < rollout_begin.POLICY_CHARS_MAX


def test_preview_shows_waves_hardware_exclusions_and_foresight_and_begins_nothing(
    operator: TestClient, fleet: Fleet
) -> None:
    status, page = previewed(operator)
    assert status == 200
    for words in (
        "error ratios above ×3",
        "pi4: 2",
        f"{HOSTILE}: 0",
        "7: no variant for its runtimes (tflite)",
        "one person must agree before wave 2 begins",
        "Holdback control group, moves last",
        "Begin with 2 of 44 devices",
        "on_hold_timeout: pause",
    ):
        assert words in read(page).words
    assert fleet.moved == []


def test_previewed_rollout_begins_with_the_very_policy_that_was_typed(operator: TestClient, fleet: Fleet) -> None:
    policy = "cohort: site=lyon\r\nwaves: [1, rest]  # <b>careful</b>\r\n"
    _, page = previewed(operator, policy=policy, reason="retrained")
    answer = operator.post("/rollouts/new", data=form(page, "/rollouts/new"))
    assert answer.headers["location"] == PAGE
    assert fleet.moved == [("begin", MODEL, "5", policy.replace("\r\n", "\n"), "retrained", "admin")]
    assert f"The rollout of {MODEL} 5 has begun." in operator.get(PAGE).text


def test_nothing_begins_without_a_preview(operator: TestClient, fleet: Fleet) -> None:
    fields = form(operator.get(NEW).text, "/rollouts/new")
    answer = operator.post("/rollouts/new", data=fields)
    assert answer.status_code == 409
    assert "Look at the preview first, then begin." in answer.text
    assert fleet.moved == []


@pytest.mark.parametrize("change", [{"policy": "cohort: site=ulm"}, {"version": "4"}], ids=["policy", "version"])
def test_what_changed_since_the_preview_is_previewed_again(
    operator: TestClient, fleet: Fleet, change: dict[str, str]
) -> None:
    _, page = previewed(operator)
    answer = operator.post("/rollouts/new", data=form(page, "/rollouts/new") | change)
    assert answer.status_code == 409
    assert "This is not what you previewed" in answer.text
    assert fleet.moved == []
    again = form(answer.text, "/rollouts/new")
    assert again | change == again
    assert operator.post("/rollouts/new", data=again).status_code == 303


def test_fleet_that_changed_since_the_preview_is_previewed_again(operator: TestClient, fleet: Fleet) -> None:
    _, page = previewed(operator)
    fleet.first_wave = 7
    answer = operator.post("/rollouts/new", data=form(page, "/rollouts/new"))
    assert answer.status_code == 409
    assert "Begin with 7 of 49 devices" in answer.text
    assert fleet.moved == []


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("cohort: site=", "policy.cohort.selector: selector: expected a value for site"),
        ("cohort: ''\nwaves: [1, 2]", "policy.waves: expected 'rest' as the last wave"),
        ("cohort: ''\ngates: {soak: 3}", "policy.gates: unknown key 'soak'"),
        ("cohort: [", "expected YAML or JSON, found"),
        ("", "found nothing"),
        (f"cohort: ''\n{HOSTILE!r}: 1", "unknown key"),
    ],
)
def test_policy_that_means_nothing_is_refused_with_its_path_and_kept(
    operator: TestClient, fleet: Fleet, policy: str, said: str
) -> None:
    status, page = previewed(operator, policy=policy)
    assert status == 422
    assert said in read(page).words
    assert form(page, "/rollouts/new")["policy"] == policy
    assert not read(page).all("img")
    assert "Begin with" not in page


@pytest.mark.parametrize("policy", ["</textarea><script>alert(1)</script>", "\n\n  a: 1\n", '"&lt;" # é 😀'])
def test_typed_policy_comes_back_as_it_was(operator: TestClient, policy: str) -> None:
    _, page = previewed(operator, policy=policy)
    assert form(page, "/rollouts/new")["policy"] == policy
    assert all("src" in script.attributes for script in read(page).all("script"))


def test_rollout_of_nobody_cannot_be_begun(operator: TestClient, fleet: Fleet) -> None:
    fleet.first_wave = 0
    _, page = previewed(operator)
    assert "No device would move: see below who is left out, or on it already." in page
    assert "Begin with" not in page


def test_refused_beginning_keeps_the_policy_and_says_why(operator: TestClient, fleet: Fleet) -> None:
    _, page = previewed(operator)
    fleet.refusal = "version 5 of defect-detect was withdrawn; choose another version"
    answer = operator.post("/rollouts/new", data=form(page, "/rollouts/new"))
    assert answer.status_code == 409
    assert fleet.refusal in answer.text
    assert form(answer.text, "/rollouts/new")["policy"] == rollout_begin.EXAMPLE


def test_first_wave_of_more_than_a_hundred_devices_needs_the_typed_name(operator: TestClient, fleet: Fleet) -> None:
    fleet.first_wave = TYPED_FROM_DEVICES + 1
    _, page = previewed(operator)
    fields = form(page, "/rollouts/new")
    assert operator.post("/rollouts/new", data=fields).status_code == 422
    assert fleet.moved == []
    assert operator.post("/rollouts/new", data=fields | {"typed": MODEL}).status_code == 303


def test_withdrawn_version_is_not_offered(operator: TestClient) -> None:
    options = [each.attributes["value"] for each in read(operator.get(NEW).text).all("option")]
    assert options == ["5", "4", "3", "1"]


def test_model_that_is_not_there_is_404(operator_of: Callable[[Fleet], TestClient]) -> None:
    assert operator_of(Fleet()).get("/rollouts/new?model=nothing").status_code == 404
