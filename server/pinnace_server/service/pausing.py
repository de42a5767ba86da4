"""Rollouts of whose row something cannot be read: each is paused alone, and told of once.

A newer server wrote it, or it was damaged. Nobody knows its waves, gates and budgets then, so it begins nothing; its
devices under way go on, and count as under way wherever they are counted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pinnace_server.domain.records import SERVER, Event, EventKind, Rollout, RolloutState, Severity
from pinnace_server.service import rules
from pinnace_server.service.ports import Tables, World

_SAYS: Final = f"{SERVER}: "
_MARK: Final = " cannot be read"


def pause_unreadable(world: World) -> None:
    """Pause what cannot be read. What can be read again stays paused until somebody resumes it, if it has waves."""
    with world.store.read() as tables:
        due = [each.id for each in tables.rollouts.active() if _changed(each) is not None]
    for name in due:
        with world.store.write() as tables:
            rollout = tables.rollouts.get(name)
            after = _changed(rollout) if rollout is not None and rollout.state is RolloutState.ACTIVE else None
            if after is None:
                continue
            tables.rollouts.save(after)
            _tell(tables, after, world.clock.now())
        world.changes.notify(["rollouts", f"rollout:{name}", "events"])


def _changed(rollout: Rollout) -> Rollout | None:
    """Return a rollout as it should be; None: as it is."""
    problem = rules.unreadable(rollout)
    marked = rollout.paused.startswith(_SAYS) and _MARK in rollout.paused
    if problem and not marked:
        before = f" (paused before by {rollout.paused})" if rollout.paused else ""
        return replace(rollout, paused=f"{_SAYS}{problem}{before}")
    if marked and not problem and not rollout.rules:  # nobody can resume a plain assignment
        return replace(rollout, paused="")
    return None


def _tell(tables: Tables, rollout: Rollout, now: float) -> None:
    paused = bool(rollout.paused)
    what = f"rollout of {rollout.model} {rollout.version}" if rollout.version else f"rollout of {rollout.model}"
    said = f"is paused: {rollout.paused.removeprefix(_SAYS)}" if paused else "can be read again, and goes on"
    tables.events.append(
        Event(
            at_s=now,
            kind=EventKind.ROLLOUT_PAUSED if paused else EventKind.ROLLOUT_RESUMED,
            actor=SERVER,
            summary=f"{what}: {said}"[:500],
            severity=Severity.ERROR if paused else Severity.INFO,
            model=rollout.model,
            version=rollout.version,
            rollout=rollout.id,
        )
    )
