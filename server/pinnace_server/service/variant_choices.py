"""Which variant a device was dealt, by which rule and why, and what is known of its class of hardware by now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pinnace_contract.ids import ModelName, RolloutId, VersionName
from pinnace_contract.latest import Intent
from pinnace_server.domain import variants
from pinnace_server.domain.records import Device, Member, Rollout
from pinnace_server.service import memberships, rules, variant_profiles
from pinnace_server.service.ports import Tables
from pinnace_server.service.variant_profiles import Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantChoice:
    """What a device tries first in a rollout. ``rule`` is the policy's in words, empty for a plain assignment;
    ``order`` are the variants as it tries them, by what they are called; ``measured`` is of today."""

    model: ModelName
    version: VersionName
    rollout: RolloutId
    rule: str
    order: tuple[str, ...]
    why: str
    hardware: str
    measured: tuple[Measured, ...]


def of_member(tables: Tables, rollout: Rollout, member: Member, device: Device) -> VariantChoice | None:
    """Return what one was dealt; None: it goes back, or there was nothing to choose. Of a policy that cannot be read
    no rule is told."""
    version = tables.versions.of_release(member.release) if member.release is not None else None
    if version is None or rollout.intent is not Intent.UPGRADE:
        return None
    listed = version.body.variants
    by_digest = {each.digest: each for each in listed}
    order = [by_digest[each] for each in member.variants if each in by_digest]
    if len(listed) < 2 or not order:
        return None
    policy = None if rules.unreadable(rollout) else rules.policy_of(rollout)
    rule = policy.variant if policy is not None else None
    return VariantChoice(
        model=version.model,
        version=version.version,
        rollout=rollout.id,
        rule=variants.in_words(rule) if rule is not None else "",
        order=tuple(variants.label(each, listed) for each in order),
        why=variants.explained(rule, order, listed, member.chosen, device.hardware),
        hardware=device.hardware,
        measured=variant_profiles.measured(tables, version, device.hardware),
    )


def of_device(tables: Tables, device: Device) -> Sequence[VariantChoice]:
    """Return what a device was dealt by each rollout that it has a part in."""
    found = (of_member(tables, *part, device) for part in memberships.of_device(tables, device.id))
    return tuple(each for each in found if each is not None)
