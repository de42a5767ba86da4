"""The rate of all together gives way where chunks come late, and comes back."""

from __future__ import annotations

from pinnace_contract.ids import DeviceId, digest_of
from pinnace_server.service import wishes
from pinnace_server.service.pace import IN_FLIGHT_S, IN_FLIGHT_S_MAX, LATE_MIN, SLOWEST, Pace
from pinnace_server.service.wishes import Parcel, Rates, Wishes

RATE = 64_000_000.0
CHUNK = 64_000


def second(pace: Pace, now_s: float, *, sent: int, late: int) -> None:
    for _ in range(sent):
        pace.sent(now_s)
    pace.late(now_s, late)


def test_it_is_the_full_rate_while_everything_arrives() -> None:
    pace = Pace(RATE)
    for now_s in range(20):
        second(pace, float(now_s), sent=1_000, late=0)
    assert pace.bytes_s == RATE
    assert pace.in_flight_s == IN_FLIGHT_S


def test_it_is_halved_for_each_second_with_much_that_is_late_down_to_a_limit() -> None:
    pace = Pace(RATE)
    second(pace, 0.0, sent=1_000, late=300)
    rates = []
    for now_s in range(1, 10):
        second(pace, float(now_s), sent=1_000, late=300)
        rates.append(pace.bytes_s / RATE)
    assert rates[:3] == [1 / 2, 1 / 4, 1 / 8]
    assert rates[-1] == SLOWEST
    assert pace.in_flight_s == IN_FLIGHT_S_MAX


def test_it_comes_back() -> None:
    pace = Pace(RATE)
    second(pace, 0.0, sent=100, late=100)
    second(pace, 1.0, sent=100, late=0)
    assert pace.bytes_s == RATE / 2
    for now_s in range(2, 20):
        second(pace, float(now_s), sent=100, late=0)
    assert pace.bytes_s == RATE


def test_links_that_lose_a_tenth_do_not_slow_the_fleet_down() -> None:
    pace = Pace(RATE)
    for now_s in range(20):
        second(pace, float(now_s), sent=1_000, late=100)
    assert pace.bytes_s == RATE


def test_one_device_that_asks_again_says_nothing() -> None:
    pace = Pace(RATE)
    for now_s in range(20):
        second(pace, float(now_s), sent=LATE_MIN - 1, late=LATE_MIN - 1)
    assert pace.bytes_s == RATE


class TestWishes:
    """What asks again makes it slower, and the line keeps a large fleet from starving itself."""

    RATES = Rates(device_bytes_s=1e9, device_burst_bytes=1e9, total_bytes_s=RATE, total_burst_bytes=1e9)

    def want(self, made: Wishes, now_s: float, number: int, missing: range = range(16)) -> None:
        made.want(
            now_s,
            device=DeviceId(f"camera-{number}"),
            blob=digest_of(b"model"),
            sizes=(CHUNK,) * 16,
            missing=missing,
            window=16,
        )

    def sent(self, made: Wishes, now_s: float) -> list[str]:
        found = []
        while isinstance(parcel := made.next(now_s), Parcel):
            found.append(f"{parcel.device}")
        return found

    def test_devices_beyond_those_that_are_served_wait_until_one_has_its_window(self) -> None:
        made = Wishes(self.RATES)
        for number in range(wishes.SERVED_MAX + 10):
            self.want(made, 0.0, number)
        order = self.sent(made, 0.0)
        assert len(order) == 16 * (wishes.SERVED_MAX + 10), "everybody is served in the end"
        begun = list(dict.fromkeys(order))
        last_of_first = max(at for at, device in enumerate(order) if device == begun[0])
        first_of_late = order.index(begun[wishes.SERVED_MAX])
        assert first_of_late > last_of_first

    def test_who_asks_again_while_in_line_keeps_its_place(self) -> None:
        made = Wishes(self.RATES)
        for number in range(wishes.SERVED_MAX + 2):
            self.want(made, 0.0, number)
        for _ in range(5):
            self.want(made, 0.0, wishes.SERVED_MAX)
        begun = list(dict.fromkeys(self.sent(made, 0.0)))
        assert begun[-2:] == [f"camera-{wishes.SERVED_MAX}", f"camera-{wishes.SERVED_MAX + 1}"]

    def test_a_way_that_is_full_is_not_filled_with_the_same_chunks_for_ever(self) -> None:
        made = Wishes(self.RATES)
        sent = []
        for now_s in range(0, 12, 2):
            for number in range(20):
                self.want(made, float(now_s), number)  # nothing has come
            sent.append(len(self.sent(made, float(now_s))))
        assert sent[:2] == [320, 320], "what is asked for again is sent again"
        assert sent[-1] == 0, "until the rate says that it must still be on its way"
