"""How a device's link behaved, from the comings and goings that the log has of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pinnace_server.domain.records import Event, EventKind

DAY_S: Final = 86_400.0
CHANGES: Final = (EventKind.DEVICE_ONLINE, EventKind.DEVICE_OFFLINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What was seen in the last ``window_s`` seconds. ``changes_a_day`` counts comings and goings."""

    window_s: float
    changes_a_day: float
    online_share: float


def link_of(changes: Iterable[Event], *, online: bool, from_s: float, now_s: float) -> Link | None:
    """Return what the log says of a device's link since ``from_s``; None where there is no time between.

    ``changes`` are the device's events of these kinds, the oldest first; ``online`` says whether it is there now. A
    device that was told to be silent and speaks again without a new connection leaves no line: it counts as there.
    """
    known = [event for event in changes if event.kind in CHANGES and from_s <= event.at_s <= now_s]
    window_s = now_s - from_s
    if window_s <= 0:
        return None
    there = known[0].kind is EventKind.DEVICE_OFFLINE if known else online
    changed, since_s, online_s = 0, from_s, 0.0
    for event in known:
        comes = event.kind is EventKind.DEVICE_ONLINE
        changed += comes != there
        online_s += (event.at_s - since_s) if there else 0.0
        there, since_s = comes, event.at_s
    online_s += (now_s - since_s) if there or online else 0.0
    return Link(window_s=window_s, changes_a_day=changed * DAY_S / window_s, online_share=min(1.0, online_s / window_s))
