"""What a device with a new store is told: everything again, but of a site that moves whole what its site has.

A new store holds nothing, so nothing that was decided about the old one can be left to it: at a site that committed it
gets the release together with the decision; elsewhere it first gets what it served before, and tries the release with
its site once it has that to go back to.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from pinnace_contract.ids import DeviceId, RolloutId
from pinnace_contract.latest import Cause
from pinnace_server.domain import planner
from pinnace_server.domain.records import (
    SERVER,
    UNDER_WAY,
    Assignment,
    Device,
    DeviceState,
    Member,
    MemberState,
    Rollout,
    RolloutState,
)
from pinnace_server.service import going_back, observing, siting
from pinnace_server.service.changes import ChangedDevices
from pinnace_server.service.condition import refreshed
from pinnace_server.service.executing import execute
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.rollouts import Rollouts
from pinnace_server.service.sets import save_set
from pinnace_server.service.siting import Again

BATCH: Final = 200  # in one tick
LOOK_AT_ALL_EVERY_S: Final = 3_600.0

_log = logging.getLogger(__name__)


class Reissuing:
    """Says it again; for the controller's thread."""

    def __init__(self, world: World, rollouts: Rollouts) -> None:
        self._world = world
        self._rollouts = rollouts
        self._changes = ChangedDevices()
        self._looked_at_all_s: float | None = None
        world.changes.subscribe(self._changes.heard)

    def reissue(self) -> None:
        """Say everything again to devices whose store is new, under a new generation.

        A new store is heard of; everybody is looked at now and then all the same, and while there are many.
        """
        changed, last_s, now = self._changes.take(), self._looked_at_all_s, self._world.clock.now()
        self._looked_at_all_s = None  # an error on the way: everybody, next time
        everybody = last_s is None or not 0 <= now - last_s < LOOK_AT_ALL_EVERY_S
        with self._world.store.read() as tables:
            stale = tables.assignments.stale(BATCH, None if everybody else changed)
        told = sum([self._tell(old.device) for old in stale])
        if told == len(stale) < BATCH:
            self._looked_at_all_s = now if everybody else last_s

    def _tell(self, device: DeviceId) -> bool:
        """Tell one device; return whether it was."""
        try:
            with self._world.store.write() as tables:
                topics = self._reissue(tables, device)
        except Exception:  # a bad row of one device must not keep the others waiting
            _log.exception("device %s cannot be told everything again, and is tried again", device)
            return False
        self._world.changes.notify(topics)
        return True

    def _reissue(self, tables: Tables, name: DeviceId) -> list[str]:
        device = tables.devices.get(name)
        if device is None or device.unadopted or device.state not in (DeviceState.ACTIVE, DeviceState.PENDING):
            return []
        known = tables.assignments.of([name])
        again = {each.model: siting.said_again(tables, each) for each in known}
        back = [each for each in known if again[each.model] is Again.BACK]
        told = [each for each in known if again[each.model] is not Again.BACK]
        generation = planner.next_generation(device)
        said = tuple(
            replace(each.entry, site_atomic=False, site="", lease_s=0)
            if again[each.model] is Again.ALONE
            else each.entry
            for each in told
        )
        for assignment, entry in zip(told, planner.reissued(said, generation), strict=True):
            tables.assignments.save(
                replace(assignment, entry=entry, outcome=None, cause=Cause.NONE, detail="", ended_at_s=None)
            )
            self._follow(tables, assignment, generation)
        device = refreshed(tables, replace(device, generation=generation))
        tables.devices.save(device)
        if not back:
            save_set(tables, self._world, device, generation)
        made = [self._take_back(tables, device, each) for each in back]
        topics = [f"device:{name}", "devices", "events", "rollouts"]
        return [*topics, *(f"rollout:{each.rollout}" for each in known), *(f"rollout:{each.id}" for each in made)]

    def _follow(self, tables: Tables, assignment: Assignment, generation: int) -> None:
        """Let the member go by the new generation, which the next receipts are about.

        How it ended on the old store stays evidence; but whoever keeps a release for its site keeps it no longer.
        """
        member = tables.rollouts.member(assignment.rollout, assignment.device)
        if member is None or member.generation != assignment.entry.generation:
            return
        member = replace(member, generation=generation)
        if assignment.entry.site_atomic and member.state is MemberState.COMMITTED:
            member = replace(member, state=MemberState.ASSIGNED, changed_at_s=self._world.clock.now())
        tables.rollouts.save_members([member])

    def _take_back(self, tables: Tables, device: Device, assignment: Assignment) -> Rollout:
        """Give a device what it served before a release that its site has not, or not yet; return that rollout."""
        now, site, entry = self._world.clock.now(), assignment.entry.site, assignment.entry
        rollout = going_back.backwards(
            tables,
            assignment.model,
            [_before(tables, device, assignment, now)],
            ids=self._rollouts.new_ids(),
            actor=SERVER,
            reason=f"{device.id} has a new store, and site {site} has not committed rollout {entry.rollout}",
            now=now,
        )
        self._leave(tables, assignment, now)
        members = tables.rollouts.members(rollout.id)
        observed = observing.observe(tables, rollout, members)
        plan, _ = planner.plan(observing.policy_of(tables, rollout, members), observed, None, now)
        assert plan is not None, "a device that may be told is told"
        execute(tables, self._world, rollout, plan, observed, now)
        tables.rollouts.save(replace(rollout, plan=plan.id))
        return rollout

    def _leave(self, tables: Tables, assignment: Assignment, now: float) -> None:
        """Let the member wait for its site again, or go back with it, if it was under way."""
        rollout = tables.rollouts.get(assignment.rollout)
        member = tables.rollouts.member(assignment.rollout, assignment.device)
        if rollout is None or member is None or member.state not in UNDER_WAY:
            return
        undecided = siting.ruling_about(tables, assignment) is None and rollout.state is RolloutState.ACTIVE
        if undecided:
            member = replace(member, state=MemberState.WAITING, generation=0)
        else:
            detail = "its store is new, and its site went back"
            member = replace(member, state=MemberState.REVERTED, cause=Cause.SITE_REVERTED, detail=detail)
        tables.rollouts.save_members([replace(member, changed_at_s=now)])


def _before(tables: Tables, device: Device, assignment: Assignment, now: float) -> Member:
    """Return where a device goes that holds nothing any more: to what it served, or it has no release of the model."""
    before = assignment.before
    version = tables.versions.of_release(before.release) if before is not None else None
    member = Member(rollout=RolloutId(""), device=device.id, release=None, changed_at_s=now)
    if before is None or version is None or version.withdrawn is not None:
        return member
    others = tuple(each for each in going_back.variants_for(version, device) if each != before.variant)
    return replace(member, release=version.release, variants=(before.variant, *others))
