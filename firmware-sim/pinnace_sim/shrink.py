"""A simpler world that breaks the same rule: fewer devices, incidents, orders, rows of links and hours.

Delta debugging over the plan (Zeller, Hildebrandt: "Simplifying and Isolating Failure-Inducing Input", 2002): parts are
taken out, large ones first, for as long as the same rule is still broken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from pinnace_sim.checks import Violation
from pinnace_sim.errors import NothingBroken
from pinnace_sim.faults import NO_MESSAGE_FAULTS
from pinnace_sim.plan import Plan
from pinnace_sim.world import World

TRIES_MAX: Final = 2_000
HOURS_STEP: Final = 0.5

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """The simplest world that was found, and in how many tries."""

    plan: Plan
    violation: Violation
    tries: int


def shrink(plan: Plan, told: Callable[[Plan, int], None] = lambda _plan, _tries: None) -> Shrunk:
    """Return a simpler plan that breaks the same rule.

    Raises:
        NothingBroken: this one breaks none.
    """
    violation = World(plan).run().violation
    if violation is None:
        raise NothingBroken("the world of this log breaks no rule with this code")
    search = _Search(plan, violation, told)
    before: Plan | None = None
    while before != search.plan and search.tries < TRIES_MAX:
        before = search.plan
        search.round()
    return Shrunk(plan=search.plan, violation=search.violation, tries=search.tries)


def _without_links(plan: Plan) -> Plan:
    """Return the plan with links that carry at all times what devices are said to have."""
    return replace(plan, links=(), devices=tuple(replace(device, trace="") for device in plan.devices))


class _Search:
    """The simplest plan so far."""

    def __init__(self, plan: Plan, violation: Violation, told: Callable[[Plan, int], None]) -> None:
        self.plan, self.violation, self.tries = plan, violation, 1
        self._rule, self._told = violation.rule, told

    def round(self) -> None:
        """Try to do without everything, the boldest first."""
        self._try(replace(self.plan, messages=NO_MESSAGE_FAULTS))
        self._try(_without_links(self.plan))
        if self.plan.controllers > 1:
            self._try(replace(self.plan, controllers=1))
        for device in self.plan.devices:
            if len(self.plan.devices) > 1:
                self._try(self.plan.without_device(device.name))
        self._thin_out(self.plan.incidents, lambda plan, left: replace(plan, incidents=left))
        self._thin_out(self.plan.orders, lambda plan, left: replace(plan, orders=left))
        self._thin_out(self.plan.links, lambda plan, left: replace(plan, links=left))
        while self.plan.hours > HOURS_STEP and self._try(replace(self.plan, hours=self.plan.hours / 2)):
            pass
        while self.plan.hours > HOURS_STEP and self._try(replace(self.plan, hours=self.plan.hours - HOURS_STEP)):
            pass

    def _thin_out(self, items: Sequence[T], put: Callable[[Plan, tuple[T, ...]], Plan]) -> None:
        """Leave out runs of items, at first half of them at once, in the end one at a time."""
        left, size = tuple(items), max(1, len(items) // 2)
        while True:
            start = 0
            while start < len(left):
                fewer = (*left[:start], *left[start + size :])
                if self._try(put(self.plan, fewer)):
                    left = fewer
                else:
                    start += size
            if size == 1:
                return
            size //= 2

    def _try(self, plan: Plan) -> bool:
        if plan == self.plan or self.tries >= TRIES_MAX:
            return False
        self.tries += 1
        violation = World(plan).run().violation
        if violation is None or violation.rule is not self._rule:
            return False
        self.plan, self.violation = plan, violation
        self._told(plan, self.tries)
        return True
