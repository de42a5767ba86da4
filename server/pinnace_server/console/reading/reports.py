"""What the devices of a rollout wait on, worked out at most every few seconds for a large one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from pinnace_contract.ids import RolloutId
from pinnace_server.domain.plans import PlanReport
from pinnace_server.domain.records import Rollout, RolloutState
from pinnace_server.service import ramps
from pinnace_server.service.ports import Tables

SMALL_DEVICES: Final = 500  # a report of so many takes 50 ms, which a page may take each time
FRESH_S: Final = 15.0  # one of 10,000 takes a second, and a page under way refreshes itself each second
KEPT_MAX: Final = 32  # rollouts that are looked at at once


class ReportCache:
    """Planner's reports of large rollouts. Safe from any thread; two that ask at once may both work it out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[RolloutId, RolloutState], tuple[float, PlanReport]] = OrderedDict()

    def get(self, tables: Tables, rollout: Rollout, devices: int, now: float) -> PlanReport:
        """Return the report of a rollout with so many devices, at most ``FRESH_S`` old where they are many."""
        key = (rollout.id, rollout.state)
        with self._lock:
            at_s, report = self._kept.get(key, (0.0, None))
        if report is not None and devices > SMALL_DEVICES and 0 <= now - at_s < FRESH_S:
            return report
        members = tables.rollouts.members(rollout.id)
        report = ramps.report(tables, rollout, members, ramps.shown(tables, rollout, now), now)
        if devices > SMALL_DEVICES:
            with self._lock:
                self._kept[key] = (now, report)
                self._kept.move_to_end(key)
                while len(self._kept) > KEPT_MAX:
                    self._kept.popitem(last=False)
        return report
