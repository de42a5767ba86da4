"""One rehearsal: the twins of a fleet serve what their devices serve, and are then assigned the release.

Everybody's real code, as in every world. Nobody looks for broken rules, and a device whose part is over is switched
off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Final

from pinnace_agent.core.device import DeviceState as AgentState
from pinnace_agent.worker.hosting import Start
from pinnace_contract import envelope, topics
from pinnace_contract.ids import DeviceId, ModelName, RolloutId, VersionName
from pinnace_contract.latest import Cause, ContactMode, ContactPolicy, DroppedRange, Receipt, TrialMode, TrialPolicy
from pinnace_server.domain import selector
from pinnace_server.domain.plans import DeviceReport, WaitingOn
from pinnace_server.domain.policy import Terms
from pinnace_server.domain.records import DeviceState, MemberState, RolloutState
from pinnace_server.errors import ServerError
from pinnace_server.service.enrolment import Enrolment
from pinnace_sim import chance as chances
from pinnace_sim.device import SimDevice
from pinnace_sim.disk import Disk
from pinnace_sim.faults import NONE, Faults
from pinnace_sim.network import Message
from pinnace_sim.plan import DevicePlan, Plan
from pinnace_sim.quiet import silence
from pinnace_sim.rehearsal import scale
from pinnace_sim.rehearsal.profiles import availability, plan_of
from pinnace_sim.rehearsal.snapshot import QUARANTINED, FleetDevice, FleetVersion
from pinnace_sim.schedule import NOON_S
from pinnace_sim.traces import Trace
from pinnace_sim.watch import Told
from pinnace_sim.world import OPERATOR, World

SETTLE_STEP_S: Final = 60.0
SETTLE_S_MAX: Final = 12 * 3_600.0  # until everybody serves what it serves now, over lines that are never dark
NOTICED_S: Final = 300.0  # after lines began to behave as they do: who is away is known to be
LOOK_EVERY_S: Final = (60.0, 600.0)  # whether it is over: at first, and after an hour
SWITCHED_OFF_AFTER_S: Final = 180.0  # after its receipt, when the device has told what it serves now
SELECTED_MAX: Final = 200  # devices that one selector names
CLAIM_S: Final = 86_400


class Fate(StrEnum):
    """How a device's part ended; all but the first are left behind."""

    COMMITTED = "committed"
    OFFLINE = "offline"  # all the time that was played
    NO_VARIANT = "no_variant"
    NO_ROOM = "no_room"
    NO_MEMORY = "no_memory"
    NOT_FOR_IT = "not_for_it"  # other hardware or a newer agent is asked for
    QUARANTINED = "quarantined"
    DEADLINE = "deadline"  # a phase took longer than the assignment allows
    NOT_IN_TIME = "not_in_time"  # still under way when the hours were over
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is to be rehearsed, apart from a policy and its gates, which ``climb`` plays.

    ``tempered``: devices answer as fast and fail as often as theirs do.
    """

    model: ModelName
    target: FleetVersion
    versions: tuple[FleetVersion, ...]
    devices: tuple[FleetDevice, ...]
    terms: Terms
    hours: float
    bytes_s: float
    share: float = 1.0
    tempered: bool = False
    trace: Trace | None = None
    faults: Faults = NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One device's part. ``took_s`` None: it did not commit."""

    device: str
    fate: Fate
    detail: str = ""
    took_s: float | None = None
    carried_bytes: int = 0


class _RoomForItself(Disk):
    """A disk on which only blobs are too much: an agent that cannot even save its state waits for ever, and there are
    no operators here to make room."""

    def _begin(self, operation: str, path: str, more_bytes: int = 0) -> None:
        super()._begin(operation, path, more_bytes if operation == "allocate" else 0)


class NobodyLooks:
    """``watch.Watch``, for worlds in which only the outcome counts."""

    def booted(self, device: SimDevice, state: AgentState) -> None: ...
    def saved(self, device: SimDevice, before: AgentState, after: AgentState) -> None: ...
    def starts(self, device: SimDevice, order: Start) -> None: ...
    def hears(self, device: SimDevice, event: Told) -> None: ...
    def says(self, device: SimDevice, topic: topics.Topic, payload: bytes) -> None: ...
    def spools(self, device: SimDevice, sealed: bytes) -> None: ...
    def spooled(self, device: SimDevice, report: DroppedRange) -> None: ...

    def failed(self, device: SimDevice, error: Exception) -> None:
        raise RuntimeError(f"the agent of {device.name} ended by itself") from error


class Twin(World):
    """Plays a scenario once."""

    def __init__(self, scenario: Scenario, seed: int, *, origin_s: float = NOON_S) -> None:
        names = {f"d{number:05d}": each for number, each in enumerate(scenario.devices)}
        super().__init__(_plan(scenario, names, seed), origin_s=origin_s)
        self.scenario, self.profiles, self.model = scenario, names, scenario.model
        self.factor = scale.factor_for(
            len(names), max(each.size_bytes_max for each in (scenario.target, *scenario.versions))
        )
        self.server.rates = scale.rates(self.factor, scenario.share)
        self._weights = scale.Weights(self.factor)
        self.network.size_of = self._weights.of
        self._ended: dict[DeviceId, tuple[float, int]] = {}
        self._begun_s: float | None = None
        self._excluded: Mapping[DeviceId, str] = {}
        self._reports: Mapping[DeviceId, DeviceReport] = {}

    def play(self) -> tuple[Part, ...]:
        """Return what became of each device, in the scenario's order."""
        with silence():
            self._enrol()
            self._serve_what_they_serve()
            self._let_lines_behave()
            rollout = self._assign_the_release()
            end_s = self.schedule.now_s + self.scenario.hours * 3600
            if rollout is not None:
                self._until(rollout, end_s)
        return tuple(self._part(name, each) for name, each in self.profiles.items())

    # --- before

    def _enrol(self) -> None:
        self.server.start()
        self.server.catalogue.add_model(self.scenario.model, "", OPERATOR)
        for version in sorted(
            {*self.scenario.versions, self.scenario.target}, key=lambda each: (each.sequence, each.version)
        ):
            self._make(version)
        claim = self.server.enrolment.create(uses=max(1, len(self.devices)), life_s=CLAIM_S, actor=OPERATOR)
        enrols = self._enrolment()
        for name, device in self.devices.items():
            device.enrol(claim.text, enrols.enrol)
            if self.profiles[name].takes_part:
                self.schedule.after(device.chance.uniform(0.0, 5.0), device.power_on)

    def _enrolment(self) -> Enrolment:
        """Return who takes devices in."""
        return self.server.enrolment

    def _make(self, version: FleetVersion) -> None:
        """Register a twin of a version. Of what is served already only the size on the disk matters."""
        is_target = version == self.scenario.target
        chance = chances.stream(self.plan.seed, f"version {version.version}")
        draft = scale.draft(version, chance, self.factor, is_served=not is_target)
        for digest, content in draft.contents.items():
            self.server.blobs.add(content)
            if is_target:
                self._weights.add(digest)
        self.server.catalogue.register(
            model=self.scenario.model,
            version=VersionName(version.version),
            draft=draft,
            files={},
            actor=OPERATOR,
        )

    def _serve_what_they_serve(self) -> None:
        """Let every twin commit the version that its device serves, without a trial: it was proven there."""
        self.schedule.run_until(self.schedule.now_s + SETTLE_STEP_S)
        groups: dict[str, list[DeviceId]] = {}
        for name, each in self.profiles.items():
            if each.takes_part and self.scenario.model in each.runs:
                groups.setdefault(each.runs[self.scenario.model], []).append(self.devices[name].id)
        proven = Terms(trial=TrialPolicy(mode=TrialMode.NONE), contact=ContactPolicy(mode=ContactMode.NONE))
        for version, devices in groups.items():
            for start in range(0, len(devices), SELECTED_MAX):
                self._assigned(version, devices[start : start + SELECTED_MAX], proven)
        end_s = self.schedule.now_s + SETTLE_S_MAX
        while self.schedule.now_s < end_s and self._is_any_active():
            self.schedule.run_until(self.schedule.now_s + SETTLE_STEP_S)

    def _let_lines_behave(self) -> None:
        """From here on lines, disks and faults are those of the fleet."""
        begins_s = self.schedule.now_s
        for name, each in self.profiles.items():
            device = self.devices[name]
            if each.memory_free_bytes is not None:
                device.plan = replace(device.plan, memory_bytes=each.memory_free_bytes)
            if each.disk_free_bytes is not None:
                used = device.disk.capacity_bytes - device.disk.free_bytes()
                size = used + each.disk_free_bytes // self.factor
                device.plan = replace(device.plan, disk_bytes=size)
                device.disk.capacity_bytes = size
            if each.state == QUARANTINED:
                self._quarantine(device.id)
        self._courses = {name: course.beginning_at(begins_s) for name, course in self.plan.courses().items()}
        for name, course in self._courses.items():
            self.network.follow(self.devices[name].id, course)
        for incident in self.plan.incidents:
            self.schedule.at(begins_s + incident.at_s, partial(self._happen, incident))
        self.schedule.run_until(begins_s + NOTICED_S)

    def _quarantine(self, device: DeviceId) -> None:
        with self.server.store.write() as tables:
            known = tables.devices.get(device)
            assert known is not None, "it was enrolled"
            tables.devices.save(replace(known, state=DeviceState.QUARANTINED, cause=Cause.CLONE_SUSPECTED))

    # --- the release

    def _assign_the_release(self) -> RolloutId | None:
        """Assign as an operator does who names no devices."""
        match = self.server.rollouts.match(self.scenario.model, self.scenario.target.version, "")
        self._excluded = match.excluded
        self._begun_s = self.schedule.now_s
        self.network.carried.clear()
        return self._assigned(self.scenario.target.version, [], self.scenario.terms)

    def _assigned(self, version: str, devices: Sequence[DeviceId], terms: Terms) -> RolloutId | None:
        selected = str(selector.of_devices(tuple(devices))) if devices else ""
        try:
            made = self.server.rollouts.assign(
                model=self.scenario.model, version=version, selected=selected, terms=terms, actor=OPERATOR
            )
        except ServerError:  # none of them can take it: the snapshot says one thing here and another there
            return None
        return made.id

    def _until(self, rollout: RolloutId, end_s: float) -> None:
        """Let it go on until nobody of it can get any further before the end."""
        assert self._begun_s is not None
        while self.schedule.now_s < end_s:
            early = self.schedule.now_s < self._begun_s + 3_600
            self.schedule.run_until(min(end_s, self.schedule.now_s + LOOK_EVERY_S[0 if early else 1]))
            self._reports = {each.device: each for each in self.server.rollouts.progress(rollout).report.devices}
            with self.server.store.read() as tables:
                found = tables.rollouts.get(rollout)
            if found is None or found.state is not RolloutState.ACTIVE or not self._is_any_hopeful(end_s):
                return

    def _is_any_active(self) -> bool:
        with self.server.store.read() as tables:
            return bool(tables.rollouts.active())

    def _is_any_hopeful(self, end_s: float) -> bool:
        open_ones = (MemberState.WAITING, MemberState.ASSIGNED, MemberState.READY)
        return any(
            self.profiles[name].takes_part and not self._is_dark(name, self.schedule.now_s, end_s)
            for name, device in self.devices.items()
            if (report := self._reports.get(device.id)) is not None and report.state in open_ones
        )

    def _is_dark(self, name: str, from_s: float, end_s: float) -> bool:
        course = self._courses.get(name)
        return course is not None and course.is_dark(from_s, end_s)

    # --- what became of them

    def _part(self, name: str, each: FleetDevice) -> Part:
        device = self.devices[name].id
        report, ended = self._reports.get(device), self._ended.get(device)
        carried = ended[1] if ended else self.network.carried[device]
        if report is not None and report.state is MemberState.COMMITTED:
            took_s = ended[0] - (self._begun_s or 0.0) if ended else 0.0
            return Part(device=each.id, fate=Fate.COMMITTED, took_s=took_s, carried_bytes=carried)
        fate, detail = self._why_not(name, each, report)
        return Part(device=each.id, fate=fate, detail=detail, carried_bytes=carried)

    def _why_not(self, name: str, each: FleetDevice, report: DeviceReport | None) -> tuple[Fate, str]:
        device = self.devices[name].id
        if each.state == QUARANTINED:
            return Fate.QUARANTINED, "it gets no new assignments until somebody readmits it"
        if device in self._excluded:
            return Fate.NO_VARIANT, self._excluded[device]
        if not each.takes_part:
            return Fate.OFFLINE, "it was never there"
        if report is None:
            return Fate.FAILED, "it was not assigned"
        if report.state not in (MemberState.WAITING, MemberState.ASSIGNED, MemberState.READY):
            fate = _FATES.get(report.cause, Fate.FAILED)
            smaller = (
                f" (files are {self.factor} times smaller here)" if fate is Fate.NO_ROOM and self.factor > 1 else ""
            )
            return fate, f"{report.state}: {report.cause} {report.detail}".strip() + smaller
        assert self._begun_s is not None
        if self._is_dark(name, self._begun_s, self._begun_s + self.scenario.hours * 3600):
            return Fate.OFFLINE, "it was away all the time"
        waits = report.waiting_on or WaitingOn.PLANNING
        return Fate.NOT_IN_TIME, f"after {self.scenario.hours:g} h it waits on {waits}"

    # --- looking on: ``World``'s own checks are left out

    def _device(self, plan: DevicePlan) -> SimDevice:
        device = super()._device(plan)
        device.watch, device.disk = NobodyLooks(), _RoomForItself(capacity_bytes=plan.disk_bytes)
        return device

    def _published(self, topic: topics.Topic, payload: bytes) -> None:
        """Nobody looks."""

    def _server_heard(self, message: Message) -> None:
        topic = topics.parse(message.topic)
        if self._begun_s is None or not isinstance(topic, topics.UpTopic) or topic.channel is not topics.Up.RECEIPT:
            return
        receipt = envelope.unseal(Receipt, message.payload, _anything)
        if topic.device in self._ended or receipt.version != self.scenario.target.version:
            return
        self._ended[topic.device] = self.schedule.now_s, self.network.carried[topic.device]
        device = next(each for each in self.devices.values() if each.id == topic.device)
        self.schedule.after(SWITCHED_OFF_AFTER_S, device.retire)


_FATES: Final[Mapping[Cause, Fate]] = {
    Cause.NO_ROOM: Fate.NO_ROOM,
    Cause.NO_MEMORY: Fate.NO_MEMORY,
    Cause.HARDWARE_MISMATCH: Fate.NOT_FOR_IT,
    Cause.AGENT_TOO_OLD: Fate.NOT_FOR_IT,
    Cause.NO_RUNTIME: Fate.NO_VARIANT,
    Cause.NO_VARIANT: Fate.NO_VARIANT,
    Cause.DEADLINE: Fate.DEADLINE,
}


def _plan(scenario: Scenario, names: Mapping[str, FleetDevice], seed: int) -> Plan:
    seconds = NOTICED_S + scenario.hours * 3600
    plan = Plan(
        seed=seed,
        hours=scenario.hours,
        calm_hours=0.0,
        devices=tuple(
            plan_of(each, name, scenario.model, bytes_s=scenario.bytes_s, tempered=scenario.tempered)
            for name, each in names.items()
        ),
        orders=(),
        messages=scenario.faults.messages,
        incidents=scenario.faults.incidents(seed, list(names), seconds),
    )
    if scenario.trace is not None:
        whose = scenario.trace.dealt(tuple(each.id for each in names.values()))
        return replace(
            plan,
            devices=tuple(replace(each, trace=whose[names[each.name].id]) for each in plan.devices),
            links=scenario.trace.rows,
            links_repeat_s=scenario.trace.repeat_s,
        )
    rows = (
        row
        for name, each in names.items()
        for row in availability(each, name, seed, seconds=seconds, bytes_s=scenario.bytes_s)
    )
    return replace(plan, links=tuple(rows))


def _anything(_keyid: object, _data: bytes, _signature: bytes) -> None:
    """The server has checked it already."""
