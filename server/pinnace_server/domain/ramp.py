"""How a rollout climbs: which wave it is in, what that waits on, and what has to be written down next.

``standing`` decides about waves from what was decided before (``Wave``), who agreed, and what the gates say now;
``moving`` decides which devices of the waves that began may be assigned at this moment. Neither acts: the executor
writes a ``Ruling`` down, and only then does the next look see it. A wave begins only after the one before was promoted,
by the gates or by a person, and that stands in the database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from pinnace_contract.ids import DeviceId
from pinnace_server.domain.gates import words
from pinnace_server.domain.gates.verdicts import Decision, Verdict
from pinnace_server.domain.pairs import Readiness
from pinnace_server.domain.plans import Held, WaitingOn
from pinnace_server.domain.rollout_policy.policy import Approval, BlueGreen, OnHold, RolloutPolicy
from pinnace_server.domain.rollout_policy.sizes import WHOLE, Count, Percent

FIRST: Final = 1
EMPTY: Final = "empty"
"""What promotes a wave in which no device is."""


class RulingKind(StrEnum):
    """What is written down about a wave."""

    START = "start"
    PROMOTE = "promote"
    SWITCH = "switch"
    ROLL_BACK = "roll_back"
    PAUSE = "pause"
    ASK = "ask"


HALTED_BY_A_PAUSE: Final = (RulingKind.START, RulingKind.SWITCH, RulingKind.PROMOTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """One thing to write down and carry out. ``by`` names what promoted: ``proven``, ``unrefuted`` or ``empty``.

    ``on_time``: it follows from the wave's time being over, and not from what its gates saw.
    """

    kind: RulingKind
    wave: int
    why: str
    by: str = ""
    on_time: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """What was decided about a wave, and how far it is. The holdback is the last one.

    ``ready_at_s``: when the first of its devices was ready to switch, whatever became of that one. ``told_at_s``: when
    those that were ready were told to; None: not yet, or there is nothing to switch.
    ``switched_at_s``: when its first device served the release. ``asked_at_s``: when its time was over undecided, and a
    person was asked or the rollout paused; it is not over twice. ``verdict``: the record of what its gates said last.
    """

    number: int
    devices: int
    started_at_s: float | None = None
    ready_at_s: float | None = None
    told_at_s: float | None = None
    switched_at_s: float | None = None
    promoted_at_s: float | None = None
    promoted_by: str = ""
    asked_at_s: float | None = None
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Somebody agreed that a wave may begin. ``roles`` are those that the person had then."""

    wave: int
    person: str
    at_s: float
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """A rollout's waves, in order, and who agreed to what."""

    policy: RolloutPolicy
    waves: tuple[Wave, ...]
    agreements: tuple[Agreement, ...] = ()
    paused: str = ""

    @property
    def current(self) -> Wave | None:
        """The first wave that is not promoted; None: all are."""
        return next((wave for wave in self.waves if wave.promoted_at_s is None), None)

    @property
    def begun(self) -> frozenset[int]:
        """The numbers of the waves that began."""
        return frozenset(wave.number for wave in self.waves if wave.started_at_s is not None)

    @property
    def told(self) -> frozenset[int]:
        """The numbers of the waves whose devices may switch: told to, or promoted by a person without it."""
        return frozenset(
            wave.number for wave in self.waves if wave.told_at_s is not None or wave.promoted_at_s is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a rollout stands: what has to be written down, or what it waits on, and until when where that is known."""

    wave: int
    ruling: Ruling | None = None
    waiting_on: WaitingOn | None = None
    detail: str = ""
    until_s: float | None = None


def standing(ramp: Ramp, verdict: Verdict | None, now_s: float, ready: Readiness | None = None) -> Standing:
    """Return what comes next. ``verdict`` is that of the current wave's gates, None while it has no evidence.

    ``ready``: how many of its devices are ready for its switch, where it has one.
    """
    wave = ramp.current
    if wave is None:
        return Standing(wave=ramp.waves[-1].number if ramp.waves else 0)
    if wave.started_at_s is None:
        return _before(ramp, wave)
    if verdict is not None and verdict.decision is Decision.ROLL_BACK:  # a pause does not keep what is bad
        return _ruled(wave, RulingKind.ROLL_BACK, _said(verdict))
    if ramp.paused:
        return Standing(wave=wave.number, waiting_on=WaitingOn.PAUSED, detail=ramp.paused)
    if wave.devices == 0:
        return _ruled(wave, RulingKind.PROMOTE, "no device is in it", by=EMPTY)
    switch = _switching(ramp, wave, verdict, now_s, ready)
    if switch is not None:
        return switch
    if verdict is not None and verdict.promotes:
        by = "proven" if verdict.decision is Decision.PROMOTE_PROVEN else "unrefuted"
        return _ruled(wave, RulingKind.PROMOTE, _said(verdict), by=by)
    return _holding(ramp, wave, verdict, now_s)


def may_switch(ramp: Ramp, wave: Wave) -> bool:
    """Tell whether a wave's devices may still be told to switch together: nobody told them, or asked a person."""
    undecided = wave.told_at_s is None and wave.asked_at_s is None and wave.promoted_at_s is None
    return isinstance(ramp.policy.strategy, BlueGreen) and wave.started_at_s is not None and undecided


def check(ruling: Ruling, ramp: Ramp) -> tuple[str, ...]:
    """Return what is wrong with a ruling, apart from how it came about; one with problems is never carried out."""
    wave = next((each for each in ramp.waves if each.number == ruling.wave), None)
    if wave is None:
        return (f"there is no wave {ruling.wave}",)
    return tuple(_problems(ruling, ramp, wave))


def _problems(ruling: Ruling, ramp: Ramp, wave: Wave) -> Iterator[str]:
    for earlier in ramp.waves[: ramp.waves.index(wave)]:
        if earlier.promoted_at_s is None:
            yield f"wave {earlier.number}, which comes before, is not promoted"
    if wave.promoted_at_s is not None:
        yield f"wave {wave.number} is promoted already"
    if ruling.kind is not RulingKind.START:
        if wave.started_at_s is None:
            yield f"wave {wave.number} has not begun"
    elif wave.started_at_s is not None:
        yield f"wave {wave.number} has begun already"
    elif any(_missing(ramp, wave, each) > 0 for each in ramp.policy.approvals_before(wave.number)):
        yield f"not everybody agreed who must before wave {wave.number} begins"
    if ruling.on_time and wave.asked_at_s is not None:
        yield f"the time of wave {wave.number} was over before"
    if ramp.paused and (ruling.on_time or ruling.kind in HALTED_BY_A_PAUSE):
        yield "the rollout is paused"
    if ruling.kind is RulingKind.SWITCH and wave.told_at_s is not None:
        yield f"wave {wave.number} was told to switch already"
    if ruling.by == EMPTY and wave.devices > 0:
        yield f"wave {wave.number} has devices by now"
    if ruling.kind is RulingKind.PROMOTE and not ruling.by:
        yield "it does not say what promoted the wave"


def _before(ramp: Ramp, wave: Wave) -> Standing:
    if ramp.paused:
        return Standing(wave=wave.number, waiting_on=WaitingOn.PAUSED, detail=ramp.paused)
    for approval in ramp.policy.approvals_before(wave.number):
        missing = _missing(ramp, wave, approval)
        if missing > 0:
            who = f" of {', '.join(approval.by)}" if approval.by else ""
            people = "one more person" if missing == 1 else f"{missing} more people"
            detail = f"{people}{who} must agree before wave {wave.number} begins"
            return Standing(wave=wave.number, waiting_on=WaitingOn.APPROVAL, detail=detail)
    return _ruled(wave, RulingKind.START, "the wave before was promoted" if wave.number > FIRST else "the first wave")


def _missing(ramp: Ramp, wave: Wave, approval: Approval) -> int:
    """Return how many people more must agree; one who agreed twice is one."""
    may = set(approval.by)
    agreed = {
        each.person
        for each in ramp.agreements
        if each.wave == wave.number and (not may or each.person in may or may.intersection(each.roles))
    }
    return approval.count - len(agreed)


def _switching(
    ramp: Ramp, wave: Wave, verdict: Verdict | None, now_s: float, ready: Readiness | None
) -> Standing | None:
    """Let a wave's devices switch together once they are ready, or the first has waited long enough; None: no matter.

    Where installs are stopped nobody switches by itself: what is ready serves nobody, so a person has time to look.
    """
    strategy = ramp.policy.strategy
    if not isinstance(strategy, BlueGreen) or not may_switch(ramp, wave):
        return None
    stopped = verdict is not None and (verdict.installs.stopped or verdict.installs.stopped_hardware)
    if ready is None or ready.first_at_s is None or stopped:
        return None
    of = ready.ready + ready.awaited
    said = f"{ready.ready} of {of} devices are ready"
    if not ready.awaited:
        return _ruled(wave, RulingKind.SWITCH, f"{said}, and switch together")
    first_at_s = ready.first_at_s if wave.ready_at_s is None else min(wave.ready_at_s, ready.first_at_s)
    until_s = first_at_s + strategy.wait_s
    if now_s >= until_s:
        why = f"{said}, the first of them for {strategy.wait_s} s; they switch, and the others as soon as they are"
        return _ruled(wave, RulingKind.SWITCH, why)
    detail = f"{said}; they switch when the others are, at the latest {strategy.wait_s} s after the first was"
    return Standing(wave=wave.number, waiting_on=WaitingOn.SWITCH, detail=detail, until_s=until_s)


def _holding(ramp: Ramp, wave: Wave, verdict: Verdict | None, now_s: float) -> Standing:
    """A wave that is neither promoted nor rolled back: until its time is over it waits, then the policy decides."""
    assert wave.started_at_s is not None
    gates = ramp.policy.gates
    why = _said(verdict) if verdict is not None else "no device has served it yet"
    if wave.switched_at_s is None and wave.asked_at_s is None and not _tried(verdict):
        # Its devices wait for a window, another rollout or a line: time tells nothing about the release.
        return Standing(wave=wave.number, waiting_on=WaitingOn.DEVICES, detail=why)
    soaked_s = (wave.switched_at_s if wave.switched_at_s is not None else wave.started_at_s) + gates.soak_s
    late_s = soaked_s + gates.hold_timeout_s
    if now_s >= late_s and wave.asked_at_s is None:
        hours = gates.hold_timeout_s / 3600
        late = f"not decided {hours:g} hours after its soak time: {why}"
        return _ruled(wave, _ON_HOLD[gates.on_hold_timeout], late, on_time=True)
    if wave.asked_at_s is not None:
        return Standing(wave=wave.number, waiting_on=WaitingOn.APPROVAL, detail=f"a person must decide: {why}")
    if now_s < soaked_s and wave.switched_at_s is not None:
        return Standing(wave=wave.number, waiting_on=WaitingOn.SOAK_TIME, detail=why, until_s=soaked_s)
    waiting = WaitingOn.DEVICES if wave.switched_at_s is None else WaitingOn.GATE_COLLECTING
    return Standing(wave=wave.number, waiting_on=waiting, detail=why, until_s=late_s)


def _tried(verdict: Verdict | None) -> bool:
    """Tell whether an attempt ended that says something about the release."""
    return verdict is not None and verdict.installs.reading is not None


def _said(verdict: Verdict) -> str:
    return "; ".join(words.describe(verdict)) or "the evidence is enough"


_ON_HOLD: Final[Mapping[OnHold, RulingKind]] = {
    OnHold.ASK: RulingKind.ASK,
    OnHold.PAUSE: RulingKind.PAUSE,
    OnHold.ROLL_BACK: RulingKind.ROLL_BACK,
}


def _ruled(wave: Wave, kind: RulingKind, why: str, *, by: str = "", on_time: bool = False) -> Standing:
    ruling = Ruling(kind=kind, wave=wave.number, why=why, by=by, on_time=on_time)
    return Standing(wave=wave.number, ruling=ruling)


# --- which devices -------------------------------------------------------------------------------------------------


class Part(StrEnum):
    """How far one device of a rollout is, as budgets count it: one that is ready serves as before and uses up none."""

    WAITING = "waiting"
    READY = "ready"
    IN_FLIGHT = "in_flight"
    OVER = "over"


class Mover(NamedTuple):
    """One device of a rollout. ``healthy``: it is there, and serves what it should. ``site`` empty: it has none.

    ``held``: what keeps this device by itself; it uses up no budget. ``together``: how many of its site go at once, 0
    for one that goes by itself; ``begun``: some of them did already. A tuple, as a tick makes one of each device.
    """

    device: DeviceId
    wave: int
    part: Part
    healthy: bool = True
    site: str = ""
    held: Held | None = None
    together: int = 0
    begun: bool = False


class SiteOthers(NamedTuple):
    """The rest of a site: its devices of no wave of a rollout that are there, and those of waves that have not begun;
    and how many of them are well and not under way."""

    devices: int
    healthy: int


NO_OTHERS: Final[Mapping[str, SiteOthers]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """Who may be assigned now, in order, and why the others that wait may not."""

    now: tuple[DeviceId, ...]
    held: Mapping[DeviceId, Held]


def moving(ramp: Ramp, movers: Sequence[Mover], others: Mapping[str, SiteOthers] = NO_OTHERS) -> Moving:
    """Return who may be assigned now. ``movers`` are the devices of the rollout in the order in which they may go, at
    least those of waves that began and those under way; ``others`` are the rest of their sites.

    Windows are not looked at: a device fetches before its window and holds itself until it opens.
    """
    room = _Room(ramp.policy, movers, others)
    closed = {wave: not_begun(ramp, wave) for wave in {mover.wave for mover in movers}}
    now: list[DeviceId] = []
    held: dict[DeviceId, Held] = {}
    for mover in movers:
        if mover.part not in (Part.WAITING, Part.READY):
            continue
        waits = unswitched(ramp, mover.wave) if mover.part is Part.READY else None
        why = closed[mover.wave] or mover.held or waits or room.refusal(mover)
        if why is not None:
            held[mover.device] = why
            continue
        room.take(mover)
        now.append(mover.device)
    return Moving(now=tuple(now), held=held)


def unswitched(ramp: Ramp, wave: int) -> Held | None:
    """Return what keeps every ready device of a wave: that the wave was not told to switch."""
    if wave in ramp.told:
        return None
    return Held(waiting_on=WaitingOn.SWITCH, detail=f"it is ready, and waits for the others of wave {wave}")


def not_begun(ramp: Ramp, wave: int) -> Held | None:
    """Return what keeps every device of a wave: a pause, or that the wave has not begun."""
    if ramp.paused:
        return Held(waiting_on=WaitingOn.PAUSED, detail=ramp.paused)
    if wave in ramp.begun:
        return None
    current = ramp.current
    if current is None or current.number == wave:
        return Held(waiting_on=WaitingOn.EARLIER_WAVE, detail=f"it is in wave {wave}, which has not begun")
    return Held(
        waiting_on=WaitingOn.EARLIER_WAVE,
        detail=f"it is in wave {wave}, and wave {current.number} is not promoted yet",
    )


class _Room:
    """What budgets leave: counted down as devices are let go."""

    def __init__(self, policy: RolloutPolicy, movers: Sequence[Mover], others: Mapping[str, SiteOthers]) -> None:
        self._budgets = policy.budgets
        self._in_flight = sum(mover.part is Part.IN_FLIGHT for mover in movers)
        self._queues: Counter[str] = Counter()
        self._let_go = {mover.site for mover in movers if mover.together and mover.begun}
        self._at_site = Counter(mover.site for mover in movers)
        self._healthy = Counter(mover.site for mover in movers if mover.healthy and mover.part is not Part.IN_FLIGHT)
        for site, rest in others.items():
            self._at_site[site] += rest.devices
            self._healthy[site] += rest.healthy

    def refusal(self, mover: Mover) -> Held | None:
        if mover.together and mover.site in self._let_go:
            return None  # a site that began goes whole, or it waits for itself
        most = self._budgets.devices_in_flight_max
        fits = self._in_flight + max(mover.together, 1) <= most if most is not None else True
        if not fits and (self._in_flight or not mover.together):  # a site above the budget goes by itself
            if mover.together:
                site = f"site {mover.site} moves whole, {mover.together} devices"
                return self._queued("", f"{site}, and the policy lets {most} at once")
            under_way = f"{most} devices are" if most != 1 else "one device is"
            return self._queued("", f"{under_way} under way, as many as the policy lets")
        least, site = self._least(mover), mover.site
        if site and mover.healthy and self._healthy[site] - 1 < least:  # one that is ill is no loss to its site
            return self._queued(site, f"{self._healthy[site]} of site {site} are healthy, and {least} must stay so")
        return None

    def _queued(self, queue: str, why: str) -> Held:
        """Return a refusal that says how many go first, for that is what changes."""
        before = self._queues[queue]
        self._queues[queue] += 1
        return Held(waiting_on=WaitingOn.BUDGET, detail=f"{why}; {before or 'none'} of those that wait go first")

    def take(self, mover: Mover) -> None:
        self._in_flight += self._places(mover)
        self._let_go |= {mover.site} if mover.together else set()
        self._healthy[mover.site] -= mover.healthy

    def _places(self, mover: Mover) -> int:
        """Return how many places a device takes: the first of a site that goes whole takes those of all of it."""
        if not mover.together or mover.begun:
            return 1
        return 0 if mover.site in self._let_go else mover.together

    def _least(self, mover: Mover) -> int:
        """Return how many of a site must stay healthy: a share rounded down, a number as it was said."""
        match self._budgets.healthy_per_site_min:
            case None:
                return 0
            case Count(devices=devices):
                return devices
            case Percent(hundredths=hundredths):
                return self._at_site[mover.site] * hundredths // WHOLE
