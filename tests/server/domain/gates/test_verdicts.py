"""What a gate says about waves that are good, bad, too young, or judged by one device."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from pinnace_contract.latest import Arm
from pinnace_server.domain.gates import verdicts
from pinnace_server.domain.gates.evidence import (
    ClassCounts,
    Counts,
    DeviceEvidence,
    Guard,
    Install,
    InstallResult,
    Series,
    WaveEvidence,
)
from pinnace_server.domain.gates.settings import PromoteOn, Settings
from pinnace_server.domain.gates.verdicts import Decision, Kind, Reason
from tests.server.domain.gates.fleets import arms, counts, device, installs, series, wave

SETTINGS = Settings()
GOOD = arms([(1440, 14)] * 40, [(1440, 14)] * 10)
BAD = arms([(120, 6)] * 40, [(120, 1)] * 10)


def reasons(evidence: WaveEvidence, settings: Settings = SETTINGS) -> set[Reason]:
    return {ground.reason for ground in verdicts.judge(evidence, settings).grounds}


@pytest.mark.parametrize(
    ("evidence", "decision"),
    [
        pytest.param(wave(BAD), Decision.ROLL_BACK, id="five times the errors on every device"),
        pytest.param(wave(GOOD, elapsed_min=1440.0), Decision.PROMOTE_PROVEN, id="as many errors as before"),
        pytest.param(
            wave(arms([(1440, 0)] * 40, [(1440, 0)] * 10, past=(1440, 0)), elapsed_min=1440.0),
            Decision.PROMOTE_PROVEN,
            id="no error ever is evidence for the release",
        ),
        pytest.param(
            wave(arms([(120, 6)] * 40, [(120, 6)] * 10)),
            Decision.HOLD,
            id="the control arm has the same trouble",
        ),
        pytest.param(wave(arms([(120, 1)] * 6, [(120, 1)] * 2)), Decision.PROMOTE_UNREFUTED, id="small and quiet"),
        pytest.param(wave(()), Decision.HOLD, id="nobody"),
    ],
)
def test_gate_decides(evidence: WaveEvidence, decision: Decision) -> None:
    assert verdicts.judge(evidence, SETTINGS).decision is decision


def test_one_broken_device_holds_the_wave_and_is_named() -> None:
    suspicious = [(240, 4)] * 11
    verdict = verdicts.judge(wave(arms([*suspicious, (240, 20)], [(240, 2)] * 12)), SETTINGS)
    assert verdict.readings[0].worse >= verdict.thresholds.roll_back
    assert verdict.decision is Decision.HOLD
    (ground,) = (each for each in verdict.grounds if each.reason is Reason.ONE_DEVICE)
    assert ground.device == f"{Arm.CANDIDATE}-11"
    assert verdict.readings[0].contributors[0].device == ground.device


def test_a_lying_device_alone_never_moves_anybody_back() -> None:
    for liars in ([(10_000, 10_000)], [(10_000, 10_000)] + [(1440, 14)] * 11, [(10_000, 10_000)] + [(1440, 14)] * 3):
        assert verdicts.judge(wave(arms(liars, [(1440, 14)] * 4)), SETTINGS).decision is not Decision.ROLL_BACK


def test_a_busy_device_does_not_hide_what_the_others_say() -> None:
    bad = arms([(1_000_000, 0)] + [(120, 8)] * 39, [(120, 1)] * 10)
    assert verdicts.judge(wave(bad), SETTINGS).decision is Decision.ROLL_BACK


def test_a_control_device_that_reports_nothing_bad_does_not_decide() -> None:
    night = [(1440, 40)] * 12
    evidence = wave(arms(night, [*[(1440, 40)] * 3, (1_000_000, 0)]))
    assert verdicts.judge(evidence, SETTINGS).decision is not Decision.ROLL_BACK


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"elapsed_min": 29.0}, Reason.EXPOSURE_TIME, id="under half an hour"),
        pytest.param({"reporting": 44}, Reason.REPORTING, id="a tenth is silent"),
        pytest.param({"devices": arms([(60, 0)] * 4, [(60, 0)] * 10)}, Reason.DEVICES, id="four of five devices"),
        pytest.param({"installs": installs(2, 30, InstallResult.LOAD_FAILED)}, Reason.INSTALLS_STOPPED, id="loading"),
        pytest.param(
            {"installs": installs(1, 30, InstallResult.GOLDEN_MISMATCH)}, Reason.HARDWARE_STOPPED, id="golden vectors"
        ),
    ],
)
def test_gate_holds_and_says_what_is_missing(changes: dict[str, object], reason: Reason) -> None:
    evidence = replace(wave(GOOD, elapsed_min=1440.0), **changes)  # type: ignore[arg-type]
    verdict = verdicts.judge(evidence, SETTINGS)
    assert verdict.decision is Decision.HOLD
    assert reason in {ground.reason for ground in verdict.grounds}


def test_small_waves_wait_for_their_soak_time_and_for_every_reachable_device() -> None:
    quiet = wave(arms([(120, 1)] * 6, [(120, 1)] * 2))
    assert reasons(replace(quiet, elapsed_min=59.0)) == {Reason.SOAK_TIME}
    assert reasons(replace(quiet, committed=5)) == {Reason.NOT_COMMITTED}
    assert Reason.NOT_PROVEN in reasons(quiet, Settings(promote_on=PromoteOn.PROVEN))


@pytest.mark.parametrize(
    "evidence",
    [
        pytest.param(wave(GOOD, installs=installs(0, 40)), id="too few devices to prove installs"),
        pytest.param(wave(arms([(1440, 14)] * 40, [])), id="no control to prove anything beside"),
        pytest.param(wave(arms([(1440, 14)] * 66, [(1440, 9)] * 5)), id="too small a control, by chance a lucky one"),
    ],
)
def test_what_cannot_be_proven_is_demanded_only_of_those_who_said_so(evidence: WaveEvidence) -> None:
    assert verdicts.judge(evidence, SETTINGS).decision is Decision.PROMOTE_UNREFUTED
    assert reasons(evidence, Settings(promote_on=PromoteOn.PROVEN)) == {Reason.NOT_PROVEN}


def test_a_busy_device_proves_nothing_alone() -> None:
    quiet = arms([(3, 0)] * 39 + [(1_000_000, 0)], [(1440, 14)] * 10)
    assert Reason.NOT_PROVEN in reasons(wave(quiet))


def test_suspicion_keeps_a_wave_from_being_promoted_as_unrefuted() -> None:
    evidence = wave(arms([(60, 2)] * 3 + [(60, 1)] * 3, [(60, 1)] * 6))
    verdict = verdicts.judge(evidence, SETTINGS)
    assert math.log(5) <= verdict.readings[0].worse < verdict.thresholds.roll_back
    assert Reason.SUSPICION in {ground.reason for ground in verdict.grounds}


def test_silence_on_the_candidate_while_control_reports_is_evidence() -> None:
    silent = arms([(60, 40)] * 10, [(60, 1)] * 5, past=(1440, 14), guard=Guard.MISSING)
    assert verdicts.judge(wave(silent), SETTINGS).decision is Decision.ROLL_BACK
    site_is_cut_off = arms([(60, 60)] * 10, [(60, 60)] * 5, past=(1440, 14), guard=Guard.MISSING)
    assert verdicts.judge(wave(site_is_cut_off), SETTINGS).decision is Decision.HOLD


def test_first_release_is_judged_by_its_expectations() -> None:
    def first(bad: int) -> WaveEvidence:
        devices = tuple(
            replace(device(number, Arm.CANDIDATE, {}), limited={Guard.ERRORS: counts(1440, bad)})
            for number in range(20)
        )
        return wave(devices, limits={Guard.ERRORS: 0.02}, elapsed_min=1440.0)

    good, bad = (verdicts.judge(first(bad), SETTINGS) for bad in (10, 150))
    assert (good.kind, good.decision) == (Kind.ABSOLUTE, Decision.PROMOTE_PROVEN)
    assert (bad.kind, bad.decision) == (Kind.ABSOLUTE, Decision.ROLL_BACK)


def test_all_at_once_is_judged_by_its_own_past() -> None:
    assert verdicts.judge(wave(arms([(240, 12)] * 20, [])), SETTINGS).decision is Decision.ROLL_BACK
    assert verdicts.judge(wave(arms([(240, 4)] * 20, [])), SETTINGS).decision is not Decision.ROLL_BACK


def unsure(per_device: int, of: int, devices: int = 8) -> WaveEvidence:
    found = tuple(
        replace(device(number, Arm.CANDIDATE, {}), limited={Guard.UNSURE: counts(of, per_device)})
        for number in range(devices)
    )
    return wave(found, limits={Guard.UNSURE: 0.1}, dispersion={})


def test_unsure_answers_are_noticed_within_a_few_inferences() -> None:
    assert verdicts.judge(unsure(2, 3), SETTINGS).decision is Decision.ROLL_BACK
    assert verdicts.judge(unsure(10, 100), SETTINGS).decision is not Decision.ROLL_BACK


def test_shadow_disagreement_over_its_tolerance_holds_the_wave() -> None:
    shadowed = tuple(replace(each, limited={Guard.SHADOW: counts(300, 18)}) for each in GOOD)
    evidence = wave(shadowed, limits={Guard.SHADOW: 0.04}, elapsed_min=1440.0)
    verdict = verdicts.judge(evidence, SETTINGS)
    assert verdict.decision is Decision.HOLD
    assert Reason.SHADOW in {ground.reason for ground in verdict.grounds}


def test_a_group_that_alone_gets_worse_is_a_regression() -> None:
    def groups(minority: int) -> WaveEvidence:
        return wave(
            tuple(
                DeviceEvidence(
                    device=each.device,
                    arm=each.arm,
                    groups={
                        "most": series((1440, 14), (600, 6)),
                        "few": series((360, 4), (150, minority if each.arm is Arm.CANDIDATE else 2)),
                    },
                )
                for each in GOOD
            )
        )

    assert verdicts.judge(groups(9), SETTINGS).decision is Decision.ROLL_BACK
    assert verdicts.judge(groups(2), SETTINGS).decision is not Decision.ROLL_BACK


def test_a_release_that_gets_worse_for_every_group_alike_opens_no_gap() -> None:
    def groups(most: int, few: int) -> WaveEvidence:
        devices = []
        for each in GOOD:
            moved = each.arm is Arm.CANDIDATE
            seen = {
                "most": series((1440, 14), (600, most if moved else 6)),
                "few": series((360, 4), (150, few if moved else 2)),
            }
            devices.append(DeviceEvidence(device=each.device, arm=each.arm, groups=seen))
        return wave(tuple(devices))

    alike, apart = (verdicts.judge(groups(*bad), SETTINGS) for bad in ((36, 9), (6, 9)))
    assert alike.decision is not Decision.ROLL_BACK
    assert apart.decision is Decision.ROLL_BACK
    assert [each.guard for each in apart.grounds] == [Guard.FAIRNESS]


def test_one_group_has_no_gap() -> None:
    alone = tuple(replace(each, groups={"all": series((1440, 14), (600, 60))}) for each in GOOD)
    assert Guard.FAIRNESS not in {each.guard for each in verdicts.judge(wave(alone), SETTINGS).readings}


def test_gap_on_one_device_holds_and_names_it() -> None:
    devices = []
    for each in GOOD:
        few = 60 if each.device == GOOD[0].device else 2
        groups = {"most": series((1440, 14), (600, 6)), "few": series((360, 4), (150, few))}
        devices.append(replace(each, groups=groups))
    verdict = verdicts.judge(wave(tuple(devices)), SETTINGS)
    assert verdict.decision is not Decision.ROLL_BACK


def classes(moved: Sequence[int], stayed: Sequence[int], devices: int = 12) -> WaveEvidence:
    """Devices that answered three classes 70, 20 and 10 times in a hundred; each one sees things a little otherwise."""

    def seen(number: int, now: Sequence[int]) -> ClassCounts:
        own = number % 5 - 2
        past = (700 + 10 * own, 200 - 10 * own, 100)
        return ClassCounts(past=past, now=(now[0] - 2 * own, now[1] + 2 * own, now[2]))

    served = {Guard.ERRORS: series((4000, 40), (1440, 14))}
    arms_of = [(Arm.CANDIDATE, moved), (Arm.CONTROL, stayed)]
    return wave(
        tuple(
            replace(device(number, arm, served), classes=seen(number, now))
            for arm, now in arms_of
            for number in range(devices)
        )
    )


def test_predictions_that_drift_on_the_wave_alone_move_it_back() -> None:
    verdict = verdicts.judge(classes((300, 600, 100), (700, 200, 100)), SETTINGS)
    assert verdict.decision is Decision.ROLL_BACK
    assert [each.guard for each in verdict.grounds] == [Guard.PREDICTIONS]
    (reading,) = (each for each in verdict.readings if each.guard is Guard.PREDICTIONS)
    assert len(reading.contributors) == 5


def test_what_the_control_answers_as_well_was_seen_and_is_no_drift() -> None:
    both = (300, 600, 100)
    verdict = verdicts.judge(classes(both, both), SETTINGS)
    assert verdict.decision in (Decision.PROMOTE_PROVEN, Decision.PROMOTE_UNREFUTED)
    (reading,) = (each for each in verdict.readings if each.guard is Guard.PREDICTIONS)
    assert reading.worse < 0


def test_drift_within_its_margin_and_in_a_few_devices_is_none() -> None:
    assert verdicts.judge(classes((650, 250, 100), (700, 200, 100)), SETTINGS).decision is not Decision.ROLL_BACK
    few = verdicts.judge(classes((300, 600, 100), (700, 200, 100), devices=9), SETTINGS)
    assert few.decision is not Decision.ROLL_BACK, "an arm of nine does not know how far devices differ"


def outcome(failures: int) -> WaveEvidence:
    def seen(number: int, arm: Arm) -> Series:
        past, now = 40 + number % 7, (failures if arm is Arm.CANDIDATE else 40) + number % 5
        return Series(past=Counts(trials=400, bad=past), now=Counts(trials=400, bad=now))

    devices = [(number, arm) for arm, size in ((Arm.CANDIDATE, 40), (Arm.CONTROL, 40)) for number in range(size)]
    served = {Guard.ERRORS: series((4000, 40), (1440, 14))}
    return wave(tuple(replace(device(number, arm, served), outcome=seen(number, arm)) for number, arm in devices))


def test_outcome_metric_is_compared_by_device_means() -> None:
    assert verdicts.judge(outcome(70), SETTINGS).decision is Decision.ROLL_BACK
    assert verdicts.judge(outcome(40), SETTINGS).decision is Decision.PROMOTE_PROVEN


def test_ten_inferences_a_day_are_counted_in_inferences_and_judged_by_an_absolute_margin() -> None:
    devices = arms([(3, 0)] * 10, [(3, 0)] * 3, past=(70, 0))
    assert Reason.INFERENCES in reasons(wave(devices, elapsed_min=432.0))
    enough = wave(arms([(20, 0)] * 20, [(20, 0)] * 5, past=(140, 0)), elapsed_min=2880.0)
    assert verdicts.judge(enough, SETTINGS).decision is Decision.PROMOTE_PROVEN


def test_more_guards_and_waves_ask_for_more_evidence() -> None:
    one = verdicts.judge(wave(BAD), SETTINGS).thresholds.roll_back
    assert one == pytest.approx(math.log(200))
    assert verdicts.judge(wave(BAD), Settings(waves=4)).thresholds.roll_back == pytest.approx(math.log(800))
    both = verdicts.judge(wave(BAD, installs=installs(0, 40)), SETTINGS).thresholds.roll_back
    assert both == pytest.approx(math.log(400))


def test_troubles_of_the_device_and_silence_are_not_the_release_s() -> None:
    troubles = tuple(
        Install(device=each.device, hardware="board", result=result)
        for each, result in zip(
            GOOD, [InstallResult.DEVICE_TROUBLE] * 20 + [InstallResult.UNREACHABLE] * 20, strict=False
        )
    )
    verdict = verdicts.judge(wave(GOOD, installs=troubles), SETTINGS)
    assert (verdict.installs.device_troubles, verdict.installs.unreachable) == (20, 20)
    assert verdict.installs.reading is None
    assert not verdict.installs.stopped
