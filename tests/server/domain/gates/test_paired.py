"""Devices with a control arm of their own: the difference within a device decides, whatever the device goes through."""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict, replace

import pytest

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Arm
from pinnace_server.domain.gates import guards, outcome, records, verdicts
from pinnace_server.domain.gates.evidence import Counts, DeviceEvidence, Guard, Pair, Series, WaveEvidence
from pinnace_server.domain.gates.settings import Settings
from pinnace_server.domain.gates.streams import Tally
from pinnace_server.domain.gates.verdicts import Decision

DAY = 24 * 6  # stretches of ten minutes
SETTINGS = Settings(waves=3)
SHARE = 0.2


def counted(draw: random.Random, trials: int, rate: float, stretches: int) -> Counts:
    """So many stretches of independent answers."""
    windows = ((trials, sum(draw.random() < rate for _ in range(trials))) for _ in range(stretches))
    return Tally().over(windows).counts


def device(
    draw: random.Random, number: int, *, mood: float = 1.0, worse: float = 1.0, split: bool = True, hours: int = 6
) -> DeviceEvidence:
    """A device of the wave: one error in a hundred in its past, and its mood on both arms since the switch."""
    past, rate = counted(draw, 60, 0.01, DAY), 0.01 * mood
    theirs = counted(draw, 12, rate, 6 * hours) if split else Counts()
    ours = counted(draw, 48 if split else 60, rate * worse, 6 * hours)
    return DeviceEvidence(
        device=DeviceId(f"camera-{number}"),
        arm=Arm.CANDIDATE,
        guards={Guard.ERRORS: Series(past=past, now=ours)},
        paired={Guard.ERRORS: Pair(candidate=ours, control=theirs)} if split else {},
    )


def behind(draw: random.Random, number: int, hours: int = 6) -> DeviceEvidence:
    return DeviceEvidence(
        device=DeviceId(f"behind-{number}"),
        arm=Arm.CONTROL,
        guards={Guard.ERRORS: Series(past=counted(draw, 60, 0.01, DAY), now=counted(draw, 60, 0.01, 6 * hours))},
    )


def wave(*devices: DeviceEvidence, hours: float = 6.0) -> WaveEvidence:
    n = sum(each.arm is Arm.CANDIDATE for each in devices)
    return WaveEvidence(
        elapsed_min=60.0 * hours,
        wave_size=n,
        reachable=n,
        committed=n,
        reporting=len(devices),
        devices=devices,
        dispersion={Guard.ERRORS: 1.2},
    )


def without_pairs(evidence: WaveEvidence) -> WaveEvidence:
    return replace(evidence, devices=tuple(replace(each, paired={}) for each in evidence.devices))


def test_a_bad_release_is_moved_back_beside_its_own_control() -> None:
    draw = random.Random(1)
    found = wave(*(device(draw, number, worse=3.0) for number in range(6)))
    verdict = verdicts.judge(found, SETTINGS)
    assert verdict.decision is Decision.ROLL_BACK
    assert verdict.grounds[0].guard is Guard.ERRORS


def test_a_day_that_is_bad_for_the_devices_is_bad_for_their_controls_too() -> None:
    """Half of the wave sees three times as many errors whatever serves; those that stay behind see nothing of it."""
    moved_back = alone = 0
    for seed in range(40):
        draw = random.Random(seed)
        moody = [device(draw, number, mood=3.0 if number % 2 else 1.0) for number in range(6)]
        found = wave(*moody, *(behind(draw, number) for number in range(4)))
        moved_back += verdicts.judge(found, SETTINGS).decision is Decision.ROLL_BACK
        alone += verdicts.judge(without_pairs(found), SETTINGS).decision is Decision.ROLL_BACK
    assert moved_back == 0
    assert alone > 10, "the moods were no test"


def test_a_good_release_is_proven_beside_its_own_control_without_anybody_behind() -> None:
    draw = random.Random(3)
    found = wave(*(device(draw, number, hours=24) for number in range(20)), hours=24)
    verdict = verdicts.judge(found, replace(SETTINGS, soak_min=60.0))
    assert verdict.decision is Decision.PROMOTE_PROVEN, verdict.grounds
    beside_nobody = verdicts.judge(without_pairs(found), SETTINGS)
    assert beside_nobody.readings[0].not_worse < math.log(20)


def test_devices_without_a_control_arm_are_still_heard_when_it_is_worse() -> None:
    draw = random.Random(4)
    bad = [device(draw, number, worse=5.0, split=False) for number in range(6)]
    good = [device(draw, 10 + number) for number in range(6)]
    found = wave(*bad, *good, *(behind(draw, number) for number in range(6)))
    assert verdicts.judge(found, SETTINGS).decision is Decision.ROLL_BACK


def test_what_came_after_the_control_arm_is_compared_as_ever() -> None:
    draw = random.Random(5)
    devices = []
    for number in range(6):
        each = device(draw, number)
        series = each.guards[Guard.ERRORS]
        after = replace(series, now=counted(draw, 60, 0.06, 36))
        devices.append(replace(each, alone={Guard.ERRORS: after}))
    found = wave(*devices, *(behind(draw, number) for number in range(6)))
    assert verdicts.judge(found, SETTINGS).decision is Decision.ROLL_BACK


# --- what came of the answers ------------------------------------------------------------------------------------


def told(draw: random.Random, number: int, *, worse: float = 1.0, answers: int = 200) -> DeviceEvidence:
    """A device on whose both arms a tenth of the outcomes fail, times the mood of its day."""
    rate = 0.1 * draw.choice((0.5, 1.0, 3.0))
    ours, theirs = counted(draw, answers, rate * worse, 4), counted(draw, answers // 4, rate, 4)
    series = Series(past=counted(draw, answers, 0.1, 4), now=ours)
    pair = Pair(candidate=ours, control=theirs)
    return DeviceEvidence(
        device=DeviceId(f"shop-{number}"), arm=Arm.CANDIDATE, outcome=series, paired={Guard.OUTCOME: pair}
    )


def outcomes_of(*devices: DeviceEvidence) -> outcome.Reading | None:
    return outcome.read(wave(*devices), 0.02, 0.0)


def test_outcomes_are_compared_within_devices_and_need_nobody_behind() -> None:
    draw, most = random.Random(8), math.log(200 * 9 * 3)
    healthy = [outcomes_of(*(told(draw, number) for number in range(20))) for _ in range(200)]
    assert sum(each is not None and each.worse >= most for each in healthy) <= 1
    bad = outcomes_of(*(told(draw, number, worse=2.0) for number in range(30)))
    assert bad is not None
    assert bad.worse >= most
    assert bad.worse_without is not None
    assert bad.worse_without >= most, "no single device decides"


def test_the_moods_of_the_same_devices_would_hide_it_from_those_that_stay_behind() -> None:
    draw = random.Random(9)
    these = [told(draw, number, worse=2.0) for number in range(20)]
    behind = [replace(told(draw, 100 + number), arm=Arm.CONTROL, paired={}) for number in range(20)]
    within, beside = outcomes_of(*these), outcomes_of(*(replace(each, paired={}) for each in these), *behind)
    assert within is not None
    assert beside is not None
    assert within.worse > beside.worse


def test_nine_devices_with_both_arms_say_nothing_and_ten_do() -> None:
    draw = random.Random(10)
    these = [told(draw, number, worse=3.0) for number in range(10)]
    few, enough = outcomes_of(*these[:9]), outcomes_of(*these)
    assert few is not None
    assert enough is not None
    assert (few.worse, few.not_worse) == (0.0, 0.0)
    assert enough.worse > 0
    assert not outcome.decided_beside(wave(*these[:9]))
    assert outcome.decided_beside(wave(*these))


def test_devices_that_tell_no_outcome_are_not_waited_for() -> None:
    draw = random.Random(12)
    telling = [replace(told(draw, number), paired={}) for number in range(9)]
    behind = [replace(told(draw, 20 + number), arm=Arm.CONTROL, paired={}) for number in range(12)]
    silent = [DeviceEvidence(device=DeviceId(f"mute-{number}"), arm=Arm.CANDIDATE) for number in range(9)]
    assert not outcome.decided_beside(wave(*telling, *silent, *behind)), "or the wave would wait for ever"
    assert outcome.decided_beside(wave(*telling, replace(told(draw, 9), paired={}), *silent, *behind))


def test_devices_without_a_control_arm_are_heard_beside_those_that_stay_behind() -> None:
    draw = random.Random(11)
    split = [told(draw, number) for number in range(12)]
    plain = [replace(told(draw, 20 + number, worse=4.0), paired={}) for number in range(12)]
    behind = [replace(told(draw, 40 + number), arm=Arm.CONTROL, paired={}) for number in range(12)]
    found, alone = outcomes_of(*split, *plain, *behind), outcomes_of(*split)
    assert found is not None
    assert alone is not None
    assert found.worse > alone.worse
    assert found.not_worse < 0, "they too must show that it is no worse"


def test_one_device_alone_decides_nothing() -> None:
    draw = random.Random(6)
    devices = [device(draw, 0, worse=30.0), *(device(draw, number) for number in range(1, 6))]
    verdict = verdicts.judge(wave(*devices), SETTINGS)
    assert verdict.decision is not Decision.ROLL_BACK


def test_a_busy_device_weighs_the_same_in_both_arms() -> None:
    """Thinned in one arm only, the busy one's mood would look like the release's."""
    draw = random.Random(7)
    moved_back = 0
    for _ in range(20):
        busy = device(draw, 0, mood=8.0, hours=30)
        found = wave(busy, *(device(draw, number, hours=3) for number in range(1, 6)))
        moved_back += verdicts.judge(found, SETTINGS).decision is Decision.ROLL_BACK
    assert moved_back == 0


@pytest.mark.parametrize("worse", [1.0, 3.0])
def test_a_record_with_pairs_can_be_worked_out_again(worse: float) -> None:
    draw = random.Random(8)
    found = wave(*(device(draw, number, worse=worse) for number in range(6)))
    kept = records.record(verdicts.judge(found, SETTINGS), found, SETTINGS)
    assert records.holds(kept)


def test_a_record_from_before_there_were_pairs_is_still_worked_out() -> None:
    draw = random.Random(9)
    found = wave(*(device(draw, number, split=False) for number in range(6)))
    kept = json.loads(json.dumps(records.record(verdicts.judge(found, SETTINGS), found, SETTINGS)))
    for each in kept["evidence"]["devices"]:
        del each["paired"], each["alone"]
    assert records.holds(kept)
    assert "paired" in asdict(found.devices[0])


def test_leaving_a_device_out_leaves_both_of_its_arms_out() -> None:
    draw = random.Random(10)
    found = wave(*(device(draw, number, worse=4.0) for number in range(4)))
    reading = guards.read(found, Guard.ERRORS, None, 1.25, 1.0)
    assert reading is not None
    assert reading.worse_without is not None
    assert reading.device in {each.device for each in found.devices}
