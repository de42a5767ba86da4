"""Broker URLs as values: ``mqtt://USER:PASSWORD@HOST:PORT`` and ``mqtts://`` for TLS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from pinnace_server.mqtt.errors import BadBrokerUrl

PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a broker is. ``str()`` leaves user and password out, so that it can be shown and logged."""

    host: str
    port: int
    tls: bool = False
    user: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL.

        Raises:
            BadBrokerUrl
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise BadBrokerUrl("the port is no number from 1 to 65535, or the host is no address") from error
        if parts.scheme not in PORTS:
            raise BadBrokerUrl(f"found {ascii(parts.scheme)[:20]} before ://")
        if not parts.hostname:
            raise BadBrokerUrl("the host is missing")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise BadBrokerUrl("there is something behind the port")
        return cls(
            host=parts.hostname,
            port=port or PORTS[parts.scheme],
            tls=parts.scheme == "mqtts",
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
        )
