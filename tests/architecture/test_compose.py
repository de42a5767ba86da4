"""docker-compose.yml: it parses, says what the README says, and mosquitto takes its broker's configuration."""

import re
import socket
from pathlib import Path

import yaml

from tests.architecture.project import ROOT
from tests.brokers import running_mosquitto
from tests.needs import need

COMPOSE = ROOT / "docker-compose.yml"
SERVICES = yaml.safe_load(COMPOSE.read_text())["services"]
CONFIGURATION = ROOT / "deploy" / "mosquitto" / "mosquitto.conf"


def _told_commands() -> list[str]:
    """The commands of the comment at the head of the compose file."""
    return re.findall(r"^#   (\S.*)$", COMPOSE.read_text(), re.MULTILINE)


def test_commands_of_the_compose_file_are_those_of_the_readme() -> None:
    assert _told_commands()
    readme = [line.strip() for line in (ROOT / "README.md").read_text().splitlines()]
    assert set(_told_commands()) <= set(readme)


def test_started_services_exist() -> None:
    started = [command.split()[-1] for command in _told_commands() if command.startswith("docker compose up")]
    assert set(started) <= set(SERVICES)


def test_images_are_pinned_and_ports_are_published_on_loopback_only() -> None:
    for service in SERVICES.values():
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+", service["image"])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_mounted_files_exist() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (ROOT / source).is_file()


def test_mosquitto_takes_the_configuration(tmp_path: Path) -> None:
    template = (
        CONFIGURATION.read_text()
        .replace("listener 1883", "listener {port} 127.0.0.1\nuser {user}")
        .replace("/mosquitto/data", "{folder}")
        .replace("log_dest stdout", "log_dest file {folder}/mosquitto.log")
    )
    with running_mosquitto(need("mosquitto"), tmp_path / "broker", template) as broker:
        with socket.create_connection(("127.0.0.1", broker.port)):
            pass
        broker.stop()
        assert (tmp_path / "broker" / "mosquitto.db").exists()
        assert "Error" not in broker.log
