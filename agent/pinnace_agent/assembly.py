"""Puts the loop together over whatever lies under it: real adapters for the program, simulated ones in a simulator.

Everything between disk, connection, workers and clocks is made here, so that what is simulated is what runs.
"""

from __future__ import annotations

import queue
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from pinnace_agent import serving
from pinnace_agent.belief import Belief
from pinnace_agent.commands import Commands
from pinnace_agent.core.device import DeviceState
from pinnace_agent.core.surroundings import Host
from pinnace_agent.daemon import Daemon
from pinnace_agent.fetching import Fetching
from pinnace_agent.inbox import Inbox
from pinnace_agent.outcomes import Answerer, Outcomes
from pinnace_agent.parts import Board, Happened, Parts, Stop
from pinnace_agent.releases import ReleaseLost, Releases
from pinnace_agent.reporting import Reporting
from pinnace_agent.requests import Desk
from pinnace_agent.resend import Resend
from pinnace_agent.serving import Serving
from pinnace_agent.speech import Speech
from pinnace_agent.store import Store
from pinnace_agent.trust import Trusted
from pinnace_agent.uplink import Link, Signer, Uplink
from pinnace_agent.window import Window
from pinnace_agent.worker.events import WorkerRef
from pinnace_agent.worker.hosting import Start
from pinnace_agent.worker.protocol import Truth
from pinnace_contract.ids import Digest, ModelName, ReleaseId


class Workers(serving.Host, Protocol):
    """The supervisor's side of the workers. What happens to them comes back by the queue of the loop."""

    def start(self, order: Start) -> WorkerRef: ...
    def label(self, model: ModelName, truths: tuple[Truth, ...]) -> None: ...
    def who_answered(self, request: str) -> Answerer | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the loop stands on. ``clock`` only grows, in seconds; ``wall`` is the board's idea of Unix seconds.

    Workers, ``link`` and ``beside`` answer by ``happened``. ``state`` and ``trusted`` are what ``store`` held.
    """

    host: Host
    store: Store
    state: DeviceState
    trusted: Trusted
    key: Signer
    link: Link
    workers: Workers
    board: Board
    happened: queue.Queue[Happened]
    endpoints: Callable[[DeviceState], tuple[str, ...]]
    chance: random.Random
    stop: Stop
    beside: Callable[[Callable[[], None]], None]
    clock: Callable[[], float]
    wall: Callable[[], float]
    report_every_s: int
    worker_memory_bytes: int
    log_lines: Iterable[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """The loop, and the desk that local applications come to."""

    daemon: Daemon
    desk: Desk


def assemble(ground: Ground) -> Assembled:
    """Return a loop that has not begun."""
    host, store, state, chance = ground.host, ground.store, ground.state, ground.chance
    belief = Belief(ground.trusted, host.device, state.incarnation)
    uplink = Uplink(link=ground.link, key=ground.key, endpoints=ground.endpoints(state), chance=chance)
    releases = Releases(store, belief, lambda: daemon.state)
    fetching = Fetching(
        files=store,
        check=releases.check,
        ask=lambda blob, chunks, bitmap: daemon.want(blob, chunks, bitmap),
        kept=lambda: daemon.kept(),
        clock=ground.clock,
        chance=chance,
    )
    window = Window(device=host.device, incarnation=state.incarnation, boot=host.boot, opened_s=ground.wall())
    served = Serving(ground.workers, _Starter(ground, releases), ground.clock)
    desk = Desk(
        ground.happened, ground.workers.label, Outcomes(ground.workers.who_answered, served.answering, ground.clock)
    )
    reporting = Reporting(
        window=window,
        spool=store,
        resend=Resend(chance),
        seal=uplink.seal,
        every_s=ground.report_every_s,
        awake_s=ground.clock(),
    )
    daemon = Daemon(
        Parts(
            state=replace(state, device=host.device),
            store=store,
            host=host,
            belief=belief,
            uplink=uplink,
            inbox=Inbox(belief),
            releases=releases,
            serving=served,
            fetching=fetching,
            reporting=reporting,
            desk=desk,
            system=ground.board,
            happened=ground.happened,
            endpoints=ground.endpoints,
            speech=Speech(uplink, host, Resend(chance), ground.report_every_s),
            commands=Commands(host=host, uplink=uplink, log_lines=ground.log_lines),
            stop=ground.stop,
            beside=ground.beside,
            clock=ground.clock,
            wall=ground.wall,
        )
    )
    return Assembled(daemon=daemon, desk=desk)


@dataclass(frozen=True, slots=True)
class _Starter:
    """Starts a worker with the files of a release; its socket is made first."""

    ground: Ground
    releases: Releases

    def __call__(self, model: ModelName, release: ReleaseId, variant: Digest) -> WorkerRef:
        """Start it.

        Raises:
            AgentError: a file is not there, or the socket cannot be made.
        """
        facts = self.releases.stored(release)
        found = facts.variant(variant)
        if found is None:
            raise ReleaseLost(f"release {release[:12]} has no variant {variant[:12]}")
        workers, store = self.ground.workers, self.ground.store
        workers.open(model)
        return workers.start(
            Start(
                model=model,
                release=release,
                release_path=store.release_path(release),
                variant=variant,
                blobs={blob.digest: store.blob_path(blob.digest) for blob in facts.blobs(found)},
                memory_bytes=self.ground.worker_memory_bytes,
            )
        )
