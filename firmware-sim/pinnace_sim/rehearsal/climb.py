"""One rehearsal of a policy: the twins of a fleet serve what their devices serve, for some hours of past; then a
rollout in waves begins, as the server begins it, and is played until nothing more begins without a person.

Planner, waves, gates, windows and budgets are the server's; the release is supposed to be of a nature.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from pinnace_agent.worker.events import NowAnswering, NowServing
from pinnace_contract.ids import DeviceId, Digest, RolloutId
from pinnace_server.domain import wave_report
from pinnace_server.domain.gates.evidence import Guard
from pinnace_server.domain.gates.verdicts import Reason
from pinnace_server.domain.records import Event, EventKind, MemberState, RolloutState
from pinnace_server.domain.rollout_policy import gating
from pinnace_server.domain.rollout_policy.policy import RolloutPolicy
from pinnace_server.domain.told import NOTHING_ASKED
from pinnace_server.errors import ServerError
from pinnace_server.service import matching
from pinnace_server.service.enrolment import Enrolment
from pinnace_server.service.ports import Tables
from pinnace_server.service.steering import Preview
from pinnace_sim import climbs
from pinnace_sim.climbs import End
from pinnace_sim.device import SimDevice
from pinnace_sim.network import Message
from pinnace_sim.plan import DevicePlan
from pinnace_sim.quiet import silence
from pinnace_sim.rehearsal.natures import Supposed
from pinnace_sim.rehearsal.person import Person
from pinnace_sim.rehearsal.twin import NobodyLooks, Scenario, Twin
from pinnace_sim.server import SimServer
from pinnace_sim.watch import Told
from pinnace_sim.world import OPERATOR

SETTLED_BY_S: Final = 1_800.0  # until twins serve what their devices serve; where it takes longer, the past is shorter
LOOK_S: Final = 60.0
BACK_S_MAX: Final = 2 * 3_600.0  # so long devices that go back are looked at
TIME: Final = "time"
"""What moved a rollout back, or stopped it, where no guard did: a wave was undecided for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClimbScenario:
    """What is to be played: ``of`` has the fleet and the terms. ``begins_at_s`` is Unix time. ``person_delay_s`` None:
    nobody ever agrees."""

    of: Scenario
    policy: RolloutPolicy
    supposed: Supposed
    past_s: float
    begins_at_s: float
    person_delay_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveSeen:
    """One wave of one world; seconds since the rollout began. ``by``: what promoted it."""

    number: int
    devices: int
    started_s: float | None
    promoted_s: float | None
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Climbed:
    """One world's end. ``moved_back_by`` are guards, or ``TIME``; ``held_by`` what kept a gate from promoting when its
    soak time was over, or would have; ``undecided`` the wave whose time was over, 0: none."""

    seed: int
    end: End
    seconds: float
    waves: tuple[WaveSeen, ...]
    devices: int
    committed: int
    served: int
    served_s: float
    carried: Mapping[str, int]
    agreed: int = 0
    undecided: int = 0
    moved_back_by: tuple[str, ...] = ()
    held_by: tuple[str, ...] = ()
    why: str = ""


class CannotBegin(Exception):
    """The server does not begin this rollout; the message is its own."""


class ClimbTwin(Twin):
    """Plays a policy once."""

    def __init__(self, scenario: ClimbScenario, seed: int) -> None:
        self.climb = scenario
        self._begin_s = SETTLED_BY_S + scenario.past_s
        super().__init__(scenario.of, seed, origin_s=scenario.begins_at_s - self._begin_s)
        self.seed = seed
        self._undecided = 0
        self._moved_back_by: set[str] = set()
        self._held_by: set[str] = set()
        self._served_s: dict[str, float] = {}
        self._verdicts: dict[int, str] = {}

    def preview(self) -> Preview:
        """Return what the server says that the rollout would do, before anything is played.

        Raises:
            CannotBegin
        """
        with silence():
            self._enrol()
            try:
                seen = self.server.steering.preview(
                    model=self.model, version=self.scenario.target.version, policy=self.climb.policy
                )
                matching.some(seen.dealt.match)
            except ServerError as error:
                raise CannotBegin(str(error)) from error
        return seen

    def climbed(self) -> Climbed:
        """Play it.

        Raises:
            CannotBegin
        """
        with silence():
            self._enrol()
            self._serve_what_they_serve()
            self._let_lines_behave()
            self.schedule.run_until(max(self._begin_s, self.schedule.now_s))
            begun_s, rollout = self.schedule.now_s, self._begun()
            self.network.carried.clear()
            agreed = self._watched(rollout, begun_s + (self.scenario.hours * 3_600 - self.climb.past_s))
            ended_s = self.schedule.now_s
            self._goes_back(rollout)
            return self._found(rollout, begun_s, ended_s, agreed)

    # --- the rollout

    def _begun(self) -> RolloutId:
        while not self.server.is_on:
            self.schedule.run_until(self.schedule.now_s + LOOK_S)
        try:
            made = self.server.steering.begin(
                model=self.model,
                version=self.scenario.target.version,
                policy=self.climb.policy,
                reason="a rehearsal",
                actor=OPERATOR,
            )
        except ServerError as error:
            raise CannotBegin(str(error)) from error
        return made.id

    def _watched(self, rollout: RolloutId, end_s: float) -> int:
        """Let it go on until nothing more begins, or all is promoted; return how often a person agreed."""
        delay_s = self.climb.person_delay_s
        person = None if delay_s is None else Person(self.server, rollout, delay_s)
        while self.schedule.now_s < end_s:
            self.schedule.run_until(min(end_s, self.schedule.now_s + LOOK_S))
            self._count_who_serves()
            if not self.server.is_on:
                continue
            if person is not None:
                person.look(self.server.now())
            if self._look(rollout) or climbs.is_over(self.server, rollout):
                break
        while not self.server.is_on:
            self.schedule.run_until(self.schedule.now_s + LOOK_S)
        return len(person.agreed) if person is not None else 0

    def _look(self, rollout: RolloutId) -> bool:
        """Note what holds a gate; True: every wave is promoted."""
        with self.server.store.read() as tables:
            waves = tables.rollouts.waves(rollout)
        for wave in waves:
            if wave.verdict and self._verdicts.get(wave.number) != wave.verdict:
                self._verdicts[wave.number] = wave.verdict
                self._note(wave_report.read(wave.verdict))
        return all(each.promoted_at_s is not None for each in waves)

    def _note(self, report: wave_report.WaveReport | None) -> None:
        if report is None:
            return
        if {Reason.INSTALLS_STOPPED, Reason.HARDWARE_STOPPED} & set(report.reasons):
            self._held_by.add(Guard.INSTALLS)
        if {Reason.SUSPICION, Reason.ONE_DEVICE, Reason.SHADOW} & set(report.reasons):
            self._held_by |= {each.guard for each in report.guards if each.worse >= report.thresholds["refuting"]}
        if Reason.REPORTING in report.reasons:
            self._held_by.add(Reason.REPORTING)

    def _said(self, event: Event) -> None:
        """The server's log has another line: who moves it back, or whose time is over."""
        if event.kind not in (EventKind.GATE_FIRED, EventKind.WAVE_ASKED, EventKind.ROLLOUT_PAUSED):
            return
        if event.kind is not EventKind.GATE_FIRED:
            self._undecided = int(event.data.get("wave", "0"))
            return
        if event.data.get("decided_by") == TIME:
            self._moved_back_by.add(TIME)
            return
        kept = json.loads(self.server.blobs.read(Digest(event.data["record"])))
        self._moved_back_by |= {str(ground["guard"]) for ground in kept["verdict"]["grounds"] if ground["guard"]}

    def _goes_back(self, rollout: RolloutId) -> None:
        """Let devices go back, where it was halted, and count how long they still serve it."""
        with self.server.store.read() as tables:
            found = tables.rollouts.get(rollout)
        end_s = self.schedule.now_s + BACK_S_MAX
        if found is None or found.state is not RolloutState.HALTED:
            return
        while self.schedule.now_s < end_s:
            self.schedule.run_until(self.schedule.now_s + LOOK_S)
            if not self._count_who_serves():
                return

    def _count_who_serves(self) -> int:
        n = 0
        for name, device in self.devices.items():
            ref = device.run.workers.serving(self.model) if device.run is not None else None
            if ref is not None and ref.release == self._target:
                self._served_s[name] = self._served_s.get(name, 0.0) + LOOK_S
                n += 1
        return n

    def _found(self, rollout: RolloutId, begun_s: float, ended_s: float, agreed: int) -> Climbed:
        stand = climbs.stand(self.server, rollout)
        zero_s = self.schedule.origin_s + begun_s
        with self.server.store.read() as tables:
            members = tables.rollouts.members(rollout)

        def since(at_s: float | None) -> float | None:
            return None if at_s is None else at_s - zero_s

        ever = self._served_s.keys() | self.served.get(self._target, set())
        return Climbed(
            seed=self.seed,
            end=stand.end,
            seconds=ended_s - begun_s,
            waves=tuple(
                WaveSeen(
                    number=each.number,
                    devices=each.devices,
                    started_s=since(each.started_at_s),
                    promoted_s=since(each.promoted_at_s),
                    by=each.promoted_by,
                )
                for each in stand.waves
            ),
            devices=len(members),
            committed=sum(each.state is MemberState.COMMITTED for each in members),
            served=len(ever),
            served_s=sum(self._served_s.values()),
            carried={each.id: self.network.carried[self.devices[name].id] for name, each in self.profiles.items()},
            agreed=agreed,
            undecided=self._undecided,
            moved_back_by=tuple(sorted(self._moved_back_by)),
            held_by=tuple(sorted(self._held_by)),
            why="; ".join(stand.report.why) if stand.report is not None else "",
        )

    def begins_to_serve(self, device: SimDevice, event: NowServing | NowAnswering) -> None:
        """A version begins to answer somewhere, alone or beside another; what dies silently does so some time after."""
        self._serves(device, event.worker.release)

    # --- the fleet

    def _enrol(self) -> None:
        super()._enrol()
        for name, each in self.profiles.items():
            if each.labels:
                self.server.fleet.label(self.devices[name].id, dict(each.labels), OPERATOR)
        self._target = self.server.catalogue.version(self.model, self.scenario.target.version).release
        supposed = self.climb.supposed
        self.natures[self._target], self.amounts[self._target] = supposed.nature, supposed.amount
        if supposed.hardware:
            self._only_on[self._target] = supposed.hardware

    def _enrolment(self) -> Enrolment:
        return _SameIds(self.server, {name: each.id for name, each in self.profiles.items()})

    def _device(self, plan: DevicePlan) -> SimDevice:
        device = super()._device(self._telling(plan))
        device.watch = _WhoServes(self)
        return device

    def _telling(self, plan: DevicePlan) -> DevicePlan:
        """Let applications tell whatever the policy asks for, under its name: else every gate would only hold."""
        asked = gating.asked_by(self.climb.policy)
        if asked == NOTHING_ASKED:
            return plan
        return replace(plan, tells=True, metric="" if asked.metric is None else asked.metric.name)

    def _server_heard(self, message: Message) -> None:
        """Nobody is switched off: all of them are evidence."""


class _SameIds(Enrolment):
    """Lets twins have the ids of their devices, so that they are dealt into the same waves."""

    def __init__(self, server: SimServer, ids: Mapping[str, str]) -> None:
        super().__init__(server.world)
        self._ids = ids

    def _chosen_id(self, tables: Tables, wish: str) -> DeviceId:
        return DeviceId(self._ids[wish]) if wish in self._ids else super()._chosen_id(tables, wish)


class _WhoServes(NobodyLooks):
    """Tells the world who begins to serve what."""

    def __init__(self, twin: ClimbTwin) -> None:
        self._twin = twin

    def hears(self, device: SimDevice, event: Told) -> None:
        if isinstance(event, NowServing | NowAnswering):
            self._twin.begins_to_serve(device, event)
