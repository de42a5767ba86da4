"""Which devices of a rollout another one goes first on: the claims of the active rollouts of its model, from rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pinnace_contract.ids import DeviceId, RolloutId
from pinnace_contract.latest import Intent
from pinnace_server.domain import ownership
from pinnace_server.domain.ownership import Claim
from pinnace_server.domain.records import UNDER_WAY, Member, MemberState, Rollout
from pinnace_server.service import rules
from pinnace_server.service.ports import Tables

_UNDER_WAY: Final = UNDER_WAY | {MemberState.WAITING}
_KEPT: Final = _UNDER_WAY | {MemberState.COMMITTED}


def rivals(tables: Tables, rollout: Rollout, devices: Sequence[DeviceId] | None) -> dict[DeviceId, RolloutId]:
    """Return, for those of these devices (None: all) on which another rollout goes first, which one that is."""
    others = [each for each in tables.rollouts.active() if each.model == rollout.model and each.id != rollout.id]
    if not others:
        return {}
    mine, claims = _claim(rollout), dict[DeviceId, list[Claim]]()
    for other in others:
        claim, keeps = _claim(other), _KEPT if other.rules or other.backlog is not None else _UNDER_WAY
        members = (
            tables.rollouts.members(other.id) if devices is None else tables.rollouts.some_members(other.id, devices)
        )
        for member in [*members, *_to_be_taken_in(tables, other, devices)]:
            if member.state in keeps:
                claims.setdefault(member.device, []).append(claim)
    found = ((device, ownership.rival(mine, theirs)) for device, theirs in claims.items())
    return {device: first for device, first in found if first is not None}


def under_way_elsewhere(tables: Tables, rollout: Rollout) -> set[DeviceId]:
    """Return the devices that another rollout of the model told something, whoever goes first on them."""
    others = [each for each in tables.rollouts.active() if each.model == rollout.model and each.id != rollout.id]
    return {each.device for other in others for each in tables.rollouts.members_in(other.id, UNDER_WAY)}


def _to_be_taken_in(tables: Tables, rollback: Rollout, devices: Sequence[DeviceId] | None) -> Sequence[Member]:
    """Return the members of a rollout that was ended which its rollback goes first on, and has not taken in yet."""
    if rollback.backlog is None or rollback.halts is None:
        return []
    halted, after = rollback.halts, rollback.backlog.after
    members = tables.rollouts.members(halted) if devices is None else tables.rollouts.some_members(halted, devices)
    return [each for each in members if each.device > after and each.state is not MemberState.WAITING]


def _claim(rollout: Rollout) -> Claim:
    """Return a rollout's claim. One whose policy cannot be read claims as an ordinary one does."""
    policy = None if rules.unreadable(rollout) else rules.policy_of(rollout)
    return Claim(
        rollout=rollout.id,
        goes_back=rollout.intent is not Intent.UPGRADE,
        supersedes=not rollout.rules if policy is None else policy.supersedes,
        created_at_s=rollout.created_at_s,
        **({} if policy is None else {"priority": policy.priority}),
    )
