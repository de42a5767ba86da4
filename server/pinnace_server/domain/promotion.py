"""Whether a version may become what an alias points at: a rule, what its rollouts came to, and who approved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pinnace_contract.ids import RolloutId, VersionName
from pinnace_server.domain.aliases import AliasRule, Approval
from pinnace_server.domain.records import MemberState, RolloutState

# A device that refused the release has not proven it either.
FAILURES: Final = (MemberState.FAILED, MemberState.REVERTED, MemberState.REJECTED)


class Need(StrEnum):
    """What a promotion can lack."""

    SOURCE = "source"
    ROLLOUT = "rollout"
    APPROVALS = "approvals"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """An upgrade rollout of the version that has ended by itself or by a gate. ``devices`` counts them by state."""

    rollout: RolloutId
    state: RolloutState
    reason: str = ""
    ended_at_s: float
    devices: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """One thing that is missing, in words."""

    need: Need
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a promotion would rest on, and what it lacks: nothing means that it may be done."""

    rollout: RolloutId | None
    approved_by: tuple[str, ...]
    lacks: tuple[Lack, ...]


def judge(
    rule: AliasRule, version: VersionName | None, tried: Sequence[Tried], approvals: Sequence[Approval]
) -> Verdict:
    """Judge a rule. ``version`` is what the rule's source points at, None where it points at nothing.

    Of the version's rollouts the one that ended last counts: success after a halt heals, success before one does not.
    """
    if version is None:
        lack = Lack(need=Need.SOURCE, words=f"{rule.source} points at no version")
        return Verdict(rollout=None, approved_by=(), lacks=(lack,))
    lacks: list[Lack] = []
    newest = max(tried, key=lambda each: (each.ended_at_s, each.rollout), default=None)
    if rule.rollout and (problem := _problem(rule, newest)):
        lacks.append(Lack(need=Need.ROLLOUT, words=problem))
    people = tuple(sorted({each.person for each in approvals}))
    if len(people) < rule.approvals:
        by = f" ({', '.join(people)})" if people else ""
        words = f"{rule.approvals} different people must approve, {len(people) or 'nobody'} did{by}"
        words = "one person must approve, nobody did" if rule.approvals == 1 else words
        lacks.append(Lack(need=Need.APPROVALS, words=words))
    proven = newest.rollout if rule.rollout and newest is not None else None
    return Verdict(rollout=proven, approved_by=people, lacks=tuple(lacks))


def _problem(rule: AliasRule, newest: Tried | None) -> str:
    if newest is None:
        return "it needs a finished rollout of this version, and none has ended"
    if newest.state is not RolloutState.FINISHED:
        because = f": {newest.reason}" if newest.reason else ""
        return f"its newest rollout {newest.rollout} was {newest.state}{because}"
    failed = {state: newest.devices.get(state, 0) for state in FAILURES}
    n = sum(failed.values())
    if n > rule.failures_max:
        found = ", ".join(f"{count} {state}" for state, count in failed.items() if count)
        return f"of the devices of rollout {newest.rollout} at most {rule.failures_max} may fail, found {found}"
    if not newest.devices.get(MemberState.COMMITTED, 0):
        return f"no device committed in rollout {newest.rollout}"
    return ""
