"""What the server is told at its start: read once, checked, and never changed."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from pinnace_server.errors import Code, StartRefused

HOST: Final = "127.0.0.1"
PORT: Final = 8080
DATA_DIRECTORY: Final = Path("pinnace-data")
UPLOAD_BYTES_MAX: Final = 512 * 1024**2  # a model, or its calibration data; a release lists at most 256 MiB of a file
QUARANTINE_BYTES_MAX: Final = 4 * 1024**3
JSON_BODY_BYTES_MAX: Final = 2 * 1024**2  # a draft has at most 1 MiB


class EmbeddedBroker(StrEnum):
    """Which broker to start where none is named."""

    AUTO = "auto"
    MOSQUITTO = "mosquitto"
    AMQTT = "amqtt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, with what it is when nobody sets it."""

    data_directory: Path = DATA_DIRECTORY
    host: str = HOST
    port: int = PORT
    broker_url: str | None = None
    embedded_broker: EmbeddedBroker = EmbeddedBroker.AUTO
    upload_bytes_max: int = UPLOAD_BYTES_MAX
    quarantine_bytes_max: int = QUARANTINE_BYTES_MAX

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            StartRefused
        """
        if not 0 <= self.port <= 65535:
            raise StartRefused(f"port {self.port} is not one", hint="use 1 to 65535, or 0 for any that is free")
        if not is_loopback(self.host):
            raise StartRefused(
                f"this server listens on loopback only, and {self.host!r} is not",
                hint="it has one token for everybody and no TLS of its own yet; reach it through an SSH tunnel, or a "
                "proxy on this machine that adds both",
                code=Code.BIND_REFUSED,
            )
        if self.broker_url is not None and self.embedded_broker is not EmbeddedBroker.AUTO:
            raise StartRefused("--broker and --embedded-broker exclude each other", hint="name one of them")


def is_loopback(host: str) -> bool:
    """Tell whether an address is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
