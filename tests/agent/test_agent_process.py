"""A real agent process, a real broker and real workers, against a server that can do anything wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pinnace_agent.client import Client
from pinnace_contract.latest import Cause, Outcome
from tests.agent.tiny_server import Agent, TinyServer, until
from tests.agent.worker import building
from tests.brokers import Mosquitto


@pytest.fixture
def server(mosquitto: Mosquitto) -> Iterator[TinyServer]:
    made = TinyServer(mosquitto.url)
    yield made
    made.close()


@pytest.fixture
def agent(tmp_path: Path, server: TinyServer, mosquitto: Mosquitto) -> Iterator[Agent]:
    made = Agent(tmp_path / "d", server, mosquitto.url)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()
    print(made.log)


def test_a_first_release_goes_all_the_way(agent: Agent, server: TinyServer, tmp_path: Path) -> None:
    release = server.add(building.put_release(tmp_path / "v1", building.linear()), sequence=1)
    server.assign(1, server.entry(release, 1))
    agent.start()
    receipt = server.wait_for_receipt(1)
    assert receipt.outcome is Outcome.COMMITTED, receipt
    assert receipt.cause is Cause.NONE
    assert receipt.golden is not None
    assert receipt.golden.passed
    with Client(agent.run_dir) as client:
        answer = client.infer("digits", {"x": building.rows(2)})
    assert answer.variant == release.variants[0].digest
    until("the receipt is acknowledged", lambda: agent.state().get("outbox", []) == [])
    assert agent.stop() == 0
