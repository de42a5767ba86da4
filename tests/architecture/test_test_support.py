"""The broker fixture and the needs: what other tests stand on is tested once itself."""

import socket

import paho.mqtt.client as mqtt
import pytest

from tests import needs
from tests.brokers import Mosquitto


def _retained(broker: Mosquitto, topic: str) -> bytes | None:
    """Reads what the broker holds for a topic; an end marker of our own says that nothing more will come."""
    seen: list[bytes] = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _u, message: seen.append(message.payload)
    client.connect("127.0.0.1", broker.port)
    client.subscribe([(topic, 1), ("test/end", 1)])
    client.publish("test/end", b"end", qos=1)
    while b"end" not in seen:
        assert client.loop(timeout=5) == mqtt.MQTT_ERR_SUCCESS
    client.disconnect()
    return seen[0] if seen[0] != b"end" else None


def _retain(broker: Mosquitto, topic: str, payload: bytes) -> None:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    client.publish(topic, payload, qos=1, retain=True).wait_for_publish(timeout=30)
    client.disconnect()
    client.loop_stop()


def test_retained_message_outlives_an_orderly_restart_on_the_same_port(mosquitto: Mosquitto) -> None:
    port = mosquitto.port
    _retain(mosquitto, "test/kept", b"cargo")
    mosquitto.restart()
    assert mosquitto.port == port
    assert _retained(mosquitto, "test/kept") == b"cargo"


def test_killed_broker_is_gone_until_it_is_started_again(mosquitto: Mosquitto) -> None:
    mosquitto.kill()
    assert not mosquitto.running
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", mosquitto.port), timeout=5):
        pass
    mosquitto.start()
    assert _retained(mosquitto, "test/nothing") is None


def test_missing_program_is_a_skip_for_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "IN_CI", False)
    with pytest.raises(pytest.skip.Exception, match="needs the program no-such-program"):
        needs.need("no-such-program")


def test_missing_program_is_a_failure_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "IN_CI", True)
    with pytest.raises(pytest.fail.Exception, match="needs the program no-such-program"):
        needs.need("no-such-program")
