"""Sites that move whole, from rows: how each stands, and what is decided about it, written down before it is said.

What is decided is ``domain.sites``'s. A ruling is made again from the rows of the transaction that keeps it, and kept
once; the sets that carry it are in the same transaction, to be signed. So a server that is killed in between says what
it wrote, and of two servers one decides.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Final

from pinnace_contract.ids import DeviceId, RolloutId
from pinnace_contract.latest import Cause, Entry, Outcome, Phase, SiteDecision, SiteVerdict
from pinnace_server.domain import sites
from pinnace_server.domain.muster import Mustered
from pinnace_server.domain.plans import Observed
from pinnace_server.domain.records import (
    SERVER,
    UNDER_WAY,
    Assignment,
    DeviceState,
    Event,
    EventKind,
    Member,
    MemberState,
    Rollout,
    RolloutState,
    Severity,
    Slot,
)
from pinnace_server.domain.rollout_policy.policy import RolloutPolicy, SiteAtomic
from pinnace_server.domain.sites import Resident, Site, SiteRuling, Stay
from pinnace_server.service import rules
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.roll_calls import RollCalls, Told, told

_WITH_ITS_SITE: Final = (Cause.SITE_REVERTED, Cause.LEASE_ENDED)  # nothing was wrong with the device
_BADLY: Final = (MemberState.FAILED, MemberState.REVERTED, MemberState.REJECTED)
_OUT: Final = (MemberState.SKIPPED, MemberState.SUPERSEDED, MemberState.CANCELLED)
_NOT_COUNTED: Final = (DeviceState.QUARANTINED, DeviceState.DECOMMISSIONED)

_log = logging.getLogger(__name__)


def lease_s(policy: RolloutPolicy) -> int | None:
    """Return how long a prepared device waits for its site; None: the rollout does not move whole sites."""
    return policy.strategy.lease_s if isinstance(policy.strategy, SiteAtomic) else None


def sites_now(tables: Tables, rollout: Rollout, now_s: float) -> Mapping[str, Site]:
    """Return the sites of waves that began, by name; none where the rollout does not move whole ones."""
    policy = None if rules.unreadable(rollout) else rules.policy_of(rollout)
    if policy is None or lease_s(policy) is None:
        return {}
    muster = _begun(tables, rollout, tables.rollouts.muster(rollout.id))
    said = told(tables, rollout, muster)
    return _built(tables, rollout, _grouped(muster, said), said, now_s)


def under_way(
    tables: Tables, rollout: Rollout, begun: Collection[int], calls: RollCalls, now_s: float
) -> Mapping[str, Site]:
    """Return those sites about which something may be decided, or has been while devices still wait.

    Of a rollout over a fleet these are few: the others have not begun, or are done.
    """
    said = calls.told(tables, rollout, begun)
    found = _grouped([each for each in calls.near(tables, rollout.id, begun) if each.wave in begun], said)
    decided = {each.site for each in tables.rollouts.site_rulings(rollout.id)}
    some = {name: here for name, here in found.items() if _may_change(here, decided=name in decided)}
    return _built(tables, rollout, some, said, now_s)


def what_is_waited_for(
    tables: Tables, rollout: Rollout, observed: Iterable[Observed], now_s: float
) -> Mapping[DeviceId, str]:
    """Say of prepared devices what they wait for."""
    prepared = {
        each.device.id for each in observed if each.slot is not None and each.slot.state.phase is Phase.PREPARED
    }
    found: dict[DeviceId, str] = {}
    for site in sites_now(tables, rollout, now_s).values() if prepared else ():
        here = [each.device for each in site.residents if each.device in prepared]
        found |= dict.fromkeys(here, f"prepared; {sites.waits(site)}") if here else {}
    return found


def decisions_for(tables: Tables, assignments: Iterable[Assignment]) -> tuple[SiteDecision, ...]:
    """Return what a device's set says about sites: the rulings about entries that have not ended."""
    found = []
    for assignment in assignments:
        entry, ruling = assignment.entry, ruling_about(tables, assignment)
        if ruling is None or entry.rollout is None or assignment.outcome is not None:
            continue
        found.append(
            SiteDecision(rollout=entry.rollout, site=entry.site, generation=entry.generation, verdict=ruling.verdict)
        )
    return tuple(found)


def ruling_about(tables: Tables, assignment: Assignment) -> SiteRuling | None:
    """Return what was decided about the site of an entry; None for one of a device that waits for another entry."""
    entry = assignment.entry
    if not entry.site_atomic or entry.rollout is None:
        return None
    ruling = tables.rollouts.site_ruling(entry.rollout, entry.site)
    member = tables.rollouts.member(entry.rollout, assignment.device) if ruling is not None else None
    return None if member is not None and member.state is MemberState.WAITING else ruling


class Again(StrEnum):
    """What a new store gets of an entry: the same, the same without its site, or what the device served before."""

    AS_SAID = "as_said"
    ALONE = "alone"
    BACK = "back"


def said_again(tables: Tables, assignment: Assignment) -> Again:
    """Return what of an assignment is said again to a new store: what its site has.

    While nothing is decided it first gets what it can go back to, if it had that; what joins without it would go dark
    with its site.
    """
    if not assignment.entry.site_atomic:
        return Again.AS_SAID
    ruling = ruling_about(tables, assignment)
    if ruling is not None and ruling.verdict is SiteVerdict.COMMIT:
        return Again.AS_SAID
    if ruling is None and assignment.outcome is Outcome.COMMITTED:
        return Again.ALONE  # it keeps the release, and nobody decides about it any more
    if assignment.before is None and ruling is None and _is_under_way(tables, assignment):
        return Again.AS_SAID
    served = assignment.before.release if assignment.before is not None else None
    return Again.ALONE if served == assignment.release else Again.BACK


def comes_back(tables: Tables, assignment: Assignment, cause: Cause) -> bool:
    """Tell whether a device that went back because its lease ended is told to commit all the same."""
    if cause is not Cause.LEASE_ENDED:
        return False
    ruling = ruling_about(tables, assignment)
    return ruling is not None and ruling.verdict is SiteVerdict.COMMIT


def is_to_commit(tables: Tables, model_assignment: Assignment | None) -> bool:
    """Tell whether a device under way belongs to a site that commits: it stays with its site, whatever is cancelled."""
    if model_assignment is None or model_assignment.outcome is not None:
        return False
    return any(each.verdict is SiteVerdict.COMMIT for each in decisions_for(tables, [model_assignment]))


def try_again(tables: Tables, rollout: RolloutId, members: Sequence[Member]) -> Sequence[Member]:
    """Let the sites of these members try again as a whole; return everybody who does, these members included.

    Who is still on the way back, or did not hear so, does as well: it was told to revert, perhaps under a signature, so
    no commit may ever be said of the generation that it has. Its receipt of that one is about nobody any more.
    """
    reverted = {each.site for each in tables.rollouts.site_rulings(rollout) if each.verdict is SiteVerdict.REVERT}
    at = {each.device: each.site for each in tables.rollouts.muster(rollout)}
    under_way = {each.device: each for each in tables.rollouts.members_in(rollout, UNDER_WAY)}
    at |= {
        each.device: each.entry.site
        for each in tables.assignments.of(under_way)
        if each.rollout == rollout and each.entry.site
    }
    again = {at[each.device] for each in members} & reverted
    for site in sorted(again):
        tables.rollouts.drop_site_ruling(rollout, site)
    named = {each.device for each in members}
    others = [
        replace(each, generation=0) if each.state in UNDER_WAY else each
        for each in tables.rollouts.members(rollout)
        if each.device not in named
        and at[each.device] in again
        and (each.cause in _WITH_ITS_SITE or each.state in _BADLY or each.state in UNDER_WAY)
    ]
    return [*members, *others]


class Siting:
    """Decides about sites; for the controller's thread."""

    def __init__(self, world: World, calls: RollCalls | None = None) -> None:
        self._world = world
        self._calls = calls or RollCalls()

    def decide_all(self) -> None:
        """Decide whatever can be decided, of every active rollout that moves whole sites."""
        due: list[tuple[RolloutId, Site]] = []
        with self._world.store.read() as tables:
            for each in tables.rollouts.active():
                try:
                    due += [(each.id, site) for site in self._due(tables, each)]
                except Exception:  # a bad row of one rollout must not keep the sites of others waiting
                    _log.exception("the sites of rollout %s cannot be looked at", each.id)
        for rollout, site in due:
            try:
                with self._world.store.write() as tables:
                    topics = self._decide(tables, rollout, site)
            except Exception:  # one site must not keep the others waiting while their leases run
                _log.exception("site %s of rollout %s cannot be decided about and is tried again", site.name, rollout)
            else:
                self._world.changes.notify(topics)

    def _due(self, tables: Tables, rollout: Rollout) -> Sequence[Site]:
        if rules.unreadable(rollout):
            return []  # nobody knows whether it moves whole sites; leases end by themselves
        policy, now = rules.policy_of(rollout), self._world.clock.now()
        if policy is None or lease_s(policy) is None or not _anything_to_decide(tables, rollout):
            return []
        found = under_way(tables, rollout, _waves_begun(tables, rollout), self._calls, now)
        return [site for site in found.values() if sites.decide(site, now) is not None]

    def _decide(self, tables: Tables, name: RolloutId, seen: Site) -> list[str]:
        """Decide about a site by what its devices are in this transaction; who joined since then hears it later."""
        rollout, now, site = tables.rollouts.get(name), self._world.clock.now(), seen.name
        if rollout is None or rollout.state is not RolloutState.ACTIVE:
            return []
        some = tables.rollouts.some_mustered(name, [each.device for each in seen.residents])
        muster = _begun(tables, rollout, some)
        said = told(tables, rollout, muster)
        found = _built(tables, rollout, _grouped(muster, said), said, now).get(site)
        ruling = sites.decide(found, now) if found is not None else None
        if found is None or ruling is None or tables.rollouts.site_ruling(name, site) is not None:
            return []  # somebody else was faster, or something was heard meanwhile
        tables.rollouts.add_site_ruling(name, ruling)
        tables.events.append(_decided(rollout, ruling, now))
        here = [each.device for each in found.residents]
        if ruling.verdict is SiteVerdict.REVERT:
            self._let_go(tables, name, here, ruling, now)
        for device in here:
            self._say(tables, device)
        return ["rollouts", f"rollout:{name}", "events", "devices", *(f"device:{device}" for device in here)]

    def _let_go(
        self, tables: Tables, rollout: RolloutId, here: Sequence[DeviceId], ruling: SiteRuling, now: float
    ) -> None:
        """Nobody who still waits is told of a release that its site left."""
        tables.rollouts.save_members(
            replace(
                each,
                state=MemberState.SKIPPED,
                cause=Cause.SITE_REVERTED,
                detail=f"site {ruling.site} went back: {ruling.why}",
                changed_at_s=now,
            )
            for each in tables.rollouts.some_members(rollout, here)
            if each.state is MemberState.WAITING
        )

    def _say(self, tables: Tables, device: DeviceId) -> None:
        """Say a device's set again with what is decided: nothing else of it changes, so neither does its generation."""
        desired = tables.assignments.desired(device)
        if desired is None:
            return
        said = decisions_for(tables, tables.assignments.of([device]))
        if said != desired.assignments.site_decisions:
            again = replace(desired.assignments, site_decisions=said)
            tables.assignments.save_desired(replace(desired, assignments=again, signed_at_s=None))


def _anything_to_decide(tables: Tables, rollout: Rollout) -> bool:
    """Tell whether a device is under way or failed: to count them costs less than to call everybody."""
    states = tables.rollouts.counts([rollout.id]).get(rollout.id, {})
    return any(state.value in states for state in (MemberState.ASSIGNED, *_BADLY))


def _begun(tables: Tables, rollout: Rollout, muster: Sequence[Mustered]) -> Sequence[Mustered]:
    begun = _waves_begun(tables, rollout)
    return [each for each in muster if each.wave in begun]


def _waves_begun(tables: Tables, rollout: Rollout) -> Collection[int]:
    return {wave.number for wave in tables.rollouts.waves(rollout.id) if wave.started_at_s is not None}


def _grouped(muster: Iterable[Mustered], said: Told) -> Mapping[str, Sequence[Mustered]]:
    """Return devices by site. Who was told belongs to the site that it was told of, whatever its label says since."""
    found: dict[str, list[Mustered]] = {}
    for each in muster:
        entry = said.entries.get(each.device)
        site = entry.site if entry is not None and entry.site else each.site
        if site:
            found.setdefault(site, []).append(each)
    return found


def _may_change(here: Sequence[Mustered], *, decided: bool) -> bool:
    """Tell whether a site is under way: its devices were told, failed with nothing decided yet, or joined it since."""
    states = {each.state for each in here}
    if MemberState.ASSIGNED in states:
        return True
    return MemberState.WAITING in states if decided else not states.isdisjoint(_BADLY)


def _built(
    tables: Tables, rollout: Rollout, found: Mapping[str, Sequence[Mustered]], said: Told, now_s: float
) -> Mapping[str, Site]:
    rulings = {each.site: each for each in tables.rollouts.site_rulings(rollout.id)}
    return {
        name: Site(
            name=name,
            wave=min(each.wave for each in here),
            residents=tuple(
                _resident(each, said.entries.get(each.device), said.slots.get(each.device), now_s) for each in here
            ),
            ruling=rulings.get(name),
        )
        for name, here in sorted(found.items())
    }


def _resident(each: Mustered, entry: Entry | None, slot: Slot | None, now_s: float) -> Resident:
    stay, lease = _stay(each, entry, slot), None
    if stay is Stay.PREPARED and slot is not None:
        lease = slot.lease_until_s if slot.lease_until_s is not None else slot.said_at_s
    return Resident(
        device=each.device,
        stay=stay,
        there=each.is_there(now_s),
        why=each.cause.value if each.state in _BADLY else "",
        lease_until_s=lease,
    )


def _is_under_way(tables: Tables, assignment: Assignment) -> bool:
    rollout = tables.rollouts.get(assignment.rollout)
    member = tables.rollouts.member(assignment.rollout, assignment.device)
    active = rollout is not None and rollout.state is RolloutState.ACTIVE
    return active and member is not None and member.state in UNDER_WAY


def _stay(each: Mustered, entry: Entry | None, slot: Slot | None) -> Stay:
    if each.state in _OUT or each.device_state in _NOT_COUNTED:
        return Stay.OUT
    if each.state is MemberState.COMMITTED:
        return Stay.KEEPS
    if each.state in _BADLY:
        return Stay.ENDED_BADLY
    if each.state is MemberState.WAITING:
        return Stay.WAITING
    if entry is None or slot is None or slot.state.generation != entry.generation:
        return Stay.UNDER_WAY
    if slot.state.phase is Phase.PREPARED:
        return Stay.PREPARED
    keeps = slot.state.current is not None and slot.state.current.release == entry.release
    return Stay.KEEPS if slot.state.phase is Phase.IDLE and keeps else Stay.UNDER_WAY


def _decided(rollout: Rollout, ruling: SiteRuling, now: float) -> Event:
    commits = ruling.verdict is SiteVerdict.COMMIT
    what = "commits" if commits else "goes back"
    return Event(
        at_s=now,
        kind=EventKind.SITE_DECIDED,
        actor=SERVER,
        summary=f"site {ruling.site} {what} as a whole with {rollout.model} {rollout.version}: {ruling.why}"[:500],
        severity=Severity.INFO if commits else Severity.WARNING,
        model=rollout.model,
        version=rollout.version,
        rollout=rollout.id,
        data={
            "site": ruling.site,
            "verdict": ruling.verdict.value,
            "prepared": str(ruling.prepared),
            "counted": str(ruling.counted),
        },
    )
