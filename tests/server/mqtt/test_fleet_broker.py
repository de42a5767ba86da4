"""The reference configuration for a broker on a network: delivery is checked, since SUBACK says yes to everything."""

from __future__ import annotations

import datetime
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.architecture.project import ROOT
from tests.brokers import running_mosquitto
from tests.needs import need
from tests.server.mqtt.peer import Peer, connects, eventually

DEPLOYED = ROOT / "deploy" / "mosquitto"


class Authority:
    """Signs certificates for the broker and for devices."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        (folder / "ca.crt").write_bytes(self._sign(self._name, self._key, authority=True))

    def issue(self, file: str, common_name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        (self.folder / f"{file}.crt").write_bytes(self._sign(name, key, authority=False))
        (self.folder / f"{file}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)


Connect = Callable[[str], Peer]


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """Connect as a device, by its certificate, or as the server, by its password."""
    folder = tmp_path / "fleet"
    folder.mkdir()
    authority = Authority(folder)
    authority.issue("broker", "localhost")
    passwords = folder / "passwords"
    subprocess.run([need("mosquitto_passwd"), "-b", "-c", passwords, "pinnace-server", "secret"], check=True)
    passwords.chmod(0o600)
    (folder / "fleet.acl").write_text((DEPLOYED / "fleet.acl").read_text())
    server_port = _free_port()
    template = (
        (DEPLOYED / "fleet.conf")
        .read_text()
        .replace("listener 8883", "user {user}\nlistener {port} 127.0.0.1")
        .replace("listener 1883 127.0.0.1", f"listener {server_port} 127.0.0.1")
        .replace("/etc/mosquitto/pinnace", "{folder}")
        .replace("/var/lib/mosquitto", "{folder}")
        .replace("log_dest stderr", "log_dest file {folder}/mosquitto.log\nlog_type all")
    )
    peers: list[Peer] = []

    def begin(name: str) -> Peer:
        if name == "pinnace-server":
            eventually(lambda: connects(server_port))  # the second listener opens after the first
            each = Peer(server_port, name)
            each.client.username_pw_set(name, "secret")
        else:
            authority.issue(name, name)
            each = Peer(broker.port, "whatever-the-client-says")
            each.host = "localhost"
            each.client.tls_set(
                str(folder / "ca.crt"), str(folder / f"{name}.crt"), str(folder / f"{name}.key"), ssl.CERT_REQUIRED
            )
        peers.append(each)
        each.connect()
        return each

    with running_mosquitto(need("mosquitto"), folder, template) as broker:
        yield begin
        for each in peers:
            each.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_device_speaks_and_hears_for_itself_alone(connect: Connect) -> None:
    server, mine, other = connect("pinnace-server"), connect("camera-07"), connect("camera-08")
    server.subscribe("pinnace/v1/up/#")
    mine.subscribe("pinnace/v1/#")
    for topic in ("up/camera-08/state", "down/camera-07/desired", "meta/image/timestamp", "up/camera-07/state"):
        mine.publish(f"pinnace/v1/{topic}", b"by camera 07")
    server.publish("pinnace/v1/down/camera-08/desired", b"for camera 08")
    server.publish("pinnace/v1/down/camera-07/desired", b"for camera 07")
    server.publish("pinnace/v1/meta/image/timestamp", b"for all")
    mine.wait_for("pinnace/v1/meta/image/timestamp", b"for all")
    server.wait_for("pinnace/v1/up/camera-07/state", b"by camera 07")
    assert mine.received == [
        ("pinnace/v1/down/camera-07/desired", b"for camera 07"),
        ("pinnace/v1/meta/image/timestamp", b"for all"),
    ]
    assert server.received == [("pinnace/v1/up/camera-07/state", b"by camera 07")]
    assert other.client.is_connected(), "the same client id does not throw another device off"
