"""From rows to what a gate is told: each device of a wave beside its own past, and the devices that stayed behind.

A candidate's time begins with the first ten minutes in which it answered with the release, the control's with those
after the wave's first switch; what lies before, back for a day, is its past. Reports that are due and did not come are
counted from the device's own cadence, so a device that never answers is not silent, and one that sleeps by design is
compared with itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from pinnace_contract.ids import DeviceId, ReleaseId
from pinnace_contract.latest import Arm
from pinnace_server.domain import stretches
from pinnace_server.domain.gates import streams
from pinnace_server.domain.gates.evidence import Counts, DeviceEvidence, Guard, Install, Series, WaveEvidence
from pinnace_server.domain.gates.streams import Tally
from pinnace_server.domain.stretches import Stretch

STRETCH_S: Final = 60.0 * stretches.MINUTES
PAST: Final = 24 * 60 // stretches.MINUTES  # stretches of a day
LATELY: Final = 60 // stretches.MINUTES
BLOCK: Final = streams.BLOCK_MIN // stretches.MINUTES
GRACE_CADENCES: Final = 2.0  # a report may be so late before it is missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """One device that speaks for or against a release. ``rows`` are its stretches of the model, oldest first.

    ``moved``: it belongs to the wave; else it stays behind as control. ``reachable``, ``committed`` and ``reporting``
    (a report in its last two cadences) are as the server knows them now.
    """

    device: DeviceId
    moved: bool
    rows: Sequence[Stretch]
    report_every_s: float = 60.0
    reachable: bool = True
    committed: bool = False
    reporting: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """Numbers of stretches: the past up to ``begin``, and from it on ``now``."""

    begin: int
    end: int


def evidence(
    *,
    release: ReleaseId,
    switched_at_s: float,
    now_s: float,
    witnesses: Sequence[Witness],
    installs: Sequence[Install] = (),
    limits: Mapping[Guard, float] | None = None,
) -> WaveEvidence:
    """Return everything a wave's gates judge by. ``switched_at_s``: when the wave's first device served the release.

    A device of the wave that has not answered with the release yet is counted in the wave and says nothing else.
    """
    spoken: list[DeviceEvidence] = []
    pasts: dict[Guard, list[list[int]]] = {Guard.ERRORS: [], Guard.MISSING: []}
    allowed = dict(limits or {})
    for each in witnesses:
        times = _times(each, release, switched_at_s, now_s)
        if times is None:
            continue
        spoken.append(_said(each, release, times, now_s, allowed))
        pasts[Guard.ERRORS].append(_error_blocks(_past(each, release, times), times))
        pasts[Guard.MISSING].append(_in_blocks(_past_silence(each, times, now_s)))
    moved = [each for each in witnesses if each.moved]
    heard = {each.device for each in spoken}
    return WaveEvidence(
        elapsed_min=max(0.0, now_s - switched_at_s) / 60,
        wave_size=len(moved),
        reachable=sum(each.reachable for each in moved),
        committed=sum(each.reachable and each.committed for each in moved),
        reporting=sum(each.reporting for each in witnesses if each.device in heard),
        devices=tuple(spoken),
        installs=tuple(installs),
        dispersion={guard: streams.dispersion(blocks) for guard, blocks in pasts.items()},
        limits=allowed,
    )


def _times(witness: Witness, release: ReleaseId, switched_at_s: float, now_s: float) -> _Times | None:
    end = int(now_s // STRETCH_S)
    if not witness.moved:
        return _Times(begin=int(switched_at_s // STRETCH_S) + 1, end=end)
    since = int(switched_at_s // STRETCH_S)
    numbers = [row.number for row in _served(witness) if row.release == release and row.number >= since]
    return _Times(begin=min(numbers), end=end) if numbers else None


def _said(
    witness: Witness, release: ReleaseId, times: _Times, now_s: float, limits: Mapping[Guard, float]
) -> DeviceEvidence:
    past, now = _past(witness, release, times), _now(witness, release, times)
    lately = [row for row in past if row.number >= times.begin - LATELY]
    limited: dict[Guard, Counts] = {}
    if witness.moved and Guard.UNSURE in limits:
        limited[Guard.UNSURE] = _unsure(now)
    return DeviceEvidence(
        device=witness.device,
        arm=Arm.CANDIDATE if witness.moved else Arm.CONTROL,
        guards={
            Guard.ERRORS: Series(past=_errors(past), lately=_errors(lately), now=_errors(now)),
            Guard.MISSING: _silence(witness, times, now_s),
        },
        limited=limited,
    )


def _past(witness: Witness, release: ReleaseId, times: _Times) -> list[Stretch]:
    """What it answered in the day before; a release that it had before, and has again, is not its past."""
    first = times.begin - PAST
    return [row for row in _served(witness) if first <= row.number < times.begin and row.release != release]


def _now(witness: Witness, release: ReleaseId, times: _Times) -> list[Stretch]:
    return [row for row in _served(witness) if row.number >= times.begin and witness.moved == (row.release == release)]


def _served(witness: Witness) -> Iterator[Stretch]:
    """Yield what applications saw: a shadow's answers are another guard's."""
    return (row for row in witness.rows if row.arm is not Arm.SHADOW)


def _errors(rows: Sequence[Stretch]) -> Counts:
    return sum((row.errors.counts for row in rows), Counts())


def _unsure(rows: Sequence[Stretch]) -> Counts:
    tally = Tally()
    for row in rows:
        tally = tally.after(row.predictions, min(row.below, row.predictions))
    return tally.counts


# --- reports that did not come -----------------------------------------------------------------------------------


def _silence(witness: Witness, times: _Times, now_s: float) -> Series:
    past, now = _past_silence(witness, times, now_s), _missing(witness, times.begin, times.end + 1, now_s)
    return Series(past=_tallied(past), lately=_tallied(past[-LATELY:]), now=_tallied(now))


def _past_silence(witness: Witness, times: _Times, now_s: float) -> list[tuple[int, int]]:
    """Before its first row a device was not there, which is not silence."""
    first = min((row.number for row in witness.rows), default=times.begin)
    return _missing(witness, max(times.begin - PAST, first), times.begin, now_s)


def _missing(witness: Witness, number_from: int, number_to: int, now_s: float) -> list[tuple[int, int]]:
    """Return, stretch by stretch, how many reports were due and how many more than before never came.

    One may be under way at any time. A later report may speak for windows before it, so what was made up in the end was
    no silence; what came in advance makes up for nothing. The report in which a device switched speaks of two releases,
    and is the only one that counts twice.
    """
    came: dict[int, int] = {}
    for row in _served(witness):
        came[row.number] = came.get(row.number, 0) + row.reports
    latest_s = now_s - GRACE_CADENCES * witness.report_every_s
    due, behind = list[int](), list[int]()
    all_due = all_came = 0
    for number in range(number_from, number_to):
        due.append(_due(number, witness.report_every_s, latest_s))
        all_due += due[-1]
        all_came = min(all_due, all_came + came.get(number, 0))
        behind.append(max(0, all_due - all_came - 1))
    for at in range(len(behind) - 2, -1, -1):
        behind[at] = min(behind[at], behind[at + 1])
    return [(n, now - before) for n, (before, now) in zip(due, pairwise([0, *behind]), strict=True)]


def _due(number: int, every_s: float, latest_s: float) -> int:
    """Count whole cadences of a stretch, on one grid, so that hourly reports are due once an hour."""
    begin_s, end_s = number * STRETCH_S, min((number + 1) * STRETCH_S, latest_s)
    return max(0, math.floor(end_s / every_s) - math.floor(begin_s / every_s))


def _tallied(pairs: Sequence[tuple[int, int]]) -> Counts:
    tally = Tally()
    for due, bad in pairs:
        tally = tally.after(due, min(bad, due))
    return tally.counts


def _in_blocks(pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Return bad events in the blocks that dispersion is read from."""
    return [sum(bad for _, bad in pairs[at : at + BLOCK]) for at in range(0, len(pairs), BLOCK)]


def _error_blocks(past: Sequence[Stretch], times: _Times) -> list[int]:
    if not past:
        return []
    bad = dict.fromkeys(range(min(row.number for row in past), times.begin), 0)
    for row in past:
        bad[row.number] += row.errors.counts.bad
    return _in_blocks([(0, bad[number]) for number in sorted(bad)])
