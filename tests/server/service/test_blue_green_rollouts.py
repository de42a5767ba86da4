"""Blue/green rollouts, over the real services: a wave is made ready, switches together, and can be switched back."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace_contract.latest import ArmMode, Block, Cause, Entry, Intent, Outcome, Phase, Predictions, Running
from pinnace_contract.topics import Up
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.records import EventKind, MemberState, Rollout, RolloutState
from pinnace_server.domain.why import StepKind
from pinnace_server.service.steering import Steering
from pinnace_server.service.whys import Whys
from tests.server.world import MODEL, Server, TestedDevice

HOUR_S = 3_600.0
REPORT_S = 600
PAIR: dict[str, Any] = {"kind": "blue_green", "wait_s": 1_800, "keep_s": 7_200}
QUICK: dict[str, Any] = {"gates": {"soak_s": 3_600}, "holdback": None, "strategy": PAIR, "waves": [3, "rest"]}


class Line:
    """Devices that serve the first version."""

    def __init__(self, server: Server, devices: int) -> None:
        self.server = server
        self.first, self.second = server.version("1"), server.version("2")
        self.devices = [server.device(f"camera-{n}") for n in range(devices)]
        server.assign(self.first)
        for device in self.devices:
            device.commit()
            device.send_birth(REPORT_S)
        self.pass_time(2 * HOUR_S)

    def pass_time(self, seconds: float, errors: int = 0) -> None:
        """Let everybody answer and report; of those on the second version so many of 600 answers fail."""
        end = self.server.clock.now() + seconds
        while self.server.clock.now() < end:
            self.server.clock.move(REPORT_S)
            for device in self.devices:
                self.report(device, errors)
            self.tick()

    def report(self, device: TestedDevice, errors: int) -> None:
        current = device.current
        assert current is not None
        bad = errors if current.version == self.second.version else 0
        block = Block(
            model=MODEL, release=current.release, variant=current.variant, n=600, predictions=Predictions(n=600 - bad)
        )
        device.send(Up.REPORT, device.report(block, errors=bad) if bad else device.report(block))

    def tick(self) -> None:
        """Let what was heard be planned, and what follows from it."""
        for _ in range(3):
            self.server.clock.move(10)
            self.server.controller.tick()

    def told(self) -> list[TestedDevice]:
        """Return who was told to make the second version ready, or to switch to it, and is not on it."""
        return [device for device in self.devices if self.pair(device) is not None and not self.is_on(device)]

    def pair(self, device: TestedDevice) -> Entry | None:
        entry = device.entry()
        is_pair = entry is not None and entry.arms is not None and entry.arms.mode is ArmMode.BLUE_GREEN
        return entry if is_pair else None

    def is_on(self, device: TestedDevice) -> bool:
        return device.current is not None and device.current.version == self.second.version

    def share(self, device: TestedDevice) -> int | None:
        entry = self.pair(device)
        return entry.arms.share_percent if entry is not None and entry.arms is not None else None

    def make_ready(self, *devices: TestedDevice, cause: Cause = Cause.NONE) -> None:
        self.say_ready(*devices, cause=cause)
        self.tick()

    def say_ready(self, *devices: TestedDevice, cause: Cause = Cause.NONE) -> None:
        for device in devices:
            entry = self.pair(device)
            assert entry is not None
            assert entry.release is not None
            candidate = Running(
                release=entry.release,
                variant=entry.variants[0],
                version=self.second.version,
                sequence=self.second.sequence,
            )
            device.say(device.state(generation=entry.generation, phase=Phase.READY, candidate=candidate, cause=cause))

    def why(self, about: TestedDevice | Rollout) -> str:
        asked = Whys(self.server.world)
        if isinstance(about, Rollout):
            return asked.of_rollout(about.id).why
        (answer,) = asked.of_device(about.id)
        return answer.why

    def switches(self) -> list[str]:
        return [event.summary for event in self.server.events(EventKind.WAVE_SWITCHED)]


@pytest.fixture
def line(server: Server) -> Line:
    return Line(server, 6)


def begun(server: Server, line: Line, **policy: Any) -> tuple[Rollout, list[TestedDevice]]:
    rollout = server.climb(line.second, **QUICK | policy)
    line.tick()
    return rollout, line.told()


def test_a_wave_is_made_ready_first_and_switches_together(server: Server, line: Line) -> None:
    rollout, told = begun(server, line)
    assert [line.share(each) for each in told] == [0, 0, 0]
    line.make_ready(*told[:2])
    assert [line.share(each) for each in told] == [0, 0, 0]
    assert {server.members(rollout)[each.id].state for each in told[:2]} == {MemberState.READY}
    generations = [each.entry().generation for each in told]  # type: ignore[union-attr]
    line.make_ready(told[2])
    assert [line.share(each) for each in told] == [100, 100, 100]
    assert [each.entry().generation - 1 for each in told] == generations  # type: ignore[union-attr]
    assert {each.entry().attempt for each in told} == {1}  # type: ignore[union-attr]
    (said,) = line.switches()
    assert "3 of 3 devices are ready, and switch together" in said
    for each in told:
        each.commit()
    line.tick()
    assert {server.members(rollout)[each.id].state for each in told} == {MemberState.COMMITTED}


def test_a_ready_device_and_its_rollout_say_what_they_wait_for(server: Server, line: Line) -> None:
    rollout, told = begun(server, line)
    line.make_ready(*told[:2])
    assert "it is ready, and waits for the others of wave 1" in line.why(told[0])
    assert "2 of 3 devices are ready; they switch when the others are" in line.why(told[0])
    assert "2 of 3 devices are ready; they switch when the others are, at the latest 1800 s" in line.why(rollout)
    waits = {each.device: each.waiting_on for each in server.rollouts.progress(rollout.id).report.devices}
    assert waits[told[0].id] is WaitingOn.SWITCH
    assert waits[told[2].id] is not WaitingOn.SWITCH


def test_between_two_looks_of_the_gates_the_switch_is_told_as_it_is_now(server: Server, line: Line) -> None:
    rollout, told = begun(server, line)
    assert "none of its devices serves the release yet" in line.why(rollout)
    for n, device in enumerate(told[:2], 1):  # within the ten seconds until the gates look again
        server.clock.move(2)
        line.say_ready(device)
        server.controller.tick()
        assert f"{n} of 3 devices are ready; they switch when the others are" in line.why(rollout)
        assert f"{n} of 3 devices are ready; they switch when the others are" in line.why(told[0])
    line.tick()
    server.clock.move(2)
    line.say_ready(told[1], cause=Cause.CRASHED)
    server.controller.tick()
    assert "1 of 3 devices are ready" in line.why(rollout)
    line.say_ready(told[0], cause=Cause.CRASHED)
    server.controller.tick()
    assert "none of its devices serves the release yet" in line.why(rollout)


def test_a_whole_wave_that_is_ready_switches_at_the_next_look_and_its_rollout_says_so(
    server: Server, line: Line
) -> None:
    rollout, told = begun(server, line)
    server.clock.move(2)
    line.say_ready(*told)
    server.controller.tick()
    answer = Whys(server.world).of_rollout(rollout.id)
    assert "3 of 3 devices are ready, and switch together" in answer.why
    assert answer.step.kind is StepKind.TICK
    line.tick()
    assert len(line.switches()) == 1
    assert "its ready devices were told to switch, and none of its devices serves the release yet" in line.why(rollout)


def test_between_two_looks_stopped_installs_are_no_wait_for_a_switch(server: Server, line: Line) -> None:
    rollout, told = begun(server, line)
    server.clock.move(2)
    line.say_ready(told[1])
    told[0].end(Outcome.FAILED, Cause.GOLDEN_MISMATCH, "8 of 8 vectors differ")
    server.controller.tick()
    assert "they switch" not in line.why(rollout)


def test_who_is_late_is_let_go_and_switches_by_itself(server: Server, line: Line) -> None:
    rollout, told = begun(server, line)
    line.make_ready(*told[:2])
    line.pass_time(1_800)
    assert [line.share(each) for each in told] == [100, 100, 0]
    assert "2 of 3 devices are ready, the first of them for 1800 s" in line.switches()[0]
    line.make_ready(told[2])
    assert line.share(told[2]) == 100
    assert len(line.switches()) == 1
    assert server.rollout(rollout).state is RolloutState.ACTIVE


def test_a_device_of_a_wave_that_has_switched_is_told_to_switch_at_once(server: Server, line: Line) -> None:
    rollout, told = begun(server, line)
    told[2].end(Outcome.FAILED, Cause.TRANSFER_FAILED, "the line was cut")
    line.make_ready(*told[:2])
    assert [line.share(each) for each in told[:2]] == [100, 100]
    Steering(server.world).retry(rollout.id, actor="admin")
    line.tick()
    assert line.share(told[2]) == 100


def test_the_way_back_asks_for_no_load_of_those_that_wait_or_serve(server: Server, line: Line) -> None:
    rollout, told = begun(server, line)
    line.make_ready(*told)
    for each in told[:2]:
        each.commit()
    server.rollouts.roll_back(rollout.id, reason="it is wrong", actor="admin")
    line.tick()
    back = [each.entry() for each in told]
    assert {(each.intent, each.release, each.arms) for each in back if each} == {
        (Intent.ROLLBACK, line.first.release, None)
    }


def test_a_wave_in_which_installs_stop_does_not_switch(server: Server, line: Line) -> None:
    rollout, told = begun(server, line)
    told[0].end(Outcome.FAILED, Cause.GOLDEN_MISMATCH, "8 of 8 vectors differ")
    line.make_ready(*told[1:])
    line.pass_time(HOUR_S)
    assert [line.share(each) for each in told[1:]] == [0, 0]
    assert line.switches() == []
    Steering(server.world).promote(rollout.id, 1, reason="that board is known", actor="admin")
    line.tick()
    assert [line.share(each) for each in told[1:]] == [100, 100]


def test_a_pause_holds_the_switch(server: Server, line: Line) -> None:
    rollout, told = begun(server, line)
    Steering(server.world).pause(rollout.id, reason="lunch", actor="admin")
    line.make_ready(*told)
    assert [line.share(each) for each in told] == [0, 0, 0]
    assert "lunch" in line.why(told[0])
    Steering(server.world).resume(rollout.id, actor="admin")
    line.tick()
    assert [line.share(each) for each in told] == [100, 100, 100]


def test_budgets_count_switches_and_not_what_is_ready(server: Server, line: Line) -> None:
    rollout, told = begun(server, line, budgets={"devices_in_flight_max": 2})
    assert len(told) == 2
    line.make_ready(*told)
    told = line.told()
    assert len(told) == 3
    line.make_ready(told[2])
    assert sorted(line.share(each) or 0 for each in told) == [0, 100, 100]
    next(each for each in told if line.share(each) == 100).commit()
    line.tick()
    assert {line.share(each) for each in line.told()} == {100}
    assert server.rollout(rollout).state is RolloutState.ACTIVE


def test_green_that_is_being_loaded_again_is_not_ready(server: Server, line: Line) -> None:
    rollout, told = begun(server, line)
    line.make_ready(*told[:2])
    line.make_ready(told[1], cause=Cause.CRASHED)
    line.make_ready(told[2])
    assert server.members(rollout)[told[1].id].state is MemberState.ASSIGNED
    assert [line.share(each) for each in told] == [0, 0, 0]


def test_a_wave_waits_from_the_first_that_was_ready_whatever_became_of_it(server: Server, line: Line) -> None:
    _, told = begun(server, line)
    line.make_ready(told[0])
    line.pass_time(1_200)
    line.make_ready(told[1])
    line.make_ready(told[0], cause=Cause.CRASHED)
    assert line.share(told[1]) == 0
    line.pass_time(600)
    assert [line.share(each) for each in told] == [0, 100, 0]


def test_a_device_without_memory_for_two_is_left_out(server: Server, line: Line) -> None:
    rollout, told = begun(server, line)
    told[0].end(Outcome.FAILED, Cause.NO_MEMORY, "needs 300 bytes of memory")
    line.tick()
    member = server.members(rollout)[told[0].id]
    assert (member.state, member.cause) == (MemberState.SKIPPED, Cause.NO_MEMORY)
    assert "left out: it has no memory for two releases" in member.detail
    line.make_ready(*told[1:])
    assert [line.share(each) for each in told[1:]] == [100, 100]


def test_a_device_that_serves_nothing_waits_for_nobody(server: Server, line: Line) -> None:
    new = server.device("camera-new")
    rollout, _ = begun(server, line, waves=["rest"])
    entry = new.entry()
    assert entry is not None
    assert entry.arms is None
    assert "serves nothing" in server.members(rollout)[new.id].detail


def test_both_stay_as_long_as_the_policy_says(server: Server, line: Line) -> None:
    _, told = begun(server, line)
    entry = line.pair(told[0])
    assert entry is not None
    assert entry.arms is not None
    assert (entry.arms.control, entry.arms.duration_s) == (line.first.release, 7_200)


def test_a_good_release_climbs_wave_by_wave(server: Server, line: Line) -> None:
    rollout, _ = begun(server, line)
    waves = []
    for _ in range(60):
        told = line.told()
        waiting = [each for each in told if line.share(each) == 0]
        line.make_ready(*waiting)
        for each in [each for each in line.told() if line.share(each) == 100]:
            each.commit()
        line.pass_time(REPORT_S)
        waves.append(sum(line.is_on(each) for each in line.devices))
        if server.rollout(rollout).state is RolloutState.FINISHED:
            break
    assert sorted(set(waves)) == [3, 6]
    assert len(line.switches()) == 2
