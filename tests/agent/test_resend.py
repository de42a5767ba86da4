"""Unacknowledged messages are sent again, less and less often, and never all at once."""

from __future__ import annotations

import random

from pinnace_agent.resend import FIRST_S, LONGEST_S, TOGETHER_MAX, Resend


def test_a_message_is_due_again_after_a_growing_while() -> None:
    resend, sent, now = Resend(random.Random(1)), [], 0.0
    while now < 3000:
        for key in resend.due(["a"], now):
            resend.sent(key, now)
            sent.append(now)
        now += 1.0
    assert sent[0] == 0
    assert sent[1] <= FIRST_S * 1.2 + 1
    assert 0.8 * LONGEST_S <= sent[-1] - sent[-2] <= 1.2 * LONGEST_S + 1


def test_only_a_few_are_under_way_at_once() -> None:
    resend = Resend(random.Random(1))
    keys = [str(n) for n in range(100)]
    first = resend.due(keys, 0.0)
    assert first == keys[:TOGETHER_MAX]
    for key in first:
        resend.sent(key, 0.0)
    assert resend.due(keys, 0.1) == []
    assert resend.due(keys[3:], 0.1) == keys[TOGETHER_MAX : TOGETHER_MAX + 3]


def test_a_new_connection_makes_everything_due() -> None:
    resend = Resend(random.Random(1))
    resend.sent("a", 0.0)
    assert resend.due(["a"], 0.1) == []
    resend.reconnected()
    assert resend.due(["a"], 0.1) == ["a"]


def test_what_was_acknowledged_is_forgotten() -> None:
    resend = Resend(random.Random(1))
    resend.sent("a", 0.0)
    resend.due([], 0.0)
    assert resend.tries == {}
