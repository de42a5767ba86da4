"""The network: one broker, a line to each device, and what happens to messages on the way.

The broker keeps to MQTT 3.1.1 as far as the contract uses it: sessions that outlive connections, QoS 0 and 1, retained
messages, wills, takeover of a client id. What faults there are is said by the world; the shares of single messages are
drawn here.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Protocol

from pinnace_contract import topics
from pinnace_sim import chance as chances
from pinnace_sim.faults import FaultKind, MessageFaults
from pinnace_sim.journal import Journal
from pinnace_sim.links import Course, LinkRow
from pinnace_sim.schedule import Schedule

KEEPALIVE_S: Final = 45.0  # one and a half times the agent's 30 s: when a silent connection is given up
QUEUED_MAX: Final = 1_000  # QoS 1 messages that the broker holds for a client that is away
AUTOSAVE_S: Final = 5.0  # what a restart of the embedded broker may take of the last seconds
SERVER: Final = "server"
UNREACHABLE: Final = "the broker cannot be reached"


@dataclass(frozen=True, slots=True)
class Message:
    """One publication."""

    topic: str
    payload: bytes
    qos: int


class Client(Protocol):
    """An end of a connection."""

    def connected(self, number: int, session: bool) -> None: ...
    def lost(self, number: int, reason: str) -> None: ...
    def arrived(self, message: Message) -> None: ...


@dataclass(slots=True, kw_only=True)
class Connection:
    """One connection of a client; ``number`` is the client's own."""

    client: Client
    name: str
    number: int
    will: Callable[[], Message] | None  # most connections never say theirs, and it is signed
    bytes_s: float
    alive: bool = True
    flushed: bool = False  # its process died, and what it had said is still sent by the system
    up_free_s: float = 0.0
    down_free_s: float = 0.0
    since_s: float = 0.0


@dataclass(slots=True)
class Session:
    """What the broker keeps for a client id."""

    connection: Connection | None = None
    waiting: deque[tuple[float, Message]] = field(default_factory=deque)


@dataclass(slots=True)
class Line:
    """Until when nothing passes between a device and the broker, by direction."""

    up_dark_s: float = 0.0
    down_dark_s: float = 0.0


class Network:
    """The broker and all lines."""

    def __init__(
        self, schedule: Schedule, seed: int, faults: MessageFaults, journal: Journal, counts: Counter[str]
    ) -> None:
        self._schedule, self._faults, self._journal, self._counts = schedule, faults, journal, counts
        self._chance = chances.stream(seed, "network")
        self._sessions: dict[str, Session] = {}
        self._lines: dict[str, Line] = {}
        self._courses: dict[str, Course] = {}
        self.size_of: Callable[[Message], int] = lambda message: len(message.payload)
        self.carried: Counter[str] = Counter()  # bytes of each client, both ways
        self._retained: dict[str, dict[str, bytes]] = {}  # by subscriber ("" is every device), then by topic
        self._changed: deque[tuple[float, str, bytes | None]] = deque()
        self._down_until_s = 0.0
        self._calm = False

    # --- what clients do ---------------------------------------------------------------------------------------------

    def connect(self, connection: Connection) -> None:
        """Begin a connection; ``connected`` or ``lost`` follows."""
        if self._is_dark(connection.name) or self._is_down:
            self._schedule.after(10.0, lambda: self._end(connection, UNREACHABLE, will_after_s=None))
            return
        self._schedule.after(2 * self._delay_s(connection.name), lambda: self._accept(connection))

    def publish(self, connection: Connection, message: Message, *, retained: bool) -> None:
        """Send to the broker; what is under way when the connection ends is lost."""
        arrives_s = self._arrival(connection, self.size_of(message), up=True)
        if message.qos == 0 and self._falls(FaultKind.LOSS, self._loss(connection.name)):
            return
        self._schedule.at(arrives_s, lambda: self._received(connection, message, retained))

    def close(self, connection: Connection, last: Message | None) -> None:
        """End a connection in order: its will is not published."""
        if connection.alive:
            connection.alive, connection.will = False, None
            session = self._sessions.get(connection.name)
            if session is not None and session.connection is connection:
                session.connection = None
                if last is not None and not self._is_dark(connection.name):
                    self._route(last, retained=True)

    # --- what the world does -----------------------------------------------------------------------------------------

    def darken(self, name: str, seconds: float, *, up: bool, down: bool) -> None:
        """Let nothing pass on a device's line; both ends notice when nothing came for too long."""
        line = self._lines.setdefault(name, Line())
        until_s = self._schedule.now_s + seconds
        line.up_dark_s = max(line.up_dark_s, until_s if up else 0.0)
        line.down_dark_s = max(line.down_dark_s, until_s if down else 0.0)
        session = self._sessions.get(name)
        connection = session.connection if session else None
        if connection is not None and seconds > KEEPALIVE_S / 2:
            self._schedule.after(
                min(seconds, KEEPALIVE_S), lambda: self._end(connection, "nothing was heard", will_after_s=0.0)
            )

    def follow(self, name: str, course: Course) -> None:
        """Let a device's line be as a trace says from now on."""
        self._courses[name] = course
        self._turn(name, course)

    def _turn(self, name: str, course: Course) -> None:
        if self._courses.get(name) is not course:
            return
        now_s = self._schedule.now_s
        row, next_s = course.at(now_s), course.next_after(now_s)
        up, down = row.up_bytes_s <= 0, row.down_bytes_s <= 0
        if up or down:
            self.darken(name, next_s - now_s, up=up, down=down)
        if next_s < math.inf:
            self._schedule.at(next_s, lambda: self._turn(name, course))

    def reset(self, name: str) -> bool:
        """Break a connection now; tell whether there was one."""
        session = self._sessions.get(name)
        if session is None or session.connection is None:
            return False
        self._end(session.connection, "the connection was reset", will_after_s=self._chance.uniform(0.0, KEEPALIVE_S))
        return True

    def vanish(self, connection: Connection, *, flushes: bool = False) -> None:
        """Let a client be no more, without a word: the broker notices later. ``flushes``: its machine lives on."""
        if connection.alive:
            connection.alive, connection.flushed = False, flushes
            self._schedule.after(self._chance.uniform(0.0, KEEPALIVE_S), lambda: self._say_will(connection))

    def restart(self, seconds: float, *, forgets: bool) -> None:
        """Let the broker be away, and come back with what it had saved, or with nothing."""
        for name in sorted(self._sessions):
            connection = self._sessions[name].connection
            if connection is not None:
                connection.will = None
                self._end(connection, "the broker went away", will_after_s=None)
        self._down_until_s = self._schedule.now_s + seconds
        if forgets:
            self._sessions.clear()
            self._retained.clear()
            self._changed.clear()
            return
        saved_s = self._schedule.now_s - self._chance.uniform(0.0, AUTOSAVE_S)
        while self._changed and self._changed[-1][0] > saved_s:
            _, topic, before = self._changed.pop()
            self._set_retained(topic, before)
        for session in self._sessions.values():
            while session.waiting and session.waiting[-1][0] > saved_s:
                session.waiting.pop()

    def be_calm(self) -> None:
        """Let nothing go wrong any more."""
        self._calm = True
        self._lines.clear()
        self._courses.clear()
        self._down_until_s = 0.0

    def inject(self, message: Message) -> None:
        """Let somebody publish a retained message that nobody here sent."""
        self._route(message, retained=True)

    def give_back(self, name: str, message: Message) -> None:
        """Take back a message that a client did not come to acknowledge: it is sent with the next connection."""
        session = self._sessions.get(name)
        if message.qos == 1 and session is not None:
            session.waiting.append((self._schedule.now_s, message))

    def in_contact_since(self, name: str) -> float | None:
        """Return since when a client has been connected over a line that is not dark; None: it is not."""
        session = self._sessions.get(name)
        if session is None or session.connection is None or not session.connection.alive or self._is_dark(name):
            return None
        line = self._lines.get(name) or Line()
        return max(session.connection.since_s, line.up_dark_s, line.down_dark_s)

    def busy_until_s(self, name: str) -> float:
        """Return when a client will have what was sent to it so far; 0: it is not connected."""
        session = self._sessions.get(name)
        return 0.0 if session is None or session.connection is None else session.connection.down_free_s

    def retained(self, topic: topics.Topic) -> bytes | None:
        """Return what stands on the broker."""
        return self._standing(str(topic))

    # --- inside ------------------------------------------------------------------------------------------------------

    @property
    def _is_down(self) -> bool:
        return self._schedule.now_s < self._down_until_s

    def _is_dark(self, name: str) -> bool:
        line = self._lines.get(name)
        return line is not None and max(line.up_dark_s, line.down_dark_s) > self._schedule.now_s

    def _falls(self, kind: FaultKind, share: float) -> bool:
        if self._calm or not chances.picked(self._chance, share):
            return False
        self._counts[kind] += 1
        return True

    def _delay_s(self, name: str) -> float:
        if name == SERVER:
            return 0.002
        row = self._row(name)
        delay_s = self._chance.uniform(*self._faults.delay_s) if row is None else row.delay_s
        if self._falls(FaultKind.SLOW, self._faults.slow):
            delay_s += self._chance.uniform(*self._faults.slow_s)
        return delay_s

    def _row(self, name: str) -> LinkRow | None:
        course = self._courses.get(name)
        return None if course is None else course.at(self._schedule.now_s)

    def _loss(self, name: str) -> float:
        row = self._row(name)
        return self._faults.loss if row is None else max(self._faults.loss, row.loss)

    def _bytes_s(self, connection: Connection, *, up: bool) -> float:
        """Return what the line carries now; a message that is under way when that changes goes on as it began."""
        row = self._row(connection.name)
        if row is None:
            return connection.bytes_s
        return (row.up_bytes_s if up else row.down_bytes_s) or connection.bytes_s

    def _arrival(self, connection: Connection, size_bytes: int, *, up: bool) -> float:
        """Return when a message is at the other end: after its bytes, in order, unless it is overtaken."""
        self.carried[connection.name] += size_bytes
        now_s, took_s = self._schedule.now_s, size_bytes / self._bytes_s(connection, up=up)
        free_s = connection.up_free_s if up else connection.down_free_s
        arrives_s = max(now_s + self._delay_s(connection.name), free_s) + took_s
        if connection.name != SERVER and self._falls(FaultKind.REORDER, self._faults.reorder):
            return arrives_s + self._chance.uniform(0.1, 5.0)
        if up:
            connection.up_free_s = arrives_s
        else:
            connection.down_free_s = arrives_s
        return arrives_s

    def _accept(self, connection: Connection) -> None:
        if not connection.alive:
            return
        if self._is_down or self._is_dark(connection.name):
            self._end(connection, UNREACHABLE, will_after_s=None)
            return
        known = connection.name in self._sessions
        session = self._sessions.setdefault(connection.name, Session())
        if session.connection is not None:
            self._end(session.connection, "another connection took over", will_after_s=0.0)
        session.connection, connection.since_s = connection, self._schedule.now_s
        self._journal.write("connected", connection.name, number=connection.number, session=known)
        connection.client.connected(connection.number, known)
        # What waited is sent with the connection, what is retained only when the client has subscribed (MQTT 3.1.1,
        # 3.8.4): the newest comes last.
        waiting, session.waiting = session.waiting, deque()
        for _, message in waiting:
            self._send(connection, message)
        retained = self._retained.get(connection.name, {}) | self._retained.get("", {})
        for topic in sorted(retained):
            self._send(connection, Message(topic, retained[topic], 1))

    def _received(self, connection: Connection, message: Message, retained: bool) -> None:
        if not (connection.alive or connection.flushed) or self._is_down:
            return
        line = self._lines.get(connection.name)
        if line is not None and line.up_dark_s > self._schedule.now_s:  # TCP sends it again once there is light
            self._schedule.at(line.up_dark_s, lambda: self._received(connection, message, retained))
            return
        self._route(message, retained=retained)
        if message.qos == 1 and self._falls(FaultKind.DUPLICATE, self._faults.duplicate):
            self._route(message, retained=retained)

    def _route(self, message: Message, *, retained: bool) -> None:
        if retained:
            self._changed.append((self._schedule.now_s, message.topic, self._standing(message.topic)))
            while self._changed and self._changed[0][0] < self._schedule.now_s - AUTOSAVE_S:
                self._changed.popleft()
            self._set_retained(message.topic, message.payload)
        aim = _subscriber(message.topic)
        if aim:
            self._to(aim, message)
            return
        for name in [each for each in self._sessions if each != SERVER]:
            self._to(name, message)

    def _set_retained(self, topic: str, payload: bytes | None) -> None:
        standing = self._retained.setdefault(_subscriber(topic), {})
        if payload:
            standing[topic] = payload
        else:
            standing.pop(topic, None)

    def _standing(self, topic: str) -> bytes | None:
        return self._retained.get(_subscriber(topic), {}).get(topic)

    def _to(self, name: str, message: Message) -> None:
        session = self._sessions.get(name)
        if session is None:
            return
        if session.connection is not None:
            self._send(session.connection, message)
        elif message.qos == 1 and len(session.waiting) < QUEUED_MAX:
            session.waiting.append((self._schedule.now_s, message))

    def _send(self, connection: Connection, message: Message) -> None:
        arrives_s = self._arrival(connection, self.size_of(message), up=False)
        if message.qos == 0 and connection.name != SERVER:
            if self._falls(FaultKind.LOSS, self._loss(connection.name)):
                return
            if self._falls(FaultKind.DAMAGE, self._faults.damage):
                message = Message(message.topic, self._damaged(message.payload), 0)
        self._schedule.at(arrives_s, lambda: self._deliver(connection, message))

    def _deliver(self, connection: Connection, message: Message) -> None:
        line = self._lines.get(connection.name)
        if connection.alive and line is not None and line.down_dark_s > self._schedule.now_s:
            self._schedule.at(line.down_dark_s, lambda: self._deliver(connection, message))
            return
        if connection.alive:
            connection.client.arrived(message)
            if not (message.qos == 1 and self._falls(FaultKind.DUPLICATE, self._faults.duplicate)):
                return
        session = self._sessions.get(connection.name)
        if message.qos == 0 or session is None:
            return
        # Not acknowledged, so it comes again with the next connection, which may be there already.
        if session.connection is not None and session.connection is not connection:
            self._send(session.connection, message)
        elif len(session.waiting) < QUEUED_MAX:
            session.waiting.append((self._schedule.now_s, message))

    def _end(self, connection: Connection, reason: str, *, will_after_s: float | None) -> None:
        if not connection.alive:
            return
        connection.alive = False
        self._journal.write("disconnected", connection.name, number=connection.number, reason=reason)
        session = self._sessions.get(connection.name)
        if session is not None and session.connection is connection:
            session.connection = None
        self._schedule.after(0.0, lambda: connection.client.lost(connection.number, reason))
        if will_after_s is not None:
            self._schedule.after(will_after_s, lambda: self._say_will(connection))

    def _say_will(self, connection: Connection) -> None:
        session = self._sessions.get(connection.name)
        if session is not None and session.connection is connection:
            session.connection = None
        if connection.will is not None and not self._is_down:
            will, connection.will = connection.will, None
            self._journal.write("will", connection.name, number=connection.number)
            self._route(will(), retained=True)

    def _damaged(self, payload: bytes) -> bytes:
        at = self._chance.randrange(len(payload))
        return payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]


@lru_cache(maxsize=65_536)
def _subscriber(topic: str) -> str:
    """Return who has subscribed to a topic; "" is every device. Held against the contract's filters by a test."""
    found = topics.parse(topic)
    match found:
        case topics.UpTopic() | topics.ResultTopic():
            return SERVER
        case topics.DownTopic() | topics.CommandTopic():
            return found.device
        case _:
            return ""
