"""The stream of changes: coalesced, alive, bounded, and over when the session is."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator

import pytest
from starlette.testclient import TestClient

from pinnace_server.console.stream import (
    STREAMS_PER_SESSION_MAX,
    TOPICS_KEPT_MAX,
    TOPICS_SENT_MAX,
    Changes,
    Pace,
    Streams,
    TooManyStreams,
)

# A stream's second takes a millisecond here; what happens in it is counted, not timed.
QUICK = Pace(coalesce_s=0.001, tick_s=0.005, heartbeat_s=0.015, check_s=0.03)


async def _take(lines: AsyncIterator[str], wanted: str) -> list[str]:
    """Read until a line of this kind."""
    taken = []
    async for line in lines:
        taken.append(line)
        if wanted in line:
            return taken
    raise AssertionError(f"the stream ended without {wanted!r}: {taken}")


def _topics(line: str) -> list[str]:
    return json.loads(line.partition("data: ")[2])["topics"]  # type: ignore[no-any-return]


def test_burst_of_changes_is_one_message() -> None:
    async def scene() -> None:
        changes = Changes()
        lines = Streams(changes, QUICK).join("s", lambda: True)
        assert "retry: 3000" in (await anext(lines))
        for _ in range(1000):
            changes.mark("overview")
            changes.mark("device:a")
        [*_, line] = await _take(lines, "changed")
        assert _topics(line) == ["device:a", "overview"]
        again = await _take(lines, "tick")
        assert not [line for line in again if "changed" in line]

    asyncio.run(scene())


def test_only_later_changes_are_told() -> None:
    async def scene() -> None:
        changes = Changes()
        changes.mark("before")
        lines = Streams(changes, QUICK).join("s", lambda: True)
        await anext(lines)
        threading.Thread(target=changes.mark, args=("after",)).start()
        [*_, line] = await _take(lines, "changed")
        assert _topics(line) == ["after"]

    asyncio.run(scene())


def test_silent_stream_ticks_and_beats() -> None:
    async def scene() -> None:
        taken = await _take(Streams(Changes(), QUICK).join("s", lambda: True), ": still here")
        assert sum("tick" in line for line in taken) == 3 + 1

    asyncio.run(scene())


def test_stream_says_goodbye_when_the_session_ended() -> None:
    async def scene() -> None:
        allowed = True
        streams = Streams(Changes(), QUICK)
        lines = streams.join("s", lambda: allowed)
        await _take(lines, "tick")
        allowed = False
        [*_, last] = await _take(lines, "bye")
        assert last == "event: bye\ndata: {}\n\n"
        assert [line async for line in lines] == []
        assert streams.open_count == 0

    asyncio.run(scene())


def test_streams_of_a_session_are_capped_and_given_back() -> None:
    async def scene() -> None:
        streams = Streams(Changes(), QUICK)
        held = [streams.join("s", lambda: True) for _ in range(STREAMS_PER_SESSION_MAX)]
        for lines in held:
            await anext(lines)
        with pytest.raises(TooManyStreams):
            streams.join("s", lambda: True)
        streams.join("other", lambda: True)
        await held[0].aclose()  # type: ignore[attr-defined]
        streams.join("s", lambda: True)

    asyncio.run(scene())


def test_closing_ends_every_stream() -> None:
    async def scene() -> None:
        streams = Streams(Changes(), QUICK)
        lines = streams.join("s", lambda: True)
        await anext(lines)
        streams.close()
        assert [line async for line in lines if "tick" not in line] == []

    asyncio.run(scene())


def test_many_topics_are_told_as_everything() -> None:
    changes = Changes()
    for number in range(TOPICS_SENT_MAX + 1):
        changes.mark(f"device:{number}")
    assert changes.since(0)[1] == ["*"]
    assert changes.since(1)[1] == sorted(f"device:{number}" for number in range(1, TOPICS_SENT_MAX + 1))


def test_forgotten_topics_are_told_as_everything() -> None:
    changes = Changes()
    for number in range(TOPICS_KEPT_MAX + 1):
        changes.mark(f"device:{number}")
    version, topics = changes.since(changes.version)
    assert topics == []
    assert changes.since(0)[1] == ["*"]
    assert version == TOPICS_KEPT_MAX + 1


def test_stranger_gets_no_stream(stranger: TestClient) -> None:
    assert stranger.get("/events").status_code == 401
