"""When a site's maintenance window is open: real zones, both clock changes, and days that never were."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_contract.latest import Window
from pinnace_server.domain import windows
from pinnace_server.domain.windows import EVERY_DAY, LocalMinute, Weekday, WeeklyWindow
from pinnace_server.errors import Refused


def weekly(opens: str, closes: str, *days: Weekday) -> WeeklyWindow:
    return WeeklyWindow(days=days or EVERY_DAY, opens=windows.minute_of(opens), closes=windows.minute_of(closes))


def at(utc: str) -> int:
    return int(datetime.fromisoformat(utc).replace(tzinfo=UTC).timestamp())


def between(opens: str, closes: str) -> Window:
    return Window(opens_s=at(opens), closes_s=at(closes))


NIGHT = weekly("02:00", "04:00")
WEEKEND_NIGHTS = weekly("22:00", "04:00", Weekday.FRIDAY, Weekday.SATURDAY)
BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("zone", "one", "asked", "run"),
    [
        pytest.param(
            "Europe/Berlin", NIGHT, "2026-01-10 00:00", ("2026-01-10 01:00", "2026-01-10 03:00"), id="winter in Berlin"
        ),
        pytest.param(
            "Europe/Berlin", NIGHT, "2026-07-10 00:30", ("2026-07-10 00:00", "2026-07-10 02:00"), id="summer in Berlin"
        ),
        pytest.param(
            "Europe/Berlin", NIGHT, "2026-07-10 02:00", ("2026-07-11 00:00", "2026-07-11 02:00"), id="just closed"
        ),
        pytest.param(
            "Asia/Kathmandu",
            NIGHT,
            "2026-01-10 00:00",
            ("2026-01-10 20:15", "2026-01-10 22:15"),
            id="five and three quarters of an hour ahead",
        ),
        pytest.param(
            "Pacific/Chatham",
            NIGHT,
            "2026-07-10 00:00",
            ("2026-07-10 13:15", "2026-07-10 15:15"),
            id="twelve and three quarters of an hour ahead",
        ),
        pytest.param(
            "America/St_Johns",
            NIGHT,
            "2026-01-10 00:00",
            ("2026-01-10 05:30", "2026-01-10 07:30"),
            id="three and a half hours behind",
        ),
        pytest.param(
            "Pacific/Kiritimati",
            NIGHT,
            "2026-01-10 00:00",
            ("2026-01-10 12:00", "2026-01-10 14:00"),
            id="fourteen hours ahead",
        ),
        pytest.param(
            "UTC", WEEKEND_NIGHTS, "2026-11-25 12:00", ("2026-11-27 22:00", "2026-11-28 04:00"), id="begins on Friday"
        ),
        pytest.param(
            "UTC",
            WEEKEND_NIGHTS,
            "2026-11-29 03:59",
            ("2026-11-28 22:00", "2026-11-29 04:00"),
            id="Sunday morning belongs to Saturday's",
        ),
        pytest.param(
            "UTC", WEEKEND_NIGHTS, "2026-11-29 04:00", ("2026-12-04 22:00", "2026-12-05 04:00"), id="over until Friday"
        ),
        pytest.param(
            "UTC",
            weekly("00:00", "24:00", Weekday.SATURDAY, Weekday.SUNDAY),
            "2026-11-25 12:00",
            ("2026-11-28 00:00", "2026-11-30 00:00"),
            id="two whole days are one run",
        ),
        pytest.param(
            "UTC",
            weekly("12:00", "12:00", Weekday.MONDAY),
            "2026-11-25 12:00",
            ("2026-11-30 12:00", "2026-12-01 12:00"),
            id="from noon to noon",
        ),
    ],
)
def test_next_run_is(zone: str, one: WeeklyWindow, asked: str, run: tuple[str, str]) -> None:
    assert windows.next_opening((one,), windows.zone_of(zone), at(asked)) == between(*run)


@pytest.mark.parametrize(
    ("zone", "one", "day", "run"),
    [
        # Berlin, 29 March 2026: 02:00 becomes 03:00 at 01:00 UTC.
        pytest.param(
            "Europe/Berlin",
            weekly("02:30", "04:00"),
            "2026-03-28 12:00",
            ("2026-03-29 01:00", "2026-03-29 02:00"),
            id="its beginning is skipped: it begins at the next valid minute",
        ),
        pytest.param(
            "Europe/Berlin",
            weekly("02:10", "02:50"),
            "2026-03-28 12:00",
            ("2026-03-29 01:00", "2026-03-29 01:40"),
            id="all of it is skipped: it runs whole from the next valid minute",
        ),
        pytest.param(
            "Europe/Berlin",
            weekly("02:00", "03:00"),
            "2026-03-28 12:00",
            ("2026-03-29 01:00", "2026-03-29 02:00"),
            id="exactly the skipped hour",
        ),
        pytest.param(
            "Europe/Berlin",
            weekly("01:00", "02:30"),
            "2026-03-28 12:00",
            ("2026-03-29 00:00", "2026-03-29 01:00"),
            id="its end is skipped: it ends at the next valid minute",
        ),
        pytest.param(
            "Europe/Berlin",
            weekly("22:00", "06:00"),
            "2026-03-28 12:00",
            ("2026-03-28 21:00", "2026-03-29 04:00"),
            id="a night that is an hour short",
        ),
        pytest.param(
            "America/New_York",
            weekly("02:15", "02:45", Weekday.SUNDAY),
            "2026-03-07 12:00",
            ("2026-03-08 07:00", "2026-03-08 07:30"),
            id="New York in spring",
        ),
        pytest.param(
            "Australia/Lord_Howe",
            weekly("02:10", "02:20"),
            "2026-10-03 12:00",
            ("2026-10-03 15:30", "2026-10-03 15:40"),
            id="half an hour is skipped",
        ),
        pytest.param(
            "Africa/Cairo",
            weekly("00:00", "00:30", Weekday.FRIDAY),
            "2026-04-23 12:00",
            ("2026-04-23 22:00", "2026-04-23 22:30"),
            id="midnight itself is skipped",
        ),
        pytest.param(
            "Pacific/Apia",
            weekly("02:00", "04:00", Weekday.FRIDAY),
            "2011-12-29 12:00",
            ("2011-12-30 10:00", "2011-12-30 12:00"),
            id="a day that never was",
        ),
        # Berlin, 25 October 2026: 03:00 becomes 02:00 at 01:00 UTC.
        pytest.param(
            "Europe/Berlin",
            weekly("02:15", "02:45"),
            "2026-10-24 12:00",
            ("2026-10-25 00:15", "2026-10-25 00:45"),
            id="within the hour that comes twice: the first time",
        ),
        pytest.param(
            "Europe/Berlin",
            weekly("01:00", "02:30"),
            "2026-10-24 12:00",
            ("2026-10-24 23:00", "2026-10-25 00:30"),
            id="ends the first time",
        ),
        pytest.param(
            "Europe/Berlin",
            weekly("02:30", "04:00"),
            "2026-10-24 12:00",
            ("2026-10-25 00:30", "2026-10-25 03:00"),
            id="begins the first time and goes through",
        ),
        pytest.param(
            "Europe/Berlin",
            weekly("22:00", "06:00"),
            "2026-10-24 12:00",
            ("2026-10-24 20:00", "2026-10-25 05:00"),
            id="a night that is an hour long",
        ),
    ],
)
def test_clock_change_moves_a_window(zone: str, one: WeeklyWindow, day: str, run: tuple[str, str]) -> None:
    assert windows.next_opening((one,), windows.zone_of(zone), at(day)) == between(*run)


def test_hour_that_comes_twice_opens_a_window_once() -> None:
    one = (weekly("02:15", "02:45"),)
    minutes = range(at("2026-10-24 22:00"), at("2026-10-25 04:00"), 60)
    assert sum(windows.is_open(one, BERLIN, minute) for minute in minutes) == 30
    assert not windows.is_open(one, BERLIN, at("2026-10-25 01:20"))  # 02:20 again


def test_several_windows_that_touch_are_one_run() -> None:
    several = (weekly("01:00", "03:00"), weekly("02:00", "05:00"), weekly("05:00", "06:00"), weekly("12:00", "13:00"))
    utc = ZoneInfo("UTC")
    assert windows.next_opening(several, utc, at("2026-11-27 02:00")) == between("2026-11-27 01:00", "2026-11-27 06:00")
    assert windows.next_opening(several, utc, at("2026-11-27 06:00")) == between("2026-11-27 12:00", "2026-11-27 13:00")
    assert windows.opening_at(several, utc, at("2026-11-27 06:00")) is None


@pytest.mark.parametrize(
    "always", [(), (weekly("00:00", "24:00"),), (weekly("00:00", "12:00"), weekly("12:00", "00:00"))]
)
def test_windows_without_a_gap_are_always_open(always: windows.Weekly) -> None:
    for hours in range(24 * 10):
        now = at("2026-10-20 00:00") + hours * 3600
        run = windows.opening_at(always, BERLIN, now)
        assert run is not None
        assert run.closes_s > now + 7 * 86_400


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berlni", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("America/New York", "America/New_York"),
        ("Mars/Olympus_Mons", "for example"),
        ("Europe", "for example|did you mean"),
        ("../../etc/passwd", "for example|did you mean"),
        ("/etc/passwd", "for example|did you mean"),
        ("localtime", "for example|did you mean"),
        ("posix/Europe/Berlin", "for example|did you mean"),
        ("", "for example"),
        ("A" * 5000, "for example"),
        ("Europe/Berlin\0", "for example|did you mean"),
    ],
)
def test_unknown_zone_is_refused_in_words(name: str, hint: str) -> None:
    with pytest.raises(Refused, match="expected a name of the IANA database") as refused:
        windows.zone_of(name)
    assert re.search(hint, refused.value.hint)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("name", ["UTC", "Etc/GMT+5", "America/Argentina/Buenos_Aires", "America/Port-au-Prince"])
def test_names_of_the_database_are_known(name: str) -> None:
    assert windows.zone_of(name).key == name


@pytest.mark.parametrize("text", ["24:01", "25:00", "7", "07:60", "", "7:5", "-1:00", "07:00:00"])
def test_text_that_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="from 00:00 to 24:00"):
        windows.minute_of(text)


@pytest.mark.parametrize(("text", "minute"), [("00:00", 0), ("7:05", 425), ("23:59", 1439), ("24:00", 1440)])
def test_time_of_day_is_read(text: str, minute: int) -> None:
    assert windows.minute_of(text) == minute
    assert windows.minute_of(windows.minute_text(LocalMinute(minute))) == minute


ZONES = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "Europe/Dublin",
        "America/New_York",
        "America/St_Johns",
        "America/Sao_Paulo",
        "Asia/Kathmandu",
        "Asia/Tehran",
        "Africa/Casablanca",
        "Africa/Cairo",
        "Australia/Lord_Howe",
        "Pacific/Chatham",
        "Pacific/Apia",
        "Pacific/Kiritimati",
    ]
).map(ZoneInfo)
MINUTES = st.integers(0, 1440).map(LocalMinute)
WEEKLY = st.builds(
    WeeklyWindow,
    days=st.sets(st.sampled_from(Weekday), min_size=1).map(lambda days: tuple(sorted(days))),
    opens=MINUTES.filter(lambda minute: minute < 1440),
    closes=MINUTES,
)
INSTANTS = st.integers(at("2009-01-01"), at("2040-01-01"))


def shows_first(zone: ZoneInfo, wall: datetime) -> int:
    """Look at the site's clock minute by minute."""
    start = int(wall.replace(tzinfo=UTC).timestamp()) - 16 * 3600
    return next(s for s in range(start, start + 64 * 3600, 60) if _clock(zone, s) >= wall)


def _clock(zone: ZoneInfo, second: int) -> datetime:
    return datetime.fromtimestamp(second, zone).replace(tzinfo=None)


@given(ZONES, st.dates(date(2009, 1, 1), date(2037, 12, 31)), MINUTES, MINUTES)
def test_window_opens_and_closes_when_the_clock_on_the_wall_says_so(
    zone: ZoneInfo, day: date, opens: LocalMinute, closes: LocalMinute
) -> None:
    opens = LocalMinute(opens % 1440)
    one = WeeklyWindow(days=(list(Weekday)[day.weekday()],), opens=opens, closes=closes)
    midnight = datetime.combine(day, datetime.min.time())
    length = (closes - opens) if closes > opens else closes - opens + 1440
    opens_s = shows_first(zone, midnight + timedelta(minutes=opens))
    closes_s = shows_first(zone, midnight + timedelta(minutes=opens + length))
    run = windows.next_opening((one,), zone, opens_s)
    assert run.opens_s == opens_s
    assert run.closes_s == (closes_s if closes_s > opens_s else opens_s + length * 60)


@given(ZONES, st.lists(WEEKLY, max_size=4).map(tuple), INSTANTS)
def test_next_run_lies_ahead_and_agrees_with_being_open(zone: ZoneInfo, many: windows.Weekly, now: int) -> None:
    run = windows.next_opening(many, zone, now)
    assert now < run.closes_s
    assert run.opens_s < run.closes_s
    assert run.opens_s <= now + 9 * 86_400
    assert windows.is_open(many, zone, now) is (run.opens_s <= now)
    assert windows.next_opening(many, zone, run.opens_s).opens_s <= run.opens_s
    assert windows.is_open(many, zone, max(now, run.opens_s))
    assert windows.is_open(many, zone, run.closes_s - 1)
    if run.opens_s > now:
        assert not windows.is_open(many, zone, run.opens_s - 1)
