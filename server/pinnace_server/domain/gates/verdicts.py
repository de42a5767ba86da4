"""The verdict of a gate: ``judge(evidence, settings)``. The same evidence always gives the same verdict.

Guards are read by ``guards``, ``installs``, ``outcome`` and ``predictions``. What follows from a verdict (the next
wave, an alert, a rollback) is the planner's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Arm
from pinnace_server.domain.gates import guards, installs, outcome, predictions, untold
from pinnace_server.domain.gates.evidence import Counts, DeviceEvidence, Guard, WaveEvidence
from pinnace_server.domain.gates.guards import Reading
from pinnace_server.domain.gates.installs import Installs
from pinnace_server.domain.gates.settings import (
    LOW_TRAFFIC_A_DAY,
    PROVEN_BESIDE_DEVICES,
    PROVEN_EVIDENCE,
    RATIO_MARGIN,
    REFUTING_EVIDENCE,
    PromoteOn,
    Settings,
)

DAY_MIN: Final = 1440.0
_TRAFFIC: Final = (Guard.ERRORS, Guard.SLOW, Guard.FAIRNESS)


class Decision(StrEnum):
    """What a gate says."""

    ROLL_BACK = "roll_back"
    PROMOTE_PROVEN = "promote_proven"
    PROMOTE_UNREFUTED = "promote_unrefuted"
    HOLD = "hold"


class Kind(StrEnum):
    """What the release was compared with."""

    RELATIVE = "relative"
    ABSOLUTE = "absolute"


class Reason(StrEnum):
    """Why a gate holds, or what decided it."""

    REGRESSION = "regression"
    ONE_DEVICE = "one_device"
    INSTALLS_STOPPED = "installs_stopped"
    HARDWARE_STOPPED = "hardware_stopped"
    EXPOSURE_TIME = "exposure_time"
    DEVICES = "devices"
    REPORTING = "reporting"
    INFERENCES = "inferences"
    NOT_COMMITTED = "not_committed"
    SOAK_TIME = "soak_time"
    SUSPICION = "suspicion"
    SHADOW = "shadow"
    NOT_PROVEN = "not_proven"
    NO_EVIDENCE = "no_evidence"
    NOT_TOLD = "not_told"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """One reason: what was found, what is needed, and the guard, device or metric that it is about."""

    reason: Reason
    found: float = 0.0
    needed: float = 0.0
    guard: Guard | None = None
    device: DeviceId | None = None
    metric: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The e-values, as logarithms, that decide."""

    roll_back: float
    proven: float
    refuting: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A decision, its grounds, and each guard's reading."""

    decision: Decision
    kind: Kind
    grounds: tuple[Ground, ...]
    readings: tuple[Reading, ...]
    thresholds: Thresholds
    installs: Installs

    @property
    def promotes(self) -> bool:
        """Whether the next wave may start."""
        return self.decision in (Decision.PROMOTE_PROVEN, Decision.PROMOTE_UNREFUTED)


def judge(evidence: WaveEvidence, settings: Settings) -> Verdict:
    """Judge a wave. May be called at any time and as often as one likes."""
    found = installs.read(evidence.installs, _margin(settings, Guard.INSTALLS))
    expected = _guards_with_evidence(evidence)
    roll_back = math.log(settings.roll_back_evidence(len(expected)))
    low = _low_traffic(evidence)
    readings = tuple(_read(evidence, settings, guard, found, roll_back, low=low) for guard in expected)
    thresholds = Thresholds(roll_back=roll_back, proven=math.log(PROVEN_EVIDENCE), refuting=math.log(REFUTING_EVIDENCE))
    decision, grounds = _decide(evidence, settings, readings, thresholds, found, low=low)
    return Verdict(
        decision=decision,
        kind=_kind(evidence),
        grounds=grounds,
        readings=readings,
        thresholds=thresholds,
        installs=found,
    )


def _decide(
    evidence: WaveEvidence,
    settings: Settings,
    readings: Sequence[Reading],
    thresholds: Thresholds,
    found: Installs,
    *,
    low: bool,
) -> tuple[Decision, tuple[Ground, ...]]:
    against = [each for each in readings if each.worse >= thresholds.roll_back]
    firm = [each for each in against if _survives(each, thresholds.roll_back)]
    if firm:
        return Decision.ROLL_BACK, tuple(_ground(Reason.REGRESSION, each, thresholds.roll_back) for each in firm)
    holds = [_ground(Reason.ONE_DEVICE, each, thresholds.roll_back) for each in against]
    if found.stopped:
        holds.append(Ground(reason=Reason.INSTALLS_STOPPED, found=float(found.load_failures), guard=Guard.INSTALLS))
    if found.stopped_hardware:
        stopped = float(len(found.stopped_hardware))
        holds.append(Ground(reason=Reason.HARDWARE_STOPPED, found=stopped, guard=Guard.INSTALLS))
    holds += _exposure(evidence, settings, low=low)
    if not readings:
        holds.append(Ground(reason=Reason.NO_EVIDENCE))
    holds += _untold(evidence)
    holds += _shadow(evidence, readings, thresholds)
    if holds:
        return Decision.HOLD, tuple(holds)
    unproven = [each for each in readings if each.not_worse < thresholds.proven]
    if not unproven:
        return Decision.PROMOTE_PROVEN, ()
    refuted = _refutations(evidence, settings, readings, thresholds)
    demanded = [each for each in unproven if settings.promote_on is not None or _provable(evidence, settings, each)]
    if demanded and settings.enough(evidence.wave_size) is PromoteOn.PROVEN:
        return Decision.HOLD, (*(_proof(each, thresholds) for each in demanded), *refuted)
    return (Decision.HOLD, refuted) if refuted else (Decision.PROMOTE_UNREFUTED, ())


def _provable(evidence: WaveEvidence, settings: Settings, reading: Reading) -> bool:
    """Tell whether a good release could prove this at all: a gate that can never promote is none.

    Forty installs without a failure do not exclude four failures in a hundred, a good release fails on as many as is
    usual, and little is proven beside a control group of a few devices: however many have moved, what the fleet went
    through is known from those that stay behind.
    """
    if reading.guard is Guard.INSTALLS:
        attempts = max(evidence.reachable, reading.trials)
        usual = math.ceil(attempts * installs.USUAL) + 1
        return installs.not_worse(attempts, usual, _margin(settings, Guard.INSTALLS)) >= math.log(PROVEN_EVIDENCE)
    if reading.guard is Guard.OUTCOME:
        return outcome.decided_beside(evidence)
    if reading.guard is Guard.PREDICTIONS:
        return min(len(evidence.of(arm)) for arm in (Arm.CANDIDATE, Arm.CONTROL)) >= outcome.DEVICES_MIN
    beside = max(len(evidence.of(Arm.CONTROL)), len(guards.paired(evidence, reading.guard)))
    return reading.guard in evidence.limits or beside >= PROVEN_BESIDE_DEVICES


def _read(
    evidence: WaveEvidence, settings: Settings, guard: Guard, found: Installs, roll_back: float, *, low: bool
) -> Reading:
    margin = _margin(settings, guard)
    if guard is Guard.INSTALLS:
        assert found.reading is not None
        return found.reading
    if guard is Guard.OUTCOME:
        reading = outcome.read(evidence, margin, roll_back)
    elif guard is Guard.PREDICTIONS:
        reading = predictions.read(evidence, margin, roll_back)
    elif low and guard in _TRAFFIC:
        reading = guards.read(evidence, guard, max(margin, settings.low_traffic_margin), 1.0, roll_back)
    else:
        reading = guards.read(evidence, guard, margin, settings.ratio(guard), roll_back)
    assert reading is not None
    return reading


def _guards_with_evidence(evidence: WaveEvidence) -> list[Guard]:
    """Return the guards, by what is there to judge and not by what was found, so that the threshold is no result."""
    there: set[Guard] = set()
    for each in evidence.of(Arm.CANDIDATE):
        there |= each.guards.keys() | (each.limited.keys() & evidence.limits.keys())
        there |= {Guard.OUTCOME} if each.outcome is not None else set()
        there |= {Guard.PREDICTIONS} if each.classes is not None else set()
    if len(guards.declared_groups(evidence)) > 1:
        there.add(Guard.FAIRNESS)
    there -= {Guard.INSTALLS}
    if installs.read(evidence.installs, 0.0).reading is not None:
        there.add(Guard.INSTALLS)
    return [guard for guard in Guard if guard in there]


def _kind(evidence: WaveEvidence) -> Kind:
    compared = any(each.guards or each.groups or each.outcome or each.classes for each in evidence.of(Arm.CANDIDATE))
    return Kind.RELATIVE if compared else Kind.ABSOLUTE


def _survives(reading: Reading, needed: float) -> bool:
    return reading.worse_without is not None and reading.worse_without >= needed


def _exposure(evidence: WaveEvidence, settings: Settings, *, low: bool) -> list[Ground]:
    candidates = evidence.of(Arm.CANDIDATE)
    exposed = sum(_inferences(each) > 0 for each in candidates)
    watched = len(evidence.devices) if evidence.watched is None else evidence.watched
    share = evidence.reporting / watched if watched else 0.0
    inferences = sum(_inferences(each) for each in candidates)
    wanted = min(settings.devices_min, max(evidence.reachable, min(evidence.wave_size, 1)))
    found = []
    if evidence.elapsed_min < settings.exposure_min:
        found.append(Ground(reason=Reason.EXPOSURE_TIME, found=evidence.elapsed_min, needed=settings.exposure_min))
    if exposed < wanted:
        found.append(Ground(reason=Reason.DEVICES, found=float(exposed), needed=float(wanted)))
    if share < settings.reporting_min:
        found.append(Ground(reason=Reason.REPORTING, found=share, needed=settings.reporting_min))
    needed = max(settings.inferences_min, settings.low_traffic_inferences if low else 0)
    if inferences < needed:
        found.append(Ground(reason=Reason.INFERENCES, found=float(inferences), needed=float(needed)))
    return found


def _refutations(
    evidence: WaveEvidence, settings: Settings, readings: Sequence[Reading], thresholds: Thresholds
) -> tuple[Ground, ...]:
    found = []
    if evidence.elapsed_min < settings.soak_min:
        found.append(Ground(reason=Reason.SOAK_TIME, found=evidence.elapsed_min, needed=settings.soak_min))
    if evidence.committed < evidence.reachable:
        needed = float(evidence.reachable)
        found.append(Ground(reason=Reason.NOT_COMMITTED, found=float(evidence.committed), needed=needed))
    found += [
        _ground(Reason.SUSPICION, each, thresholds.refuting) for each in readings if each.worse >= thresholds.refuting
    ]
    return tuple(found)


def _untold(evidence: WaveEvidence) -> list[Ground]:
    """Hold while nothing is told of what the policy asks to be judged: a misspelt metric must not promote."""
    return [
        Ground(
            reason=Reason.NOT_TOLD,
            guard=each.guard,
            found=float(each.found),
            needed=float(each.needed),
            metric=each.metric,
        )
        for each in untold.untold(evidence)
    ]


def _shadow(evidence: WaveEvidence, readings: Sequence[Reading], thresholds: Thresholds) -> list[Ground]:
    """Hold while the candidate disagrees with its predecessor more often than is tolerated, proven or not."""
    found = []
    for each in readings:
        if each.guard is not Guard.SHADOW or each.trials == 0:
            continue
        limit = evidence.limits[Guard.SHADOW]
        if each.worse >= thresholds.refuting or each.bad > limit * RATIO_MARGIN * each.trials:
            found.append(Ground(reason=Reason.SHADOW, guard=Guard.SHADOW, found=each.bad / each.trials, needed=limit))
    return found


def _ground(reason: Reason, reading: Reading, needed: float) -> Ground:
    device = reading.device if reason is Reason.ONE_DEVICE else None
    return Ground(reason=reason, guard=reading.guard, found=reading.worse, needed=needed, device=device)


def _proof(reading: Reading, thresholds: Thresholds) -> Ground:
    return Ground(reason=Reason.NOT_PROVEN, guard=reading.guard, found=reading.not_worse, needed=thresholds.proven)


def _margin(settings: Settings, guard: Guard) -> float:
    return settings.margins.get(guard, 0.0)


def _inferences(device: DeviceEvidence) -> int:
    """Return how many inferences a device made since the switch: errors are counted against all of them."""
    series = device.guards.get(Guard.ERRORS)
    return series.now.trials if series else device.limited.get(Guard.ERRORS, Counts()).trials


def _low_traffic(evidence: WaveEvidence) -> bool:
    """Tell whether devices infer so seldom that ratios would promote nothing."""
    # A device that has only been compared in a shadow has not inferred for anybody yet.
    candidates = [each for each in evidence.of(Arm.CANDIDATE) if each.guards or each.limited.keys() - {Guard.SHADOW}]
    if not candidates or evidence.elapsed_min <= 0:
        return False
    days = evidence.elapsed_min / DAY_MIN
    return sum(_inferences(each) for each in candidates) / len(candidates) / days < LOW_TRAFFIC_A_DAY
