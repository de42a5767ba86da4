"""How a link behaved, from what the log has of it."""

from __future__ import annotations

import pytest

from pinnace_contract.ids import DeviceId
from pinnace_server.domain.link import Link, link_of
from pinnace_server.domain.records import Event, EventKind

DAY = 86_400.0
NOW = 10 * DAY


def events(*changes: tuple[float, bool]) -> list[Event]:
    return [
        Event(
            at_s=at_s,
            kind=EventKind.DEVICE_ONLINE if online else EventKind.DEVICE_OFFLINE,
            actor="device:camera",
            summary="",
            device=DeviceId("camera"),
        )
        for at_s, online in changes
    ]


@pytest.mark.parametrize(
    ("changes", "online", "changes_a_day", "online_share"),
    [
        pytest.param((), True, 0.0, 1.0, id="no line, and it is there"),
        pytest.param((), False, 0.0, 0.0, id="no line, and it is away"),
        pytest.param(((6 * DAY, True),), True, 0.25, 1.0, id="it came with the window"),
        pytest.param(((8 * DAY, False),), False, 0.25, 0.5, id="it went and stayed away"),
        pytest.param(((7 * DAY, False), (8 * DAY, True)), True, 0.5, 0.75, id="it went and came back"),
        pytest.param(((7 * DAY, True), (8 * DAY, True)), True, 0.25, 0.75, id="a birth that repeats is no change"),
        pytest.param(((8 * DAY, False),), True, 0.25, 1.0, id="told to be silent, and it speaks again"),
        pytest.param(((1 * DAY, False), (8 * DAY, True)), True, 0.25, 0.5, id="what was before the window is not seen"),
    ],
)
def test_link_is_read_from_comings_and_goings(
    changes: tuple[tuple[float, bool], ...], online: bool, changes_a_day: float, online_share: float
) -> None:
    found = link_of(events(*changes), online=online, from_s=6 * DAY, now_s=NOW)
    assert found == Link(window_s=4 * DAY, changes_a_day=changes_a_day, online_share=online_share)


def test_device_without_a_past_has_no_link() -> None:
    assert link_of([], online=True, from_s=NOW, now_s=NOW) is None
