"""Assignments, the sets made of them, rollouts and their members."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from pinnace_contract.ids import DeviceId, ModelName, RolloutId
from pinnace_contract.latest import Intent
from pinnace_server.domain.muster import Mustered
from pinnace_server.domain.queries import Listing, RolloutQuery
from pinnace_server.domain.ramp import Agreement, SiteOthers, Wave
from pinnace_server.domain.records import (
    Assignment,
    Counts,
    DesiredSet,
    Device,
    DeviceState,
    Member,
    MemberState,
    Rollout,
    RolloutState,
)
from pinnace_server.domain.rollout_policy.policy import SITE_LABEL, ZONE_LABEL
from pinnace_server.domain.sites import SiteRuling
from pinnace_server.domain.statuses import is_online
from pinnace_sim.memory.lists import cut
from pinnace_sim.memory.tables import Disk

_MAY_GET_NEW: Final = (DeviceState.PENDING, DeviceState.ACTIVE)
_OWNING: Final = (RolloutState.ACTIVE, RolloutState.FINISHED)


class MemoryAssignments:
    """``ports.Assignments``."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def get(self, device: DeviceId, model: ModelName) -> Assignment | None:
        return self._disk.assignments.get(device, {}).get(model)

    def of(self, devices: Iterable[DeviceId]) -> Sequence[Assignment]:
        return [each for device in sorted(set(devices)) for each in self._disk.assignments.get(device, {}).values()]

    def save(self, assignment: Assignment) -> None:
        self._disk.need_device(assignment.device)
        had = self._disk.assignments.get(assignment.device, {})
        before = had.get(assignment.model)
        now = {**had, assignment.model: assignment}
        if before is None:
            now = {model: now[model] for model in sorted(now)}
        self._disk.undo.put(self._disk.assignments, assignment.device, now)
        if before is None or before.rollout != assignment.rollout:
            self._own(assignment.rollout, 1)
            if before is not None:
                self._own(before.rollout, -1)

    def desired(self, device: DeviceId) -> DesiredSet | None:
        return self._disk.desired.get(device)

    def save_desired(self, desired: DesiredSet) -> None:
        self._disk.need_device(desired.device)
        self._disk.undo.put(self._disk.desired, desired.device, desired)
        self._disk.undo.mark(self._disk.unsigned, desired.device, desired.signed_at_s is None)
        self._disk.judge_staleness(desired.device)

    def unsigned(self, limit: int) -> Sequence[DesiredSet]:
        found = [
            self._disk.desired[device]
            for device in self._disk.unsigned
            if self._disk.devices[device].state is not DeviceState.DECOMMISSIONED
        ]
        found.sort(
            key=lambda each: (
                not each.assignments.site_decisions,
                self._moves_on(each),
                each.generation,
                each.device,
            )
        )
        return found[:limit]

    def _moves_on(self, desired: DesiredSet) -> bool:
        """Tell whether a set was made to move its device on."""
        newest = (each for each in self.of([desired.device]) if each.entry.generation == desired.generation)
        return any(
            each.rollout in self._disk.rollouts and self._disk.rollouts[each.rollout].intent is Intent.UPGRADE
            for each in newest
        )

    def owe(self, devices: Iterable[DeviceId]) -> None:
        fresh = [each for each in dict.fromkeys(devices) if each not in self._disk.owed]
        for number, device in enumerate(fresh, max(self._disk.owed.values(), default=0) + 1):
            self._disk.need_device(device)
            self._disk.undo.put(self._disk.owed, device, number)

    def owed(self, limit: int) -> Sequence[DeviceId]:
        return sorted(self._disk.owed, key=lambda device: self._disk.owed[device])[:limit]

    def settle(self, device: DeviceId) -> None:
        if device in self._disk.owed:
            self._disk.undo.drop(self._disk.owed, device)

    def stale(self, limit: int, among: Iterable[DeviceId] | None = None) -> Sequence[DesiredSet]:
        stale = self._disk.stale if among is None else self._disk.stale.keys() & set(among)
        devices = sorted(name for name in stale if self._disk.devices[name].state in _MAY_GET_NEW)
        return [self._disk.desired[device] for device in devices[:limit]]

    def _own(self, rollout: RolloutId, more: int) -> None:
        owned = self._disk.owned.get(rollout, 0) + more
        if owned:
            self._disk.undo.put(self._disk.owned, rollout, owned)
        else:
            self._disk.undo.drop(self._disk.owned, rollout)


class MemoryRollouts:
    """``ports.Rollouts``."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def get(self, rollout: RolloutId) -> Rollout | None:
        return self._disk.rollouts.get(rollout)

    def save(self, rollout: Rollout) -> None:
        rollout = replace(rollout, verdict=dict(rollout.verdict))
        self._disk.undo.put(self._disk.rollouts, rollout.id, rollout)
        self._disk.undo.mark(self._disk.active, rollout.id, rollout.state is RolloutState.ACTIVE)

    def listing(self, query: RolloutQuery) -> Listing[Rollout]:
        found = [
            each
            for each in self._disk.rollouts.values()
            if (query.model is None or each.model == query.model) and (query.state is None or each.state is query.state)
        ]
        return cut(sorted(found, key=_age, reverse=True), query.page)

    def active(self) -> Sequence[Rollout]:
        return sorted((self._disk.rollouts[name] for name in self._disk.active), key=_age)

    def owning(self) -> Sequence[Rollout]:
        # An assignment may name a rollout that is not there: no key holds it, in SQL either.
        owners = [self._disk.rollouts[name] for name in self._disk.owned if name in self._disk.rollouts]
        judged = [each for each in owners if each.state in _OWNING and each.intent is Intent.UPGRADE]
        return sorted(judged, key=_age)

    def members(self, rollout: RolloutId) -> Sequence[Member]:
        members = self._disk.members.get(rollout, {}).values()
        return sorted(members, key=lambda each: (each.wave, each.device))

    def members_in(self, rollout: RolloutId, states: Collection[MemberState]) -> Sequence[Member]:
        return [each for each in self.members(rollout) if each.state in states]

    def members_after(self, rollout: RolloutId, after: DeviceId, limit: int) -> Sequence[Member]:
        behind = (each for each in self._disk.members.get(rollout, {}).values() if each.device > after)
        return sorted(behind, key=lambda each: each.device)[:limit]

    def member(self, rollout: RolloutId, device: DeviceId) -> Member | None:
        return self._disk.members.get(rollout, {}).get(device)

    def some_members(self, rollout: RolloutId, devices: Iterable[DeviceId]) -> Sequence[Member]:
        members = self._disk.members.get(rollout, {})
        found = [members[device] for device in set(devices) if device in members]
        return sorted(found, key=lambda each: (each.wave, each.device))

    def muster(self, rollout: RolloutId) -> Sequence[Mustered]:
        return [_mustered(member, self._disk.devices[member.device]) for member in self.members(rollout)]

    def mustered_near(self, rollout: RolloutId, waves: Collection[int]) -> Sequence[Mustered]:
        found = (each for each in self.members(rollout) if each.wave in waves or each.state is MemberState.ASSIGNED)
        return [_mustered(member, self._disk.devices[member.device]) for member in found]

    def mustered_at(self, rollout: RolloutId, sites: Iterable[str]) -> Sequence[Mustered]:
        asked, devices = frozenset(sites), self._disk.devices
        found = (each for each in self.members(rollout) if devices[each.device].labels.get(SITE_LABEL) in asked)
        return [_mustered(member, devices[member.device]) for member in found]

    def some_mustered(self, rollout: RolloutId, devices: Iterable[DeviceId]) -> Sequence[Mustered]:
        found = self.some_members(rollout, devices)
        return [_mustered(member, self._disk.devices[member.device]) for member in found]

    def waiting_behind(self, rollout: RolloutId, wave: int) -> Sequence[DeviceId]:
        behind = (each for each in self.members(rollout) if each.wave > wave and each.state is MemberState.WAITING)
        devices = self._disk.devices
        return [each.device for each in behind if devices[each.device].state is not DeviceState.QUARANTINED]

    def site_rest(self, rollout: RolloutId, begun: Collection[int], now_s: float) -> Mapping[str, SiteOthers]:
        found: dict[str, SiteOthers] = {}
        for each in self.muster(rollout):
            if each.wave not in begun and each.state is not MemberState.ASSIGNED:
                well = each.is_there(now_s) and not each.degraded
                before = found.get(each.site, SiteOthers(devices=0, healthy=0))
                found[each.site] = SiteOthers(devices=before.devices + 1, healthy=before.healthy + well)
        return found

    def site_others(self, rollout: RolloutId, now_s: float) -> Mapping[str, SiteOthers]:
        members = self._disk.members.get(rollout, {})
        found: dict[str, SiteOthers] = {}
        for device in self._disk.devices.values():
            site = device.labels.get(SITE_LABEL)
            there = device.state is DeviceState.ACTIVE and is_online(device, now_s)
            if site is not None and there and device.id not in members:
                well = not device.degraded and not device.updating
                before = found.get(site, SiteOthers(devices=0, healthy=0))
                found[site] = SiteOthers(devices=before.devices + 1, healthy=before.healthy + well)
        return found

    def wave_counts(self, rollout: RolloutId) -> Mapping[int, Mapping[MemberState, int]]:
        found: dict[int, Counter[MemberState]] = {}
        for member in self._disk.members.get(rollout, {}).values():
            found.setdefault(member.wave, Counter())[member.state] += 1
        return found

    def anybody_waits(self, rollout: RolloutId, waves: Collection[int]) -> bool:
        members = self._disk.members.get(rollout, {}).values()
        return any(each.state in (MemberState.WAITING, MemberState.READY) and each.wave in waves for each in members)

    def member_of(self, device: DeviceId, model: ModelName, generation: int) -> Member | None:
        rollouts = (self._disk.rollouts[name] for name in self._disk.members_at.get((device, generation), {}))
        newest = max((each for each in rollouts if each.model == model), key=_age, default=None)
        return None if newest is None else self._disk.members[newest.id][device]

    def save_members(self, members: Iterable[Member]) -> None:
        for member in members:
            self._save_member(member)

    def waves(self, rollout: RolloutId) -> Sequence[Wave]:
        return [wave for _, wave in sorted(self._disk.waves.get(rollout, {}).items())]

    def save_wave(self, rollout: RolloutId, wave: Wave) -> None:
        self._disk.need_rollout(rollout)
        self._disk.undo.put(self._disk.waves, rollout, self._disk.waves.get(rollout, {}) | {wave.number: wave})

    def agreements(self, rollout: RolloutId) -> Sequence[Agreement]:
        return [each for _, each in sorted(self._disk.agreements.get(rollout, {}).items())]

    def save_agreement(self, rollout: RolloutId, agreement: Agreement) -> None:
        self._disk.need_rollout(rollout)
        had = self._disk.agreements.get(rollout, {})
        now = had | {(agreement.wave, agreement.person): agreement}
        self._disk.undo.put(self._disk.agreements, rollout, now)

    def site_rulings(self, rollout: RolloutId) -> Sequence[SiteRuling]:
        return [each for _, each in sorted(self._disk.site_rulings.get(rollout, {}).items())]

    def site_ruling(self, rollout: RolloutId, site: str) -> SiteRuling | None:
        return self._disk.site_rulings.get(rollout, {}).get(site)

    def add_site_ruling(self, rollout: RolloutId, ruling: SiteRuling) -> None:
        self._disk.need_rollout(rollout)
        had = self._disk.site_rulings.get(rollout, {})
        if ruling.site in had:
            raise self._disk.undo.violated(f"site {ruling.site!r} of {rollout!r} is decided already")
        self._disk.undo.put(self._disk.site_rulings, rollout, had | {ruling.site: ruling})

    def drop_site_ruling(self, rollout: RolloutId, site: str) -> None:
        had = self._disk.site_rulings.get(rollout, {})
        left = {name: each for name, each in had.items() if name != site}
        self._disk.undo.put(self._disk.site_rulings, rollout, left)

    def counts(self, rollouts: Iterable[RolloutId]) -> Mapping[RolloutId, Mapping[str, int]]:
        found = ((name, self._disk.member_counts.get(name)) for name in sorted(set(rollouts)))
        return {name: {state.value: n for state, n in sorted(counts.items())} for name, counts in found if counts}

    def evidence(self, rollout: RolloutId) -> Counts:
        return self._disk.evidence.get(rollout, Counts())

    def add_evidence(self, rollout: RolloutId, device: DeviceId, counts: Counts) -> None:
        self._disk.need_rollout(rollout)
        self._disk.need_device(device)
        self._disk.undo.put(self._disk.evidence, rollout, self.evidence(rollout).plus(counts))

    def _save_member(self, member: Member) -> None:
        disk, undo = self._disk, self._disk.undo
        disk.need_rollout(member.rollout)
        disk.need_device(member.device)
        members = disk.members.get(member.rollout)
        if members is None:
            undo.put(disk.members, member.rollout, members := {})
            undo.put(disk.member_counts, member.rollout, {})
        had = members.get(member.device)
        undo.put(members, member.device, member)
        if had is None or had.generation != member.generation:
            if had is not None:
                undo.drop(disk.members_at[member.device, had.generation], member.rollout)
            at = disk.members_at.get((member.device, member.generation))
            if at is None:
                undo.put(disk.members_at, (member.device, member.generation), at := {})
            undo.put(at, member.rollout, None)
        if had is None or had.state is not member.state:
            if had is not None:
                self._count(member.rollout, had.state, -1)
            self._count(member.rollout, member.state, 1)

    def _count(self, rollout: RolloutId, state: MemberState, more: int) -> None:
        counts = self._disk.member_counts[rollout]
        n = counts.get(state, 0) + more
        if n:
            self._disk.undo.put(counts, state, n)
        else:
            self._disk.undo.drop(counts, state)


def _mustered(member: Member, device: Device) -> Mustered:
    return Mustered(
        device=member.device,
        wave=member.wave,
        state=member.state,
        cause=member.cause,
        changed_at_s=member.changed_at_s,
        device_state=device.state,
        hardware=device.hardware,
        site=device.labels.get(SITE_LABEL, ""),
        zone=device.labels.get(ZONE_LABEL),
        online=device.online,
        degraded=device.degraded,
        seen_at_s=device.seen_at_s,
        reported_at_s=device.health_at_s,
        report_every_s=device.report_every_s,
    )


def _age(rollout: Rollout) -> tuple[float, RolloutId]:
    return rollout.created_at_s, rollout.id
