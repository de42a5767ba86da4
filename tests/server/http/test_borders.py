"""Who may call, and what is refused before anybody looks at it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from pinnace_server.settings import JSON_BODY_BYTES_MAX
from tests.server.http.conftest import TOKEN, Api
from tests.server.http.test_openapi import OPEN, operations

FILLED = {
    "{model}": "digits",
    "{version}": "1",
    "{alias}": "production",
    "{device}": "camera-1",
    "{rollout}": "r-1",
    "{number}": "1",
    "{job}": "j-1",
    "{token}": "t-1",
    "{receipt}": "a" * 64,
    "{digest}": "a" * 64,
}


def address(path: str) -> str:
    for name, value in FILLED.items():
        path = path.replace(name, value)
    assert "{" not in path, f"{path}: say in FILLED what stands there"
    return path


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", TOKEN[:-1], "ä", "x" * 10_000])
def test_no_address_answers_without_the_token(api_server: Api, token: str | None) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
    for operation in operations(api_server.app.openapi()):
        if operation.path in OPEN:
            continue
        answer = api_server.stranger.request(operation.method, address(operation.path), headers=headers)  # type: ignore[arg-type]
        assert answer.status_code == 401, str(operation)
        assert answer.json()["code"] == "UNAUTHORIZED"


@pytest.mark.parametrize("path", ["/api/v1/health", "/api/v1/ready", "/docs", "/openapi.json"])
def test_some_addresses_answer_everybody(api_server: Api, path: str) -> None:
    assert api_server.stranger.get(path).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil", "[::1].evil"])
def test_page_under_another_name_gets_nothing(api_server: Api, host: str) -> None:
    for path in ("/api/v1/devices", "/api/v1/health", "/docs", "/"):
        answer = api_server.client.get(path, headers={"Host": host})
        assert answer.status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "LOCALHOST:9", "[::1]:8080"])
def test_loopback_has_several_names(api_server: Api, host: str) -> None:
    assert api_server.client.get("/api/v1/devices", headers={"Host": host}).status_code == 200


def test_body_over_its_limit_is_refused_by_its_declared_size(api_server: Api) -> None:
    answer = api_server.client.post("/api/v1/models", content=b"x" * (JSON_BODY_BYTES_MAX + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")


def test_body_over_its_limit_is_refused_where_it_declares_none(api_server: Api) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(JSON_BODY_BYTES_MAX // 65536 + 2):
            yield b"x" * 65536

    answer = api_server.client.post("/api/v1/models", content=pieces(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/api/v1/devices/none-such", None, 404, "NOT_FOUND"),
        ("GET", "/api/v1/devices/NOT_AN_ID", None, 404, "NOT_FOUND"),
        ("GET", "/api/v1/nowhere", None, 404, "NOT_FOUND"),
        ("DELETE", "/api/v1/models", None, 405, "INVALID"),
        ("GET", "/api/v1/devices?limit=201", None, 422, "INVALID"),
        ("GET", "/api/v1/devices?offset=-1", None, 422, "INVALID"),
        ("GET", "/api/v1/devices?selector=%3Dx", None, 400, "BAD_SELECTOR"),
        ("GET", "/api/v1/devices?status=asleep", None, 422, "INVALID"),
        ("GET", "/api/v1/rollouts?model=A%20B", None, 404, "NOT_FOUND"),
        ("POST", "/api/v1/models", {"name": "Not A Name"}, 400, "INVALID"),
        ("POST", "/api/v1/models", {"name": "digits", "colour": "red"}, 422, "INVALID"),
        ("POST", "/api/v1/models", {}, 422, "INVALID"),
        ("POST", "/api/v1/assignments", {"model": "digits", "version": "1"}, 404, "NOT_FOUND"),
        ("POST", "/api/v1/jobs/none/cancel", None, 404, "NOT_FOUND"),
        ("POST", "/api/v1/claim-tokens", {"uses": 0}, 422, "INVALID"),
    ],
)
def test_error_says_what_was_wrong(
    api_server: Api, method: str, path: str, body: dict[str, Any] | None, status: int, code: str
) -> None:
    answer = api_server.client.request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["message"]
    assert answer.json()["status"] == status


def test_trouble_of_our_own_is_said_without_its_details(api_server: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> object:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(api_server.services.catalogue, "models", broken)
    with TestClient(api_server.app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        answer = client.get("/api/v1/models", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")
    assert "swordfish" not in answer.text


def test_not_ready_without_a_broker(api_server: Api) -> None:
    object.__setattr__(api_server.services, "status", lambda: type("Away", (), {"connected": False})())
    answer = api_server.stranger.get("/api/v1/ready")
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "database": True, "broker": False})
