"""What an operator does to rollouts in waves: an order of the plan becomes a call of the real service.

Whoever gives an order looks first: the rollout that it is about is the newest one of its version, and the wave the one
whose turn it is. What people decide is noted for ``wave_checks`` before it is done.
"""

from __future__ import annotations

import json
from typing import Final

from pinnace_contract.ids import ModelName, RolloutId
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.errors import Conflict
from pinnace_server.service.steering import Steering
from pinnace_sim.contention import Store
from pinnace_sim.plan import Order, OrderKind
from pinnace_sim.wave_checks import WaveChecks

WHY: Final = "the operator says so"


def begin(order: Order, steering: Steering, store: Store, *, model: ModelName, actor: str) -> RolloutId:
    """Begin a rollout in waves, or find the one that a killed server began after all.

    Raises:
        ServerError
    """
    with store.read() as tables:
        begun = [each for each in tables.rollouts.active() if each.rules and each.version == order.version]
    if begun:
        return begun[-1].id
    policy = reading.read(json.loads(order.policy))
    return steering.begin(model=model, version=order.version, policy=policy, reason=WHY, actor=actor).id


def steer(
    order: Order, rollout: RolloutId, steering: Steering, store: Store, checks: WaveChecks, *, actor: str
) -> None:
    """Do to a rollout in waves what an order says.

    Raises:
        ServerError
    """
    match order.kind:
        case OrderKind.PAUSE:
            steering.pause(rollout, reason=WHY, actor=actor)
        case OrderKind.RESUME:
            steering.resume(rollout, reason=WHY, actor=actor)
        case OrderKind.APPROVE:
            wave = order.wave or _turn(store, rollout, began=False)
            checks.agrees(rollout, wave, actor)
            steering.approve(rollout, wave, actor=actor)
        case OrderKind.PROMOTE:
            wave = order.wave or _turn(store, rollout, began=True)
            checks.promotes(rollout, wave)
            steering.promote(rollout, wave, reason=WHY, actor=actor)
        case OrderKind.RETRY:
            steering.retry(rollout, actor=actor)
        case OrderKind.COHORT:
            cohort = reading.read({"cohort": json.loads(order.policy)}).cohort
            steering.change_cohort(rollout, cohort, actor=actor)
        case _:
            raise AssertionError(f"{order.kind} is no order to a rollout in waves")


def _turn(store: Store, rollout: RolloutId, *, began: bool) -> int:
    """Return the first wave that has not begun, or that has and is not promoted."""
    with store.read() as tables:
        waves = tables.rollouts.waves(rollout)
    for each in waves:
        if (each.promoted_at_s is None) if began else (each.started_at_s is None):
            return each.number
    raise Conflict(f"rollout {rollout} has no wave left")
