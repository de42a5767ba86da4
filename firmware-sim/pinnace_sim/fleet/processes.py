"""The processes of a fleet, seen from their parent: started, told, listened to, ended."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final

from pinnace_contract.ids import DeviceId
from pinnace_sim.errors import SimError
from pinnace_sim.fleet import child
from pinnace_sim.fleet.orders import Accounts, Failed, GiveUp, News, Order, Share
from pinnace_sim.fleet.tally import Progress

END_TIMEOUT_S: Final = 30.0


class FleetFailed(SimError):
    """The fleet cannot go on: a process died, or the server takes no devices."""


class Crew:
    """All processes together."""

    def __init__(self, shares: Sequence[Share]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        self._progress: dict[Connection, Progress] = {}
        self._joined: list[DeviceId] = []
        self.accounts: list[Accounts] = []
        for share in shares:
            ours, theirs = context.Pipe()
            process = context.Process(target=child.main, args=(share, theirs), name=f"fleet-{share.number}")
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids."""
        return tuple(process.pid for process in self._processes if process.pid is not None)

    @property
    def progress(self) -> Progress:
        """The newest counts, added up."""
        total = Progress()
        for each in self._progress.values():
            total = total.plus(each)
        return total

    @property
    def is_over(self) -> bool:
        """Whether every process has told its end."""
        return len(self.accounts) == len(self._processes)

    def joined(self) -> list[DeviceId]:
        """Return devices that joined since the last time."""
        joined, self._joined = self._joined, []
        return joined

    def tell(self, order: Order) -> None:
        """Tell every process."""
        for pipe in self._pipes:
            with suppress(OSError):
                pipe.send(order)

    def listen(self, seconds: float) -> None:
        """Take what the processes tell for so long.

        Raises:
            FleetFailed: one of them cannot go on.
        """
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0 and not self.is_over:
            for pipe in wait(self._pipes, left_s):
                assert isinstance(pipe, Connection)
                self._hear(pipe)

    def _hear(self, pipe: Connection) -> None:
        try:
            word = pipe.recv()
        except (EOFError, OSError) as error:
            self._pipes.remove(pipe)
            if not self.is_over and len(self.accounts) + len(self._pipes) < len(self._processes):
                raise FleetFailed("a process of the fleet ended before the fleet did") from error
            return
        if isinstance(word, Failed):
            raise FleetFailed(word.problem)
        self._progress[pipe] = word.progress
        if isinstance(word, News):
            self._joined += word.joined
        else:
            self.accounts.append(word)

    def end(self) -> None:
        """End what is still there."""
        self.tell(GiveUp())
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(END_TIMEOUT_S)
            if process.is_alive():
                process.kill()
                process.join()


@contextmanager
def crew(shares: Sequence[Share]) -> Iterator[Crew]:
    """Run the processes until the block ends."""
    made = Crew(shares)
    try:
        yield made
    finally:
        made.end()
