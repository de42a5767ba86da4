"""Maintenance windows: weekly, in the local time of the site, as absolute intervals for the planner and for devices.

A window opens at the first instant at which the site's clock shows its opening time or a later one, and closes
likewise. So one whose beginning a clock change skips begins at the next valid minute, one that is skipped whole runs
its full length from there, and an hour that comes twice opens a window once. Windows hold installs only: a revert or a
rollback never waits for one, and whoever plans those does not ask here.

The rules of time zones come from the machine's database, or from the package ``tzdata`` where there is none.
"""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final, NewType
from zoneinfo import ZoneInfo

from pinnace_contract.fields import limited
from pinnace_contract.latest import Window
from pinnace_server.errors import Refused

LocalMinute = NewType("LocalMinute", int)
"""Minutes after local midnight, 0 to 1440."""
ZoneName = NewType("ZoneName", str)
"""An IANA name, ``Europe/Berlin``."""

MINUTES_PER_DAY: Final = 24 * 60
WEEKLY_MAX: Final = 32  # more than one for each hour of a day helps nobody
ZONE_CHARS_MAX: Final = 64  # the longest IANA name has 32

_MINUTE_S: Final = 60
_DAY_S: Final = 86_400
# A run that contains an instant began at most two local days before: one past midnight, or one moved by a lost day.
_DAYS_BACK: Final = 3
# The next run of a weekly window begins within eight days; the rest lets a run that began then end.
_DAYS_AHEAD: Final = 11
# Only proper names: `localtime` and `posixrules` mean whatever this machine is set to.
_ZONE: Final = re.compile(r"[A-Z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")
_MINUTE_TEXT: Final = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])")


class Weekday(StrEnum):
    """A day of the week, in ISO's order."""

    MONDAY = "mon"
    TUESDAY = "tue"
    WEDNESDAY = "wed"
    THURSDAY = "thu"
    FRIDAY = "fri"
    SATURDAY = "sat"
    SUNDAY = "sun"


EVERY_DAY: Final = tuple(Weekday)
_NUMBERS: Final = {day: number for number, day in enumerate(Weekday)}


@dataclass(frozen=True, slots=True, kw_only=True)
class WeeklyWindow:
    """Open on ``days`` from ``opens`` until ``closes``, local time.

    One that does not close after it opens passes midnight: it closes on the next day, at the same time at the latest.
    """

    days: tuple[Weekday, ...] = limited(EVERY_DAY, smallest=1, largest=len(EVERY_DAY))
    opens: LocalMinute
    closes: LocalMinute


Weekly = tuple[WeeklyWindow, ...]
"""Open whenever one of them is; none at all is always open."""


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        Refused: this machine does not know it.
    """
    if len(name) <= ZONE_CHARS_MAX and _ZONE.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError):  # OSError: the name of a directory, `Europe`
            pass
    raise _unknown(name)


def opening_at(weekly: Weekly, zone: ZoneInfo, at_s: float) -> Window | None:
    """Return the run of open time that holds an instant, or None when it is closed. See ``next_opening``."""
    found = next_opening(weekly, zone, at_s)
    return found if found.opens_s <= at_s else None


def next_opening(weekly: Weekly, zone: ZoneInfo, at_s: float) -> Window:
    """Return the run of open time that holds an instant, or the next one to begin. Overlapping windows are one run.

    A run without an end is cut more than a week ahead; ask again then. Worked out anew each time, over two weeks of
    days: ask once for a zone, not once for each of its devices.
    """
    return next(runs(weekly, zone, at_s))


def runs(weekly: Weekly, zone: ZoneInfo, at_s: float) -> Iterator[Window]:
    """Yield the run of open time that holds an instant, if one does, and those that begin in the days after it."""
    return (run for run in _runs(weekly, zone, at_s) if at_s < run.closes_s)


def is_open(weekly: Weekly, zone: ZoneInfo, at_s: float) -> bool:
    """Tell whether a device may activate at an instant."""
    return opening_at(weekly, zone, at_s) is not None


def minute_of(text: str) -> LocalMinute:
    """Read ``HH:MM``, up to ``24:00``.

    Raises:
        ValueError
    """
    found = _MINUTE_TEXT.fullmatch(text)
    minute = int(found[1]) * 60 + int(found[2]) if found else MINUTES_PER_DAY + 1
    if minute > MINUTES_PER_DAY:
        raise ValueError(f"expected a time of day, HH:MM from 00:00 to 24:00, found {text[:20]!r}")
    return LocalMinute(minute)


def minute_text(minute: LocalMinute) -> str:
    """Return a minute of the day as ``HH:MM``."""
    return f"{minute // 60:02}:{minute % 60:02}"


def _runs(weekly: Weekly, zone: ZoneInfo, at_s: float) -> Iterator[Window]:
    today = datetime.fromtimestamp(at_s, zone).date()
    days = [today + timedelta(days=n) for n in range(-_DAYS_BACK, _DAYS_AHEAD)]
    if not weekly:
        yield Window(opens_s=_first_at(zone, days[0], 0), closes_s=_first_at(zone, days[-1], 0))
        return
    run: Window | None = None
    for each in sorted((_interval(one, zone, day) for day in days for one in weekly if _is_on(one, day)), key=_begins):
        if run is not None and each.opens_s <= run.closes_s:
            run = Window(opens_s=run.opens_s, closes_s=max(run.closes_s, each.closes_s))
            continue
        if run is not None:
            yield run
        run = each
    if run is not None:
        yield run


def _interval(one: WeeklyWindow, zone: ZoneInfo, day: date) -> Window:
    length = one.closes - one.opens if one.closes > one.opens else one.closes - one.opens + MINUTES_PER_DAY
    opens_s = _first_at(zone, day, one.opens)
    closes_s = _first_at(zone, day, one.opens + length)
    if closes_s <= opens_s:  # lost whole
        closes_s = opens_s + length * _MINUTE_S
    return Window(opens_s=opens_s, closes_s=closes_s)


def _first_at(zone: ZoneInfo, day: date, minute: int) -> int:
    """Return the first second at which the local clock shows a minute of a day, or a later one where it is skipped."""
    wall = datetime.combine(day, time()) + timedelta(minutes=minute)
    at_s = _seconds(wall.replace(tzinfo=zone))
    if _wall(zone, at_s) == wall:
        return at_s
    # Skipped: fold 1 reads it with the offset after the change, which lies before the change, and fold 0 behind it.
    before_s, after_s = sorted((_seconds(wall.replace(tzinfo=zone, fold=1)), at_s))
    while after_s - before_s > 1:
        middle_s = (before_s + after_s) // 2
        before_s, after_s = (before_s, middle_s) if _wall(zone, middle_s) >= wall else (middle_s, after_s)
    return after_s


def _seconds(local: datetime) -> int:
    return int((local.astimezone(UTC) - _EPOCH).total_seconds())


def _wall(zone: ZoneInfo, at_s: int) -> datetime:
    return datetime.fromtimestamp(at_s, zone).replace(tzinfo=None, fold=0)


def _is_on(one: WeeklyWindow, day: date) -> bool:
    return any(_NUMBERS[each] == day.weekday() for each in one.days)


def _begins(window: Window) -> int:
    return window.opens_s


_EPOCH: Final = datetime.fromtimestamp(0, UTC)


def _unknown(name: str) -> Refused:
    known = sorted(each for each in zoneinfo.available_timezones() if _ZONE.fullmatch(each))
    if not known:
        return Refused(
            f"time zone {name[:ZONE_CHARS_MAX]!r} cannot be looked up: this machine has no time zone database",
            hint="install the system's tzdata, or the Python package tzdata",
        )
    lower = {each.lower(): each for each in known}
    last = {each.rpartition("/")[2].lower(): each for each in known}
    wanted = name[:ZONE_CHARS_MAX].lower().replace(" ", "_")
    near = [lower[each] for each in difflib.get_close_matches(wanted, lower, n=2)]
    near += [last[each] for each in difflib.get_close_matches(wanted, last, n=1) if last[each] not in near]
    return Refused(
        f"time zone: expected a name of the IANA database, found {name[:ZONE_CHARS_MAX]!r}",
        hint=f"did you mean {' or '.join(near)}?" if near else "for example Europe/Berlin, America/New_York or UTC",
    )
