"""What makes rollouts climb: looks at the gates of waves, and carries out what ``domain.ramp`` rules.

A ruling is written down in the transaction that checks it again, so that of two servers one carries it out. What a
ruling was made from is a blob, named by its event, from which anybody can work it out again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, assert_never

from pinnace_contract.ids import RolloutId
from pinnace_server.domain import pairs, wave_report
from pinnace_server.domain import ramp as ramps
from pinnace_server.domain.gates import records, verdicts
from pinnace_server.domain.gates.verdicts import Verdict
from pinnace_server.domain.ramp import Ramp, Ruling, RulingKind, Standing, Wave
from pinnace_server.domain.records import SERVER, Event, EventKind, Rollout, RolloutState, Severity
from pinnace_server.domain.rollout_policy.policy import BlueGreen
from pinnace_server.service import joining, rules
from pinnace_server.service.evidence import Gathered, gather
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.ramps import ramp_of
from pinnace_server.service.roll_calls import RollCalls
from pinnace_server.service.rollouts import Rollouts

LOOK_EVERY_S: Final = 10.0
LOOK_SELDOM_S: Final = 600.0  # the rows that gates read are of ten minutes
LOOKS_OF_AGE: Final = 20.0  # gates look when a wave is a twentieth older: nothing is noticed much later for it
JOIN_EVERY_S: Final = 300.0
RULINGS_MAX: Final = 2 * 33  # in one tick: every wave of a rollout may be empty

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One look: what comes next, and what it was made from."""

    standing: Standing
    verdict: Verdict | None = None
    gathered: Gathered | None = None
    ready: pairs.Readiness | None = None


class Climbing:
    """Looks and rules; for the controller's thread."""

    def __init__(self, world: World, rollouts: Rollouts, calls: RollCalls) -> None:
        self._world = world
        self._rollouts = rollouts
        self._calls = calls
        self._looked_at_s: dict[tuple[RolloutId, int], float] = {}
        self._joined_at_s: dict[RolloutId, float] = {}
        self.looked_over = 0  # devices, in the rollouts whose gates looked at the last call of ``climb_all``

    def climb_all(self) -> None:
        """Look at every active rollout in waves, and carry out what is ruled."""
        self.looked_over = 0
        with self._world.store.read() as tables:
            active = _in_waves(tables)
        for gone in {key for key in self._looked_at_s if key[0] not in {each.id for each in active}}:
            del self._looked_at_s[gone]
        for rollout in active:
            try:
                self._join(rollout)
                for _ in range(RULINGS_MAX):
                    if not self._climb(rollout.id):
                        break
            except Exception:  # a bug or a bad row of one rollout must not keep the others from going back
                _log.exception("the gates of rollout %s cannot be looked at and are tried again", rollout.id)

    def next_look_s(self) -> float | None:
        """Return when a gate looks next; None: no rollout is in waves."""
        now = self._world.clock.now()
        with self._world.store.read() as tables:
            active = _in_waves(tables)
            due = []
            for rollout in active:
                ramp = ramp_of(tables, rollout)
                wave = ramp.current if ramp else None
                if ramp is not None and wave is not None and wave.started_at_s is not None:
                    due.append(self._looked_at_s.get((rollout.id, wave.number), now) + _every_s(ramp, wave, now))
        return min(due, default=None)

    def _join(self, rollout: Rollout) -> None:
        now = self._world.clock.now()
        if now - self._joined_at_s.get(rollout.id, rollout.created_at_s) < JOIN_EVERY_S:
            return
        self._joined_at_s[rollout.id] = now
        joined = joining.join(self._world, rollout.id)
        if joined:
            self._world.changes.notify(["rollouts", f"rollout:{rollout.id}", "events"])

    def _climb(self, rollout: RolloutId) -> bool:
        """Look once; True: something was ruled, and what comes next may be due at once."""
        now = self._world.clock.now()
        with self._world.store.read() as tables:
            seen = tables.rollouts.get(rollout)
            ramp = ramp_of(tables, seen) if seen is not None else None
            if seen is None or ramp is None or seen.state is not RolloutState.ACTIVE:
                return False
            found = self._look(tables, seen, ramp, now)
        if found is None:
            return False
        record = self._kept(rollout, found) if found.standing.ruling is not None else ""
        with self._world.store.write() as tables:
            topics = self._written(tables, rollout, found, record, now)
        self._world.changes.notify(topics)
        return bool(topics) and found.standing.ruling is not None

    def _look(self, tables: Tables, rollout: Rollout, ramp: Ramp, now: float) -> _Found | None:
        wave = ramp.current
        if wave is None:
            return None
        if wave.started_at_s is None:
            standing = ramps.standing(ramp, None, now)
            return _Found(standing=standing) if standing.ruling is not None else None
        key = (rollout.id, wave.number)
        last = self._looked_at_s.get(key)
        if last is not None and now - last < _every_s(ramp, wave, now):
            return None
        self._looked_at_s[key] = now
        near = self._calls.near(tables, rollout.id, ramp.begun)
        gathered = gather(tables, rollout, ramp, wave, near, now)
        self._calls.gates_look(rollout.id, gathered.members)
        self.looked_over += gathered.members
        if gathered.switched_at_s is not None and wave.switched_at_s is None:
            ramp = _with(ramp, replace(wave, switched_at_s=gathered.switched_at_s))
        verdict = verdicts.judge(gathered.evidence, gathered.settings)
        ready = pairs.readiness(each for each in near if each.wave == wave.number)
        standing = ramps.standing(ramp, verdict, now, ready)
        return _Found(standing=standing, verdict=verdict, gathered=gathered, ready=ready)

    def _kept(self, rollout: RolloutId, found: _Found) -> str:
        """Keep what a ruling is made from; a blob that nobody names in the end does no harm."""
        if found.verdict is None or found.gathered is None:
            return ""
        kept = records.record(found.verdict, found.gathered.evidence, found.gathered.settings)
        kept["about"] = {"rollout": rollout, "wave": found.standing.wave}
        return self._world.blobs.add(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode())

    def _written(self, tables: Tables, name: RolloutId, found: _Found, record: str, now: float) -> list[str]:
        rollout = tables.rollouts.get(name)
        ramp = ramp_of(tables, rollout) if rollout is not None else None
        if rollout is None or ramp is None or rollout.state is not RolloutState.ACTIVE:
            return []
        ruling = found.standing.ruling
        if ruling is not None and ramps.check(ruling, ramp):
            return []  # somebody else was faster, or a person stepped in: the next look sees it
        wave = next((each for each in ramp.waves if each.number == found.standing.wave), None)
        if wave is None or (ruling is None and wave.promoted_at_s is not None):
            return []  # what it was promoted by stands in its row
        wave = _judged(wave, found, record, now)
        tables.rollouts.save_wave(name, wave)
        topics = [f"rollout:{name}"]
        if ruling is None:
            return topics
        tables.events.append(_ruled(rollout, ruling, record, now))
        return [*topics, "rollouts", "events", *self._carry_out(tables, rollout, wave, ruling, now)]

    def _carry_out(self, tables: Tables, rollout: Rollout, wave: Wave, ruling: Ruling, now: float) -> list[str]:
        match ruling.kind:
            case RulingKind.START:
                tables.rollouts.save_wave(rollout.id, replace(wave, started_at_s=now))
            case RulingKind.SWITCH:
                tables.rollouts.save_wave(rollout.id, replace(wave, told_at_s=now))
            case RulingKind.PROMOTE:
                tables.rollouts.save_wave(rollout.id, replace(wave, promoted_at_s=now, promoted_by=ruling.by))
            case RulingKind.ASK:
                tables.rollouts.save_wave(rollout.id, replace(wave, asked_at_s=now))
            case RulingKind.PAUSE:
                tables.rollouts.save_wave(rollout.id, replace(wave, asked_at_s=now))
                tables.rollouts.save(replace(rollout, paused=ruling.why))
            case RulingKind.ROLL_BACK:
                made = self._rollouts.halt(tables, rollout, reason=ruling.why, verdict={}, actor=SERVER)
                return [f"rollout:{made.id}", f"model:{rollout.model}", "devices"]
            case _:
                assert_never(ruling.kind)
        return []


def _in_waves(tables: Tables) -> list[Rollout]:
    """Return the active rollouts in waves whose policy can be read: no gate is known of the others."""
    return [rollout for rollout in tables.rollouts.active() if rollout.rules and not rules.unreadable(rollout)]


def _every_s(ramp: Ramp, wave: Wave, now: float) -> float:
    if wave.told_at_s is None and isinstance(ramp.policy.strategy, BlueGreen):
        return LOOK_EVERY_S  # devices that are ready have two releases in memory, and wait for this
    age_s = now - (wave.started_at_s if wave.started_at_s is not None else now)
    return min(max(age_s / LOOKS_OF_AGE, LOOK_EVERY_S), LOOK_SELDOM_S)


def _with(ramp: Ramp, wave: Wave) -> Ramp:
    return replace(ramp, waves=tuple(wave if each.number == wave.number else each for each in ramp.waves))


def _judged(wave: Wave, found: _Found, record: str, now: float) -> Wave:
    """Return a wave's row with what its gates said."""
    if found.verdict is None or found.gathered is None:
        return wave
    evidence = found.gathered.evidence
    devices = {
        "wave": evidence.wave_size,
        "reachable": evidence.reachable,
        "committed": evidence.committed,
        "reporting": evidence.reporting,
        "speaking": len(evidence.devices),
    }
    said = wave_report.made(found.verdict, found.standing, now, devices=devices, record=record)
    switched_at_s = wave.switched_at_s if wave.switched_at_s is not None else found.gathered.switched_at_s
    ready_at_s = wave.ready_at_s
    if ready_at_s is None and found.ready is not None:
        ready_at_s = found.ready.first_at_s
    return replace(wave, ready_at_s=ready_at_s, switched_at_s=switched_at_s, verdict=wave_report.text_of(said))


_KINDS: Final[Mapping[RulingKind, tuple[EventKind, Severity, str]]] = {
    RulingKind.START: (EventKind.WAVE_STARTED, Severity.INFO, "begins"),
    RulingKind.SWITCH: (EventKind.WAVE_SWITCHED, Severity.INFO, "switches"),
    RulingKind.PROMOTE: (EventKind.WAVE_PROMOTED, Severity.INFO, "is promoted"),
    RulingKind.ROLL_BACK: (EventKind.GATE_FIRED, Severity.ERROR, "is moved back"),
    RulingKind.PAUSE: (EventKind.ROLLOUT_PAUSED, Severity.WARNING, "is paused"),
    RulingKind.ASK: (EventKind.WAVE_ASKED, Severity.WARNING, "waits for a person"),
}


def _ruled(rollout: Rollout, ruling: Ruling, record: str, now: float) -> Event:
    kind, severity, words = _KINDS[ruling.kind]
    facts = {"wave": str(ruling.wave), "why": ruling.why}
    facts |= {"by": ruling.by} if ruling.by else {}
    facts |= {"record": record} if record else {}
    facts |= {"decided_by": "time"} if ruling.on_time else {}
    by = f" ({ruling.by})" if ruling.by else ""
    return Event(
        at_s=now,
        kind=kind,
        actor=SERVER,
        summary=f"wave {ruling.wave} of {rollout.model} {rollout.version} {words}{by}: {ruling.why}"[:500],
        severity=severity,
        model=rollout.model,
        version=rollout.version,
        rollout=rollout.id,
        data=facts,
    )
