"""The fleet on one page, and the log."""

from __future__ import annotations

from collections import Counter

from pinnace_contract.ids import DeviceId, ModelName, RolloutId
from pinnace_contract.latest import Cause, Intent
from pinnace_server.console import shown
from pinnace_server.console.query import EventQuery
from pinnace_server.console.reading import rollouts, values
from pinnace_server.console.reading.latency import LatencyCache
from pinnace_server.console.reading.releases import ReleaseCache
from pinnace_server.console.words import CAUSE_WORDS, STATUS_MEANING
from pinnace_server.domain import queries
from pinnace_server.domain.queries import LIMIT_MAX, OFFSET_MAX, Page, RolloutQuery
from pinnace_server.domain.records import Assignment, DeviceState, EventKind, RolloutState, Status
from pinnace_server.service.ports import Tables, World

EVENTS_SHOWN = 10
ROLLOUTS_SHOWN = 5
HALTED_FOR_S = 24 * 3600.0  # a rollout that was halted yesterday is history


class OverviewReads:
    """``ports.OverviewReads``."""

    def __init__(self, world: World, releases: ReleaseCache, latency: LatencyCache) -> None:
        self._world = world
        self._releases = releases
        self._latency = latency

    def overview(self) -> shown.Overview:
        """Return the whole fleet."""
        now = self._world.clock.now()
        with self._world.store.read() as tables:
            by_status = tables.devices.by_status(queries.DeviceQuery(now_s=now))
            fleet = sum(by_status.values())
            newest = tables.rollouts.listing(RolloutQuery(page=Page(limit=ROLLOUTS_SHOWN))).rows
            latency = self._latency.get(tables, fleet, now)
            events = tables.events.listing(queries.EventQuery(page=Page(limit=EVENTS_SHOWN)))
            return shown.Overview(
                fleet=fleet,
                models=tables.models.listing(Page(limit=1)).total,
                by_status=by_status,
                concerns=self._concerns(tables, by_status.get(Status.OFFLINE, 0), now),
                progress=rollouts.progress_of(tables, newest, now),
                shares=values.shares(tables.devices.serving()),
                latency=latency.by_model(),
                latency_minutes=latency.minutes,
                events=tuple(values.event(line) for line in events.rows),
            )

    def events(self, query: EventQuery) -> shown.EventPage:
        """Return a page of the log; a kind that does not exist matches nothing."""
        kinds = tuple(EventKind)
        known = not query.kind or query.kind in kinds
        asked = queries.EventQuery(
            text=query.q,
            kinds=(EventKind(query.kind),) if query.kind and known else (),
            device=DeviceId(query.device) if query.device else None,
            model=ModelName(query.model) if query.model else None,
            actor=query.actor,
            rollout=RolloutId(query.rollout) if query.rollout else None,
            page=Page(limit=query.size, offset=min(query.offset, OFFSET_MAX)),
        )
        with self._world.store.read() as tables:
            found = tables.events.listing(asked) if known else queries.Listing(rows=(), total=0)
            return shown.EventPage(
                rows=tuple(values.event(line) for line in found.rows),
                total=found.total,
                log=tables.events.last_number(),
                kinds=tuple(kind.value for kind in kinds),
            )

    def _concerns(self, tables: Tables, offline: int, now: float) -> tuple[shown.Concern, ...]:
        waiting = rollouts.waiting_for_a_person(tables, now)
        found = [*waiting, *_halted(tables, now), *_quarantined(tables, now), *self._failed(tables, now)]
        if offline:
            found.append(
                shown.Concern(
                    severity="",
                    text=f"{_devices(offline)} offline",
                    detail=STATUS_MEANING[Status.OFFLINE],
                    address="/devices?status=offline",
                )
            )
        return tuple(found)

    def _failed(self, tables: Tables, now: float) -> list[shown.Concern]:
        """Group what ended badly by model, version and cause; of very many devices the first ones are looked at."""
        asked = queries.DeviceQuery(now_s=now, status=Status.DEGRADED, page=Page(limit=LIMIT_MAX))
        degraded = tables.devices.listing(asked)
        groups: dict[tuple[str, str, str, Cause], list[Assignment]] = {}
        assignments = tables.assignments.of([device.id for device in degraded.rows])
        failed = [each for each in assignments if each.outcome in values.BAD_OUTCOMES]
        releases = self._releases.some(tables, {each.release for each in failed if each.release is not None})
        for each in failed:
            release = releases.get(each.release) if each.release is not None else None
            key = (each.model, release.version if release else "", str(each.outcome), each.cause)
            groups.setdefault(key, []).append(each)
        found = [_group(key, members) for key, members in groups.items()]
        if degraded.total > len(degraded.rows):
            more = degraded.total - len(degraded.rows)
            text = f"{_devices(more)} more degraded"
            found.append(shown.Concern(severity="warn", text=text, detail="", address="/devices?status=degraded"))
        return sorted(found, key=lambda concern: concern.since or values.moment(0), reverse=True)


def _group(key: tuple[str, str, str, Cause], members: list[Assignment]) -> shown.Concern:
    model, version, outcome, cause = key
    what = {"reverted": "went back from", "failed": "could not start", "rejected": "refused"}.get(outcome, outcome)
    details = Counter(member.detail for member in members if member.detail)
    said = f" Most say: {details.most_common(1)[0][0]}" if details else ""
    return shown.Concern(
        severity="bad",
        text=f"{_devices(len(members))} {what} {model} {version}".rstrip() + f": {cause}",
        detail=CAUSE_WORDS.get(cause, ("", ""))[0] + said,
        address=f"/devices?status=degraded&model={model}",
        since=values.moment(max(member.ended_at_s or member.assigned_at_s for member in members)),
    )


def _halted(tables: Tables, now: float) -> list[shown.Concern]:
    halted = tables.rollouts.listing(RolloutQuery(state=RolloutState.HALTED, page=Page(limit=ROLLOUTS_SHOWN))).rows
    return [
        shown.Concern(
            severity="bad",
            text=f"Rollout of {rollout.model} {rollout.version} was halted and its devices moved back",
            detail=rollout.reason,
            address=f"/rollouts/{rollout.id}",
            since=values.moment_or_none(rollout.ended_at_s),
        )
        for rollout in halted
        if rollout.intent is Intent.UPGRADE and now - (rollout.ended_at_s or rollout.created_at_s) < HALTED_FOR_S
    ]


def _quarantined(tables: Tables, now: float) -> list[shown.Concern]:
    asked = queries.DeviceQuery(now_s=now, states=(DeviceState.QUARANTINED,), page=Page(limit=ROLLOUTS_SHOWN))
    found = tables.devices.listing(asked)
    return [
        shown.Concern(
            severity="bad",
            text=f"{device.name or device.id} is quarantined: {device.cause}",
            detail=CAUSE_WORDS.get(device.cause, ("", ""))[0],
            address=f"/devices/{device.id}",
        )
        for device in found.rows
    ]


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count:,} devices"
