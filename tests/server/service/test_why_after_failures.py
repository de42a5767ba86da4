"""What `why` says where the first devices of a wave failed, or wait for something else than the release."""

from __future__ import annotations

import pytest

from pinnace_contract.latest import Cause, Outcome
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.records import MemberState, RolloutState
from pinnace_server.domain.why import StepKind
from pinnace_server.service.whys import Whys
from tests.server.service.test_climbing import QUICK, REPORT_S, Plant
from tests.server.world import Server


@pytest.fixture
def plant(server: Server) -> Plant:
    return Plant(server, 4)


def test_a_wave_whose_only_device_failed_its_golden_vectors_is_moved_back_and_not_promoted(
    server: Server, plant: Plant
) -> None:
    rollout = server.climb(plant.second, waves=[1, "rest"], **QUICK)
    (failed,) = [each for each in plant.devices if server.members(rollout)[each.id].wave == 1]
    failed.end(Outcome.FAILED, Cause.GOLDEN_MISMATCH, "3 of 3")
    server.clock.move(REPORT_S)
    server.controller.tick()
    whys = Whys(server.world)
    later = next(each for each in plant.devices if each is not failed)
    for answer in (whys.of_rollout(rollout.id), *whys.of_device(later.id)):
        assert "golden vectors failed on 1 kind(s) of hardware" in answer.why
        assert answer.step.kind is StepKind.MOVE_BACK
        assert answer.step.command == f"pinnace rollout rollback {rollout.id} --reason …"
    (own,) = whys.of_device(failed.id)
    assert own.cause is Cause.GOLDEN_MISMATCH
    assert own.step.kind is StepKind.ASSIGN, "it would refuse a second try as known bad"
    assert own.step.command == f"pinnace assign {rollout.model} VERSION --devices {failed.id}"
    server.rollouts.roll_back(rollout.id, reason="as why said", actor="ann")
    assert server.rollout(rollout).state is RolloutState.HALTED
    assert whys.of_rollout(rollout.id).step.kind is StepKind.NOTHING


def test_what_failed_is_told_though_another_device_committed_since(server: Server, plant: Plant) -> None:
    rollout = server.climb(plant.second, waves=[2, "rest"], **QUICK)
    failed, good = [each for each in plant.devices if server.members(rollout)[each.id].wave == 1]
    failed.end(Outcome.FAILED, Cause.GOLDEN_MISMATCH)
    server.clock.move(REPORT_S)
    server.controller.tick()
    good.commit()
    answer = Whys(server.world).of_rollout(rollout.id)
    assert "golden vectors failed on 1 kind(s) of hardware" in answer.why
    assert answer.step.kind is StepKind.MOVE_BACK


def test_a_rollout_whose_wave_waits_for_another_one_names_it(server: Server, plant: Plant) -> None:
    first = server.climb(plant.second, waves=["rest"], priority=90, **QUICK | {"holdback": None})
    second = server.climb(server.version("3"), waves=["rest"], priority=10, **QUICK | {"holdback": None})
    whys = Whys(server.world)
    answer = whys.of_rollout(second.id)
    assert answer.waiting_on is WaitingOn.DEVICES
    assert "its devices wait: 4 for another rollout that goes first" in answer.why
    assert f"rollout {first.id} goes first on this device" in answer.why
    device = answer.step.command.removeprefix("pinnace why ")
    assert device in {each.id for each in plant.devices}
    of_device = next(each for each in whys.of_device(plant.devices[0].id) if each.rollout == second.id)
    assert of_device.step.kind is StepKind.OTHER_ROLLOUT
    assert of_device.step.command == f"pinnace why {first.id}"


def test_what_committed_since_the_gates_looked_is_not_said_to_serve_nothing(server: Server, plant: Plant) -> None:
    rollout = server.climb(plant.second, waves=[2, "rest"], **QUICK)
    server.controller.tick()
    whys = Whys(server.world)
    assert "none of its devices serves the release yet" in whys.of_rollout(rollout.id).why
    for device in plant.devices:
        if server.members(rollout)[device.id].wave == 1:
            device.commit()
    answer = whys.of_rollout(rollout.id)
    assert answer.why == "wave 1: 2 of its devices keep the release; its gates look soon"


def test_a_cancelled_rollout_is_not_said_to_be_done(server: Server, plant: Plant) -> None:
    rollout = server.climb(plant.second, waves=[1, "rest"], **QUICK)
    server.rollouts.cancel(rollout.id, reason="", actor="ann")
    assert Whys(server.world).of_rollout(rollout.id).why.startswith("it is cancelled")
    found = server.rollouts.progress(rollout.id).report
    assert WaitingOn.EARLIER_WAVE not in found.waiting(), "nothing is awaited of a rollout that is over"
    assert {each.detail for each in found.devices if each.state is MemberState.WAITING} == {"it was never told"}
