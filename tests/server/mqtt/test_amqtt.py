"""The guard of amqtt's leak: retained messages went to clients that never subscribed to them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.server.mqtt.peer import peer

CHILD = """
import asyncio
from amqtt.broker import Broker
from pinnace_server.mqtt.amqtt_child import GuardedBroker, serve
asyncio.run(serve(0, {kind}))
"""


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A broker of the kind that the test's parameter names."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD.format(kind=request.param)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        word, number = child.stdout.readline().split()
        assert word == b"ready"
        yield int(number)
        child.stdin.close()


def _received_by_a_stranger(port: int) -> list[tuple[str, bytes]]:
    with peer(port) as device:
        device.subscribe("down/camera-07/#")
        device.publish("down/camera-07/desired", b"for camera 07", retain=True)
        device.wait_for("down/camera-07/desired", b"for camera 07")
        with peer(port) as stranger:
            stranger.settle()
            return stranger.received


@pytest.mark.parametrize("port", ["Broker"], indirect=True)
def test_amqtt_as_it_is_still_leaks_so_that_the_guard_is_needed(port: int) -> None:
    assert _received_by_a_stranger(port) == [("down/camera-07/desired", b"for camera 07")]


@pytest.mark.parametrize("port", ["GuardedBroker"], indirect=True)
def test_guarded_amqtt_sends_retained_messages_to_subscribers_only(port: int) -> None:
    assert _received_by_a_stranger(port) == []


@pytest.mark.parametrize("port", ["GuardedBroker"], indirect=True)
def test_guarded_amqtt_gives_a_kept_session_its_retained_messages_again(port: int) -> None:
    with peer(port, "camera-07", keeps_session=True) as device:
        device.subscribe("down/camera-07/#")
    with peer(port) as server:
        server.publish("down/camera-07/desired", b"newer", retain=True)
    with peer(port, "camera-07", keeps_session=True) as device:
        device.wait_for("down/camera-07/desired", b"newer")


def test_child_ends_when_its_input_closes() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "pinnace_server.mqtt.amqtt_child", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline().startswith(b"ready ")
        child.stdin.close()
        assert child.wait(timeout=30) == 0
