"""How rollouts in waves climb, as the screens show it. Pure: what has to be looked up is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pinnace_server.console import shown, shown_rollouts
from pinnace_server.console.reading import values
from pinnace_server.domain import sites as of_sites
from pinnace_server.domain import wave_report
from pinnace_server.domain.gates.verdicts import Reason
from pinnace_server.domain.pairs import Readiness
from pinnace_server.domain.plans import DeviceReport, WaitingOn
from pinnace_server.domain.ramp import Ramp, Standing, Wave, may_switch
from pinnace_server.domain.records import Event, MemberState, Rollout, RolloutState
from pinnace_server.domain.rollout_policy.policy import BlueGreen, RolloutPolicy
from pinnace_server.domain.sites import Site
from pinnace_server.domain.waiting import WORDS
from pinnace_server.domain.wave_report import WaveReport
from pinnace_server.domain.why import Answer, StepKind
from pinnace_server.service.steering import Preview

NAMES_SHOWN: Final = 5
LATE_SHOWN: Final = 20  # of a large wave; the command line has all of them
_LATE: Final = (MemberState.WAITING, MemberState.ASSIGNED)
BADLY: Final = (MemberState.FAILED, MemberState.REVERTED, MemberState.REJECTED)
_STOPPED: Final = (Reason.INSTALLS_STOPPED, Reason.HARDWARE_STOPPED)


def why(answer: Answer) -> shown.Why:
    """Return an answer as it is shown."""
    return shown.Why(
        state=answer.state,
        why=answer.why,
        next=answer.step.words,
        command=answer.step.command,
        at=values.moment_or_none(answer.step.at_s),
        until=values.moment_or_none(answer.step.until_s),
        waiting_on=answer.waiting_on or "",
        model=answer.model or "",
        version=answer.version or "",
        rollout=answer.rollout or "",
        switches=answer.step.kind is StepKind.SWITCH,
    )


def need(
    rollout: Rollout, of: Ramp | None, standing: Standing | None, said: WaveReport | None, *, unreadable: bool = False
) -> str:
    """Return what a rollout waits for a person to do, as a key of ``words.NEED_LOOK``; empty: nothing."""
    if unreadable and rollout.state is RolloutState.ACTIVE:
        return "unreadable"
    if rollout.state is not RolloutState.ACTIVE or of is None or standing is None:
        return ""
    if of.paused:
        return "paused"
    if said is not None and any(each in _STOPPED for each in said.reasons):
        return "installs"
    if standing.waiting_on is not WaitingOn.APPROVAL:
        return ""
    return "decision" if standing.wave in of.begun else "approval"


def switch(
    of: Ramp | None, standing: Standing | None, ready: Readiness | None, reports: Sequence[DeviceReport]
) -> shown_rollouts.Switch | None:
    """Return what the current wave waits for before it switches; None: it does not wait for that."""
    policy = of.policy.strategy if of is not None else None
    if standing is None or ready is None or not isinstance(policy, BlueGreen):
        return None
    if standing.waiting_on is not WaitingOn.SWITCH:
        return None
    late = [each for each in reports if each.wave == standing.wave and each.state in _LATE]
    return shown_rollouts.Switch(
        wave=standing.wave,
        ready=ready.ready,
        late_total=ready.awaited,
        late=tuple(shown_rollouts.Late(device=each.device, waits_for=_waits_for(each)) for each in late[:LATE_SHOWN]),
        wait_s=policy.wait_s,
        until=values.moment_or_none(standing.until_s),
    )


def _waits_for(report: DeviceReport) -> str:
    return WORDS[report.waiting_on] if report.waiting_on is not None else "the controller's next look"


def cohort_changes(events: Iterable[Event]) -> tuple[shown_rollouts.CohortChange, ...]:
    """Return how a cohort was widened and narrowed; devices that joined by themselves are no change of it."""
    return tuple(
        shown_rollouts.CohortChange(
            at=values.moment(each.at_s),
            by=each.actor,
            before=each.data.get("before", ""),
            now=each.data.get("now", ""),
            joined=int(each.data.get("joined", 0)),
            let_go=int(each.data["let_go"]),
        )
        for each in events
        if "let_go" in each.data
    )


def strategy(policy: RolloutPolicy | None) -> str:
    """Return a strategy's name."""
    return shown_rollouts.PLAIN if policy is None else policy.strategy.KIND


def place(of: Ramp | None) -> str:
    """Return which wave a rollout is in, as "2 of 4"; empty: it has none."""
    if of is None or not of.waves:
        return ""
    last = of.waves[-1].number
    return f"{of.current.number if of.current is not None else last} of {last}"


def waves(
    rollout: Rollout, of: Ramp | None, counts: Mapping[int, Mapping[MemberState, int]]
) -> tuple[shown_rollouts.WaveRow, ...]:
    """Return every wave with its devices by state."""
    if of is None:
        return ()
    return tuple(_wave(rollout, of, wave, counts.get(wave.number, {})) for wave in of.waves)


def sites(found: Iterable[Site]) -> tuple[shown_rollouts.SiteRow, ...]:
    """Return the sites that move whole, and how each stands."""
    return tuple(
        shown_rollouts.SiteRow(
            name=site.name,
            wave=site.wave,
            devices=len(site.counted),
            prepared=site.prepared,
            keeping=site.keeping,
            mixed=site.mixed,
            why=of_sites.waits(site) if site.ruling is None else site.ruling.why,
            decision="" if site.ruling is None else site.ruling.verdict.value,
            decided=None if site.ruling is None else values.moment(site.ruling.decided_at_s),
            lease_until=values.moment_or_none(site.lease_until_s if site.ruling is None else None),
        )
        for site in found
    )


def is_holdback(policy: RolloutPolicy, wave: int) -> bool:
    """Tell whether a wave is the control group, which moves last."""
    return policy.holdback is not None and wave == len(policy.waves) + 1


def _wave(rollout: Rollout, of: Ramp, wave: Wave, counts: Mapping[MemberState, int]) -> shown_rollouts.WaveRow:
    progress = values.progress(rollout, {str(state): n for state, n in counts.items()})
    return shown_rollouts.WaveRow(
        number=wave.number,
        holdback=is_holdback(of.policy, wave.number),
        devices=wave.devices,
        look=_look(rollout, of, wave),
        committed=progress.committed,
        under_way=progress.under_way,
        failed=progress.failed,
        waiting=progress.waiting,
        left_out=progress.left_out,
        begun=values.moment_or_none(wave.started_at_s),
        told=values.moment_or_none(wave.told_at_s),
        switched=values.moment_or_none(wave.switched_at_s),
        promoted=values.moment_or_none(wave.promoted_at_s),
        promoted_by=wave.promoted_by,
        agreed=tuple(each.person for each in of.agreements if each.wave == wave.number),
        agreements=max((each.count for each in of.policy.approvals_before(wave.number)), default=0),
        gates=_gates(wave_report.read(wave.verdict)),
    )


def _look(rollout: Rollout, of: Ramp, wave: Wave) -> str:
    if wave.promoted_at_s is not None:
        return "promoted"
    match rollout.state:
        case RolloutState.FINISHED:
            return "done"
        case RolloutState.HALTED:
            return "back" if wave.started_at_s is not None else "stopped"
        case RolloutState.CANCELLED:
            return "stopped"
        case RolloutState.ACTIVE:
            pass
    if wave.started_at_s is None:
        return "not_begun"
    if wave.asked_at_s is not None:
        return "asked"
    if wave.switched_at_s is not None:
        return "watched"
    return "readied" if may_switch(of, wave) else "begun"


def _gates(said: WaveReport | None) -> shown_rollouts.GateReading | None:
    if said is None:
        return None
    return shown_rollouts.GateReading(
        at=values.moment(said.at_s),
        decision=said.decision,
        kind=said.kind,
        sentences=said.why,
        guards=tuple(
            shown_rollouts.GuardRow(
                guard=each.guard, worse=each.worse, not_worse=each.not_worse, trials=each.trials, bad=each.bad
            )
            for each in said.guards
        ),
        roll_back=said.thresholds.get("roll_back", 0.0),
        proven=said.thresholds.get("proven", 0.0),
        refuting=said.thresholds.get("refuting", 0.0),
        devices=said.devices,
    )


def failures(reports: Sequence[DeviceReport]) -> tuple[shown_rollouts.FailureGroup, ...]:
    """Group the devices on which it ended badly by how and why, the largest group first."""
    groups: dict[tuple[MemberState, str], list[DeviceReport]] = {}
    for each in reports:
        if each.state in BADLY:
            groups.setdefault((each.state, each.cause), []).append(each)
    found = [
        shown_rollouts.FailureGroup(
            state=state,
            cause=members[0].cause,
            detail=Counter(each.detail for each in members).most_common(1)[0][0],
            devices=len(members),
            names=tuple(each.device for each in members[:NAMES_SHOWN]),
        )
        for (state, _), members in groups.items()
    ]
    return tuple(sorted(found, key=lambda group: (-group.devices, group.cause)))


def preview(seen: Preview, policy: str) -> shown_rollouts.RolloutPreview:
    """Return what a rollout would do; ``policy`` is its text."""
    hardware = {device.id: device.hardware for device in seen.dealt.match.devices}
    members: dict[int, list[str]] = {}
    for device, number in sorted(seen.dealt.numbers.items(), key=lambda pair: (pair[1], pair[0])):
        members.setdefault(number, []).append(device)
    excluded: dict[str, list[str]] = {}
    for device, reason in seen.dealt.match.excluded.items():
        excluded.setdefault(reason, []).append(device)
    return shown_rollouts.RolloutPreview(
        strategy=strategy(seen.policy),
        devices=len(seen.dealt.numbers),
        waves=tuple(
            shown_rollouts.WavePreview(
                number=number,
                holdback=is_holdback(seen.policy, number),
                devices=len(names),
                hardware=Counter(hardware[each] or "not reported" for each in names),  # type: ignore[index]
                names=tuple(names[:NAMES_SHOWN]),
            )
            for number, names in members.items()
        ),
        already_on_it=len(seen.dealt.match.already_on_it),
        excluded=tuple((reason, len(names), tuple(names[:NAMES_SHOWN])) for reason, names in excluded.items()),
        foresight=seen.foresight.text if seen.foresight is not None else "",
        foresees=seen.foresight is None
        or seen.foresight.error_ratio is not None
        or seen.foresight.p95_percent is not None,
        policy=policy,
        approvals=_approvals(seen.policy, tuple(members)),
    )


def _approvals(policy: RolloutPolicy, numbers: tuple[int, ...]) -> tuple[str, ...]:
    said = []
    for number in numbers:
        for approval in policy.approvals_before(number):
            people = "one person" if approval.count == 1 else f"{approval.count} people"
            who = f" of {', '.join(approval.by)}" if approval.by else ""
            wave = "the holdback moves" if is_holdback(policy, number) else f"wave {number} begins"
            said.append(f"{people}{who} must agree before {wave}")
    return tuple(said)
