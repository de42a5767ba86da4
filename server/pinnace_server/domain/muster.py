"""The roll call of a rollout: each of its devices in the few words that waves, budgets and gates ask for."""

from __future__ import annotations

from typing import Final, NamedTuple

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Cause
from pinnace_server.domain import statuses
from pinnace_server.domain.records import DeviceState, MemberState

REPORTING_CADENCES: Final = 2.0  # a report may be one cadence late before its device counts as not reporting
REPORTING_MIN_S: Final = 120.0  # devices that report each second are not judged by the second


class Mustered(NamedTuple):
    """One device of a rollout, how far it is, and when it was last heard. ``site`` empty: it has
    none; ``zone`` None: nobody named the time zone of its site.

    A tuple, as a tick makes one of each device of a fleet.
    """

    device: DeviceId
    wave: int
    state: MemberState
    cause: Cause
    changed_at_s: float
    device_state: DeviceState
    hardware: str
    site: str
    zone: str | None
    online: bool
    degraded: bool
    seen_at_s: float | None
    reported_at_s: float | None
    report_every_s: int

    def is_there(self, now_s: float) -> bool:
        """Tell whether the device is online, as ``statuses.is_online`` does."""
        return statuses.is_there(self.online, self.seen_at_s, self.report_every_s, now_s)

    def is_reporting(self, now_s: float) -> bool:
        """Tell whether a report came within its last two cadences."""
        if self.reported_at_s is None:
            return False
        return now_s - self.reported_at_s <= max(REPORTING_CADENCES * self.report_every_s, REPORTING_MIN_S)
