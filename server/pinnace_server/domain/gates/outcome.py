"""The optional outcome metric: an A/B comparison of device means, so that a busy device counts once.

Each device gives the change of its failure share since the switch; the arms' means are compared with the variance
between devices, which holds whatever happens inside a device. The e-value is the normal mixture of Robbins (1970),
one-sided; it is exact only as devices grow in number (Waudby-Smith et al. 2024, "Time-uniform central limit theory"),
which is why an arm needs ``DEVICES_MIN`` and why few degrees of freedom shrink the statistic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from pinnace_contract.latest import Arm
from pinnace_server.domain.gates.comparison import UNDECIDED
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
    left_out = (
        min((_worse([each for each in devices if each is not out], margin, 1), out.device) for out in devices)
        if worst >= matters
        else None
    )
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


def _tells(device: DeviceEvidence) -> bool:
    seen = device.outcome
    return seen is not None and min(seen.past.trials, seen.now.trials) >= TRIALS_MIN


def means(arms: Mapping[Arm, Sequence[float]], left_out: int = 0) -> tuple[float, float] | None:
    """Return by how much more the candidate's devices changed, and the variance of that; None: too few devices.

    Of an arm that has just enough one may be left out to see whether it alone decides.
    """
    total = variance = 0.0
    for arm, sign in ((Arm.CANDIDATE, 1), (Arm.CONTROL, -1)):
        changes = arms[arm]
        if len(changes) < DEVICES_MIN - left_out:
            return None
        mean = sum(changes) / len(changes)
        total += sign * mean
        degrees = len(changes) - 3  # the variance of Student's t, so that few devices look as uncertain as they are
        variance += sum((each - mean) ** 2 for each in changes) / degrees / len(changes)
    return total, max(variance, VARIANCE_MIN)


def _worse(devices: Sequence[DeviceEvidence], margin: float, left_out: int = 0) -> float:
    found = _difference(devices, left_out)
    return UNDECIDED if found is None else one_sided(found[0], found[1], margin)


def _not_worse(devices: Sequence[DeviceEvidence], margin: float) -> float:
    found = _difference(devices)
    return UNDECIDED if found is None else one_sided(margin - found[0], found[1], margin)


def _difference(devices: Sequence[DeviceEvidence], left_out: int = 0) -> tuple[float, float] | None:
    both = (Arm.CANDIDATE, Arm.CONTROL)
    return means({arm: [_change(each) for each in devices if each.arm is arm] for arm in both}, left_out)


def _change(device: DeviceEvidence) -> float:
    seen = device.outcome
    assert seen is not None
    return seen.now.bad / seen.now.trials - seen.past.bad / seen.past.trials


def one_sided(difference: float, variance: float, scale: float) -> float:
    """Return the log e-value for a positive mean, with effects expected around ``scale``."""
    told = max(scale, EFFECT_MIN) ** 2 / variance
    z = difference / math.sqrt(variance) * math.sqrt(told / (1 + told))
    if z < -FAR:
        return math.log(2 / (-z * math.sqrt(2 * math.pi))) - 0.5 * math.log(1 + told)
    return math.log(math.erfc(-z / math.sqrt(2))) + z * z / 2 - 0.5 * math.log(1 + told)
