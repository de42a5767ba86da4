"""A rollout in waves as the controller and its readers see it: what was decided, and who may be assigned now.

Reads rows and asks ``domain.ramp``; writes nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pinnace_contract.ids import DeviceId
from pinnace_contract.latest import Window
from pinnace_server.domain import install_results, pairs, planner, ramp, sites, windows
from pinnace_server.domain.gates import installs
from pinnace_server.domain.gates.evidence import Guard
from pinnace_server.domain.gates.installs import Installs
from pinnace_server.domain.muster import Mustered
from pinnace_server.domain.pairs import Readiness
from pinnace_server.domain.plans import DeviceReport, Held, Observed, PlanReport, WaitingOn
from pinnace_server.domain.policy import PLAIN_TERMS, PairTerms, Policy, ShadowTerms, SplitTerms, Target
from pinnace_server.domain.ramp import Mover, Moving, Part, Ramp, SiteOthers
from pinnace_server.domain.records import DeviceState, Member, MemberState, Rollout, RolloutState
from pinnace_server.domain.rollout_policy import gating
from pinnace_server.domain.rollout_policy.policy import (
    ZONE_LABEL,
    Ab,
    BlueGreen,
    RolloutPolicy,
    Shadow,
    Unshadowed,
    Unsplit,
)
from pinnace_server.errors import Refused
from pinnace_server.service import claims, observing, rules, siting
from pinnace_server.service.ports import Tables
from pinnace_server.service.roll_calls import RollCalls

OFFLINE: Final = "it is offline, and is told as soon as it is heard"
ALONE_FACTOR: Final = 2.0  # times what a gate tolerates is too much on any one device
NEVER_SEEN: Final = "it was enrolled and never heard of since"
_NOBODY: Final = SiteOthers(devices=0, healthy=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A rollout in waves at one moment. ``moving`` None: nobody waits in a wave that began, or who may move was worked
    out a moment ago for so many devices that it is put off."""

    ramp: Ramp
    moving: Moving | None = None
    put_off: bool = False

    def held(self, members: Sequence[Member]) -> Mapping[DeviceId, Held]:
        """Return what keeps those of these members that wait."""
        found: dict[DeviceId, Held] = {}
        closed = {wave: ramp.not_begun(self.ramp, wave) for wave in {member.wave for member in members}}
        for member in members:
            if member.state not in (MemberState.WAITING, MemberState.READY):
                continue
            why = closed[member.wave]
            if why is None and self.moving is not None:
                why = self.moving.held.get(member.device)
            if why is None and self.put_off:
                why = Held(waiting_on=WaitingOn.BUDGET, detail="who goes next is worked out in some seconds")
            if why is None and member.state is MemberState.READY:  # perhaps only since the roll was called
                why = ramp.unswitched(self.ramp, member.wave)
            if why is not None:
                found[member.device] = why
        return found

    def bound(self, policy: Policy, observed: Mapping[DeviceId, Observed], now_s: float) -> Policy:
        """Return a rollout's policy with what its waves, budgets and windows say about these devices."""
        held = dict(self.held([seen.member for seen in observed.values()]))
        zones = _Zones(self.ramp.policy, now_s)
        waves = tuple(
            replace(wave, targets=tuple(_in_window(target, observed, zones, held) for target in wave.targets))
            for wave in policy.waves
        )
        return replace(
            policy,
            waves=waves,
            held=held,
            shadow=shadow_terms(self.ramp.policy),
            split=split_terms(self.ramp.policy),
            pair=pair_terms(self.ramp),
            lease_s=siting.lease_s(self.ramp.policy),
            supersedes=self.ramp.policy.supersedes,
        )


def ramp_of(tables: Tables, rollout: Rollout) -> Ramp | None:
    """Return what was decided about a rollout's waves; None: it is a plain assignment.

    Raises:
        Unreadable: its policy.
    """
    policy = rules.policy_of(rollout)
    if policy is None:
        return None
    return Ramp(
        policy=policy,
        waves=tuple(tables.rollouts.waves(rollout.id)),
        agreements=tuple(tables.rollouts.agreements(rollout.id)),
        paused=rollout.paused,
    )


def shown_ramp_of(tables: Tables, rollout: Rollout) -> Ramp | None:
    """Return the same for whoever only shows it; None also where its policy cannot be read."""
    return None if rules.unreadable(rollout) else ramp_of(tables, rollout)


def split_terms(policy: RolloutPolicy) -> SplitTerms | None:
    """Return what share of the requests stays on last good beside a release; None: none does."""
    strategy = policy.strategy
    if not isinstance(strategy, Ab):
        return None
    return SplitTerms(
        control_percent=strategy.control_percent,
        duration_s=strategy.duration_s,
        leaves_out=strategy.unsplit is Unsplit.LEAVE_OUT,
    )


def shadow_terms(policy: RolloutPolicy) -> ShadowTerms | None:
    """Return how a release is compared before it serves; None: it is not."""
    strategy = policy.strategy
    if not isinstance(strategy, Shadow):
        return None
    return ShadowTerms(
        duration_s=strategy.duration_s,
        share_percent=strategy.share_percent,
        differing_percent_max=_differing_percent_max(policy),
        leaves_out=strategy.unshadowed is Unshadowed.LEAVE_OUT,
    )


def pair_terms(ramp: Ramp) -> PairTerms | None:
    """Return how two releases stay loaded for a switch; None: they do not.

    Who is ready may wait for as long as the gates may take to decide about what the others of its wave met.
    """
    strategy, gates = ramp.policy.strategy, ramp.policy.gates
    if not isinstance(strategy, BlueGreen):
        return None
    waits_s = strategy.wait_s + gates.soak_s + gates.hold_timeout_s
    return PairTerms(keep_s=strategy.keep_s, waits_s=waits_s, told=ramp.told)


def _differing_percent_max(policy: RolloutPolicy) -> int | None:
    """Return what a device keeps back by itself: it knows less than the gate, which hears of a whole wave."""
    tolerated = policy.gates.guards.shadow
    return None if tolerated is None else min(math.ceil(ALONE_FACTOR * tolerated.percent), 100)


def look(
    tables: Tables, rollout: Rollout, now_s: float, calls: RollCalls | None = None, *, may_wait: bool = False
) -> Look | None:
    """Return how a rollout in waves stands; None: it is a plain assignment.

    Everybody is called only while somebody waits in a wave that began; where that ``may_wait``, not too often.
    """
    found = ramp_of(tables, rollout)
    if found is None:
        return None
    if found.paused or rollout.state is not RolloutState.ACTIVE:
        return Look(ramp=found)
    if not tables.rollouts.anybody_waits(rollout.id, found.begun):
        return Look(ramp=found)
    calls = calls or RollCalls()
    if may_wait and calls.may_wait(rollout.id, found, now_s):
        return Look(ramp=found, put_off=True)
    return Look(ramp=found, moving=_moving(tables, rollout, found, calls, now_s))


def _moving(tables: Tables, rollout: Rollout, found: Ramp, calls: RollCalls, now_s: float) -> Moving:
    """Return who may move: of a large fleet most wait for their wave, and are asked for as part of their site alone."""
    guards_sites, begun = found.policy.budgets.healthy_per_site_min is not None, found.begun
    near = calls.near(tables, rollout.id, begun)
    looked_over = sum(wave.devices for wave in found.waves) if guards_sites else len(near)
    calls.worked_out(rollout.id, found, now_s, looked_over)
    rivals = claims.rivals(tables, rollout, None)
    stopped = {number: stopped_installs(found.policy, near, number) for number in begun}
    decided = {wave.number for wave in found.waves if wave.promoted_at_s is not None}
    zones = _Zones(found.policy, now_s)
    movers = [
        _mover(each, now_s, rivals.get(each.device), None if _goes_on(each, decided) else stopped.get(each.wave), zones)
        for each in near
    ]
    others = ramp.NO_OTHERS
    if guards_sites:
        busy = _busy_elsewhere(tables, rollout, rivals.keys() | claims.under_way_elsewhere(tables, rollout))
        movers = [each._replace(healthy=False) if each.device in busy else each for each in movers]
        others = _rest_of_sites(tables, rollout, begun, busy, now_s)
    if siting.lease_s(found.policy) is not None:
        movers = sites.whole(movers, siting.under_way(tables, rollout, begun, calls, now_s), begun)
    return ramp.moving(found, movers, others)


def shown(tables: Tables, rollout: Rollout, now_s: float, calls: RollCalls | None = None) -> Look | None:
    """Return how a rollout in waves stands for whoever only shows it; None also where its policy cannot be read."""
    return None if rules.unreadable(rollout) else look(tables, rollout, now_s, calls)


def readiness(tables: Tables, rollout: Rollout, found: Ramp, calls: RollCalls | None = None) -> Readiness | None:
    """Return how many devices of the current wave are ready for its switch at this moment; None: nobody switches, or
    its installs were stopped."""
    wave = found.current
    if wave is None or rollout.state is not RolloutState.ACTIVE or not ramp.may_switch(found, wave):
        return None
    near = (calls or RollCalls()).near(tables, rollout.id, found.begun)
    if stopped_installs(found.policy, near, wave.number) is not None:
        return None
    return pairs.readiness(each for each in near if each.wave == wave.number)


def report(tables: Tables, rollout: Rollout, members: Sequence[Member], look: Look | None, now_s: float) -> PlanReport:
    """Return how these members stand, without planning anything. ``look`` is what ``shown`` returned."""
    observed, problem = observing.observe(tables, rollout, members), rules.unreadable(rollout)
    policy = observing.policy_of(tables, rollout, members, PLAIN_TERMS if problem else None)
    if problem:
        held = Held(waiting_on=WaitingOn.UNREADABLE, detail=problem)
        policy = replace(policy, held=dict.fromkeys(observed, held))
    if look is not None:
        policy = look.bound(policy, observed, now_s)
        policy = replace(policy, at_sites=siting.what_is_waited_for(tables, rollout, observed.values(), now_s))
    _, found = planner.plan(replace(policy, cancelled=True), observed, None, now_s)
    if rollout.state is RolloutState.ACTIVE:
        return found
    over = (_let_go(each) if each.state is MemberState.WAITING else each for each in found.devices)
    return replace(found, devices=tuple(over))


def _let_go(report: DeviceReport) -> DeviceReport:
    """Return how a device stands that was never told, of a rollout that is over: it waits for nothing."""
    return replace(report, waiting_on=None, rival=None, detail="it was never told")


def stopped_installs(policy: RolloutPolicy, muster: Sequence[Mustered], wave: int) -> Installs | None:
    """Return what a wave's attempts say where they stop its installs, or those of a kind of hardware."""
    if policy.gates.guards.installs is None:
        return None
    of_wave = [each for each in muster if each.wave == wave]
    margin = gating.settings_of(policy, len(muster)).margins[Guard.INSTALLS]
    read = installs.read(install_results.results(of_wave, (), (), policy.silence_s, 0.0), margin)
    return read if read.stopped or read.stopped_hardware else None


def _rest_of_sites(
    tables: Tables, rollout: Rollout, begun: Collection[int], busy: Collection[DeviceId], now_s: float
) -> Mapping[str, SiteOthers]:
    """Return the rest of each site: devices of no wave, and those of waves that have not begun."""
    outside = tables.rollouts.site_others(rollout.id, now_s)
    behind = tables.rollouts.site_rest(rollout.id, begun, now_s)
    taken = Counter(
        each.site
        for each in tables.rollouts.some_mustered(rollout.id, busy)
        if each.wave not in begun
        and each.state is not MemberState.ASSIGNED
        and each.is_there(now_s)
        and not each.degraded
    )
    found: dict[str, SiteOthers] = {}
    for site in outside.keys() | behind.keys():
        one, other = outside.get(site, _NOBODY), behind.get(site, _NOBODY)
        healthy = one.healthy + other.healthy - taken[site]
        found[site] = SiteOthers(devices=one.devices + other.devices, healthy=healthy)
    return found


def _busy_elsewhere(tables: Tables, rollout: Rollout, devices: Collection[DeviceId]) -> Collection[DeviceId]:
    """Return which of these are under way in another rollout: while they are, their site has to do without them."""
    return {
        each.device
        for each in tables.assignments.of(devices)
        if each.model == rollout.model and each.rollout != rollout.id and each.outcome is None
    }


def _goes_on(each: Mustered, decided: Collection[int]) -> bool:
    """Tell whether a device is ready in a wave that was promoted in spite of what its installs met."""
    return each.state is MemberState.READY and each.wave in decided


def _mover(each: Mustered, now_s: float, rival: str | None, stopped: Installs | None, zones: _Zones) -> Mover:
    there = each.is_there(now_s)
    part = Part.OVER
    if each.state is MemberState.WAITING:
        part = Part.WAITING
    elif each.state is MemberState.READY:
        part = Part.READY
    elif each.state is MemberState.ASSIGNED and there:  # one that vanished holds nobody else up
        part = Part.IN_FLIGHT
    return Mover(
        device=each.device,
        wave=each.wave,
        part=part,
        healthy=there and not each.degraded,
        site=each.site,
        held=_own_reason(each, there, rival, stopped, zones) if part in (Part.WAITING, Part.READY) else None,
    )


def _own_reason(each: Mustered, there: bool, rival: str | None, stopped: Installs | None, zones: _Zones) -> Held | None:
    if each.device_state is DeviceState.DECOMMISSIONED:
        return None  # the planner leaves it out
    if each.device_state is DeviceState.QUARANTINED:
        return Held(waiting_on=WaitingOn.QUARANTINED)
    if rival is not None:
        return Held(waiting_on=WaitingOn.OTHER_ROLLOUT, detail=f"rollout {rival} goes first on this device")
    if not there:
        if each.seen_at_s is None:
            return Held(waiting_on=WaitingOn.DEVICE_NEVER_SEEN, detail=NEVER_SEEN)
        return Held(waiting_on=WaitingOn.DEVICE_OFFLINE, detail=OFFLINE)
    if stopped is not None and stopped.stopped:
        detail = "installs of this wave fail too often; a person must decide"
        return Held(waiting_on=WaitingOn.INSTALLS_STOPPED, detail=detail)
    if stopped is not None and each.hardware in stopped.stopped_hardware:
        detail = f"golden vectors failed on hardware {each.hardware or '(unnamed)'} in this wave"
        return Held(waiting_on=WaitingOn.INSTALLS_STOPPED, detail=detail)
    window = zones.of(each.zone)
    return window if isinstance(window, Held) else None  # what no window opens for must not use up a budget


# --- windows ------------------------------------------------------------------------------------------------------


class _Zones:
    """When devices may activate: worked out once for each time zone."""

    def __init__(self, policy: RolloutPolicy, now_s: float) -> None:
        self._windows, self._now_s = policy.windows, now_s
        shadow = shadow_terms(policy)
        self._needed_s = shadow.duration_s if shadow is not None else 0
        self._found: dict[str, Window | Held] = {}

    def of(self, named: str | None) -> Window | Held | None:
        """Return the next window of devices of a zone, or why there is none; None: they may activate at any time."""
        if self._windows is None:
            return None
        name = self._windows.zone_of(named)
        if name is None:
            detail = "the policy has windows, and nobody named the time zone of this device (label: zone)"
            return Held(waiting_on=WaitingOn.WINDOW, detail=detail)
        if name not in self._found:
            try:
                zone = windows.zone_of(name)
            except Refused as error:
                self._found[name] = Held(waiting_on=WaitingOn.WINDOW, detail=str(error))
            else:
                self._found[name] = self._next(windows.runs(self._windows.weekly, zone, self._now_s))
        return self._found[name]

    def _next(self, runs: Iterable[Window]) -> Window | Held:
        """Return the first run, or the rest of it, that is long enough for a shadow where there is to be one."""
        for run in runs:
            if run.closes_s - max(run.opens_s, self._now_s) > self._needed_s:
                return run
        detail = f"no window of the next days is longer than the shadow, {self._needed_s} s"
        return Held(waiting_on=WaitingOn.WINDOW, detail=detail)


def _in_window(
    target: Target, observed: Mapping[DeviceId, Observed], zones: _Zones, held: dict[DeviceId, Held]
) -> Target:
    seen = observed.get(target.device)
    if seen is None or seen.member.state is not MemberState.WAITING or target.device in held:
        return target
    found = zones.of(seen.device.labels.get(ZONE_LABEL))
    if isinstance(found, Held):
        held[target.device] = found
        return target
    return replace(target, window=found)
