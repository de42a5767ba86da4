"""One guard's reading: its e-values, who made them, and whether they survive without any one device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Arm
from pinnace_server.domain.gates import comparison, evalues, leaving_out
from pinnace_server.domain.gates.comparison import Stratum
from pinnace_server.domain.gates.evalues import Change
from pinnace_server.domain.gates.evidence import Counts, DeviceEvidence, Guard, Series, WaveEvidence
from pinnace_server.domain.gates.leaving_out import Case, Told
from pinnace_server.domain.gates.settings import MARGINS
from pinnace_server.domain.gates.streams import BURST

CONTRIBUTORS_MAX: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributor:
    """A device of the candidate's arm, its bad events, and how many were expected of it."""

    device: DeviceId
    bad: float
    expected: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one guard says. E-values are natural logarithms, so that none overflows.

    ``worse_without`` is the smallest ``worse`` that leaving one device out gives, and ``device`` that device; they are
    looked for only once ``worse`` is high enough to matter.
    """

    guard: Guard
    worse: float
    not_worse: float
    worse_without: float | None = None
    device: DeviceId | None = None
    contributors: tuple[Contributor, ...] = ()
    trials: int = 0
    bad: int = 0


def read(evidence: WaveEvidence, guard: Guard, margin: float | None, ratio: float, matters: float) -> Reading | None:
    """Read a guard; None where the evidence has nothing about it.

    ``margin`` None: the guard's own. ``matters``: from this log e-value on, devices are left out one by one.
    """
    cases = cases_of(evidence, guard)
    if not cases:
        return None
    allowed = MARGINS.get(guard, 0.0) if margin is None else margin
    told = [Told(case) for case in cases]
    worst = leaving_out.worse(told)
    weakest = leaving_out.weakest(told) if worst >= matters else None
    strata = [case[0] for case in cases]
    candidates = [each for stratum in strata for each in stratum.devices if each.candidate]
    return Reading(
        guard=guard,
        worse=worst,
        not_worse=min(comparison.not_worse(each, allowed, ratio) for each in _speaking_for(strata)),
        worse_without=weakest[0] if weakest else None,
        device=weakest[1] if weakest else None,
        contributors=_contributors(strata),
        trials=sum(each.now.trials for each in candidates),
        bad=sum(each.now.bad for each in candidates),
    )


def cases_of(evidence: WaveEvidence, guard: Guard) -> list[Case]:
    """Return what a guard compares; empty where the evidence has nothing about it."""
    dispersion = evidence.dispersion.get(guard, float(BURST))
    candidates = evidence.of(Arm.CANDIDATE)
    if guard in evidence.limits:
        limit = evidence.limits[guard]
        return (
            [(comparison.limited(candidates, guard, limit, dispersion),)]
            if any(guard in e.limited for e in candidates)
            else []
        )
    if guard is Guard.FAIRNESS:
        names = declared_groups(evidence)
        return [
            (
                comparison.compared(evidence.devices, _group(name), dispersion, evalues.GROUPS_BESIDE_OTHERS),
                comparison.compared(
                    _beside_other_groups(candidates, name), _group(name), dispersion, evalues.GROUPS_BESIDE_OTHERS
                ),
            )
            for name in names
            if len(names) > 1
        ]
    if not any(guard in each.guards for each in candidates):
        return []
    pairs = paired(evidence, guard)
    unpaired = comparison.compared(evidence.devices, _unpaired(guard), dispersion, beside_control(guard))
    if not pairs:
        return [(unpaired,)]
    rest = [(unpaired,)] if any(each.candidate for each in unpaired.devices) else []
    return [(comparison.paired(pairs, guard, dispersion),), *rest]


def paired(evidence: WaveEvidence, guard: Guard) -> list[DeviceEvidence]:
    """Return the devices of a wave whose own control arm has something to say about a guard."""
    return [each for each in evidence.of(Arm.CANDIDATE) if guard in each.paired]


def _unpaired(guard: Guard) -> Callable[[DeviceEvidence], Series | None]:
    """What is compared as ever: those that stay behind, and devices without a control arm, or since it was over."""
    return lambda each: each.alone.get(guard) if guard in each.paired else each.guards.get(guard)


def _speaking_for(strata: Sequence[Stratum]) -> Sequence[Stratum]:
    """Return who must show that a release is no worse: devices with both arms do for all, if most answers are theirs.

    The others are still heard when it is worse.
    """
    trials = [sum(each.now.trials for each in stratum.devices if each.candidate) for stratum in strata]
    return strata[:1] if strata[0].paired and 2 * trials[0] >= sum(trials) else strata


def declared_groups(evidence: WaveEvidence) -> tuple[str, ...]:
    """Return the groups between which there may be a gap."""
    return tuple(sorted({name for each in evidence.of(Arm.CANDIDATE) for name in each.groups}))


def _beside_other_groups(candidates: Sequence[DeviceEvidence], name: str) -> list[DeviceEvidence]:
    """Return one group of each device beside all its other groups, which stand where a control does.

    A release that gets worse for everybody alike opens no gap, and what both went through costs little.
    """
    found = []
    for each in candidates:
        others = [series for group, series in each.groups.items() if group != name]
        if others:
            together = Series(
                past=sum((series.past for series in others), Counts()),
                lately=sum((series.lately for series in others), Counts()),
                now=sum((series.now for series in others), Counts()),
            )
            found.append(replace(each, arm=Arm.CONTROL, groups={name: together}))
        if name in each.groups:
            found.append(each)
    return found


def beside_control(guard: Guard) -> Change:
    """Return how much the whole fleet may change in a guard, where a control says whether it did."""
    return evalues.SLOW_BESIDE_CONTROL if guard is Guard.SLOW else evalues.BESIDE_CONTROL


def _group(name: str) -> Callable[[DeviceEvidence], Series | None]:
    return lambda each: each.groups.get(name)


def _contributors(strata: Sequence[Stratum]) -> tuple[Contributor, ...]:
    candidates = [(each, stratum.dispersion) for stratum in strata for each in stratum.devices if each.candidate]
    candidates.sort(key=lambda pair: (-pair[0].whole.excess * pair[1], pair[0].device))
    return tuple(
        Contributor(device=each.device, bad=each.now.bad, expected=round(each.whole.expected * scale, 3))
        for each, scale in islice(candidates, CONTRIBUTORS_MAX)
        if each.now.bad > 0
    )
