"""One run of a simulated device's agent: the real agent, from its loop to its store, in virtual time.

Owns when the loop turns, and what it means for the device that a piece of the agent did not survive. What the agent
decides is the agent's; what its disk, link and workers do is theirs.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from pinnace_agent import identity as identities
from pinnace_agent import trust
from pinnace_agent.assembly import Ground, assemble
from pinnace_agent.core.surroundings import Host, HostRuntime
from pinnace_agent.daemon import Daemon
from pinnace_agent.parts import QUEUE_MAX, Happened
from pinnace_agent.store_blobs import BLOBS
from pinnace_agent.worker.events import Collected
from pinnace_agent.worker.hosting import Start
from pinnace_contract.ids import BootId, ReleaseId, digest_of
from pinnace_contract.latest import Arm, Phase
from pinnace_sim import chance as chances
from pinnace_sim.agent_link import AgentLink
from pinnace_sim.board import Board
from pinnace_sim.inbox import Inbox
from pinnace_sim.patience import Patience
from pinnace_sim.power import PowerCut, Stuck
from pinnace_sim.runtime import RUNTIME, Workers
from pinnace_sim.schedule import Due
from pinnace_sim.steps import FIRST_STEP_S, Steps
from pinnace_sim.watch import Told
from pinnace_sim.watched_store import WatchedStore

if TYPE_CHECKING:
    from pinnace_sim.device import SimDevice

WAKE_S: Final = 0.1  # from news to the loop that takes it: what comes within it is taken in one turn
LAST_STEP_S: Final = 20.0  # when nothing has happened for long; what is due is at most this late
HASH_S: Final = 0.05
STUCK_S: Final = 86_400.0  # one turn of the loop: faults end sooner, and the clock stands meanwhile


class AgentRun:
    """One run of a device's agent, from its boot to the loss of its power."""

    def __init__(self, device: SimDevice) -> None:
        self.device = device
        self.schedule = device.schedule
        self.born_s = device.schedule.now_s
        # How much longer than the world's a turn has taken so far: the disk does not take a write, and the agent waits.
        self.ahead_s = 0.0
        self.busy_until_s = 0.0
        self.off_s = 0.0
        self.is_on = True
        self._steps = Steps(LAST_STEP_S)
        self._moves: list[tuple[Phase, int]] = []
        self._due: Due | None = None
        self.happened = Inbox(QUEUE_MAX)
        device.disk.before_each = self._before_operation
        store = WatchedStore(device)
        loaded = store.open()
        if loaded is None:
            raise identities.NotEnrolled("the state is gone")
        store.last = loaded.state
        trusted = trust.from_files(store.metadata(trust.UNIT))
        if trusted is None:
            raise identities.NotEnrolled("the trusted metadata is gone")
        self.link = AgentLink(device, self.hear)
        self.workers = Workers(
            timer=self.schedule,
            emit=self.hear,
            chance=device.chance,
            nature_of=device.nature_of,
            amount_of=device.amount_of,
            problem=self._problem,
            started=self._started,
            inferences_an_hour=device.plan.inferences_an_hour,
            temper=device.plan.temper,
            tells=device.plan.tells,
            metric=device.plan.metric,
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
                board=Board(
                    memory_free_bytes=lambda: device.plan.memory_bytes,
                    memory_total_bytes=lambda: device.plan.memory_total_bytes,
                    disk_free_bytes=device.disk.free_bytes,
                ),
                happened=self.happened,
                endpoints=lambda _state: ("mqtt://broker",),
                chance=device.chance,
                stop=Patience(self._waits),
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
        if isinstance(happened, Collected) and happened.block.arm is not Arm.SHADOW:
            self.device.answered[happened.block.release] += happened.block.n
        if isinstance(happened, Told):
            self.device.watch.hears(self.device, happened)
        if not isinstance(happened, Collected):  # asked for at every turn of a trial: no news by itself
            self._steps.begin_again()
        self._turn_at(self.schedule.now_s + WAKE_S)

    def clock(self) -> float:
        """Return seconds since this run began."""
        return self.schedule.now_s + self.ahead_s - self.born_s

    def wall(self) -> float:
        """Return what the board believes to be Unix time."""
        return max(0.0, self.schedule.origin_s + self.schedule.now_s + self.ahead_s + self.device.skew_s)

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
            self._steps.begin_again()
        self._plan_turn()

    def _plan_turn(self) -> None:
        if not self.is_on:
            return
        rests_until_s = self.daemon.rests_until()
        if rests_until_s is not None:
            self._turn_at(max(self.born_s + rests_until_s, self.schedule.now_s + FIRST_STEP_S))
            return
        self._turn_at(self.schedule.now_s + self._steps.take())

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
        device = self.device
        device.trouble.meet(
            operation,
            path,
            disk=device.disk,
            capacity_bytes=device.plan.disk_bytes,
            now_s=self.schedule.now_s + self.ahead_s,
        )

    def _waits(self, seconds: float) -> bool:
        """Let the device's time pass while the agent stands; nobody stops it meanwhile."""
        self.ahead_s += seconds
        if self.ahead_s > STUCK_S:
            raise Stuck("its disk has not taken its state for a day")
        return False
