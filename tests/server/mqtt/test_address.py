"""Broker URLs: what is understood, what is refused, and that a password is never shown."""

from __future__ import annotations

import pytest

from pinnace_server.mqtt.address import Address
from pinnace_server.mqtt.errors import BadBrokerUrl


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://localhost", Address(host="localhost", port=1883)),
        ("mqtts://broker.example", Address(host="broker.example", port=8883, tls=True)),
        ("mqtt://10.0.0.1:4711/", Address(host="10.0.0.1", port=4711)),
        ("mqtt://[::1]:1884", Address(host="::1", port=1884)),
        (
            "mqtts://server:p%40ss%3A1@b:8884",
            Address(host="b", port=8884, tls=True, user="server", password="p@ss:1"),
        ),
    ],
)
def test_url_is_understood(url: str, address: Address) -> None:
    assert Address.parse(url) == address


@pytest.mark.parametrize(
    "url",
    ["", "localhost:1883", "http://x", "mqtt://", "mqtt://:1883", "mqtt://x:0x", "mqtt://x:99999", "mqtt://x/topic"],
)
def test_anything_else_is_refused_with_what_was_expected(url: str) -> None:
    with pytest.raises(BadBrokerUrl, match="expected mqtt://"):
        Address.parse(url)


def test_password_is_neither_shown_nor_repeated_in_errors() -> None:
    address = Address.parse("mqtt://user:hunter2@broker:1883")
    assert str(address) == "mqtt://broker:1883"
    assert "hunter2" not in repr(address)
    with pytest.raises(BadBrokerUrl) as refused:
        Address.parse("mqtt://user:hunter2@broker:port")
    assert "hunter2" not in str(refused.value)
