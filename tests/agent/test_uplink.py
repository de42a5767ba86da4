"""When the device connects, and that the numbers of its statements only grow."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from pinnace_agent.uplink import LAST_RETRY_S, TAKEOVER_PAUSE_S, Uplink
from pinnace_contract import topics
from pinnace_contract.ids import DeviceId, KeyId, digest_of
from pinnace_contract.latest import Presence
from tests.contract import examples


class FakeLink:
    def __init__(self) -> None:
        self.urls: list[str] = []

    def connect(self, url: str, *, number: int, will: Callable[[], bytes]) -> None:
        self.urls.append(url)

    def publish(self, topic: topics.Topic, payload: bytes, *, qos: int = 1, retained: bool = False) -> bool:
        return True

    def close(self, last: tuple[topics.Topic, bytes] | None = None) -> None:
        return


class FakeKey:
    keyid = KeyId(digest_of(b"key"))

    def sign(self, data: bytes) -> bytes:
        return b"signature"


def will() -> Presence:
    return examples.PRESENCE


def uplink(*endpoints: str) -> tuple[Uplink, FakeLink]:
    link = FakeLink()
    made = Uplink(link=link, key=FakeKey(), endpoints=endpoints or ("mqtt://a:1",), chance=random.Random(1))
    return made, link


def test_it_connects_at_once_and_then_backs_off_to_a_minute() -> None:
    up, link = uplink()
    now, number, tried = 0.0, 0, []
    while now < 1000:
        if up.due(now):
            number += 1
            up.connect(number, will, now)
            up.lost(number, "refused", now)
            tried.append(now)
        now += 0.25
    gaps = [b - a for a, b in itertools.pairwise(tried)]
    assert tried[0] == 0
    assert gaps[0] < 3
    assert LAST_RETRY_S / 2 <= gaps[-1] <= LAST_RETRY_S + 1
    assert len(link.urls) == len(tried)


def test_every_endpoint_is_tried_in_turn() -> None:
    up, link = uplink("mqtt://a:1", "mqtt://b:1")
    for number in (1, 2, 3):
        up.connect(number, will, 0.0)
        up.lost(number, "refused", 0.0)
    assert link.urls == ["mqtt://a:1", "mqtt://b:1", "mqtt://a:1"]


def test_three_connections_that_end_at_once_give_the_line_to_the_other() -> None:
    up, _ = uplink()
    now = 0.0
    for number in (1, 2, 3):
        up.connect(number, will, now)
        assert up.established(number, now)
        up.lost(number, "taken over", now + 1)
        now += 10
    assert up.retry_at_s is not None
    assert up.retry_at_s - (now - 9) >= TAKEOVER_PAUSE_S / 2


def test_numbers_of_statements_grow_across_connections() -> None:
    up, _ = uplink()
    numbers = []
    for connection in (7, 8):
        up.connect(connection, will, 0.0)
        numbers += [up.next_seq(), up.next_seq()]
    assert numbers == sorted(set(numbers))


def test_the_end_of_a_connection_that_was_given_up_changes_nothing() -> None:
    up, _ = uplink()
    up.connect(2, will, 0.0)
    assert up.established(2, 0.0)
    up.lost(1, "late", 1.0)
    assert up.connected
    assert not up.established(1, 1.0)


def test_nothing_is_said_without_a_connection() -> None:
    up, _ = uplink()
    topic = topics.UpTopic(device=DeviceId("a"), channel=topics.Up.REPORT)
    assert not up.say(topic, b"x")
    up.connect(1, will, 0.0)
    up.established(1, 0.0)
    assert up.say(topic, b"x")
