"""Rollouts: the list, one of them with its waves, and what one would do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pinnace_contract.ids import ModelName, RolloutId
from pinnace_server import policy_text
from pinnace_server.console import shown, shown_rollouts
from pinnace_server.console.query import RolloutQuery
from pinnace_server.console.reading import climbs, values
from pinnace_server.console.reading.reports import ReportCache
from pinnace_server.domain import queries, why
from pinnace_server.domain.pairs import Readiness
from pinnace_server.domain.queries import LIMIT_MAX, OFFSET_MAX, Page
from pinnace_server.domain.ramp import Ramp, Standing
from pinnace_server.domain.records import Event, EventKind, Rollout, RolloutState
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.domain.rollout_policy.policy import Membership
from pinnace_server.domain.waiting import WORDS
from pinnace_server.domain.wave_report import WaveReport
from pinnace_server.service import ramps, rules, siting
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.rollouts import found_rollout
from pinnace_server.service.steering import Steering
from pinnace_server.service.whys import said_of, standing_of

HISTORY_ROWS: Final = 20
WAITING_MAX: Final = 50  # rollouts under way that the overview asks whether they wait for a person


class RolloutReads:
    """``ports.RolloutReads``."""

    def __init__(self, world: World, steering: Steering) -> None:
        self._world = world
        self._steering = steering
        self._reports = ReportCache()

    def rollouts(self, query: RolloutQuery) -> shown_rollouts.RolloutPage:
        """Return a page of rollouts, the newest first."""
        now = self._world.clock.now()
        asked = queries.RolloutQuery(
            model=ModelName(query.model) if query.model else None,
            state=query.state,
            page=Page(limit=query.size, offset=min(query.offset, OFFSET_MAX)),
        )
        with self._world.store.read() as tables:
            found = tables.rollouts.listing(asked)
            everything = tables.rollouts.listing(queries.RolloutQuery(page=Page(limit=1))).total
            return shown_rollouts.RolloutPage(
                rows=progress_of(tables, found.rows, now), total=found.total, all=everything
            )

    def rollout(self, rollout: str) -> shown_rollouts.RolloutDetail:
        """Return one rollout.

        Raises:
            NotFound
        """
        now = self._world.clock.now()
        with self._world.store.read() as tables:
            found = found_rollout(tables, RolloutId(rollout))
            of = ramps.shown_ramp_of(tables, found)
            ready = ramps.readiness(tables, found, of) if of is not None else None
            climb = _climb(found, of, now, ready)
            progress = _progress(tables, climb)
            report = self._reports.get(tables, found, progress.total + progress.left_out, now)
            waves = climbs.waves(found, climb.ramp, tables.rollouts.wave_counts(found.id))
            current = climb.ramp.current if climb.ramp is not None else None
            waiting, sites = report.waiting(), siting.sites_now(tables, found, now)
            history = tables.events.listing(queries.EventQuery(rollout=found.id, page=Page(limit=HISTORY_ROWS)))
            policy = climb.ramp.policy if climb.ramp is not None else None
            return shown_rollouts.RolloutDetail(
                progress=progress,
                cohort=found.selector,
                dynamic=policy is not None and policy.cohort.membership is Membership.DYNAMIC,
                why=climbs.why(
                    why.of_rollout(
                        found,
                        dict(waiting),
                        ramp=climb.ramp,
                        standing=climb.standing,
                        said=climb.said,
                        sites=tuple(sites.values()),
                        unreadable=climb.unreadable,
                    )
                ),
                sites=climbs.sites(sites.values()),
                switch=climbs.switch(of, climb.standing, ready, report.devices),
                cohort_changes=climbs.cohort_changes(_cohort_events(tables, found)),
                pause=_pause(tables, found),
                waves=waves,
                current=next((each for each in waves if current and each.number == current.number), None),
                failures=climbs.failures(report.devices),
                waiting=tuple(sorted(((WORDS[on], n) for on, n in waiting.items()), key=lambda pair: -pair[1])),
                again=policy is not None and policy.terms.again,
                halts=found.halts or "",
                ended=values.moment_or_none(found.ended_at_s),
                policy=policy_text.written(reading.plain(policy)) if policy is not None else "",
                history=tuple(values.event(line) for line in history.rows),
                history_total=history.total,
            )

    def preview(self, model: str, version: str, policy: str) -> shown_rollouts.RolloutPreview:
        """Return what a rollout would do.

        Raises:
            NotFound, Refused, Conflict
        """
        read = reading.read(policy_text.parse(policy))
        seen = self._steering.preview(model=ModelName(model), version=version, policy=read)
        return climbs.preview(seen, policy_text.written(reading.plain(seen.policy)))


def progress_of(tables: Tables, rollouts: Sequence[Rollout], now: float) -> tuple[shown.Progress, ...]:
    """Return how far rollouts are, and what those wait for that wait for a person."""
    counts = tables.rollouts.counts([rollout.id for rollout in rollouts])
    climbing = [_climb(rollout, ramps.shown_ramp_of(tables, rollout), now) for rollout in rollouts]
    return tuple(_with_climb(values.progress(each.rollout, counts.get(each.rollout.id, {})), each) for each in climbing)


def waiting_for_a_person(tables: Tables, now: float) -> list[shown.Concern]:
    """Return the rollouts under way that wait for a person, for the overview."""
    climbing = [
        _climb(rollout, ramps.shown_ramp_of(tables, rollout), now)
        for rollout in tables.rollouts.active()[:WAITING_MAX]
        if rollout.rules or rules.unreadable(rollout)
    ]
    return [_concern(each) for each in climbing if each.need]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Climb:
    """A rollout and where it stands; without a ramp it is a plain assignment, or ``unreadable`` says what is not."""

    rollout: Rollout
    ramp: Ramp | None
    standing: Standing | None
    said: WaveReport | None
    need: str
    unreadable: str = ""


def _climb(rollout: Rollout, ramp: Ramp | None, now: float, ready: Readiness | None = None) -> _Climb:
    """Return where a rollout stands; without ``ready`` a list need not know who waits for a switch."""
    standing, said, unreadable = standing_of(ramp, now, ready), said_of(ramp), rules.unreadable(rollout)
    return _Climb(
        rollout=rollout,
        ramp=ramp,
        standing=standing,
        said=said,
        need=climbs.need(rollout, ramp, standing, said, unreadable=bool(unreadable)),
        unreadable=unreadable,
    )


def _progress(tables: Tables, climb: _Climb) -> shown.Progress:
    counts = tables.rollouts.counts([climb.rollout.id]).get(climb.rollout.id, {})
    return _with_climb(values.progress(climb.rollout, counts), climb)


def _with_climb(found: shown.Progress, climb: _Climb) -> shown.Progress:
    policy = climb.ramp.policy if climb.ramp is not None else None
    strategy = shown_rollouts.UNREADABLE if climb.unreadable else climbs.strategy(policy)
    return replace(found, strategy=strategy, wave=climbs.place(climb.ramp), need=climb.need)


def _cohort_events(tables: Tables, rollout: Rollout) -> Sequence[Event]:
    page = Page(limit=LIMIT_MAX)  # devices that joined by themselves are among them
    return tables.events.listing(
        queries.EventQuery(rollout=rollout.id, kinds=(EventKind.COHORT_CHANGED,), page=page)
    ).rows


def _pause(tables: Tables, rollout: Rollout) -> shown_rollouts.Pause | None:
    """Return who paused a rollout that is paused: its row has the words, the log the moment and the actor."""
    if not rollout.paused or rollout.state is not RolloutState.ACTIVE or rules.unreadable(rollout):
        return None
    asked = queries.EventQuery(rollout=rollout.id, kinds=(EventKind.ROLLOUT_PAUSED,), page=Page(limit=1))
    last = next(iter(tables.events.listing(asked).rows), None)
    if last is None:
        return shown_rollouts.Pause(by="", why=rollout.paused)
    said = rollout.paused.removeprefix(f"{last.actor}: ")
    return shown_rollouts.Pause(by=last.actor, why=said, since=values.moment(last.at_s))


_NEEDS: Final = {
    "paused": "is paused",
    "approval": "waits for approval",
    "decision": "waits for a person to decide",
    "installs": "stopped installing",
    "unreadable": "cannot be read",
}
_INSTALLS: Final = "installs fail too often. Next: look at what failed, then let it try again or move all back"


def _concern(climb: _Climb) -> shown.Concern:
    rollout, of = climb.rollout, climb.ramp
    wave = of.current if of is not None else None
    answer = why.of_rollout(rollout, {}, ramp=of, standing=climb.standing, said=climb.said, unreadable=climb.unreadable)
    since = wave.asked_at_s if wave is not None and climb.need == "decision" else None
    place = f", wave {climbs.place(of)}" if of is not None else ""
    return shown.Concern(
        severity="bad" if climb.need in ("installs", "unreadable") else "warn",
        text=f"Rollout of {rollout.model} {rollout.version or '(several versions)'} {_NEEDS[climb.need]}{place}",
        detail=_INSTALLS if climb.need == "installs" else f"{answer.why}. Next: {answer.step.words}",
        address=f"/rollouts/{rollout.id}",
        since=values.moment_or_none(since),
    )
