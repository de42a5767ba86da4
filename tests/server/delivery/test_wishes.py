"""Which chunk is next, at a clock that the test moves: windows, fairness, pace, and nothing sent twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_contract.ids import DeviceId, Digest, digest_of
from pinnace_server.service.wishes import (
    DEVICES_MAX,
    FORGET_AFTER_S,
    IN_FLIGHT_S,
    WISHES_MAX,
    Parcel,
    Rates,
    Wishes,
)

KIB = 1024
A, B, C = DeviceId("a"), DeviceId("b"), DeviceId("c")
BLOB, OTHER = digest_of(b"blob"), digest_of(b"other")
FAST = Rates(device_bytes_s=1e9, device_burst_bytes=1e15, total_bytes_s=1e9, total_burst_bytes=1e15)
SIZES = (64 * KIB,) * 100


def _want(
    wishes: Wishes,
    now_s: float = 0.0,
    *,
    device: DeviceId = A,
    blob: Digest = BLOB,
    missing: Iterable[int] = range(100),
    window: int = 16,
    sizes: tuple[int, ...] = SIZES,
) -> None:
    wishes.want(now_s, device=device, blob=blob, sizes=sizes, missing=missing, window=window)


def _all_now(wishes: Wishes, now_s: float = 0.0) -> list[Parcel]:
    parcels = []
    while isinstance(parcel := wishes.next(now_s), Parcel):
        parcels.append(parcel)
    return parcels


def _over_time(wishes: Wishes, seconds: float) -> list[tuple[float, Parcel]]:
    now_s, sent = 0.0, []
    while True:
        found = wishes.next(now_s)
        if isinstance(found, Parcel):
            sent.append((now_s, found))
        elif found is None or now_s + found > seconds:
            return sent
        else:
            now_s += found


def test_nothing_wanted_is_nothing_to_wait_for() -> None:
    assert Wishes().next(0.0) is None


def test_window_is_sent_in_order_and_then_nothing_until_the_next_want() -> None:
    wishes = Wishes(FAST)
    _want(wishes)
    assert [parcel.index for parcel in _all_now(wishes)] == list(range(16))
    assert wishes.next(1e6) is None


def test_only_what_is_missing_is_sent_with_its_place_in_the_blob() -> None:
    wishes = Wishes(FAST)
    _want(wishes, missing=[1, 3], sizes=(10, 20, 30, 40))
    assert _all_now(wishes) == [
        Parcel(device=A, blob=BLOB, index=1, offset=10, size_bytes=20),
        Parcel(device=A, blob=BLOB, index=3, offset=60, size_bytes=40),
    ]


@pytest.mark.parametrize("sent_between", [0, 5, 16])
def test_repeated_want_changes_nothing(sent_between: int) -> None:
    wishes = Wishes(FAST)
    _want(wishes)
    first = [wishes.next(0.0) for _ in range(sent_between)]
    _want(wishes, 0.1)
    rest = _all_now(wishes, 0.1)
    assert [parcel.index for parcel in [*first, *rest] if isinstance(parcel, Parcel)] == list(range(16))


def test_next_want_grants_the_next_window() -> None:
    wishes = Wishes(FAST)
    _want(wishes)
    _all_now(wishes)
    _want(wishes, 0.1, missing=range(16, 100))
    assert [parcel.index for parcel in _all_now(wishes, 0.1)] == list(range(16, 32))


def test_chunk_on_its_way_counts_into_the_window_and_is_sent_again_only_when_overdue() -> None:
    wishes = Wishes(FAST)
    _want(wishes)
    _all_now(wishes)
    still_missing = [3, *range(16, 100)]
    _want(wishes, IN_FLIGHT_S / 2, missing=still_missing)
    assert [parcel.index for parcel in _all_now(wishes, IN_FLIGHT_S / 2)] == list(range(16, 31))
    _want(wishes, IN_FLIGHT_S * 2, missing=[3])
    assert [parcel.index for parcel in _all_now(wishes, IN_FLIGHT_S * 2)] == [3]


def test_want_with_nothing_missing_ends_the_wish() -> None:
    wishes = Wishes(FAST)
    _want(wishes)
    _want(wishes, missing=[])
    assert wishes.next(0.0) is None


def test_two_devices_are_served_in_turn_whoever_asked_first() -> None:
    wishes = Wishes(Rates(device_bytes_s=1024 * KIB, total_bytes_s=1024 * KIB))
    _want(wishes, device=A, window=100)
    _want(wishes, device=B, window=100)
    sent = Counter(parcel.device for _, parcel in _over_time(wishes, 4.0))
    assert abs(sent[A] - sent[B]) <= 1
    assert sent[A] + sent[B] > 60


def test_newcomer_does_not_wait_behind_a_long_queue() -> None:
    wishes = Wishes(FAST)
    _want(wishes, device=A, window=100)
    _want(wishes, device=B, window=100)
    for _ in range(50):
        wishes.next(0.0)
    _want(wishes, device=C, window=100)
    next_six = [wishes.next(0.0) for _ in range(6)]
    assert sum(isinstance(parcel, Parcel) and parcel.device == C for parcel in next_six) >= 2


def test_device_that_paused_does_not_hold_up_the_others_later() -> None:
    rates = Rates(device_bytes_s=64 * KIB, device_burst_bytes=0, total_bytes_s=1e12)
    wishes = Wishes(rates)
    _want(wishes, 0.0, device=A, missing=[0])
    _all_now(wishes, 0.0)
    _want(wishes, 1000.0, device=A, missing=range(1, 100), window=50)
    _want(wishes, 1000.0, device=B, window=50)
    assert [parcel.device for parcel in _all_now(wishes, 1000.0)] == [A, B]


def test_device_is_sent_no_faster_than_its_rate_after_its_burst() -> None:
    rates = Rates(device_bytes_s=640 * KIB, device_burst_bytes=256 * KIB, total_bytes_s=1e12)
    wishes = Wishes(rates)
    _want(wishes, window=100)
    times_s = [at_s for at_s, _ in _over_time(wishes, 3.0)]
    assert sum(at_s == 0.0 for at_s in times_s) == 5  # the burst, and the one whose turn it is
    assert len(times_s) == pytest.approx(5 + 30, abs=1)


def test_all_together_are_sent_no_faster_than_the_total_rate() -> None:
    rates = Rates(total_bytes_s=1024 * KIB, total_burst_bytes=0)
    wishes = Wishes(rates)
    for n in range(50):
        _want(wishes, device=DeviceId(f"d{n}"), window=100)
    sent = _over_time(wishes, 10.0)
    assert sum(parcel.size_bytes for _, parcel in sent) == pytest.approx(10 * 1024 * KIB, rel=0.02)
    assert len({parcel.device for _, parcel in sent}) == 50


def test_blobs_of_one_device_come_one_after_the_other() -> None:
    wishes = Wishes(FAST)
    _want(wishes, blob=BLOB, window=3)
    _want(wishes, blob=OTHER, window=3)
    assert [parcel.blob for parcel in _all_now(wishes)] == [BLOB] * 3 + [OTHER] * 3


def test_dropped_wish_is_not_served() -> None:
    wishes = Wishes(FAST)
    _want(wishes)
    wishes.drop(A, BLOB)
    wishes.drop(B, BLOB)
    assert wishes.next(0.0) is None


def test_one_device_cannot_fill_the_memory_with_blobs() -> None:
    wishes = Wishes(FAST)
    for n in range(3 * WISHES_MAX):
        _want(wishes, float(n), blob=digest_of(b"%d" % n), window=1)
    assert wishes.chunks == WISHES_MAX
    newest = {digest_of(b"%d" % n) for n in range(2 * WISHES_MAX, 3 * WISHES_MAX)}
    assert {parcel.blob for parcel in _all_now(wishes, 100.0)} == newest


def test_devices_beyond_the_limit_wait_until_others_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinnace_server.service.wishes.DEVICES_MAX", 2)
    assert DEVICES_MAX > 10_000
    wishes = Wishes(FAST)
    for device in (A, B, C):
        _want(wishes, device=device, window=1)
    assert {parcel.device for parcel in _all_now(wishes)} == {A, B}
    assert wishes.next(2 * FORGET_AFTER_S) is None
    assert wishes.devices == 0
    _want(wishes, 2 * FORGET_AFTER_S, device=C, window=1)
    assert {parcel.device for parcel in _all_now(wishes, 2 * FORGET_AFTER_S)} == {C}


@given(
    st.lists(
        st.tuples(
            st.sampled_from([A, B, C]),
            st.sampled_from([BLOB, OTHER]),
            st.sets(st.integers(0, 99), max_size=40),
            st.integers(1, 32),
            st.floats(0, 2),
        ),
        max_size=20,
    )
)
def test_whatever_is_asked_only_missing_chunks_are_sent_within_the_window(
    wants: list[tuple[DeviceId, Digest, set[int], int, float]],
) -> None:
    wishes, now_s = Wishes(), 0.0
    newest: dict[tuple[DeviceId, Digest], tuple[set[int], int]] = {}
    since: Counter[tuple[DeviceId, Digest]] = Counter()
    for device, blob, missing, window, pause_s in wants:
        _want(wishes, now_s, device=device, blob=blob, missing=sorted(missing), window=window)
        newest[device, blob] = missing, window
        since[device, blob] = 0
        until_s = now_s + pause_s
        while now_s < until_s:
            found = wishes.next(now_s)
            if isinstance(found, Parcel):
                asked, granted = newest[found.device, found.blob]
                since[found.device, found.blob] += 1
                assert found.index in asked
                assert since[found.device, found.blob] <= granted
            else:
                now_s = until_s if found is None else min(until_s, now_s + max(found, 1e-9))
