"""A console over a fleet in memory, a visitor who is signed in, and one who is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from starlette.testclient import TestClient

from pinnace_server.console.mounting import Console, build
from pinnace_server.console.sessions import MemorySessions
from tests.server.console.fleet import NOW, TOKEN, Fleet

HOST = "http://console.test"


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def sessions() -> MemorySessions:
    return MemorySessions()


@pytest.fixture
def console(fleet: Fleet, sessions: MemorySessions, clock: Clock) -> Console:
    return build(fleet.services(), sessions=sessions, clock=clock)


@pytest.fixture
def stranger(console: Console) -> Iterator[TestClient]:
    with TestClient(console.app, base_url=HOST, raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


@pytest.fixture
def operator(stranger: TestClient) -> TestClient:
    sign_in(stranger)
    return stranger


def sign_in(client: TestClient) -> None:
    answer = client.post("/login", data={"admin_token": TOKEN})
    assert answer.status_code == 303, answer.text


@pytest.fixture
def operator_of() -> Iterator[Callable[[Fleet], TestClient]]:
    """Signs in to a console over another fleet."""
    opened: list[TestClient] = []

    def make(fleet: Fleet) -> TestClient:
        app = build(fleet.services(), clock=Clock()).app
        client = TestClient(app, base_url=HOST, raise_server_exceptions=False, follow_redirects=False)
        opened.append(client.__enter__())
        sign_in(client)
        return client

    yield make
    for client in opened:
        client.__exit__()
