"""The lossy proxy between real clients and a real mosquitto: what is lost, what is not, and that it is counted."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Iterator

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from pinnace_contract import topics
from pinnace_contract.ids import DeviceId
from tests.brokers import Mosquitto
from tests.lossy_proxy import LossyProxy, nothing

PATIENCE_S = 30.0  # a limit for a broken test, not a time that anything should take
DEVICE = DeviceId("camera-07")
DATA, ACK = (topics.DownTopic(device=DEVICE, channel=channel) for channel in (topics.Down.DATA, topics.Down.ACK))
WANT = topics.UpTopic(device=DEVICE, channel=topics.Up.WANT)
IN_FLIGHT = 20  # how many QoS 1 messages mosquitto sends a client before it has acknowledged one
V311, V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5

Received = queue.Queue[tuple[topics.Topic, bytes]]


@pytest.fixture
def proxy(mosquitto: Mosquitto) -> Iterator[LossyProxy]:
    with LossyProxy(mosquitto.port) as made:
        yield made


@contextlib.contextmanager
def subscribed(port: int, *filters: str, version: MQTTProtocolVersion = V311, session: str = "") -> Iterator[Received]:
    """What a client receives whose subscriptions are in force; under a session's name, the broker keeps it."""
    received: Received = queue.Queue()
    ready: queue.Queue[None] = queue.Queue()
    clean = None if version is V5 else not session
    client = paho.Client(CallbackAPIVersion.VERSION2, session, clean_session=clean, protocol=version)
    client.on_connect = lambda client, *_: client.subscribe([(each, 1) for each in filters])
    client.on_subscribe = lambda *_: ready.put(None)
    client.on_message = lambda _c, _u, message: received.put((topics.parse(message.topic), bytes(message.payload)))
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        ready.get(timeout=PATIENCE_S)
        yield received
    finally:
        client.disconnect()
        client.loop_stop()


def say(port: int, *messages: tuple[topics.Topic, bytes], qos: int = 1) -> None:
    """Publish as a client of its own; returns when the broker has them."""
    connected: queue.Queue[None] = queue.Queue()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda *_: connected.put(None)
    client.connect("127.0.0.1", port)
    client.loop_start()
    connected.get(timeout=PATIENCE_S)
    for topic, payload in messages:
        client.publish(str(topic), payload, qos=qos).wait_for_publish(PATIENCE_S)
    client.disconnect()
    client.loop_stop()


@pytest.mark.parametrize("version", [V311, V5], ids=["MQTT 3.1.1", "MQTT 5"])
@pytest.mark.parametrize("qos", [0, 1])
def test_what_is_chosen_is_lost_and_counted_and_the_rest_arrives_in_order(
    mosquitto: Mosquitto, proxy: LossyProxy, version: MQTTProtocolVersion, qos: int
) -> None:
    proxy.lost = lambda topic, payload: topic == DATA and payload.startswith(b"lost")
    lost = [(DATA, b"lost %d" % number) for number in range(2 * IN_FLIGHT)]
    kept = [(DATA, b"first"), (ACK, b"lost only under another topic"), (DATA, bytes(200_000))]
    with subscribed(proxy.port, *topics.device_filters(DEVICE), version=version) as received:
        say(mosquitto.port, kept[0], *lost, *kept[1:], qos=qos)
        assert [received.get(timeout=PATIENCE_S) for _ in kept] == kept
    assert proxy.dropped == {DATA: len(lost)}


def test_what_was_lost_is_not_only_late(mosquitto: Mosquitto, proxy: LossyProxy) -> None:
    """The broker believes that it arrived, so it does not come again with the session."""
    proxy.lost = lambda topic, _payload: topic == DATA
    with subscribed(proxy.port, *topics.device_filters(DEVICE), session="camera") as received:
        say(mosquitto.port, (DATA, b"lost"), (ACK, b"the lost one is behind us"))
        assert received.get(timeout=PATIENCE_S) == (ACK, b"the lost one is behind us")
    proxy.lost = nothing
    with subscribed(proxy.port, *topics.device_filters(DEVICE), session="camera") as received:
        say(mosquitto.port, (ACK, b"kept"))
        assert received.get(timeout=PATIENCE_S) == (ACK, b"kept")
    assert proxy.dropped == {DATA: 1}


def test_what_the_client_says_arrives_whatever_is_lost(mosquitto: Mosquitto, proxy: LossyProxy) -> None:
    proxy.lost = lambda *_: True
    with subscribed(mosquitto.port, *topics.server_filters()) as received:
        say(proxy.port, (WANT, b"a wish"))
        assert received.get(timeout=PATIENCE_S) == (WANT, b"a wish")
    assert not proxy.dropped


def test_a_client_sees_that_the_broker_is_away_and_finds_it_again(mosquitto: Mosquitto, proxy: LossyProxy) -> None:
    mosquitto.kill()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_S) as refused:
        assert refused.recv(1) == b""
    mosquitto.start()
    with subscribed(proxy.port, str(WANT)) as received:
        say(proxy.port, (WANT, b"a wish"))
        assert received.get(timeout=PATIENCE_S) == (WANT, b"a wish")


def test_a_mistake_in_what_is_to_be_lost_reaches_the_test(mosquitto: Mosquitto) -> None:
    asked = threading.Event()

    def mistaken(*_: object) -> bool:
        asked.set()
        raise ZeroDivisionError

    proxy = LossyProxy(mosquitto.port)
    proxy.start()
    proxy.lost = mistaken
    with subscribed(proxy.port, str(WANT)):
        say(mosquitto.port, (WANT, b"a wish"))
        assert asked.wait(PATIENCE_S)
        with pytest.raises(ZeroDivisionError):
            proxy.close()
