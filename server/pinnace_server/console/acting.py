"""The few actions of the console, carried out by the same services as the API's."""

from __future__ import annotations

from pinnace_contract.ids import DeviceId, ModelName, RolloutId
from pinnace_server import policy_text
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.service.rollouts import Rollouts
from pinnace_server.service.steering import Steering


class ServerActions:
    """``ports.Actions``."""

    def __init__(self, rollouts: Rollouts, steering: Steering) -> None:
        self._rollouts = rollouts
        self._steering = steering

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

    def cancel(self, *, rollout: str, reason: str, actor: str) -> None:
        """Stop a rollout where it is."""
        self._rollouts.cancel(RolloutId(rollout), reason=reason or f"cancelled by {actor}", actor=actor)

    def begin(self, *, model: str, version: str, policy: str, reason: str, actor: str) -> str:
        """Begin a rollout in waves; return its id."""
        read = reading.read(policy_text.parse(policy))
        made = self._steering.begin(
            model=ModelName(model), version=version, policy=read, reason=reason, actor=actor, people=(actor,)
        )
        return made.id

    def pause(self, *, rollout: str, reason: str, actor: str) -> None:
        """Begin nothing new until it is resumed."""
        self._steering.pause(RolloutId(rollout), reason=reason, actor=actor)

    def resume(self, *, rollout: str, reason: str, actor: str) -> None:
        """Go on after a pause."""
        self._steering.resume(RolloutId(rollout), reason=reason, actor=actor)

    def approve(self, *, rollout: str, wave: int, actor: str) -> None:
        """Agree that a wave may begin."""
        self._steering.approve(RolloutId(rollout), wave, actor=actor)

    def promote(self, *, rollout: str, wave: int, reason: str, actor: str) -> None:
        """Decide for the gates of a wave."""
        self._steering.promote(RolloutId(rollout), wave, reason=reason, actor=actor)

    def retry(self, *, rollout: str, actor: str) -> int:
        """Let the devices on which it ended badly try again; return how many."""
        return self._steering.retry(RolloutId(rollout), actor=actor)
