"""Which of several rollouts on one device and model goes first; the others wait, or leave the device alone.

What moves devices back pre-empts. Then comes what takes over (``supersedes``), the newest first; then the higher
priority, and of equals the older. A plain assignment takes over while it is under way and claims nothing afterwards; a
rollout in waves keeps its devices until it ends, because they are its evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pinnace_contract.ids import RolloutId


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One active rollout that has the device."""

    rollout: RolloutId
    goes_back: bool = False
    supersedes: bool = False
    priority: int = 50
    created_at_s: float

    @property
    def _order(self) -> tuple[object, ...]:
        if self.goes_back:
            return (0, -self.created_at_s, self.rollout)
        if self.supersedes:
            return (1, -self.created_at_s, self.rollout)
        return (2, -self.priority, self.created_at_s, self.rollout)


def rival(mine: Claim, others: Sequence[Claim]) -> RolloutId | None:
    """Return the rollout that goes before ``mine``; None: none does."""
    first = min((mine, *others), key=lambda each: each._order)
    return None if first is mine else first.rollout
