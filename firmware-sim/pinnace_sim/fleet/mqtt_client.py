"""One MQTT 3.1.1 connection as an asyncio protocol, small enough that a process holds ten thousand of them.

Owns the bytes of one connection, from CONNECT to its end. Reconnecting, and sending again what was not acknowledged,
are left to whoever speaks. What is received at QoS 1 is acknowledged when ``arrived`` has returned.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

PACKET_BYTES_MAX: Final = 4 * 1024 * 1024  # the embedded broker's own limit
UNSENT_BYTES_MAX: Final = 1024 * 1024  # more than every message of the contract; above it nothing is taken
UNACKNOWLEDGED_MAX: Final = 64  # what paho may hold for the real agent
CONNACK_TIMEOUT_S: Final = 60.0  # a broker that ten thousand come to at once answers late
LATE: Final = 1.5  # times the keepalive without a word from the broker: the connection is dead
PING_AT: Final = 0.75  # of the keepalive: a busy event loop is late, and a broker ends who is

_CONNECT, _CONNACK, _PUBLISH, _PUBACK, _DISCONNECT = 1, 2, 3, 4, 14
_SUBSCRIBE, _SUBACK, _PINGREQ, _PINGRESP = 8, 9, 12, 13
_CLEAN_START, _WILL, _WILL_QOS_1, _WILL_RETAINED, _PASSWORD, _USER = 0x02, 0x04, 0x08, 0x20, 0x40, 0x80
_REFUSED_SUBSCRIPTION: Final = 0x80

Buffer: TypeAlias = bytes | bytearray


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is published."""

    topic: str
    payload: bytes
    qos: int = 1
    retained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who connects, and what the broker says for him when he vanishes."""

    client_id: str
    clean: bool = False
    keepalive_s: int = 30
    will: Message | None = None
    user: str = ""
    password: str = ""


class Listener(Protocol):
    """Whom a connection is for. ``lost`` comes once, last, and not after ``close`` or ``vanish``."""

    def connected(self, session_kept: bool) -> None: ...
    def arrived(self, topic: str, payload: bytes) -> None: ...
    def lost(self, reason: str) -> None: ...


class BadPacket(Exception):
    """Bytes that are not MQTT 3.1.1, or larger than anything in the contract."""


class MqttClient(asyncio.Protocol):
    """One connection; made by ``open_connection``."""

    __slots__ = (
        "_closing",
        "_heard_s",
        "_is_up",
        "_listener",
        "_loop",
        "_next_id",
        "_pinged_s",
        "_rest",
        "_session",
        "_timer",
        "_transport",
        "_unacknowledged",
    )

    def __init__(self, session: Session, listener: Listener) -> None:
        self._session, self._listener = session, listener
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rest = bytearray()
        self._unacknowledged: set[int] = set()
        self._next_id = 1
        self._is_up = self._closing = False
        self._heard_s = self._loop.time()
        self._pinged_s: float | None = None

    # --- what the owner asks -----------------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether the broker took the connection and it is not over."""
        return self._is_up

    @property
    def unacknowledged(self) -> int:
        """How many QoS 1 messages the broker has not acknowledged."""
        return len(self._unacknowledged)

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """Ask for topics at QoS 1; a refusal ends the connection."""
        body = bytearray(self._take_id().to_bytes(2, "big"))
        for each in filters:
            body += _text(each) + b"\x01"
        self._write(_packet(_SUBSCRIBE << 4 | 2, body))

    def publish(self, message: Message) -> bool:
        """Send a message; False where there is no connection or it is behind, and then the caller keeps it."""
        transport = self._transport
        if not self._is_up or transport is None or transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            return False
        head = _text(message.topic)
        if message.qos:
            if len(self._unacknowledged) >= UNACKNOWLEDGED_MAX:
                return False
            number = self._take_id()
            self._unacknowledged.add(number)
            head += number.to_bytes(2, "big")
        flags = _PUBLISH << 4 | message.qos << 1 | message.retained
        self._write(_packet(flags, head, len(message.payload)) + message.payload)
        return True

    def close(self) -> None:
        """Say goodbye after what was published, and end; the broker then keeps the will to itself."""
        if self._transport is not None and not self._closing:
            if self._is_up:
                self._write(_packet(_DISCONNECT << 4, b""))
            self._over()
            self._transport.close()
        self._closing = True

    def vanish(self) -> None:
        """Be cut off: nothing more is sent, and the broker publishes the will."""
        if self._transport is not None and not self._closing:
            self._over()
            self._transport.abort()
        self._closing = True

    def pause_reading(self, seconds: float) -> None:
        """Take nothing from the wire for a while: a slow link."""
        transport = self._transport
        if transport is None or self._closing or not transport.is_reading():
            return
        transport.pause_reading()
        self._loop.call_later(seconds, self._read_on)

    def _read_on(self) -> None:
        if self._transport is not None and not self._closing and not self._transport.is_closing():
            self._transport.resume_reading()

    # --- asyncio's side ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The line is there: send CONNECT."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._closing:  # the owner changed his mind meanwhile
            transport.abort()
            return
        self._write(_connect(self._session))
        self._timer = self._loop.call_later(CONNACK_TIMEOUT_S, self._fail, "the broker does not answer")

    def data_received(self, data: bytes) -> None:
        """Handle every whole packet."""
        self._heard_s = self._loop.time()
        waiting: Buffer = data
        if self._rest:
            self._rest += data
            waiting = self._rest
        try:
            at = self._handle_all(waiting)
        except BadPacket as problem:
            self._fail(str(problem))
            return
        if waiting is self._rest:
            # A new one where nothing is left: a buffer keeps the memory of the largest packet that it ever held.
            self._rest = self._rest[at:] if at < len(self._rest) else bytearray()
        elif at < len(data):
            self._rest += memoryview(data)[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        """The line is gone."""
        self._fail(str(exc) if exc is not None else "the broker ended the connection")

    # --- packets -----------------------------------------------------------------------------------------------------

    def _handle_all(self, waiting: Buffer) -> int:
        at = 0
        while not self._closing:
            found = _measured(waiting, at)
            if found is None:
                break
            start, end = found
            if end > len(waiting):
                break
            self._handle(waiting[at], bytes(memoryview(waiting)[start:end]))
            at = end
        return at

    def _handle(self, first: int, body: bytes) -> None:
        kind = first >> 4
        if kind == _PUBLISH:
            self._published(first, body)
        elif kind == _PUBACK and len(body) == 2:
            self._unacknowledged.discard(int.from_bytes(body, "big"))
        elif kind == _CONNACK and len(body) == 2:
            self._accepted(kept=bool(body[0] & 1), code=body[1])
        elif kind == _SUBACK and len(body) > 2:
            if _REFUSED_SUBSCRIPTION in body[2:]:
                raise BadPacket("the broker refused a subscription")
        elif kind != _PINGRESP:
            raise BadPacket(f"the broker sent a packet of type {kind} with {len(body)} bytes")

    def _accepted(self, *, kept: bool, code: int) -> None:
        if code:
            raise BadPacket(f"the broker refused the connection with code {code}")
        if self._timer is not None:
            self._timer.cancel()
        self._is_up = True
        if self._session.keepalive_s:
            self._timer = self._loop.call_later(self._session.keepalive_s * PING_AT, self._stay_alive)
        self._listener.connected(kept)

    def _published(self, first: int, body: bytes) -> None:
        size = int.from_bytes(body[:2], "big")
        qos, at = first >> 1 & 3, 2 + size
        number = b""
        if qos:
            number, at = body[at : at + 2], at + 2
        if len(body) < at or qos > 1:
            raise BadPacket(f"the broker published {len(body)} bytes at QoS {qos}, which is not understood")
        self._listener.arrived(body[2 : 2 + size].decode(errors="replace"), body[at:])
        if qos and not self._closing:
            self._write(_packet(_PUBACK << 4, number))

    def _stay_alive(self) -> None:
        keepalive_s, now_s = self._session.keepalive_s, self._loop.time()
        if self._pinged_s is None or self._heard_s >= self._pinged_s:
            self._pinged_s = now_s
        elif now_s - self._pinged_s > LATE * keepalive_s:
            self._fail("the broker fell silent")
            return
        self._write(_packet(_PINGREQ << 4, b""))
        self._timer = self._loop.call_later(keepalive_s * PING_AT, self._stay_alive)

    def _fail(self, reason: str) -> None:
        if self._closing:
            return
        self._over()
        self._closing = True
        if self._transport is not None:
            self._transport.abort()
        self._listener.lost(reason)

    def _over(self) -> None:
        self._is_up = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write(self, data: Buffer) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _take_id(self) -> int:
        number = self._next_id
        while number in self._unacknowledged:
            number = number % 0xFFFF + 1
        self._next_id = number % 0xFFFF + 1
        return number


async def open_connection(
    host: str, port: int, session: Session, listener: Listener, *, tls: ssl.SSLContext | None = None
) -> MqttClient:
    """Connect to a broker; what becomes of it the listener hears.

    Raises:
        OSError: nobody listens there.
    """
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: MqttClient(session, listener), host, port, ssl=tls)
    return client


def _connect(session: Session) -> bytes:
    flags = _CLEAN_START if session.clean else 0
    fields = [_text(session.client_id)]
    if session.will is not None:
        flags |= _WILL | (_WILL_QOS_1 if session.will.qos else 0) | (_WILL_RETAINED if session.will.retained else 0)
        fields += [_text(session.will.topic), _sized(session.will.payload)]
    if session.user:
        flags |= _USER | _PASSWORD
        fields += [_text(session.user), _text(session.password)]
    head = _text("MQTT") + bytes((4, flags)) + session.keepalive_s.to_bytes(2, "big")
    return _packet(_CONNECT << 4, head + b"".join(fields))


def _text(text: str) -> bytes:
    return _sized(text.encode())


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _packet(first: int, body: Buffer, more_bytes: int = 0) -> bytes:
    """Return a packet, up to ``more_bytes`` of a payload that the caller adds."""
    left = len(body) + more_bytes
    if left > PACKET_BYTES_MAX:
        raise ValueError(f"a packet has at most {PACKET_BYTES_MAX} bytes; this one has {left}")
    size = bytearray()
    while True:
        left, digit = divmod(left, 128)
        size.append(digit | 128 if left else digit)
        if not left:
            return bytes((first,)) + bytes(size) + bytes(body)


def _measured(waiting: Buffer, at: int) -> tuple[int, int] | None:
    """Return where a packet's content begins and ends, or None while its length is not there yet."""
    size, shift = 0, 0
    for place in range(at + 1, min(at + 5, len(waiting))):
        digit = waiting[place]
        size |= (digit & 127) << shift
        shift += 7
        if digit < 128:
            if size > PACKET_BYTES_MAX:
                raise BadPacket(f"the broker sent a packet of {size} bytes")
            return place + 1, place + 1 + size
    if len(waiting) >= at + 5:
        raise BadPacket("the broker sent a packet without a length")
    return None
