"""Puts the server together, starts it, and takes it down again in the right order."""

from __future__ import annotations

import errno
import fcntl
import gc
import logging
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI

from pinnace_contract.ids import digest_of
from pinnace_server import admin_token, console
from pinnace_server.blobs.directory import DirectoryBlobs
from pinnace_server.blobs.quarantine import Quarantine
from pinnace_server.clock import SystemChance, SystemClock
from pinnace_server.conversion.process import ChildConversion
from pinnace_server.db.store import SqlStore
from pinnace_server.device_keys import P256Keys
from pinnace_server.domain.queries import DeviceQuery, Page
from pinnace_server.errors import Code, StartRefused
from pinnace_server.http import app as api
from pinnace_server.mqtt import broker as brokers
from pinnace_server.mqtt.gateway import Gateway
from pinnace_server.service.aliases import Aliases
from pinnace_server.service.archive import Archive
from pinnace_server.service.audit import Audit
from pinnace_server.service.catalogue import Catalogue
from pinnace_server.service.changes import ChangeHub
from pinnace_server.service.controller import Controller
from pinnace_server.service.conversions import Conversions
from pinnace_server.service.delivery import PacedDelivery
from pinnace_server.service.door import TokenDoor
from pinnace_server.service.enrolment import Enrolment
from pinnace_server.service.export import Export
from pinnace_server.service.fleet import Fleet
from pinnace_server.service.ingest import Ingest
from pinnace_server.service.log import Log
from pinnace_server.service.loop import ControllerLoop
from pinnace_server.service.offers import Offers
from pinnace_server.service.ports import World
from pinnace_server.service.replacing import Replacing
from pinnace_server.service.restoring import Restored, Restoring
from pinnace_server.service.retained import retained
from pinnace_server.service.rollouts import Rollouts
from pinnace_server.service.services import Services, SystemStatus
from pinnace_server.service.steering import Steering
from pinnace_server.service.telemetry import Telemetry
from pinnace_server.service.whys import Whys
from pinnace_server.service.withdrawing import Withdrawing
from pinnace_server.settings import EmbeddedBroker, Settings
from pinnace_server.signing.local import LocalSigning

OPEN_REQUESTS_S: Final = 3  # how long an orderly end waits for answers that are under way
DATABASE: Final = "pinnace.db"
LISTEN_BACKLOG: Final = 128
COLLECTED_AFTER: Final = 50_000  # new objects; Python's 700 are looked through hundreds of times in one tick

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A server that runs, for whoever tells the operator about it."""

    url: str
    data_directory: Path
    broker: str
    broker_url: str
    fresh_token: str | None
    empty: bool


def serve(settings: Settings, started: Callable[[Started], None]) -> None:
    """Run until SIGTERM or Ctrl-C. ``started`` is called once, when it can be reached.

    Raises:
        StartRefused: what is wrong and what to change.
    """
    settings.check()
    collect_seldom()
    # uvicorn stops at these signals and raises them again when it has; by then there is only the taking down left.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with ExitStack() as stack:
        listening = stack.enter_context(_listening(settings.host, settings.port))
        data = stack.enter_context(_data_directory(settings.data_directory))
        token = admin_token.load_or_make(data)
        services, app = compose(settings, data, TokenDoor(token.token_hash), stack)
        host, port = listening.getsockname()[:2]
        status = services.status()
        news = Started(
            url=f"http://{f'[{host}]' if ':' in host else host}:{port}",
            data_directory=data,
            broker=status.broker,
            broker_url=status.broker_url,
            fresh_token=token.fresh,
            empty=_is_empty(services),
        )
        services.log.started(services.version, status.broker)
        web = _Web(app, lambda: started(news), app.state.close_streams)
        web.run(sockets=[listening])
    _log.info("stopped")


def collect_seldom() -> None:
    """Look for garbage in cycles less often: a tick over a large fleet builds a million values that are in none, and a
    fifth of its time would go into looking."""
    gc.set_threshold(COLLECTED_AFTER)


def restore(directory: Path, *, era: int | None, reason: str, actor: str) -> Restored:
    """Begin a new era in a data directory whose database was put back from a backup, and in which no server works.

    Raises:
        StartRefused: there is nothing to restore, or a server works there. Refused: the era is not a later one.
    """
    if not (directory / DATABASE).exists():
        raise StartRefused(
            f"expected a database that was put back from a backup at {directory / DATABASE}, found none",
            hint="name its folder with --data-dir",
        )
    with ExitStack() as stack:
        data = stack.enter_context(_data_directory(directory))
        clock = SystemClock()
        store = SqlStore(data / DATABASE)
        stack.callback(store.close)
        signing = LocalSigning.open(data, clock.now)
        stack.callback(signing.close)
        return Restoring(store, signing, clock).restore(era=era, reason=reason, actor=actor)


def compose(settings: Settings, data: Path, door: TokenDoor, stack: ExitStack) -> tuple[Services, FastAPI]:
    """Make every part, start what runs by itself, and leave on ``stack`` how to end it."""
    clock = SystemClock()
    store = SqlStore(data / DATABASE)
    stack.callback(store.close)
    blobs = DirectoryBlobs(data / "blobs")
    quarantine = Quarantine(
        data / "quarantine",
        file_bytes_max=settings.upload_bytes_max,
        total_bytes_max=settings.quarantine_bytes_max,
    )
    signing = LocalSigning.open(data, clock.now)
    stack.callback(signing.close)
    _check_not_behind(Restoring(store, signing, clock), data)
    kind = settings.embedded_broker
    broker = brokers.find(
        data / "broker",
        url=settings.broker_url,
        kind=None if kind is EmbeddedBroker.AUTO else brokers.BrokerKind(kind.value),
    )
    broker.start()
    stack.callback(broker.stop)

    def receive(messages: Sequence[tuple[str, bytes]]) -> None:
        ingest.receive_all(messages)

    gateway = Gateway(
        broker.address,
        receive,
        lambda: retained(signing, store),
        now_s=clock.now,
        client_id=f"pinnace-server-{digest_of(signing.director_roots()[0])[:12]}",
    )
    if isinstance(broker, brokers.EmbeddedBroker):
        broker.on_restart = gateway.republish
    world = World(
        store=store,
        blobs=blobs,
        signing=signing,
        publisher=gateway,
        device_keys=P256Keys(),
        chance=SystemChance(),
        clock=clock,
        changes=ChangeHub(),
        endpoints=(str(broker.address),),
    )
    delivery = PacedDelivery(blobs, Offers(store), gateway)
    ingest = Ingest(world, delivery)
    catalogue, rollouts = Catalogue(world), Rollouts(world)
    controller = Controller(world, rollouts)
    conversions = Conversions(world, catalogue, ChildConversion(), quarantine, data / "conversions")
    loop = ControllerLoop(controller, world.changes)

    def status() -> SystemStatus:
        found = gateway.status()
        return SystemStatus(
            broker=brokers.LABELS[broker.kind],
            broker_url=str(broker.address),
            connected=found.connected_since_s is not None,
            received=found.received,
            waiting_out_bytes=found.waiting_out_bytes,
            disk_free_bytes=shutil.disk_usage(data).free,
        )

    services = Services(
        world=world,
        catalogue=catalogue,
        aliases=Aliases(world),
        archive=Archive(world),
        conversions=conversions,
        enrolment=Enrolment(world),
        fleet=Fleet(world),
        export=Export(world),
        rollouts=rollouts,
        steering=Steering(world),
        withdrawing=Withdrawing(world, rollouts),
        replacing=Replacing(world, rollouts),
        whys=Whys(world),
        audit=Audit(world),
        telemetry=Telemetry(world),
        log=Log(world),
        ingest=ingest,
        controller=controller,
        door=door,
        receive_upload=quarantine.begin,
        upload_path=quarantine.path,
        status=status,
        version=version(),
        started_at_s=clock.now(),
    )
    app = api.build(services)
    screens = console.mount(
        app,
        world=world,
        rollouts=rollouts,
        steering=services.steering,
        whys=services.whys,
        door=door,
        version=services.version,
    )
    app.state.close_streams = screens.close
    # Last on, first off: what takes work in stops before what does the work.
    for part in (delivery, conversions, loop, gateway):
        part.start()
        stack.callback(part.stop)
    return services, app


def _check_not_behind(restoring: Restoring, data: Path) -> None:
    """Make sure that the database is as new as what was signed from it.

    Raises:
        StartRefused
    """
    found = restoring.behind()
    if found is None:
        return
    known = "does not know it" if found.known is None else f"knows of generation {found.known}"
    raise StartRefused(
        f"generation {found.signed} was signed for device {found.device}, and the database {known}: it was put back "
        "from a backup",
        hint=f"pinnace restore --data-dir {data}; the manual says what that does (docs/going-back.md)",
        code=Code.RESTORED,
    )


def _is_empty(services: Services) -> bool:
    """Tell whether there is neither a device nor a model yet, so that an operator may want to know how to begin."""
    page = Page(limit=1)
    devices = services.fleet.listing(DeviceQuery(now_s=services.started_at_s, page=page))
    return devices.total == 0 or services.catalogue.models(page).total == 0


def version() -> str:
    """Return this program's version."""
    try:
        return metadata.version("pinnace")
    except metadata.PackageNotFoundError:
        return "0+source"


class _Web(uvicorn.Server):
    """uvicorn that tells when it can be reached, and ends open streams before it waits for them."""

    def __init__(self, app: FastAPI, started: Callable[[], None], stopping: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=OPEN_REQUESTS_S,
                ws="none",
            )
        )
        self._tell_started, self._tell_stopping = started, stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._tell_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._tell_stopping()
        await super().shutdown(sockets)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Take the port before anything else is started.

    Raises:
        StartRefused: another program has it.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(LISTEN_BACKLOG)
        yield listening
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
            raise
        why = "another program listens there" if error.errno == errno.EADDRINUSE else os.strerror(error.errno)
        raise StartRefused(
            f"cannot listen on {host} port {port}: {why}", hint="choose another with --port", code=Code.ADDRESS_IN_USE
        ) from error
    finally:
        listening.close()


@contextmanager
def _data_directory(path: Path) -> Iterator[Path]:
    """Make the directory, and keep every other server out of it.

    Raises:
        StartRefused
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (path / "lock").open("w")
    except OSError as error:
        raise StartRefused(
            f"{path} cannot be the data directory: {error.strerror}", hint="name another with --data-dir"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartRefused(
                f"another server works in {path}", hint="stop it, or name another --data-dir for this one"
            ) from error
        yield path.resolve()
