"""The console in a real browser: moving, filtering, confirming, staying live, and never breaking its own policy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pinnace_server.domain.records import Status
from tests.needs import need_module
from tests.server.console.fleet import HOSTILE, MODEL, TOKEN, Fleet
from tests.server.console.live import LiveConsole, live_console

need_module("playwright")

from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, expect, sync_playwright  # noqa: E402

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
REQUESTS_MAX = 12
VIOLATION = re.compile(r"Content Security Policy|Refused to|violates", re.IGNORECASE)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def console() -> Iterator[LiveConsole]:
    with live_console(Fleet()) as console:
        yield console


class Watch:
    """What a page asked for, and what it complained about."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.complaints: list[str] = []

    def on(self, page: Page) -> None:
        page.on("request", lambda request: self.requests.append(request))
        page.on("pageerror", lambda error: self.complaints.append(f"{error}"))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def context(browser: Browser, console: LiveConsole) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=console.address, viewport={"width": 1440, "height": 900})
    context.set_default_timeout(20_000)
    yield context
    context.close()


def _signed_in(context: BrowserContext, console: LiveConsole) -> None:
    session = console.sessions.open("admin", datetime.now(UTC))
    context.add_cookies([{"name": "pinnace_session", "value": session.id, "url": console.address}])


@pytest.fixture
def page(context: BrowserContext, console: LiveConsole, watch: Watch) -> Page:
    _signed_in(context, console)
    page = context.new_page()
    watch.on(page)
    page.goto("/")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    # From here on a whole load would lose this.
    page.evaluate("window.kept = true")
    return page


def _still_the_same_page(page: Page) -> bool:
    return bool(page.evaluate("window.kept === true"))


def test_moving_filtering_sorting_paging_and_back_keep_one_page(page: Page, watch: Watch) -> None:
    page.get_by_role("link", name="Devices", exact=True).click()
    expect(page).to_have_title("Devices · Pinnace")
    expect(page.locator(".nav [aria-current=page]")).to_have_text("Devices")
    page.get_by_label("Labels").fill("site=lyon")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator(".pages")).to_contain_text("1–15 of 15 devices")
    assert page.url.endswith("/devices?label=site%3Dlyon")
    page.get_by_role("link", name="p95 (ms)").click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("p95 (ms)")
    page.get_by_role("link", name="Clear filters").click()
    expect(page.locator(".pages")).to_contain_text("1–25 of 44 devices")
    page.get_by_role("link", name="Next").click()
    expect(page.locator(".pages")).to_contain_text("26–44 of 44 devices")
    page.go_back()
    expect(page.locator(".pages")).to_contain_text("1–25 of 44 devices")
    page.go_back()
    expect(page.locator(".pages")).to_contain_text("1–15 of 15 devices")
    page.go_back()
    page.go_back()
    page.go_back()
    expect(page).to_have_title("Overview · Pinnace")
    assert _still_the_same_page(page)
    assert watch.complaints == []


def test_admin_token_opens_the_page_that_was_asked_for(context: BrowserContext, console: LiveConsole) -> None:
    page = context.new_page()
    page.goto("/devices?status=offline")
    page.get_by_label("Admin token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not the admin token")
    page.get_by_label("Admin token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator(".pages")).to_contain_text("1–4 of 4 devices")
    assert page.url.endswith("/devices?status=offline")


def test_status_filter_and_search_lead_to_the_same_list(page: Page) -> None:
    page.locator(".tile", has_text="Offline").click()
    expect(page.locator(".pages")).to_contain_text("1–4 of 4 devices")
    page.keyboard.press("/")
    page.keyboard.type("turin-22")
    page.keyboard.press("Enter")
    expect(page.locator(".pages")).to_contain_text("1–1 of 1 device")
    page.get_by_role("link", name="press-turin-22").click()
    expect(page.locator("h1")).to_have_text("press-turin-22")
    assert _still_the_same_page(page)


def test_assign_dialog_focuses_cancel_returns_focus_and_does_it_once(page: Page, console: LiveConsole) -> None:
    page.goto(f"/models/{MODEL}/5")
    opener = page.get_by_role("link", name="Assign…")
    opener.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_text("Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()
    opener.click()
    dialog.get_by_label("Devices with these labels").fill("site=lyon")
    expect(dialog.get_by_role("button", name="Assign to 43 devices")).to_be_disabled()
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Assign to 15 devices").click()
    expect(dialog).to_be_hidden()
    expect(page.locator(".notice")).to_have_text(
        f"{MODEL} 5 is assigned to 15 devices. What they make of it shows below."
    )
    assert console.fleet.moved == [("assign", MODEL, "5", "site=lyon", "admin")]


def test_refused_assignment_stays_in_the_dialog_with_the_reason(page: Page, console: LiveConsole) -> None:
    console.fleet.refusal = "rollout r-7 holds these devices"
    page.goto("/devices/dev-0006")
    page.get_by_role("link", name="Assign…").click()
    page.get_by_role("button", name="Assign to press-lyon-06").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text("rollout r-7 holds these devices")
    console.fleet.refusal = ""
    page.get_by_role("button", name="Assign to press-lyon-06").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert len(console.fleet.moved) == 1


def test_reverting_with_the_keyboard_alone(page: Page, console: LiveConsole) -> None:
    page.goto("/devices/dev-0006")
    page.get_by_role("link", name="Revert…").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_text("Cancel")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Revert press-lyon-06 to 4")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".notice")).to_contain_text("was told to go back")
    assert console.fleet.moved == [("revert", "dev-0006", MODEL, "admin")]


def test_rollout_is_paused_and_resumed_in_the_dialog(page: Page, console: LiveConsole) -> None:
    page.goto("/rollouts/r-5")
    page.get_by_role("link", name="Pause…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Cancel")).to_be_focused()
    dialog.get_by_label("Why, for the log").fill("audit of line 3")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator(".notice")).to_contain_text("The rollout is paused.")
    expect(page.locator(".note.warn")).to_contain_text(re.compile("Paused by ana .* ago: audit of line 3."))
    page.get_by_role("link", name="Resume…").click()
    dialog.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("link", name="Pause…")).to_be_visible()
    assert [each[0] for each in console.fleet.moved] == ["pause", "resume"]


def test_promotion_without_a_reason_stays_in_the_dialog(page: Page, console: LiveConsole) -> None:
    page.goto("/rollouts/r-5")
    page.get_by_role("link", name="Promote wave 2…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why, for the log").fill("   ")
    dialog.get_by_role("button", name="Promote wave 2").click()
    expect(dialog.get_by_role("alert")).to_have_text("Say why: the log keeps it.")
    dialog.get_by_label("Why, for the log").fill("line 3 was checked by hand")
    dialog.get_by_role("button", name="Promote wave 2").click()
    expect(dialog).to_be_hidden()
    assert console.fleet.moved == [("promote", "r-5", "2", "line 3 was checked by hand", "admin")]


def test_rollout_page_follows_its_rollout_and_leaves_open_what_is_open(page: Page, console: LiveConsole) -> None:
    page.goto("/rollouts/r-5")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.get_by_text("The policy, with every field").click()
    expect(page.locator("pre.yaml")).to_be_visible()
    wave = page.locator("tr", has=page.get_by_role("rowheader", name="Wave 2")).first
    expect(wave.locator("td").nth(3)).to_have_text("5")
    console.fleet.under_way = 3
    console.fleet.paused = "audit"
    console.fleet.tell("rollout:r-5")
    expect(wave.locator("td").nth(3)).to_have_text("3")
    expect(page.locator(".note.warn")).to_contain_text("audit")
    expect(page.get_by_role("link", name="Resume…")).to_be_visible()
    expect(page.locator("pre.yaml")).to_be_visible()


def test_rollout_is_previewed_and_begun(page: Page, console: LiveConsole, watch: Watch) -> None:
    page.goto(f"/models/{MODEL}/5")
    page.get_by_role("link", name="Roll out in waves…").click()
    policy = page.get_by_label("Policy, in YAML")
    expect(policy).to_have_value(re.compile("waves: .5%, 25%, rest."))
    policy.fill("cohort: site=lyon\nwaves: [1, reste]\n")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("alert")).to_contain_text("policy.waves[1]")
    policy.fill("cohort: site=lyon\nwaves: [1, rest]\n")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("rowheader", name="Holdback")).to_be_visible()
    page.get_by_role("button", name="Begin with 2 of 44 devices").click()
    expect(page.locator(".notice")).to_contain_text(f"The rollout of {MODEL} 5 has begun.")
    assert console.fleet.moved == [("begin", MODEL, "5", "cohort: site=lyon\nwaves: [1, rest]\n", "", "admin")]
    assert [said for said in watch.complaints if VIOLATION.search(said)] == []


@pytest.mark.parametrize("width", [1440, 390], ids=["desktop", "phone"])
def test_no_screen_is_wider_than_its_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    for address in SCREENS:
        page.goto(address)
        wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wider) == 0, address


def test_tables_of_rollouts_show_every_column_on_a_laptop(page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    for address in ("/rollouts", "/rollouts/r-4"):
        page.goto(address)
        hidden = "[...document.querySelectorAll('.scroll')].map(each => each.scrollWidth - each.clientWidth)"
        assert set(page.evaluate(hidden)) <= {0}, address


def test_cells_change_in_place_and_rows_never_move(page: Page, console: LiveConsole) -> None:
    page.goto("/devices?sort=p95&size=100")
    first = page.locator("tbody tr").first
    name = first.locator("th").inner_text()
    page.locator("tbody tr").nth(3).locator("a").first.focus()
    rows = console.fleet.rows
    place = next(i for i, row in enumerate(rows) if row.name == name)
    rows[place] = replace(rows[place], p95_ms=99.5, status=Status.DEGRADED)
    console.fleet.tell("devices")
    expect(first.locator("td").nth(4)).to_have_text("99.5")
    expect(first.locator("th")).to_have_text(name)
    expect(page.locator("[data-changes]")).to_be_visible()
    expect(page.locator("tbody tr").nth(3).locator("a").first).to_be_focused()
    page.get_by_role("link", name="Refresh").click()
    expect(page.locator("[data-changes]")).to_be_hidden()
    expect(first.locator("th")).not_to_have_text(name)


def test_row_that_left_the_match_stays_and_is_greyed(page: Page, console: LiveConsole) -> None:
    page.goto("/devices?status=offline")
    rows = console.fleet.rows
    place = next(i for i, row in enumerate(rows) if row.status is Status.OFFLINE)
    rows[place] = replace(rows[place], status=Status.ONLINE)
    console.fleet.tell("devices")
    expect(page.locator("[data-changes]")).to_contain_text("1 change")
    expect(page.locator("tr.gone")).to_have_count(1)
    expect(page.locator("tbody tr")).to_have_count(4)
    page.get_by_role("link", name="Refresh").click()
    expect(page.locator("tbody tr")).to_have_count(3)


def test_change_while_a_page_loads_is_not_missed(page: Page, console: LiveConsole) -> None:
    def change(route: Route) -> None:
        # The page has been made and is on its way; its script, and so its stream, comes after this.
        console.fleet.rows[0] = replace(console.fleet.rows[0], status=Status.OFFLINE)
        console.fleet.tell("overview")
        route.continue_()

    page.context.route("**/main.js", change)
    page.goto("/")
    expect(page.locator(".tile", has_text="Offline").locator("b")).to_have_text("5")


def test_overview_follows_the_fleet_without_being_asked(page: Page, console: LiveConsole) -> None:
    tile = page.locator(".tile", has_text="Offline").locator("b")
    expect(tile).to_have_text("4")
    console.fleet.rows[0] = replace(console.fleet.rows[0], status=Status.OFFLINE)
    console.fleet.tell("overview")
    expect(tile).to_have_text("5")
    assert _still_the_same_page(page)


def test_what_changed_while_the_server_was_away_shows_when_it_is_back(page: Page, console: LiveConsole) -> None:
    chip, tile = page.locator("#live"), page.locator(".tile", has_text="Offline").locator("b")
    console.stop()
    expect(chip).to_have_attribute("data-state", "reconnecting")
    expect(chip).to_contain_text("data as of")
    console.fleet.rows[0] = replace(console.fleet.rows[0], status=Status.OFFLINE)
    page.get_by_role("link", name="Models", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("/models did not load")
    expect(tile).to_have_text("4")
    console.start()
    expect(chip).to_have_attribute("data-state", "live", timeout=40_000)
    expect(tile).to_have_text("5")
    page.get_by_role("button", name="Retry").click()
    expect(page).to_have_title("Models · Pinnace")
    assert _still_the_same_page(page)


def test_ended_session_shows_on_every_open_page_and_leads_back(page: Page, console: LiveConsole) -> None:
    page.goto("/devices?status=offline")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    session = next(cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "pinnace_session")
    console.sessions.close(session)
    expect(page.locator("#live")).to_have_attribute("data-state", "signed-out")
    page.locator("#live").click()
    page.get_by_label("Admin token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator(".pages")).to_contain_text("1–4 of 4 devices")
    assert page.url.endswith("/devices?status=offline")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")


def test_eight_tabs_share_one_stream(page: Page, context: BrowserContext, console: LiveConsole) -> None:
    tabs = [context.new_page() for _ in range(8)]
    for tab in tabs:
        tab.goto("/devices")
        expect(tab.locator("#live")).to_have_attribute("data-state", "live")
    assert console.streams == 1


def test_page_without_shared_workers_is_live_too(context: BrowserContext, console: LiveConsole, page: Page) -> None:
    tab = context.new_page()
    tab.add_init_script("delete window.SharedWorker")
    tab.goto("/")
    expect(tab.locator("#live")).to_have_attribute("data-state", "live")
    assert console.streams == 2
    console.fleet.rows[0] = replace(console.fleet.rows[0], status=Status.OFFLINE)
    console.fleet.tell("overview")
    expect(tab.locator(".tile", has_text="Offline").locator("b")).to_have_text("5")


def test_theme_is_kept_without_a_flash(page: Page) -> None:
    page.get_by_role("group").locator("summary").click()
    page.get_by_role("button", name="Dark").click()
    dark = "rgb(15, 20, 25)"
    expect(page.locator("html")).to_have_css("background-color", dark)
    page.goto("/devices")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert 'data-theme="dark"' in page.request.get("/devices").text()
    expect(page.locator("html")).to_have_css("background-color", dark)


def test_hostile_name_is_text_in_every_place_that_script_touches(page: Page) -> None:
    asked: list[str] = []
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    for address in ("/devices", "/devices/dev-0003", "/log"):
        page.goto(address)
    page.goto("/")
    page.get_by_role("link", name="Devices", exact=True).click()
    page.get_by_role("link", name=HOSTILE).click()
    page.get_by_role("link", name="Assign…").click()
    expect(page.get_by_role("dialog")).to_contain_text(HOSTILE)
    assert asked == []
    assert page.locator("img").count() == 0


def test_chart_is_drawn_and_follows_the_pointer(page: Page) -> None:
    page.goto("/devices/dev-0006")
    chart = page.locator("[data-chart]")
    expect(chart.locator("canvas")).to_be_visible()
    inked = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(x => x)"
    assert chart.locator("canvas").evaluate(inked)
    chart.hover()
    expect(chart.locator("output")).to_contain_text("p95")
    expect(chart.locator("output")).to_contain_text("ms")


def test_works_without_script(browser: Browser, console: LiveConsole) -> None:
    context = browser.new_context(base_url=console.address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/devices")
    page.get_by_label("Admin token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Labels").fill("site=lyon")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator(".pages")).to_contain_text("1–15 of 15 devices")
    page.goto(f"/models/{MODEL}/5")
    page.get_by_role("link", name="Assign…").click()
    page.get_by_label("Devices with these labels").fill("site=ulm")
    page.get_by_role("button", name="Count").click()
    page.get_by_role("button", name="Assign to 14 devices").click()
    expect(page.get_by_role("status").first).to_contain_text("is assigned to 14 devices")
    page.goto("/rollouts/r-5/pause")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".note.warn")).to_contain_text("Paused by ana")
    page.goto(f"/rollouts/new?model={MODEL}&version=5")
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Begin with 2 of 44 devices").click()
    expect(page.get_by_role("status").first).to_contain_text("has begun")
    page.locator("summary").first.click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading")).to_have_text("Sign in")
    context.close()


SCREENS = ["/", "/devices", "/devices/dev-0006", "/models", f"/models/{MODEL}", f"/models/{MODEL}/5", "/log"]
SCREENS += ["/rollouts", "/rollouts/r-5", "/rollouts/r-5/promote", f"/rollouts/new?model={MODEL}"]


def test_no_screen_breaks_the_policy_or_asks_another_host(page: Page, console: LiveConsole, watch: Watch) -> None:
    for address in SCREENS:
        page.goto(address)
        expect(page.locator("#live")).to_have_attribute("data-state", "live")
    assert [said for said in watch.complaints if VIOLATION.search(said)] == []
    assert watch.complaints == []
    elsewhere = [r.url for r in watch.requests if not r.url.startswith((console.address, "data:"))]
    assert elsewhere == []


def test_cold_page_needs_few_requests(browser: Browser, console: LiveConsole) -> None:
    for address in SCREENS:
        context = browser.new_context(base_url=console.address)
        _signed_in(context, console)
        watch, page = Watch(), context.new_page()
        watch.on(page)
        page.goto(address)
        expect(page.locator("#live")).to_have_attribute("data-state", "live")
        asked = {request.url for request in watch.requests if not request.url.startswith("data:")}
        assert len(asked) <= REQUESTS_MAX, asked
        context.close()
