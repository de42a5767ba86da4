"""What to call a device now, from what it last said and how long ago that was. Rows of ``db`` ask the same in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from pinnace_contract.latest import Outcome, Phase
from pinnace_server.domain.records import Assignment, Device, DeviceState, Slot, Status

SILENCE_CADENCES: Final = 3  # reports missed in a row before a device counts as offline
SILENCE_MIN_S: Final = 5.0  # a cadence of a second must not make a device flicker

_BAD: Final = frozenset({Outcome.FAILED, Outcome.REVERTED, Outcome.REJECTED})


def silence_s(report_every_s: int) -> float:
    """Return how long a device of this cadence may be silent and still count as online."""
    return max(SILENCE_CADENCES * float(report_every_s), SILENCE_MIN_S)


def is_online(device: Device, now_s: float) -> bool:
    """Tell whether the device is there: born, no will since, and heard of within three of its own cadences."""
    return is_there(device.online, device.seen_at_s, device.report_every_s, now_s)


def is_there(online: bool, seen_at_s: float | None, report_every_s: int, now_s: float) -> bool:
    """Tell the same from its parts."""
    return online and seen_at_s is not None and now_s - seen_at_s <= silence_s(report_every_s)


def status_of(device: Device, now_s: float) -> Status:
    """Return the device in one word. Pending and offline come first: of those the rest is only what was."""
    match device.state:
        case DeviceState.PENDING:
            return Status.PENDING
        case DeviceState.QUARANTINED:
            return Status.DEGRADED if is_online(device, now_s) else Status.OFFLINE
        case DeviceState.ACTIVE | DeviceState.DECOMMISSIONED:
            if not is_online(device, now_s):
                return Status.OFFLINE
            if device.degraded:
                return Status.DEGRADED
            return Status.UPDATING if device.updating else Status.ONLINE
        case _:
            assert_never(device.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Whether something of a device's models is not as wanted, and whether something is under way."""

    degraded: bool
    updating: bool


def condition_of(assignments: Sequence[Assignment], slots: Sequence[Slot]) -> Condition:
    """Judge a device's models: an update that ended badly, or a model wanted and not served, is a degraded device."""
    by_model = {slot.model: slot for slot in slots}
    degraded = updating = False
    for assignment in assignments:
        slot = by_model.get(assignment.model)
        if assignment.outcome in _BAD:
            degraded = True
        elif assignment.outcome is None:
            updating = True
        elif assignment.release is not None and slot is not None and _serves_nothing(slot):
            degraded = True
    updating = updating or any(slot.state.phase is not Phase.IDLE for slot in slots)
    return Condition(degraded=degraded, updating=updating)


def _serves_nothing(slot: Slot) -> bool:
    return slot.state.phase is Phase.IDLE and slot.state.current is None
