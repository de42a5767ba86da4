"""The loop that makes the fleet as wanted: observe, plan, check, execute; once a second, and after anything changed.

It decides nothing: ``domain.planner`` and ``domain.health_rule`` do. Each step is one transaction and may be repeated
after a crash at any point: what was planned is in the database before it is signed, and signed before it is published.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from pinnace_contract.ids import DeviceId, Digest, ReleaseId, RolloutId
from pinnace_contract.latest import AssignmentSet, Entry, Intent
from pinnace_contract.topics import Down, DownTopic
from pinnace_server.domain import health_rule, planner, plans, stretches
from pinnace_server.domain.plans import ENDED, Observed, PlanReport
from pinnace_server.domain.policy import Policy
from pinnace_server.domain.ramp import Wave
from pinnace_server.domain.records import (
    SERVER,
    UNDER_WAY,
    Assignment,
    Counts,
    DesiredSet,
    Device,
    DeviceState,
    Event,
    EventKind,
    Member,
    MemberState,
    Rollout,
    RolloutState,
    Severity,
)
from pinnace_server.errors import NotFound, ServerError, SigningRefused
from pinnace_server.service import observing, pausing, ramps, roll_calls, rules
from pinnace_server.service.changes import ChangedDevices
from pinnace_server.service.climbing import Climbing
from pinnace_server.service.executing import execute
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.reissuing import Reissuing
from pinnace_server.service.roll_calls import RollCalls
from pinnace_server.service.rollouts import Rollouts
from pinnace_server.service.sets import save_set, withdrawn_for
from pinnace_server.service.siting import Siting
from pinnace_server.service.taking_back import TakingBack

AT_ONCE: Final = 50  # devices planned in one transaction: half a second of work, during which ingest waits
BATCH: Final = 200  # sets signed, silences told or sets renewed in one tick, so that a tick stays short
MINUTES_KEPT_S: Final = 30 * 86_400
STRETCHES_KEPT_S: Final = 2 * 86_400  # a gate asks for a device's last day
RAW_KEPT_S: Final = 86_400
PRUNE_EVERY_S: Final = 3600
RENEW_EVERY_S: Final = 60
PLAN_ALL_EVERY_S: Final = 300  # of whom nothing is heard; whoever falls silent is heard of
PUT_OFF_TICKS_MAX: Final = 10  # that this waits for one in which no gates look: of many rollouts some look each time
_UNDER_WAY: Final = (MemberState.WAITING, *UNDER_WAY)
_ENDED_WELL: Final = frozenset({MemberState.COMMITTED.value, MemberState.SUPERSEDED.value})

_log = logging.getLogger(__name__)


class Controller:
    """One tick after another; for one thread."""

    def __init__(self, world: World, rollouts: Rollouts) -> None:
        self._world = world
        self._rollouts = rollouts
        self._pruned_at_s = self._renewed_at_s = 0.0
        self._shares: dict[ReleaseId, float | None] = {}
        self._calls = RollCalls()
        self._climbing = Climbing(world, rollouts, self._calls)
        self._siting = Siting(world, self._calls)
        self._taking_back = TakingBack(world, rollouts.new_ids)
        self._reissuing = Reissuing(world, rollouts)
        self._changes = ChangedDevices()
        self._planned: frozenset[RolloutId] = frozenset()
        self._put_off = 0  # ticks that looking at everybody waits
        self._failed: frozenset[RolloutId] = frozenset()
        self._planned_all_at_s: float | None = None
        world.changes.subscribe(self._changes.heard)

    def tick(self) -> None:
        """Do everything that is due. A step that fails is logged and tried again at the next tick."""
        steps = (
            self._taking_back.take_in,
            self._reissuing.reissue,
            self.pause_unreadable,
            self.judge_all,
            self._climbing.climb_all,
            self._siting.decide_all,
            self.plan_all,
            self.tell_owed,
            self.sign,
            self.tell_silence,
            self.renew,
            self.prune,
        )
        with self._calls.remembered():
            for step in steps:
                try:
                    step()
                except Exception:
                    _log.exception("the controller's step %r failed and is tried again", step.__name__)

    def next_look_s(self) -> float | None:
        """Return when the clock alone makes a gate look again; None: no rollout is in waves."""
        return self._climbing.next_look_s()

    # --- observe, plan, check, execute -----------------------------------------------------------------------------

    def plan_all(self) -> None:
        """Plan every active rollout and carry the plans out.

        Planning looks without a lock; what it finds is planned again and executed some devices at a time, so that no
        rollout, however large, keeps devices' messages waiting for long. Devices of which nothing was heard are looked
        at every few minutes, and when a rollout begins or ends: a rollout that waits for a few costs what these few do.
        """
        changed, last_s, now = self._changes.take(), self._planned_all_at_s, self._now()
        self._planned_all_at_s = None  # an error on the way: everything, next time
        with self._world.store.read() as tables:
            # What moves devices back comes first, and is not kept waiting by what moves them on.
            active = sorted(tables.rollouts.active(), key=lambda each: each.intent is Intent.UPGRADE)
            planned = frozenset(rollout.id for rollout in active)
            self._calls.forget_but(planned)
            everything = self._looks_at_all(planned, last_s, now)
            failed: set[RolloutId] = set()
            due: list[_Due] = []
            for rollout in active:
                look_at_all = everything or rollout.id in self._failed
                if rules.unreadable(rollout):  # it begins nothing, and is looked at whole when it can be read again
                    failed.add(rollout.id)
                    continue
                with self._failing_alone(rollout, failed):
                    due += self._due(tables, rollout, None if look_at_all else changed)
        for each in due:
            with self._failing_alone(each.rollout, failed):
                self._move(each)
        self._failed = frozenset(failed)
        self._planned_all_at_s = now if everything else last_s
        if everything:
            self._planned, self._put_off = planned, 0

    def _looks_at_all(self, planned: Collection[RolloutId], last_s: float | None, now: float) -> bool:
        """Tell whether to look at everybody: after a start, every few minutes, and when a rollout begins or ends.

        In a large fleet the first two wait for a tick in which no gates look, though not for long.
        """
        if last_s is not None and (planned != self._planned or now - last_s < PLAN_ALL_EVERY_S):
            return planned != self._planned
        if self._climbing.looked_over > roll_calls.SMALL and self._put_off < PUT_OFF_TICKS_MAX:
            self._put_off += 1
            return False
        return True

    @contextmanager
    def _failing_alone(self, rollout: Rollout, failed: set[RolloutId]) -> Iterator[None]:
        """Let a bug or a bad row of one rollout stop no other; it is looked at whole next time."""
        try:
            yield
        except Exception:
            _log.exception("rollout %s cannot be planned and is tried again", rollout.id)
            failed.add(rollout.id)

    def _due(self, tables: Tables, rollout: Rollout, changed: Sequence[DeviceId] | None) -> Sequence[_Due]:
        """Return those of a rollout's members for which planning would change anything, or that it may have ended.

        ``changed`` None: look at them all. Returns nothing where nothing was heard of any.
        """
        now = self._now()
        look = ramps.look(tables, rollout, now, self._calls, may_wait=changed is not None)
        members = _in_question(tables, rollout, look, changed)
        if not members:
            return [_Due(rollout=rollout, look=look)] if changed is None or look is not None else []
        observed = observing.observe(tables, rollout, members)
        policy, parent = _shown(tables, rollout, members, observed, look, now), observing.parent_of(rollout)
        made, report = planner.plan(policy, observed, parent, now)
        planned = [change.device for change in made.changes] if made is not None and made is not parent else []
        moving = dict.fromkeys([*planned, *(member.device for member in _changed(observed, report, 0.0))])
        return [_Due(rollout=rollout, look=look, devices=tuple(moving))]

    def _move(self, due: _Due) -> None:
        rollout: Rollout | None = due.rollout
        for start in range(0, len(due.devices), AT_ONCE):
            with self._world.store.write() as tables:
                rollout, topics = self._advance(tables, due, rollout, due.devices[start : start + AT_ONCE])
            self._world.changes.notify(topics)
            if rollout is None:
                break
        if self._is_over(due.rollout):
            with self._world.store.write() as tables:
                self._finish(tables, due.rollout)
            self._world.changes.notify(
                ["rollouts", f"rollout:{due.rollout.id}", f"model:{due.rollout.model}", "events"]
            )

    def _advance(
        self, tables: Tables, due: _Due, last: Rollout | None, devices: Sequence[DeviceId]
    ) -> tuple[Rollout | None, list[str]]:
        """Plan some devices again and carry it out; return the rollout as it is then, None where it is out of hand.

        What waves and budgets let was worked out before: it holds while the rollout is what it was then, but for the
        plans made since. A person who paused it, or another server that planned it, ends this.
        """
        rollout = tables.rollouts.get(due.rollout.id)
        if rollout is None or rollout.state is not RolloutState.ACTIVE or (due.look is not None and rollout != last):
            return None, []
        members = tables.rollouts.some_members(rollout.id, devices)
        observed = observing.observe(tables, rollout, members)
        parent, now = observing.parent_of(rollout), self._now()
        policy = _shown(tables, rollout, members, observed, due.look, now)
        made, report = planner.plan(policy, observed, parent, now)
        tables.rollouts.save_members(_changed(observed, report, now))
        if made is not None and made is not parent:
            problems = plans.check(made, observed, parent)
            if problems:
                raise AssertionError(f"a plan for rollout {rollout.id} must not be executed: {'; '.join(problems)}")
            execute(tables, self._world, rollout, made, observed, now)
            rollout = replace(rollout, plan=made.id)
            tables.rollouts.save(rollout)
        topics = ["rollouts", f"rollout:{rollout.id}", "devices", "events"]
        return rollout, [*topics, *(f"device:{device}" for device in devices)]

    def _is_over(self, rollout: Rollout) -> bool:
        with self._world.store.read() as tables:
            return not _under_way(tables, rollout)

    def _finish(self, tables: Tables, due: Rollout) -> None:
        rollout = tables.rollouts.get(due.id)
        if rollout is None or rollout.state is not RolloutState.ACTIVE or _under_way(tables, rollout):
            return
        now = self._now()
        tables.rollouts.save(replace(rollout, state=RolloutState.FINISHED, ended_at_s=now))
        tables.events.append(_finished(rollout, tables.rollouts.counts([rollout.id]).get(rollout.id, {}), now))

    def pause_unreadable(self) -> None:
        """Pause rollouts of whose row something cannot be read, each alone."""
        pausing.pause_unreadable(self._world)

    # --- the rule --------------------------------------------------------------------------------------------------

    def judge_all(self) -> None:
        """Hold the health rule against every release that a rollout put on devices; halt what it fires on."""
        firing: list[RolloutId] = []
        with self._world.store.read() as tables:
            for rollout in tables.rollouts.owning():
                with self._judging(rollout.id):
                    firing += [rollout.id] if self._verdict(tables, rollout).fires else []
        for name in firing:
            with self._judging(name):
                self._fire(name)

    @contextmanager
    def _judging(self, name: RolloutId) -> Iterator[None]:
        """What is bad must go back, whatever the rows of another rollout are like."""
        try:
            yield
        except Exception:
            _log.exception("rollout %s cannot be judged and is tried again", name)

    def _fire(self, name: RolloutId) -> None:
        with self._world.store.write() as tables:
            rollout = tables.rollouts.get(name)
            if rollout is None or rollout.state not in (RolloutState.ACTIVE, RolloutState.FINISHED):
                return
            verdict = self._verdict(tables, rollout)
            if not verdict.fires:
                return
            tables.events.append(_fired(rollout, verdict, self._now()))
            made = self._rollouts.halt(tables, rollout, reason=verdict.text, verdict=verdict.inputs, actor=SERVER)
        self._world.changes.notify(["rollouts", f"rollout:{name}", f"rollout:{made.id}", "devices", "events"])

    def _verdict(self, tables: Tables, rollout: Rollout) -> health_rule.Verdict:
        candidate = tables.rollouts.evidence(rollout.id)
        previous = self._previous(tables, rollout) if candidate.labels >= health_rule.LABELS_MIN else Counts()
        # Gates judge confidence by the device; the rule, which adds everybody up, is left to what has none.
        share_below = None if rollout.rules else self._share_below(tables, rollout.release)
        return health_rule.judge(candidate, previous, share_below)

    def _share_below(self, tables: Tables, release: ReleaseId | None) -> float | None:
        if release is None:
            return None
        if release not in self._shares:  # a version never changes, and reading it each second is work for nothing
            version = tables.versions.of_release(release)
            self._shares[release] = version.share_below if version else None
        return self._shares[release]

    def _previous(self, tables: Tables, rollout: Rollout) -> Counts:
        """Add up what the rollout's devices counted for the releases that it replaced there."""
        replaced: dict[ReleaseId, list[DeviceId]] = {}
        for assignment in self._owned(tables, rollout):
            if assignment.before is not None and assignment.before.release != rollout.release:
                replaced.setdefault(assignment.before.release, []).append(assignment.device)
        total = Counts()
        for release, devices in replaced.items():
            total = total.plus(tables.reports.counts(devices, release))
        return total

    def _owned(self, tables: Tables, rollout: Rollout) -> Sequence[Assignment]:
        members = tables.rollouts.members(rollout.id)
        found = tables.assignments.of([member.device for member in members])
        return [each for each in found if each.model == rollout.model and each.rollout == rollout.id]

    # --- what devices are told -------------------------------------------------------------------------------------

    def tell_owed(self) -> None:
        """Make new sets for devices that must hear what was withdrawn. Their entries stay, so no model is interrupted.

        It also goes to devices in quarantine: what must not run must not run there either.
        """
        with self._world.store.read() as tables:
            owed = tables.assignments.owed(BATCH)
        for start in range(0, len(owed), AT_ONCE):
            some = owed[start : start + AT_ONCE]
            with self._world.store.write() as tables:
                told = [name for name in some if self._tell(tables, name)]
            if told:
                self._world.changes.notify(["devices", *(f"device:{name}" for name in told)])

    def _tell(self, tables: Tables, name: DeviceId) -> bool:
        """Settle what is owed to a device; tell whether it took a new set."""
        tables.assignments.settle(name)
        device, last = tables.devices.get(name), tables.assignments.desired(name)
        if device is None or device.state is DeviceState.DECOMMISSIONED or device.unadopted:
            return False
        if last is not None and last.assignments.withdrawn == withdrawn_for(tables, name):
            return False
        generation = planner.next_generation(device)
        tables.devices.save(replace(device, generation=generation))
        save_set(tables, self._world, device, generation)
        return True

    def sign(self) -> None:
        """Sign and publish what is planned and not signed yet; publishing again after a crash is harmless.

        Only so many in one tick: they also begin to fetch together, and a fleet that all asks at once waits for chunks
        until it asks again. The disk is waited for once for all that is signed, and once for writing it down.
        """
        with self._world.store.read() as tables:
            unsigned = tables.assignments.unsigned(BATCH)
        if not unsigned:
            return
        payloads: list[tuple[DesiredSet, bytes]] = []
        refused: list[tuple[DesiredSet, ServerError]] = []
        with self._world.signing.together():
            for desired in unsigned:
                try:
                    payload = self._world.signing.desired(desired.assignments, self._releases(desired.assignments))
                except (SigningRefused, NotFound) as error:
                    refused.append((desired, error))
                except OSError:
                    _log.exception("the set of %s cannot be signed and is tried again", desired.device)
                else:
                    payloads.append((desired, payload))
        for desired, why in refused:
            self._refused(desired, why)
        current: list[tuple[DeviceId, bytes]] = []
        with self._world.store.write() as tables:
            for desired, payload in payloads:
                newest = tables.assignments.desired(desired.device)
                if newest is None or newest.assignments != desired.assignments:
                    continue  # planned anew meanwhile, or its site was decided: that one is signed next
                tables.assignments.save_desired(replace(desired, signed_at_s=self._now()))
                current.append((desired.device, payload))
        for device, payload in current:
            self._publish(device, payload)

    def _releases(self, assignments: AssignmentSet) -> dict[ReleaseId, bytes]:
        named = {release for entry in assignments.entries for release in (entry.release, _control_of(entry))}
        return {release: self._world.blobs.read(Digest(release)) for release in named if release is not None}

    def _refused(self, desired: DesiredSet, error: ServerError) -> None:
        """Set a set aside that the signer refuses; the next change of the device makes another."""
        _log.error("%s", error)
        now = self._now()
        with self._world.store.write() as tables:
            newest = tables.assignments.desired(desired.device)
            if newest is None or newest.generation != desired.generation:
                return
            tables.assignments.save_desired(replace(desired, signed_at_s=now))
            tables.events.append(
                Event(
                    at_s=now,
                    kind=EventKind.SIGNING_REFUSED,
                    actor=SERVER,
                    summary=str(error)[:500],
                    severity=Severity.ERROR,
                    device=desired.device,
                    data={"generation": str(desired.generation)},
                )
            )
        self._world.changes.notify(["events", f"device:{desired.device}"])

    def _publish(self, device: DeviceId, payload: bytes) -> None:
        self._world.publisher.publish(DownTopic(device=device, channel=Down.DESIRED), payload, retained=True)

    def renew(self) -> None:
        """Publish afresh what would expire: the image repository and each device's ``desired``."""
        now = self._now()
        if now - self._renewed_at_s < RENEW_EVERY_S:
            return
        self._renewed_at_s = now
        if self._world.signing.renew_image():
            for topic, payload in self._world.signing.image_metadata():
                self._world.publisher.publish(topic, payload, retained=True)
        due = self._world.signing.refresh_due(now)[:BATCH]
        with self._world.store.read() as tables:
            gone = tables.devices.decommissioned() | tables.devices.unadopted() if due else frozenset()
        for device in due:
            again = None if device in gone else self._world.signing.refresh(device)
            if again is not None:
                self._publish(device, again)

    # --- upkeep ----------------------------------------------------------------------------------------------------

    def tell_silence(self) -> None:
        """Write down once when a device has been silent for too long."""
        now = self._now()
        with self._world.store.read() as tables:
            silent = tables.devices.silent(now, BATCH)
        if not silent:
            return
        with self._world.store.write() as tables:
            for device in silent:
                newest = tables.devices.get(device.id)
                if newest is None or newest.silent or newest.seen_at_s != device.seen_at_s:
                    continue
                tables.devices.save(replace(newest, silent=True))
                tables.events.append(_silent(newest, now))
        self._world.changes.notify(["devices", "events", *(f"device:{device.id}" for device in silent)])

    def prune(self) -> None:
        """Forget telemetry that is older than it is kept."""
        now = self._now()
        if now - self._pruned_at_s < PRUNE_EVERY_S:
            return
        self._pruned_at_s = now
        with self._world.store.write() as tables:
            tables.reports.prune(
                minute_before=int(now - MINUTES_KEPT_S) // 60,
                stretch_before=int(_judged_since(tables, now) - STRETCHES_KEPT_S) // (60 * stretches.MINUTES),
                raw_before_s=now - RAW_KEPT_S,
            )

    def _now(self) -> float:
        return self._world.clock.now()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """A rollout, how its waves stand (None: it has none), and its devices for which planning would change anything."""

    rollout: Rollout
    look: ramps.Look | None
    devices: tuple[DeviceId, ...] = ()


def _shown(
    tables: Tables,
    rollout: Rollout,
    members: Sequence[Member],
    observed: Mapping[DeviceId, Observed],
    look: ramps.Look | None,
    now: float,
) -> Policy:
    policy = observing.policy_of(tables, rollout, members)
    return policy if look is None else look.bound(policy, observed, now)


def _in_question(
    tables: Tables, rollout: Rollout, look: ramps.Look | None, changed: Sequence[DeviceId] | None
) -> Sequence[Member]:
    """Return the members that planning may change: of those that changed (None: of all), and who may move now.

    Whoever ended stays as it is, and so does everybody who waits and is held.
    """
    may_move = look.moving.now if look is not None and look.moving is not None else ()
    if changed is not None:
        return tables.rollouts.some_members(rollout.id, dict.fromkeys([*changed, *may_move]))
    if look is None:
        return tables.rollouts.members_in(rollout.id, _UNDER_WAY)
    assigned = tables.rollouts.members_in(rollout.id, UNDER_WAY)
    known = {member.device for member in assigned}
    waiting = tables.rollouts.some_members(rollout.id, [name for name in may_move if name not in known])
    return [*assigned, *waiting]


def _changed(observed: dict[DeviceId, Observed], report: PlanReport, now: float) -> list[Member]:
    changed = []
    for each in report.devices:
        member = observed[each.device].member
        if each.state is not member.state:
            changed.append(replace(member, state=each.state, cause=each.cause, detail=each.detail, changed_at_s=now))
    return changed


def _judged_since(tables: Tables, now: float) -> float:
    """Return since when a wave is watched: what its devices did before that is compared with until it is decided."""
    current = (_current(tables, rollout) for rollout in tables.rollouts.active())
    begun = (wave.started_at_s for wave in current if wave is not None and wave.started_at_s is not None)
    return min(begun, default=now)


def _current(tables: Tables, rollout: Rollout) -> Wave | None:
    """Return the first wave that is not promoted, whatever the policy says; None: all are, or there are none."""
    return next((wave for wave in tables.rollouts.waves(rollout.id) if wave.promoted_at_s is None), None)


def _under_way(tables: Tables, rollout: Rollout) -> bool:
    if rollout.backlog is not None or _current(tables, rollout) is not None:
        return True
    return any(MemberState(state) not in ENDED for state in tables.rollouts.counts([rollout.id]).get(rollout.id, {}))


def _finished(rollout: Rollout, counts: Mapping[str, int], now: float) -> Event:
    said = ", ".join(f"{n} {state}" for state, n in sorted(counts.items())) or "no devices"
    what = f"{rollout.model} {rollout.version}" if rollout.version else rollout.model
    return Event(
        at_s=now,
        kind=EventKind.ROLLOUT_FINISHED,
        actor=SERVER,
        summary=f"rollout of {what} ended: {said}",
        severity=Severity.INFO if set(counts) <= _ENDED_WELL else Severity.WARNING,
        model=rollout.model,
        version=rollout.version,
        rollout=rollout.id,
        data={state: str(n) for state, n in counts.items()},
    )


def _control_of(entry: Entry) -> ReleaseId | None:
    return entry.arms.control if entry.arms is not None else None


def _fired(rollout: Rollout, verdict: health_rule.Verdict, now: float) -> Event:
    return Event(
        at_s=now,
        kind=EventKind.HEALTH_RULE_FIRED,
        actor=SERVER,
        summary=f"{rollout.model} {rollout.version} is moved back: {verdict.text}",
        severity=Severity.ERROR,
        model=rollout.model,
        version=rollout.version,
        rollout=rollout.id,
        data={"finding": verdict.finding.value, **verdict.inputs},
    )


def _silent(device: Device, now: float) -> Event:
    silence = int(now - device.seen_at_s) if device.seen_at_s is not None else 0
    return Event(
        at_s=now,
        kind=EventKind.DEVICE_OFFLINE,
        actor=SERVER,
        summary=f"{device.id} has been silent for {silence} s, and reports every {device.report_every_s} s",
        severity=Severity.WARNING,
        device=device.id,
        data={"why": "silence"},
    )
