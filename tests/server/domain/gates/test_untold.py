"""That a wave holds for what its policy asks for while nobody tells it, and for nothing that too few tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pinnace_contract.latest import Arm
from pinnace_server.domain.gates import verdicts
from pinnace_server.domain.gates.evidence import ClassCounts, Counts, DeviceEvidence, Guard, Pair, Series, WaveEvidence
from pinnace_server.domain.gates.settings import PromoteOn, Settings
from pinnace_server.domain.gates.verdicts import Decision, Ground, Reason
from tests.server.domain.gates.fleets import arms, counts, wave

GOOD = arms([(1440, 14)] * 40, [(1440, 14)] * 10)
BAD = arms([(120, 6)] * 40, [(120, 1)] * 10)
UNREFUTED = Settings(promote_on=PromoteOn.UNREFUTED)
METRIC = {Guard.OUTCOME: "accepted"}
FAIRNESS = {Guard.FAIRNESS: ""}
PREDICTIONS = {Guard.PREDICTIONS: ""}
BEFORE = Series(past=counts(500, 50))
SINCE = Series(past=counts(500, 50), now=counts(1, 0))


def telling(devices: tuple[DeviceEvidence, ...], arm: Arm, n: int, **told: object) -> tuple[DeviceEvidence, ...]:
    """Let so many devices of an arm tell something."""
    names = [each.device for each in devices if each.arm is arm][:n]
    return tuple(replace(each, **told) if each.device in names else each for each in devices)  # type: ignore[arg-type]


def split(devices: tuple[DeviceEvidence, ...], candidate: Counts, control: Counts) -> tuple[DeviceEvidence, ...]:
    """Give every device of the wave a control arm of its own, and tell what came of the answers of both."""
    return tuple(
        replace(
            each,
            outcome=replace(BEFORE, now=candidate),
            paired={
                Guard.ERRORS: Pair(candidate=counts(1152, 11), control=counts(288, 3)),
                Guard.OUTCOME: Pair(candidate=candidate, control=control),
            },
        )
        if each.arm is Arm.CANDIDATE
        else each
        for each in devices
    )


def not_told(evidence: WaveEvidence, settings: Settings = UNREFUTED) -> tuple[Ground, ...]:
    return tuple(each for each in verdicts.judge(evidence, settings).grounds if each.reason is Reason.NOT_TOLD)


@pytest.mark.parametrize(
    ("evidence", "guard", "found"),
    [
        pytest.param(wave(GOOD, asked=METRIC), Guard.OUTCOME, 0, id="nobody tells outcomes"),
        pytest.param(
            wave(telling(GOOD, Arm.CANDIDATE, 40, outcome=BEFORE), asked=METRIC),
            Guard.OUTCOME,
            0,
            id="nobody tells outcomes any more",
        ),
        pytest.param(
            wave(telling(GOOD, Arm.CONTROL, 10, outcome=SINCE), asked=METRIC),
            Guard.OUTCOME,
            0,
            id="only those that stay behind tell",
        ),
        pytest.param(
            wave(split(GOOD, counts(0, 0), counts(50, 5)), asked=METRIC),
            Guard.OUTCOME,
            0,
            id="only what came of the control arms is told",
        ),
        pytest.param(wave(GOOD, asked=FAIRNESS), Guard.FAIRNESS, 0, id="nothing is labelled"),
        pytest.param(
            wave(telling(GOOD, Arm.CANDIDATE, 40, groups={"day": SINCE}), asked=FAIRNESS),
            Guard.FAIRNESS,
            1,
            id="one group has no gap",
        ),
        pytest.param(
            wave(telling(GOOD, Arm.CANDIDATE, 40, groups={"day": SINCE, "night": BEFORE}), asked=FAIRNESS),
            Guard.FAIRNESS,
            1,
            id="the other group was labelled before the switch only",
        ),
        pytest.param(wave(GOOD, asked=PREDICTIONS), Guard.PREDICTIONS, 0, id="a release without classes"),
        pytest.param(
            wave(telling(GOOD, Arm.CANDIDATE, 40, classes=ClassCounts(past=(9, 9), now=(0, 0))), asked=PREDICTIONS),
            Guard.PREDICTIONS,
            0,
            id="classes before the switch only",
        ),
    ],
)
def test_wave_holds_while_nothing_is_told_of_what_its_policy_asks_for(
    evidence: WaveEvidence, guard: Guard, found: int
) -> None:
    verdict = verdicts.judge(evidence, UNREFUTED)
    assert verdict.decision is Decision.HOLD
    assert [(each.guard, each.found, each.metric) for each in not_told(evidence)] == [
        (guard, found, evidence.asked[guard])
    ]
    assert verdicts.judge(replace(evidence, asked={}), UNREFUTED).promotes, "it holds for nothing else"


@pytest.mark.parametrize(
    "evidence",
    [
        pytest.param(
            wave(telling(GOOD, Arm.CANDIDATE, 1, outcome=SINCE), asked=METRIC), id="one outcome on one device"
        ),
        pytest.param(wave(split(GOOD, counts(1, 0), counts(0, 0)), asked=METRIC), id="one beside a control arm"),
        pytest.param(
            wave(telling(GOOD, Arm.CANDIDATE, 1, groups={"day": SINCE, "night": SINCE}), asked=FAIRNESS),
            id="one label of each of two groups",
        ),
        pytest.param(
            wave(telling(GOOD, Arm.CANDIDATE, 1, classes=ClassCounts(past=(9, 9), now=(0, 1))), asked=PREDICTIONS),
            id="one answer with a class",
        ),
    ],
)
def test_what_too_few_tell_says_nothing_and_is_not_waited_for(evidence: WaveEvidence) -> None:
    assert verdicts.judge(evidence, UNREFUTED).promotes


def test_what_nobody_tells_delays_no_rollback() -> None:
    asked = METRIC | FAIRNESS | PREDICTIONS
    bad, quiet = (verdicts.judge(wave(BAD, asked=these), Settings()) for these in (asked, {}))
    assert bad.decision is Decision.ROLL_BACK
    assert bad.thresholds == quiet.thresholds
    assert bad.grounds == quiet.grounds
