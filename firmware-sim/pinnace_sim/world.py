"""One world: a plan, played to its end in virtual time, with everybody's real code and somebody who looks on.

Everything is real but what lies under it: disks, lines, broker, clocks, workers and chance are this package's. A world
ends with its plan, or at the first broken rule.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from pinnace_agent.core.slot import Slot
from pinnace_agent.worker.events import ExitCause
from pinnace_contract import codec, topics
from pinnace_contract.desired import ASSIGNMENT_FIELD, Desired
from pinnace_contract.ids import BootId, DeviceId, ModelName, ReceiptId, ReleaseId, RolloutId, VersionName
from pinnace_contract.latest import AssignmentSet, ContactMode, ContactPolicy, TrialMode, TrialPolicy, WithdrawMode
from pinnace_server.domain.policy import Terms
from pinnace_server.domain.records import DeviceState, Event
from pinnace_server.errors import Conflict, ServerError
from pinnace_server.service.ports import Tables
from pinnace_sim import catalogue, operators, settling, waiting
from pinnace_sim import chance as chances
from pinnace_sim.activation_checks import ActivationChecks
from pinnace_sim.checks import Checks, Rule, Violation
from pinnace_sim.device import SimDevice
from pinnace_sim.faults import FaultKind, Incident
from pinnace_sim.going_back import GoingBack
from pinnace_sim.journal import Journal
from pinnace_sim.memory.store import MemoryStore
from pinnace_sim.network import Message, Network
from pinnace_sim.plan import DevicePlan, Nature, Order, OrderKind, Plan
from pinnace_sim.quiet import silence
from pinnace_sim.schedule import NOON_S, Schedule
from pinnace_sim.server import Disk, Killed, SimServer
from pinnace_sim.site_checks import SiteChecks
from pinnace_sim.wave_checks import WaveChecks

MODEL: Final = ModelName("digits")
OPERATOR: Final = "operator"
TRY_AGAIN_S: Final = 30.0  # an operator whose server is away tries again
TRIES_MAX: Final = 1_000
DIES_AFTER_S: Final = 600.0  # a device on which a release dies silently
DEAD_S: Final = 365 * 86_400.0  # until somebody comes, in the calm
RACES_S: Final = 120.0  # an order that finds no controller to race with is done then
ASKED_S: Final = 60.0
SETTLES_S: Final = 60.0  # after an incident without a length of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a world ended. ``counts`` says how often each fault really happened."""

    plan: Plan
    violation: Violation | None
    digest: str
    lines: tuple[str, ...]
    counts: Counter[str]
    events: int
    seconds: float


class World:
    """Plays a plan once."""

    def __init__(
        self,
        plan: Plan,
        *,
        keeps_log: bool = False,
        store: Callable[[], Disk] = MemoryStore,
        origin_s: float = NOON_S,
    ) -> None:
        self.plan = plan
        self.schedule = Schedule(origin_s)
        self.journal = Journal(lambda: self.schedule.now_s, keeps=keeps_log)
        self.journal.head(plan.tree())
        self.counts: Counter[str] = Counter()
        self.checks = Checks(self.journal)
        self.network = Network(self.schedule, plan.seed, plan.messages, self.journal, self.counts)
        self.server = SimServer(
            plan.seed,
            store(),
            schedule=self.schedule,
            network=self.network,
            journal=self.journal,
            counts=self.counts,
            controllers=plan.controllers,
            contended=any(order.races for order in plan.orders),
        )
        self.server.heard = self._server_heard
        self.server.published = self._published
        self.wave_checks = WaveChecks(self.server)
        self.server.said = self._said
        if plan.tells_waits:
            self.server.ticked = waiting.Teller(self.server, self.journal).tell
        self.checks.serves = self._serves
        self.natures: dict[ReleaseId, Nature] = {}
        self.model = MODEL
        self.amounts: dict[ReleaseId, float] = {}  # of those whose nature has one, where it is not the usual one
        self._only_on: dict[ReleaseId, str] = {}  # the class of hardware on which a version is of its nature
        self.served: dict[ReleaseId, set[str]] = {}  # the devices that ever did, by the names of their plans
        self.rollouts: list[RolloutId] = []
        self._of_version: dict[str, RolloutId] = {}
        self._disturbed_s: dict[str, float] = {}
        self._calm = False
        self.devices = {each.name: self._device(each) for each in plan.devices}
        self.twins: dict[DeviceId, SimDevice] = {}
        self._old_desired: dict[DeviceId, list[bytes]] = {}
        back = GoingBack(
            self.server,
            self.network,
            self.schedule,
            lambda: {each.id: each for each in self.devices.values() if each.id not in self.twins},
            model=MODEL,
            faults=plan.messages,
            disturbed_s=self._disturbed_s,
            stays=self.wave_checks.stays,
        )
        self.wave_checks.halted = back.halted
        self.site_checks = SiteChecks(
            self.server,
            self.schedule,
            lambda: {each.id: each for each in self.devices.values() if each.id not in self.twins},
            back.free_s,
            MODEL,
            3 * plan.messages.slow_s[1] if plan.messages.slow else 0.0,
        )
        self.activation_checks = ActivationChecks(
            self.server,
            self.schedule,
            lambda: {each.id: each for each in self.devices.values() if each.id not in self.twins},
            self.wave_checks.policy_of,
            back.free_s,
            MODEL,
        )
        self.checks.moves = self._moved

    def run(self, *, over: Callable[[], bool] | None = None) -> Outcome:
        """Play to the end, or to the first broken rule.

        With ``over``, asked each ``ASKED_S``, it ends when that says so, at the latest with its hours: nothing calms
        down, and it is not asked what must have come about in a calm.
        """
        violation: Violation | None = None
        try:
            with silence():
                self._play(over)
        except Violation as found:
            violation = found
            self.journal.write("violation", found.who, rule=str(found.rule), text=found.text)
        return Outcome(
            plan=self.plan,
            violation=violation,
            digest=self.journal.digest,
            lines=tuple(self.journal.lines),
            counts=self.counts,
            events=self.schedule.done,
            seconds=self.schedule.now_s,
        )

    def _play(self, over: Callable[[], bool] | None) -> None:
        self._begin()
        end_s = self.plan.hours * 3600
        if over is not None:
            while self.schedule.now_s < end_s and not over():
                self.schedule.run_until(min(self.schedule.now_s + ASKED_S, end_s))
            return
        self.schedule.run_until(end_s)
        self._calm_down()
        self.schedule.run_until((self.plan.hours + self.plan.calm_hours) * 3600)
        settling.check(self)

    # --- beginning and end

    def _device(self, plan: DevicePlan) -> SimDevice:
        def nature_of(release: ReleaseId) -> Nature:
            here = self._only_on.get(release, plan.hardware) == plan.hardware
            elsewhere = self.natures.get(release, Nature.GOOD) if here else Nature.GOOD
            return plan.nature_of(self.checks.names.get(release, ""), elsewhere)

        made = SimDevice(
            plan,
            self.plan.seed,
            schedule=self.schedule,
            network=self.network,
            journal=self.journal,
            counts=self.counts,
            nature_of=nature_of,
            watch=self.checks,
        )
        made.amount_of = lambda release: self.amounts.get(release, 0.0)
        return made

    def _begin(self) -> None:
        self.server.start()
        claim = self.server.enrolment.create(uses=max(1, len(self.devices)), life_s=86_400, actor=OPERATOR)
        self.server.catalogue.add_model(MODEL, "", OPERATOR)
        courses = self.plan.courses()
        for device in self.devices.values():
            device.enrol(claim.text, self.server.enrolment.enrol)
            if device.plan.labels:
                self.server.fleet.label(device.id, dict(device.plan.labels), OPERATOR)
            if device.name in courses:
                self.network.follow(device.id, courses[device.name])
            self.schedule.after(device.chance.uniform(0.0, 5.0), device.power_on)
        for order in self.plan.orders:
            self.schedule.at(order.at_s, partial(self._obey, order, 0))
        for incident in self.plan.incidents:
            self.schedule.at(incident.at_s, partial(self._happen, incident))

    def _calm_down(self) -> None:
        """Let the faults stop: what was away comes back by itself."""
        self.journal.write("calm")
        self._calm = True
        self.network.be_calm()
        self.server.be_calm()
        for twin in self.twins.values():
            self._retire(twin)
        for device in self.devices.values():
            device.be_calm()

    def _said(self, event: Event) -> None:
        """The server's log has another line."""
        self.wave_checks.said(event)
        self.site_checks.said(event)
        self.activation_checks.said(event)

    def _moved(self, device: SimDevice, old: Slot, new: Slot) -> None:
        """A device saved another slot."""
        self.site_checks.moved(device, old, new)
        self.activation_checks.moved(device, old, new)

    # --- the operator

    def _obey(self, order: Order, tries: int) -> None:
        if not self.server.is_on:
            if tries < TRIES_MAX:
                self.schedule.after(TRY_AGAIN_S, partial(self._obey, order, tries + 1))
            return
        if order.races and tries == 0 and self.server.others is not None:
            waits = _Race(order)
            self.server.others.race(order.races, partial(self._raced, waits))
            self.schedule.after(RACES_S, partial(self._not_raced, waits))
            return
        self._tell(order)
        done = self.server.guarded(partial(self._do, order))
        if not done and tries < TRIES_MAX:
            self.schedule.after(TRY_AGAIN_S, partial(self._obey, order, tries + 1))

    def _tell(self, order: Order) -> None:
        self.journal.write("order", order.who, kind=str(order.kind), version=order.version, nature=str(order.nature))

    def _raced(self, race: _Race) -> None:
        """Do an order while the controller is about to write: the server's death in it is the controller's as well."""
        if race.waits:
            race.waits = False
            self._tell(race.order)
            self.counts["races"] += 1
            try:
                self._do(race.order)
            except Killed:
                self.schedule.after(TRY_AGAIN_S, partial(self._obey, race.order, 1))
                raise

    def _not_raced(self, race: _Race) -> None:
        if race.waits:
            race.waits = False
            self._obey(race.order, 1)

    def _do(self, order: Order) -> None:
        try:
            match order.kind:
                case OrderKind.REGISTER:
                    self._register(order)
                case OrderKind.ASSIGN:
                    self._assign(order)
                case OrderKind.REVERT:
                    device = self.devices[order.who].id
                    self.rollouts.append(self.server.rollouts.revert(device=device, model=MODEL, actor=OPERATOR).id)
                case OrderKind.ROLL_BACK:
                    self.server.rollouts.roll_back(self._meant(order), reason="the operator says so", actor=OPERATOR)
                case OrderKind.CANCEL:
                    self.server.rollouts.cancel(self._meant(order), reason="the operator says so", actor=OPERATOR)
                case OrderKind.RETIRE | OrderKind.STOP:
                    self._withdraw(order)
                case OrderKind.READMIT:
                    self.server.fleet.readmit(self.devices[order.who].id, None, OPERATOR)
                case OrderKind.BEGIN:
                    self._begin_waves(order)
                case _:
                    operators.steer(
                        order,
                        self._meant(order),
                        self.server.steering,
                        self.server.store,
                        self.wave_checks,
                        actor=order.actor or OPERATOR,
                    )
        except (ServerError, IndexError) as error:  # what an operator is told in words
            self.journal.write("order_refused", order.who, problem=str(error))

    def _withdraw(self, order: Order) -> None:
        """Withdraw a version, and confirm as many as the preview says go dark."""
        mode = WithdrawMode(order.kind.value)
        dark = len(self.server.withdrawing.preview(MODEL, order.version, mode).dark)
        self.server.withdrawing.withdraw(
            model=MODEL,
            version=order.version,
            mode=mode,
            reason="the operator says so",
            confirm_dark=dark or None,
            actor=OPERATOR,
        )

    def _register(self, order: Order) -> None:
        draw = chances.stream(self.plan.seed, f"version {order.version}")
        draft = catalogue.draft(draw, self.plan.weights_bytes, order.epoch)
        for content in draft.contents.values():
            self.server.blobs.add(content)
        with contextlib.suppress(Conflict):  # killed right after the commit, the server has it already
            self.server.catalogue.register(
                model=MODEL, version=VersionName(order.version), draft=draft, files={}, actor=OPERATOR
            )
        self._remember(order.version)

    def _remember(self, version: str) -> None:
        """Note what a version is like on devices, and that it was signed."""
        made = self.server.catalogue.version(MODEL, version)
        meant = (each for each in self.plan.orders if each.kind is OrderKind.REGISTER and each.version == version)
        order = next(meant)
        self.natures[made.release] = order.nature
        if order.hardware:
            self._only_on[made.release] = order.hardware
        self.checks.signed[made.release] = made.body.epoch
        self.checks.names[made.release] = version

    def _assign(self, order: Order) -> None:
        self._remember(order.version)
        trial = (
            TrialPolicy(inferences=order.trial_inferences, duration_s=order.trial_s)
            if order.trial_inferences
            else TrialPolicy(mode=TrialMode.NONE)
        )
        contact = ContactPolicy(timeout_s=order.contact_s) if order.contact else ContactPolicy(mode=ContactMode.NONE)
        selected = f"device={self.devices[order.who].id}" if order.who else ""
        made = self.server.rollouts.assign(
            model=MODEL,
            version=order.version,
            selected=selected,
            terms=Terms(trial=trial, contact=contact),
            actor=OPERATOR,
        )
        self.rollouts.append(made.id)

    def _begin_waves(self, order: Order) -> None:
        self._remember(order.version)
        made = operators.begin(
            order, self.server.steering, self.server.store, model=MODEL, actor=order.actor or OPERATOR
        )
        self._of_version[order.version] = made
        self.rollouts.append(made)

    def _meant(self, order: Order) -> RolloutId:
        """Return the rollout that an order is about: its version's, else the last one."""
        return self._of_version[order.version] if order.version in self._of_version else self.rollouts[-1]

    # --- what goes wrong

    def _serves(self, device: SimDevice, release: ReleaseId) -> None:
        """A version begins to serve; one of a certain nature takes its device with it, and nobody hears of that."""
        self.served.setdefault(release, set()).add(device.name)
        run = device.run
        if run is None or device.nature_of(release) is not Nature.DIES_SILENTLY:
            return

        def dies() -> None:
            serving = run.workers.serving(self.model)
            if device.run is run and not self._calm and serving is not None and serving.release == release:
                device.power_cut(DEAD_S)

        self.schedule.after(DIES_AFTER_S, dies)

    def _disturbs(self, incident: Incident) -> None:
        """Note until when what a device does is not its own doing."""
        until_s = self.schedule.now_s + max(incident.lasts_s, SETTLES_S)
        if incident.kind is not FaultKind.VETO:
            for name in (incident.who,) if incident.who else tuple(self.devices):
                self._disturbed_s[name] = max(self._disturbed_s.get(name, 0.0), until_s)

    def _happen(self, incident: Incident) -> None:
        self._disturbs(incident)
        self.journal.write("fault", incident.who, kind=str(incident.kind), lasts_s=incident.lasts_s)
        device = self.devices.get(incident.who)
        happened = self._to_device(device, incident) if device is not None else self._to_all(incident)
        if happened:
            self.counts[incident.kind] += 1

    def _to_all(self, incident: Incident) -> bool:
        match incident.kind:
            case FaultKind.BROKER_RESTART:
                self.network.restart(incident.lasts_s, forgets=False)
            case FaultKind.BROKER_AMNESIA:
                self.network.restart(incident.lasts_s, forgets=True)
            case FaultKind.SERVER_KILL:
                self.server.kill_soon(incident.lasts_s, incident.number, patient=incident.patient)
            case FaultKind.SERVER_POWER:
                broker = partial(self.network.restart, incident.lasts_s, forgets=False)
                self.server.kill_soon(incident.lasts_s, incident.number, patient=incident.patient, then=broker)
            case FaultKind.SERVER_AWAY:
                self.server.kill(incident.lasts_s)
            case FaultKind.SERVER_BACKUP:
                return self.server.back_up()
            case FaultKind.SERVER_RESTORED:
                return self._put_back(incident.lasts_s)
            case _:
                return False
        return True

    def _put_back(self, off_s: float) -> bool:
        """Put the server back from its backup: what it had been given since is lost, and nobody says it again."""
        with self.server.store.read() as tables:
            receipts, reports = self._received(tables)
        if not self.server.put_back(off_s):
            return False
        with self.server.store.read() as tables:
            kept_receipts, kept_reports = self._received(tables)
        self.checks.restored(receipts - kept_receipts, reports - kept_reports)
        return True

    def _received(self, tables: Tables) -> tuple[set[ReceiptId], set[tuple[str, BootId, int]]]:
        """Return which receipts and reports of the devices' are in the database."""
        receipts = {
            receipt
            for device in self.devices
            for receipt in self.checks.receipts[device]
            if tables.receipts.get(receipt) is not None
        }
        reports = {
            (name, boot, seq)
            for name, device in self.devices.items()
            for boot, seq in self.checks.kept_reports[name]
            if any(each.seq_from <= seq <= each.seq_to for each in tables.reports.ranges(device.id, boot))
        }
        return receipts, reports

    def _to_device(self, device: SimDevice, incident: Incident) -> bool:
        now_s = self.schedule.now_s
        match incident.kind:
            case FaultKind.PARTITION:
                self.network.darken(device.id, incident.lasts_s, up=True, down=True)
            case FaultKind.DARK_UP:
                self.network.darken(device.id, incident.lasts_s, up=True, down=False)
            case FaultKind.DARK_DOWN:
                self.network.darken(device.id, incident.lasts_s, up=False, down=True)
            case FaultKind.RESET:
                return self.network.reset(device.id)
            case FaultKind.STALE_DESIRED:
                return self._replay(device.id, device.id)
            case FaultKind.FOREIGN_DESIRED:
                others = [each.id for each in self.devices.values() if each is not device]
                return bool(others) and self._replay(device.chance.choice(others), device.id)
            case FaultKind.POWER_CUT:
                device.power_cut_soon(incident.lasts_s, incident.number, patient=incident.patient)
                return device.run is not None
            case FaultKind.ABSENCE:
                device.power_cut(incident.lasts_s)
            case FaultKind.AGENT_RESTART:
                device.restart(incident.lasts_s)
            case FaultKind.DISK_FULL:
                device.trouble.full_until_s = now_s + incident.lasts_s
                return False  # counted when a write meets it
            case FaultKind.DISK_ERROR:
                device.trouble.broken_until_s, device.trouble.broken_every = now_s + incident.lasts_s, incident.number
                return False
            case FaultKind.CLOCK_JUMP:
                device.jump_clock(incident.number, incident.lasts_s)
            case FaultKind.CLOCK_1970:
                device.start_in_1970(1.0, incident.lasts_s)
            case FaultKind.CLONE:
                return self._clone(device, incident.lasts_s)
            case FaultKind.VETO:
                return device.veto(self.model, incident.lasts_s)
            case FaultKind.WORKER_CRASH:
                return device.kill_worker(ExitCause.CRASHED)
            case FaultKind.WORKER_HANG:
                return device.kill_worker(ExitCause.HUNG)
            case FaultKind.WORKER_SLOW:
                return device.slow_down(incident.lasts_s)
            case _:
                return False
        return True

    def _clone(self, device: SimDevice, lasts_s: float) -> bool:
        """Switch on another board with a device's identity; 0 is until the world calms down."""
        if device.id in self.twins:
            return False
        twin = self.twins[device.id] = device.twin()
        twin.power_on()
        if lasts_s:
            self.schedule.after(lasts_s, partial(self._retire, twin))
        return True

    def _retire(self, twin: SimDevice) -> None:
        if twin.run is not None:
            twin.retire()

    def _replay(self, of: DeviceId, to: DeviceId) -> bool:
        """Let somebody publish what a device was once told, to it or to another one."""
        old = self._old_desired.get(of)
        if not old:
            return False
        payload = old[0] if of == to else old[-1]
        topic = topics.DownTopic(device=to, channel=topics.Down.DESIRED)
        self.network.inject(Message(str(topic), payload, 1))
        return True

    # --- looking on

    def _published(self, topic: topics.Topic, payload: bytes) -> None:
        if not isinstance(topic, topics.DownTopic) or topic.channel is not topics.Down.DESIRED or not payload:
            return
        kept = self._old_desired.setdefault(topic.device, [])
        if payload in kept:
            return
        kept.append(payload)
        del kept[1:-4]
        wanted = _set_of(payload)
        entries = frozenset((str(each.model), each.generation, each.release) for each in wanted.entries)
        self.checks.issued[topic.device, wanted.generation] = entries
        self.checks.published(topic.device, wanted.generation, self.server.planned(topic.device))
        self.wave_checks.told(topic.device, wanted)
        self.journal.write("desired", topic.device, generation=wanted.generation)

    def _server_heard(self, message: Message) -> None:
        topic = topics.parse(message.topic)
        if not isinstance(topic, topics.UpTopic) or topic.channel not in (topics.Up.REPORTED, topics.Up.STATE):
            return
        with self.server.store.read() as tables:
            slots = tables.devices.slots([topic.device])
            known = tables.devices.get(topic.device)
        if known is not None:
            self.checks.present(known.id, known.incarnation, known.connection or 0)
        for slot in slots:
            self.checks.believes(topic.device, slot.incarnation, slot.seq, slot.state)
        alone = topic.device not in self.twins
        if known is not None and known.state is DeviceState.QUARANTINED and alone:
            raise Violation(Rule.CLONE, topic.device, "it was put in quarantine, and there is only one of it")


@dataclass(slots=True)
class _Race:
    """An order that waits for the controller to write."""

    order: Order
    waits: bool = True


def _set_of(payload: bytes) -> AssignmentSet:
    tree = json.loads(Desired.from_bytes(payload).targets)
    return codec.from_plain(AssignmentSet, tree["signed"][ASSIGNMENT_FIELD])
