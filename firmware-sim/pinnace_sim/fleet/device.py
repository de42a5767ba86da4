"""One simulated device on real wires: the real agent on a shared disk, a real connection and workers that are played.

Owns power and pace: when the agent runs, when its loop turns, and what it counted. What it decides is the agent's.
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from random import Random
from typing import Final

from pinnace_agent import trust
from pinnace_agent.adapters.mqtt_paho import Connected, Disconnected
from pinnace_agent.adapters.worker_process import Start
from pinnace_agent.assembly import Ground, assemble
from pinnace_agent.core.device import DeviceState
from pinnace_agent.core.surroundings import Host, HostRuntime
from pinnace_agent.daemon import QUEUE_MAX, Daemon, Happened
from pinnace_agent.identity import Identity
from pinnace_agent.store import RELEASES, Store
from pinnace_agent.store_blobs import BLOBS
from pinnace_agent.uplink import Signer
from pinnace_contract.ids import BootId, DeviceId, ReleaseId
from pinnace_contract.latest import DroppedRange, Health, Outcome, ReportRange, Runtime, SystemHealth
from pinnace_sim.chance import stream_hex
from pinnace_sim.device import FIRST_STEP_S, STEP_GROWTH, Inbox
from pinnace_sim.fleet.disk import SharedDisk
from pinnace_sim.fleet.link import AsyncLink
from pinnace_sim.fleet.pace import Pace
from pinnace_sim.fleet.profiles import Kind
from pinnace_sim.fleet.tally import Account, Tally
from pinnace_sim.links import Course
from pinnace_sim.plan import Nature
from pinnace_sim.runtime import RUNTIME, Workers

LAST_STEP_S: Final = 4.0  # between two turns of a busy loop that hears nothing: its own deadlines are longer
START_AGAIN_S: Final = 5.0
REASON_CHARS_MAX: Final = 80
SETTLE_S: Final = 0.5  # how often a device that is to finish looks whether everything was acknowledged
WORKER_MEMORY_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the devices of one process share."""

    tally: Tally
    report_every_s: int
    model_bytes: int
    nature_of: Callable[[ReleaseId], Nature] = field(default=lambda _release: Nature.GOOD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a device is made of, and stays over all runs of its agent."""

    who: Identity
    kind: Kind
    key: Signer
    disk: SharedDisk
    chance: Random


class FleetDevice:
    """One enrolled device."""

    def __init__(self, body: Body, setting: Setting, course: Course | None = None) -> None:
        """``course`` is what its link does from now on; None: what its kind says, at all times."""
        self.body, self.setting = body, setting
        self.pace = Pace(bytes_s=body.kind.bytes_s, chance=body.chance, course=course)
        self.id: DeviceId = body.who.device
        self.run: Run | None = None
        self.reports: dict[BootId, int] = {}
        self.assigned_s: float | None = None
        self.committed = self.left = self.finished = False
        self.finishing: Callable[[], None] | None = None
        self._last: dict[BootId, int] | None = None
        self._sleeping: asyncio.TimerHandle | None = None
        self._asleep = False
        self._loop = asyncio.get_running_loop()

    # --- power -------------------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Start the agent with what the disk holds."""
        if self.run is not None or self.left or self.finished:
            return
        if self._asleep:
            self._asleep = False
            self.setting.tally.progress.asleep -= 1
        try:
            self.run = Run(self)
        except Exception as error:
            self.failed(error)
            return
        self.run.begin()
        kind = self.body.kind
        if kind.asleep_s and self.finishing is None:
            awake_s = kind.awake_s * self.body.chance.uniform(0.5, 1.5)
            self._sleeping = self._loop.call_later(awake_s, self._fall_asleep)

    def leave(self) -> None:
        """Be cut off for good."""
        if self.left or self.finished:
            return
        self.left = True
        if self.run is not None:
            self.run.off(cut=True)
            self.run = None
        if self._asleep:
            self._asleep = False
            self.setting.tally.progress.asleep -= 1
        self._stay_awake()
        self.setting.tally.progress.left += 1

    def finish(self, told: Callable[[], None]) -> None:
        """Say goodbye as soon as the server has everything that there is now, and call ``told``."""
        self.finishing = told
        self._last = dict(self.reports)
        self._stay_awake()
        if self.left:
            self._finished()
            return
        self.power_on()
        self._finish_if_done()

    def give_up(self) -> None:
        """End without waiting for what is missing."""
        if self.run is not None:
            self.run.stop()
            self.run = None

    def failed(self, error: Exception) -> None:
        """The agent did not survive something: tell it, and start it again as a service manager would."""
        self.setting.tally.failed(f"{self.id}: {type(error).__name__}: {error}")
        if self.run is not None:
            self.run.off(cut=True)
            self.run = None
        self._loop.call_later(START_AGAIN_S, self.power_on)

    @property
    def is_dark(self) -> bool:
        """Whether it is on, and away because nothing passes on its link."""
        return self.run is not None and not self.run.is_connected and self.pace.is_dark(self._loop.time())

    def account(self) -> Account:
        """Return what the server must have of this device."""
        return Account(
            device=self.id,
            reports=dict(self.reports) if self._last is None else self._last,
            unacknowledged=self._waiting(),
            committed=self.committed,
            left=self.left,
        )

    def _waiting(self) -> tuple[tuple[BootId, int], ...]:
        """Return the reports that are to be acknowledged; those after the last that counts need not."""
        spooled = self.run.store.spooled() if self.run is not None else Store(self.body.disk).spooled()
        return tuple(
            (each.boot, seq)
            for each in spooled
            for seq in range(each.seq_from, each.seq_to + 1)
            if self._last is None or seq <= self._last.get(each.boot, 0)
        )

    def _fall_asleep(self) -> None:
        if self.run is None or self.finishing is not None:
            return
        self.run.stop()
        self.run = None
        self._asleep = True
        self.setting.tally.progress.asleep += 1
        asleep_s = self.body.kind.asleep_s * self.body.chance.uniform(0.5, 1.5)
        self._sleeping = self._loop.call_later(asleep_s, self.power_on)

    def _stay_awake(self) -> None:
        if self._sleeping is not None:
            self._sleeping.cancel()
            self._sleeping = None

    def _finish_if_done(self) -> None:
        if self.finished:
            return
        if self.run is not None and self.run.is_connected and not self.run.daemon.state.outbox and not self._waiting():
            self.run.stop()
            self.run = None
            self._finished()
            return
        self._loop.call_later(SETTLE_S, self._finish_if_done)

    def _finished(self) -> None:
        if not self.finished:
            self.finished = True
            self.setting.tally.progress.finished += 1
            assert self.finishing is not None
            self.finishing()

    # --- what the store tells ----------------------------------------------------------------------------------------

    def saved(self, state: DeviceState) -> None:
        """Look whether the assignment is committed."""
        if self.committed:
            return
        if any(slot.ended is not None and slot.ended.outcome is Outcome.COMMITTED for slot in state.slots):
            self.committed = True
            self.setting.tally.progress.committed += 1
            if self.assigned_s is not None:
                samples = self.setting.tally.samples
                samples.add(samples.commit_s, time.monotonic() - self.assigned_s)


class Run:
    """One run of the agent."""

    def __init__(self, device: FleetDevice) -> None:
        self._device = device
        self._body, self._tally = device.body, device.setting.tally
        self._loop = asyncio.get_running_loop()
        self._is_on = True
        self._step_s = FIRST_STEP_S
        self._due: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._spooled_s: dict[int, float] = {}
        self._begun_s: float | None = self._loop.time()
        self._is_connected = False
        self._happened = Inbox(QUEUE_MAX)
        self.boot = BootId(stream_hex(self._body.chance, 16))
        self.store = _CountingStore(self)
        loaded = self.store.open()
        assert loaded is not None, "an enrolled device has a state"
        trusted = trust.from_files(self.store.metadata(trust.UNIT))
        assert trusted is not None, "an enrolled device has trusted roots"
        kind = self._body.kind
        self.link = AsyncLink(device.id, self.hear, device.pace)
        self.workers = Workers(
            timer=_LoopTimer(self._loop),
            emit=self.hear,
            chance=self._body.chance,
            nature_of=device.setting.nature_of,
            problem=self._problem,
            started=lambda _order: None,
            inferences_an_hour=kind.inferences_an_hour,
            temper=kind.temper,
        )
        self.daemon: Daemon = assemble(
            Ground(
                host=Host(
                    device=device.id,
                    boot=self.boot,
                    hardware=kind.hardware,
                    agent_version=kind.agent_version,
                    runtimes=(HostRuntime(runtime=Runtime.ONNX, version=RUNTIME),),
                ),
                store=self.store,
                state=loaded.state,
                trusted=trusted,
                key=self._body.key,
                link=self.link,
                workers=self.workers,
                board=_Board(kind, self._body.disk),
                happened=self._happened,
                endpoints=self._endpoints,
                chance=self._body.chance,
                stop=_Patience(self),
                beside=self._beside,
                clock=self._loop.time,
                wall=time.time,
                report_every_s=device.setting.report_every_s,
                worker_memory_bytes=WORKER_MEMORY_BYTES,
            )
        ).daemon

    @property
    def is_connected(self) -> bool:
        """Whether the broker took the connection."""
        return self._is_connected

    # --- life --------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Recover and go."""
        if self._guarded(self.daemon.begin):
            self._plan_turn()

    def stop(self) -> None:
        """End in order."""
        if self._is_on:
            self._guarded(self.daemon.end)
        self.off()

    def off(self, *, cut: bool = False) -> None:
        """Be no more."""
        if not self._is_on:
            return
        self._is_on = False
        self._connection(up=False)
        self.workers.off()
        self.link.vanish() if cut else self.link.close()
        if self._due is not None:
            self._due.cancel()

    def hear(self, happened: Happened) -> None:
        """Take an event, and let the loop turn at once."""
        if not self._is_on:
            return
        if isinstance(happened, Connected):
            self._connection(up=True)
        elif isinstance(happened, Disconnected):
            self._tally.progress.reconnects += self._is_connected
            self._tally.ends[happened.reason[:REASON_CHARS_MAX]] += 1
            self._connection(up=False)
        try:
            self._happened.put_nowait(happened)
        except queue.Full:
            return
        self._step_s = FIRST_STEP_S
        self._turn_at(0.0)

    def _connection(self, *, up: bool) -> None:
        if up and self._begun_s is not None:
            samples = self._tally.samples
            samples.add(samples.connect_s, self._loop.time() - self._begun_s)
            self._begun_s = None  # the first connection of a run: later ones begin with somebody else's trouble
        self._tally.progress.connected += up - self._is_connected
        self._is_connected = up

    def _guarded(self, action: Callable[[], object]) -> bool:
        try:
            action()
        except Exception as error:  # an agent never ends by itself: whatever it was, it is a finding
            self._device.failed(error)
            return False
        return self._is_on

    # --- turns -------------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._due = None
        before = self.daemon.state
        if not self._guarded(self._one_turn):
            return
        if self.daemon.state is not before:
            self._step_s = FIRST_STEP_S
        self._plan_turn()

    def _one_turn(self) -> None:
        self.daemon.turn(0.0)

    def _plan_turn(self) -> None:
        rests_until_s = self.daemon.rests_until()
        if rests_until_s is not None:
            self._turn_at(max(rests_until_s, self._loop.time() + FIRST_STEP_S))
            return
        self._turn_at(self._loop.time() + self._step_s)
        self._step_s = min(LAST_STEP_S, self._step_s * STEP_GROWTH)

    def _turn_at(self, at_s: float) -> None:
        if self._due is not None:
            if self._due_s <= at_s:
                return
            self._due.cancel()
        self._due_s = at_s
        self._due = self._loop.call_at(at_s, self._turn)

    # --- what lies under the agent -----------------------------------------------------------------------------------

    def spooled(self, seq: int) -> None:
        """A report is on the disk."""
        self._device.reports[self.boot] = max(seq, self._device.reports.get(self.boot, 0))
        self._spooled_s[seq] = self._loop.time()
        self._tally.progress.reports += 1

    def acknowledged(self, boot: BootId, seq: int) -> None:
        """The server has a report."""
        self._tally.progress.acknowledged += 1
        since_s = self._spooled_s.pop(seq, None) if boot == self.boot else None
        if since_s is not None:
            samples = self._tally.samples
            samples.add(samples.acknowledge_s, self._loop.time() - since_s)

    def saved(self, state: DeviceState) -> None:
        """The state is on the disk."""
        self._device.saved(state)

    def must_restart(self) -> None:
        """The disk does not take what must be kept."""
        self._loop.call_soon(self._device.failed, RuntimeError("the disk takes nothing any more"))

    def _endpoints(self, state: DeviceState) -> tuple[str, ...]:
        who = self._body.who
        return tuple(dict.fromkeys([*(endpoint.url for endpoint in state.endpoints), *who.endpoints]))

    def _beside(self, work: Callable[[], None]) -> None:
        """Hash as fast as the device does: the hashing is real, and takes at least so long."""
        seconds = self._device.setting.model_bytes / self._body.kind.hash_bytes_s
        self._loop.call_later(seconds, lambda: self._guarded(work) if self._is_on else None)

    def _problem(self, order: Start) -> str:
        """Look for a worker's files; they were hashed a moment ago, and this disk does not rot."""
        release = f"{RELEASES}/{PurePosixPath(order.release_path).name}"
        for path in (release, *(f"{BLOBS}/{digest}" for digest in order.blobs)):
            if self._body.disk.size_bytes(path) is None:
                return f"{path} is not there"
        return ""


class _CountingStore(Store):
    """The store, with somebody who counts."""

    def __init__(self, run: Run) -> None:
        super().__init__(run._body.disk)
        self._run = run

    def save(self, state: DeviceState) -> None:
        super().save(state)
        self._run.saved(state)

    def spool(self, report: DroppedRange, sealed: bytes, at_s: float) -> None:
        super().spool(report, sealed, at_s)
        self._run.spooled(report.seq_to)

    def acknowledge(self, ranges: Iterable[ReportRange]) -> None:
        before = self.spooled()
        super().acknowledge(ranges)
        left = set(self.spooled())
        for each in before:
            if each not in left:
                self._run.acknowledged(each.boot, each.seq_to)


class _LoopTimer:
    """The event loop's time for the workers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    @property
    def now_s(self) -> float:
        return self._loop.time()

    def after(self, seconds: float, action: Callable[[], None]) -> object:
        return self._loop.call_later(seconds, action)


class _Patience:
    """Nothing may wait in an event loop: an agent whose disk is full is started again later."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float) -> bool:
        del timeout
        self._run.must_restart()
        return True


class _Board:
    """What the board tells of itself."""

    def __init__(self, kind: Kind, disk: SharedDisk) -> None:
        self._kind, self._disk = kind, disk

    def health(self) -> Health:
        return Health(
            cpu_share=0.1,
            memory_free_bytes=self._kind.memory_bytes // 2,
            memory_total_bytes=self._kind.memory_bytes,
            disk_free_bytes=self._disk.free_bytes(),
        )

    def summary(self) -> SystemHealth:
        return SystemHealth(
            memory_free_bytes=self._kind.memory_bytes // 2,
            memory_total_bytes=self._kind.memory_bytes,
            disk_free_bytes=self._disk.free_bytes(),
        )
