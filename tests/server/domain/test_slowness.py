"""What is slow is told by a device's own past, or by its class of hardware, and by the same bound on either arm."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_contract.histogram import BUCKETS_PER_OCTAVE, Histogram, bucket_of
from pinnace_contract.ids import DeviceId, ModelName, ReleaseId
from pinnace_contract.latest import Arm
from pinnace_server.domain import slowness, witness
from pinnace_server.domain.gates import verdicts
from pinnace_server.domain.gates.evidence import Guard, Series, WaveEvidence
from pinnace_server.domain.gates.settings import Settings
from pinnace_server.domain.gates.streams import Tally
from pinnace_server.domain.gates.verdicts import Decision
from pinnace_server.domain.packed_histogram import PackedHistogram
from pinnace_server.domain.slowness import KNOWN_FROM
from pinnace_server.domain.stretches import Stretch
from pinnace_server.domain.witness import LATELY, PAST, STRETCH_S, Witness

OLD, NEW = ReleaseId("0" * 64), ReleaseId("1" * 64)
BEGIN, LASTS = 1_000, 6
SWITCHED_S = BEGIN * STRETCH_S
BOARD = "board"
FAST_S, SLOW_S = 0.010, 0.020


def stretch(number: int, release: ReleaseId, latencies: Sequence[float]) -> Stretch:
    histogram = Histogram()
    for each in latencies:
        histogram.add(each)
    return Stretch(
        device=DeviceId("camera"),
        model=ModelName("digits"),
        release=release,
        number=number,
        errors=Tally().after(len(latencies), 0),
        latency=PackedHistogram.of(histogram),
    )


def day(latencies: Sequence[float], *, first: int = BEGIN - PAST) -> list[Stretch]:
    return [stretch(number, OLD, latencies) for number in range(first, BEGIN)]


def hour(release: ReleaseId, latencies: Sequence[float]) -> list[Stretch]:
    return [stretch(number, release, latencies) for number in range(BEGIN, BEGIN + LASTS)]


def device(name: str, *rows: Stretch, moved: bool = True, **facts: object) -> Witness:
    reports = dict.fromkeys(range(BEGIN - PAST, BEGIN + LASTS + 1), 10)
    return Witness(device=DeviceId(name), moved=moved, rows=rows, reports=reports, **facts)  # type: ignore[arg-type]


def told(*these: Witness, limits: dict[Guard, float] | None = None, lasts: int = LASTS) -> WaveEvidence:
    return witness.evidence(
        release=NEW,
        switched_at_s=SWITCHED_S,
        now_s=SWITCHED_S + lasts * STRETCH_S,
        witnesses=these,
        limits=limits,
    )


def slow(found: WaveEvidence, name: str) -> Series | None:
    (only,) = (each for each in found.devices if each.device == name)
    return only.guards.get(Guard.SLOW)


# --- the bound ---------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(1e-4, 10.0), min_size=1, max_size=40))
def test_at_most_one_in_twenty_of_the_past_was_slow(latencies: list[float]) -> None:
    past = day(latencies * math.ceil(KNOWN_FROM / len(latencies) / PAST))
    bucket = slowness.bound(past)
    if bucket is None:
        assert len(latencies) * PAST < KNOWN_FROM
        return
    counted = slowness.counts(past, bucket)
    assert counted.trials >= KNOWN_FROM
    assert counted.bad <= 0.05 * counted.trials


@given(st.lists(st.lists(st.floats(1e-4, 10.0), max_size=30), min_size=1, max_size=20), st.integers(-200, 60))
def test_bursts_go_on_from_the_past_into_the_present(windows: list[list[float]], bucket: int) -> None:
    rows = [stretch(number, OLD, latencies) for number, latencies in enumerate(windows)]
    for cut in range(len(rows) + 1):
        found = slowness.series(rows[:cut], max(cut - LATELY, 0), rows[cut:], bucket)
        assert found.past + found.now == slowness.counts(rows, bucket)
        assert found.lately.trials == sum(len(each) for each in windows[max(cut - LATELY, 0) : cut])


def test_bucket_beside_the_p95_is_not_slow_and_the_next_one_is() -> None:
    bucket = slowness.bound(day([FAST_S] * 10))
    assert bucket is not None
    width = 2 ** (1 / 16)
    for times, is_slow in ((1.0, False), (width, False), (width**2, True)):
        assert slowness.counts([stretch(0, NEW, [FAST_S * times])], bucket).bad == is_slow


def test_answers_that_took_no_time_have_a_bound_too() -> None:
    bucket = slowness.bound(day([0.0] * 10))
    assert bucket is not None
    assert slowness.counts([stretch(0, NEW, [0.0, FAST_S])], bucket).bad == 1


@pytest.mark.parametrize(("n", "known"), [(KNOWN_FROM - 1, False), (KNOWN_FROM, True)])
def test_a_p95_is_known_from_some_inferences_on(n: int, known: bool) -> None:
    assert (slowness.bound([stretch(0, OLD, [FAST_S] * n)]) is not None) == known


# --- the series of a device --------------------------------------------------------------------------------------


def test_both_arms_stand_beside_their_own_past_by_their_own_bound() -> None:
    found = told(
        device("a", *day([FAST_S] * 10), *hour(NEW, [FAST_S] * 4 + [SLOW_S])),
        device("z", *day([SLOW_S] * 10), *hour(OLD, [SLOW_S] * 10), moved=False),
    )
    candidate, control = slow(found, "a"), slow(found, "z")
    assert candidate is not None
    assert control is not None
    assert (candidate.past.trials, candidate.past.bad) == (PAST * 10, 0)
    assert (candidate.now.trials, candidate.now.bad) == (LASTS * 5, LASTS)
    assert (control.past.bad, control.now.trials, control.now.bad) == (0, (LASTS - 1) * 10, 0)


def test_share_of_the_past_is_counted_and_not_assumed() -> None:
    past = [FAST_S] * 97 + [SLOW_S] * 3
    found = slow(told(device("a", *day(past), *hour(NEW, past))), "a")
    assert found is not None
    assert (found.past.bad, found.lately.bad, found.now.bad) == (3 * PAST, 3 * LATELY, 3 * LASTS)


def test_device_with_little_past_is_measured_by_its_class() -> None:
    known = device("z", *day([FAST_S] * 10), *hour(OLD, [FAST_S]), moved=False, hardware=BOARD)
    fresh = device("a", *day([SLOW_S], first=BEGIN - 3), *hour(NEW, [FAST_S, SLOW_S]), hardware=BOARD)
    found = slow(told(known, fresh), "a")
    assert found is not None
    assert (found.past.trials, found.past.bad) == (3, 3)
    assert (found.now.trials, found.now.bad) == (2 * LASTS, LASTS)


@pytest.mark.parametrize(
    ("hardware", "past"),
    [
        pytest.param("another", 10, id="nobody like it"),
        pytest.param("", 10, id="it does not say what it is"),
        pytest.param(BOARD, 3, id="its class knows little, too"),
    ],
)
def test_device_that_nobody_can_measure_has_no_slow_answers(hardware: str, past: int) -> None:
    named = BOARD if hardware else ""
    known = device("z", *day([FAST_S] * past), *hour(OLD, [FAST_S]), moved=False, hardware=named)
    found = told(known, device("a", *hour(NEW, [SLOW_S]), hardware=hardware))
    assert slow(found, "a") is None
    assert found.of(Arm.CANDIDATE)[0].guards[Guard.ERRORS].now.trials == LASTS


def test_class_is_the_same_before_and_after_its_devices_answer_with_the_release() -> None:
    """What is slow does not change while a gate watches."""
    others = [device(f"z{n}", *day([FAST_S, FAST_S * (1 + n)]), hardware=BOARD) for n in range(3)]
    answering = [device(str(each.device), *each.rows, *hour(NEW, [SLOW_S, SLOW_S]), hardware=BOARD) for each in others]
    fresh = device("a", *hour(NEW, [FAST_S, 2.5 * FAST_S]), hardware=BOARD)
    assert slow(told(fresh, *others), "a") == slow(told(fresh, *answering), "a")
    assert slow(told(fresh, *others), "a") is not None


def test_first_release_has_no_slow_answers() -> None:
    found = told(device("a", *hour(NEW, [SLOW_S] * 100)), device("b", *hour(NEW, [SLOW_S] * 100)))
    assert all(Guard.SLOW not in each.guards for each in found.devices)
    assert Guard.SLOW not in found.dispersion


def test_stretches_from_before_latencies_were_kept_say_nothing() -> None:
    empty = [stretch(number, OLD, []) for number in range(BEGIN - PAST, BEGIN - 72)]
    kept = day([FAST_S] * 9 + [SLOW_S] * 1, first=BEGIN - 72)
    found, without = (told(device("a", *rows, *hour(NEW, [FAST_S]))) for rows in ([*empty, *kept], kept))
    assert slow(found, "a") == slow(without, "a")
    assert found.dispersion[Guard.SLOW] == without.dispersion[Guard.SLOW]


def test_bursts_of_slow_answers_show_in_the_dispersion() -> None:
    latencies = [[SLOW_S] * 100 if number % 40 == 0 else [FAST_S] * 100 for number in range(PAST)]
    rows = [stretch(BEGIN - PAST + at, OLD, each) for at, each in enumerate(latencies)]
    assert told(device("a", *rows, *hour(NEW, [FAST_S]))).dispersion[Guard.SLOW] > 30


# --- what the release promises -----------------------------------------------------------------------------------


def test_an_intended_slowdown_is_held_against_what_the_release_promises() -> None:
    slower = [*day([FAST_S] * 10), *hour(NEW, [SLOW_S] * 9 + [4 * SLOW_S])]
    limits = {Guard.SLOW: 0.05}
    found = told(
        device("a", *slower, p95_ms_max=1000 * SLOW_S),
        device("b", *slower),
        device("z", *slower, moved=False),
        limits=limits,
    )
    assert all(Guard.SLOW not in each.guards for each in found.devices)
    promised, unpromised, control = (found.devices[at].limited for at in range(3))
    assert (promised[Guard.SLOW].trials, promised[Guard.SLOW].bad) == (LASTS * 10, LASTS)
    assert unpromised == control == {}
    assert bucket_of(SLOW_S) == slowness.expected_bound(1000 * SLOW_S)


# --- verdicts ----------------------------------------------------------------------------------------------------


def fleet(
    seed: int, latency: Callable[[bool, bool], float], *, candidates: int = 20, controls: int = 20
) -> list[Witness]:
    """Devices that each answer once a minute, log-normally (sigma 0.3) around a latency of their own, for 13 hours."""
    chance = Random(seed)
    made = []
    for number in range(candidates + controls):
        moved, own = number < candidates, chance.gauss(-6.6, 0.4)  # in powers of two of a second
        rows = []
        for at in range(BEGIN - PAST // 2, BEGIN + LASTS):
            middle = own + math.log2(latency(moved, at >= BEGIN))
            drawn = [math.floor(BUCKETS_PER_OCTAVE * chance.gauss(middle, 0.3 / math.log(2))) for _ in range(10)]
            histogram = PackedHistogram.of(Histogram(Counter(drawn)))
            rows.append(replace(stretch(at, NEW if moved and at >= BEGIN else OLD, [FAST_S] * 10), latency=histogram))
        made.append(device(f"{number}", *rows, moved=moved, hardware=BOARD))
    return made


def decided(found: WaveEvidence) -> tuple[Decision, bool]:
    verdict = verdicts.judge(found, Settings(waves=3))
    return verdict.decision, any(each.guard is Guard.SLOW for each in verdict.grounds)


def looks(witnesses: Sequence[Witness]) -> list[tuple[Decision, bool]]:
    return [decided(told(*(_until(each, lasts) for each in witnesses), lasts=lasts)) for lasts in (1, 3, LASTS)]


def _until(one: Witness, lasts: int) -> Witness:
    return device(
        one.device, *(row for row in one.rows if row.number < BEGIN + lasts), moved=one.moved, hardware=one.hardware
    )


@pytest.mark.parametrize("seed", range(3))
def test_release_that_is_slower_by_a_fifth_is_moved_back_within_the_hour(seed: int) -> None:
    found = looks(fleet(seed, lambda moved, since: 1.2 if moved and since else 1.0))
    assert (Decision.ROLL_BACK, True) in found


@pytest.mark.parametrize("everywhere", [1.0, 1.3, 3.0])
@pytest.mark.parametrize("controls", [3, 20])
def test_slowdown_of_the_whole_fleet_moves_nobody_back(everywhere: float, controls: int) -> None:
    seed = 7
    found = looks(fleet(seed, lambda _, since: everywhere if since else 1.0, controls=controls))
    assert all(decision is not Decision.ROLL_BACK for decision, _ in found), seed


def test_one_slow_device_moves_nobody_back() -> None:
    found = fleet(4, lambda *_: 1.0)
    broken = device("0", *found[0].rows[:-LASTS], *hour(NEW, [1.0] * 10), hardware=BOARD)
    assert decided(told(broken, *found[1:]))[0] is not Decision.ROLL_BACK
