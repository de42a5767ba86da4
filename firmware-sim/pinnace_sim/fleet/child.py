"""One process of a fleet: one event loop, and some thousands of devices on it."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from random import Random
from typing import Final, assert_never

from pinnace_agent.errors import AgentError
from pinnace_contract.ids import DeviceId
from pinnace_sim import chance as chances
from pinnace_sim.fleet.device import FleetDevice, Setting
from pinnace_sim.fleet.disk import Pool
from pinnace_sim.fleet.enrolment import THREADS, enrolled
from pinnace_sim.fleet.orders import (
    Accounts,
    Assigned,
    ComeAndGo,
    Connect,
    Failed,
    Finish,
    GiveUp,
    News,
    Order,
    Share,
    Word,
)
from pinnace_sim.fleet.profiles import Kind
from pinnace_sim.fleet.tally import Tally
from pinnace_sim.links import Course

NEWS_EVERY_S: Final = 0.5
JOIN_BEFORE: Final = 0.5  # of the time: who joins later could not commit before the end


def main(share: Share, pipe: Connection) -> None:
    """Run a share of the fleet until the parent says that it is over, or goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who then tells us
    logging.getLogger("pinnace_agent").setLevel(logging.CRITICAL)  # ten thousand logs are nobody's
    try:
        asyncio.run(_Process(share, pipe).run())
    except (EOFError, BrokenPipeError):
        return  # the parent is gone


class _Process:
    def __init__(self, share: Share, pipe: Connection) -> None:
        self._share, self._pipe = share, pipe
        self._pool, self._tally = Pool(), Tally()
        self._chance: Random = chances.stream(share.seed, f"process {share.number}")
        self._setting = Setting(tally=self._tally, report_every_s=share.report_every_s, model_bytes=share.model_bytes)
        self._devices: list[FleetDevice] = []
        self._joined: list[DeviceId] = []
        self._joining: set[asyncio.Task[None]] = set()
        self._timers: list[asyncio.TimerHandle] = []
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="enrol")
        self._over = asyncio.Event()
        self._dealt, self._began_s = 0, 0.0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self._began_s = loop.time()
        news = loop.create_task(self._tell_news())
        try:
            try:
                await self._enrol_all()
            except AgentError as error:
                self._say(Failed(problem=str(error)))
                return
            gc.collect()
            gc.freeze()  # a full collection over ten thousand agents stops all of them for seconds
            gc.set_threshold(50_000, 20, 1_000)
            loop.add_reader(self._pipe.fileno(), self._ordered)
            await self._over.wait()
        finally:
            news.cancel()
            loop.remove_reader(self._pipe.fileno())
            for device in self._devices:
                device.give_up()
            self._threads.shutdown(wait=False, cancel_futures=True)
            with suppress(asyncio.CancelledError):
                await news
        await asyncio.sleep(0)  # what was said last leaves
        self._say(
            Accounts(
                progress=self._tally.progress,
                samples=self._tally.samples,
                accounts=tuple(device.account() for device in self._devices),
                problems=tuple(self._tally.problems),
                ends=dict(self._tally.ends),
                pool_bytes=self._pool.size_bytes,
            )
        )

    # --- joining -----------------------------------------------------------------------------------------------------

    async def _enrol_all(self) -> None:
        numbered = [
            (f"{self._share.prefix}-{self._share.number}-{n}", kind) for n, kind in enumerate(self._share.kinds)
        ]
        async with asyncio.TaskGroup() as group:
            for name, kind in numbered:
                group.create_task(self._enrol(name, kind))

    async def _enrol(self, name: str, kind: Kind) -> FleetDevice:
        share = self._share
        body = await asyncio.get_running_loop().run_in_executor(
            self._threads, enrolled, share.door, name, kind, self._pool, share.seed
        )
        device = FleetDevice(body, self._setting, self._next_course())
        self._devices.append(device)
        self._tally.progress.enrolled += 1
        return device

    def _next_course(self) -> Course | None:
        """Deal the courses of links in turn; all begin when the process did."""
        courses = self._share.courses
        if not courses:
            return None
        self._dealt += 1
        return courses[(self._dealt - 1) % len(courses)].beginning_at(self._began_s)

    async def _join(self, name: str, kind: Kind) -> None:
        try:
            device = await self._enrol(name, kind)
        except AgentError as error:
            self._tally.failed(f"{name} cannot join: {error}")
            return
        device.power_on()
        self._tally.progress.joined += 1
        self._joined.append(device.id)

    def _begin_join(self, number: int, kind: Kind) -> None:
        task = asyncio.get_running_loop().create_task(
            self._join(f"{self._share.prefix}-{self._share.number}-late-{number}", kind)
        )
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)

    # --- what the parent says ----------------------------------------------------------------------------------------

    def _ordered(self) -> None:
        try:
            while self._pipe.poll():
                self._obey(self._pipe.recv())
        except (EOFError, OSError):  # the parent is gone, and with it the reason to be here
            self._over.set()

    def _obey(self, order: Order) -> None:
        loop = asyncio.get_running_loop()
        match order:
            case Connect():
                for device in self._devices:
                    loop.call_later(self._chance.uniform(0.0, order.within_s), device.power_on)
            case Assigned():
                named = frozenset(order.devices)
                for device in self._devices:
                    if device.assigned_s is None and (not named or device.id in named):
                        device.assigned_s = order.at_s
            case ComeAndGo():
                self._come_and_go(order.within_s)
            case Finish():
                self._finish()
            case GiveUp():
                self._over.set()
            case _:
                assert_never(order)

    def _come_and_go(self, within_s: float) -> None:
        loop = asyncio.get_running_loop()
        for number, kind in enumerate(self._share.joining):
            at_s = self._chance.uniform(0.0, within_s * JOIN_BEFORE)
            self._timers.append(loop.call_later(at_s, self._begin_join, number, kind))
        for device in self._chance.sample(self._devices, min(self._share.leaves, len(self._devices))):
            self._timers.append(loop.call_later(self._chance.uniform(0.0, within_s), device.leave))

    def _finish(self) -> None:
        for timer in self._timers:
            timer.cancel()
        for device in self._devices:
            device.finish(self._one_finished)

    def _one_finished(self) -> None:
        if all(device.finished for device in self._devices) and not self._joining:
            self._over.set()

    # --- what is told ------------------------------------------------------------------------------------------------

    async def _tell_news(self) -> None:
        while True:
            await asyncio.sleep(NEWS_EVERY_S)
            joined, self._joined = tuple(self._joined), []
            if self._share.courses:
                self._tally.progress.dark = sum(device.is_dark for device in self._devices)
            self._say(News(progress=self._tally.progress, joined=joined))

    def _say(self, word: Word) -> None:
        with suppress(BrokenPipeError):
            self._pipe.send(word)
