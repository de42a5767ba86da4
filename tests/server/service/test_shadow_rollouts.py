"""Rollouts with a shadow, over the real services: what disagrees is stopped before it serves anybody."""

from __future__ import annotations

import pytest

from pinnace_contract.latest import Arm, Block, Cause, Outcome, Phase, Predictions, Running, ShadowCounts
from pinnace_contract.topics import Up
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.records import EventKind, MemberState, Rollout, RolloutState, Version
from pinnace_server.domain.stretches import Stretch
from pinnace_server.domain.why import Answer
from pinnace_server.service.whys import Whys
from tests.server.world import MODEL, Server, TestedDevice

HOUR_S = 3_600.0
REPORT_S = 600
SHADOW = {"kind": "shadow", "duration_s": 3_600, "share_percent": 50}
QUICK = {"gates": {"soak_s": 3_600}, "holdback": None, "strategy": SHADOW}


class Line:
    """Devices that serve the first version, compare what they are told to, and then commit it."""

    def __init__(self, server: Server, devices: int) -> None:
        self.server = server
        self.first, self.second = server.version("1"), server.version("2")
        self.devices = [server.device(f"camera-{n}") for n in range(devices)]
        self.begun: dict[str, float] = {}
        self.over: set[tuple[str, int]] = set()
        server.assign(self.first)
        for device in self.devices:
            device.commit()
            device.send_birth(REPORT_S)
        self.pass_time(2 * HOUR_S)

    def pass_time(self, seconds: float, disagreements: int = 0) -> None:
        """Let everybody answer; ``disagreements`` of the 300 pairs of each report differ."""
        end = self.server.clock.now() + seconds
        while self.server.clock.now() < end:
            self.server.clock.move(REPORT_S)
            for device in self.devices:
                self.report(device, disagreements)
            self.server.controller.tick()
            for device in self.devices:
                self.obey(device)
            self.server.controller.tick()

    def report(self, device: TestedDevice, disagreements: int) -> None:
        assert device.current is not None
        serving = Block(
            model=MODEL,
            release=device.current.release,
            variant=device.current.variant,
            n=600,
            predictions=Predictions(n=600),
        )
        entry = device.entry()
        if device.id not in self.begun or entry is None or entry.arms is None or entry.release is None:
            device.send(Up.REPORT, device.report(serving))
            return
        shadow = Block(
            model=MODEL,
            release=entry.release,
            variant=entry.variants[0],
            arm=Arm.SHADOW,
            n=300,
            predictions=Predictions(n=300),
            shadow=ShadowCounts(pairs=300, disagreements=disagreements),
        )
        device.send(Up.REPORT, device.report(serving, shadow))

    def obey(self, device: TestedDevice) -> None:
        """Begin a shadow, go on with it, or commit what it was compared with, or needed no comparing."""
        entry, current = device.entry(), device.current
        if entry is not None and (device.id, entry.generation) in self.over:
            return
        if entry is None or current is None or entry.release == current.release:
            if self.begun.pop(device.id, None) is not None and entry is not None:
                device.commit()  # it was told to go back to what it serves
            return
        if entry.arms is None:
            self.begun.pop(device.id, None)
            device.commit()
            return
        assert entry.arms.control == current.release
        since_s = self.begun.setdefault(device.id, self.server.clock.now())
        if self.server.clock.now() - since_s >= entry.arms.duration_s:
            del self.begun[device.id]
            device.commit()
            return
        assert entry.release is not None
        candidate = Running(
            release=entry.release, variant=entry.variants[0], version=self.second.version, sequence=self.second.sequence
        )
        device.say(device.state(generation=entry.generation, phase=Phase.SHADOW, candidate=candidate))

    def on(self, version: Version) -> int:
        return sum(each.current is not None and each.current.version == version.version for each in self.devices)

    def until_over(self, rollout: Rollout, disagreements: int = 0) -> list[int]:
        """Pass time until the rollout is; return how many devices served the second version on the way."""
        seen = []
        for _ in range(100):
            self.pass_time(REPORT_S, disagreements)
            seen.append(self.on(self.second))
            if self.server.rollout(rollout).state is not RolloutState.ACTIVE:
                return seen
        raise AssertionError(f"{rollout.id} never ended")

    def rows(self, arm: Arm) -> list[Stretch]:
        with self.server.store.read() as tables:
            found = tables.reports.stretches([each.id for each in self.devices], MODEL, 0, 2**31)
            return [row for row in found if row.arm is arm]

    def why(self, device: TestedDevice) -> Answer:
        (answer,) = Whys(self.server.world).of_device(device.id)
        return answer


@pytest.fixture
def line(server: Server) -> Line:
    return Line(server, 6)


def test_a_release_that_answers_otherwise_is_stopped_before_it_serves_anybody(server: Server, line: Line) -> None:
    rollout = server.climb(line.second, waves=[3, "rest"], **QUICK)
    served = line.until_over(rollout, disagreements=300)
    assert set(served) == {0}
    assert server.rollout(rollout).state is RolloutState.HALTED
    assert "shadow" in server.rollout(rollout).reason
    assert len(server.events(EventKind.GATE_FIRED)) == 1
    line.pass_time(HOUR_S)
    assert line.on(line.first) == 6
    assert not line.begun, "who was in the shadow was told to leave it"


def test_a_good_release_goes_through_its_shadow_and_climbs(server: Server, line: Line) -> None:
    rollout = server.climb(line.second, waves=[3, "rest"], **QUICK)
    served = line.until_over(rollout, disagreements=3)
    assert server.rollout(rollout).state is RolloutState.FINISHED
    assert sorted(set(served)) == [0, 3, 6]
    assert sum(row.pairs for row in line.rows(Arm.SHADOW)) > 6 * 5 * 300
    assert {row.pairs for row in line.rows(Arm.SERVING)} == {0}


def test_a_release_that_disagrees_a_little_too_often_is_held(server: Server, line: Line) -> None:
    rollout = server.climb(line.second, waves=[3, "rest"], **QUICK)
    line.pass_time(6 * HOUR_S, disagreements=24)
    assert server.rollout(rollout).state is RolloutState.ACTIVE
    with server.store.read() as tables:
        first, second = tables.rollouts.waves(rollout.id)
    assert (first.promoted_at_s, second.started_at_s) == (None, None)
    assert "shadow" in first.verdict


def test_a_shadow_is_no_switch_and_its_answers_are_nobodys(server: Server, line: Line) -> None:
    rollout = server.climb(line.second, waves=[3, "rest"], **QUICK)
    line.pass_time(3 * REPORT_S)
    with server.store.read() as tables:
        first, _ = tables.rollouts.waves(rollout.id)
    assert first.started_at_s is not None
    assert first.switched_at_s is None
    progress = server.rollouts.progress(rollout.id).report
    assert {each.waiting_on for each in progress.devices if each.wave == 1} == {WaitingOn.SHADOW}
    wanted = next(each for each in line.devices if each.id in line.begun)
    assert "answers copies" in line.why(wanted).why


def test_a_device_without_memory_for_two_goes_on_without_a_shadow_and_says_so(server: Server, line: Line) -> None:
    rollout = server.climb(line.second, waves=[3, "rest"], **QUICK)
    small = next(each for each in line.devices if (entry := each.entry()) is not None and entry.arms is not None)
    small.end(Outcome.FAILED, Cause.NO_MEMORY, "needs 300 bytes of memory")
    server.controller.tick()
    entry = small.entry()
    assert entry is not None
    assert (entry.release, entry.arms, entry.attempt) == (line.second.release, None, 2)
    member = server.members(rollout)[small.id]
    assert (member.state, member.cause) == (MemberState.ASSIGNED, Cause.NONE)
    assert member.detail.startswith("without a shadow: it has no memory for two releases")
    assert "without a shadow" in line.why(small).why


def test_a_device_without_memory_for_two_is_left_out_where_the_policy_says_so(server: Server, line: Line) -> None:
    policy = QUICK | {"strategy": SHADOW | {"unshadowed": "leave_out"}}
    rollout = server.climb(line.second, waves=[3, "rest"], **policy)
    small = next(each for each in line.devices if (entry := each.entry()) is not None and entry.arms is not None)
    small.end(Outcome.FAILED, Cause.NO_MEMORY, "needs 300 bytes of memory")
    server.controller.tick()
    member = server.members(rollout)[small.id]
    assert (member.state, member.cause) == (MemberState.SKIPPED, Cause.NO_MEMORY)


def test_a_crash_in_the_shadow_is_a_failed_install(server: Server, line: Line) -> None:
    rollout = server.climb(line.second, waves=[3, "rest"], **QUICK)
    broken = next(each for each in line.devices if (entry := each.entry()) is not None and entry.arms is not None)
    broken.end(Outcome.FAILED, Cause.CRASHED, "3 crashes or hangs in its shadow; the limit is 3")
    server.controller.tick()
    assert server.members(rollout)[broken.id].state is MemberState.FAILED


def test_a_device_that_serves_nothing_tries_the_release_without_a_shadow(server: Server, line: Line) -> None:
    new = server.device("camera-new")
    rollout = server.climb(line.second, waves=["rest"], **QUICK)
    entry = new.entry()
    assert entry is not None
    assert entry.arms is None
    assert "without a shadow" in server.members(rollout)[new.id].detail
    other = line.devices[0].entry()
    assert other is not None
    assert other.arms is not None


def test_after_its_end_a_device_is_no_longer_told_what_to_compare_with(server: Server, line: Line) -> None:
    rollout = server.climb(line.second, waves=["rest"], **QUICK)
    line.until_over(rollout)
    device = line.devices[0]
    words = server.version("1", model=type(MODEL)("words"))
    server.assign(words, f"device={device.id}")
    entry = device.entry()
    assert entry is not None
    assert (entry.release, entry.arms) == (line.second.release, None)


def test_windows_that_are_too_short_for_the_shadow_are_passed_over(server: Server, line: Line) -> None:
    weekly = [{"opens": "12:00", "closes": "12:30"}, {"opens": "20:00", "closes": "23:00"}]
    server.climb(line.second, waves=["rest"], windows={"weekly": weekly, "zone": "UTC"}, **QUICK)
    entry = line.devices[0].entry()
    assert entry is not None
    assert entry.window is not None
    assert entry.window.closes_s - entry.window.opens_s == 3 * HOUR_S


@pytest.mark.parametrize(("percent", "differing"), [(5, 10), (0.2, 1), (80, 100)])
def test_a_device_alone_keeps_back_what_differs_twice_as_often_as_the_gate_tolerates(
    server: Server, line: Line, percent: float, differing: int
) -> None:
    policy = QUICK | {"gates": {"guards": {"shadow": {"percent": percent}}}, "waves": [1, "rest"]}
    rollout = server.climb(line.second, **policy)
    told = next(each for each in line.devices if (entry := each.entry()) is not None and entry.arms is not None)
    entry = told.entry()
    assert entry is not None
    assert entry.arms is not None
    assert entry.arms.differing_percent_max == differing
    line.over.add((told.id, entry.generation))
    told.end(Outcome.FAILED, Cause.DISAGREEMENT, "900 of 1000 answers differed")
    line.pass_time(6 * HOUR_S)
    assert line.on(line.second) == 0, "no later wave begins"
    assert server.members(rollout)[told.id].state is MemberState.FAILED
