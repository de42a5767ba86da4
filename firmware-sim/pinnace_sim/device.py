"""A simulated device: the real agent, from its loop to its store, on a disk, a line and workers of this world.

Owns power, clocks and what the disk does; what the agent decides is the agent's. Nothing but the disk goes from one run
of the agent to the next.
"""

from __future__ import annotations

import queue
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final, Protocol

from pinnace_agent import identity as identities
from pinnace_agent import trust
from pinnace_agent.adapters.mqtt_paho import Arrived, Connected, Disconnected
from pinnace_agent.adapters.worker_process import Start
from pinnace_agent.assembly import Ground, assemble
from pinnace_agent.core.device import DeviceState
from pinnace_agent.core.events import Vetoed
from pinnace_agent.core.surroundings import Host, HostRuntime
from pinnace_agent.daemon import QUEUE_MAX, Daemon, Happened
from pinnace_agent.errors import AgentError
from pinnace_agent.requests import Request
from pinnace_agent.store import Store
from pinnace_agent.store_blobs import BLOBS
from pinnace_agent.store_port import StorageBroken, StorageError
from pinnace_agent.worker.events import Collected, ExitCause, LoadFailed, NowServing, WorkerExited
from pinnace_contract import topics
from pinnace_contract.ids import BootId, DeviceId, IncarnationId, ModelName, ReleaseId, digest_of
from pinnace_contract.latest import (
    DroppedRange,
    Enrolled,
    EnrolRequest,
    Health,
    Phase,
    SystemHealth,
    parse_claim_token,
)
from pinnace_sim import chance as chances
from pinnace_sim.disk import Disk
from pinnace_sim.faults import FaultKind
from pinnace_sim.journal import Journal
from pinnace_sim.network import Connection, Message, Network
from pinnace_sim.plan import DevicePlan, Nature
from pinnace_sim.runtime import RUNTIME, Workers
from pinnace_sim.schedule import Due, Schedule

NOON_S: Final = 1_795_435_200.0  # Unix time of second 0
FIRST_STEP_S: Final = 0.25  # between two turns of a busy loop, as in the program
WAKE_S: Final = 0.1  # from news to the loop that takes it: what comes within it is taken in one turn
LAST_STEP_S: Final = 20.0  # when nothing has happened for long; what is due is at most this late
STEP_GROWTH: Final = 1.5
SURELY_CUT_S: Final = 2.0  # a power cut that waits for the disk's next operations does not wait longer
CLOCK_HEALED_S: Final = (600.0, 3_600.0)  # until the network tells the time again
START_AGAIN_S: Final = 5.0
HASH_S: Final = 0.05
STUCK_S: Final = 86_400.0  # one turn of the loop: faults end sooner, and the clock stands meanwhile


Told = NowServing | WorkerExited | LoadFailed


class PowerCut(BaseException):
    """The power is gone: nobody catches it and goes on."""


class Watch(Protocol):
    """Who looks on; see ``checks``."""

    def booted(self, device: SimDevice, state: DeviceState) -> None: ...
    def saved(self, device: SimDevice, before: DeviceState, after: DeviceState) -> None: ...
    def starts(self, device: SimDevice, order: Start) -> None: ...
    def hears(self, device: SimDevice, event: Told) -> None: ...
    def says(self, device: SimDevice, topic: topics.Topic, payload: bytes) -> None: ...
    def spools(self, device: SimDevice, sealed: bytes) -> None: ...
    def spooled(self, device: SimDevice, report: DroppedRange) -> None: ...
    def failed(self, device: SimDevice, error: Exception) -> None: ...


class SimDevice:
    """One device of a world."""

    def __init__(
        self,
        plan: DevicePlan,
        seed: int,
        *,
        schedule: Schedule,
        network: Network,
        journal: Journal,
        counts: Counter[str],
        nature_of: Callable[[ReleaseId], Nature],
        watch: Watch,
    ) -> None:
        self.plan, self.name, self.seed = plan, plan.name, seed
        self.schedule, self.network, self.journal, self.counts = schedule, network, journal, counts
        self.nature_of, self.watch = nature_of, watch
        self.chance = chances.stream(seed, f"device {plan.name}")
        self.key = chances.DeviceKey(seed, plan.name)
        self.disk = Disk(capacity_bytes=plan.disk_bytes)
        self.id = DeviceId("")
        self.enrolled: tuple[trust.Trusted, identities.Identity] | None = None
        self.run: Run | None = None
        self.skew_s = 0.0
        self.full_until_s = self.broken_until_s = 0.0
        self.broken_every = 1
        self.operations_left: int | None = None

    # --- enrolment ---------------------------------------------------------------------------------------------------

    def enrol(self, claim_text: str, ask: Callable[[EnrolRequest], Enrolled]) -> None:
        """Get an identity, as ``pinnace-agent enroll`` does, and write the store."""
        token = parse_claim_token(claim_text)
        incarnation = IncarnationId(chances.stream_hex(self.chance, 16))
        request = EnrolRequest(
            secret_hex=token.secret_hex,
            csr_pem=self.key.signing_request(),
            incarnation=incarnation,
            name=self.name,
            hardware=self.plan.hardware,
            agent_version=self.plan.agent_version,
            runtimes=self.plan.runtimes,
        )
        enrolled = ask(request)
        pins = (token.image_root, token.director_root)
        trusted = trust.first_trust(enrolled.image_roots, enrolled.director_roots, pins)
        who = identities.Identity(
            device=enrolled.device, server="http://server", endpoints=enrolled.endpoints, hardware=self.plan.hardware
        )
        self._make_store(incarnation, trusted, who)

    def twin(self) -> SimDevice:
        """Return another board with this one's key and identity, and a store of its own."""
        assert self.enrolled is not None, "only a device with an identity has a twin"
        twin = SimDevice(
            replace(self.plan, name=f"{self.name}-twin"),
            self.seed,
            schedule=self.schedule,
            network=self.network,
            journal=self.journal,
            counts=self.counts,
            nature_of=self.nature_of,
            watch=self.watch,
        )
        twin.key = self.key
        twin._make_store(IncarnationId(chances.stream_hex(twin.chance, 16)), *self.enrolled)
        return twin

    def _make_store(self, incarnation: IncarnationId, trusted: trust.Trusted, who: identities.Identity) -> None:
        store = Store(self.disk)
        store.open()
        store.save(DeviceState(incarnation=incarnation))
        store.save_metadata(trust.UNIT, trust.to_files(trusted))
        identities.save(store, who)
        self.id, self.enrolled = who.device, (trusted, who)

    # --- power -------------------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Start the agent with what the disk holds."""
        if self.run is not None:
            return
        self.operations_left = None
        try:
            self.run = Run(self)
        except StorageError as error:  # the program ends with the error, and a service manager starts it again
            self.journal.write("boot_failed", self.name, problem=str(error))
            self.disk.before_each = None
            self.schedule.after(START_AGAIN_S, self.power_on)
            return
        except AgentError as error:
            self.watch.failed(self, error)
            return
        self.run.begin()

    def power_cut(self, off_s: float, before: str = "") -> None:
        """Lose the power now, and have it again later; ``before`` is what the disk was about to do."""
        if self.run is None:
            return
        self.journal.write("power_cut", self.name, operations=self.disk.operations, before=before)
        self._end_run()
        self.disk = self.disk.after_power_cut(self.chance)
        self.schedule.after(off_s, self.power_on)

    def power_cut_soon(self, off_s: float, operations: int, *, patient: bool = False) -> None:
        """Lose the power before the disk's next operation but so many; soon if it does nothing, unless ``patient``."""
        run = self.run
        if run is None:
            return
        self.operations_left = operations
        run.off_s = off_s
        if patient:
            return
        self.schedule.after(SURELY_CUT_S, lambda: self.power_cut(off_s) if self.run is run else None)

    def restart(self, off_s: float) -> None:
        """Stop the agent in order, as a service manager does, and start it again later."""
        run = self.run
        if run is None:
            return
        if not run.guarded(run.daemon.end):
            return
        self.journal.write("stopped", self.name)
        self._end_run()
        self.disk = self.disk.killed()
        self.schedule.after(off_s, self.power_on)

    def kill_worker(self, cause: ExitCause) -> bool:
        """Let the worker that serves die."""
        return self.run is not None and self.run.workers.kill(cause)

    def retire(self) -> None:
        """Lose the power for good."""
        self.journal.write("retired", self.name)
        self._end_run()

    def veto(self, model: ModelName, seconds: float) -> bool:
        """Let an application ask not to be disturbed; tell whether there was a run to ask."""
        if self.run is not None:
            self.run.hear(Request(model=model, event=Vetoed(seconds=seconds, reason="an application is busy")))
        return self.run is not None

    def _end_run(self) -> None:
        run, self.run = self.run, None
        if run is not None:
            run.off()
        self.operations_left = None

    # --- clocks ------------------------------------------------------------------------------------------------------

    def jump_clock(self, seconds: float, lasts_s: float = 0.0) -> None:
        """Let the board's clock be wrong by so much for so long; 0 is a while."""
        self.skew_s = seconds
        self.schedule.after(lasts_s or self.chance.uniform(*CLOCK_HEALED_S), self._heal_clock)

    def start_in_1970(self, off_s: float, lasts_s: float = 0.0) -> None:
        """Lose the power on a board whose clock has no battery."""
        self.power_cut(off_s)
        self.jump_clock(-NOON_S - self.schedule.now_s, lasts_s)

    def slow_down(self, seconds: float) -> bool:
        """Let inference be slow for a while; tell whether there is a run."""
        if self.run is not None:
            self.run.workers.slow_until_s = self.schedule.now_s + seconds
        return self.run is not None

    def be_calm(self) -> None:
        """Let nothing go wrong any more."""
        self.full_until_s = self.broken_until_s = self.skew_s = 0.0
        self.operations_left = None
        self.power_on()

    def _heal_clock(self) -> None:
        self.skew_s = 0.0


class Run:
    """One run of the agent."""

    def __init__(self, device: SimDevice) -> None:
        self.device = device
        self.schedule = device.schedule
        self.born_s = device.schedule.now_s
        self.ahead_s = (
            0.0  # how much longer than the world's a turn has taken so far: a disk that does not take a write
        )
        self.busy_until_s = 0.0
        self.off_s = 0.0
        self.is_on = True
        self._step_s = FIRST_STEP_S
        self._moves: list[tuple[Phase, int]] = []
        self._due: Due | None = None
        self.happened = Inbox(QUEUE_MAX)
        device.disk.before_each = self._before_operation
        store = _WatchedStore(self)
        loaded = store.open()
        if loaded is None:
            raise identities.NotEnrolled("the state is gone")
        store.last = loaded.state
        trusted = trust.from_files(store.metadata(trust.UNIT))
        if trusted is None:
            raise identities.NotEnrolled("the trusted metadata is gone")
        self.link = Link(self)
        self.workers = Workers(
            timer=_RunTimer(self),
            emit=self.hear,
            chance=device.chance,
            nature_of=device.nature_of,
            problem=self._problem,
            started=self._started,
            inferences_an_hour=device.plan.inferences_an_hour,
        )
        self.boot = BootId(chances.stream_hex(device.chance, 16))
        host = Host(
            device=device.id,
            boot=self.boot,
            hardware=device.plan.hardware,
            agent_version=device.plan.agent_version,
            runtimes=tuple(HostRuntime(runtime=each, version=RUNTIME) for each in device.plan.runtimes),
        )
        self.store = store
        self.daemon: Daemon = assemble(
            Ground(
                host=host,
                store=store,
                state=loaded.state,
                trusted=trusted,
                key=device.key,
                link=self.link,
                workers=self.workers,
                board=_Board(device),
                happened=self.happened,
                endpoints=lambda _state: ("mqtt://broker",),
                chance=device.chance,
                stop=_Patience(self),
                beside=self._beside,
                clock=self.clock,
                wall=self.wall,
                report_every_s=device.plan.report_every_s,
                worker_memory_bytes=device.plan.memory_bytes,
            )
        ).daemon

    def begin(self) -> None:
        """Recover and go."""
        device = self.device
        device.journal.write("boot", device.name, boot=self.boot)
        device.watch.booted(device, self.daemon.state)
        if self.guarded(self.daemon.begin):
            self._plan_turn()

    def off(self) -> None:
        """Be no more."""
        self.is_on = False
        self.workers.off()
        self.link.vanish()
        self.device.disk.before_each = None
        if self._due is not None:
            self._due.cancel()

    def hear(self, happened: Happened) -> None:
        """Take an event, and let the loop turn."""
        if not self.is_on:
            return
        try:
            self.happened.put_nowait(happened)
        except queue.Full:
            return
        if isinstance(happened, Told):
            self.device.watch.hears(self.device, happened)
        if not isinstance(happened, Collected):  # asked for at every turn of a trial: no news by itself
            self._step_s = FIRST_STEP_S
        self._turn_at(self.schedule.now_s + WAKE_S)

    def clock(self) -> float:
        """Return seconds since this run began."""
        return self.schedule.now_s + self.ahead_s - self.born_s

    def wall(self) -> float:
        """Return what the board believes to be Unix time."""
        return max(0.0, NOON_S + self.schedule.now_s + self.ahead_s + self.device.skew_s)

    def guarded(self, action: Callable[[], object]) -> bool:
        """Run a piece of the agent; False where it did not survive it."""
        device = self.device
        self.ahead_s = 0.0
        try:
            action()
        except Stuck as stuck:
            device.journal.write("stuck", device.name, why=str(stuck))
            device.power_cut(STUCK_S)
            return False
        except PowerCut as cut:
            device.power_cut(self.off_s, str(cut))
            return False
        except Exception as error:  # an agent never ends by itself: whatever it was, it is a finding
            device.watch.failed(device, error)
            device.power_cut(1.0)
            return False
        self.busy_until_s = self.schedule.now_s + self.ahead_s
        self.ahead_s = 0.0
        return True

    def wait(self, seconds: float) -> None:
        """Let a part of the agent wait where it stands."""
        self.ahead_s += seconds

    # --- turns -------------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._due = None
        if self.schedule.now_s < self.busy_until_s:
            self._turn_at(self.busy_until_s)
            return
        before = self._moves
        if not self.guarded(lambda: self.daemon.turn(0.0)):
            return
        self._moves = [(slot.phase, slot.generation) for slot in self.daemon.state.slots]
        if self._moves != before:
            self._step_s = FIRST_STEP_S
        self._plan_turn()

    def _plan_turn(self) -> None:
        if not self.is_on:
            return
        rests_until_s = self.daemon.rests_until()
        if rests_until_s is not None:
            self._turn_at(max(self.born_s + rests_until_s, self.schedule.now_s + FIRST_STEP_S))
            return
        self._turn_at(self.schedule.now_s + self._step_s)
        self._step_s = min(LAST_STEP_S, self._step_s * STEP_GROWTH)

    def _turn_at(self, at_s: float) -> None:
        at_s = max(at_s, self.busy_until_s)
        if self._due is not None:
            if self._due.at_s <= at_s:
                return
            self._due.cancel()
        self._due = self.schedule.at(at_s, self._turn)

    # --- what lies under the agent -----------------------------------------------------------------------------------

    def _beside(self, work: Callable[[], None]) -> None:
        def due() -> None:
            if self.is_on:
                self.guarded(work)

        self.schedule.after(HASH_S, due)

    def _started(self, order: Start) -> None:
        self.device.watch.starts(self.device, order)

    def _problem(self, order: Start) -> str:
        """Load as a worker does: everything is hashed again."""
        for digest in order.blobs:
            data = self.device.disk.read(f"{BLOBS}/{digest}", 0, 1 << 40)
            if data is None or digest_of(data) != digest:
                return f"blob {digest[:12]} is not what its name says"
        name = PurePosixPath(order.release_path).name
        data = self.device.disk.read(f"releases/{name}", 0, 1 << 40)
        return "" if data is not None and ReleaseId(digest_of(data)) == order.release else "the release file is damaged"

    def _before_operation(self, operation: str, path: str) -> None:
        device, now_s = self.device, self.schedule.now_s + self.ahead_s
        if device.operations_left is not None:
            device.operations_left -= 1
            if device.operations_left < 0:
                raise PowerCut(f"{operation} {path}")
        if now_s < device.full_until_s and operation in ("create", "allocate"):
            device.counts[FaultKind.DISK_FULL] += 1
            device.disk.capacity_bytes = 0
        else:
            device.disk.capacity_bytes = device.plan.disk_bytes
        if now_s < device.broken_until_s and device.disk.operations % device.broken_every == 0:
            device.counts[FaultKind.DISK_ERROR] += 1
            device.disk.operations += 1
            raise StorageBroken(operation, path, "Input/output error")


class Inbox(queue.Queue[Happened]):
    """The loop's queue, for one thread: nothing waits and no clock is read."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._waiting: deque[Happened] = deque()

    def put(self, item: Happened, block: bool = True, timeout: float | None = None) -> None:
        """Add at the end, or raise ``Full``."""
        del block, timeout
        if len(self._waiting) >= self._largest:
            raise queue.Full
        self._waiting.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Happened:
        """Take the first, or raise ``Empty``."""
        del block, timeout
        if not self._waiting:
            raise queue.Empty
        return self._waiting.popleft()


class Link:
    """The agent's end of its connection, and the network's ``Client``."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._connection: Connection | None = None

    # --- the agent's side

    def connect(self, url: str, *, number: int, will: Callable[[], bytes]) -> None:
        """Begin a connection."""
        del url
        run = self._run
        self.close()
        state = topics.UpTopic(device=run.device.id, channel=topics.Up.STATE)
        self._connection = Connection(
            client=self,
            name=run.device.id,
            number=number,
            will=lambda: Message(str(state), will(), 1),
            bytes_s=run.device.plan.bytes_s,
        )
        run.device.network.connect(self._connection)

    def publish(self, topic: topics.Topic, payload: bytes, *, qos: int = 1, retained: bool = False) -> bool:
        """Send."""
        connection = self._connection
        if connection is None or not connection.alive:
            return False
        self._run.device.watch.says(self._run.device, topic, payload)
        self._run.device.network.publish(connection, Message(str(topic), payload, qos), retained=retained)
        return True

    def close(self, last: tuple[topics.Topic, bytes] | None = None) -> None:
        """End the connection in order."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._run.device.network.close(connection, Message(str(last[0]), last[1], 1) if last else None)

    def vanish(self) -> None:
        """Be no more."""
        if self._connection is not None:
            self._run.device.network.vanish(self._connection)

    # --- the network's side

    def connected(self, number: int, session: bool) -> None:
        """The broker took the connection."""
        self._run.hear(Connected(number=number, session=session))

    def lost(self, number: int, reason: str) -> None:
        """The connection is over."""
        self._run.hear(Disconnected(number=number, reason=reason))

    def arrived(self, message: Message) -> None:
        """A message came."""
        self._run.hear(Arrived(topic=message.topic, payload=message.payload))


class _WatchedStore(Store):
    """The store, with somebody who looks on what is saved."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.device.disk)
        self._run = run
        self.last: DeviceState | None = None

    def save(self, state: DeviceState) -> None:
        """Save, and tell once it is durable."""
        super().save(state)
        before, self.last = self.last, state
        if before is not None:
            self._run.device.watch.saved(self._run.device, before, state)

    def spool(self, report: DroppedRange, sealed: bytes, at_s: float) -> None:
        """Keep a report, and tell before, for a power cut may spare it, and once it is durable."""
        self._run.device.watch.spools(self._run.device, sealed)
        super().spool(report, sealed, at_s)
        self._run.device.watch.spooled(self._run.device, report)


class _RunTimer:
    """Virtual time for the workers of one run."""

    def __init__(self, run: Run) -> None:
        self._schedule = run.schedule

    @property
    def now_s(self) -> float:
        return self._schedule.now_s

    def after(self, seconds: float, action: Callable[[], None]) -> object:
        return self._schedule.after(seconds, action)


class Stuck(PowerCut):
    """One turn of the agent waited for a day, in which the world stood still: so long the device is as good as off."""


class _Patience:
    """Told to stop by nobody; waiting lets the device's time pass."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float) -> bool:
        self._run.wait(timeout)
        if self._run.ahead_s > STUCK_S:
            raise Stuck("its disk has not taken its state for a day")
        return False


class _Board:
    """What the board tells of itself."""

    def __init__(self, device: SimDevice) -> None:
        self._device = device

    def health(self) -> Health:
        return Health(
            cpu_share=0.1,
            memory_free_bytes=self._device.plan.memory_bytes,
            memory_total_bytes=self._device.plan.memory_total_bytes,
            disk_free_bytes=self._device.disk.free_bytes(),
        )

    def summary(self) -> SystemHealth:
        return SystemHealth(
            memory_free_bytes=self._device.plan.memory_bytes,
            memory_total_bytes=self._device.plan.memory_total_bytes,
            disk_free_bytes=self._device.disk.free_bytes(),
        )
