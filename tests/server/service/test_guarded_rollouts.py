"""Outcomes, gaps between groups and drifting predictions, from reports over the real services to a ruling."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

import pytest

from pinnace_contract.histogram import pack_varints
from pinnace_contract.ids import Digest
from pinnace_contract.latest import Block, GroupCounts, Labels, OutcomeCounts, Predictions
from pinnace_contract.topics import Up
from pinnace_server.domain.gates import records
from pinnace_server.domain.gates.evidence import Guard
from pinnace_server.domain.gates.verdicts import Reason
from pinnace_server.domain.records import EventKind, Rollout, RolloutState, Version
from pinnace_server.service.whys import Whys
from tests.server.world import MODEL, Server, TestedDevice

HOUR_S = 3_600.0
REPORT_S = 600
DEVICES = 24
GROUPS = {"day": 120, "night": 20}  # labelled answers in a report; the plain rule looks at all of them together
QUICK = {"waves": [12, "rest"], "holdback": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """What becomes of a release's answers: shares of a hundred."""

    accepted: float = 90
    wrong: tuple[float, float] = (5, 5)
    classes: tuple[float, ...] = (60, 30, 10)


GOOD = Manner()


class Line:
    """Devices that commit whatever they are told, and whose applications tell everything."""

    def __init__(self, server: Server) -> None:
        self.server, self.chance = server, random.Random(7)
        self.first, self.second = server.version("1"), server.version("2")
        self.devices = [server.device(f"camera-{n}") for n in range(DEVICES)]
        self.mood = {each.id: self.chance.gauss(0, 3) for each in self.devices}
        self.second_is = self.all_are = GOOD
        self.tells = True
        server.assign(self.first)
        for device in self.devices:
            device.commit()
            device.send_birth(REPORT_S)
        self.pass_time(3 * HOUR_S)

    def pass_time(self, seconds: float) -> None:
        end = self.server.clock.now() + seconds
        while self.server.clock.now() < end:
            self.server.clock.move(REPORT_S)
            for device in self.devices:
                device.send(Up.REPORT, device.report(self.block(device)))
            self.server.controller.tick()
            for device in self.devices:
                entry, current = device.entry(), device.current
                if entry is not None and current is not None and entry.release != current.release:
                    device.commit()
            self.server.controller.tick()

    def block(self, device: TestedDevice) -> Block:
        assert device.current is not None
        manner = self.second_is if device.current.release == self.second.release else self.all_are
        mood = self.mood[device.id]
        seen = [max(each + (mood if n == 0 else -mood if n == 1 else 0), 0) for n, each in enumerate(manner.classes)]
        answered = self.chance.choices(range(len(seen)), seen, k=100)
        wrong = [
            sum(100 * self.chance.random() < share for _ in range(n))
            for n, share in zip(GROUPS.values(), manner.wrong, strict=True)
        ]
        accepted = sum(100 * self.chance.random() < manner.accepted + mood for _ in range(50))
        if not self.tells:
            return Block(model=MODEL, release=device.current.release, variant=device.current.variant, n=100)
        return Block(
            model=MODEL,
            release=device.current.release,
            variant=device.current.variant,
            n=100,
            predictions=Predictions(n=100, classes=pack_varints(answered.count(n) for n in range(len(seen)))),
            labels=Labels(n=sum(GROUPS.values()), errors=sum(wrong)),
            groups=tuple(
                GroupCounts(name=name, n=n, errors=errors)
                for (name, n), errors in zip(GROUPS.items(), wrong, strict=True)
            ),
            outcome=OutcomeCounts(metric="accepted", trials=50, successes=accepted),
        )

    def on(self, version: Version) -> int:
        return sum(each.current is not None and each.current.version == version.version for each in self.devices)

    def until_over(self, rollout: Rollout, hours: int = 14) -> RolloutState:
        for _ in range(6 * hours):
            self.pass_time(REPORT_S)
            if self.server.rollout(rollout).state is not RolloutState.ACTIVE:
                break
        return self.server.rollout(rollout).state


@pytest.fixture
def line(server: Server) -> Line:
    return Line(server)


OUTCOME = {"outcome": {"metric": "accepted"}}
FAIRNESS = {"fairness": {"points": 5}}
PREDICTIONS = {"predictions": 10}
BAD = [
    pytest.param(OUTCOME, Manner(accepted=80), Guard.OUTCOME, id="a worse outcome"),
    pytest.param(FAIRNESS, Manner(wrong=(5, 25)), Guard.FAIRNESS, id="unfair to one group"),
    pytest.param(PREDICTIONS, Manner(classes=(20, 30, 50)), Guard.PREDICTIONS, id="predictions drift"),
]


def climb(server: Server, line: Line, guards: dict[str, object]) -> Rollout:
    return server.climb(line.second, gates={"soak_s": 7_200, "guards": guards}, **QUICK)


@pytest.mark.parametrize(("guards", "manner", "guard"), BAD)
def test_bad_release_is_moved_back_by_its_guard_and_the_record_follows(
    server: Server, line: Line, guards: dict[str, object], manner: Manner, guard: Guard
) -> None:
    line.second_is = manner
    rollout = climb(server, line, guards)
    assert line.until_over(rollout) is RolloutState.HALTED
    line.pass_time(2 * REPORT_S)
    assert line.on(line.second) == 0
    (fired,) = server.events(EventKind.GATE_FIRED)
    kept = json.loads(server.blobs.read(Digest(fired.data["record"])))
    assert records.holds(kept), "anybody can work the verdict out again"
    assert {ground.guard for ground in records.recompute(kept).grounds} == {guard}


@pytest.mark.parametrize(("guards", "manner", "guard"), BAD)
def test_guard_that_a_policy_leaves_out_stops_nothing(
    server: Server, line: Line, guards: dict[str, object], manner: Manner, guard: Guard
) -> None:
    line.second_is = manner
    rollout = climb(server, line, {})
    assert line.until_over(rollout) is RolloutState.FINISHED


@pytest.mark.parametrize(("guards", "manner", "guard"), BAD)
def test_what_the_whole_fleet_goes_through_stops_no_good_release(
    server: Server, line: Line, guards: dict[str, object], manner: Manner, guard: Guard
) -> None:
    rollout = climb(server, line, guards)
    line.pass_time(REPORT_S)
    line.second_is = line.all_are = manner
    assert line.until_over(rollout, hours=8) is not RolloutState.HALTED
    assert line.on(line.second) == DEVICES, "the first wave was promoted beside the devices that stayed behind"


UNTOLD = [
    pytest.param(
        {"outcome": {"metric": "acepted"}},
        {"outcome": "acepted"},
        "no device of the wave has told outcome 'acepted' of the release",
        id="a misspelt metric",
    ),
    pytest.param(FAIRNESS, {"fairness": ""}, "answers of 0 of at least 2 groups were labelled", id="no labels"),
    pytest.param(PREDICTIONS, {"predictions": ""}, "no class of the release's answers was counted", id="no classes"),
]


@pytest.mark.parametrize(("guards", "asked", "says"), UNTOLD)
def test_wave_holds_and_says_so_while_nobody_tells_what_its_policy_asks_for(
    server: Server, line: Line, guards: dict[str, object], asked: dict[str, str], says: str
) -> None:
    line.tells = Guard.OUTCOME in asked
    gates = {"soak_s": 7_200, "guards": guards, "hold_timeout_s": 7_200}
    rollout = server.climb(line.second, gates=gates, **QUICK)
    line.pass_time(3 * HOUR_S)
    assert line.on(line.second) == 12
    why = Whys(server.world).of_rollout(rollout.id)
    assert says in why.why
    assert why.step.words.startswith("applications tell what its gates ask for, or a person promotes the wave")
    line.pass_time(2 * HOUR_S)
    assert server.rollout(rollout).paused, "on_hold_timeout applies as for any hold"
    assert line.on(line.second) == 12
    (event,) = server.events(EventKind.ROLLOUT_PAUSED)
    kept = json.loads(server.blobs.read(Digest(event.data["record"])))
    assert kept["evidence"]["asked"] == asked
    assert [each.reason for each in records.recompute(kept).grounds] == [Reason.NOT_TOLD]
    assert records.holds(kept)
