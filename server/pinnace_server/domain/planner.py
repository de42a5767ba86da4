"""What the fleet should do next: ``plan(policy, observed, parent, now) -> (plan, report)``.

A plan without changes is its parent itself, so planning twice changes nothing. Nothing here reads a clock, a table or a
queue; the values are ``plans``'s, the executor is ``service/controller.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pinnace_contract.latest import Cause, Entry, Intent, Outcome
from pinnace_server.domain import pairs, plans, progress, shadows, splits
from pinnace_server.domain.plans import (
    ENDED,
    Adopt,
    Assign,
    Change,
    DeviceReport,
    Fleet,
    Observed,
    Plan,
    PlanReport,
    Skip,
)
from pinnace_server.domain.policy import ROLLBACK_TERMS, Policy, Target
from pinnace_server.domain.records import Device, DeviceState, MemberState
from pinnace_server.domain.rollout_policy.policy import SITE_LABEL


def plan(policy: Policy, observed: Fleet, parent: Plan | None, now_s: float) -> tuple[Plan | None, PlanReport]:
    """Return what to do now and how things stand.

    The plan is ``parent`` itself when there is nothing to do, so that planning again changes nothing.
    """
    changes: list[Change] = []
    reports: list[DeviceReport] = []
    for wave, target in _targets(policy):
        seen = observed.get(target.device)
        if seen is None:
            continue
        change = None if policy.cancelled else _change(policy, wave, target, seen, now_s)
        if change is not None:
            changes.append(change)
        reports.append(progress.report(policy, wave, seen, change, now_s))
    under_way = bool(changes) or any(each.state not in ENDED for each in reports)
    report = PlanReport(devices=tuple(reports), finished=policy.cancelled or not under_way)
    if not changes:
        return parent, report
    return plans.make(policy.rollout, parent, tuple(changes), now_s), report


def next_generation(device: Device) -> int:
    """Return the number after the highest that this server reserved or the device said to have."""
    return max(device.generation, device.reported_generation) + 1


def reissued(entries: tuple[Entry, ...], generation: int) -> tuple[Entry, ...]:
    """Return a device's entries for a store that is new: all as first said, under one new generation.

    A rollback becomes a plain entry: the new store committed nothing that it could go back to, or compare with.
    """
    return tuple(
        replace(
            entry,
            generation=generation,
            intent=Intent.UPGRADE if entry.intent is Intent.ROLLBACK else entry.intent,
            arms=None,
        )
        for entry in entries
    )


def _targets(policy: Policy) -> Iterator[tuple[int, Target]]:
    return ((wave.number, target) for wave in policy.waves for target in wave.targets)


def _change(policy: Policy, wave: int, target: Target, seen: Observed, now_s: float) -> Change | None:
    if seen.member.state is MemberState.READY and progress.held(policy, seen) is None:
        return pairs.switch(policy, seen, next_generation(seen.device), now_s)
    if seen.member.state is not MemberState.WAITING or progress.held(policy, seen) is not None:
        return None
    if seen.device.state is DeviceState.DECOMMISSIONED:
        return Skip(device=target.device, cause=Cause.NONE, detail="the device was decommissioned")
    if _is_there(policy, target, seen):
        return Adopt(device=target.device)
    refusal = _refusal(policy, target, seen) or pairs.refusal(policy, seen)
    if refusal is not None:
        return refusal
    armed = _armed(policy, wave, _entry(policy, target, seen), seen, now_s)
    if isinstance(armed, Skip):
        return armed
    entry, why = armed
    return Assign(
        device=target.device,
        incarnation=seen.device.incarnation,
        entry=entry,
        before=seen.slot.state.current if seen.slot else None,
        why=why,
    )


def _armed(policy: Policy, wave: int, entry: Entry, seen: Observed, now_s: float) -> tuple[Entry, str] | Skip:
    """Return an entry with the arms that the policy asks for, which are of one kind, and why it has none after all; or
    why the device is left out."""
    if entry.intent is not Intent.UPGRADE:
        return entry, ""
    if policy.shadow is not None:
        unshadowed = shadows.why_not(policy, seen)
        if unshadowed is None:
            return shadows.with_arms(policy, entry, seen, now_s), ""
        if policy.shadow.leaves_out:
            return Skip(device=seen.device.id, cause=unshadowed.cause, detail=f"left out: {unshadowed.detail}")
        return entry, f"without a shadow: {unshadowed.detail}"
    if policy.split is not None:
        unsplit = splits.why_not(policy, seen)
        if unsplit is None:
            return splits.with_arms(policy, entry, seen, now_s), ""
        if policy.split.leaves_out:
            return Skip(device=seen.device.id, cause=unsplit.cause, detail=f"left out: {unsplit.detail}")
        return entry, f"without a control arm: {unsplit.detail}"
    paired = pairs.with_arms(policy, wave, entry, seen, now_s)
    return paired, pairs.ALONE if policy.pair is not None and paired.arms is None else ""


def _is_there(policy: Policy, target: Target, seen: Observed) -> bool:
    assignment = seen.assignment
    if assignment is None or assignment.release != target.release:
        return False
    if assignment.entry.variants != target.variants and policy.intent is not Intent.ROLLBACK:
        return False
    if assignment.outcome is None:  # one whose site decides is not another rollout's to end, nor the other way round
        return not assignment.entry.site_atomic and policy.lease_s is None
    if assignment.outcome is Outcome.COMMITTED:
        # What the device says it serves decides; a rollback whose device already left the release starts anew.
        serves = seen.slot.state.current.release if seen.slot and seen.slot.state.current else None
        return seen.slot is None or serves == target.release
    return not policy.terms.again


def _refusal(policy: Policy, target: Target, seen: Observed) -> Skip | None:
    current = seen.slot.state.current if seen.slot else None
    if policy.intent is not Intent.UPGRADE or current is None or target.sequence >= current.sequence:
        return None
    if _is_good_there(target, seen):
        return None
    detail = (
        f"it serves version {current.version}, which is newer, and does not hold this one as good; "
        "a rollback goes only to a release that the device committed before"
    )
    return Skip(device=target.device, cause=Cause.OLDER_RELEASE, detail=detail)


def _is_good_there(target: Target, seen: Observed) -> bool:
    return seen.slot is not None and any(good.release == target.release for good in seen.slot.state.last_good)


def _entry(policy: Policy, target: Target, seen: Observed) -> Entry:
    current = seen.slot.state.current if seen.slot else None
    back = policy.intent is Intent.UPGRADE and current is not None and target.sequence < current.sequence
    intent = Intent.ROLLBACK if back else policy.intent
    terms = ROLLBACK_TERMS if intent is Intent.ROLLBACK else policy.terms
    if intent is Intent.ROLLBACK and seen.slot is None:
        intent = Intent.UPGRADE  # its store is new, and committed nothing that it could go back to
    sited = policy.lease_s is not None and intent is Intent.UPGRADE
    site = seen.device.labels.get(SITE_LABEL, "") if sited else ""
    return Entry(
        model=policy.model,
        generation=next_generation(seen.device),
        attempt=seen.attempts + 1,
        intent=intent,
        release=target.release,
        release_size_bytes=target.release_size_bytes,
        variants=target.variants,
        trial=terms.trial,
        contact=terms.contact,
        deadlines=terms.deadlines,
        window=target.window if intent is Intent.UPGRADE else None,
        swap=terms.swap,
        replace=terms.replace,
        metered=terms.metered,
        rollout=policy.rollout,
        site_atomic=bool(site),
        site=site,
        lease_s=policy.lease_s or 0 if site else 0,
    )
