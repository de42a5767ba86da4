"""What must be true of rollouts in waves, held against what the server's log says, in the order in which it says it.

Looks on from outside, as ``checks`` does: which waves began and were promoted is taken from the log and from what
people did in this world, and each device that is told anything is held against that. What must come about after a
rollback is ``going_back``'s.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from pinnace_contract.ids import DeviceId, Digest, RolloutId
from pinnace_contract.latest import ArmMode, AssignmentSet, Entry
from pinnace_server.domain.gates import records
from pinnace_server.domain.gates.verdicts import Decision
from pinnace_server.domain.records import SERVER, Event, EventKind, MemberState
from pinnace_server.domain.rollout_policy.policy import (
    Approval,
    BeforeHoldback,
    BeforeLast,
    BeforeWave,
    OnHold,
    RolloutPolicy,
    SiteAtomic,
)
from pinnace_server.errors import ServerError
from pinnace_server.service import rules
from pinnace_server.service.ports import Blobs
from pinnace_sim.checks import Rule, Violation
from pinnace_sim.contention import Store

_PROMOTING: Final = {"proven": Decision.PROMOTE_PROVEN, "unrefuted": Decision.PROMOTE_UNREFUTED}
_ENDS: Final = frozenset({EventKind.ROLLOUT_HALTED, EventKind.ROLLOUT_CANCELLED, EventKind.ROLLOUT_FINISHED})


class Place(Protocol):
    """The server that is looked at."""

    @property
    def store(self) -> Store: ...
    @property
    def blobs(self) -> Blobs: ...
    def now(self) -> float: ...


@dataclass(slots=True, kw_only=True)
class Climb:
    """What the log said of one rollout so far."""

    policy: RolloutPolicy
    started: set[int] = field(default_factory=set[int])
    switched: set[int] = field(default_factory=set[int])
    promoted: set[int] = field(default_factory=set[int])
    asked: set[int] = field(default_factory=set[int])
    paused: bool = False
    ended: bool = False


class WaveChecks:
    """Looks on. What people do is noted before it is done: a server that is killed in it may have done it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._climbs: dict[RolloutId, Climb | None] = {}
        self._agreed: dict[tuple[RolloutId, int], set[str]] = defaultdict(set)
        self._by_hand: set[tuple[RolloutId, int]] = set()
        self._stays: set[tuple[RolloutId, DeviceId]] = set()
        self.halted: Callable[[RolloutId], None] = lambda _rollout: None

    # --- what people do ----------------------------------------------------------------------------------------------

    def agrees(self, rollout: RolloutId, wave: int, person: str) -> None:
        """Somebody agrees that a wave may begin."""
        self._agreed[rollout, wave].add(person)

    def promotes(self, rollout: RolloutId, wave: int) -> None:
        """Somebody decides for a wave's gates."""
        self._by_hand.add((rollout, wave))

    # --- what the server does ----------------------------------------------------------------------------------------

    def climb(self, rollout: RolloutId) -> Climb | None:
        """Return what is known of a rollout; None: it is not in waves."""
        if rollout not in self._climbs:
            with self._place.store.read() as tables:
                found = tables.rollouts.get(rollout)
            policy = rules.policy_of(found) if found is not None else None
            self._climbs[rollout] = None if policy is None else Climb(policy=policy)
        return self._climbs[rollout]

    def policy_of(self, rollout: RolloutId) -> RolloutPolicy | None:
        """Return the policy of a rollout in waves, None of any other."""
        climb = self.climb(rollout)
        return None if climb is None else climb.policy

    def stays(self, rollout: RolloutId, device: DeviceId) -> bool:
        """Tell whether the log said that a device has nothing to go back to."""
        return (rollout, device) in self._stays

    def said(self, event: Event) -> None:
        """The server's log has another line."""
        climb = self.climb(event.rollout) if event.rollout is not None else None
        if climb is None:
            return
        match event.kind:
            case EventKind.WAVE_STARTED:
                self._started(event, climb)
            case EventKind.WAVE_SWITCHED:
                self._switched(event, climb)
            case EventKind.WAVE_PROMOTED:
                self._promoted(event, climb)
            case EventKind.GATE_FIRED:
                self._fired(event, climb)
            case EventKind.WAVE_ASKED:
                self._asked(event, climb)
            case EventKind.ROLLOUT_PAUSED:
                if event.actor == SERVER:
                    self._asked(event, climb)
                climb.paused = True
            case EventKind.ROLLOUT_RESUMED:
                climb.paused = False
            case EventKind.ASSIGNED:
                self._assigned(event, climb)
            case EventKind.NO_FALLBACK if event.device is not None and event.rollout is not None:
                self._stays.add((event.rollout, event.device))
            case _:
                climb.ended |= event.kind in _ENDS
                if event.kind is EventKind.ROLLOUT_HALTED and event.rollout is not None:
                    self.halted(event.rollout)

    def told(self, device: DeviceId, wanted: AssignmentSet) -> None:
        """A set is on its way to a device: its waves must have begun, and stand so in the database."""
        for entry in wanted.entries:
            rollout = entry.rollout
            if rollout is None or self.climb(rollout) is None:
                continue
            with self._place.store.read() as tables:
                member = tables.rollouts.member(rollout, device)
                waves = {each.number: each for each in tables.rollouts.waves(rollout)}
            if member is None:
                raise Violation(Rule.TOLD_TOO_EARLY, device, f"it is told {rollout}, and is not in it")
            before = [each for number, each in waves.items() if number < member.wave]
            if waves[member.wave].started_at_s is None or any(each.promoted_at_s is None for each in before):
                text = f"it is told the release of {rollout}, and its wave {member.wave} has not begun"
                raise Violation(Rule.TOLD_TOO_EARLY, device, text)
            wave = waves[member.wave]
            if _switches(entry) and wave.told_at_s is None and wave.promoted_at_s is None:
                text = f"it is told to switch, and its wave {member.wave} of {rollout} was not"
                raise Violation(Rule.SWITCHED_TOO_EARLY, device, text)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _started(self, event: Event, climb: Climb) -> None:
        wave = _wave(event)
        self._in_hand(event, climb, Rule.WAVE_TOO_EARLY)
        missing = sorted(set(range(1, wave)) - climb.promoted)
        if wave in climb.started:
            raise Violation(Rule.WAVE_TOO_EARLY, str(event.rollout), f"wave {wave} begins again")
        if missing:
            text = f"wave {wave} begins, and waves {missing} are not promoted"
            raise Violation(Rule.WAVE_TOO_EARLY, str(event.rollout), text)
        assert event.rollout is not None
        for approval in climb.policy.approvals:
            if _stands_before(approval, wave, len(climb.policy.waves)):
                agreed = self._agreed[event.rollout, wave]
                may = agreed & set(approval.by) if approval.by else agreed
                if len(may) < approval.count:
                    text = f"wave {wave} begins, and {len(may)} of {approval.count} people agreed"
                    raise Violation(Rule.WAVE_UNAGREED, event.rollout, text)
        climb.started.add(wave)

    def _switched(self, event: Event, climb: Climb) -> None:
        """A wave switches once, and while it is watched."""
        wave = _wave(event)
        self._in_hand(event, climb, Rule.SWITCHED_TOO_EARLY)
        if wave in climb.switched or wave in climb.promoted or wave not in climb.started:
            text = f"wave {wave} is told to switch; {sorted(climb.started)} began, {sorted(climb.switched)} were told"
            raise Violation(Rule.SWITCHED_TOO_EARLY, str(event.rollout), text)
        climb.switched.add(wave)

    def _promoted(self, event: Event, climb: Climb) -> None:
        wave, by = _wave(event), event.data.get("by", "")
        assert event.rollout is not None
        self._in_hand(event, climb, Rule.WAVE_TOO_EARLY)
        if wave not in climb.started or wave in climb.promoted or set(range(1, wave)) - climb.promoted:
            text = f"wave {wave} is promoted out of turn: {sorted(climb.started)} began, {sorted(climb.promoted)} were"
            raise Violation(Rule.WAVE_TOO_EARLY, event.rollout, text)
        if event.actor == SERVER:
            decision = self._decision(event)
            if by in _PROMOTING and decision is not _PROMOTING[by]:
                raise Violation(Rule.RULING_UNTRUE, event.rollout, f"promoted as {by}, and the gates said {decision}")
            if by == "empty" and event.at_s == self._place.now() and self._in_wave(event.rollout, wave):
                raise Violation(Rule.RULING_UNTRUE, event.rollout, f"wave {wave} is promoted as empty, and is not")
            if by not in _PROMOTING and by != "empty":
                raise Violation(Rule.RULING_UNTRUE, event.rollout, f"wave {wave} is promoted by {by or 'nobody'}")
        elif (event.rollout, wave) not in self._by_hand:
            raise Violation(Rule.RULING_UNTRUE, event.rollout, f"wave {wave} is said to be promoted by {event.actor}")
        climb.promoted.add(wave)

    def _asked(self, event: Event, climb: Climb) -> None:
        """A wave's time is over: once, and not in a pause, which stops it."""
        wave = _wave(event)
        self._decision(event)
        if wave in climb.asked:
            raise Violation(Rule.ASKED_TWICE, str(event.rollout), f"the time of wave {wave} is over again")
        self._in_hand(event, climb, Rule.MOVED_IN_A_PAUSE)
        climb.asked.add(wave)

    def _fired(self, event: Event, climb: Climb) -> None:
        decision = self._decision(event)
        if decision is not Decision.ROLL_BACK:
            self._in_hand(event, climb, Rule.MOVED_IN_A_PAUSE)
        if decision is not Decision.ROLL_BACK and climb.policy.gates.on_hold_timeout is not OnHold.ROLL_BACK:
            raise Violation(Rule.RULING_UNTRUE, str(event.rollout), f"moved back, and the gates said {decision}")

    def _assigned(self, event: Event, climb: Climb) -> None:
        assert event.rollout is not None
        assert event.device is not None
        with self._place.store.read() as tables:
            member = tables.rollouts.member(event.rollout, event.device)
        if member is None or member.wave not in climb.started:
            wave = "no wave" if member is None else f"wave {member.wave}"
            text = f"it is assigned the release of {event.rollout}; it is in {wave}, and {sorted(climb.started)} began"
            raise Violation(Rule.TOLD_TOO_EARLY, event.device, text)
        self._in_hand(event, climb, Rule.MOVED_IN_A_PAUSE)
        self._within_budget(event, climb)

    def _in_hand(self, event: Event, climb: Climb, rule: Rule) -> None:
        """Nothing goes on that was paused or is over."""
        if climb.ended:
            raise Violation(rule, str(event.rollout), f"it is over, and then: {event.summary}")
        if climb.paused:
            raise Violation(rule, str(event.rollout), f"it is paused, and then: {event.summary}")

    def _within_budget(self, event: Event, climb: Climb) -> None:
        """Hold the budget at the moment of an assignment: one that comes back later may be one too many."""
        most, now_s = climb.policy.budgets.devices_in_flight_max, self._place.now()
        if most is None or event.at_s != now_s or event.rollout is None:
            return
        with self._place.store.read() as tables:
            muster = tables.rollouts.muster(event.rollout)
        under_way = [each for each in muster if each.state is MemberState.ASSIGNED and each.is_there(now_s)]
        if isinstance(climb.policy.strategy, SiteAtomic):  # a site goes whole, however large; others wait for it
            here = {each.site for each in under_way if each.device == event.device and each.site}
            under_way = [each for each in under_way if each.site not in here]
        if len(under_way) > most:
            text = f"{len(under_way)} devices are under way, and the policy lets {most}"
            raise Violation(Rule.OVER_BUDGET, event.rollout, text)

    def _in_wave(self, rollout: RolloutId, wave: int) -> bool:
        with self._place.store.read() as tables:
            muster = tables.rollouts.muster(rollout)
        return any(each.wave == wave and each.state is not MemberState.SKIPPED for each in muster)

    def _decision(self, event: Event) -> Decision:
        """Work a ruling out again from its record, and return what the gates said."""
        name = event.data.get("record", "")
        if not name:
            raise Violation(Rule.RULING_UNTRUE, str(event.rollout), f"nothing is kept of: {event.summary}")
        kept = json.loads(self._place.blobs.read(Digest(name)))
        try:
            holds = records.holds(kept)
        except ServerError as error:
            raise Violation(Rule.RULING_UNTRUE, str(event.rollout), f"{error}; {event.summary}") from error
        if not holds:
            raise Violation(Rule.RULING_UNTRUE, str(event.rollout), f"its record says otherwise: {event.summary}")
        return Decision(kept["verdict"]["decision"])


def _switches(entry: Entry) -> bool:
    arms = entry.arms
    return arms is not None and arms.mode is ArmMode.BLUE_GREEN and arms.share_percent > 0


def _wave(event: Event) -> int:
    return int(event.data["wave"])


def _stands_before(approval: Approval, wave: int, waves: int) -> bool:
    """Tell whether an approval is of a wave; worked out here once more, and not by the policy."""
    match approval.before:
        case BeforeWave(number=number):
            return number == wave
        case BeforeLast():
            return wave == waves
        case BeforeHoldback():
            return wave == waves + 1
