"""What is waited for, in words."""

from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.waiting import WORDS, counted


def test_whatever_is_waited_for_has_words() -> None:
    assert set(WORDS) == set(WaitingOn)


def test_the_most_are_named_first() -> None:
    found = counted({WaitingOn.WINDOW: 1, WaitingOn.DEVICE_OFFLINE: 3})
    assert found == f"3 for {WORDS[WaitingOn.DEVICE_OFFLINE]}; 1 for {WORDS[WaitingOn.WINDOW]}"
