"""One simulated device on real wires: what lasts from one run of its agent to the next, and what it must come to.

Owns power: when the agent runs, sleeps, leaves and finishes, and what the server must have of it at the end. The agent
itself is an ``AgentRun``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from pinnace_agent.core.device import DeviceState
from pinnace_agent.identity import Identity
from pinnace_agent.store import Store
from pinnace_agent.uplink import Signer
from pinnace_contract.ids import BootId, DeviceId, ReleaseId
from pinnace_contract.latest import Outcome
from pinnace_sim.fleet.agent_run import AgentRun
from pinnace_sim.fleet.disk import SharedDisk
from pinnace_sim.fleet.pace import Pace
from pinnace_sim.fleet.profiles import Kind
from pinnace_sim.fleet.tally import Account, Tally
from pinnace_sim.links import Course
from pinnace_sim.plan import Nature

START_AGAIN_S: Final = 5.0
SETTLE_S: Final = 0.5  # how often a device that is to finish looks whether everything was acknowledged


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
        self.run: AgentRun | None = None
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
            self.run = AgentRun(self)
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
