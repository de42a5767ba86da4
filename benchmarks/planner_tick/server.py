"""A server without its sockets: the real store on a disk, the real signer, every service; a broker that only counts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinnace_contract import ids
from pinnace_contract.ids import VersionName
from pinnace_contract.latest import Endpoint
from pinnace_contract.topics import Topic
from pinnace_server import bootstrap
from pinnace_server.blobs.directory import DirectoryBlobs
from pinnace_server.clock import SystemChance
from pinnace_server.db.store import SqlStore
from pinnace_server.device_keys import P256Keys
from pinnace_server.service.catalogue import Catalogue
from pinnace_server.service.changes import ChangeHub
from pinnace_server.service.controller import Controller
from pinnace_server.service.ports import World
from pinnace_server.service.rollouts import Rollouts
from pinnace_server.signing.local import LocalSigning
from planner_tick.fleet import MODEL, NOW_S, POLICIES, Told
from tests.server.world import Clock, draft_of

ENDPOINT = "mqtts://broker.example:8883"


class Counting:
    """A broker that takes everything at once."""

    def __init__(self) -> None:
        self.sent = 0

    def publish(self, topic: Topic, payload: bytes, *, retained: bool = False, qos: int = 1) -> None:
        """Count a message."""
        del topic, payload, retained, qos
        self.sent += 1


class Timed(Controller):
    """The controller, which notes how long it executes what it planned."""

    executed_s = 0.0

    def _move(self, due: Any) -> None:
        began_s = time.perf_counter()
        super()._move(due)
        self.executed_s += time.perf_counter() - began_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The parts that a tick needs."""

    world: World
    clock: Clock
    controller: Timed
    broker: Counting

    def told(self, kind: str) -> Told:
        """Return what every set carries in a rollout of a kind."""
        with self.world.store.read() as tables:
            first, second = (tables.versions.get(MODEL, VersionName(name)) for name in "12")
        assert first is not None, "the fleet has version 1"
        assert second is not None, "the fleet has version 2"
        return Told(
            first=first,
            second=second,
            endpoints=(Endpoint(url=ENDPOINT),),
            key=self.world.signing.message_key(),
            policy=POLICIES[kind],
        )

    def add_versions(self, folder: Path) -> None:
        """Register the two versions."""
        catalogue = Catalogue(self.world)
        catalogue.add_model(MODEL, "", "benchmark")
        for name in "12":
            draft = draft_of(name)
            files = {}
            for digest, content in draft.contents.items():
                files[digest] = folder / ids.digest_of(content)
                files[digest].write_bytes(content)
            catalogue.register(model=MODEL, version=VersionName(name), draft=draft, files=files, actor="benchmark")


@contextmanager
def opened(data: Path, *, durable: bool = True) -> Iterator[Server]:
    """Open the server of a data directory."""
    bootstrap.collect_seldom()
    clock, broker = Clock(at_s=NOW_S), Counting()
    store = SqlStore(data / "pinnace.db", durable=durable)
    signing = LocalSigning.open(data, clock.now)
    world = World(
        store=store,
        blobs=DirectoryBlobs(data / "blobs"),
        signing=signing,
        publisher=broker,
        device_keys=P256Keys(),
        chance=SystemChance(),
        clock=clock,
        changes=ChangeHub(),
        endpoints=(ENDPOINT,),
    )
    yield Server(world=world, clock=clock, controller=Timed(world, Rollouts(world)), broker=broker)
    signing.close()
    store.close()
