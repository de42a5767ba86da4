"""From rows to what a gate is told: each device of a wave beside its own past, and the devices that stayed behind.

A candidate's time begins with the first ten minutes in which it answered with the release, the control's with those
after the wave's first switch; what lies before, back for a day, is its past. Reports that are due and did not come are
counted from the device's own cadence, so a device that nobody asks is not silent, and one that sleeps by design is
compared with itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from pinnace_contract.ids import DeviceId, ReleaseId
from pinnace_contract.latest import Arm
from pinnace_server.domain import slowness, stretches, told
from pinnace_server.domain.gates import streams
from pinnace_server.domain.gates.evidence import Counts, DeviceEvidence, Guard, Install, Pair, Series, WaveEvidence
from pinnace_server.domain.gates.streams import Tally
from pinnace_server.domain.stretches import Stretch
from pinnace_server.domain.told import NOTHING_ASKED, Asked

STRETCH_S: Final = 60.0 * stretches.MINUTES
PAST: Final = 24 * 60 // stretches.MINUTES  # stretches of a day
LATELY: Final = 60 // stretches.MINUTES
BLOCK: Final = streams.BLOCK_MIN // stretches.MINUTES
GRACE_CADENCES: Final = 2.0  # a report may be so late before it is missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """One device that speaks for or against a release. ``rows`` are its stretches of the model, oldest first, and
    ``reports`` how many of its reports came in which ten minutes, whatever they spoke of.

    ``moved``: it belongs to the wave, and kept the release at ``kept_at_s`` (None: not yet, as far as is known); else
    it stays behind as control. ``reachable``, ``committed`` and ``reporting``
    (a report in its last two cadences) are as the server knows them now. ``accountable`` False: its silence counts
    neither for nor against, because nobody could be heard from where it is. ``hardware`` empty: like no other device.
    ``p95_ms_max`` is what the release promises there, and matters only where slow answers are limited.
    """

    device: DeviceId
    moved: bool
    rows: Sequence[Stretch]
    reports: Mapping[int, int] = field(default_factory=dict)
    kept_at_s: float | None = None
    report_every_s: float = 60.0
    reachable: bool = True
    committed: bool = False
    reporting: bool = True
    accountable: bool = True
    hardware: str = ""
    p95_ms_max: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """Numbers of stretches: the past up to ``begin``, and from it on ``now``."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """A witness that has something to say: its stretches before the switch, and those since on its side of it.

    ``silence``: its past, stretch by stretch, as ``_missing`` tells. ``control``: what its own control arm answered
    since the switch.
    """

    witness: Witness
    times: _Times
    past: list[Stretch]
    now: list[Stretch]
    silence: list[tuple[int, int]]
    control: list[Stretch]


def evidence(
    *,
    release: ReleaseId,
    switched_at_s: float,
    now_s: float,
    witnesses: Sequence[Witness],
    installs: Sequence[Install] = (),
    limits: Mapping[Guard, float] | None = None,
    shadowed_from_s: float | None = None,
    asked: Asked = NOTHING_ASKED,
) -> WaveEvidence:
    """Return everything a wave's gates judge by. ``switched_at_s``: when the wave's first device served the release.

    A device of the wave that has not answered with the release yet is counted in the wave and says nothing else, but
    what it said in a shadow: ``shadowed_from_s`` is when the wave began, and with it what is compared; None: nothing. A
    limit on slow answers takes the place of the comparison: a slowdown is intended, and the release promises a p95.
    ``asked`` is what is judged only where the policy says so.
    """
    allowed = dict(limits or {})
    heard = [found for each in witnesses if (found := _heard(each, release, switched_at_s, now_s)) is not None]
    bounds = {} if Guard.SLOW in allowed else _bounds(heard, witnesses, release, switched_at_s)
    moved = [each for each in witnesses if each.moved]
    pairs = _pairs_of(moved, release, shadowed_from_s) if Guard.SHADOW in allowed else {}
    classes = told.classes_judged(row for each in heard for row in each.past) if asked.predictions else ()
    said = {each.witness.device: _said(each, now_s, bounds, allowed, asked, classes) for each in heard}
    shown = [each for each in moved if each.device in pairs and each.device not in said]
    said |= {each.device: DeviceEvidence(device=each.device, arm=Arm.CANDIDATE) for each in shown}
    return WaveEvidence(
        elapsed_min=max(0.0, now_s - switched_at_s) / 60,
        wave_size=len(moved),
        reachable=sum(each.reachable for each in moved),
        committed=sum(each.reachable and each.committed for each in moved),
        reporting=sum(each.reporting for each in witnesses),
        watched=len(witnesses),
        devices=tuple(_with_pairs(each, pairs.get(each.device)) for each in said.values()),
        installs=tuple(installs),
        dispersion={guard: streams.dispersion(blocks) for guard, blocks in _blocks(heard, bounds, asked).items()},
        limits=allowed,
        asked=asked.guards,
    )


def _heard(witness: Witness, release: ReleaseId, switched_at_s: float, now_s: float) -> _Heard | None:
    times = _times(witness, release, switched_at_s, now_s)
    if times is None:
        return None
    now = [row for row in _served(witness) if row.number >= times.begin and witness.moved == (row.release == release)]
    return _Heard(
        witness=witness,
        times=times,
        past=_past(witness, release, times.begin),
        now=now,
        silence=_past_silence(witness, times, now_s) if witness.accountable else [],
        control=_control_of(witness, release, times) if witness.moved else [],
    )


def _control_of(witness: Witness, release: ReleaseId, times: _Times) -> list[Stretch]:
    return [
        row for row in witness.rows if row.arm is Arm.CONTROL and row.release != release and row.number >= times.begin
    ]


def _times(witness: Witness, release: ReleaseId, switched_at_s: float, now_s: float) -> _Times | None:
    end = int(now_s // STRETCH_S)
    since = int(switched_at_s // STRETCH_S)
    if not witness.moved:
        return _Times(begin=since + 1, end=end)
    numbers = [row.number for row in _served(witness) if row.release == release and row.number >= since]
    if witness.kept_at_s is not None:  # nobody may have asked it anything yet
        numbers.append(max(int(witness.kept_at_s // STRETCH_S), since))
    return _Times(begin=min(numbers), end=end) if numbers else None


def _said(
    heard: _Heard,
    now_s: float,
    bounds: Mapping[DeviceId, int],
    limits: Mapping[Guard, float],
    asked: Asked,
    classes: Sequence[int],
) -> DeviceEvidence:
    witness, past, now = heard.witness, heard.past, heard.now
    lately_from = heard.times.begin - LATELY
    lately = [row for row in past if row.number >= lately_from]
    guards = {Guard.ERRORS: Series(past=_errors(past), lately=_errors(lately), now=_errors(now))}
    if witness.device in bounds:
        guards[Guard.SLOW] = slowness.series(past, lately_from, now, bounds[witness.device])
    if witness.accountable:
        guards[Guard.MISSING] = _silence(heard, now_s)
    return DeviceEvidence(
        device=witness.device,
        arm=Arm.CANDIDATE if witness.moved else Arm.CONTROL,
        guards=guards,
        limited=_limited(heard, limits) if witness.moved else {},
        groups=told.groups(past, lately, now) if asked.fairness else {},
        outcome=told.outcome(past, now, asked.metric) if asked.metric is not None else None,
        classes=told.classes(past, now, classes) if asked.predictions else None,
        paired=_paired(heard, bounds, asked),
        alone=_alone(heard, guards, bounds),
    )


# --- a control arm on the device itself --------------------------------------------------------------------------


def _paired(heard: _Heard, bounds: Mapping[DeviceId, int], asked: Asked) -> dict[Guard, Pair]:
    """Return what both arms of a device did while it had both, and what came of their answers."""
    both = _both(heard)
    if both is None:
        return {}
    ours = [row for row in heard.now if row.number in both]
    theirs = [row for row in heard.control if row.number in both]
    found = {Guard.ERRORS: Pair(candidate=_errors(ours), control=_errors(theirs))}
    bucket = bounds.get(heard.witness.device)
    if bucket is not None:
        candidate, control = slowness.counts(ours, bucket), slowness.counts(theirs, bucket)
        found[Guard.SLOW] = Pair(candidate=candidate, control=control)
    if asked.metric is not None:
        found[Guard.OUTCOME] = Pair(
            candidate=told.outcomes(ours, asked.metric), control=told.outcomes(theirs, asked.metric)
        )
    return found


def _alone(heard: _Heard, guards: Mapping[Guard, Series], bounds: Mapping[DeviceId, int]) -> dict[Guard, Series]:
    """Return what a device did since its control arm was over."""
    both = _both(heard)
    after = [row for row in heard.now if both is not None and row.number >= both.stop]
    if not after:
        return {}
    found = {Guard.ERRORS: replace(guards[Guard.ERRORS], now=_errors(after))}
    bucket = bounds.get(heard.witness.device)
    if bucket is not None and Guard.SLOW in guards:
        found[Guard.SLOW] = replace(guards[Guard.SLOW], now=slowness.counts(after, bucket))
    return found


def _both(heard: _Heard) -> range | None:
    """Return the stretches from the first to the last in which either arm could answer; None: there never were two."""
    ours = [row.number for row in heard.now if row.errors.counts.trials]
    theirs = [row.number for row in heard.control if row.errors.counts.trials]
    if not ours or not theirs:
        return None
    both = range(max(min(ours), min(theirs)), min(max(ours), max(theirs)) + 1)
    return both or None


def _limited(heard: _Heard, limits: Mapping[Guard, float]) -> dict[Guard, Counts]:
    """What is held against the release's own promises."""
    found: dict[Guard, Counts] = {}
    if Guard.ERRORS in limits:
        found[Guard.ERRORS] = _errors(heard.now)
    if Guard.UNSURE in limits:
        found[Guard.UNSURE] = _unsure(heard.now)
    if Guard.SLOW in limits and heard.witness.p95_ms_max is not None:
        found[Guard.SLOW] = slowness.counts(heard.now, slowness.expected_bound(heard.witness.p95_ms_max))
    return found


def _pairs_of(moved: Sequence[Witness], release: ReleaseId, from_s: float | None) -> dict[DeviceId, Counts]:
    """Return what each device of the wave compared in its shadow, where it compared anything."""
    if from_s is None:
        return {}
    first = int(from_s // STRETCH_S)
    found = {
        each.device: _shadow([row for row in each.rows if row.release == release and row.number >= first])
        for each in moved
    }
    return {device: counts for device, counts in found.items() if counts.trials}


def _shadow(rows: Sequence[Stretch]) -> Counts:
    tally = Tally()
    for row in rows:
        tally = tally.after(row.pairs, min(row.disagreements, row.pairs))
    return tally.counts


def _with_pairs(said: DeviceEvidence, pairs: Counts | None) -> DeviceEvidence:
    return said if pairs is None else replace(said, limited={**said.limited, Guard.SHADOW: pairs})


def _past(witness: Witness, release: ReleaseId, begin: int) -> list[Stretch]:
    """What it answered in the day before; a release that it had before, and has again, is not its past."""
    return [row for row in _served(witness) if begin - PAST <= row.number < begin and row.release != release]


def _served(witness: Witness) -> Iterator[Stretch]:
    """Yield what applications saw: a shadow's answers are another guard's."""
    return (row for row in witness.rows if row.arm is not Arm.SHADOW)


def _errors(rows: Sequence[Stretch]) -> Counts:
    counts = [row.errors.counts for row in rows]
    return Counts(
        trials=sum(each.trials for each in counts),
        bad=sum(each.bad for each in counts),
        fresh_trials=sum(each.fresh_trials for each in counts),
        fresh_bad=sum(each.fresh_bad for each in counts),
    )


def _unsure(rows: Sequence[Stretch]) -> Counts:
    return Tally().over((row.predictions, min(row.below, row.predictions)) for row in rows).counts


# --- slow answers ------------------------------------------------------------------------------------------------


def _bounds(
    heard: Sequence[_Heard], witnesses: Sequence[Witness], release: ReleaseId, switched_at_s: float
) -> dict[DeviceId, int]:
    """Return the bucket above which each device is slow: by its own past, else by that of its class of hardware.

    A class is the same devices over the same day whoever has moved since, so that what is slow does not change while a
    gate watches. A device that neither tells about is left out.
    """
    found = {each.witness.device: slowness.bound(each.past) for each in heard}
    wanted = {each.witness.hardware for each in heard if found[each.witness.device] is None}
    begin = int(switched_at_s // STRETCH_S) + 1
    pooled = {
        hardware: slowness.bound(
            row for each in witnesses if each.hardware == hardware for row in _past(each, release, begin)
        )
        for hardware in wanted - {""}
    }
    for each in heard:
        if found[each.witness.device] is None:
            found[each.witness.device] = pooled.get(each.witness.hardware)
    return {device: bucket for device, bucket in found.items() if bucket is not None}


# --- reports that did not come -----------------------------------------------------------------------------------


def _silence(heard: _Heard, now_s: float) -> Series:
    times, past = heard.times, heard.silence
    now = _missing(heard.witness, times.begin, times.end + 1, now_s)
    return Series(past=_tallied(past), lately=_tallied(past[-LATELY:]), now=_tallied(now))


def _past_silence(witness: Witness, times: _Times, now_s: float) -> list[tuple[int, int]]:
    """Before its first report a device was not there, which is not silence."""
    first = min(witness.reports, default=times.begin)
    return _missing(witness, max(times.begin - PAST, first), times.begin, now_s)


def _missing(witness: Witness, number_from: int, number_to: int, now_s: float) -> list[tuple[int, int]]:
    """Return, stretch by stretch, how many reports were due and how many more than before never came.

    One may be under way at any time. A later report may speak for windows before it, so what was made up in the end was
    no silence; what came in advance makes up for nothing.
    """
    due, behind = _due(number_from, number_to, witness.report_every_s, now_s), list[int]()
    all_due = all_came = 0
    for number, n in enumerate(due, number_from):
        all_due += n
        all_came += witness.reports.get(number, 0)
        if all_came > all_due:
            all_came = all_due
        behind.append(all_due - all_came - 1 if all_due > all_came else 0)
    for at in range(len(behind) - 2, -1, -1):
        if behind[at] > behind[at + 1]:
            behind[at] = behind[at + 1]
    return [(n, now - before) for n, (before, now) in zip(due, pairwise([0, *behind]), strict=True)]


def _due(number_from: int, number_to: int, every_s: float, now_s: float) -> list[int]:
    """Count whole cadences of each stretch, on one grid, so that hourly reports are due once an hour."""
    latest_s = now_s - GRACE_CADENCES * every_s
    latest, before, due = math.floor(latest_s / every_s), math.floor(number_from * STRETCH_S / every_s), list[int]()
    for number in range(number_from, number_to):
        end_s = (number + 1) * STRETCH_S
        whole = math.floor(end_s / every_s)
        due.append(max(0, (whole if end_s <= latest_s else latest) - before))
        before = whole
    return due


def _tallied(pairs: Sequence[tuple[int, int]]) -> Counts:
    return Tally().over((due, min(bad, due)) for due, bad in pairs).counts


# --- how far bad events come in bursts ---------------------------------------------------------------------------


def _blocks(heard: Sequence[_Heard], bounds: Mapping[DeviceId, int], asked: Asked) -> dict[Guard, list[list[int]]]:
    """Return each guard's bad events in blocks of three hours of each device's past."""
    found: dict[Guard, list[list[int]]] = {Guard.ERRORS: [], Guard.MISSING: []}
    if bounds:
        found[Guard.SLOW] = []
    for each in heard:
        begin, bucket = each.times.begin, bounds.get(each.witness.device)
        found[Guard.ERRORS].append(_in_blocks([(row.number, row.errors.counts.bad) for row in each.past], begin))
        if bucket is not None:
            found[Guard.SLOW].append(_in_blocks(slowness.bad(each.past, bucket), begin))
        if each.witness.accountable:
            silence = [(n, bad) for n, (_, bad) in enumerate(each.silence)]
            found[Guard.MISSING].append(_in_blocks(silence, len(silence)))
        if asked.fairness:
            wrong = [_in_blocks(each_group, begin) for each_group in told.wrong(each.past)]
            found.setdefault(Guard.FAIRNESS, []).extend(wrong)
    return found


def _in_blocks(bad: Sequence[tuple[int, int]], begin: int) -> list[int]:
    """Return the sums of bad events, told by the number of their stretch, from the first one up to ``begin``."""
    if not bad:
        return []
    first = min(number for number, _ in bad)
    sums = [0] * math.ceil((begin - first) / BLOCK)
    for number, n in bad:
        sums[(number - first) // BLOCK] += n
    return sums
