"""Moving devices to releases and back: what an operator asks for becomes a rollout, the controller carries it out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pinnace_contract.ids import DeviceId, ModelName, ReleaseId, RolloutId
from pinnace_contract.latest import Cause, Intent
from pinnace_server.domain import selector
from pinnace_server.domain.plans import PlanReport
from pinnace_server.domain.policy import PLAIN_TERMS, Terms
from pinnace_server.domain.queries import Listing, RolloutQuery
from pinnace_server.domain.ramp import Ramp
from pinnace_server.domain.records import (
    Assignment,
    Backlog,
    Counts,
    Device,
    DeviceState,
    Event,
    EventKind,
    Leaves,
    Member,
    MemberState,
    Rollout,
    RolloutState,
    Severity,
    Slot,
)
from pinnace_server.domain.rollout_policy.policy import OnRollback
from pinnace_server.domain.sites import Site
from pinnace_server.errors import Code, Conflict, NotFound
from pinnace_server.service import going_back, matching, observing, ramps, rules, siting, taking_back
from pinnace_server.service.catalogue import found_version
from pinnace_server.service.fleet import found_device
from pinnace_server.service.ports import Tables, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A rollout and how it stands. ``ramp`` None: a plain assignment, without waves. ``counts``: by wave and state.

    ``sites`` are those that move whole, of waves that began.
    """

    rollout: Rollout
    report: PlanReport
    evidence: Counts
    ramp: Ramp | None = None
    counts: Mapping[int, Mapping[MemberState, int]] = field(default_factory=dict)
    sites: tuple[Site, ...] = ()


class Rollouts:
    """Reads, makes and ends rollouts."""

    def __init__(self, world: World) -> None:
        self._world = world

    def listing(self, query: RolloutQuery) -> Listing[Rollout]:
        """Return rollouts, the newest first."""
        with self._world.store.read() as tables:
            return tables.rollouts.listing(query)

    def counts(self, rollouts: Iterable[RolloutId]) -> Mapping[RolloutId, Mapping[str, int]]:
        """Count each rollout's devices by state."""
        with self._world.store.read() as tables:
            return tables.rollouts.counts(rollouts)

    def progress(self, rollout: RolloutId) -> Progress:
        """Return how a rollout stands, and what each of its devices waits on.

        Raises:
            NotFound
        """
        with self._world.store.read() as tables:
            found = found_rollout(tables, rollout)
            return self._progress(tables, found)

    def _progress(self, tables: Tables, rollout: Rollout) -> Progress:
        now, members = self._world.clock.now(), tables.rollouts.members(rollout.id)
        seen = ramps.shown(tables, rollout, now)
        return Progress(
            rollout=rollout,
            report=ramps.report(tables, rollout, members, seen, now),
            evidence=tables.rollouts.evidence(rollout.id),
            ramp=seen.ramp if seen is not None else None,
            counts=tables.rollouts.wave_counts(rollout.id),
            sites=tuple(siting.sites_now(tables, rollout, now).values()),
        )

    def match(self, model: ModelName, version: str, selected: str) -> matching.Match:
        """Return what an assignment would touch, without making it.

        Raises:
            NotFound, Refused
        """
        with self._world.store.read() as tables:
            return matching.match(tables, found_version(tables, model, version), _selected(tables, selected))

    def assign(
        self, *, model: ModelName, version: str, selected: str, terms: Terms = PLAIN_TERMS, actor: str
    ) -> Rollout:
        """Let the devices that a selector means go to a version. Its members are those it means now.

        Raises:
            NotFound: model or version. Refused: the selector, or nothing matches. Conflict: the version was withdrawn.
        """
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            found = found_version(tables, model, version)
            if found.withdrawn is not None:
                raise Conflict(
                    f"version {found.version} of {model} was withdrawn",
                    hint="choose another version",
                    code=Code.WITHDRAWN,
                )
            match = matching.some(matching.match(tables, found, _selected(tables, selected)))
            rollout = Rollout(
                id=self.new_ids()[0],
                model=model,
                version=found.version,
                release=found.release,
                intent=Intent.UPGRADE,
                selector=selected,
                policy=observing.terms_text(terms),
                state=RolloutState.ACTIVE,
                actor=actor,
                created_at_s=now,
            )
            members = [
                Member(
                    rollout=rollout.id,
                    device=device.id,
                    release=found.release,
                    variants=going_back.variants_for(found, device),
                    changed_at_s=now,
                )
                for device in match.devices
            ]
            going_back.begin(tables, rollout, members)
        self._told(rollout)
        return rollout

    def revert(self, *, device: DeviceId, model: ModelName, reason: str = "", actor: str) -> Rollout:
        """Move one device back to the release that it served before.

        Raises:
            NotFound
            Conflict: nothing to go back to (NO_FALLBACK), or the device gets no new assignments.
        """
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            found = found_device(tables, device)
            if found.state in (DeviceState.QUARANTINED, DeviceState.DECOMMISSIONED):
                raise Conflict(
                    f"device {device} is {found.state} ({found.cause}) and gets no new assignments",
                    hint="readmit it first",
                    code=Code.CLONE_SUSPECTED if found.cause is Cause.CLONE_SUSPECTED else Code.STATE,
                )
            slot = tables.devices.slot(device, model)
            if slot is None:
                raise NotFound("model on this device", model, hint=f"see: pinnace device show {device}")
            leave = _left(slot, tables.assignments.get(device, model))
            member = going_back.back(tables, found, slot, leave, now)
            if member.state is MemberState.SKIPPED:
                raise Conflict(
                    f"device {device} has no release of {model} to go back to: {member.detail}",
                    hint="assign it a version instead",
                    code=Code.NO_FALLBACK,
                )
            rollout = going_back.backwards(
                tables,
                model,
                [member],
                ids=self.new_ids(),
                actor=actor,
                reason=reason or "reverted by hand",
                now=now,
            )
        self._told(rollout)
        return rollout

    def roll_back(self, rollout: RolloutId, *, reason: str, actor: str) -> Rollout:
        """Halt a rollout and move its devices back, each to what it served before. See ``halt``.

        Raises:
            NotFound, Conflict
        """
        with self._world.store.write() as tables:
            found = found_rollout(tables, rollout)
            made = self.halt(tables, found, reason=reason, verdict={}, actor=actor)
        self._told(found, made)
        return made

    def cancel(self, rollout: RolloutId, *, reason: str, actor: str) -> Rollout:
        """Stop a rollout where it is: nothing new starts, devices under way go back, those that committed stay.

        Raises:
            NotFound, Conflict
        """
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            found = found_rollout(tables, rollout)
            if found.state is not RolloutState.ACTIVE:
                raise Conflict(f"rollout {rollout} is {found.state} already", hint="to move its devices back: rollback")
            ended = replace(found, state=RolloutState.CANCELLED, reason=reason, ended_at_s=now)
            tables.rollouts.save(ended)
            tables.events.append(_ending(ended, EventKind.ROLLOUT_CANCELLED, actor, Severity.WARNING))
            taking_back.begin(
                tables,
                found,
                Backlog(leaves=Leaves.UNDER_WAY, removes=True, after=DeviceId("")),
                ids=self.new_ids(),
                actor=actor,
                reason=reason,
                now=now,
            )
        self._told(ended)
        return ended

    def halt(
        self,
        tables: Tables,
        rollout: Rollout,
        *,
        reason: str,
        verdict: Mapping[str, str],
        actor: str,
        only_under_way: bool = False,
        at_once: bool = False,
    ) -> Rollout:
        """Halt a rollout in this transaction and begin the rollback of its devices; one that has nothing to go back to
        is named and left as it is. With ``only_under_way`` devices that committed stay. Of a large rollout the rollback
        has the first devices, and takes the others in by steps, unless it is to have them ``at_once``.

        Raises:
            Conflict: it was halted before, or is itself a rollback.
        """
        if rollout.state is RolloutState.HALTED or rollout.intent is not Intent.UPGRADE:
            raise Conflict(
                f"rollout {rollout.id} ({rollout.intent}) is {rollout.state}", hint="it has nothing to move back"
            )
        stay = only_under_way or _stays(rollout)
        leaves = Leaves.UNDER_WAY if stay else Leaves.TOLD
        if rollout.state is RolloutState.CANCELLED:  # who was under way then is on its way back, or is taken in soon
            if stay:
                raise _nobody_left(rollout)
            leaves = Leaves.TOLD if _is_being_taken_back(tables, rollout) else Leaves.KEEPING
        now = self._world.clock.now()
        halted = replace(rollout, state=RolloutState.HALTED, reason=reason, verdict=verdict, ended_at_s=now)
        tables.rollouts.save(halted)
        tables.events.append(_ending(halted, EventKind.ROLLOUT_HALTED, actor, Severity.ERROR))
        made = taking_back.begin(
            tables,
            rollout,
            Backlog(leaves=leaves, after=DeviceId("")),
            ids=self.new_ids(),
            actor=actor,
            reason=reason,
            now=now,
            at_once=at_once,
            even_empty=rollout.state is not RolloutState.CANCELLED,
        )
        if made is None:
            raise _nobody_left(rollout)
        return made

    def new_ids(self) -> tuple[RolloutId, RolloutId]:
        """Return ids for a rollback, and for the removal that may stand beside it."""
        first, second = (RolloutId(f"r-{self._world.chance.secret_hex(5)}") for _ in range(2))
        return first, second

    def _told(self, *rollouts: Rollout) -> None:
        topics = ["rollouts", "devices", "events"]
        for rollout in rollouts:
            topics += [f"rollout:{rollout.id}", f"model:{rollout.model}"]
        self._world.changes.notify(topics)


def _selected(tables: Tables, selected: str) -> Sequence[Device]:
    return tables.devices.matching(selector.parse(selected))


def found_rollout(tables: Tables, rollout: RolloutId) -> Rollout:
    """Return a rollout of this transaction.

    Raises:
        NotFound
    """
    found = tables.rollouts.get(rollout)
    if found is None:
        raise NotFound("rollout", rollout[:70])
    return found


def _left(slot: Slot, assignment: Assignment | None) -> ReleaseId | None:
    """Return what a device should be moved away from: what it tries or was last told to run, where it does not serve
    that; None is what it serves."""
    current = slot.state.current.release if slot.state.current else None
    if slot.state.candidate is not None:
        return slot.state.candidate.release
    if assignment is not None and assignment.release is not None and assignment.release != current:
        return assignment.release
    return None


def _is_being_taken_back(tables: Tables, rollout: Rollout) -> bool:
    return any(each.halts == rollout.id and each.backlog is not None for each in tables.rollouts.active())


def _nobody_left(rollout: Rollout) -> Conflict:
    return Conflict(f"rollout {rollout.id} was cancelled", hint="no device keeps what it brought")


def _stays(rollout: Rollout) -> bool:
    """Tell whether devices that already keep the release are left on it when it is rolled back.

    A policy that cannot be read says nothing, and what is worse must not stay for it.
    """
    policy = None if rules.unreadable(rollout) else rules.policy_of(rollout)
    return policy is not None and policy.on_rollback is OnRollback.STAY


def _ending(rollout: Rollout, kind: EventKind, actor: str, severity: Severity) -> Event:
    word = "halted" if kind is EventKind.ROLLOUT_HALTED else "cancelled"
    return Event(
        at_s=rollout.ended_at_s or rollout.created_at_s,
        kind=kind,
        actor=actor,
        summary=f"rollout of {rollout.model} {rollout.version} {word}: {rollout.reason or 'no reason given'}",
        severity=severity,
        model=rollout.model,
        version=rollout.version,
        rollout=rollout.id,
        data=rollout.verdict,
    )
