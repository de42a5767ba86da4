"""Puts the agent together: the one place where adapters meet the loop."""

from __future__ import annotations

import logging
import queue
import random
import secrets
import signal
import threading
import time
from collections import deque
from dataclasses import replace
from functools import partial
from typing import Any, Final

from pinnace_agent import identity as identities
from pinnace_agent import runtimes, trust
from pinnace_agent.adapters import system_proc
from pinnace_agent.adapters.filesystem import Directory, locked
from pinnace_agent.adapters.keys_file import DeviceKey
from pinnace_agent.adapters.local_socket import LocalSocket
from pinnace_agent.adapters.mqtt_paho import Arrived, LinkEvent, MqttLink
from pinnace_agent.adapters.worker_process import HostSettings, Start, WorkerHost
from pinnace_agent.belief import Belief
from pinnace_agent.commands import Commands
from pinnace_agent.core import device
from pinnace_agent.core.surroundings import Host
from pinnace_agent.daemon import QUEUE_MAX, Daemon, Happened, Parts
from pinnace_agent.fetching import Fetching
from pinnace_agent.identity import Identity, NotEnrolled
from pinnace_agent.inbox import Inbox
from pinnace_agent.releases import ReleaseLost, Releases
from pinnace_agent.reporting import Reporting
from pinnace_agent.requests import Desk
from pinnace_agent.resend import Resend
from pinnace_agent.serving import Serving
from pinnace_agent.settings import BadSetting, Settings
from pinnace_agent.speech import Speech
from pinnace_agent.store import IDENTITY, Store
from pinnace_agent.uplink import Uplink
from pinnace_agent.version import AGENT_VERSION
from pinnace_agent.window import Window
from pinnace_agent.worker.events import WorkerRef
from pinnace_contract.ids import BootId, Digest, ModelName, ReleaseId

log = logging.getLogger(__name__)

LOG_LINES_KEPT: Final = 2_000  # what the command `logs` can bring back


def run(settings: Settings) -> int:
    """Run the agent until a signal or a command ends it; returns the exit status.

    Raises:
        AgentError: a store in use, not enrolled, or damaged; a setting that cannot be used.
    """
    lines = _keep_log_lines()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with locked(settings.store):
        store = Store(Directory(settings.store))
        loaded = store.open()
        who = identities.load(store, settings.store)
        if loaded is None:
            raise NotEnrolled(f"{settings.store} has an identity but no state: enrol again with a new --store")
        if loaded.damage:
            log.warning("the state was read from its copy: %s", loaded.damage)
        trusted = trust.from_files(store.metadata(trust.UNIT))
        if trusted is None:
            raise NotEnrolled(f"the trusted metadata in {settings.store} is gone: enrol again with a new --store")
        settings.run_dir.mkdir(parents=True, exist_ok=True)
        return _Program(settings, store, who, trusted, loaded.state, lines, stop).run()


class _Program:
    """Everything that lives for one run."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        who: Identity,
        trusted: trust.Trusted,
        state: device.DeviceState,
        lines: deque[str],
        stop: threading.Event,
    ) -> None:
        self._settings, self._store, self._who = settings, store, who
        happened: queue.Queue[Happened] = queue.Queue(QUEUE_MAX)
        chance = random.Random()  # jitter, not secrets
        key = DeviceKey.load(settings.store / IDENTITY / identities.KEY_FILE)
        host = Host(
            device=who.device,
            boot=BootId(secrets.token_hex(16)),
            hardware=settings.hardware or who.hardware,
            agent_version=AGENT_VERSION,
            runtimes=runtimes.probe(),
        )
        belief = Belief(trusted, who.device, state.incarnation)
        endpoints = partial(_endpoints, settings, who)
        self._workers = WorkerHost(_host_settings(settings), happened.put)
        self._link = MqttLink(who.device, partial(_offer, happened))
        uplink = Uplink(link=self._link, key=key, endpoints=endpoints(state), chance=chance)
        self._releases = Releases(store, belief, lambda: self._daemon.state)
        fetching = Fetching(
            files=store,
            check=self._releases.check,
            ask=lambda blob, chunks, bitmap: self._daemon.want(blob, chunks, bitmap),
            kept=lambda: device.kept(self._daemon.state),
            clock=time.monotonic,
            chance=chance,
        )
        window = Window(device=who.device, incarnation=state.incarnation, boot=host.boot, opened_s=time.time())
        self._desk = Desk(happened, self._workers.label)
        reporting = Reporting(
            window=window,
            spool=store,
            resend=Resend(chance),
            seal=uplink.seal,
            every_s=settings.report_every_s,
            awake_s=time.monotonic(),
        )
        self._daemon = Daemon(
            Parts(
                state=replace(state, device=who.device),
                store=store,
                host=host,
                belief=belief,
                uplink=uplink,
                inbox=Inbox(belief),
                releases=self._releases,
                serving=Serving(self._workers, self._start_worker, time.monotonic),
                fetching=fetching,
                reporting=reporting,
                desk=self._desk,
                system=system_proc.System(settings.store),
                happened=happened,
                endpoints=endpoints,
                speech=Speech(uplink, host, Resend(chance), settings.report_every_s),
                commands=Commands(host=host, uplink=uplink, log_lines=lines),
                stop=stop,
            )
        )

    def run(self) -> int:
        """Serve the local socket and run the loop."""
        local = LocalSocket(self._settings.run_dir, self._settings.socket_group, self._desk)
        log.info("agent %s of %s is up; store %s", AGENT_VERSION, self._who.device, self._settings.store)
        try:
            return self._daemon.run()
        finally:
            local.close()
            self._workers.close()
            self._link.close()

    def _start_worker(self, model: ModelName, release: ReleaseId, variant: Digest) -> WorkerRef:
        """Start a worker with the files of a release; its socket is made first.

        Raises:
            AgentError: a file is not there, or the socket cannot be made.
        """
        facts = self._releases.stored(release)
        found = facts.variant(variant)
        if found is None:
            raise ReleaseLost(f"release {release[:12]} has no variant {variant[:12]}")
        self._workers.open(model)
        limit = self._settings.worker_memory_bytes
        return self._workers.start(
            Start(
                model=model,
                release=release,
                release_path=self._store.release_path(release),
                variant=variant,
                blobs={blob.digest: self._store.blob_path(blob.digest) for blob in facts.blobs(found)},
                memory_bytes=limit,
            )
        )


def _host_settings(settings: Settings) -> HostSettings:
    return HostSettings(
        run_dir=settings.run_dir,
        group=settings.socket_group,
        memory_bytes=settings.worker_memory_bytes,
        niceness=settings.worker_niceness,
        threads=settings.worker_threads,
        hang_s=settings.hang_s,
        tcp_ports=dict(settings.loopback_ports),
        token=_token(settings),
    )


def _token(settings: Settings) -> str:
    path = settings.loopback_token_file
    if path is None:
        return ""
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise BadSetting(f"loopback_token_file: {path} cannot be read ({error.strerror})") from error
    if len(token) < 16:
        raise BadSetting(f"loopback_token_file: {path} holds {len(token)} characters; expected at least 16")
    return token


def _endpoints(settings: Settings, who: Identity, state: device.DeviceState) -> tuple[str, ...]:
    """Return the brokers to try: the one that was set here, or those that the director signed, then the enrolled."""
    if settings.broker:
        return (settings.broker,)
    return tuple(dict.fromkeys([*(endpoint.url for endpoint in state.endpoints), *who.endpoints]))


def _offer(happened: queue.Queue[Any], event: LinkEvent) -> None:
    """Enqueue from paho's thread.

    A full queue drops messages, which their senders repeat; never what happened to the connection, which nobody would.
    """
    if not isinstance(event, Arrived):
        happened.put(event)
        return
    try:
        happened.put_nowait(event)
    except queue.Full:
        log.warning("the agent is behind: a message was dropped")


class _KeptLines(logging.Handler):
    """The last lines of the log, for the command that asks for them."""

    def __init__(self, lines: deque[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(f"{time.strftime('%H:%M:%S', time.gmtime(record.created))} {record.getMessage()}"[:1000])


def _keep_log_lines() -> deque[str]:
    lines: deque[str] = deque(maxlen=LOG_LINES_KEPT)
    logging.getLogger().addHandler(_KeptLines(lines))
    return lines
