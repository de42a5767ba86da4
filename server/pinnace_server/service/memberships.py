"""Which rollouts a device has a part in: those under way, and for each other model the one that it was last told by."""

from __future__ import annotations

from pinnace_contract.ids import DeviceId
from pinnace_server.domain.records import Member, Rollout, RolloutState
from pinnace_server.service.ports import Tables


def of_device(tables: Tables, device: DeviceId) -> list[tuple[Rollout, Member]]:
    """Return a device's parts, those in rollouts under way first; of ended ones those of models without."""
    parts = [
        (rollout, member)
        for rollout in tables.rollouts.active()
        if (member := tables.rollouts.member(rollout.id, device)) is not None
    ]
    models = {rollout.model for rollout, _ in parts}
    for assignment in tables.assignments.of([device]):
        rollout = tables.rollouts.get(assignment.rollout)
        member = tables.rollouts.member(assignment.rollout, device)
        if rollout is None or member is None or rollout.model in models or rollout.state is RolloutState.ACTIVE:
            continue
        parts.append((rollout, member))
    return parts
