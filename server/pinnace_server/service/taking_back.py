"""Taking a rollout back: from its first transaction on it tells nobody, and its rollback takes its devices in by steps.

To work out where each device of a large fleet goes back to takes a minute, for which no message of a device may wait.
So the rollback notes behind which device it has yet to look (``Backlog``), in the transaction of each step: a server
that is killed in between goes on from there, and whoever was not taken in yet is nobody else's meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from pinnace_contract.ids import RolloutId
from pinnace_server.domain.records import (
    UNDER_WAY,
    Assignment,
    Backlog,
    Event,
    EventKind,
    Leaves,
    Member,
    MemberState,
    Rollout,
    RolloutState,
    Severity,
)
from pinnace_server.service import going_back, siting
from pinnace_server.service.ports import Tables, World

STEP: Final = 200  # members looked at in one transaction, during which ingest waits
STEPS: Final = 5  # of one rollback in one tick; a tick signs a fifth of that
_EVERYBODY: Final = 2**31

_log = logging.getLogger(__name__)


def begin(
    tables: Tables,
    ended: Rollout,
    backlog: Backlog,
    *,
    ids: tuple[RolloutId, RolloutId],
    actor: str,
    reason: str,
    now: float,
    at_once: bool = False,
    even_empty: bool = False,
) -> Rollout | None:
    """Begin the rollback of a rollout that was ended with the first of its devices; None: there is nobody.

    ``at_once``: with all of them, however many.
    """
    members, rest = _next(tables, ended, backlog, actor, now, _EVERYBODY if at_once else STEP)
    if not members and rest is None and not even_empty:
        return None
    return going_back.backwards(
        tables, ended.model, members, ids=ids, actor=actor, reason=reason, now=now, halts=ended.id, backlog=rest
    )


class TakingBack:
    """Takes in who is left; for the controller's thread."""

    def __init__(self, world: World, new_ids: Callable[[], tuple[RolloutId, RolloutId]]) -> None:
        self._world = world
        self._new_ids = new_ids

    def take_in(self) -> None:
        """Take the next devices into every rollback that has not everybody yet."""
        with self._world.store.read() as tables:
            due = [each.id for each in tables.rollouts.active() if each.backlog is not None]
        for name in due:
            try:
                for _ in range(STEPS):
                    if not self._step(name):
                        break
            except Exception:  # a bad row under one rollback must not keep another from going back
                _log.exception("rollback %s cannot take in its next devices and tries again", name)

    def _step(self, name: RolloutId) -> bool:
        """Take in some; tell whether there may be more."""
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            rollback = tables.rollouts.get(name)
            if rollback is None or rollback.backlog is None or rollback.state is not RolloutState.ACTIVE:
                return False
            ended = tables.rollouts.get(rollback.halts) if rollback.halts is not None else None
            assert ended is not None, "a rollback with a backlog names what it halts"
            members, rest = _next(tables, ended, rollback.backlog, rollback.actor, now, STEP)
            kept, removed = going_back.apart(members)
            if removed:
                rest = self._remove(tables, rollback, removed, rest, now)
            tables.rollouts.save(replace(_to_one_version(tables, rollback, kept), backlog=rest))
            tables.rollouts.save_members(replace(each, rollout=name) for each in kept)
        topics = ["rollouts", f"rollout:{name}", "events", *(f"device:{each.device}" for each in members)]
        self._world.changes.notify(topics)
        return rest is not None

    def _remove(
        self, tables: Tables, rollback: Rollout, members: Sequence[Member], rest: Backlog | None, now: float
    ) -> Backlog | None:
        """Let members that go nowhere lose the model, by the removal that is under way or by another one."""
        known = rollback.backlog.beside if rollback.backlog is not None else None
        removal = tables.rollouts.get(known) if known is not None else None
        if removal is not None and removal.state is RolloutState.ACTIVE:
            tables.rollouts.save_members(replace(each, rollout=removal.id) for each in members)
            return rest
        made = going_back.backwards(
            tables,
            rollback.model,
            members,
            ids=self._new_ids(),
            actor=rollback.actor,
            reason=rollback.reason,
            now=now,
            halts=rollback.halts,
        )
        return replace(rest, beside=made.id) if rest is not None else None


def _to_one_version(tables: Tables, rollback: Rollout, more: Sequence[Member]) -> Rollout:
    """Return a rollback with the version that all of its devices go to, where there is one."""
    if not any(each.release is not None for each in more):
        return rollback
    only = going_back.only_version(tables, more)
    if only is not None and only.release == rollback.release:
        return rollback
    if only is not None and not tables.rollouts.counts([rollback.id]).get(rollback.id):  # these are the first
        return replace(rollback, version=only.version, release=only.release)
    return replace(rollback, version=None, release=None)


def _next(
    tables: Tables, ended: Rollout, backlog: Backlog, actor: str, now: float, limit: int
) -> tuple[list[Member], Backlog | None]:
    """Return where the next devices go back to, and what is left after them; None: nobody."""
    some = tables.rollouts.members_after(ended.id, backlog.after, limit)
    found = tables.assignments.of([member.device for member in some])
    told = {each.device: each for each in found if each.model == ended.model and each.rollout == ended.id}
    going = [each for each in some if _goes(tables, each, told.get(each.device), backlog.leaves)]
    going.sort(key=lambda each: (each.wave, each.device))
    members = going_back.members_back(tables, ended, going, now, removes=backlog.removes)
    for member in members:
        if member.state is MemberState.SKIPPED:
            tables.events.append(_no_fallback(ended, member, actor, now))
    return members, replace(backlog, after=some[-1].device) if len(some) == limit else None


def _goes(tables: Tables, member: Member, told: Assignment | None, leaves: Leaves) -> bool:
    """Tell whether a device goes back. ``told`` None: this rollout was not the last that told it something."""
    if told is None:
        return False
    if member.state is MemberState.WAITING:  # it was told, and was to be told again
        return told.outcome is None and leaves is not Leaves.KEEPING
    stays_with_its_site = member.state is MemberState.ASSIGNED and siting.is_to_commit(tables, told)
    match leaves:
        case Leaves.TOLD:
            return True
        case Leaves.UNDER_WAY:
            return member.state in UNDER_WAY and not stays_with_its_site
        case Leaves.KEEPING:
            return member.state is MemberState.COMMITTED or stays_with_its_site


def _no_fallback(rollout: Rollout, member: Member, actor: str, now: float) -> Event:
    return Event(
        at_s=now,
        kind=EventKind.NO_FALLBACK,
        actor=actor,
        summary=f"{member.device} stays on {rollout.model} {rollout.version}: {member.detail}",
        severity=Severity.ERROR,
        device=member.device,
        model=rollout.model,
        version=rollout.version,
        rollout=rollout.id,
    )
