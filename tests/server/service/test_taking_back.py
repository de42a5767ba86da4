"""A rollout that is ended tells nobody from then on, and its rollback takes its devices in by bounded steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pinnace_contract.latest import Cause, Intent, Outcome
from pinnace_server.domain.records import EventKind, MemberState, Rollout, RolloutState, Version
from pinnace_server.service import controller, taking_back
from tests.server.world import Server, TestedDevice

SEVEN = 7
ONE_WAVE: dict[str, Any] = {"waves": ["rest"], "holdback": None, "budgets": {"healthy_per_site_min": None}}


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two devices in a transaction, four in a tick: what 200 and 1,000 are to a large fleet."""
    monkeypatch.setattr(taking_back, "STEP", 2)
    monkeypatch.setattr(taking_back, "STEPS", 2)


class Fleet:
    """Seven devices that keep version 1, and were told of version 2."""

    def __init__(self, server: Server, *, keep: int = SEVEN, in_waves: bool = False) -> None:
        self.server = server
        self.devices = [server.device(f"camera-{n}") for n in range(SEVEN)]
        self.first, self.second = server.version("1"), server.version("2")
        server.assign(self.first)
        for device in self.devices:
            device.commit()
        server.controller.tick()
        self.rollout = server.climb(self.second, **ONE_WAVE) if in_waves else server.assign(self.second)
        for device in self.devices[:keep]:
            device.commit()

    def back(self, version: Version | None = None) -> int:
        """Count the devices that are told to go back."""
        release = (version or self.first).release
        entries = [device.entry() for device in self.devices]
        return sum(each is not None and (each.intent, each.release) == (Intent.ROLLBACK, release) for each in entries)

    def taken_in(self, rollback: Rollout) -> Sequence[str]:
        return sorted(self.server.members(rollback))


def test_its_first_transaction_ends_the_rollout_and_takes_in_one_step(server: Server) -> None:
    fleet = Fleet(server)
    made = server.rollouts.roll_back(fleet.rollout.id, reason="worse", actor="test")
    assert server.rollout(fleet.rollout).state is RolloutState.HALTED
    assert len(fleet.taken_in(made)) == 2
    assert made.backlog is not None
    (created,) = [each for each in server.events(EventKind.ROLLOUT_CREATED) if each.rollout == made.id]
    assert created.summary == "digits goes back to 1 on 2 devices, and on more in the next steps: worse"


def test_a_tick_takes_in_no_more_than_its_steps_and_tells_those(server: Server) -> None:
    fleet = Fleet(server)
    made = server.rollouts.roll_back(fleet.rollout.id, reason="worse", actor="test")
    server.controller.tick()
    assert (len(fleet.taken_in(made)), fleet.back()) == (6, 6)
    server.controller.tick()
    assert (len(fleet.taken_in(made)), fleet.back()) == (7, 7)
    rollback = server.rollout(made)
    assert (rollback.backlog, rollback.state, rollback.version) == (None, RolloutState.ACTIVE, "1")
    for device in fleet.devices:
        device.commit()
    server.controller.tick()
    assert server.rollout(made).state is RolloutState.FINISHED


def test_a_server_that_is_killed_in_the_middle_goes_on_there(server: Server) -> None:
    fleet = Fleet(server)
    made = server.rollouts.roll_back(fleet.rollout.id, reason="worse", actor="test")
    server.controller.tick()
    for device in fleet.devices[:6]:
        device.commit()
    server.restart()
    server.controller.tick()
    assert server.rollout(made).state is RolloutState.ACTIVE, "one is left, however many are done"
    server.controller.tick()
    assert (len(fleet.taken_in(made)), fleet.back()) == (7, 7)


def test_nobody_takes_a_device_that_is_yet_to_be_taken_in(server: Server) -> None:
    fleet = Fleet(server, in_waves=True)
    third = server.version("3")
    other = server.climb(third, **ONE_WAVE)
    server.rollouts.roll_back(fleet.rollout.id, reason="worse", actor="test")
    for _ in range(3):
        server.controller.tick()
    assert fleet.back() == 7
    assert {each.state for each in server.members(other).values()} == {MemberState.WAITING}


def test_a_rollback_is_signed_before_what_moves_others_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(server)
    others = [server.device(f"door-{n}", labels={"at": "door"}) for n in range(4)]
    monkeypatch.setattr(controller, "BATCH", 0)
    server.assign(fleet.second, "at=door")
    server.rollouts.roll_back(fleet.rollout.id, reason="worse", actor="test")
    monkeypatch.setattr(controller, "BATCH", 4)
    server.controller.tick()
    assert (fleet.back(), sum(each.entry() is not None for each in others)) == (4, 0)
    server.controller.tick()
    server.controller.tick()
    assert (fleet.back(), sum(each.entry() is not None for each in others)) == (7, 4)


def test_a_cancel_leaves_whoever_keeps_the_release_by_the_time_it_is_looked_at(server: Server) -> None:
    fleet = Fleet(server, keep=3)
    server.rollouts.cancel(fleet.rollout.id, reason="enough", actor="test")
    fleet.devices[6].commit()
    for _ in range(3):
        server.controller.tick()
    assert fleet.back() == 3
    keeps = [each for each in server.members(fleet.rollout).values() if each.state is MemberState.COMMITTED]
    assert len(keeps) == 4


def test_a_rollback_after_a_cancel_that_is_not_done_takes_everybody(server: Server) -> None:
    fleet = Fleet(server, keep=3)
    server.rollouts.cancel(fleet.rollout.id, reason="enough", actor="test")
    server.rollouts.roll_back(fleet.rollout.id, reason="worse", actor="test")
    for _ in range(4):
        server.controller.tick()
    assert fleet.back() == 7


def test_a_first_release_that_is_cancelled_is_taken_away_by_steps(server: Server) -> None:
    devices = [server.device(f"camera-{n}") for n in range(SEVEN)]
    rollout = server.assign(server.version())
    server.rollouts.cancel(rollout.id, reason="enough", actor="test")
    for _ in range(4):
        server.controller.tick()
    assert {device.entry().intent for device in devices} == {Intent.REMOVE}  # type: ignore[union-attr]


def test_whoever_has_nothing_to_go_back_to_is_named_once(server: Server) -> None:
    devices: list[TestedDevice] = [server.device(f"camera-{n}") for n in range(SEVEN)]
    rollout = server.assign(server.version())
    for device in devices:
        device.commit()
    made = server.rollouts.roll_back(rollout.id, reason="worse", actor="test")
    for _ in range(3):
        server.controller.tick()
    named = [each.device for each in server.events(EventKind.NO_FALLBACK)]
    assert sorted(str(each) for each in named) == sorted(device.id for device in devices)
    assert server.rollout(made).state is RolloutState.FINISHED


def test_the_rule_that_fires_begins_it_alike(server: Server) -> None:
    fleet = Fleet(server)
    for device in fleet.devices:
        device.answers(400, below=400)
    server.controller.tick()
    assert server.rollout(fleet.rollout).state is RolloutState.HALTED
    for _ in range(3):
        server.controller.tick()
    assert fleet.back() == 7


def test_a_small_one_is_taken_in_at_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking_back, "STEP", 200)
    fleet = Fleet(server)
    fleet.devices[0].end(Outcome.REVERTED, Cause.CRASHED)
    made = server.rollouts.roll_back(fleet.rollout.id, reason="worse", actor="test")
    assert (made.backlog, len(fleet.taken_in(made))) == (None, 7)
