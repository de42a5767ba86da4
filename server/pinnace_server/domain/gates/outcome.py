"""The optional outcome metric: an A/B comparison of device means, so that a busy device counts once.

Each device gives the change of its failure share since the switch; the arms' means are compared with the variance
between devices, which holds whatever happens inside a device. A device with a control arm of its own gives the
difference between its two arms over the same time instead, and needs nobody beside it. The e-value is the normal
mixture of Robbins (1970), one-sided; it is exact only as devices grow in number (Waudby-Smith et al. 2024,
"Time-uniform central limit theory"), which is why an arm needs ``DEVICES_MIN`` and why few degrees of freedom shrink
the statistic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from pinnace_contract.latest import Arm
from pinnace_server.domain.gates.comparison import UNDECIDED
from pinnace_server.domain.gates.evalues import averaged
from pinnace_server.domain.gates.evidence import DeviceEvidence, Guard, WaveEvidence
from pinnace_server.domain.gates.guards import Reading

DEVICES_MIN: Final = 10
TRIALS_MIN: Final = 20  # of a device, before and after: a share of fewer is mostly chance
EFFECT_MIN: Final = 0.005  # what is looked for where the margin is smaller still
VARIANCE_MIN: Final = 1e-8
FAR: Final = 30.0  # standard deviations below zero, from where the normal tail is its first term


def read(evidence: WaveEvidence, margin: float, matters: float) -> Reading | None:
    """Read the metric; None where no device has one."""
    if not any(each.outcome is not None for each in evidence.of(Arm.CANDIDATE)):
        return None
    devices = [each for each in evidence.devices if _tells(each)]
    worst = _worse(devices, margin)
    left_out = min((_worse(devices, margin, out), out.device) for out in devices) if worst >= matters else None
    counts = [each.outcome.now for each in evidence.of(Arm.CANDIDATE) if each.outcome is not None]
    return Reading(
        guard=Guard.OUTCOME,
        worse=worst,
        not_worse=_not_worse(devices, margin),
        worse_without=left_out[0] if left_out else None,
        device=left_out[1] if left_out else None,
        trials=sum(each.trials for each in counts),
        bad=sum(each.bad for each in counts),
    )


def decided_beside(evidence: WaveEvidence) -> bool:
    """Tell whether devices enough tell the metric to compare with, by whichever of the two comparisons."""
    return bool(_differences([each for each in evidence.devices if _tells(each)]))


def _tells(device: DeviceEvidence) -> bool:
    if _is_split(device):
        pair = device.paired[Guard.OUTCOME]
        return min(pair.candidate.trials, pair.control.trials) >= TRIALS_MIN
    seen = device.outcome
    return seen is not None and min(seen.past.trials, seen.now.trials) >= TRIALS_MIN


def _is_split(device: DeviceEvidence) -> bool:
    return Guard.OUTCOME in device.paired


def means(arms: Mapping[Arm, Sequence[float]], left_out: int = 0) -> tuple[float, float] | None:
    """Return by how much more the candidate's devices changed, and the variance of that; None: too few devices.

    Without an arm ``control`` the changes are differences already. Of an arm that has just enough one may be left out
    to see whether it alone decides.
    """
    total = variance = 0.0
    for arm, changes in arms.items():
        if len(changes) < DEVICES_MIN - left_out:
            return None
        mean = sum(changes) / len(changes)
        total += -mean if arm is Arm.CONTROL else mean
        degrees = len(changes) - 3  # the variance of Student's t, so that few devices look as uncertain as they are
        variance += sum((each - mean) ** 2 for each in changes) / degrees / len(changes)
    return total, max(variance, VARIANCE_MIN)


def _worse(devices: Sequence[DeviceEvidence], margin: float, out: DeviceEvidence | None = None) -> float:
    """Return the mean of both comparisons, where there are both: devices without a control arm must not be unheard."""
    found = [one_sided(difference, variance, margin) for difference, variance in _differences(devices, out)]
    return averaged(tuple((each, 1 / len(found)) for each in found)) if found else UNDECIDED


def _not_worse(devices: Sequence[DeviceEvidence], margin: float) -> float:
    found = _differences(devices)
    return min((one_sided(margin - difference, variance, margin) for difference, variance in found), default=UNDECIDED)


def _differences(devices: Sequence[DeviceEvidence], out: DeviceEvidence | None = None) -> list[tuple[float, float]]:
    """Return what devices with two arms say of a difference, and what the others do, less one that is left out.

    Whoever is enough with that one says it, so that leaving one out changes no more than what it said.
    """
    plain = [each for each in devices if not _is_split(each)]
    comparisons = (
        {Arm.CANDIDATE: [each for each in devices if _is_split(each)]},
        {arm: [each for each in plain if each.arm is arm] for arm in (Arm.CANDIDATE, Arm.CONTROL)},
    )
    found = []
    for arms in comparisons:
        if min(map(len, arms.values())) >= DEVICES_MIN:
            kept = {arm: [_change(each) for each in those if each is not out] for arm, those in arms.items()}
            found.append(means(kept, left_out=0 if out is None else 1))
    return [each for each in found if each is not None]


def _change(device: DeviceEvidence) -> float:
    if _is_split(device):
        pair = device.paired[Guard.OUTCOME]
        return pair.candidate.bad / pair.candidate.trials - pair.control.bad / pair.control.trials
    seen = device.outcome
    assert seen is not None, "a device that tells has outcomes"
    return seen.now.bad / seen.now.trials - seen.past.bad / seen.past.trials


def one_sided(difference: float, variance: float, scale: float) -> float:
    """Return the log e-value for a positive mean, with effects expected around ``scale``."""
    told = max(scale, EFFECT_MIN) ** 2 / variance
    z = difference / math.sqrt(variance) * math.sqrt(told / (1 + told))
    if z < -FAR:
        return math.log(2 / (-z * math.sqrt(2 * math.pi))) - 0.5 * math.log(1 + told)
    return math.log(math.erfc(-z / math.sqrt(2))) + z * z / 2 - 0.5 * math.log(1 + told)
