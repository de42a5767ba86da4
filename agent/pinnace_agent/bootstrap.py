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
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from pinnace_agent import identity as identities
from pinnace_agent import runtimes, trust
from pinnace_agent.adapters import system_proc
from pinnace_agent.adapters.filesystem import Directory, locked
from pinnace_agent.adapters.keys_file import DeviceKey
from pinnace_agent.adapters.local_socket import LocalSocket
from pinnace_agent.adapters.mqtt_paho import Arrived, LinkEvent, MqttLink
from pinnace_agent.adapters.worker_process import WorkerHost
from pinnace_agent.assembly import Ground, assemble
from pinnace_agent.core.device import DeviceState
from pinnace_agent.core.surroundings import Host
from pinnace_agent.identity import Identity, NotEnrolled
from pinnace_agent.parts import QUEUE_MAX, Happened
from pinnace_agent.settings import BadSetting, Settings
from pinnace_agent.store import IDENTITY, Store
from pinnace_agent.version import AGENT_VERSION
from pinnace_agent.worker.hosting import HostSettings
from pinnace_contract.ids import BootId

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
        state: DeviceState,
        lines: deque[str],
        stop: threading.Event,
    ) -> None:
        self._settings, self._who = settings, who
        happened: queue.Queue[Happened] = queue.Queue(QUEUE_MAX)
        self._workers = WorkerHost(_host_settings(settings), happened.put)
        self._link = MqttLink(who.device, partial(_offer, happened))
        host = Host(
            device=who.device,
            boot=BootId(secrets.token_hex(16)),
            hardware=settings.hardware or who.hardware,
            agent_version=AGENT_VERSION,
            runtimes=runtimes.probe(),
        )
        self._loop = assemble(
            Ground(
                host=host,
                store=store,
                state=state,
                trusted=trusted,
                key=DeviceKey.load(settings.store / IDENTITY / identities.KEY_FILE),
                link=self._link,
                workers=self._workers,
                board=system_proc.System(settings.store),
                happened=happened,
                endpoints=partial(_endpoints, settings, who),
                chance=random.Random(),  # jitter, not secrets
                stop=stop,
                beside=_beside,
                clock=time.monotonic,
                wall=time.time,
                report_every_s=settings.report_every_s,
                worker_memory_bytes=settings.worker_memory_bytes,
                log_lines=lines,
            )
        )

    def run(self) -> int:
        """Serve the local socket and run the loop."""
        local = LocalSocket(self._settings.run_dir, self._settings.socket_group, self._loop.desk)
        log.info("agent %s of %s is up; store %s", AGENT_VERSION, self._who.device, self._settings.store)
        try:
            return self._loop.daemon.run()
        finally:
            local.close()
            self._workers.close()
            self._link.close()


def _beside(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="verify", daemon=True).start()


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


def _endpoints(settings: Settings, who: Identity, state: DeviceState) -> tuple[str, ...]:
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
