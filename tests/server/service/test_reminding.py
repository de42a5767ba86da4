"""A device that speaks as if its set had never reached it is told again."""

from __future__ import annotations

import pytest

from pinnace_contract.ids import DeviceId, IncarnationId
from pinnace_contract.latest import Cause, Reported
from pinnace_contract.topics import Down, DownTopic, Up, UpTopic
from pinnace_server.errors import Unavailable
from pinnace_server.service.reminding import PATIENCE_S
from tests.server.world import Server, TestedDevice


@pytest.fixture
def device(server: Server) -> TestedDevice:
    made = server.device("camera")
    server.assign(server.version("1"), f"device={made.id}")
    made.commit()
    server.clock.move(2 * PATIENCE_S)
    return made


def lose(server: Server, device: TestedDevice) -> None:
    """Let the broker, or a stranger, take away what it was told."""
    server.broker.retained.pop(DownTopic(device=device.id, channel=Down.DESIRED))


def said(device: TestedDevice, generation: int, cause: Cause = Cause.NONE) -> Reported:
    device.seq += 1
    return Reported(
        device=device.id,
        incarnation=device.incarnation,
        seq=device.seq,
        boot=device.boot,
        generation=generation,
        cause=cause,
        models=(),
        at_s=device.server.clock.now(),
    )


def say(device: TestedDevice, generation: int, cause: Cause = Cause.NONE) -> None:
    device.send(Up.REPORTED, said(device, generation, cause))


def test_an_older_generation_is_answered_with_the_set(server: Server, device: TestedDevice) -> None:
    told = server.broker.desired(device.id)
    assert told is not None
    lose(server, device)
    say(device, told.generation - 1)
    assert server.broker.desired(device.id) == told


@pytest.mark.parametrize("cause", [Cause.WRONG_DEVICE, Cause.METADATA_ROLLBACK, Cause.SIGNATURE_INVALID])
def test_the_refusal_of_another_set_is_answered_with_its_own(
    server: Server, device: TestedDevice, cause: Cause
) -> None:
    told = server.broker.desired(device.id)
    assert told is not None
    lose(server, device)
    say(device, told.generation, cause)
    assert server.broker.desired(device.id) == told


@pytest.mark.parametrize("cause", [Cause.NONE, Cause.SET_REFUSED])
def test_a_device_that_has_its_set_is_left_alone(server: Server, device: TestedDevice, cause: Cause) -> None:
    told = server.broker.desired(device.id)
    assert told is not None
    sent = len(server.broker.sent)
    say(device, told.generation, cause)
    assert len(server.broker.sent) == sent


def test_it_is_told_at_most_once_a_minute(server: Server, device: TestedDevice) -> None:
    say(device, 1, Cause.WRONG_DEVICE)
    lose(server, device)
    say(device, 1, Cause.WRONG_DEVICE)
    assert server.broker.desired(device.id) is None
    server.clock.move(PATIENCE_S)
    say(device, 1, Cause.WRONG_DEVICE)
    assert server.broker.desired(device.id) is not None


def test_a_signer_that_cannot_sign_keeps_nothing_else_from_its_batch(
    server: Server, device: TestedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[DeviceId] = []

    def refuse(of: DeviceId) -> bytes:
        asked.append(of)
        raise Unavailable("the signer's disk is full", hint="make room")

    monkeypatch.setattr(server.signer, "refresh", refuse)
    acks = len(server.broker.acks(device.id, server.signer.verify))
    batch = {Up.REPORTED: said(device, 0), Up.REPORT: device.report()}
    server.ingest.receive_all(
        [(str(UpTopic(device=device.id, channel=channel)), device.sealed(word)) for channel, word in batch.items()]
    )
    assert asked == [device.id]
    assert len(server.broker.acks(device.id, server.signer.verify)) == acks + 1


def test_what_was_just_published_is_waited_for(server: Server, device: TestedDevice) -> None:
    server.assign(server.version("2"), f"device={device.id}")
    sent = len(server.broker.sent)
    say(device, 1)
    assert len(server.broker.sent) == sent


def test_a_store_that_is_not_believed_is_not_answered(server: Server, device: TestedDevice) -> None:
    lose(server, device)
    device.incarnation = IncarnationId("f" * 32)
    say(device, 0)
    assert server.broker.desired(device.id) is None
