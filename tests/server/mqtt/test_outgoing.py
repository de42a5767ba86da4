"""Counting what the client still holds, whatever the order in which it tells."""

from __future__ import annotations

from pinnace_server.mqtt.outgoing import BYTES_MAX, Outgoing


def test_message_waits_until_it_is_sent() -> None:
    outgoing = Outgoing()
    outgoing.taken(1, 100, 1)
    outgoing.taken(2, 50, 0)
    assert (outgoing.size_bytes, outgoing.count) == (150, 2)
    outgoing.sent(1)
    assert (outgoing.size_bytes, outgoing.count) == (50, 1)


def test_message_that_was_sent_before_it_was_told_does_not_wait_for_ever() -> None:
    outgoing = Outgoing()
    outgoing.sent(7)
    outgoing.taken(7, 100, 1)
    assert outgoing.size_bytes == 0
    outgoing.taken(7, 100, 1)
    assert outgoing.size_bytes == 100


def test_number_that_comes_round_again_replaces_the_old_message() -> None:
    outgoing = Outgoing()
    outgoing.taken(1, 100, 0)
    outgoing.taken(1, 30, 0)
    assert (outgoing.size_bytes, outgoing.count) == (30, 1)


def test_connection_takes_only_unacknowledged_kinds_with_it() -> None:
    outgoing = Outgoing()
    outgoing.taken(1, 100, 1)
    outgoing.taken(2, 50, 0)
    outgoing.connection_ended()
    assert outgoing.size_bytes == 100


def test_room_ends_at_the_limit() -> None:
    outgoing = Outgoing()
    outgoing.taken(1, BYTES_MAX - 10, 1)
    assert outgoing.has_room(10)
    assert not outgoing.has_room(11)
    assert not outgoing.wait_below(0, timeout_s=0)
    assert outgoing.wait_below(BYTES_MAX, timeout_s=0)
