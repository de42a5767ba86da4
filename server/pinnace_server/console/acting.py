"""The few actions of the console, carried out by the same services as the API's."""

from __future__ import annotations

from pinnace_contract.ids import DeviceId, ModelName, RolloutId
from pinnace_server.service.rollouts import Rollouts


class ServerActions:
    """``ports.Actions``."""

    def __init__(self, rollouts: Rollouts) -> None:
        self._rollouts = rollouts

    def assign(self, *, model: str, version: str, selector: str, actor: str) -> int:
        """Assign a version to what a selector means; return how many devices that is."""
        rollout = self._rollouts.assign(model=ModelName(model), version=version, selected=selector, actor=actor)
        return sum(self._rollouts.counts([rollout.id]).get(rollout.id, {}).values())

    def revert(self, *, device: str, model: str, actor: str) -> str:
        """Move a device back; return the version it goes to."""
        rollout = self._rollouts.revert(device=DeviceId(device), model=ModelName(model), actor=actor)
        return rollout.version or ""

    def roll_back(self, *, rollout: str, actor: str) -> int:
        """Halt a rollout and move its devices back; return how many."""
        made = self._rollouts.roll_back(RolloutId(rollout), reason=f"rolled back by {actor}", actor=actor)
        return sum(self._rollouts.counts([made.id]).get(made.id, {}).values())
