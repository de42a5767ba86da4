"""The cohort of a rollout in waves: who is dealt into which wave at the start, who joins later, and who is let go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pinnace_contract.ids import DeviceId, RolloutId
from pinnace_server.domain import selector, waves
from pinnace_server.domain.ramp import Wave
from pinnace_server.domain.records import (
    SERVER,
    Device,
    Event,
    EventKind,
    Member,
    MemberState,
    Rollout,
    RolloutState,
    Version,
)
from pinnace_server.domain.rollout_policy.policy import SITE_LABEL, Membership, RolloutPolicy
from pinnace_server.domain.variants import Choice
from pinnace_server.domain.waves import Candidate
from pinnace_server.service import matching, rules
from pinnace_server.service.matching import Match
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.variant_profiles import Chooser

JOINERS_MAX: Final = 1_000  # in one transaction; the others join at the next look
NARROWED: Final = "the cohort was narrowed, and means it no more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealt:
    """A cohort, the wave of each of its devices (the holdback has the number after the last wave's), and the order in
    which each tries the variants."""

    match: Match
    numbers: Mapping[DeviceId, int]
    choices: Mapping[DeviceId, Choice]


def cohort(tables: Tables, version: Version, policy: RolloutPolicy) -> Match:
    """Return the devices that a policy means now, and those that cannot take the version."""
    of = policy.cohort
    known = tables.devices.matching(selector.EVERY_DEVICE if of.trust_reported else of.selector)
    meant = [each for each in known if of.means(each.id, each.labels, each.reported_labels)]
    return matching.match(tables, version, meant, bytes_max=policy.budgets.bytes_per_device_max)


def deal(tables: Tables, version: Version, policy: RolloutPolicy) -> Dealt:
    """Deal the devices that a policy means now."""
    found, salt = cohort(tables, version, policy), waves.salt_of(version.model, version.version)
    chooser = Chooser(tables, version, policy)
    return Dealt(
        match=found,
        numbers=waves.deal(salt, policy, [_candidate(each) for each in found.devices]),
        choices={each.id: chooser.of(each) for each in found.devices},
    )


def members_of(rollout: Rollout, version: Version, dealt: Dealt) -> list[Member]:
    """Return the members of a rollout that begins."""
    return [
        _member(rollout, version, dealt.choices[each.id], each, dealt.numbers[each.id]) for each in dealt.match.devices
    ]


def save_waves(tables: Tables, rollout: RolloutId, policy: RolloutPolicy, numbers: Mapping[DeviceId, int]) -> None:
    """Write down how many devices each wave has; what was decided about a wave stays."""
    sizes = Counter(numbers.values())
    had = {wave.number: wave for wave in tables.rollouts.waves(rollout)}
    last = waves.holdback_number(policy) - (policy.holdback is None)
    for number in range(1, last + 1):
        wave = had.get(number, Wave(number=number, devices=0))
        tables.rollouts.save_wave(rollout, replace(wave, devices=sizes[number]))


def join(world: World, name: RolloutId) -> Sequence[DeviceId]:
    """Let those join whom a dynamic cohort means by now; they go where their hash says, and move nobody."""
    with world.store.read() as tables:
        rollout = tables.rollouts.get(name)
        policy = rules.policy_of(rollout) if rollout is not None else None
        if policy is None or policy.cohort.membership is Membership.STATIC:
            return ()
    with world.store.write() as tables:
        return _joined(tables, name, world.clock.now(), SERVER)


def change(tables: Tables, rollout: Rollout, policy: RolloutPolicy, now: float, actor: str) -> tuple[int, int]:
    """Let a rollout mean what a policy's cohort says from now on: return how many joined, and how many were let go.

    Only devices that still wait are let go; the others are evidence, and go back only with the rollout.
    """
    tables.rollouts.save(replace(rollout, rules=rules.text_of(policy), selector=str(policy.cohort.selector)))
    version = _version(tables, rollout)
    found = cohort(tables, version, policy)
    meant = {each.id for each in found.devices} | found.excluded.keys()  # one in quarantine is meant all the same
    members = tables.rollouts.members(rollout.id)
    gone = [each for each in members if each.state is MemberState.WAITING and each.device not in meant]
    back = [each for each in members if _was_let_go(each) and each.device in meant]
    tables.rollouts.save_members(
        replace(each, state=MemberState.SKIPPED, detail=NARROWED, changed_at_s=now) for each in gone
    )
    tables.rollouts.save_members(replace(each, state=MemberState.WAITING, detail="", changed_at_s=now) for each in back)
    save_waves(tables, rollout.id, policy, _numbers(tables, rollout.id))
    joined = _joined(tables, rollout.id, now, actor)
    return len(joined) + len(back), len(gone)


def _joined(tables: Tables, name: RolloutId, now: float, actor: str) -> list[DeviceId]:
    rollout = tables.rollouts.get(name)
    policy = rules.policy_of(rollout) if rollout is not None else None
    if rollout is None or policy is None or rollout.state is not RolloutState.ACTIVE:
        return []
    version = _version(tables, rollout)
    before = {each.device: each.wave for each in tables.rollouts.muster(name)}
    new = [each for each in cohort(tables, version, policy).devices if each.id not in before][:JOINERS_MAX]
    if not new:
        return []
    dynamic = replace(policy, cohort=replace(policy.cohort, membership=Membership.DYNAMIC))
    salt = waves.salt_of(version.model, version.version)
    dealt = waves.join(salt, dynamic, [_candidate(each) for each in new], before)
    # No gate looks back at a wave that was promoted, so nobody joins one.
    first = next((each.number for each in tables.rollouts.waves(name) if each.promoted_at_s is None), 1)
    numbers = {each.id: max(dealt[each.id], first) for each in new}
    chooser = Chooser(tables, version, policy)
    tables.rollouts.save_members(
        replace(_member(rollout, version, chooser.of(each), each, numbers[each.id]), changed_at_s=now) for each in new
    )
    save_waves(tables, name, policy, _numbers(tables, name))
    tables.events.append(_told(rollout, [each.id for each in new], now, actor))
    return [each.id for each in new]


def _numbers(tables: Tables, name: RolloutId) -> dict[DeviceId, int]:
    """Return the waves of everybody who was not let go."""
    return {each.device: each.wave for each in tables.rollouts.muster(name) if each.state is not MemberState.SKIPPED}


def _was_let_go(member: Member) -> bool:
    return member.state is MemberState.SKIPPED and member.detail == NARROWED


def _version(tables: Tables, rollout: Rollout) -> Version:
    version = tables.versions.of_release(rollout.release) if rollout.release is not None else None
    assert version is not None, "a rollout in waves goes to a version"
    return version


def _candidate(device: Device) -> Candidate:
    return Candidate(device=device.id, hardware=device.hardware, site=device.labels.get(SITE_LABEL, ""))


def _member(rollout: Rollout, version: Version, choice: Choice, device: Device, wave: int) -> Member:
    return Member(
        rollout=rollout.id,
        device=device.id,
        wave=wave,
        release=version.release,
        variants=choice.variants,
        chosen=choice.why,
        changed_at_s=rollout.created_at_s,
    )


def _told(rollout: Rollout, joined: Sequence[DeviceId], now: float, actor: str) -> Event:
    n, shown = len(joined), ", ".join(joined[:5])
    return Event(
        at_s=now,
        kind=EventKind.COHORT_CHANGED,
        actor=actor,
        summary=f"{n} device{'s' * (n != 1)} joined the rollout of {rollout.model} {rollout.version}: {shown}"
        + (" …" if n > 5 else ""),
        model=rollout.model,
        version=rollout.version,
        rollout=rollout.id,
        data={"joined": str(n)},
    )
