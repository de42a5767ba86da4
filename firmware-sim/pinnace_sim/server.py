"""The simulated server: the real services, signer and delivery over a database, blobs and a broker of this world.

Owns the server's life: when it ticks, when it is killed and started again. A kill comes before or after a commit of the
database, wherever that happens to be; what is in the database, the signer's store and the blobs survives it.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from pinnace_contract.ids import DeviceId, Digest, digest_of
from pinnace_contract.topics import Topic
from pinnace_server.domain.queries import EventQuery, Page
from pinnace_server.domain.records import Event, EventKind
from pinnace_server.errors import NotFound
from pinnace_server.service.catalogue import Catalogue
from pinnace_server.service.changes import ChangeHub
from pinnace_server.service.controller import Controller
from pinnace_server.service.delivery import PacedDelivery
from pinnace_server.service.enrolment import Enrolment
from pinnace_server.service.fleet import Fleet
from pinnace_server.service.ingest import Ingest
from pinnace_server.service.offers import Offers
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.restoring import Restoring
from pinnace_server.service.retained import retained
from pinnace_server.service.rollouts import Rollouts
from pinnace_server.service.steering import Steering
from pinnace_server.service.wishes import Rates
from pinnace_server.service.withdrawing import Withdrawing
from pinnace_server.signing import store as signing_store
from pinnace_server.signing.local import LocalSigning
from pinnace_sim import chance as chances
from pinnace_sim.contention import Interleaved, Others
from pinnace_sim.journal import Journal
from pinnace_sim.network import SERVER, Connection, Message, Network
from pinnace_sim.schedule import Due, Schedule

TICK_S: Final = 1.0  # after something changed, as in the program
REST_S: Final = 900.0  # when nothing does: what the clock alone makes due is at most this late
BYTES_S: Final = 100_000_000.0
RECONNECT_S: Final = 1.0
FOLLOWS_S: Final = 1.0  # within which what goes down with the server is down as well
QUEUED_MAX: Final = 10_000
EVENTS_AT_ONCE: Final = 200


class Killed(BaseException):
    """The server's process is no more."""


class Disk(Protocol):
    """A store of the services that tells of its commits."""

    before_commit: Callable[[int], None] | None
    after_commit: Callable[[int], None] | None

    def read(self) -> AbstractContextManager[Tables]: ...
    def write(self) -> AbstractContextManager[Tables]: ...
    def together(self) -> AbstractContextManager[None]: ...
    def close(self) -> None: ...
    def keep(self) -> Callable[[], None]: ...


class SimServer:
    """One server of a world."""

    def __init__(
        self,
        seed: int,
        store: Disk,
        *,
        schedule: Schedule,
        network: Network,
        journal: Journal,
        counts: Counter[str],
        controllers: int = 1,
        contended: bool = False,
    ) -> None:
        """``contended``: others have a turn before its controller writes; with 2 ``controllers`` one of them plans."""
        self.schedule, self.network, self.journal, self.counts = schedule, network, journal, counts
        self.store = store
        self.blobs = MemoryBlobs()
        self._chance = chances.stream(seed, "server")
        self._keys = chances.server_keys(seed)
        self._signed = signing_store.Store.in_memory()
        self._signing = LocalSigning.over(self._signed, self._keys, self.now)
        self._backup: tuple[Callable[[], None], bytes] | None = None
        self._controllers = controllers
        self.others = Others(chances.stream(seed, "others")) if contended or controllers > 1 else None
        self.rates: Rates | None = None
        self.is_on = False
        self.started_s = 0.0
        self._connections = 0
        self._steps_left: int | None = None
        self._told_event = 0
        self._back_after_s = 0.0
        self._then: Callable[[], None] = lambda: None
        self.heard: Callable[[Message], None] = lambda _message: None
        self.published: Callable[[Topic, bytes], None] = lambda _topic, _payload: None
        self.said: Callable[[Event], None] = lambda _event: None
        self.ticked: Callable[[], None] = lambda: None

    def now(self) -> float:
        """Return Unix seconds."""
        return self.schedule.origin_s + self.schedule.now_s

    # --- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin on what is on the disk."""
        if self.is_on:
            return
        self.is_on, self.started_s = True, self.schedule.now_s
        self.journal.write("server_started")
        self._outlet = Outlet(self)
        changes = ChangeHub()
        changes.subscribe(self._changed)
        self.world = World(
            store=self.store,
            blobs=self.blobs,
            signing=self._signing,
            publisher=self._outlet,
            device_keys=chances.KnownKeys(),
            chance=chances.SeededChance(self._chance),
            clock=self,
            changes=changes,
            endpoints=("mqtt://broker",),
        )
        self.delivery = PacedDelivery(
            self.blobs,
            Offers(self.store),
            self._outlet,
            rates=self.rates,
            monotonic_s=lambda: self.schedule.now_s,
        )
        self.ingest = Ingest(self.world, _Courier(self))
        self.catalogue, self.rollouts = Catalogue(self.world), Rollouts(self.world)
        self.steering = Steering(self.world)
        self.withdrawing = Withdrawing(self.world, self.rollouts)
        self.enrolment, self.fleet = Enrolment(self.world), Fleet(self.world)
        self.controller = Controller(self._contended(self.world), self.rollouts)
        self._tick_due: Due | None = None
        self._delivery_due: Due | None = None
        self._second_due: Due | None = None
        if self.others is not None and self._controllers > 1:
            self.others.beside(self.world, self._changed)
            self._second_due = self.schedule.after(self.others.rest_s(), self._tick_second)
        self.store.before_commit = partial(self._step, "before")
        self.store.after_commit = partial(self._step, "after")
        self._outlet.connect()
        self._tick_at(self.schedule.now_s)

    def kill(self, off_s: float, when: str = "") -> None:
        """Be no more, and start again later; ``when`` says at which commit."""
        if not self.is_on:
            return
        self.is_on = False
        self._steps_left = None
        self.store.before_commit = self.store.after_commit = None
        self.journal.write("server_killed", when=when)
        self.schedule.after(self._chance.uniform(0.0, FOLLOWS_S), self._then)
        self._then = lambda: None
        self._outlet.vanish()
        for due in (self._tick_due, self._delivery_due, self._second_due):
            if due is not None:
                due.cancel()
        self.schedule.after(off_s, self.start)

    def kill_soon(
        self, off_s: float, steps: int, *, patient: bool = False, then: Callable[[], None] = lambda: None
    ) -> None:
        """Be killed at one of the next commits: 0 before the first, 1 after it, 2 before the second, and so on.

        Soon if there is none, unless ``patient``. ``then`` is what goes down with it.
        """
        if not self.is_on:
            return
        self._steps_left, self._back_after_s, self._then = steps, off_s, then
        if patient:
            return
        outlet = self._outlet
        self.schedule.after(10.0, lambda: self.kill(off_s) if self.is_on and self._outlet is outlet else None)

    def back_up(self) -> bool:
        """Keep a copy of database and signer; blobs are never deleted, and the broker is another machine."""
        if not self.is_on:
            return False
        self._backup = self.store.keep(), self._signed.backup()
        return True

    def put_back(self, off_s: float) -> bool:
        """Be lost, and start later from the last copy, in a new era; False where there is none."""
        if self._backup is None:
            return False
        put_back, signed = self._backup
        self.kill(off_s, "lost with its disk")
        put_back()
        self._signed = signing_store.Store.in_memory(signed)
        self._signing = LocalSigning.over(self._signed, self._keys, self.now)
        with self.store.read() as tables:
            self._told_event = tables.events.last_number()
        Restoring(self.store, self._signing, self).restore(reason="the disk died", actor="operator")
        return True

    def be_calm(self) -> None:
        """Let nothing go wrong any more, and be there."""
        self._steps_left = None
        self.start()

    def guarded(self, action: Callable[[], object]) -> bool:
        """Run a piece of the server; False where it was killed in it."""
        if not self.is_on:
            return False
        try:
            action()
        except Killed as killed:
            self.kill(self._back_after_s, str(killed))
            return False
        return True

    def _step(self, side: str, commit: int) -> None:
        """Stand before or after a commit."""
        if self._steps_left is not None:
            self._steps_left -= 1
            if self._steps_left < 0:
                raise Killed(f"{side} commit {commit}")

    def _contended(self, world: World) -> World:
        """Return a server's parts as its controller has them."""
        if self.others is None:
            return world
        return replace(world, store=Interleaved(self.store, self.others.turn))

    # --- work --------------------------------------------------------------------------------------------------------

    def receive(self, message: Message) -> bool:
        """Take a message of a device; False: killed in it, so it comes again."""
        return self.guarded(lambda: self._take(message))

    def _take(self, message: Message) -> None:
        self.ingest.receive(message.topic, message.payload)
        self.heard(message)

    def retained(self) -> Iterable[tuple[Topic, bytes]]:
        """Return everything that should stand on the broker."""
        return retained(self._signing, self.store)

    def planned(self, device: DeviceId) -> int | None:
        """Return the generation of the set in the database; None inside of a transaction, where nothing is sure yet."""
        try:
            with self.store.read() as tables:
                found = tables.assignments.desired(device)
        except AssertionError:
            return None
        return found.generation if found else -1

    def _changed(self, topic: str) -> None:
        if topic in ("rollouts", "devices"):
            self._tick_at(self.schedule.now_s + TICK_S)
        elif topic == "events":
            self._tell_events()

    def _tell_events(self) -> None:
        """Write what the server's log says; phases are left out, for the devices' own lines tell them."""
        with self.store.read() as tables:
            fresh = tables.events.listing(EventQuery(after=self._told_event, page=Page(limit=EVENTS_AT_ONCE))).rows
        for event in fresh:
            self._told_event = event.number
            if event.kind is not EventKind.PHASE_CHANGED:
                who = event.device or ""
                self.journal.write("server_says", who, kind=str(event.kind), text=event.summary)
            self.said(event)

    def _tick(self) -> None:
        self._tick_due = None
        if self.guarded(self.controller.tick):
            self.ticked()
            self._tick_at(self.schedule.now_s + self._rest_s())

    def _tick_second(self) -> None:
        assert self.others is not None
        self._second_due = None
        if self.guarded(self.others.tick):
            self._second_due = self.schedule.after(self.others.rest_s(), self._tick_second)

    def _rest_s(self) -> float:
        """Return when the clock alone makes something due; the program ticks each second."""
        looks_s = self.controller.next_look_s()
        return REST_S if looks_s is None else min(max(looks_s - self.now(), TICK_S), REST_S)

    def _tick_at(self, at_s: float) -> None:
        if self._tick_due is not None:
            if self._tick_due.at_s <= at_s:
                return
            self._tick_due.cancel()
        self._tick_due = self.schedule.at(at_s, self._tick)

    def deliver_soon(self, seconds: float = 0.0) -> None:
        """Let delivery do its next step."""
        if self._delivery_due is not None:
            if self._delivery_due.at_s <= self.schedule.now_s + seconds:
                return
            self._delivery_due.cancel()
        self._delivery_due = self.schedule.after(seconds, self._deliver)

    def _deliver(self) -> None:
        self._delivery_due = None
        waits: list[float | None] = []
        if self.guarded(lambda: waits.append(self.delivery.step())) and waits[0] is not None:
            self.deliver_soon(waits[0])


class _Courier:
    """``ports.Delivery``: hands wishes on and lets delivery wake up."""

    def __init__(self, server: SimServer) -> None:
        self._server = server

    def wanted(self, want: object) -> None:
        self._server.delivery.wanted(want)  # type: ignore[arg-type]  # the port's type, passed through
        self._server.deliver_soon()


class Outlet:
    """The server's end of its connection: what ``mqtt.gateway`` is in the program. Also the network's ``Client``."""

    def __init__(self, server: SimServer) -> None:
        self._server = server
        self._connection: Connection | None = None
        self._waiting: list[tuple[Message, bool]] = []
        self._is_up = self._gone = self._first = False

    # --- the services' side

    def publish(self, topic: Topic, payload: bytes, *, retained: bool = False, qos: int = 1) -> None:
        """Send, or keep for the next connection where QoS is 1."""
        self._server.published(topic, payload)
        message = Message(str(topic), payload, qos)
        if self._is_up and self._connection is not None:
            self._server.network.publish(self._connection, message, retained=retained)
        elif qos == 1 and len(self._waiting) < QUEUED_MAX:
            self._waiting.append((message, retained))

    def waiting_out_bytes(self) -> int:
        """Nothing waits long here."""
        return 0

    def connect(self) -> None:
        """Begin a connection."""
        if self._gone:
            return
        server = self._server
        server._connections += 1
        self._connection = Connection(client=self, name=SERVER, number=server._connections, will=None, bytes_s=BYTES_S)
        server.network.connect(self._connection)

    def vanish(self) -> None:
        """Be no more, without a word."""
        self._gone = True
        if self._connection is not None:
            self._server.network.vanish(self._connection, flushes=True)

    # --- the network's side

    def connected(self, number: int, session: bool) -> None:
        """Say what waited, and everything retained where the broker may have lost it."""
        del number
        self._is_up = True
        waiting, self._waiting = self._waiting, []
        for message, is_retained in waiting:
            if self._connection is not None:
                self._server.network.publish(self._connection, message, retained=is_retained)
        if not session or not self._first:
            self._first = True
            self._server.guarded(self._republish)

    def lost(self, number: int, reason: str) -> None:
        """Try again."""
        del number, reason
        self._is_up = False
        self._server.schedule.after(RECONNECT_S, self.connect)

    def arrived(self, message: Message) -> None:
        """Take a message; one that a kill interrupted is given back to the broker."""
        if not self._server.receive(message):
            self._server.network.give_back(SERVER, message)

    def _republish(self) -> None:
        for topic, payload in self._server.retained():
            self.publish(topic, payload, retained=True)


class MemoryBlobs:
    """``ports.Blobs`` in memory."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}

    def add(self, source: BinaryIO | Path | bytes, *, size_bytes_max: int | None = None) -> Digest:
        """See ``ports.Blobs``."""
        del size_bytes_max
        assert isinstance(source, bytes), "a simulated server is given bytes"
        digest = digest_of(source)
        self._blobs[digest] = source
        return digest

    def has(self, digest: Digest) -> bool:
        """See ``ports.Blobs``."""
        return digest in self._blobs

    def size(self, digest: Digest) -> int:
        """See ``ports.Blobs``."""
        return len(self._found(digest))

    def read(self, digest: Digest, offset: int = 0, size: int | None = None) -> bytes:
        """See ``ports.Blobs``."""
        return self._found(digest)[offset : None if size is None else offset + size]

    def open(self, digest: Digest) -> BinaryIO:
        """See ``ports.Blobs``."""
        return io.BytesIO(self._found(digest))

    def _found(self, digest: Digest) -> bytes:
        if digest not in self._blobs:
            raise NotFound("blob", digest)
        return self._blobs[digest]
