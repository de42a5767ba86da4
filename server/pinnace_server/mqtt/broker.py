"""Which broker the server uses: a configured one, else mosquitto as a child, else amqtt as a child.

Owns the choice and its words for the operator. The children are run by ``child.py``.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from pinnace_server.mqtt import mosquitto
from pinnace_server.mqtt.address import Address
from pinnace_server.mqtt.child import ChildBroker
from pinnace_server.mqtt.errors import BrokerFailed


class BrokerKind(StrEnum):
    """The three ways to a broker."""

    CONFIGURED = "configured"
    MOSQUITTO = "mosquitto"
    AMQTT = "amqtt"


LABELS: Final = {
    BrokerKind.CONFIGURED: "configured broker",
    BrokerKind.MOSQUITTO: "embedded mosquitto, loopback only",
    BrokerKind.AMQTT: (
        "embedded amqtt, a development fallback: loopback only, some tens of devices, nothing kept over a restart; "
        "install mosquitto or name a broker with --broker"
    ),
}


class Broker(Protocol):
    """A broker that the server talks to."""

    @property
    def kind(self) -> BrokerKind: ...
    @property
    def address(self) -> Address: ...
    @property
    def restarts(self) -> int: ...
    @property
    def pid(self) -> int | None: ...

    on_restart: Callable[[], None]
    """Called when it runs again after it died: what it was told last may be lost."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class ConfiguredBroker:
    """Somebody else's broker; there is nothing to start."""

    kind = BrokerKind.CONFIGURED
    restarts = 0
    pid = None

    def __init__(self, address: Address) -> None:
        self.address: Final = address
        self.on_restart: Callable[[], None] = lambda: None  # nobody tells us; a lost session does

    def start(self) -> None:
        """It runs already, or the gateway says that it does not."""

    def stop(self) -> None:
        """It goes on without us."""


class EmbeddedBroker(ChildBroker):
    """A child process of a known kind."""

    def __init__(self, kind: BrokerKind, folder: Path) -> None:
        self.kind: Final = kind
        super().__init__(_program(kind), folder)


class AmqttProgram:
    """How to start amqtt."""

    name = "amqtt"

    def command(self, folder: Path, port: int) -> list[str]:
        """Return the command line; it keeps no files, so the folder is not used."""
        del folder
        return [sys.executable, "-m", "pinnace_server.mqtt.amqtt_child", str(port)]


def find(folder: Path, *, url: str | None = None, kind: BrokerKind | None = None) -> Broker:
    """Return the broker to use, not started yet. ``kind`` asks for one of the embedded ones.

    Raises:
        BadBrokerUrl: the configured URL cannot be understood.
        BrokerFailed: there is none, or not the one asked for.
    """
    if url is not None:
        return ConfiguredBroker(Address.parse(url))
    return EmbeddedBroker(kind or _best(), folder)


def _best() -> BrokerKind:
    return BrokerKind.MOSQUITTO if mosquitto.find() is not None else BrokerKind.AMQTT


def _program(kind: BrokerKind) -> mosquitto.MosquittoProgram | AmqttProgram:
    if kind is BrokerKind.MOSQUITTO and (path := mosquitto.find()) is not None:
        return mosquitto.MosquittoProgram(path)
    if kind is BrokerKind.AMQTT and importlib.util.find_spec("amqtt") is not None:
        return AmqttProgram()
    raise BrokerFailed(str(kind), "is not installed here", hint="install mosquitto, or name a broker with --broker")
