"""Every answer to "why" names a thing, and doing that thing changes what the answer is about."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Cause, Outcome
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.records import DeviceState, MemberState, Rollout, RolloutState
from pinnace_server.domain.why import Answer, StepKind
from pinnace_server.errors import ServerError
from pinnace_server.service.whys import Whys
from pinnace_sim.memory.store import MemoryStore
from tests.server.world import Server, TestedDevice

STATES = 200
WEEKLY = {"weekly": [{"opens": "02:00", "closes": "04:00"}]}
POLICIES: list[dict[str, object]] = [
    {"waves": [1, "rest"], "holdback": None},
    {"waves": [1, 1, "rest"], "holdback": 1, "approvals": [{"before": 1}, {"before": 2, "count": 2}]},
    {"strategy": "all_at_once", "budgets": {"devices_in_flight_max": 1, "healthy_per_site_min": None}},
    {"strategy": "all_at_once", "windows": WEEKLY},
    {"waves": [2, "rest"], "budgets": {"healthy_per_site_min": "50%"}, "priority": 70},
]


class Life:
    """A fleet to which anything may happen, and somebody who does what an answer says."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.draw = random.Random(seed)
        memory = MemoryStore()
        self.server = Server(folder, lambda: memory)
        self.whys = Whys(self.server.world)
        self.versions = [self.server.version(str(n)) for n in (1, 2, 3)]
        self.devices = [
            self.server.device(f"camera-{n}", labels={"site": "lyon"}, online=n > 0 or seed % 3 > 0) for n in range(4)
        ]
        self.rollouts: list[Rollout] = []

    def happen(self) -> None:
        """Let one thing happen that may happen in a fleet."""
        device = self.draw.choice(self.devices)
        happening = self.draw.choice(
            [
                self.assign,
                self.begin,
                self.begin,
                lambda: self.obey(device),
                lambda: self.obey(device),
                lambda: self.fail(device),
                device.will,
                lambda: self.come(device),
                lambda: self.quarantine(device),
                self.pause,
                self.move,
                self.cancel,
            ]
        )
        with contextlib.suppress(ServerError):  # what an operator is told in words
            happening()
        self.server.controller.tick()

    def assign(self) -> None:
        version = self.draw.choice(self.versions)
        self.rollouts.append(self.server.assign(version, f"device={self.draw.choice(self.devices).id}"))

    def begin(self) -> None:
        self.rollouts.append(self.server.climb(self.draw.choice(self.versions), **self.draw.choice(POLICIES)))

    def obey(self, device: TestedDevice) -> None:
        if device.told() is not None and self.knows(device).state is not DeviceState.PENDING and device.entry():
            device.commit()

    def fail(self, device: TestedDevice) -> None:
        cause = self.draw.choice([Cause.NO_ROOM, Cause.GOLDEN_MISMATCH, Cause.CRASHED])
        if device.told() is not None and device.entry():
            device.end(self.draw.choice([Outcome.FAILED, Outcome.REVERTED]), cause)

    def come(self, device: TestedDevice) -> None:
        device.birth()
        device.say()

    def quarantine(self, device: TestedDevice) -> None:
        with self.server.store.write() as tables:
            found = tables.devices.get(device.id)
            assert found is not None
            if found.state is DeviceState.ACTIVE:
                tables.devices.save(replace(found, state=DeviceState.QUARANTINED, cause=Cause.CLONE_SUSPECTED))

    def pause(self) -> None:
        self.server.steering.pause(self.draw.choice(self.rollouts or [_NONE]).id, reason="lunch", actor="ann")

    def cancel(self) -> None:
        if self.draw.random() < 0.3:
            self.server.rollouts.cancel(self.draw.choice(self.rollouts or [_NONE]).id, reason="enough", actor="ann")

    def move(self) -> None:
        self.server.clock.move(self.draw.choice([1, 60, 3_600]))

    def knows(self, device: TestedDevice) -> object:
        return self.server.known(device)

    # --- doing what an answer says ---------------------------------------------------------------------------------

    def do(self, device: TestedDevice, answer: Answer) -> None:
        """Do the next thing that an answer names."""
        step, server = answer.step, self.server
        match step.kind:
            case StepKind.TICK:
                pass
            case StepKind.CONTACT:
                self.come(device)
            case StepKind.DEVICE:
                device.commit()
            case StepKind.READMIT:
                server.fleet.readmit(device.id, None, "ann")
            case StepKind.RESUME:
                assert step.rollout is not None
                server.steering.resume(step.rollout, actor="ann")
            case StepKind.APPROVE:
                assert step.rollout is not None
                for person in ("ann", "bob"):
                    server.steering.approve(step.rollout, step.wave, actor=person)
            case StepKind.PROMOTE:
                assert step.rollout is not None
                assert step.wave is not None
                server.steering.promote(step.rollout, step.wave, reason="why said so", actor="ann")
            case StepKind.MOVE_BACK:
                assert step.rollout is not None
                server.rollouts.roll_back(step.rollout, reason="why said so", actor="ann")
            case StepKind.RETRY:
                assert step.rollout is not None
                server.steering.retry(step.rollout, actor="ann")
            case StepKind.OTHER_ROLLOUT:
                self._end_others(answer)
            case StepKind.ROOM:
                self._make_room(answer)
            case StepKind.NAME_ZONE:
                server.fleet.label(device.id, {"zone": "Europe/Berlin"}, "ann")
            case StepKind.ASSIGN:
                server.rollouts.assign(
                    model=self.versions[0].model, version="1", selected=f"device={device.id}", actor="ann"
                )
            case StepKind.SOMEBODY_THERE | StepKind.WINDOW | StepKind.NOTHING:
                raise AssertionError(f"nothing that this fleet does: {answer}")
        for _ in range(3):
            server.controller.tick()

    def _end_others(self, answer: Answer) -> None:
        with self.server.store.read() as tables:
            others = [each.id for each in tables.rollouts.active() if each.id != answer.rollout]
        for other in others:
            try:
                self.server.rollouts.cancel(other, reason="why said so", actor="ann")
            except ServerError:
                self.server.rollouts.roll_back(other, reason="why said so", actor="ann")

    def _make_room(self, answer: Answer) -> None:
        """Let a device that is under way be done; where none is, let those that are ill be well."""
        assert answer.rollout is not None
        report = self.server.rollouts.progress(answer.rollout).report
        under_way = {
            each.device
            for each in report.devices
            if each.state is MemberState.ASSIGNED and each.waiting_on is not WaitingOn.DEVICE_OFFLINE
        }
        for other in self.devices:
            if other.id in under_way:
                self.come(other)
                other.commit()
                return
        for other in self.devices:
            self.come(other)


_NONE = Rollout(
    id="r-none",  # type: ignore[arg-type]
    model="digits",  # type: ignore[arg-type]
    version=None,
    release=None,
    intent="upgrade",  # type: ignore[arg-type]
    state=RolloutState.CANCELLED,
    actor="",
    created_at_s=0.0,
)


def lives(folder: Path) -> Iterator[tuple[int, Life, TestedDevice]]:
    """Yield random states, and a device of each to ask about."""
    for seed in range(STATES):
        path = folder / str(seed)
        path.mkdir()
        life = Life(seed, path)
        for _ in range(life.draw.randint(2, 14)):
            life.happen()
        yield seed, life, life.draw.choice(life.devices)


def seen(answers: tuple[Answer, ...]) -> list[tuple[object, ...]]:
    return [(each.rollout, each.state, each.waiting_on, each.why, each.step) for each in answers]


def test_doing_what_why_names_changes_the_devices_state(tmp_path: Path) -> None:
    kinds: Counter[StepKind] = Counter()
    for seed, life, device in lives(tmp_path):
        before = life.whys.of_device(device.id)
        answer = before[0]
        kinds[answer.step.kind] += 1
        if answer.step.kind is StepKind.NOTHING:
            assert answer.state == "committed"
            continue
        life.do(device, answer)
        after = life.whys.of_device(device.id)
        assert seen(after) != seen(before), f"seed {seed}: {answer}"
    assert len(kinds) >= 9, f"too few kinds of answers to prove anything: {kinds}"
    assert kinds[StepKind.NOTHING] < STATES / 4


def test_every_rollout_says_why(tmp_path: Path) -> None:
    for _, life, _ in lives(tmp_path):
        for rollout in life.rollouts:
            answer = life.whys.of_rollout(rollout.id)
            assert answer.why
            assert answer.step.words


@pytest.mark.parametrize("name", ["nobody"])
def test_who_is_not_there_has_no_answer(tmp_path: Path, name: str) -> None:
    life = Life(1, tmp_path)
    with pytest.raises(ServerError, match="there is no device"):
        life.whys.of_device(DeviceId(name))
