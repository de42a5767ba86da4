"""Signing in and out: the cookie, its life, and what a login page must not do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from pinnace_server.console.guard import local_path
from pinnace_server.console.screens.door import FAILURES_MAX
from pinnace_server.console.sessions import AGE_MAX, IDLE_MAX, SESSIONS_MAX, MemorySessions, fits_session, form_token
from tests.server.console.conftest import Clock, sign_in
from tests.server.console.fleet import NOW, TOKEN
from tests.server.console.page import form


def test_admin_token_opens_the_console(stranger: TestClient) -> None:
    page = stranger.get("/login?next=%2Fdevices")
    assert "<script" not in page.text
    answer = stranger.post("/login", data=form(page.text, "/login") | {"admin_token": f"  {TOKEN}\n"})
    assert answer.headers["location"] == "/devices"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Max-Age" not in cookie
    assert stranger.get("/devices").status_code == 200


def test_cookie_over_https_is_secure_and_bound_to_the_host(stranger: TestClient) -> None:
    stranger.base_url = "https://console.test"
    cookie = stranger.post("/login", data={"admin_token": TOKEN}).headers["set-cookie"]
    assert cookie.startswith("__Host-pinnace_session=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert stranger.get("/").status_code == 200


@pytest.mark.parametrize("token", ["wrong", "", "é\x00", "x" * 5000])
def test_wrong_token_is_refused_without_a_session(stranger: TestClient, token: str) -> None:
    answer = stranger.post("/login", data={"admin_token": token})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert token not in answer.text or not token


def test_login_from_another_site_is_refused(stranger: TestClient) -> None:
    answer = stranger.post("/login", data={"admin_token": TOKEN}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_many_failures_are_slowed_down_and_forgotten_after_a_minute(stranger: TestClient, clock: Clock) -> None:
    for _ in range(FAILURES_MAX):
        assert stranger.post("/login", data={"admin_token": "wrong"}).status_code == 403
    assert stranger.post("/login", data={"admin_token": "wrong"}).status_code == 429
    clock.now += timedelta(minutes=1)
    assert stranger.post("/login", data={"admin_token": "wrong"}).status_code == 403


def test_others_failures_do_not_lock_the_operator_out(stranger: TestClient) -> None:
    for _ in range(FAILURES_MAX + 1):
        stranger.post("/login", data={"admin_token": "wrong"})
    assert stranger.post("/login", data={"admin_token": TOKEN}).status_code == 303


def test_session_id_changes_at_login(operator: TestClient) -> None:
    before = operator.cookies["pinnace_session"]
    sign_in(operator)
    after = operator.cookies["pinnace_session"]
    assert before != after
    operator.cookies.set("pinnace_session", before)
    operator.cookies.delete("pinnace_session", domain="console.test")
    assert operator.get("/").status_code == 303


def test_planted_session_id_is_worth_nothing(stranger: TestClient) -> None:
    stranger.cookies.set("pinnace_session", "planted", domain="console.test")
    sign_in(stranger)
    assert stranger.cookies["pinnace_session"] != "planted"


def test_sign_out_ends_the_session_on_the_server(operator: TestClient) -> None:
    kept = operator.cookies["pinnace_session"]
    answer = operator.post("/logout", data=form(operator.get("/").text, "/logout"))
    assert answer.headers["location"] == "/login"
    operator.cookies.set("pinnace_session", kept, domain="console.test")
    assert operator.get("/").status_code == 303


def test_signed_in_visitor_is_not_asked_again(operator: TestClient) -> None:
    assert operator.get("/login?next=%2Fmodels").headers["location"] == "/models"


def test_idle_session_ends(operator: TestClient, clock: Clock) -> None:
    clock.now += IDLE_MAX
    assert operator.get("/").status_code == 200
    clock.now += IDLE_MAX + timedelta(seconds=1)
    assert operator.get("/").status_code == 303


def test_refreshing_by_itself_is_not_use(operator: TestClient, clock: Clock) -> None:
    clock.now += IDLE_MAX
    assert operator.get("/", headers={"X-Partial": "1", "X-Live": "1"}).status_code == 200
    clock.now += timedelta(seconds=1)
    assert operator.get("/").status_code == 303


def test_used_session_ends_at_its_age(operator: TestClient, clock: Clock) -> None:
    for _ in range(int(AGE_MAX / IDLE_MAX)):
        clock.now += IDLE_MAX
        assert operator.get("/").status_code == 200
    clock.now += timedelta(seconds=1)
    assert operator.get("/").status_code == 303


def test_sessions_are_bounded_and_the_least_used_goes_first() -> None:
    sessions = MemorySessions()
    first = sessions.open("admin", NOW)
    rest = [sessions.open("admin", NOW + timedelta(seconds=1)) for _ in range(SESSIONS_MAX)]
    assert sessions.find(first.id, NOW) is None
    assert sessions.find(rest[0].id, NOW) is not None


def test_form_token_never_looks_the_same_and_always_fits() -> None:
    sessions = MemorySessions()
    session, other = sessions.open("admin", NOW), sessions.open("admin", NOW)
    tokens = {form_token(session) for _ in range(20)}
    assert len(tokens) == 20
    assert all(fits_session(token, session) for token in tokens)
    assert not any(fits_session(token, other) for token in tokens)


@pytest.mark.parametrize(
    "wanted",
    ["//evil.test", "/\\evil.test", "https://evil.test", "evil", "", "/\nx", "javascript:alert(1)", "/\t/evil"],
)
def test_login_never_leads_elsewhere(wanted: str) -> None:
    assert local_path(wanted) == "/"


def test_login_leads_back_with_the_filter() -> None:
    assert local_path("/devices?status=offline&q=a%20b") == "/devices?status=offline&q=a%20b"
