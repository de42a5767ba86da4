"""Carrying out a plan: the rows of each change, the device's next set, and what the log says. To sign is the loop's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import ArmMode, Cause, Entry
from pinnace_server.domain import pairs, plans
from pinnace_server.domain.plans import Adopt, Assign, Observed, Plan, Skip
from pinnace_server.domain.records import SERVER, Event, EventKind, Rollout, Severity
from pinnace_server.service.condition import refreshed
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.sets import save_set


def execute(
    tables: Tables, world: World, rollout: Rollout, plan: Plan, observed: Mapping[DeviceId, Observed], now: float
) -> None:
    """Write down what a plan changes, in the transaction that it was made in."""
    for change in plan.changes:
        after = plans.applied(change, plan, observed[change.device])
        tables.rollouts.save_members([replace(after.member, changed_at_s=now)])
        match change:
            case Assign():
                assert after.assignment is not None
                tables.assignments.save(replace(after.assignment, actor=rollout.actor))
                tables.devices.save(refreshed(tables, after.device))
                save_set(tables, world, after.device, change.entry.generation)
                tables.events.append(_assigned(rollout, change, plan, now))
            case Adopt():
                assert after.assignment is not None
                tables.assignments.save(after.assignment)
            case Skip():
                tables.events.append(_skipped(rollout, change, now))


def _verb(entry: Entry) -> str:
    arms = entry.arms
    if arms is None or arms.mode is not ArmMode.BLUE_GREEN:
        return "run"
    return "make ready" if arms.share_percent == pairs.WAITS_PERCENT else "switch to"


def _assigned(rollout: Rollout, change: Assign, plan: Plan, now: float) -> Event:
    entry = change.entry
    what = f"{rollout.model} {rollout.version}" if rollout.version else f"{rollout.model} ({entry.intent})"
    return Event(
        at_s=now,
        kind=EventKind.ASSIGNED,
        actor=rollout.actor,
        summary=f"{change.device} is told to {_verb(entry)} {what}, generation {entry.generation}",
        device=change.device,
        model=rollout.model,
        version=rollout.version,
        rollout=rollout.id,
        data={
            "generation": str(entry.generation),
            "attempt": str(entry.attempt),
            "intent": entry.intent.value,
            "release": entry.release or "",
            "plan": plan.id,
            "parent": plan.parent or "",
        },
    )


def _skipped(rollout: Rollout, change: Skip, now: float) -> Event:
    return Event(
        at_s=now,
        kind=EventKind.NO_FALLBACK if change.cause is Cause.NO_FALLBACK else EventKind.SKIPPED,
        actor=SERVER,
        summary=f"{change.device} is left out of {rollout.model} {rollout.version or ''}: {change.detail}",
        severity=Severity.WARNING,
        device=change.device,
        model=rollout.model,
        version=rollout.version,
        rollout=rollout.id,
        data={"cause": change.cause.value},
    )
