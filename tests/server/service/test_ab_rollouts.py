"""Rollouts of the strategy ``ab`` over the real services: what a device's own control does decides."""

from __future__ import annotations

import pytest

from pinnace_contract.latest import Arm, ArmMode, Block, Cause, ErrorCount, Outcome, OutcomeCounts, Running
from pinnace_contract.topics import Up
from pinnace_server.domain.records import EventKind, MemberState, Rollout, RolloutState
from pinnace_server.domain.rollout_policy import reading
from tests.server.world import MODEL, Server, TestedDevice

HOUR_S = 3_600.0
REPORT_S = 600
AB = {
    "strategy": {"kind": "ab", "control_percent": 20, "duration_s": 86_400},
    "gates": {"soak_s": 3_600, "guards": {"outcome": {"metric": "sold"}}},
    "holdback": None,
}


class Line:
    """Devices that serve the first version, and keep it beside the second as they are told to; their applications tell
    what was sold."""

    def __init__(self, server: Server, devices: int = 6) -> None:
        self.server, self.metric = server, "sold"
        self.first, self.second = server.version("1"), server.version("2")
        self.devices = [server.device(f"camera-{n}") for n in range(devices)]
        self.beside: dict[str, Running] = {}
        server.assign(self.first)
        for device in self.devices:
            device.commit()
            device.send_birth(REPORT_S)
        self.pass_time(3 * HOUR_S)

    def pass_time(self, seconds: float, candidate: int = 6, control: int = 6) -> None:
        """Let everybody answer; of the 600 requests of a report so many in 600 fail, on either arm."""
        end = self.server.clock.now() + seconds
        while self.server.clock.now() < end:
            self.server.clock.move(REPORT_S)
            for device in self.devices:
                self.report(device, candidate, control)
            self.server.controller.tick()
            for device in self.devices:
                self.obey(device)
            self.server.controller.tick()

    def report(self, device: TestedDevice, candidate: int, control: int) -> None:
        current, beside = device.current, self.beside.get(device.id)
        assert current is not None
        if beside is None:
            device.send(Up.REPORT, device.report(self.block(current, Arm.SERVING, 600, 6)))
            return
        ours, theirs = candidate * 480 // 600, control * 120 // 600
        device.send(
            Up.REPORT,
            device.report(self.block(current, Arm.CANDIDATE, 480, ours), self.block(beside, Arm.CONTROL, 120, theirs)),
        )

    def block(self, of: Running, arm: Arm, n: int, errors: int) -> Block:
        failed = (ErrorCount(name="runtime", n=errors),) if errors else ()
        sold = OutcomeCounts(metric=self.metric, trials=n // 10, successes=n // 20) if self.metric else None
        return Block(model=MODEL, release=of.release, variant=of.variant, arm=arm, n=n, errors=failed, outcome=sold)

    def obey(self, device: TestedDevice) -> None:
        entry, current = device.entry(), device.current
        if entry is None or current is None or entry.release == current.release:
            return
        self.beside.pop(device.id, None)
        if entry.arms is not None:
            assert (entry.arms.mode, entry.arms.control) == (ArmMode.SPLIT, current.release)
            self.beside[device.id] = current
        device.commit()

    def until_over(self, rollout: Rollout, **bad: int) -> None:
        for _ in range(100):
            self.pass_time(REPORT_S, **bad)
            if self.server.rollout(rollout).state is not RolloutState.ACTIVE:
                return
        raise AssertionError(f"{rollout.id} never ended")


@pytest.fixture
def line(server: Server) -> Line:
    return Line(server)


def test_a_release_that_is_worse_than_its_own_controls_is_moved_back(server: Server, line: Line) -> None:
    rollout = server.climb(line.second, waves=[3, "rest"], **AB)
    line.until_over(rollout, candidate=200)
    assert server.rollout(rollout).state is RolloutState.HALTED
    assert "errors" in server.events(EventKind.GATE_FIRED)[0].summary


def test_a_bad_day_of_the_devices_is_no_evidence_against_a_good_release(server: Server, line: Line) -> None:
    """Those that stay behind see nothing of it."""
    rollout = server.climb(line.second, waves=[3, "rest"], **AB)
    line.until_over(rollout, candidate=200, control=200)
    assert server.rollout(rollout).state is RolloutState.FINISHED
    assert server.events(EventKind.GATE_FIRED) == []


@pytest.mark.parametrize("metric", [pytest.param("", id="nothing"), pytest.param("solt", id="another name")])
def test_a_metric_that_no_device_tells_promotes_no_wave_of_split_devices(
    server: Server, line: Line, metric: str
) -> None:
    line.metric = metric
    rollout = server.climb(line.second, waves=[3, "rest"], **AB)
    line.pass_time(4 * HOUR_S)
    assert sum(each.current is not None and each.current.version == "2" for each in line.devices) == 3
    line.metric = "sold"
    line.until_over(rollout)
    assert server.rollout(rollout).state is RolloutState.FINISHED


def test_a_device_without_memory_for_two_goes_without_a_control_arm_and_says_so(server: Server, line: Line) -> None:
    rollout = server.climb(line.second, waves=[3, "rest"], **AB)
    small = next(each for each in line.devices if (entry := each.entry()) is not None and entry.arms is not None)
    small.end(Outcome.FAILED, Cause.NO_MEMORY, "needs 300 bytes of memory")
    server.controller.tick()
    entry = small.entry()
    assert entry is not None
    assert (entry.release, entry.arms) == (line.second.release, None)
    member = server.members(rollout)[small.id]
    assert member.state is MemberState.ASSIGNED
    assert member.detail.startswith("without a control arm: it has no memory for two releases")


def test_a_preview_says_that_each_device_has_a_control_of_its_own(server: Server, line: Line) -> None:
    policy = reading.read({"cohort": "", "waves": [3, "rest"], **AB})
    seen = server.steering.preview(model=line.second.model, version="2", policy=policy)
    assert seen.foresight is not None
    assert seen.foresight.text.endswith("20 % of each device's requests being its own control")
