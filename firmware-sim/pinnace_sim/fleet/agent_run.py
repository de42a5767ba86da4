"""One run of a simulated device's agent on real wires: the real agent in an event loop that it shares with others.

Owns pace: when the agent's loop turns, and what is counted of this run. What the agent decides is the agent's.
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from pinnace_agent import trust
from pinnace_agent.adapters.mqtt_paho import Connected, Disconnected
from pinnace_agent.assembly import Ground, assemble
from pinnace_agent.core.device import DeviceState
from pinnace_agent.core.surroundings import Host, HostRuntime
from pinnace_agent.daemon import Daemon
from pinnace_agent.parts import QUEUE_MAX, Happened
from pinnace_agent.store import RELEASES
from pinnace_agent.store_blobs import BLOBS
from pinnace_agent.worker.hosting import Start
from pinnace_contract.ids import BootId
from pinnace_contract.latest import Runtime
from pinnace_sim.board import Board
from pinnace_sim.chance import stream_hex
from pinnace_sim.fleet.counting_store import CountingStore
from pinnace_sim.fleet.link import AsyncLink
from pinnace_sim.fleet.loop_timer import LoopTimer
from pinnace_sim.inbox import Inbox
from pinnace_sim.patience import Patience
from pinnace_sim.runtime import RUNTIME, Workers
from pinnace_sim.steps import FIRST_STEP_S, Steps

if TYPE_CHECKING:
    from pinnace_sim.fleet.device import FleetDevice

LAST_STEP_S: Final = 4.0  # between two turns of a busy loop that hears nothing: its own deadlines are longer
REASON_CHARS_MAX: Final = 80
WORKER_MEMORY_BYTES: Final = 256 << 20


class AgentRun:
    """One run of a device's agent, from its start to its end."""

    def __init__(self, device: FleetDevice) -> None:
        self._device = device
        self._body, self._tally = device.body, device.setting.tally
        self._loop = asyncio.get_running_loop()
        self._is_on = True
        self._steps = Steps(LAST_STEP_S)
        self._due: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._spooled_s: dict[int, float] = {}
        self._begun_s: float | None = self._loop.time()
        self._is_connected = False
        self._happened = Inbox(QUEUE_MAX)
        self.boot = BootId(stream_hex(self._body.chance, 16))
        self.store = CountingStore(self._body.disk, self)
        loaded = self.store.open()
        assert loaded is not None, "an enrolled device has a state"
        trusted = trust.from_files(self.store.metadata(trust.UNIT))
        assert trusted is not None, "an enrolled device has trusted roots"
        kind = self._body.kind
        self.link = AsyncLink(device.id, self.hear, device.pace)
        self.workers = Workers(
            timer=LoopTimer(self._loop),
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
                board=Board(
                    memory_free_bytes=lambda: kind.memory_bytes // 2,
                    memory_total_bytes=lambda: kind.memory_bytes,
                    disk_free_bytes=self._body.disk.free_bytes,
                ),
                happened=self._happened,
                endpoints=self._endpoints,
                chance=self._body.chance,
                stop=Patience(self._waits),
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
        self._steps.begin_again()
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
            self._steps.begin_again()
        self._plan_turn()

    def _one_turn(self) -> None:
        self.daemon.turn(0.0)

    def _plan_turn(self) -> None:
        rests_until_s = self.daemon.rests_until()
        if rests_until_s is not None:
            self._turn_at(max(rests_until_s, self._loop.time() + FIRST_STEP_S))
            return
        self._turn_at(self._loop.time() + self._steps.take())

    def _turn_at(self, at_s: float) -> None:
        if self._due is not None:
            if self._due_s <= at_s:
                return
            self._due.cancel()
        self._due_s = at_s
        self._due = self._loop.call_at(at_s, self._turn)

    # --- what the store tells ----------------------------------------------------------------------------------------

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

    # --- what lies under the agent -----------------------------------------------------------------------------------

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

    def _waits(self, seconds: float) -> bool:
        """Nothing may wait in an event loop: an agent whose disk takes nothing is started again later."""
        del seconds
        self._loop.call_soon(self._device.failed, RuntimeError("the disk takes nothing any more"))
        return True
