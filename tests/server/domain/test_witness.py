"""What a gate is told is what devices counted, each beside its own past, and silence is evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pinnace_contract.ids import DeviceId, ModelName, ReleaseId
from pinnace_contract.latest import Arm
from pinnace_server.domain import told as told_classes
from pinnace_server.domain import witness as witnesses
from pinnace_server.domain.gates.evidence import Guard, WaveEvidence
from pinnace_server.domain.gates.streams import Tally
from pinnace_server.domain.stretches import Stretch
from pinnace_server.domain.told import Asked, Metric
from pinnace_server.domain.witness import PAST, STRETCH_S, Witness

OLD, NEW = ReleaseId("0" * 64), ReleaseId("1" * 64)
BEGIN = 1_000
SWITCHED_S = BEGIN * STRETCH_S
NOW_S = SWITCHED_S + 6 * STRETCH_S


def stretch(number: int, release: ReleaseId, *, n: int = 100, bad: int = 0, below: int = 0) -> Stretch:
    return Stretch(
        device=DeviceId("camera"),
        model=ModelName("digits"),
        release=release,
        number=number,
        errors=Tally().after(n, bad),
        predictions=n,
        below=below,
    )


def rows(release: ReleaseId, first: int, last: int, **counts: int) -> list[Stretch]:
    return [stretch(number, release, **counts) for number in range(first, last)]


def came(first: int, last: int, each: int = 10) -> dict[int, int]:
    return dict.fromkeys(range(first, last), each)


EVER = came(BEGIN - PAST - 5, BEGIN + 6)


def moved(name: str = "a", *more: Stretch, **facts: object) -> Witness:
    seen = [*rows(OLD, BEGIN - PAST - 5, BEGIN), *rows(NEW, BEGIN, BEGIN + 6, bad=2), *more]
    return Witness(device=DeviceId(name), moved=True, rows=seen, reports=EVER, **facts)  # type: ignore[arg-type]


def stayed(name: str = "z", seen: Sequence[Stretch] | None = None) -> Witness:
    default = rows(OLD, BEGIN - PAST, BEGIN + 6, bad=1)
    return Witness(device=DeviceId(name), moved=False, rows=default if seen is None else seen, reports=EVER)


def told(*these: Witness, now_s: float = NOW_S, limits: dict[Guard, float] | None = None) -> WaveEvidence:
    return witnesses.evidence(release=NEW, switched_at_s=SWITCHED_S, now_s=now_s, witnesses=these, limits=limits)


def test_a_device_that_moved_stands_beside_its_own_day() -> None:
    (found,) = told(moved()).devices
    errors = found.guards[Guard.ERRORS]
    assert found.arm is Arm.CANDIDATE
    assert (errors.past.trials, errors.past.bad) == (PAST * 100, 0)
    assert (errors.lately.trials, errors.now.trials, errors.now.bad) == (600, 600, 12)


def test_a_device_that_stayed_is_counted_from_the_first_whole_ten_minutes_after_the_switch() -> None:
    control = told(moved(), stayed()).of(Arm.CONTROL)[0].guards[Guard.ERRORS]
    assert control.now.trials == 500
    assert control.past.trials == (PAST - 1 + 1) * 100


def test_a_device_of_the_wave_that_has_not_answered_counts_only_as_a_device() -> None:
    silent = Witness(device=DeviceId("b"), moved=True, rows=rows(OLD, BEGIN - 9, BEGIN + 6), reachable=False)
    found = told(moved(committed=True), silent)
    assert [each.device for each in found.devices] == ["a"]
    assert (found.wave_size, found.reachable, found.committed, found.reporting, found.watched) == (2, 1, 1, 2, 2)


def test_a_release_that_a_device_had_before_is_not_its_past() -> None:
    (found,) = told(moved("a", *rows(NEW, BEGIN - 200, BEGIN - 190, bad=100))).devices
    assert found.guards[Guard.ERRORS].past.bad == 0


def test_whoever_reports_in_time_misses_nothing() -> None:
    for found in told(moved(), stayed()).devices:
        missing = found.guards[Guard.MISSING]
        assert (missing.past.bad, missing.now.bad) == (0, 0)
        assert missing.now.trials > 40


def test_silence_is_counted_from_the_last_report_on() -> None:
    seen = [*rows(OLD, BEGIN - PAST, BEGIN), stretch(BEGIN, NEW)]
    quiet = Witness(device=DeviceId("q"), moved=True, rows=seen, reports=came(BEGIN - PAST, BEGIN + 1))
    found = told(quiet, stayed()).of(Arm.CANDIDATE)[0].guards[Guard.MISSING]
    assert found.past.bad == 0
    assert found.now.bad == pytest.approx(50, abs=3), "five times ten reports, less what may be under way"


def test_a_device_that_nobody_asks_is_not_silent() -> None:
    idle = Witness(device=DeviceId("i"), moved=True, rows=[], reports=EVER, kept_at_s=SWITCHED_S + 30)
    found = told(idle, stayed()).of(Arm.CANDIDATE)[0].guards[Guard.MISSING]
    assert (found.past.bad, found.now.bad) == (0, 0)
    assert found.now.trials > 40


def test_a_device_that_nobody_asks_and_that_dies_is() -> None:
    reports = came(BEGIN - PAST, BEGIN + 1)
    dead = Witness(device=DeviceId("d"), moved=True, rows=[], reports=reports, kept_at_s=SWITCHED_S + 30)
    found = told(dead, stayed()).of(Arm.CANDIDATE)[0].guards[Guard.MISSING]
    assert found.now.bad == pytest.approx(50, abs=3)


def test_silence_that_a_later_report_made_up_was_none() -> None:
    seen = [*rows(OLD, BEGIN - PAST, BEGIN), stretch(BEGIN, NEW), stretch(BEGIN + 5, NEW)]
    reports = came(BEGIN - PAST, BEGIN + 1) | {BEGIN + 5: 50}
    late = Witness(device=DeviceId("s"), moved=True, rows=seen, reports=reports)
    found = told(late, stayed()).of(Arm.CANDIDATE)[0]
    assert found.guards[Guard.MISSING].now.bad == 0


def test_what_a_shadow_answers_is_not_what_applications_saw() -> None:
    shadow = replace(stretch(BEGIN - 3, NEW, bad=90), arm=Arm.SHADOW)
    (found,) = told(moved("a", shadow)).devices
    assert found.guards[Guard.ERRORS].now.bad == 12
    alone = Witness(device=DeviceId("b"), moved=True, rows=[replace(shadow, number=BEGIN)])
    assert told(alone).devices == ()


def test_reports_in_advance_do_not_make_up_for_silence() -> None:
    seen = [*rows(OLD, BEGIN - PAST, BEGIN), stretch(BEGIN, NEW)]
    reports = came(BEGIN - PAST, BEGIN) | {BEGIN: 100}
    early = Witness(device=DeviceId("q"), moved=True, rows=seen, reports=reports)
    found = told(early, stayed()).of(Arm.CANDIDATE)[0]
    assert found.guards[Guard.MISSING].now.bad > 40


def test_hourly_reports_are_due_once_an_hour() -> None:
    seen = [
        *(stretch(number, OLD) for number in range(BEGIN - PAST, BEGIN, 6)),
        *(stretch(number, NEW) for number in range(BEGIN, BEGIN + 36, 6)),
    ]
    reports = dict.fromkeys(range(BEGIN - PAST, BEGIN + 36, 6), 1)
    hourly = Witness(device=DeviceId("h"), moved=True, rows=seen, reports=reports, report_every_s=3_600.0)
    found = told(hourly, now_s=SWITCHED_S + 36 * STRETCH_S).devices[0].guards[Guard.MISSING]
    assert (found.past.bad, found.now.bad) == (0, 0)
    assert found.now.trials == 4, "six hours less two cadences of grace"


def test_unsure_answers_are_held_against_the_releases_own_promise() -> None:
    unsure = Witness(
        device=DeviceId("u"), moved=True, rows=[*rows(OLD, BEGIN - 9, BEGIN), *rows(NEW, BEGIN, BEGIN + 6, below=30)]
    )
    found = told(unsure, stayed(), limits={Guard.UNSURE: 0.1})
    candidate = found.of(Arm.CANDIDATE)[0].limited[Guard.UNSURE]
    assert (candidate.trials, candidate.bad) == (600, 180)
    assert not found.of(Arm.CONTROL)[0].limited
    assert found.limits == {Guard.UNSURE: 0.1}


def test_silence_of_whoever_could_not_be_heard_counts_neither_for_nor_against() -> None:
    cut_off = [*rows(OLD, BEGIN - PAST, BEGIN), stretch(BEGIN, NEW)]
    quiet, held = (
        Witness(device=DeviceId("q"), moved=True, rows=cut_off, reporting=False, accountable=accountable)
        for accountable in (True, False)
    )
    accused, excused = (told(each, stayed()) for each in (quiet, held))
    assert accused.of(Arm.CANDIDATE)[0].guards[Guard.MISSING].now.bad > 40
    assert Guard.MISSING not in excused.of(Arm.CANDIDATE)[0].guards
    assert excused.of(Arm.CANDIDATE)[0].guards[Guard.ERRORS] == accused.of(Arm.CANDIDATE)[0].guards[Guard.ERRORS]
    assert excused.of(Arm.CONTROL) == accused.of(Arm.CONTROL)
    assert (excused.wave_size, excused.reporting) == (1, 1), "it still does not report, and the gate may hold for that"


def test_bursts_of_the_past_show_in_the_dispersion() -> None:
    bursts = [stretch(number, OLD, bad=90 if number % 40 == 0 else 0) for number in range(BEGIN - PAST, BEGIN)]
    burst = Witness(device=DeviceId("b"), moved=True, rows=[*bursts, *rows(NEW, BEGIN, BEGIN + 6)])
    assert told(burst).dispersion[Guard.ERRORS] > 30


# --- what was compared in a shadow -----------------------------------------------------------------------------------


def shadow_row(number: int, pairs: int, disagreements: int, release: ReleaseId = NEW) -> Stretch:
    row = stretch(number, release, n=pairs)
    return replace(row, arm=Arm.SHADOW, pairs=pairs, disagreements=disagreements)


def shadowed(*these: Witness, limits: dict[Guard, float] | None = None) -> WaveEvidence:
    return witnesses.evidence(
        release=NEW,
        switched_at_s=NOW_S,
        now_s=NOW_S,
        witnesses=these,
        limits={Guard.SHADOW: 0.05} if limits is None else limits,
        shadowed_from_s=SWITCHED_S,
    )


def in_shadow(name: str, pairs: int = 200, disagreements: int = 3, first: int = BEGIN) -> Witness:
    seen = [*rows(OLD, BEGIN - PAST, BEGIN + 6), *(shadow_row(first + n, pairs, disagreements) for n in range(3))]
    return Witness(device=DeviceId(name), moved=True, rows=seen)


def test_a_device_in_its_shadow_says_how_often_it_disagreed_and_nothing_else() -> None:
    found = shadowed(in_shadow("a"), in_shadow("b", disagreements=200))
    a, b = found.devices
    assert (a.arm, dict(a.guards), set(a.limited)) == (Arm.CANDIDATE, {}, {Guard.SHADOW})
    assert (a.limited[Guard.SHADOW].trials, a.limited[Guard.SHADOW].bad) == (600, 9)
    assert (b.limited[Guard.SHADOW].trials, b.limited[Guard.SHADOW].bad) == (600, 600)
    assert (found.wave_size, found.reporting, found.limits) == (2, 2, {Guard.SHADOW: 0.05})


def test_a_device_that_serves_says_beside_it_what_it_said_in_its_shadow() -> None:
    both = moved("a", shadow_row(BEGIN, 50, 1))
    (found,) = witnesses.evidence(
        release=NEW,
        switched_at_s=SWITCHED_S,
        now_s=NOW_S,
        witnesses=[both],
        limits={Guard.SHADOW: 0.05},
        shadowed_from_s=SWITCHED_S - 600,
    ).devices
    assert found.guards[Guard.ERRORS].now.trials == 600
    assert (found.limited[Guard.SHADOW].trials, found.limited[Guard.SHADOW].bad) == (50, 1)


def test_a_shadow_before_the_wave_began_or_of_another_release_is_not_its_own() -> None:
    early = in_shadow("a", first=BEGIN - 9)
    other = Witness(device=DeviceId("b"), moved=True, rows=[shadow_row(BEGIN, 50, 50, release=OLD)])
    behind = Witness(device=DeviceId("c"), moved=False, rows=[shadow_row(BEGIN, 50, 50)])
    found = shadowed(early, other, behind)
    assert [each.device for each in found.devices] == ["c"]
    assert found.devices[0].limited == {}


def test_without_a_limit_a_shadow_says_nothing() -> None:
    assert shadowed(in_shadow("a"), limits={}).devices == ()


# --- what is judged only where a policy asks ------------------------------------------------------------------------

ASKED = Asked(metric=Metric(name="accepted"), fairness=True, predictions=True)


def judged(row: Stretch) -> Stretch:
    """Ten minutes in which applications told everything: of the old release better things than of the new one."""
    new = row.release == NEW
    return replace(
        row,
        outcomes={"accepted": (10, 7 if new else 9), "returned": (10, 1)},
        groups={"day": (8, 1, 4), "night": (2, int(new), 1)},
        classes=(60, 30, 10, 5) if not new else (20, 30, 10, 5, 40),
    )


def asked(asked: Asked = ASKED) -> WaveEvidence:
    def of(witness: Witness) -> Witness:
        return replace(witness, rows=[judged(row) for row in witness.rows])

    these = [of(moved()), of(stayed())]
    return witnesses.evidence(release=NEW, switched_at_s=SWITCHED_S, now_s=NOW_S, witnesses=these, asked=asked)


def test_outcomes_of_the_metric_that_is_asked_for_are_counted_on_both_sides_of_the_switch() -> None:
    candidate, control = asked().devices
    assert candidate.outcome is not None
    assert (candidate.outcome.past.trials, candidate.outcome.past.bad) == (10 * PAST, PAST)
    assert (candidate.outcome.now.trials, candidate.outcome.now.bad) == (60, 18)
    assert control.outcome is not None
    assert (control.outcome.now.trials, control.outcome.now.bad) == (50, 5)


def test_of_a_metric_that_should_be_low_successes_are_bad() -> None:
    candidate = asked(Asked(metric=Metric(name="returned", higher=False))).of(Arm.CANDIDATE)[0]
    assert candidate.outcome is not None
    assert (candidate.outcome.now.trials, candidate.outcome.now.bad) == (60, 6)
    nobody_told = asked(Asked(metric=Metric(name="another"))).of(Arm.CANDIDATE)[0]
    assert nobody_told.outcome is None


def test_evidence_names_what_is_asked_for_whoever_tells_it() -> None:
    assert asked(Asked(metric=Metric(name="another"))).asked == {Guard.OUTCOME: "another"}
    assert asked(Asked(fairness=True, predictions=True)).asked == {Guard.FAIRNESS: "", Guard.PREDICTIONS: ""}
    assert asked(Asked()).asked == {}


def test_labelled_answers_are_counted_by_group_and_so_are_their_bursts() -> None:
    found = asked()
    groups = found.of(Arm.CANDIDATE)[0].groups
    assert {name: (each.now.trials, each.now.bad) for name, each in groups.items()} == {
        "day": (48, 6),
        "night": (12, 6),
    }
    assert {name: (each.past.trials, each.past.bad) for name, each in groups.items()} == {
        "day": (8 * PAST, PAST),
        "night": (2 * PAST, 0),
    }
    assert groups["day"].lately.trials == 48
    assert Guard.FAIRNESS in found.dispersion


def test_classes_are_those_before_the_switch_and_what_is_new_is_one_more() -> None:
    candidate, control = asked().devices
    assert candidate.classes is not None
    assert candidate.classes.past == (60 * PAST, 30 * PAST, 10 * PAST, 5 * PAST, 0)
    assert candidate.classes.now == (120, 180, 60, 30, 240)
    assert control.classes is not None
    assert control.classes.now == (300, 150, 50, 25, 0)


def test_only_the_most_frequent_classes_are_judged_by_themselves() -> None:
    many = [replace(row, classes=tuple(range(1, 21))) for row in rows(OLD, BEGIN - PAST, BEGIN)]
    named = told_classes.classes_judged(many)
    assert named == tuple(range(12, 20))
    found = told_classes.classes(many[:1], [], named)
    assert found is not None
    assert found.past == (13, 14, 15, 16, 17, 18, 19, 20, sum(range(1, 13)))
    assert found.now == (0,) * 9


def test_what_nobody_asks_for_is_not_told() -> None:
    for found in asked(Asked()).devices:
        assert (found.outcome, found.groups, found.classes) == (None, {}, None)


# --- a control arm on the device itself --------------------------------------------------------------------------


def control_rows(first: int, last: int, **counts: int) -> list[Stretch]:
    return [replace(row, arm=Arm.CONTROL) for row in rows(OLD, first, last, **counts)]


def candidate_rows(first: int, last: int, **counts: int) -> list[Stretch]:
    return [replace(row, arm=Arm.CANDIDATE) for row in rows(NEW, first, last, **counts)]


def split(*seen: Stretch) -> Witness:
    return Witness(device=DeviceId("s"), moved=True, rows=[*rows(OLD, BEGIN - PAST, BEGIN), *seen], reports=EVER)


def test_both_arms_of_a_device_are_counted_apart_over_the_same_time() -> None:
    theirs = control_rows(BEGIN + 1, BEGIN + 4, n=20, bad=1)
    (found,) = told(split(*candidate_rows(BEGIN, BEGIN + 4, n=80, bad=4), *theirs)).devices
    pair = found.paired[Guard.ERRORS]
    assert (pair.candidate.trials, pair.candidate.bad) == (240, 12)
    assert (pair.control.trials, pair.control.bad) == (60, 3)
    assert (found.guards[Guard.ERRORS].now.trials, found.guards[Guard.ERRORS].now.bad) == (320, 16)
    assert found.alone == {}


def test_what_came_of_the_answers_of_both_arms_is_counted_apart_too() -> None:
    """Outcomes may come in ten minutes in which the arm they are of answered nobody."""
    ours = [replace(row, outcomes={"accepted": (8, 7)}) for row in candidate_rows(BEGIN, BEGIN + 4, n=80)]
    theirs = [replace(row, outcomes={"accepted": (2, 1)}) for row in control_rows(BEGIN + 1, BEGIN + 4, n=20)]
    theirs[1] = replace(theirs[1], errors=Tally())
    wanted = Asked(metric=Metric(name="accepted"))
    (found,) = witnesses.evidence(
        release=NEW, switched_at_s=SWITCHED_S, now_s=NOW_S, witnesses=[split(*ours, *theirs)], asked=wanted
    ).devices
    pair = found.paired[Guard.OUTCOME]
    assert (pair.candidate.trials, pair.candidate.bad) == (24, 3)
    assert (pair.control.trials, pair.control.bad) == (6, 3)
    (unasked,) = told(split(*ours, *theirs)).devices
    assert Guard.OUTCOME not in unasked.paired


def test_what_the_control_arm_answers_is_neither_the_releases_nor_its_past() -> None:
    (found,) = told(split(*candidate_rows(BEGIN, BEGIN + 6), *control_rows(BEGIN, BEGIN + 6, bad=50))).devices
    errors = found.guards[Guard.ERRORS]
    assert (errors.now.bad, errors.past.bad, errors.past.trials) == (0, 0, PAST * 100)


def test_what_came_after_the_control_arm_stands_alone() -> None:
    seen = [*candidate_rows(BEGIN, BEGIN + 3, n=80), *control_rows(BEGIN, BEGIN + 3, n=20)]
    (found,) = told(split(*seen, *rows(NEW, BEGIN + 3, BEGIN + 6, n=100, bad=7))).devices
    assert found.paired[Guard.ERRORS].candidate.trials == 240
    assert (found.alone[Guard.ERRORS].now.trials, found.alone[Guard.ERRORS].now.bad) == (300, 21)
    assert found.alone[Guard.ERRORS].past.trials == PAST * 100


def test_a_device_whose_control_arm_never_answered_has_no_pair() -> None:
    (found,) = told(split(*candidate_rows(BEGIN, BEGIN + 6))).devices
    assert (found.paired, found.alone) == ({}, {})


def test_a_device_that_stays_behind_has_no_pair() -> None:
    (_, behind) = told(moved(), stayed()).devices
    assert behind.paired == {}
