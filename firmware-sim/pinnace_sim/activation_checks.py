"""When devices may be changed, and how many of a site at a time: windows, and who must stay well meanwhile.

Looks on from outside. Whether a window is open is read off the clock of the device's site, by its label and what the
policy says, and not from what the device was told; who stays at a site is counted by who was not told to change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from pinnace_agent.core.slot import Slot
from pinnace_contract.ids import DeviceId, ModelName, RolloutId
from pinnace_contract.latest import Intent, Phase
from pinnace_server.domain.records import Event, EventKind, MemberState
from pinnace_server.domain.rollout_policy.policy import SITE_LABEL, ZONE_LABEL, RolloutPolicy, Windows
from pinnace_server.domain.rollout_policy.sizes import WHOLE, Count
from pinnace_server.domain.windows import WeeklyWindow
from pinnace_server.service.ports import Tables
from pinnace_sim.checks import Rule, Violation
from pinnace_sim.contention import Store
from pinnace_sim.device import SimDevice
from pinnace_sim.schedule import Schedule

CLOCKS_S: Final = 60.0  # a window that opens or closes within so long is open enough
SOUND_S: Final = 1_800.0  # who was there and undisturbed for so long is known to be well
_BESIDE: Final = (Phase.READY, Phase.SHADOW)
_PRESENT: Final = (MemberState.WAITING, MemberState.ASSIGNED, MemberState.READY, MemberState.COMMITTED)


class Place(Protocol):
    """The server that is looked at."""

    @property
    def store(self) -> Store: ...
    def now(self) -> float: ...


@dataclass(slots=True)
class ActivationChecks:
    """Looks on. ``policy_of`` is of rollouts in waves; ``free_s`` tells since when nothing stands in a device's way."""

    place: Place
    schedule: Schedule
    devices: Callable[[], Mapping[DeviceId, SimDevice]]
    policy_of: Callable[[RolloutId], RolloutPolicy | None]
    free_s: Callable[[SimDevice], float]
    model: ModelName

    def moved(self, device: SimDevice, old: Slot, new: Slot) -> None:
        """A device saved another slot: it begins to activate nothing while its windows are closed."""
        work = new.work
        begins = new.phase is Phase.SELF_TEST is not old.phase or (new.phase is Phase.TRIAL and old.phase in _BESIDE)
        if work is None or not begins or work.entry.intent is not Intent.UPGRADE:
            return
        policy = self.policy_of(work.entry.rollout) if work.entry.rollout is not None else None
        if policy is None or policy.windows is None or device.skew_s != 0.0:
            return
        named = dict(device.plan.labels).get(ZONE_LABEL)
        zone, now_s = policy.windows.zone_of(named), self.schedule.origin_s + self.schedule.now_s
        times = (now_s - CLOCKS_S, now_s, now_s + CLOCKS_S)
        if zone is None or not any(is_open(policy.windows, zone, each) for each in times):
            there = (
                "no time zone" if zone is None else f"{datetime.fromtimestamp(now_s, ZoneInfo(zone)):%a %H:%M} {zone}"
            )
            text = f"it begins {new.phase} of {work.entry.rollout} at {there}, and no window of the policy is open"
            raise Violation(Rule.OUTSIDE_WINDOW, device.name, text)

    def said(self, event: Event) -> None:
        """The server's log has another line: enough of a site stay when one of it is told to change."""
        device = self.devices().get(event.device) if event.device is not None else None
        if event.kind is not EventKind.ASSIGNED or device is None or event.rollout is None:
            return
        policy = self.policy_of(event.rollout)
        least = policy.budgets.healthy_per_site_min if policy is not None else None
        site = dict(device.plan.labels).get(SITE_LABEL, "")
        if least is None or not site or event.at_s != self.place.now() or not self._is_sound(device):
            return
        here = [each for each in self.devices().values() if dict(each.plan.labels).get(SITE_LABEL) == site]
        with self.place.store.read() as tables:
            known = tables.devices.get(device.id)
            if known is None or known.degraded:
                return  # one that is ill is no loss to its site
            mine = [each for each in here if self._is_in(tables, event.rollout, each)]
            stay = [each for each in here if each is not device and not self._is_under_way(tables, each)]
        must = least.devices if isinstance(least, Count) else len(mine) * least.hundredths // WHOLE
        if len(stay) < must:
            names = ", ".join(each.name for each in stay) or "nobody"
            text = f"it is told {event.rollout}; of site {site} {names} stay(s) as they are, and {must} must"
            raise Violation(Rule.TOO_FEW_HEALTHY, device.name, text)

    def _is_sound(self, device: SimDevice) -> bool:
        serves = device.run is not None and device.run.workers.serving(self.model) is not None
        return serves and self.schedule.now_s - self.free_s(device) > SOUND_S

    def _is_in(self, tables: Tables, rollout: RolloutId, device: SimDevice) -> bool:
        member = tables.rollouts.member(rollout, device.id)
        return member is not None and member.state in _PRESENT

    def _is_under_way(self, tables: Tables, device: SimDevice) -> bool:
        assignment = tables.assignments.get(device.id, self.model)
        member = tables.rollouts.member(assignment.rollout, device.id) if assignment is not None else None
        return member is not None and member.state is MemberState.ASSIGNED


def is_open(windows: Windows, zone: str, at_s: float) -> bool:
    """Tell whether a window is open at a moment, by a clock on the wall; worked out here once more."""
    now = datetime.fromtimestamp(at_s, ZoneInfo(zone))
    yesterday = now - timedelta(days=1)
    return any(
        _holds(each, now, now.hour * 60 + now.minute) or _holds(each, yesterday, now.hour * 60 + now.minute + 24 * 60)
        for each in windows.weekly
    )


def _holds(window: WeeklyWindow, day: datetime, minute: int) -> bool:
    closes = window.closes if window.closes > window.opens else window.closes + 24 * 60
    return f"{day:%a}".lower() in window.days and window.opens <= minute < closes
