"""Every screen in every state: full, empty, without a match, failing, gone, as a fragment, and signed out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from pinnace_server.cli.program import make_parser
from tests.server.console.conftest import HOST
from tests.server.console.fleet import MODEL, Fleet
from tests.server.console.page import links, read

# address → words that a full screen must show
SCREENS = {
    "/": [
        "Online",
        "Degraded",
        "Offline",
        "Needs attention",
        "Rollout of defect-detect 5 waits",
        "All rollouts",
        "Versions in service",
        "Last events",
    ],
    "/devices": ["1–25 of 44 devices", "degraded", "reverted", "GOLDEN_MISMATCH", "fetching 62 %"],
    "/devices/dev-0036": ["Active", "Previous", "reverted from 5", "The model's process crashed too often.", "History"],
    "/devices/dev-0006": ["Candidate", "fetching", "awaiting contact", "Latency of defect-detect (ms)"],
    "/devices/dev-0009": ["Nothing heard since", "offline", "Why it is where it is", "wave 2 is not promoted yet"],
    "/devices/dev-0006/assign": ["Assign a version to press-lyon-06", "Cancel"],
    "/devices/dev-0006/revert": ["press-lyon-06 goes back from defect-detect 5 to 4", "Cancel"],
    "/models": [MODEL, "production → 4", "1–1 of 1 model"],
    f"/models/{MODEL}": ["withdrawn", "96.8 %", "not measured", "Accuracy on held-out data"],
    f"/models/{MODEL}/5": ["onnx fp32", "reference", "−74%", "−2.8 pt", "not measured", "verified", "Golden vectors"],
    f"/models/{MODEL}/5/assign": ["43 devices", "the whole fleet", "1: no runtime for any variant", "Cancel"],
    "/rollouts": ["1–3 of 3 rollouts", "canary", "2 of 4", "halted", "(rollback)", "New rollout"],
    "/rollouts/r-5": [
        "Where it stands",
        "Next its gates promote the wave",
        "at the earliest in 2 h",
        "the policy decides if that has not happened in 1 d",
        "pinnace rollout promote r-5 2",
        "Wave 1",
        "by ana",
        "Holdback control group, moves last",
        "0 of 2 agreed",
        "What the gates of wave 2 say",
        "slow collects: evidence ×2.5",
        "3 of 59,400 inferences",
        "×4,000 moves devices back",
        "×20 proves it",
        "26 committed, 34 reachable, 40 report",
        "4 failed",
        "Most say: three crashes",
        "site=lyon",
        "Promote wave 2…",
        "Approve wave 3…",
        "Pause…",
        "Retry failed…",
        "Cancel…",
        "Roll back…",
        "soak_s: 14400",
    ],
    "/rollouts/r-4": ["halted", "moves devices back", "Counted when it was halted"],
    "/rollouts/r-6": ["rollback, plain", "31 of 39 committed", "Moves back"],
    "/rollouts/r-5/pause": ["Pause the rollout of defect-detect 5", "No wave begins", "may be empty", "Cancel"],
    "/rollouts/r-5/resume": ["It is not paused.", "Cancel"],
    "/rollouts/r-5/approve": ["You agree that wave 3 may begin, with 2 devices. 1 more must agree after you."],
    "/rollouts/r-5/promote": ["wave 2 is good enough, so that wave 3 with 2 devices may begin", "The log keeps who"],
    "/rollouts/r-5/retry": ["4 devices on which the release ended badly", "Retry 4 devices"],
    "/rollouts/r-5/cancel": ["31 devices that committed stay", "5 under way go back", "4 that wait are never told"],
    f"/rollouts/new?model={MODEL}&version=5": ["Version of defect-detect", "waves: [5%, 25%, rest]", "Press Preview"],
    "/rollouts/r-5/rollback": ["Roll back defect-detect 5", "31 go back", "4 are never told", "Cancel"],
    "/log": ["1–25 of 120 events", "receipt_reverted", "the device"],
}


ASKING = {"assign", "revert", "rollback", "pause", "resume", "approve", "promote", "retry", "cancel"}


@pytest.mark.parametrize("address", SCREENS)
def test_full_screen_shows_what_it_is_for(operator: TestClient, address: str) -> None:
    answer = operator.get(address)
    assert answer.status_code == 200
    page = read(answer.text)
    for words in SCREENS[address]:
        assert words in page.words
    assert len(page.all("h1")) == 1
    assert page.all("title")[0].words.endswith("· Pinnace")


@pytest.mark.parametrize("address", SCREENS)
def test_fragment_is_the_content_of_the_page(operator: TestClient, address: str) -> None:
    whole = operator.get(address)
    fragment = operator.get(address, headers={"X-Partial": "1"})
    assert fragment.status_code == whole.status_code
    assert "<html" not in fragment.text
    inside = next(e for e in read(whole.text).all("main"))
    assert read(fragment.text).words == inside.words
    assert "X-Partial" in fragment.headers["vary"]


@pytest.mark.parametrize("address", SCREENS)
def test_signed_out_visitor_is_led_to_the_login_page_and_back(stranger: TestClient, address: str) -> None:
    answer = stranger.get(address)
    assert answer.status_code == 303
    where = answer.headers["location"]
    assert where == "/login" if address == "/" else where.startswith("/login?next=%2F")
    assert stranger.get(address, headers={"X-Partial": "1"}).status_code == 401


@pytest.mark.parametrize("address", SCREENS)
def test_failing_service_is_a_plain_page_with_the_request_id(
    operator: TestClient, fleet: Fleet, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.broken = True
    answer = operator.get(address)
    assert answer.status_code == 500
    assert "The server made a mistake" in answer.text
    assert answer.headers["x-request-id"] in read(answer.text).words
    assert "fire" not in answer.text
    assert "the database is on fire" in caplog.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


EMPTY = {
    "/": ["Three steps", "pinnace version add", "pinnace token create", f"pinnace-agent enroll --server {HOST}"],
    "/devices": ["No devices yet", "pinnace token create"],
    "/models": ["No models yet", "pinnace version add"],
    "/rollouts": ["No rollouts yet", "pinnace rollout start"],
    "/rollouts/new": ["No models yet", "pinnace version add"],
    "/log": ["No events yet"],
}


@pytest.mark.parametrize("address", EMPTY)
def test_empty_screen_says_what_to_do_first(operator_of: Callable[[Fleet], TestClient], address: str) -> None:
    page = read(operator_of(Fleet(empty=True)).get(address).text)
    for words in EMPTY[address]:
        assert words in page.words


@pytest.mark.parametrize("address", EMPTY)
def test_commands_that_are_told_are_commands_that_exist(
    operator_of: Callable[[Fleet], TestClient], address: str
) -> None:
    page = read(operator_of(Fleet(empty=True)).get(address).text)
    commands = [code.words.split() for code in page.all("code") if code.words.startswith("pinnace ")]
    for _, *arguments in commands:
        assert callable(make_parser().parse_args(arguments).run)


@pytest.mark.parametrize("address", ["/devices?q=nowhere", "/log?kind=nothing", "/rollouts?state=cancelled"])
def test_no_match_is_told_from_nothing_yet(operator: TestClient, address: str) -> None:
    page = read(operator.get(address).text)
    assert "match" in page.words
    assert "yet" not in page.words
    assert "Clear filters" in page.words


@pytest.mark.parametrize(
    "address",
    [
        "/devices/nobody",
        "/models/none",
        f"/models/{MODEL}/99",
        "/nowhere",
        "/devices/nobody/assign",
        "/rollouts/r-9",
        "/rollouts/r-9/pause",
        "/rollouts/r-9/rollback",
    ],
)
def test_missing_object_is_404_that_names_it(operator: TestClient, address: str) -> None:
    answer = operator.get(address)
    assert answer.status_code == 404
    assert "Not found" in answer.text
    name = address.split("/")[2] if address.startswith("/devices") else ""
    assert name in read(answer.text).words


def test_error_page_of_a_stranger_needs_no_script(stranger: TestClient) -> None:
    answer = stranger.get("/nowhere")
    assert answer.status_code == 404
    assert "<script" not in answer.text
    assert "<nav" not in answer.text


def test_navigation_leads_only_to_screens_that_exist(operator: TestClient) -> None:
    seen: set[str] = set()
    waiting = ["/"]
    while waiting:
        address = waiting.pop()
        path = address.partition("?")[0]
        if path in seen or not path.startswith("/") or path in ("/openapi.json", "/login"):
            continue
        seen.add(path)
        answer = operator.get(address)
        assert answer.status_code == 200, address
        waiting += links(answer.text)
    assert {"/devices", "/models", "/log", f"/models/{MODEL}/5", "/devices/dev-0003"} <= seen
    assert {"/rollouts", "/rollouts/new", "/rollouts/r-4", "/rollouts/r-5", "/rollouts/r-5/promote"} <= seen


def test_filters_sort_and_page_are_one_address(operator: TestClient) -> None:
    page = read(operator.get("/devices?status=online&label=site%3Dlyon&sort=-p95&size=25").text)
    rows = page.all("tr")[1:]
    times = [float(row.all("td")[4].words) for row in rows]
    assert times == sorted(times, reverse=True)
    assert f"1–{len(rows)} of {len(rows)} devices" in page.words
    assert all("site=lyon" in row.words for row in rows)
    heads = {head.words: head.attributes.get("aria-sort") for head in page.all("th")}
    assert heads["p95 (ms)"] == "descending"


def test_second_page_continues_where_the_first_ended(operator: TestClient) -> None:
    first = [row.words for row in read(operator.get("/devices").text).all("tr")][1:]
    second = [row.words for row in read(operator.get("/devices?page=2").text).all("tr")][1:]
    assert len(first) == 25
    assert len(second) == 19
    assert not set(first) & set(second)
    assert "26–44 of 44 devices" in operator.get("/devices?page=2").text


def test_page_past_the_end_leads_back(operator: TestClient) -> None:
    page = read(operator.get("/devices?page=9").text)
    assert "past the end" in page.words


def test_unreadable_selector_is_explained_and_shows_no_rows(operator: TestClient) -> None:
    page = read(operator.get("/devices?label=site%3D%3Dlyon").text)
    assert "selector: expected a value for site" in page.words
    assert "0 devices" in page.words
    assert not page.all("tbody")


def test_counts_lead_to_the_filtered_list(operator: TestClient) -> None:
    overview = operator.get("/").text
    assert "/devices?status=degraded" in links(overview)
    assert f"/devices?model={MODEL}&version=4" in links(overview)
    assert "1–4 of 4 devices" in operator.get("/devices?status=degraded").text


def test_live_fragments_name_their_topics_and_have_ids(operator: TestClient) -> None:
    for address in SCREENS:
        page = read(operator.get(address).text)
        live = [e for tag in ("div", "section", "header") for e in page.all(tag) if "data-live" in e.attributes]
        assert all(e.attributes.get("id") for e in live), address
        if not address.startswith("/rollouts/new") and address.rpartition("/")[2] not in ASKING:
            assert live, address


def test_chart_has_words_a_table_and_gaps(operator: TestClient) -> None:
    page = read(operator.get("/devices/dev-0006").text)
    chart = next(e for e in page.all("div") if "data-chart" in e.attributes)
    assert chart.attributes["role"] == "img"
    assert "p95 of defect-detect between" in chart.attributes["aria-label"]
    assert "[null" not in chart.attributes["data-series"]
    assert ",null]" in chart.attributes["data-series"]
    assert "no data" in page.words
