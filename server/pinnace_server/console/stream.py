"""The event stream: which topics changed, once a second at most, to each console that is open.

It carries names only. What changed is fetched by the page, and so authorised, by itself.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

STREAMS_PER_SESSION_MAX = 8  # one per browser is normal; without SharedWorker one per tab, and six is all it opens
STREAMS_MAX = 512
TOPICS_KEPT_MAX = 20_000
TOPICS_SENT_MAX = 64  # beyond, "*": fetching a page once is cheaper than reading a list
EVERYTHING = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a stream does what, in seconds."""

    coalesce_s: float = 1.0
    tick_s: float = 5.0  # heard by the page, which shows the age of its data after ten silent seconds
    heartbeat_s: float = 15.0  # a comment, heard by proxies that cut silent connections
    check_s: float = 30.0
    retry_ms: int = 3000


class Changes:
    """The last change of every topic. Written by any thread, read by every stream at its own pace.

    Versions only grow, from ``first`` on; a server that starts later starts higher, so that a page which outlived a
    restart sees that it is behind.
    """

    def __init__(self, first: int = 0) -> None:
        self._lock = threading.Lock()
        self._topics: OrderedDict[str, int] = OrderedDict()
        self._version = first
        self._forgotten = first

    @property
    def version(self) -> int:
        """The number of the last change."""
        with self._lock:
            return self._version

    def mark(self, topic: str) -> None:
        """Note that a topic changed. Returns at once."""
        with self._lock:
            self._version += 1
            self._topics[topic] = self._version
            self._topics.move_to_end(topic)
            if len(self._topics) > TOPICS_KEPT_MAX:
                self._forgotten = self._topics.popitem(last=False)[1]

    def since(self, version: int) -> tuple[int, list[str]]:
        """Return the version now and the topics that changed after ``version``, or everything if they are many."""
        with self._lock:
            found: list[str] = []
            for topic, changed in reversed(self._topics.items()):
                if changed <= version:
                    break
                found.append(topic)
                if len(found) > TOPICS_SENT_MAX:
                    return self._version, [EVERYTHING]
            return self._version, [EVERYTHING] if version < self._forgotten else sorted(found)


class TooManyStreams(Exception):
    """A session, or the server, has as many streams open as it may."""


class Streams:
    """The streams that are open, and the way to end them all."""

    def __init__(self, changes: Changes, pace: Pace | None = None) -> None:
        self._changes = changes
        self._pace = pace or Pace()
        self._open: Counter[str] = Counter()
        self._closing = False

    @property
    def open_count(self) -> int:
        """How many streams are open."""
        return self._open.total()

    def close(self) -> None:
        """End every stream within a second, so that the server can stop. Safe from a signal handler."""
        self._closing = True

    def join(self, session_id: str, still_allowed: Callable[[], bool]) -> AsyncIterator[str]:
        """Return a new stream for this session.

        Raises:
            TooManyStreams: the caps are reached.
        """
        if self._open[session_id] >= STREAMS_PER_SESSION_MAX or self.open_count >= STREAMS_MAX:
            raise TooManyStreams
        return self._lines(session_id, still_allowed)

    async def _lines(self, session_id: str, still_allowed: Callable[[], bool]) -> AsyncIterator[str]:
        # Counted here and not in join(): an answer that is never begun would never be counted off.
        pace, version = self._pace, self._changes.version
        self._open[session_id] += 1
        try:
            yield f"retry: {pace.retry_ms}\n\n{_tick(version)}"
            beats = 0
            while not self._closing:
                await asyncio.sleep(pace.coalesce_s)
                beats += 1
                if _every(beats, pace.check_s, pace) and not still_allowed():
                    yield "event: bye\ndata: {}\n\n"
                    return
                version, topics = self._changes.since(version)
                if topics:
                    yield f"event: changed\ndata: {json.dumps({'topics': topics, 'version': version})}\n\n"
                if _every(beats, pace.tick_s, pace):
                    yield _tick(version)
                if _every(beats, pace.heartbeat_s, pace):
                    yield ": still here\n\n"
        finally:
            self._open[session_id] -= 1
            if not self._open[session_id]:
                del self._open[session_id]


def _tick(version: int) -> str:
    """Say that the server lives and what it has told; a page that was made before that has missed something."""
    return f"event: tick\ndata: {json.dumps({'version': version})}\n\n"


def _every(beats: int, seconds: float, pace: Pace) -> bool:
    return beats % max(1, round(seconds / pace.coalesce_s)) == 0
