"""What the gates of a wave are told: its devices and those that stay behind, gathered from rows.

In a large fleet a sample of each arm speaks, chosen by a hash; install outcomes count every device. Of those that stay
behind only the sample is read, and who is at the sites of what is judged: whether a site is heard is asked of them.
Whoever another rollout touched, or may be two, is compared with nobody; how its attempt ended still counts.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from pinnace_contract.ids import DeviceId, ReleaseId
from pinnace_contract.latest import Arm, Phase
from pinnace_server.domain import install_results, witness
from pinnace_server.domain.gates.evidence import WaveEvidence
from pinnace_server.domain.gates.settings import Settings
from pinnace_server.domain.muster import Mustered
from pinnace_server.domain.ramp import Ramp, Wave
from pinnace_server.domain.records import UNDER_WAY, Assignment, DeviceState, MemberState, Rollout, Slot
from pinnace_server.domain.rollout_policy import gating
from pinnace_server.domain.stretches import Stretch
from pinnace_server.domain.witness import PAST, STRETCH_S, Witness
from pinnace_server.service.ports import Tables

SPOKESMEN_MAX: Final = 200  # of each arm; more would be read for a second and decide nothing sooner

_RUNNING: Final = frozenset(
    {Phase.SELF_TEST, Phase.SHADOW, Phase.READY, Phase.TRIAL, Phase.PREPARED, Phase.AWAITING_CONTACT, Phase.REVERTING}
)
_TOUCHED: Final = (*UNDER_WAY, MemberState.COMMITTED)
_TRIED: Final = (*_TOUCHED, MemberState.REVERTED, MemberState.FAILED)  # who went back has answered all the same
_LEFT: Final = (MemberState.SKIPPED, MemberState.SUPERSEDED, MemberState.CANCELLED)
MOST_HEARD: Final = 0.9  # of a site's devices that stay behind; where fewer are, silence is the site's
CLOCK_OFF_S: Final = 1_800.0  # reports that come now and speak of so long ago are of a clock that is behind


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The evidence of a wave, the settings to judge it by, and when its first device served the release.

    ``members``: how many devices the rollout has.
    """

    evidence: WaveEvidence
    settings: Settings
    switched_at_s: float | None
    members: int


def gather(
    tables: Tables, rollout: Rollout, ramp: Ramp, wave: Wave, near: Sequence[Mustered], now_s: float
) -> Gathered:
    """Gather what a wave that began says. ``rollout`` is an upgrade, and has a release; ``near`` is its roll call, at
    least of this wave."""
    assert rollout.release is not None, "only an upgrade is judged"
    policy = ramp.policy
    members = sum(sum(states.values()) for states in tables.rollouts.wave_counts(rollout.id).values())
    mine = [each for each in near if each.wave == wave.number and each.state not in _LEFT]
    sample = tables.rollouts.some_mustered(
        rollout.id, _first_by_hash(tables.rollouts.waiting_behind(rollout.id, wave.number))
    )
    arms = _Arms(tables, rollout, wave, mine, sample, now_s)
    switched_at_s = wave.switched_at_s if wave.switched_at_s is not None else arms.switched_at_s
    running = arms.running(mine, policy.silence_s, now_s)
    judged = (each for each in mine if each.device in running)
    neighbours = _neighbours(tables, rollout, wave, {each.site for each in (*arms.candidates, *judged)})
    heard_sites = {each.site for each in (*sample, *neighbours) if each.is_reporting(now_s)}
    awake = _awake_sites(neighbours, wave.started_at_s or now_s, policy.silence_s, now_s)
    found = witness.evidence(
        release=rollout.release,
        switched_at_s=now_s if switched_at_s is None else switched_at_s,
        shadowed_from_s=wave.started_at_s,
        now_s=now_s,
        witnesses=[
            *(_witness(each, arms, now_s, moved=True, heard=each.site in heard_sites) for each in arms.candidates),
            *(_witness(each, arms, now_s, moved=False, heard=True) for each in arms.control),
        ],
        installs=install_results.results(mine, running, awake, policy.silence_s, now_s),
        limits=gating.limits_of(
            policy,
            share_below=arms.promised.share_below,
            error_rate_max=arms.promised.error_rate_max,
            slow=bool(arms.promised.p95_ms),
        ),
        asked=gating.asked_by(policy),
    )
    found = gating.whole_wave(found, mine, now_s)
    return Gathered(
        evidence=gating.judged(found, policy),
        settings=gating.settings_of(policy, members),
        switched_at_s=switched_at_s,
        members=members,
    )


class _Arms:
    """Who speaks, and what is known of them."""

    def __init__(
        self,
        tables: Tables,
        rollout: Rollout,
        wave: Wave,
        mine: Sequence[Mustered],
        behind: Sequence[Mustered],  # those of them that speak for the others
        now_s: float,
    ) -> None:
        assert rollout.release is not None
        assert wave.started_at_s is not None, "a wave is judged once it began"
        self._tables, self._rollout, self._release = tables, rollout, rollout.release
        moved = [each for each in _spokesmen(mine) if each.state in _TRIED]
        stay = [each for each in behind if _heard_since(each, wave.started_at_s)]
        known = tables.assignments.of([each.device for each in (*moved, *stay)])
        assigned = {each.device: each for each in known if each.model == rollout.model}
        self.candidates = [each for each in moved if self._is_ours(assigned.get(each.device))]
        on_it = {
            slot.device
            for slot in tables.devices.slots([each.device for each in stay], rollout.model)
            if slot.state.current is not None and slot.state.current.release == rollout.release
        }
        self.control = [
            each
            for each in stay
            if each.device not in on_it and _is_left_alone(assigned.get(each.device), wave.started_at_s)
        ]
        first = bool(self.candidates) and all(assigned[each.device].before is None for each in self.candidates)
        self.promised = _promised(tables, rollout.release, first=first)
        names = [each.device for each in (*self.candidates, *self.control)]
        begin = int((wave.switched_at_s or wave.started_at_s) // STRETCH_S) - PAST
        self.reports = tables.reports.arrivals(names, begin, int(now_s // STRETCH_S))
        self.rows: dict[DeviceId, list[Stretch]] = {}
        for row in tables.reports.stretches(names, rollout.model, begin, int(now_s // STRETCH_S)):
            self.rows.setdefault(row.device, []).append(row)
        self.switched_at_s = self._switched(mine, wave.started_at_s)

    def running(self, mine: Iterable[Mustered], silence_s: float, now_s: float) -> Collection[DeviceId]:
        """Return which silent devices of the wave were last heard with the release running, or about to."""
        silent = [
            each
            for each in mine
            if each.state in _TOUCHED and each.seen_at_s is not None and now_s - each.seen_at_s > silence_s
        ]
        names = [each.device for each in silent]
        until = int(now_s // STRETCH_S)
        usual = self._tables.reports.arrivals(names, until - 2 * PAST, until)
        slots = self._tables.devices.slots(names, self._rollout.model)
        return {
            slot.device for slot in slots if self._runs(slot) and not _sleeps(usual.get(slot.device, {}), silence_s)
        }

    def _is_ours(self, assignment: Assignment | None) -> bool:
        return assignment is not None and assignment.rollout == self._rollout.id and assignment.release == self._release

    def _runs(self, slot: Slot) -> bool:
        state = slot.state
        if state.current is not None and state.current.release == self._release:
            return True
        return state.phase in _RUNNING and state.candidate is not None and state.candidate.release == self._release

    def _switched(self, mine: Iterable[Mustered], started_at_s: float) -> float | None:
        """Return when the first device of the wave served the release: its first answers, or its receipt.

        Answers of the ten minutes in which the wave began may be of an earlier try.
        """
        answered = (
            row.number * STRETCH_S
            for each in self.candidates
            for row in self.rows.get(each.device, ())
            if row.release == self._release and row.arm is not Arm.SHADOW and row.number > started_at_s // STRETCH_S
        )
        kept = (each.changed_at_s for each in mine if each.state is MemberState.COMMITTED)
        found = min((*answered, *kept), default=None)
        return None if found is None else max(found, started_at_s)


def _witness(each: Mustered, arms: _Arms, now_s: float, *, moved: bool, heard: bool) -> Witness:
    return Witness(
        device=each.device,
        moved=moved,
        rows=arms.rows.get(each.device, ()),
        reports=arms.reports.get(each.device, {}),
        kept_at_s=each.changed_at_s if moved and each.state is MemberState.COMMITTED else None,
        report_every_s=float(each.report_every_s),
        reachable=each.is_there(now_s),
        committed=each.state is MemberState.COMMITTED,
        reporting=each.is_reporting(now_s),
        hardware=each.hardware,
        accountable=heard and not _clock_is_behind(each, arms.reports.get(each.device, {}), now_s),
        p95_ms_max=arms.promised.p95_ms.get(each.hardware, arms.promised.p95_ms.get("*")),
    )


def _clock_is_behind(each: Mustered, reports: Mapping[int, int], now_s: float) -> bool:
    """Tell whether reports come, and all speak of long ago: such a clock does not say when a device was silent."""
    if not each.is_reporting(now_s) or not reports:
        return False
    return now_s - (max(reports) + 1) * STRETCH_S > max(CLOCK_OFF_S, 3.0 * each.report_every_s)


def _sleeps(reports: Mapping[int, int], silence_s: float) -> bool:
    """Tell whether a device was as silent before, and came back: some are switched off at night."""
    seen = sorted(reports)
    return any((after - before) * STRETCH_S >= silence_s for before, after in pairwise(seen))


def _awake_sites(behind: Sequence[Mustered], since_s: float, silence_s: float, now_s: float) -> set[str]:
    """Return the sites where nearly every device that stays behind is still heard; without a site nobody knows."""
    there: dict[str, list[bool]] = {}
    for each in behind:
        if each.site and each.seen_at_s is not None and each.seen_at_s >= since_s - silence_s:
            there.setdefault(each.site, []).append(now_s - each.seen_at_s <= silence_s)
    return {site for site, heard in there.items() if sum(heard) >= MOST_HEARD * len(heard)}


def _heard_since(each: Mustered, since_s: float) -> bool:
    """Tell whether a device was there while the wave was under way: one that is off for good compares with nobody."""
    return each.seen_at_s is not None and each.seen_at_s >= since_s


def _is_left_alone(assignment: Assignment | None, since_s: float) -> bool:
    """Tell whether a device that stays behind serves what it served before the wave began."""
    return assignment is None or (assignment.ended_at_s is not None and assignment.ended_at_s <= since_s)


def _neighbours(tables: Tables, rollout: Rollout, wave: Wave, sites: Collection[str]) -> Sequence[Mustered]:
    """Return those that stay behind at these sites."""
    there = tables.rollouts.mustered_at(rollout.id, sorted(site for site in sites if site))
    return [each for each in there if each.wave > wave.number and each.state is MemberState.WAITING]


def _spokesmen(devices: Iterable[Mustered]) -> list[Mustered]:
    may = {each.device: each for each in devices if each.device_state is not DeviceState.QUARANTINED}
    return [may[device] for device in _first_by_hash(may)]


def _first_by_hash(devices: Collection[DeviceId]) -> Sequence[DeviceId]:
    if len(devices) <= SPOKESMEN_MAX:
        return list(devices)
    return heapq.nsmallest(SPOKESMEN_MAX, devices, key=lambda each: (zlib.crc32(each.encode()), each))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Promised:
    """What a release says of itself; errors and latencies only where nothing came before it."""

    share_below: float | None = None
    error_rate_max: float | None = None
    p95_ms: Mapping[str, float] = field(default_factory=dict)


def _promised(tables: Tables, release: ReleaseId, *, first: bool) -> _Promised:
    version = tables.versions.of_release(release)
    if version is None:
        return _Promised()
    if not first:
        return _Promised(share_below=version.share_below)
    expected = version.body.expectations
    return _Promised(
        share_below=version.share_below,
        error_rate_max=expected.error_rate_max,
        p95_ms={each.hardware: each.p95_ms for each in expected.p95},
    )
