"""What a person does with a rollout in waves: begin it, hold it, agree, decide for its gates, change its cohort."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from pinnace_contract.ids import DeviceId, ModelName, RolloutId
from pinnace_contract.latest import Cause, Intent
from pinnace_server.domain import ramp as ramps
from pinnace_server.domain import variants
from pinnace_server.domain.gates.foresight import Fleet, Foresight, foresee
from pinnace_server.domain.ramp import Agreement, Ramp, Ruling, RulingKind
from pinnace_server.domain.records import (
    Event,
    EventKind,
    MemberState,
    Rollout,
    RolloutState,
    Severity,
    Version,
)
from pinnace_server.domain.rollout_policy import gating
from pinnace_server.domain.rollout_policy.policy import Ab, Cohort, RolloutPolicy
from pinnace_server.domain.selector import Selector
from pinnace_server.domain.witness import STRETCH_S
from pinnace_server.errors import Code, Conflict, Refused
from pinnace_server.service import going_back, joining, matching, observing, rules, siting
from pinnace_server.service.catalogue import found_version
from pinnace_server.service.joining import Dealt
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.ramps import ramp_of
from pinnace_server.service.rollouts import found_rollout

FORESEEN_DEVICES_MAX: Final = 100  # whose last day says what the fleet is like
DAY_S: Final = 86_400.0
_RETRIED: Final = (MemberState.FAILED, MemberState.REVERTED, MemberState.REJECTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a rollout would do: its waves, and what they could notice of the first one that has devices."""

    policy: RolloutPolicy
    version: Version
    dealt: Dealt
    foresight: Foresight | None

    def variants(self) -> Mapping[str, int]:
        """Count the devices that try each variant first, by what it is called; empty where there is only one."""
        among = self.version.body.variants
        if len(among) < 2:
            return {}
        names = {each.digest: variants.label(each, among) for each in among}
        return Counter(names[each.variants[0]] for each in self.dealt.choices.values())


class Steering:
    """Begins and steers rollouts in waves."""

    def __init__(self, world: World) -> None:
        self._world = world

    def preview(
        self, *, model: ModelName, version: str, policy: RolloutPolicy, people: Collection[str] | None = None
    ) -> Preview:
        """Return what a rollout would do, without beginning it. The same cohort is dealt the same way when it begins.

        Raises:
            NotFound, Refused, Conflict
        """
        now = self._world.clock.now()
        with self._world.store.read() as tables:
            found = _may_go(found_version(tables, model, version), policy, people)
            dealt = joining.deal(tables, found, policy)
            return Preview(
                policy=policy, version=found, dealt=dealt, foresight=_foreseen(tables, found, policy, dealt, now)
            )

    def begin(
        self,
        *,
        model: ModelName,
        version: str,
        policy: RolloutPolicy,
        reason: str = "",
        actor: str,
        people: Collection[str] | None = None,
    ) -> Rollout:
        """Begin a rollout: deal its cohort into waves. The controller starts the first one.

        ``people``: everybody whom this server knows, so that a policy that asks for others is refused; None: not known.

        Raises:
            NotFound: model or version. Refused: no device. Conflict: withdrawn.
        """
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            found = _may_go(found_version(tables, model, version), policy, people)
            rollout = Rollout(
                id=RolloutId(f"r-{self._world.chance.secret_hex(5)}"),
                model=model,
                version=found.version,
                release=found.release,
                intent=Intent.UPGRADE,
                selector=str(policy.cohort.selector),
                policy=observing.terms_text(policy.terms),
                rules=rules.text_of(policy),
                state=RolloutState.ACTIVE,
                reason=reason,
                actor=actor,
                created_at_s=now,
            )
            dealt = joining.deal(tables, found, policy)
            matching.some(dealt.match)
            going_back.begin(tables, rollout, joining.members_of(rollout, found, dealt))
            joining.save_waves(tables, rollout.id, policy, dealt.numbers)
        self._told(rollout)
        return rollout

    def pause(self, rollout: RolloutId, *, reason: str, actor: str) -> Rollout:
        """Begin nothing new until it is resumed: devices under way go on, and what is worse is still moved back.

        Raises:
            NotFound, Conflict
        """
        with self._world.store.write() as tables:
            found, _ = _in_waves(tables, rollout)
            if found.paused:
                raise Conflict(
                    f"rollout {rollout} is paused already: {found.paused}",
                    hint=f"to go on: pinnace rollout resume {rollout}",
                )
            paused = replace(found, paused=f"{actor}: {reason or 'no reason given'}")
            tables.rollouts.save(paused)
            self._log(tables, paused, EventKind.ROLLOUT_PAUSED, actor, f"is paused: {reason or 'no reason given'}")
        self._told(found)
        return paused

    def resume(self, rollout: RolloutId, *, reason: str = "", actor: str) -> Rollout:
        """Go on after a pause.

        Raises:
            NotFound, Conflict
        """
        with self._world.store.write() as tables:
            found, _ = _in_waves(tables, rollout)
            if not found.paused:
                raise Conflict(f"rollout {rollout} is not paused", hint=f"see: pinnace why {rollout}")
            resumed = replace(found, paused="")
            tables.rollouts.save(resumed)
            self._log(tables, resumed, EventKind.ROLLOUT_RESUMED, actor, f"goes on: {reason or 'no reason given'}")
        self._told(found)
        return resumed

    def approve(self, rollout: RolloutId, wave: int | None, *, actor: str) -> Rollout:
        """Agree that a wave may begin, by default the next one. Agreeing twice is agreeing once.

        Raises:
            NotFound
            Conflict: the wave began already, or nobody has to agree to it.
        """
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            found, ramp = _in_waves(tables, rollout)
            number = _next_wave(ramp) if wave is None else wave
            if number is None or number not in {each.number for each in ramp.waves}:
                raise Conflict(f"rollout {rollout} has no wave {number or 'left'} to agree to", hint=_waves_hint(ramp))
            if number in ramp.begun:
                raise Conflict(f"wave {number} of rollout {rollout} began already", hint="to stop it: pause, rollback")
            wanted = ramp.policy.approvals_before(number)
            if not wanted:
                raise Conflict(f"nobody has to agree before wave {number} of rollout {rollout} begins")
            if all(each.by and actor not in each.by for each in wanted):
                who = ", ".join(sorted({name for each in wanted for name in each.by}))
                raise Conflict(f"{who} must agree before wave {number} of rollout {rollout} begins, not {actor}")
            tables.rollouts.save_agreement(rollout, Agreement(wave=number, person=actor, at_s=now))
            self._log(tables, found, EventKind.WAVE_APPROVED, actor, f"wave {number} may begin, says {actor}")
        self._told(found)
        return found

    def promote(self, rollout: RolloutId, wave: int, *, reason: str, actor: str) -> Rollout:
        """Decide for the gates of the current wave that the next one may begin.

        Raises:
            NotFound
            Refused: no reason. Conflict: it is not the current wave, or the rollout is paused.
        """
        if not reason.strip():
            raise Refused("expected a reason, which the log keeps, found none", hint="--reason '…'")
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            found, ramp = _in_waves(tables, rollout)
            by = f"person:{actor}"
            ruling = Ruling(kind=RulingKind.PROMOTE, wave=wave, why=reason, by=by)
            problems = ramps.check(ruling, ramp)
            if problems:
                raise Conflict(f"wave {wave} of rollout {rollout} cannot be promoted: {'; '.join(problems)}")
            row = next(each for each in ramp.waves if each.number == wave)
            tables.rollouts.save_wave(rollout, replace(row, promoted_at_s=now, promoted_by=by))
            said = f"wave {wave} is promoted by {actor}, and not by its gates: {reason}"
            self._log(tables, found, EventKind.WAVE_PROMOTED, actor, said, wave=str(wave), by=by, why=reason)
        self._told(found)
        return found

    def retry(self, rollout: RolloutId, devices: tuple[DeviceId, ...] = (), *, actor: str) -> int:
        """Let devices on which the release ended badly try it again, by default all of them; return how many do.

        Raises:
            NotFound
            Conflict: none ended badly, or the policy's terms say that a release is not tried twice.
        """
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            found, ramp = _in_waves(tables, rollout)
            if not ramp.policy.terms.again:
                raise Conflict("the policy says that a release is not tried twice (terms.again)")
            badly = [
                each
                for each in tables.rollouts.members(rollout)
                if each.state in _RETRIED and (not devices or each.device in devices)
            ]
            strange = set(devices) - {each.device for each in badly}
            if strange:
                raise Conflict(
                    f"the release did not end badly on {', '.join(sorted(strange)[:5])}",
                    hint=f"see: pinnace why {min(strange)}",
                )
            if not badly:
                raise Conflict(f"no device of rollout {rollout} ended badly and could try again")
            badly = [*siting.try_again(tables, rollout, badly)]
            tables.rollouts.save_members(
                replace(each, state=MemberState.WAITING, cause=Cause.NONE, detail="", changed_at_s=now)
                for each in badly
            )
            n = len(badly)
            self._log(tables, found, EventKind.ROLLOUT_RETRIED, actor, f"{n} device{'s' * (n != 1)} try again")
        self._told(found)
        return n

    def change_cohort(self, rollout: RolloutId, to: Cohort | Selector, *, actor: str) -> tuple[int, int]:
        """Widen or narrow a rollout: return how many devices joined, and how many that still waited were let go.

        A selector alone leaves the cohort's membership as it is.

        Raises:
            NotFound, Conflict
        """
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            found, ramp = _in_waves(tables, rollout)
            cohort = to if isinstance(to, Cohort) else replace(ramp.policy.cohort, selector=to)
            joined, gone = joining.change(tables, found, replace(ramp.policy, cohort=cohort), now, actor)
            was, now_means = ramp.policy.cohort.in_words, cohort.in_words
            said = f"{joined} joined and {gone} were let go, for it means {now_means} now, before {was}"
            facts = {"before": was, "now": now_means, "joined": str(joined), "let_go": str(gone)}
            self._log(tables, found, EventKind.COHORT_CHANGED, actor, said, **facts)
        self._told(found)
        return joined, gone

    def _log(self, tables: Tables, rollout: Rollout, kind: EventKind, actor: str, said: str, **facts: str) -> None:
        severity = Severity.WARNING if kind is EventKind.ROLLOUT_PAUSED else Severity.INFO
        event = Event(
            at_s=self._world.clock.now(),
            kind=kind,
            actor=actor,
            summary=f"rollout of {rollout.model} {rollout.version}: {said}"[:500],
            severity=severity,
            model=rollout.model,
            version=rollout.version,
            rollout=rollout.id,
            data=facts,
        )
        tables.events.append(event)

    def _told(self, rollout: Rollout) -> None:
        self._world.changes.notify(["rollouts", f"rollout:{rollout.id}", f"model:{rollout.model}", "events"])


def _may_go(version: Version, policy: RolloutPolicy, people: Collection[str] | None) -> Version:
    if version.withdrawn is not None:
        raise Conflict(
            f"version {version.version} of {version.model} was withdrawn",
            hint="choose another version",
            code=Code.WITHDRAWN,
        )
    for at, each in enumerate(policy.approvals if people is not None else ()):
        known = [name for name in people or () if not each.by or name in each.by]
        if len(known) < each.count:
            strange = ", ".join(name for name in each.by if name not in (people or ()))
            raise Refused(
                f"policy.approvals[{at}]: expected {each.count} or more who may agree, found {len(known)}"
                f" ({', '.join(known) or 'nobody'})" + (f": this server does not know {strange}" if strange else ""),
                hint=f"this server knows {', '.join(sorted(people or ()))}; accounts come with a later version",
            )
    return version


def _in_waves(tables: Tables, name: RolloutId) -> tuple[Rollout, Ramp]:
    """Return an active rollout in waves.

    Raises:
        NotFound, Conflict
    """
    found = found_rollout(tables, name)
    ramp = ramp_of(tables, found)
    if ramp is None:
        raise Conflict(f"rollout {name} is a plain assignment, which has no waves", hint="to end it: cancel, rollback")
    if found.state is not RolloutState.ACTIVE:
        raise Conflict(f"rollout {name} is {found.state} already")
    return found, ramp


def _next_wave(ramp: Ramp) -> int | None:
    return next((each.number for each in ramp.waves if each.started_at_s is None), None)


def _waves_hint(ramp: Ramp) -> str:
    return f"its waves are 1 to {len(ramp.waves)}"


def _foreseen(tables: Tables, version: Version, policy: RolloutPolicy, dealt: Dealt, now: float) -> Foresight | None:
    """Return what the first wave could notice, going by the last day of some of the cohort; None: nobody asked them."""
    sizes: Mapping[int, int] = {
        number: sum(each == number for each in dealt.numbers.values()) for number in set(dealt.numbers.values())
    }
    if not sizes:
        return None
    first = min(sizes)
    names = sorted(dealt.numbers)[:FORESEEN_DEVICES_MAX]
    until = int(now // STRETCH_S)
    rows = tables.reports.stretches(names, version.model, until - int(DAY_S // STRETCH_S), until)
    inferences = sum(row.errors.counts.trials for row in rows)
    if not inferences:
        return None
    errors = sum(row.errors.counts.bad for row in rows)
    settings = gating.settings_of(policy, len(dealt.numbers))
    fleet = Fleet(
        candidates=sizes[first],
        controls=sum(sizes.values()) - sizes[first],
        inferences_a_day=inferences / len(names),
        error_rate=errors / inferences,
        control_percent=policy.strategy.control_percent if isinstance(policy.strategy, Ab) else None,
    )
    hours = (policy.gates.soak_s + policy.gates.hold_timeout_s) / 3600
    return foresee(fleet, settings, hours)
