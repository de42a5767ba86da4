"""Prediction drift: how often each class is answered, compared by the means of devices as ``outcome`` does.

What a camera sees changes by itself, with the season or the shift. So each device gives the change of its shares since
the switch, and what the control went through over the same time is no evidence. Of that difference a margin is free: a
release that answers a few points otherwise may do so because it is better, and no count of answers tells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pinnace_contract.latest import Arm
from pinnace_server.domain.gates.comparison import UNDECIDED
from pinnace_server.domain.gates.evalues import averaged
from pinnace_server.domain.gates.evidence import ClassCounts, DeviceEvidence, Guard, WaveEvidence
from pinnace_server.domain.gates.guards import CONTRIBUTORS_MAX, Contributor, Reading
from pinnace_server.domain.gates.outcome import TRIALS_MIN, means, one_sided


def read(evidence: WaveEvidence, margin: float, matters: float) -> Reading | None:
    """Read the classes; None where no device has any.

    ``bad`` are the answers of the class that moved most, over all devices of the wave.
    """
    if not any(each.classes is not None for each in evidence.of(Arm.CANDIDATE)):
        return None
    devices = [each for each in evidence.devices if _tells(each)]
    worst = _worse(devices, margin)
    left_out = (
        min((_worse([each for each in devices if each is not out], margin, 1), out.device) for out in devices)
        if worst >= matters
        else None
    )
    counts = [each.classes for each in evidence.of(Arm.CANDIDATE) if each.classes is not None]
    most = _moved_most(devices)
    return Reading(
        guard=Guard.PREDICTIONS,
        worse=worst,
        not_worse=_not_worse(devices, margin),
        worse_without=left_out[0] if left_out else None,
        device=left_out[1] if left_out else None,
        contributors=_contributors(devices, most),
        trials=sum(sum(each.now) for each in counts),
        bad=0 if most is None else sum(each.now[most] for each in counts),
    )


def _tells(device: DeviceEvidence) -> bool:
    seen = device.classes
    return seen is not None and min(sum(seen.past), sum(seen.now)) >= TRIALS_MIN


def _worse(devices: Sequence[DeviceEvidence], margin: float, left_out: int = 0) -> float:
    """The mean over classes and directions, because nobody knows beforehand where a release goes astray."""
    found = _differences(devices, left_out)
    if not found:
        return UNDECIDED
    sides = [
        one_sided(sign * difference - margin, variance, margin) for difference, variance in found for sign in (1, -1)
    ]
    return averaged(tuple((each, 1 / len(sides)) for each in sides))


def _not_worse(devices: Sequence[DeviceEvidence], margin: float) -> float:
    found = _differences(devices)
    return min(
        (one_sided(margin - abs(difference), variance, margin) for difference, variance in found), default=UNDECIDED
    )


def _differences(devices: Sequence[DeviceEvidence], left_out: int = 0) -> list[tuple[float, float]]:
    found = []
    for place in range(_width(devices)):
        both = (Arm.CANDIDATE, Arm.CONTROL)
        difference = means(
            {arm: [_change(each, place) for each in devices if each.arm is arm] for arm in both}, left_out
        )
        if difference is None:
            return []
        found.append(difference)
    return found


def _width(devices: Sequence[DeviceEvidence]) -> int:
    return max((len(each.classes.now) for each in devices if each.classes is not None), default=0)


def _moved_most(devices: Sequence[DeviceEvidence]) -> int | None:
    found = [abs(difference) / math.sqrt(variance) for difference, variance in _differences(devices)]
    return found.index(max(found)) if found else None


def _contributors(devices: Sequence[DeviceEvidence], place: int | None) -> tuple[Contributor, ...]:
    if place is None:
        return ()
    moved = [each for each in devices if each.arm is Arm.CANDIDATE]
    moved.sort(key=lambda each: (-abs(_change(each, place)), each.device))
    return tuple(
        Contributor(
            device=each.device,
            bad=float(_classes(each).now[place]),
            expected=round(_share(_classes(each).past, place) * sum(_classes(each).now), 3),
        )
        for each in moved[:CONTRIBUTORS_MAX]
    )


def _change(device: DeviceEvidence, place: int) -> float:
    seen = _classes(device)
    return _share(seen.now, place) - _share(seen.past, place)


def _share(counts: Sequence[int], place: int) -> float:
    return counts[place] / sum(counts)


def _classes(device: DeviceEvidence) -> ClassCounts:
    assert device.classes is not None, "a device that tells has classes"
    return device.classes
