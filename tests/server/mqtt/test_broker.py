"""The embedded brokers as child processes: they keep their port and their messages, come back, and end with us."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pinnace_contract import envelope
from pinnace_contract.latest import Ack, Command, CommandResult, Presence, Receipt, Report, Reported, Want
from pinnace_server.mqtt import broker as brokers
from pinnace_server.mqtt import mosquitto
from pinnace_server.mqtt.broker import Broker, BrokerKind, ConfiguredBroker
from pinnace_server.mqtt.errors import BrokerFailed, PortTaken
from tests.needs import need
from tests.server.mqtt.peer import TIMEOUT_S, connects, eventually, peer

BOTH = pytest.mark.parametrize("kind", [BrokerKind.MOSQUITTO, BrokerKind.AMQTT])


def _needs(kind: BrokerKind) -> None:
    if kind is BrokerKind.MOSQUITTO:
        need("mosquitto")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Start brokers that end with the test."""
    started: list[Broker] = []

    def begin(kind: BrokerKind, folder: Path = tmp_path / "broker") -> Broker:
        _needs(kind)
        broker = brokers.find(folder, kind=kind)
        started.append(broker)
        broker.start()
        return broker

    yield begin
    for each in started:
        each.stop()


@BOTH
def test_broker_is_ready_when_start_returns_and_gone_after_stop(start: Callable[..., Broker], kind: BrokerKind) -> None:
    broker = start(kind)
    with peer(broker.address.port) as client:
        client.subscribe("a/+")
        client.publish("a/b", b"cargo")
        client.wait_for("a/b", b"cargo")
    broker.stop()
    assert broker.pid is None
    with pytest.raises(ConnectionRefusedError), socket.create_connection((broker.address.host, broker.address.port)):
        pass


@BOTH
def test_broker_listens_on_loopback_only(start: Callable[..., Broker], kind: BrokerKind) -> None:
    listening = [
        each.laddr.ip for each in psutil.Process(start(kind).pid).net_connections() if each.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]


@BOTH
def test_killed_broker_comes_back_on_its_port(start: Callable[..., Broker], kind: BrokerKind) -> None:
    broker = start(kind)
    port, pid = broker.address.port, broker.pid
    assert pid is not None
    told = threading.Event()
    broker.on_restart = told.set
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: broker.restarts == 1 and broker.pid not in (None, pid))
    assert told.wait(TIMEOUT_S)
    assert connects(port)
    assert broker.address.port == port


@BOTH
def test_broker_has_its_port_again_after_a_server_restart(
    start: Callable[..., Broker], kind: BrokerKind, tmp_path: Path
) -> None:
    first = start(kind)
    port = first.address.port
    first.stop()
    assert start(kind).address.port == port


def test_port_that_somebody_else_took_is_an_error_with_what_to_do(
    start: Callable[..., Broker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pinnace_server.mqtt.child.PORT_FREE_TIMEOUT_S", 0.1)
    first = start(BrokerKind.AMQTT)
    with pytest.raises(PortTaken, match=f"port {first.address.port}.*stop that program") as refused:
        start(BrokerKind.AMQTT)
    assert refused.value.port == first.address.port


def test_mosquitto_keeps_retained_messages_and_sessions_over_a_kill(
    start: Callable[..., Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mosquitto, "AUTOSAVE_S", 1)
    broker = start(BrokerKind.MOSQUITTO)
    with peer(broker.address.port, "device", keeps_session=True) as device:
        device.subscribe("down/#")
    with peer(broker.address.port) as server:
        server.publish("down/desired", b"retained", retain=True)
        server.publish("down/ack", b"queued for a device that is away")
    pid = broker.pid
    assert pid is not None
    eventually(lambda: b"retained" in _database(broker) and b"queued for" in _database(broker))
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: broker.restarts == 1 and broker.pid is not None and connects(broker.address.port))
    with peer(broker.address.port, "device", keeps_session=True) as device:
        device.wait_for("down/ack", b"queued for a device that is away")
    with peer(broker.address.port) as other:
        other.subscribe("down/#")
        other.wait_for("down/desired", b"retained")


def _database(broker: Broker) -> bytes:
    assert broker.pid is not None
    folder = Path(psutil.Process(broker.pid).cmdline()[-1]).parent
    file = folder / "mosquitto.db"
    return file.read_bytes() if file.exists() else b""


SERVER = """
import os, sys, pathlib
from pinnace_server.mqtt import broker
child = broker.find(pathlib.Path(sys.argv[1]), kind=broker.BrokerKind(sys.argv[2]))
child.start()
print(child.pid, flush=True)
sys.stdin.read()
"""


@BOTH
@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
def test_broker_dies_with_the_server(kind: BrokerKind, death: signal.Signals, tmp_path: Path) -> None:
    _needs(kind)
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path), str(kind)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert psutil.pid_exists(pid)
        server.send_signal(death)
        server.wait()
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_broker_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("mosquitto")
    monkeypatch.setattr(mosquitto, "configuration", lambda _folder, _port: "no_such_option 1\n")
    with pytest.raises(BrokerFailed, match="no_such_option"):
        brokers.find(tmp_path, kind=BrokerKind.MOSQUITTO).start()


def test_configured_url_goes_before_everything_else(tmp_path: Path) -> None:
    found = brokers.find(tmp_path, url="mqtts://broker.example")
    assert isinstance(found, ConfiguredBroker)
    assert str(found.address) == "mqtts://broker.example:8883"


@pytest.mark.parametrize(("installed", "kind"), [(True, BrokerKind.MOSQUITTO), (False, BrokerKind.AMQTT)])
def test_mosquitto_is_used_where_it_is_installed_and_amqtt_where_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool, kind: BrokerKind
) -> None:
    monkeypatch.setattr(mosquitto, "find", lambda: Path("/usr/sbin/mosquitto") if installed else None)
    assert brokers.find(tmp_path).kind is kind
    assert ("development fallback" in brokers.LABELS[kind]) is not installed


def test_broker_that_is_asked_for_and_missing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosquitto, "find", lambda: None)
    with pytest.raises(BrokerFailed, match="install mosquitto"):
        brokers.find(tmp_path, kind=BrokerKind.MOSQUITTO)


def test_largest_envelope_fits_into_a_packet() -> None:
    kinds = (Ack, Command, CommandResult, Presence, Receipt, Report, Reported, Want)
    assert max(envelope.size_bytes_max(kind) for kind in kinds) + 512 <= mosquitto.PACKET_BYTES_MAX
