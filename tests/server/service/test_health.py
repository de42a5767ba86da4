"""A release that is silently worse: the rule halts its rollout and moves the devices back, each to what it had."""

from __future__ import annotations

import pytest

from pinnace_contract.latest import Intent, Outcome
from pinnace_server.domain.records import EventKind, MemberState, Rollout, RolloutState, Version
from tests.server.world import MODEL, Server, TestedDevice


def rolled_out(server: Server, devices: list[TestedDevice]) -> tuple[Version, Version, Rollout]:
    """Version 1, then version 2, committed on every device."""
    first, second = server.version("1"), server.version("2")
    server.assign(first)
    for device in devices:
        device.commit()
    server.controller.tick()
    rollout = server.assign(second)
    for device in devices:
        device.commit()
    server.controller.tick()
    assert server.rollout(rollout).state is RolloutState.FINISHED
    return first, second, rollout


@pytest.fixture
def devices(server: Server) -> list[TestedDevice]:
    return [server.device(f"camera-{n}") for n in range(3)]


def test_low_confidence_moves_every_device_back(server: Server, devices: list[TestedDevice]) -> None:
    first, second, rollout = rolled_out(server, devices)
    for device in devices:
        device.answers(100, below=40)
    server.controller.tick()
    halted = server.rollout(rollout)
    assert halted.state is RolloutState.HALTED
    assert "40.0%" in halted.reason
    assert halted.verdict["predictions"] == "300"
    for device in devices:
        entry = device.entry()
        assert entry is not None
        assert (entry.release, entry.intent) == (first.release, Intent.ROLLBACK)
        device.commit()
    server.controller.tick()
    assert {event.model for event in server.events(EventKind.HEALTH_RULE_FIRED)} == {MODEL}
    back = [each for each in server.events(EventKind.ROLLOUT_CREATED) if each.data.get("halts") == rollout.id]
    assert [(event.actor, event.version) for event in back] == [("server", "1")]
    assert {device.current.release for device in devices if device.current} == {first.release}
    assert second.release not in {good.release for device in devices for good in device.last_good}


def test_rule_fires_once(server: Server, devices: list[TestedDevice]) -> None:
    rolled_out(server, devices)
    for _ in range(3):
        for device in devices:
            device.answers(200, below=200)
        server.controller.tick()
    assert len(server.events(EventKind.HEALTH_RULE_FIRED)) == 1


def test_release_as_good_as_promised_stays(server: Server, devices: list[TestedDevice]) -> None:
    _, _, rollout = rolled_out(server, devices)
    for device in devices:
        device.answers(1000, below=120, labels=400, label_errors=8)
    server.controller.tick()
    assert server.rollout(rollout).state is RolloutState.FINISHED


def test_label_errors_are_held_against_the_release_before(server: Server, devices: list[TestedDevice]) -> None:
    first, second = server.version("1"), server.version("2")
    server.assign(first)
    for device in devices:
        device.commit()
        device.answers(200, labels=200, label_errors=4)
    server.assign(second)
    for device in devices:
        device.commit()
        device.answers(100, labels=200, label_errors=16)
    server.controller.tick()
    (fired,) = server.events(EventKind.HEALTH_RULE_FIRED)
    assert (fired.version, fired.data["finding"]) == ("2", "label_errors")
    assert (fired.data["previous_labels"], fired.data["previous_label_errors"]) == ("600", "12")


def test_answers_of_a_trial_are_the_devices_to_judge(server: Server, devices: list[TestedDevice]) -> None:
    server.assign(server.version("1"))
    for device in devices:
        device.commit()
    server.assign(server.version("2"))
    entry = devices[0].entry()
    assert entry is not None
    assert entry.release is not None
    serves = devices[0].current
    assert serves is not None
    devices[0].current = type(serves)(
        release=entry.release, variant=entry.variants[0], version=serves.version, sequence=2
    )
    devices[0].answers(1000, below=1000)
    server.controller.tick()
    assert not server.events(EventKind.HEALTH_RULE_FIRED)


def test_device_without_a_fallback_is_named_and_left_as_it_is(server: Server, devices: list[TestedDevice]) -> None:
    version = server.version("1")
    rollout = server.assign(version)
    for device in devices:
        device.commit()
        device.answers(200, below=200)
    server.controller.tick()
    server.controller.tick()
    assert server.rollout(rollout).state is RolloutState.HALTED
    assert {event.device for event in server.events(EventKind.NO_FALLBACK)} == {device.id for device in devices}
    for device in devices:
        entry = device.entry()
        assert entry is not None
        assert entry.release == version.release


def test_device_under_way_goes_back_with_the_others(server: Server, devices: list[TestedDevice]) -> None:
    first, second = server.version("1"), server.version("2")
    server.assign(first)
    for device in devices:
        device.commit()
    rollout = server.assign(second)
    for device in devices[1:]:
        device.commit()
        device.answers(200, below=200)
    server.controller.tick()
    assert server.rollout(rollout).state is RolloutState.HALTED
    entry = devices[0].entry()
    assert entry is not None
    assert (entry.release, entry.intent) == (first.release, Intent.ROLLBACK)


def test_device_that_another_rollout_took_is_left_alone(server: Server, devices: list[TestedDevice]) -> None:
    rolled_out(server, devices)
    third = server.version("3")
    server.assign(third, f"device={devices[0].id}")
    for device in devices[1:]:
        device.answers(200, below=200)
    server.controller.tick()
    entry = devices[0].entry()
    assert entry is not None
    assert entry.release == third.release


def test_evidence_of_a_device_that_may_be_two_does_not_count(server: Server, devices: list[TestedDevice]) -> None:
    _, _, rollout = rolled_out(server, devices)
    twin = TestedDevice(server, "twin")
    twin._key, twin.id = devices[0]._key, devices[0].id
    twin.birth()
    devices[0].answers(1000, below=1000)
    assert server.rollouts.progress(rollout.id).evidence.n == 0


def test_operator_can_roll_a_rollout_back(server: Server, devices: list[TestedDevice]) -> None:
    first, _, rollout = rolled_out(server, devices)
    made = server.rollouts.roll_back(rollout.id, reason="customers complain", actor="ada")
    server.controller.tick()
    assert server.rollout(rollout).state is RolloutState.HALTED
    for device in devices:
        assert device.commit().outcome is Outcome.COMMITTED
    server.controller.tick()
    assert {device.current.release for device in devices if device.current} == {first.release}
    assert {member.state for member in server.members(made).values()} == {MemberState.COMMITTED}
