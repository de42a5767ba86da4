"""Starting and ending the server, and what it says when it cannot start."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import stat
import urllib.request
from pathlib import Path

import pytest

from pinnace_server.errors import Code, StartRefused
from pinnace_server.service.door import hash_of
from pinnace_server.settings import EmbeddedBroker, Settings
from tests.brokers import Mosquitto
from tests.server.program.running import Serving, serving

TOKEN = re.compile(r"Admin token, shown this once: (\S+)")


def test_first_start_makes_everything_and_the_second_finds_it(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with serving(tmp_path, "--broker", mosquitto.url) as server:
        found = TOKEN.search(server.words)
        assert found is not None
        token = found[1]
        with urllib.request.urlopen(f"{server.url}/api/v1/health") as answer:
            assert json.load(answer)["status"] == "ok"
        assert "pinnace-agent enroll" in server.words
        assert server.end() == 0
    data = tmp_path / "pinnace-data"
    assert (data / "admin-token.hash").read_text().strip() == hash_of(token)
    assert token not in (data / "pinnace.db").read_bytes().decode(errors="replace")
    for private in (data, data / "admin-token", data / "keys"):
        assert stat.S_IMODE(private.stat().st_mode) & 0o077 == 0, private
    with serving(tmp_path, "--broker", mosquitto.url) as server:
        assert TOKEN.search(server.words) is None
        assert "Enrol a device" in server.words, "said until there is a device and a model"
        request = urllib.request.Request(
            f"{server.url}/api/v1/events?kind=server_started", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["total"] == 2
        assert server.end(signal.SIGINT) == 0


def test_second_server_on_the_same_data_is_refused(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with serving(tmp_path, "--broker", mosquitto.url):
        other = Serving(tmp_path, "--broker", mosquitto.url)
        assert other.ended() == 1
        assert "another server works in" in other.words


def test_port_that_is_taken_is_a_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = Serving(tmp_path, "--port", str(port))
        assert server.ended() == 1
        assert f"port {port}: another program listens there" in server.words
        assert "--port" in server.words
    assert not (tmp_path / "pinnace-data").exists()


def test_database_of_a_newer_server_is_a_clear_error(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with serving(tmp_path, "--broker", mosquitto.url):
        pass
    with sqlite3.connect(tmp_path / "pinnace-data" / "pinnace.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    server = Serving(tmp_path, "--broker", mosquitto.url)
    assert server.ended() == 1
    assert "newer server" in server.words
    assert "Traceback" not in server.words


@pytest.mark.parametrize("url", ["http://127.0.0.1", "mqtt://", "mqtt://host:99999"])
def test_broker_that_is_no_address_is_a_clear_error(tmp_path: Path, url: str) -> None:
    server = Serving(tmp_path, "--broker", url)
    assert server.ended() == 1
    assert "broker URL" in server.words
    assert "Traceback" not in server.words


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "pinnace.example", ""])
def test_wider_bind_than_loopback_is_refused_with_the_reason(host: str) -> None:
    with pytest.raises(StartRefused, match="loopback only") as refused:
        Settings(host=host).check()
    assert refused.value.code is Code.BIND_REFUSED


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_allowed(host: str) -> None:
    Settings(host=host).check()


@pytest.mark.parametrize(
    "settings",
    [
        Settings(port=70_000),
        Settings(port=-1),
        Settings(broker_url="mqtt://x", embedded_broker=EmbeddedBroker.AMQTT),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: Settings) -> None:
    with pytest.raises(StartRefused):
        settings.check()
