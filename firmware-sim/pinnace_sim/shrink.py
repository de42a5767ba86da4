"""A simpler world that breaks the same rule: fewer devices, incidents and orders, fewer hours, better behaved messages.

Delta debugging over the plan (Zeller, Hildebrandt: "Simplifying and Isolating Failure-Inducing Input", 2002): parts are
taken out, large ones first, for as long as the same rule is still broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from pinnace_sim.checks import Rule, Violation
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
    first = World(plan).run().violation
    if first is None:
        raise NothingBroken("the world of this log breaks no rule with this code")
    found, tries = Shrunk(plan=plan, violation=first, tries=1), 1
    changed = True
    while changed and tries < TRIES_MAX:
        changed = False
        for simpler in _simpler(found.plan):
            tries += 1
            violation = _broken(simpler, first.rule)
            if violation is not None:
                found, changed = Shrunk(plan=simpler, violation=violation, tries=tries), True
                told(simpler, tries)
                break
            if tries >= TRIES_MAX:
                break
    return replace(found, tries=tries)


def _broken(plan: Plan, rule: Rule) -> Violation | None:
    violation = World(plan).run().violation
    return violation if violation is not None and violation.rule is rule else None


def _simpler(plan: Plan) -> Iterator[Plan]:
    """Yield simpler plans, the boldest first."""
    if plan.messages != NO_MESSAGE_FAULTS:
        yield replace(plan, messages=NO_MESSAGE_FAULTS)
    for device in plan.devices:
        if len(plan.devices) > 1:
            yield plan.without_device(device.name)
    for fewer in _without_parts(plan.incidents):
        yield replace(plan, incidents=fewer)
    for orders in _without_parts(plan.orders):
        yield replace(plan, orders=orders)
    if plan.hours > HOURS_STEP:
        yield replace(plan, hours=plan.hours / 2)
        yield replace(plan, hours=plan.hours - HOURS_STEP)


def _without_parts(items: Sequence[T]) -> Iterator[tuple[T, ...]]:
    size = len(items)
    while size >= 1:
        for start in range(0, len(items), size):
            yield (*items[:start], *items[start + size :])
        size //= 2
