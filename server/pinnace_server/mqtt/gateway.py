"""The server's one MQTT connection: what devices send goes to the services in order, what services say goes out.

The network thread only puts messages on a bounded queue; one consumer thread hands all that wait to the services and
then lets the broker forget them, so a server that dies in between is sent them again. A third thread republishes
everything that is retained where the broker may have lost it. What the messages mean is left to the services;
duplicates are normal.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from pinnace_contract import topics
from pinnace_contract.topics import Topic
from pinnace_server.errors import Unavailable
from pinnace_server.mqtt.address import Address
from pinnace_server.mqtt.outgoing import MESSAGES_MAX, Outgoing

# Broker and client agree on at most some hundred QoS 1 messages in flight, so only a flood of QoS 0 fills it.
RECEIVED_MAX: Final = 2_000
INFLIGHT_MAX: Final = 100
TOGETHER_MAX: Final = 100  # all that the broker has in flight; for so long other writers of the database wait
KEEP_AGAIN_S: Final = 1.0  # until what could not be kept is handed over again
KEEPALIVE_S: Final = 30
RECONNECT_S: Final = (0.2, 0.8)  # the first wait is drawn from here, and doubles
RECONNECT_S_MAX: Final = 30.0
REPUBLISH_BYTES_WAITING: Final = 256 * 1024  # the next retained message waits until no more than this is under way
FLUSH_TIMEOUT_S: Final = 3.0
_WAIT_S: Final = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStatus:
    """What the console shows of the connection. Times are Unix seconds."""

    address: str
    connected_since_s: float | None = None
    last_error: str = ""
    last_error_at_s: float | None = None
    connections: int = 0
    received: int = 0
    failed: int = 0
    dropped_in: int = 0
    published: int = 0
    dropped_out: int = 0
    waiting_in: int = 0
    waiting_out_bytes: int = 0
    republishing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Received:
    connection: int
    number: int
    qos: int
    topic: str
    payload: bytes = field(repr=False)


class _Client(Client):
    """paho's client, which otherwise keeps to itself why a connection could not be made."""

    problem: OSError | None = None

    def reconnect(self) -> MQTTErrorCode:
        try:
            return super().reconnect()
        except OSError as error:
            self.problem = error
            raise


class Gateway:
    """Implements the ``Publisher`` port and feeds ``receive``."""

    def __init__(
        self,
        address: Address,
        receive: Callable[[Sequence[tuple[str, bytes]]], None],
        retained: Callable[[], Iterable[tuple[Topic, bytes]]],
        *,
        now_s: Callable[[], float],
        client_id: str = "pinnace-server",
        ca_file: Path | None = None,
        filters: Iterable[str] = topics.server_filters(),
        chance: random.Random | None = None,
    ) -> None:
        """``receive`` is given messages in order, and has kept them when it returns. ``client_id`` names the session at
        the broker, one each server; ``retained`` yields what belongs there.
        """
        self._receive = receive
        self._retained = retained
        self._now_s = now_s
        self._filters = [(each, 1) for each in filters]
        self._chance = chance or random.Random()
        self._status = GatewayStatus(address=str(address))
        self._lock = threading.Lock()  # of the status alone
        self._incoming: queue.Queue[_Received | None] = queue.Queue(RECEIVED_MAX)
        self._outgoing = Outgoing()
        self._connected = threading.Event()
        self._republish = threading.Event()
        self._stopping = threading.Event()
        self._address = address
        self._client = self._make_client(address, client_id, ca_file)
        self._threads = [
            threading.Thread(target=self._consume, name="gateway-consumer", daemon=True),
            threading.Thread(target=self._republish_loop, name="gateway-republish", daemon=True),
        ]

    def start(self) -> None:
        """Begin to connect, and go on trying; returns at once."""
        for thread in self._threads:
            thread.start()
        self._client.connect_async(self._address.host, self._address.port, KEEPALIVE_S)
        self._client.loop_start()

    def stop(self) -> None:
        """Finish the messages at hand, send what waits, leave. The broker keeps the session and all other messages."""
        self._stopping.set()
        self._republish.set()
        with contextlib.suppress(queue.Full):  # then the consumer is awake anyway
            self._incoming.put_nowait(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        if self._connected.is_set():
            self._outgoing.wait_below(0, FLUSH_TIMEOUT_S)
        self._client.disconnect()
        self._client.loop_stop()

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait for a connection; False when the time is over first."""
        return self._connected.wait(timeout_s)

    def publish(self, topic: Topic, payload: bytes, *, retained: bool = False, qos: int = 1) -> None:
        """Send a message, or keep it for the next connection where QoS is 1. Never waits.

        What finds no room is dropped and counted: a retained message is republished with all others later, any other
        is repeated by its sender until it is acknowledged.
        """
        if not self._outgoing.has_room(len(payload)):
            self._dropped_out(retained=retained)
            return
        taken = self._client.publish(str(topic), payload, qos=qos, retain=retained)
        if taken.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE or (qos == 0 and taken.rc != MQTTErrorCode.MQTT_ERR_SUCCESS):
            self._dropped_out(retained=retained)
            return
        self._outgoing.taken(taken.mid, len(payload), qos)
        self._count(published=1)

    def republish(self) -> None:
        """Publish everything retained again as soon as there is a connection; returns at once."""
        self._republish.set()

    def waiting_out_bytes(self) -> int:
        """Return how much was taken and has not left yet; what a sender of much paces itself by."""
        return self._outgoing.size_bytes

    def status(self) -> GatewayStatus:
        """Return what there is to show."""
        with self._lock:
            status = self._status
        return replace(
            status,
            waiting_in=self._incoming.qsize(),
            waiting_out_bytes=self._outgoing.size_bytes,
            republishing=self._republish.is_set(),
        )

    # --- paho's thread: nothing here may wait or raise -------------------------------------------------------------

    def _make_client(self, address: Address, client_id: str, ca_file: Path | None) -> Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
            manual_ack=True,
        )
        client.max_inflight_messages_set(INFLIGHT_MAX)
        client.max_queued_messages_set(MESSAGES_MAX)
        # Only the first wait differs from run to run; paho doubles it from there.
        client.reconnect_delay_set(self._chance.uniform(*RECONNECT_S), RECONNECT_S_MAX)  # type: ignore[arg-type]  # any number
        if address.user:
            client.username_pw_set(address.user, address.password)
        if address.tls:
            client.tls_set(ca_certs=str(ca_file) if ca_file else None)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def _on_connect(
        self, client: Client, _: object, flags: ConnectFlags, reason: ReasonCode, __: Properties | None
    ) -> None:
        if reason.is_failure:
            self._failed(f"the broker refused the connection: {reason}")
            return
        with self._lock:
            first = self._status.connections == 0
            self._status = replace(
                self._status, connections=self._status.connections + 1, connected_since_s=self._now_s()
            )
        # Also into a session that has it: a new subscription is what brings the retained messages again.
        client.subscribe(self._filters)
        if first or not flags.session_present:
            self._republish.set()
        _log.info("connected to %s, session %s", self._address, "kept" if flags.session_present else "new")
        self._connected.set()

    def _on_connect_fail(self, client: Client, _: object) -> None:
        problem = client.problem if isinstance(client, _Client) else None
        self._failed(f"no connection to {self._address}: {problem}")

    def _on_disconnect(
        self, _: Client, __: object, ___: DisconnectFlags, reason: ReasonCode, ____: Properties | None
    ) -> None:
        was_connected = self._connected.is_set()
        self._connected.clear()
        self._outgoing.connection_ended()
        with self._lock:
            self._status = replace(self._status, connected_since_s=None)
        if was_connected and not self._stopping.is_set():  # else the refusal has been told
            self._failed(f"the connection to {self._address} ended: {reason}")

    def _on_subscribe(
        self, _: Client, __: object, ___: int, reasons: list[ReasonCode], ____: Properties | None
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._failed("the broker refused the subscription to what devices send; nothing will be received")

    def _on_message(self, client: Client, _: object, message: MQTTMessage) -> None:
        if self._stopping.is_set():
            return  # unacknowledged: the next server is sent it
        try:
            received = _Received(
                connection=self._status.connections,
                number=message.mid,
                qos=message.qos,
                topic=message.topic,
                payload=bytes(message.payload),
            )
            self._incoming.put_nowait(received)
        except (queue.Full, UnicodeDecodeError):
            self._count(dropped_in=1)
            # Never acknowledged it would hold one of the broker's few places in flight; its sender repeats it.
            client.ack(message.mid, message.qos)

    def _on_publish(self, _: Client, __: object, number: int, ___: ReasonCode, ____: Properties | None) -> None:
        self._outgoing.sent(number)

    # --- our own threads -------------------------------------------------------------------------------------------

    def _consume(self) -> None:
        while not self._stopping.is_set():
            waiting = self._waiting()
            if not waiting:
                return
            if not self._handed_over(waiting):
                return
            self._count(received=len(waiting))
            # Numbers begin again with every session: one of an earlier connection may name another message now.
            for each in waiting:
                if each.connection == self._status.connections:
                    self._client.ack(each.number, each.qos)

    def _handed_over(self, waiting: Sequence[_Received]) -> bool:
        """Hand messages over until they are kept; False when the gateway stops first, and the broker keeps them.

        Where the disk is full or the database busy, no message is at fault: the broker holds what comes meanwhile.
        """
        while True:
            try:
                self._receive([(each.topic, each.payload) for each in waiting])
            except Unavailable as error:
                _log.error("%d messages cannot be kept and are handed over again: %s", len(waiting), error)
                if self._stopping.wait(KEEP_AGAIN_S):
                    return False
                continue
            except Exception:  # what failed once must not end the road for all that comes after
                self._count(failed=len(waiting))
                _log.exception("%d messages failed, the first on %s", len(waiting), waiting[0].topic)
            return True

    def _waiting(self) -> list[_Received]:
        """Wait for a message and return it with those behind it; none when the gateway stops."""
        first = self._incoming.get()
        found: list[_Received] = []
        while first is not None:
            found.append(first)
            if len(found) >= TOGETHER_MAX:
                break
            try:
                first = self._incoming.get_nowait()
            except queue.Empty:
                break
        return found

    def _republish_loop(self) -> None:
        while True:
            self._republish.wait()
            if self._stopping.is_set():
                return
            if not self._connected.wait(_WAIT_S):
                continue
            self._republish.clear()
            try:
                whole = self._republish_all()
            except Exception:
                whole = False
                _log.exception("republishing what is retained failed and is tried again")
                self._stopping.wait(RECONNECT_S[1])
            if not whole:
                self._republish.set()

    def _republish_all(self) -> bool:
        count = 0
        for topic, payload in self._retained():
            while not self._outgoing.wait_below(REPUBLISH_BYTES_WAITING, _WAIT_S):
                if self._stopping.is_set() or not self._connected.is_set():
                    return False
            if self._stopping.is_set() or not self._connected.is_set():
                return False
            self.publish(topic, payload, retained=True)
            count += 1
        _log.info("republished %d retained messages", count)
        return True

    def _dropped_out(self, *, retained: bool) -> None:
        self._count(dropped_out=1)
        if retained:
            self._republish.set()

    def _failed(self, problem: str) -> None:
        _log.warning("%s", problem)
        with self._lock:
            self._status = replace(self._status, last_error=problem, last_error_at_s=self._now_s())

    def _count(self, **grown: int) -> None:
        with self._lock:
            self._status = replace(
                self._status, **{name: getattr(self._status, name) + by for name, by in grown.items()}
            )
