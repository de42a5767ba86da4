"""The server's connection over a real broker: nothing is lost at QoS 1, what is retained comes back, it never dies."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pinnace_contract.ids import DeviceId
from pinnace_contract.topics import Down, DownTopic, Topic, Up, UpTopic
from pinnace_server.errors import Unavailable
from pinnace_server.mqtt import broker as brokers
from pinnace_server.mqtt import gateway as gateways
from pinnace_server.mqtt.address import LOOPBACK, Address
from pinnace_server.mqtt.broker import BrokerKind
from pinnace_server.mqtt.gateway import Gateway
from tests.brokers import CONFIGURATION, Mosquitto, running_mosquitto
from tests.needs import need
from tests.server.mqtt.peer import TIMEOUT_S, eventually, peer

DEVICE = DeviceId("camera-07")
STATE = UpTopic(device=DEVICE, channel=Up.STATE)
RECEIPT = UpTopic(device=DEVICE, channel=Up.RECEIPT)
WANT = UpTopic(device=DEVICE, channel=Up.WANT)
DESIRED = DownTopic(device=DEVICE, channel=Down.DESIRED)
ACK = DownTopic(device=DEVICE, channel=Down.ACK)


class Inbox:
    """What the gateway handed over, and a gate at which it can be held."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.batches: list[int] = []
        self.full, self.refused = False, 0
        self.gate = threading.Event()
        self.gate.set()
        self._changed = threading.Condition()

    def receive(self, messages: Sequence[tuple[str, bytes]]) -> None:
        with self._changed:
            self.received += messages
            self.batches.append(len(messages))
            self._changed.notify_all()
        assert self.gate.wait(TIMEOUT_S)
        if self.full:
            self.refused += 1
            raise Unavailable("the disk is full")
        if any(payload == b"bad" for _, payload in messages):
            raise ValueError("a message that the services cannot handle")

    def wait_until(self, true: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(true, TIMEOUT_S), f"did not happen; received {self.received!r:.500}"

    def wait_for(self, topic: Topic, payload: bytes) -> None:
        self.wait_until(lambda: (str(topic), payload) in self.received)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    each = Inbox()
    yield each
    each.gate.set()


Make = Callable[..., Gateway]


@pytest.fixture
def make(inbox: Inbox) -> Iterator[Make]:
    """Start gateways that end with the test."""
    started: list[Gateway] = []

    def begin(port: int, box: Inbox = inbox, retained: tuple[tuple[Topic, bytes], ...] = (), **more: object) -> Gateway:
        address = more.pop("address", Address(host=LOOPBACK, port=port))
        gateway = Gateway(address, box.receive, lambda: retained, now_s=lambda: 1_795_000_000.0, **more)  # type: ignore[arg-type]
        started.append(gateway)
        gateway.start()
        return gateway

    yield begin
    inbox.gate.set()
    for each in started:
        each.stop()


def _connected(gateway: Gateway) -> Gateway:
    assert gateway.wait_connected(TIMEOUT_S), gateway.status()
    return gateway


def test_messages_go_both_ways(mosquitto: Mosquitto, make: Make, inbox: Inbox) -> None:
    gateway = _connected(make(mosquitto.port))
    with peer(mosquitto.port) as device:
        device.subscribe("pinnace/v1/down/camera-07/#")
        device.publish(str(RECEIPT), b"receipt")
        inbox.wait_for(RECEIPT, b"receipt")
        gateway.publish(ACK, b"ack")
        gateway.publish(DESIRED, b"desired", retained=True)
        device.wait_for(str(ACK), b"ack")
        device.wait_for(str(DESIRED), b"desired")
    with peer(mosquitto.port) as newcomer:
        newcomer.subscribe("pinnace/v1/down/#")
        newcomer.settle()
        assert newcomer.received == [(str(DESIRED), b"desired")]


def test_message_that_fails_does_not_stop_the_next(mosquitto: Mosquitto, make: Make, inbox: Inbox) -> None:
    gateway = _connected(make(mosquitto.port))
    with peer(mosquitto.port) as device:
        device.publish(str(RECEIPT), b"bad")
        eventually(lambda: gateway.status().failed == 1)
        device.publish(str(RECEIPT), b"good")
        inbox.wait_for(RECEIPT, b"good")
    assert gateway.status().failed == 1


def test_message_that_could_not_be_kept_is_handed_over_again_before_the_next(
    mosquitto: Mosquitto, make: Make, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways, "KEEP_AGAIN_S", 0.01)
    _connected(make(mosquitto.port))
    inbox.full = True
    with peer(mosquitto.port) as device:
        device.publish(str(RECEIPT), b"first")
        eventually(lambda: inbox.refused > 2)
        device.publish(str(RECEIPT), b"second")
        inbox.full = False
        inbox.wait_for(RECEIPT, b"second")
    told = [payload for _, payload in inbox.received]
    assert (told[0], told[-2:]) == (b"first", [b"first", b"second"])


def test_message_that_could_not_be_kept_is_sent_to_the_next_server(
    mosquitto: Mosquitto, make: Make, inbox: Inbox
) -> None:
    first = _connected(make(mosquitto.port))
    inbox.full = True
    with peer(mosquitto.port) as device:
        device.publish(str(STATE), b"online")
        eventually(lambda: inbox.refused > 0)
        first.stop()
    second = Inbox()
    _connected(make(mosquitto.port, second))
    second.wait_for(STATE, b"online")


def test_messages_that_wait_are_handed_over_together_and_in_order(
    mosquitto: Mosquitto, make: Make, inbox: Inbox
) -> None:
    gateway = _connected(make(mosquitto.port))
    inbox.gate.clear()
    numbers = [b"%d" % n for n in range(gateways.TOGETHER_MAX + 20)]
    with peer(mosquitto.port) as device:
        device.publish(str(RECEIPT), b"at hand")
        inbox.wait_for(RECEIPT, b"at hand")
        for number in numbers:
            device.client.publish(str(WANT), number, qos=0)
        eventually(lambda: gateway.status().waiting_in == len(numbers))
        inbox.gate.set()
        inbox.wait_until(lambda: len(inbox.received) == 1 + len(numbers))
    assert [payload for _, payload in inbox.received] == [b"at hand", *numbers]
    assert inbox.batches == [1, gateways.TOGETHER_MAX, 20]


def test_message_that_was_not_handled_is_sent_to_the_next_server(
    mosquitto: Mosquitto, make: Make, inbox: Inbox
) -> None:
    first = _connected(make(mosquitto.port))
    inbox.gate.clear()
    with peer(mosquitto.port) as device:
        device.publish(str(RECEIPT), b"at hand when the server stops")
        inbox.wait_for(RECEIPT, b"at hand when the server stops")
        device.publish(str(RECEIPT), b"not begun")
        stopping = threading.Thread(target=first.stop)
        stopping.start()
        inbox.gate.set()
        stopping.join(TIMEOUT_S)
        device.publish(str(RECEIPT), b"sent while there was no server")
    second = Inbox()
    _connected(make(mosquitto.port, second))
    second.wait_for(RECEIPT, b"sent while there was no server")
    assert second.received == [(str(RECEIPT), b"not begun"), (str(RECEIPT), b"sent while there was no server")]
    assert inbox.received == [(str(RECEIPT), b"at hand when the server stops")]


def test_gateway_comes_back_after_the_broker_was_killed(mosquitto: Mosquitto, make: Make, inbox: Inbox) -> None:
    gateway = _connected(make(mosquitto.port, retained=((DESIRED, b"kept by the broker"),)))
    with peer(mosquitto.port) as device:
        device.subscribe("pinnace/v1/down/#")
        device.wait_for(str(DESIRED), b"kept by the broker")
        device.publish(str(STATE), b"online", retain=True)
        inbox.wait_for(STATE, b"online")
    # One-second autosave: the kill must find the session and the retained messages on the disk.
    eventually(lambda: _saved(mosquitto, b"kept by the broker") and _saved(mosquitto, b"online"))
    mosquitto.kill()
    eventually(lambda: gateway.status().connected_since_s is None)
    gateway.publish(ACK, b"said while the broker was away")
    mosquitto.start()
    with peer(mosquitto.port) as device:
        device.subscribe("pinnace/v1/down/#")
        device.wait_for(str(DESIRED), b"kept by the broker")
        device.wait_for(str(ACK), b"said while the broker was away")
        device.publish(str(RECEIPT), b"after the restart")
        inbox.wait_for(RECEIPT, b"after the restart")
    assert "the connection to" in gateway.status().last_error
    assert gateway.status().connections == 2


def _saved(mosquitto: Mosquitto, payload: bytes) -> bool:
    file = mosquitto.folder / "mosquitto.db"
    return file.exists() and payload in file.read_bytes()


def test_everything_retained_is_republished_to_a_broker_that_lost_it(
    mosquitto: Mosquitto, make: Make, inbox: Inbox
) -> None:
    retained = tuple(
        (DownTopic(device=DeviceId(f"camera-{n}"), channel=Down.DESIRED), b"%d" % n * 500) for n in range(200)
    )
    gateway = _connected(make(mosquitto.port, retained=retained))
    mosquitto.kill()
    (mosquitto.folder / "mosquitto.db").unlink(missing_ok=True)
    mosquitto.start()
    eventually(lambda: gateway.status().connections == 2)
    with peer(mosquitto.port) as device:
        device.subscribe("pinnace/v1/down/#")
        device.wait_until(lambda: len(dict(device.received)) == 200)
        assert dict(device.received) == {str(topic): payload for topic, payload in retained}


def test_embedded_broker_that_died_is_told_everything_again(tmp_path: Path, make: Make) -> None:
    """Its session may be on the disk while the newest retained message is not."""
    need("mosquitto")
    broker = brokers.find(tmp_path / "broker", kind=BrokerKind.MOSQUITTO)
    broker.start()
    try:
        gateway = _connected(make(broker.address.port, retained=((DESIRED, b"the newest"),)))
        broker.on_restart = gateway.republish
        with peer(broker.address.port) as device:
            device.subscribe("pinnace/v1/down/#")
            device.wait_for(str(DESIRED), b"the newest")
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGKILL)
        eventually(lambda: gateway.status().connections == 2)
        with peer(broker.address.port) as device:
            device.subscribe("pinnace/v1/down/#")
            device.wait_for(str(DESIRED), b"the newest")
    finally:
        broker.stop()


def test_fallback_broker_that_forgot_everything_is_filled_again(tmp_path: Path, make: Make, inbox: Inbox) -> None:
    broker = brokers.find(tmp_path / "broker", kind=BrokerKind.AMQTT)
    broker.start()
    try:
        _connected(make(broker.address.port, retained=((DESIRED, b"desired"),)))
        with peer(broker.address.port) as device:
            device.publish(str(RECEIPT), b"receipt")
            inbox.wait_for(RECEIPT, b"receipt")
            device.subscribe("pinnace/v1/down/#")
            device.wait_for(str(DESIRED), b"desired")
    finally:
        broker.stop()


def test_burst_arrives_whole_in_both_directions(mosquitto: Mosquitto, make: Make, inbox: Inbox) -> None:
    gateway = _connected(make(mosquitto.port))
    numbers = [b"%04d" % n * 1_000 for n in range(1_500)]
    with peer(mosquitto.port) as device:
        device.subscribe("pinnace/v1/down/#")
        for number in numbers:
            device.client.publish(str(RECEIPT), number, qos=1)
        for number in numbers:
            gateway.publish(ACK, number)
        inbox.wait_until(lambda: len(inbox.received) >= len(numbers))
        device.wait_until(lambda: len(device.received) >= len(numbers))
    assert [payload for _, payload in inbox.received] == numbers
    assert [payload for _, payload in device.received] == numbers
    assert gateway.status().dropped_in == gateway.status().dropped_out == 0


def test_flood_beyond_the_queue_is_dropped_and_counted_and_does_not_stop_the_road(
    mosquitto: Mosquitto, make: Make, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways, "RECEIVED_MAX", 5)
    gateway = _connected(make(mosquitto.port))
    inbox.gate.clear()
    with peer(mosquitto.port) as device:
        for _ in range(300):
            device.client.publish(str(WANT), b"flood", qos=0)
            device.client.publish(str(RECEIPT), b"flood", qos=1)
        eventually(lambda: gateway.status().dropped_in >= 600 - 2 * (1 + 5))  # as many are at hand as may wait
        inbox.gate.set()
        eventually(lambda: gateway.status().waiting_in == 0)
        device.publish(str(RECEIPT), b"the road is open")
        inbox.wait_for(RECEIPT, b"the road is open")


def test_retained_message_that_found_no_room_is_republished_later(
    mosquitto: Mosquitto, make: Make, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = _connected(make(mosquitto.port, retained=((DESIRED, b"the newest"),)))
    eventually(lambda: not gateway.status().republishing and gateway.status().published == 1)
    with monkeypatch.context() as small:
        small.setattr("pinnace_server.mqtt.outgoing.BYTES_MAX", 0)
        gateway.publish(ACK, b"dropped for good")
        gateway.publish(DESIRED, b"the newest", retained=True)
        assert gateway.status().dropped_out >= 2
    with peer(mosquitto.port) as device:
        device.subscribe("pinnace/v1/down/#")
        device.wait_for(str(DESIRED), b"the newest")
        eventually(lambda: gateway.status().published == 2)


def test_status_says_that_there_is_no_broker(make: Make, inbox: Inbox) -> None:
    gateway = make(1)  # nobody listens there
    eventually(lambda: "no connection to mqtt://127.0.0.1:1" in gateway.status().last_error)
    assert gateway.status().connected_since_s is None
    assert not gateway.wait_connected(0)


# --- TLS and a password ---------------------------------------------------------------------------------------------


def _certificate(folder: Path) -> None:
    """A key, and a certificate for loopback that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "broker.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "broker.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that wants TLS and a password."""
    folder = tmp_path / "secured"
    folder.mkdir()
    _certificate(folder)
    passwords = folder / "passwords"
    subprocess.run([need("mosquitto_passwd"), "-b", "-c", passwords, "server", "p@ss"], check=True)
    passwords.chmod(0o600)
    configuration = CONFIGURATION.replace("allow_anonymous true", "allow_anonymous false") + (
        "password_file {folder}/passwords\ncertfile {folder}/broker.crt\nkeyfile {folder}/broker.key\n"
    )
    with running_mosquitto(need("mosquitto"), folder, configuration) as broker:
        yield broker


def test_tls_with_an_authority_of_its_own_and_a_password(secured: Mosquitto, make: Make, inbox: Inbox) -> None:
    address = Address.parse(f"mqtts://server:p%40ss@localhost:{secured.port}")
    gateway = _connected(make(0, address=address, ca_file=secured.folder / "broker.crt", filters=("#",)))
    gateway.publish(ACK, b"to myself")
    inbox.wait_for(ACK, b"to myself")


def test_wrong_password_is_said_in_the_status(secured: Mosquitto, make: Make, inbox: Inbox) -> None:
    address = Address.parse(f"mqtts://server:wrong@localhost:{secured.port}")
    gateway = make(0, address=address, ca_file=secured.folder / "broker.crt")
    eventually(lambda: "refused the connection: Not authorized" in gateway.status().last_error)


def test_broker_of_an_unknown_authority_is_not_talked_to(secured: Mosquitto, make: Make, inbox: Inbox) -> None:
    gateway = make(0, address=Address.parse(f"mqtts://server:p%40ss@localhost:{secured.port}"))
    eventually(lambda: "certificate" in gateway.status().last_error)
