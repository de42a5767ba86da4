"""Who moves in which wave: all exactly once, by the mix of hardware, the same way every time, whoever comes or goes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_contract.ids import DeviceId, RolloutId
from pinnace_server.domain import waves
from pinnace_server.domain.rollout_policy.policy import (
    DEFAULT_WAVES,
    Canary,
    Cohort,
    Membership,
    RolloutPolicy,
    SiteAtomic,
    Strategy,
)
from pinnace_server.domain.rollout_policy.sizes import (
    WHOLE,
    Count,
    Percent,
    Rest,
    Share,
    WaveSize,
    percent,
    rounded,
    share_of,
)
from pinnace_server.domain.selector import EVERY_DEVICE
from pinnace_server.domain.waves import Candidate

ROLLOUT = RolloutId("r-0123456789")
CLASSES = ["pi4", "jetson", "x86", ""]
TWENTIETH, CANARY = percent(5), Canary()


def policy(
    *sizes: WaveSize,
    holdback: Share | None = TWENTIETH,
    strategy: Strategy = CANARY,
    membership: Membership = Membership.DYNAMIC,
) -> RolloutPolicy:
    return RolloutPolicy(
        cohort=Cohort(selector=EVERY_DEVICE, membership=membership),
        waves=sizes or DEFAULT_WAVES,
        holdback=holdback,
        strategy=strategy,
    )


def fleet(n: int, *, hardware: Sequence[str] = ("pi4",), sites: int = 0, first: int = 0) -> list[Candidate]:
    return [
        Candidate(
            device=DeviceId(f"camera-{k}"),
            hardware=hardware[k % len(hardware)],
            site=f"plant-{k % sites}" if sites else "",
        )
        for k in range(first, first + n)
    ]


def sizes_of(numbers: waves.Numbers, one: RolloutPolicy) -> list[int]:
    counted = Counter(numbers.values())
    return [counted[number] for number in range(1, waves.holdback_number(one) + 1)]


def mix(numbers: waves.Numbers, cohort: Iterable[Candidate], number: int) -> Counter[str]:
    return Counter(each.hardware for each in cohort if numbers[each.device] == number)


@pytest.mark.parametrize(
    ("devices", "one", "sizes"),
    [
        pytest.param(0, policy(), [0, 0, 0, 0], id="nobody"),
        pytest.param(1, policy(), [1, 0, 0, 0], id="one is not held back"),
        pytest.param(2, policy(), [1, 0, 0, 1], id="one of two is"),
        pytest.param(3, policy(), [1, 1, 0, 1], id="three"),
        pytest.param(4, policy(), [1, 1, 1, 1], id="four"),
        pytest.param(8, policy(), [1, 2, 4, 1], id="eight"),
        pytest.param(40, policy(), [2, 9, 27, 2], id="forty"),
        pytest.param(1000, policy(), [48, 237, 665, 50], id="a thousand"),
        pytest.param(10, policy(Count(devices=1), Count(devices=3), Rest()), [1, 3, 5, 1], id="counts"),
        pytest.param(4, policy(Count(devices=2), Count(devices=3), Rest()), [1, 1, 1, 1], id="too few for the counts"),
        pytest.param(
            15, policy(*[percent(10)] * 10, holdback=None), [2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 0], id="ten tenths"
        ),
        pytest.param(100, policy(Rest(), holdback=None), [100, 0], id="all in one"),
        pytest.param(10, policy(Rest(), holdback=Count(devices=4)), [6, 4], id="four are held back"),
        pytest.param(3, policy(Rest(), holdback=Count(devices=9)), [1, 2], id="one moves whatever is held back"),
        pytest.param(
            1000, policy(Percent(hundredths=25), Rest(), holdback=None), [3, 997, 0], id="a quarter of a per cent"
        ),
    ],
)
def test_waves_have(devices: int, one: RolloutPolicy, sizes: list[int]) -> None:
    assert sizes_of(waves.deal(ROLLOUT, one, fleet(devices, hardware=CLASSES)), one) == sizes


def test_sixty_rare_boards_are_found_in_every_wave_with_their_share() -> None:
    one = policy(percent(10), percent(30), Rest(), holdback=percent(10))
    cohort = fleet(540) + [Candidate(device=DeviceId(f"rare-{k}"), hardware="jetson") for k in range(60)]
    numbers = waves.deal(ROLLOUT, one, cohort)
    assert sizes_of(numbers, one) == [54, 162, 324, 60]
    assert mix(numbers, cohort, 4)["jetson"] == 6
    assert mix(numbers, cohort, 1)["jetson"] in (5, 6)
    assert mix(numbers, cohort, 2)["jetson"] in (16, 17)


def test_single_board_of_its_class_moves_in_any_wave_with_the_wave_s_chance() -> None:
    one = policy(percent(25), Rest(), holdback=percent(25))
    cohort = [*fleet(19), Candidate(device=DeviceId("rare"), hardware="jetson")]
    found = Counter(waves.deal(RolloutId(f"r-{k}"), one, cohort)[DeviceId("rare")] for k in range(2000))
    # 4, 11 and 5 of 20 devices; five standard deviations of 2,000 draws are below 120.
    assert abs(found[1] - 400) < 120
    assert abs(found[2] - 1100) < 120
    assert abs(found[3] - 500) < 120


# --- laws ---------------------------------------------------------------------------------------------------------

COHORTS = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from(CLASSES), st.integers(0, 12)),
    max_size=120,
    unique_by=lambda one: one[0],
).map(
    lambda rows: [
        Candidate(device=DeviceId(f"d-{k}"), hardware=hardware, site=f"s-{site}" if site else "")
        for k, hardware, site in rows
    ]
)
FIXED = st.integers(1, 30).map(lambda n: Count(devices=n))
SHARES = st.lists(st.integers(1, 5_000), max_size=4).filter(lambda parts: sum(parts) < WHOLE)
PLANS = st.one_of(
    SHARES.map(lambda parts: [*(Percent(hundredths=part) for part in parts), Rest()]),
    st.lists(FIXED, max_size=4).map(lambda parts: [*parts, Rest()]),
    st.sampled_from([[Count(devices=1), percent(10), Count(devices=5), Rest()], [percent(50), percent(50)]]),
)
HELD = st.none() | FIXED | st.integers(1, 5_000).map(lambda part: Percent(hundredths=part))
POLICIES = st.builds(
    lambda plan, held, strategy: policy(*plan, holdback=held, strategy=strategy),
    PLANS,
    HELD,
    st.sampled_from([Canary(), SiteAtomic()]),
)
BY_DEVICE = POLICIES.filter(lambda one: isinstance(one.strategy, Canary))
BY_SITE = POLICIES.filter(lambda one: isinstance(one.strategy, SiteAtomic))
ROLLOUTS = st.integers(0, 10_000).map(lambda n: RolloutId(f"r-{n}"))


@given(ROLLOUTS, POLICIES, COHORTS)
def test_every_device_is_in_one_wave(rollout: RolloutId, one: RolloutPolicy, cohort: list[Candidate]) -> None:
    numbers = waves.deal(rollout, one, cohort)
    assert set(numbers) == {each.device for each in cohort}
    assert all(1 <= number <= waves.holdback_number(one) for number in numbers.values())


@given(ROLLOUTS, POLICIES, COHORTS, st.randoms(use_true_random=False))
def test_order_in_which_devices_are_listed_means_nothing(
    rollout: RolloutId, one: RolloutPolicy, cohort: list[Candidate], chance: random.Random
) -> None:
    shuffled = chance.sample(cohort, len(cohort))
    assert waves.deal(rollout, one, shuffled) == waves.deal(rollout, one, cohort)


@given(ROLLOUTS, POLICIES, COHORTS)
def test_no_wave_is_empty_while_a_later_one_has_devices(
    rollout: RolloutId, one: RolloutPolicy, cohort: list[Candidate]
) -> None:
    *filled, _ = sizes_of(waves.deal(rollout, one, cohort), one)
    first_empty = filled.index(0) if 0 in filled else len(filled)
    assert not any(filled[first_empty:])
    if cohort:
        assert filled[0] > 0


@given(ROLLOUTS, BY_DEVICE, COHORTS)
def test_sizes_are_those_asked_for(rollout: RolloutId, one: RolloutPolicy, cohort: list[Candidate]) -> None:
    *filled, held = sizes_of(waves.deal(rollout, one, cohort), one)
    n = len(cohort)
    if one.holdback is None or n < 2:
        assert held == 0
    else:
        assert held == min(max(1, share_of(one.holdback, n)), n - 1)
    moving = n - held
    if 0 in filled:
        assert sum(filled) == moving <= len(filled)
        return
    roomy = True  # no wave before had to take another size, so that one device is left for each
    for size, found in zip(one.waves[:-1], filled[:-1], strict=True):
        if isinstance(size, Count):
            roomy = roomy and found == size.devices
            assert found <= size.devices
        elif isinstance(size, Percent):
            exact = moving * size.hundredths / WHOLE
            assert found <= max(1, exact + 1)
            roomy = roomy and found >= exact - 1
    left = [k for k in range(1, len(filled)) if sum(filled[:k]) + len(filled) - k == moving]
    assert roomy or left  # where one wave got less, every later one has a single device


@given(ROLLOUTS, BY_DEVICE, COHORTS)
def test_each_wave_has_its_part_of_each_class(rollout: RolloutId, one: RolloutPolicy, cohort: list[Candidate]) -> None:
    numbers = waves.deal(rollout, one, cohort)
    left = Counter(each.hardware for each in cohort)
    for number in (waves.holdback_number(one), *range(1, waves.holdback_number(one))):
        taken = mix(numbers, cohort, number)
        for hardware, n in left.items():
            assert abs(taken[hardware] - n * taken.total() / left.total()) < 1
        left = Counter({hardware: n for hardware, n in (left - taken).items() if n})


@given(ROLLOUTS, BY_SITE, COHORTS)
def test_site_moves_as_a_whole(rollout: RolloutId, one: RolloutPolicy, cohort: list[Candidate]) -> None:
    numbers = waves.deal(rollout, one, cohort)
    waves_of: dict[str, set[int]] = {}
    for each in cohort:
        waves_of.setdefault(each.site or each.device, set()).add(numbers[each.device])
    assert all(len(found) == 1 for found in waves_of.values())


@given(ROLLOUTS, POLICIES, COHORTS, st.data())
def test_nobody_moves_when_devices_come_and_go(
    rollout: RolloutId, one: RolloutPolicy, cohort: list[Candidate], data: st.DataObject
) -> None:
    start = [each for each in cohort if data.draw(st.booleans())]
    dealt = waves.deal(rollout, one, start)
    numbers = dict(dealt)
    for _ in range(3):
        there = [each for each in cohort if data.draw(st.booleans())]
        now = waves.join(rollout, one, there, numbers)
        assert {device: now[device] for device in numbers} == numbers
        assert set(now) == set(numbers) | {each.device for each in there}
        numbers = now


@given(ROLLOUTS, BY_DEVICE, COHORTS, COHORTS)
def test_where_a_joiner_goes_depends_on_nobody(
    rollout: RolloutId, one: RolloutPolicy, cohort: list[Candidate], others: list[Candidate]
) -> None:
    joiner = Candidate(device=DeviceId("late"), hardware="pi4")
    wave = waves.placed(rollout, one, joiner)
    for known in (cohort, others):
        dealt = waves.deal(rollout, one, known)
        assert waves.join(rollout, one, [*known, joiner], dealt)[joiner.device] == wave


@given(ROLLOUTS, BY_SITE, COHORTS, COHORTS)
def test_joiner_goes_with_its_site(
    rollout: RolloutId, one: RolloutPolicy, cohort: list[Candidate], joiners: list[Candidate]
) -> None:
    late = [Candidate(device=DeviceId(f"late-{each.device}"), site=each.site) for each in joiners]
    numbers = waves.join(rollout, one, [*cohort, *late], waves.deal(rollout, one, cohort))
    waves_of: dict[str, set[int]] = {}
    for each in (*cohort, *late):
        waves_of.setdefault(each.site or each.device, set()).add(numbers[each.device])
    assert all(len(found) == 1 for found in waves_of.values())


def test_static_cohort_stays_as_it_was_dealt() -> None:
    one = policy(membership=Membership.STATIC)
    dealt = waves.deal(ROLLOUT, one, fleet(20))
    assert waves.join(ROLLOUT, one, fleet(40), dealt) == dealt


def test_joiners_spread_over_the_waves_like_the_first_ones() -> None:
    one = policy(percent(10), percent(30), Rest(), holdback=percent(20))
    found = sizes_of(waves.join(ROLLOUT, one, fleet(5_000), {}), one)
    for size, expected in zip(found, (400, 1200, 2400, 1000), strict=True):
        assert abs(size - expected) < 180  # five standard deviations of the largest


def test_wave_of_so_many_devices_takes_no_joiner() -> None:
    one = policy(Count(devices=2), percent(20), Rest(), holdback=Count(devices=3))
    dealt = waves.deal(ROLLOUT, one, fleet(50))
    numbers = waves.join(ROLLOUT, one, fleet(1_000), dealt)
    counted = sizes_of(numbers, one)
    assert counted[0] == 2
    assert counted[3] == 3
    assert abs(counted[1] - 199) < 70


def test_two_rollouts_deal_differently() -> None:
    first, second = (waves.deal(RolloutId(name), policy(), fleet(100)) for name in ("r-1", "r-2"))
    assert first != second


def test_dealing_never_changes_between_versions() -> None:
    """A rollout under way must find its waves again after the server was updated."""
    numbers = waves.deal(ROLLOUT, policy(), fleet(12, hardware=CLASSES))
    assert [numbers[each.device] for each in fleet(12)] == [3, 4, 3, 3, 3, 3, 3, 3, 3, 2, 1, 2]
    late = [waves.placed(ROLLOUT, policy(), each) for each in fleet(12, first=100)]
    assert late == [3, 2, 3, 3, 1, 3, 3, 2, 3, 3, 3, 3]


@pytest.mark.parametrize(("numerator", "nearest"), [(0, 0), (4, 0), (5, 1), (14, 1), (15, 2), (25, 3)])
def test_halves_are_rounded_up(numerator: int, nearest: int) -> None:
    assert rounded(numerator, 10) == nearest
