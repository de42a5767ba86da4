"""A tick looks at the devices of which something was heard, and at all of them now and then."""

from __future__ import annotations

import pytest

from pinnace_contract.ids import DeviceId
from pinnace_server.domain import planner
from pinnace_server.domain.records import MemberState, Rollout, RolloutState
from pinnace_server.service.controller import PLAN_ALL_EVERY_S
from tests.server.world import Server, TestedDevice


class Looks:
    """Which devices the planner was shown."""

    def __init__(self) -> None:
        self._seen: list[DeviceId] = []

    def at(self, *devices: DeviceId) -> None:
        self._seen += devices

    def take(self) -> set[DeviceId]:
        seen, self._seen = set(self._seen), []
        return seen


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    found, plan = Looks(), planner.plan

    def seen(policy, observed, parent, now_s):  # type: ignore[no-untyped-def]  # passes everything through
        found.at(*observed)
        return plan(policy, observed, parent, now_s)

    monkeypatch.setattr(planner, "plan", seen)
    return found


@pytest.fixture
def devices(server: Server) -> list[TestedDevice]:
    made = [server.device(f"camera-{number}") for number in range(4)]
    server.assign(server.version("1"))
    server.controller.tick()
    return made


def test_nobody_is_looked_at_while_nothing_is_heard(server: Server, devices: list[TestedDevice], looks: Looks) -> None:
    server.controller.tick()
    looks.take()
    server.controller.tick()
    assert looks.take() == set()


def test_the_device_that_spoke_is_looked_at(server: Server, devices: list[TestedDevice], looks: Looks) -> None:
    server.controller.tick()
    looks.take()
    devices[1].say()
    server.controller.tick()
    assert looks.take() == {devices[1].id}


def test_all_are_looked_at_now_and_then(server: Server, devices: list[TestedDevice], looks: Looks) -> None:
    server.controller.tick()
    looks.take()
    server.clock.move(PLAN_ALL_EVERY_S)
    server.controller.tick()
    assert looks.take() == {device.id for device in devices}


def test_all_are_looked_at_when_another_rollout_begins(
    server: Server, devices: list[TestedDevice], looks: Looks
) -> None:
    server.controller.tick()
    looks.take()
    server.assign(server.version("2"))
    server.controller.tick()
    assert looks.take() == {device.id for device in devices}


def test_a_rollout_ends_with_the_last_device_that_speaks(server: Server, devices: list[TestedDevice]) -> None:
    (rollout,) = [each for each in _rollouts(server) if each.state is RolloutState.ACTIVE]
    for device in devices:
        device.commit()
        server.controller.tick()
    assert server.rollout(rollout).state is RolloutState.FINISHED
    assert {member.state for member in server.members(rollout).values()} == {MemberState.COMMITTED}


def test_after_an_error_all_are_looked_at_again(
    server: Server, devices: list[TestedDevice], looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.controller.tick()
    with monkeypatch.context() as broken:
        broken.setattr(server.controller, "_move", lambda *_: 1 / 0)
        devices[0].say()
        server.controller.tick()
    looks.take()
    server.controller.tick()
    assert looks.take() == {device.id for device in devices}


def _rollouts(server: Server) -> list[Rollout]:
    with server.store.read() as tables:
        return list(tables.rollouts.active())
