"""Moving devices back: where each goes, and the rollout that takes it there. For operators and the rule alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pinnace_contract.ids import DeviceId, Digest, ModelName, ReleaseId, RolloutId
from pinnace_contract.latest import Cause, Intent, Runtime, WithdrawMode
from pinnace_server.domain import fallback, selector
from pinnace_server.domain.policy import ROLLBACK_TERMS
from pinnace_server.domain.records import (
    Backlog,
    Device,
    Event,
    EventKind,
    Member,
    MemberState,
    Rollout,
    RolloutState,
    Slot,
    Version,
)
from pinnace_server.service import observing
from pinnace_server.service.archive import check_assignable
from pinnace_server.service.ports import Tables


def variants_for(version: Version, device: Device) -> tuple[Digest, ...]:
    """Return the variants that a device can run, in the order to try; all of them where its runtimes are not known."""
    known = set(device.runtimes) - {Runtime.UNKNOWN}
    return tuple(each.digest for each in version.body.variants if not known or each.runtime in known)


def back(tables: Tables, device: Device, slot: Slot | None, leave: ReleaseId | None, now: float) -> Member:
    """Return where one device goes back to: a member that waits, or is skipped with ``NO_FALLBACK``.

    ``leave`` None: away from what it serves now.
    """
    versions = {release: tables.versions.of_release(release) for release in fallback.candidates_of(slot)}
    serving = slot.state.current.release if slot and slot.state.current else None
    epochs = {
        release: version.epoch
        for release, version in versions.items()
        if version is not None and _may_serve(version, is_current=release == serving)
    }
    running = fallback.fallback(slot, leave, epochs)
    if running is None:
        return _nowhere(device, slot, now)
    version = versions[running.release]
    assert version is not None, "only known releases have an epoch"
    others = tuple(digest for digest in variants_for(version, device) if digest != running.variant)
    return Member(
        rollout=RolloutId(""),
        device=device.id,
        release=running.release,
        variants=(running.variant, *others),
        changed_at_s=now,
    )


def _may_serve(version: Version, *, is_current: bool) -> bool:
    """A retired release is not started anew; a device that serves it, and tries another, may stay on it."""
    return version.withdrawn is None or (version.withdrawn is WithdrawMode.RETIRE and is_current)


def members_back(
    tables: Tables, rollout: Rollout, members: Sequence[Member], now: float, *, removes: bool
) -> list[Member]:
    """Return where each of a rollout's devices goes back to.

    With ``removes`` a device that has nowhere to go loses the model: it is a first release that never committed.
    """
    names = [member.device for member in members]
    slots = {slot.device: slot for slot in tables.devices.slots(names, rollout.model)}
    found = []
    for device, member in zip(tables.devices.some(names), members, strict=True):
        moved = back(tables, device, slots.get(device.id), member.release, now)
        if removes and moved.state is MemberState.SKIPPED:
            moved = Member(rollout=RolloutId(""), device=device.id, release=None, changed_at_s=now)
        found.append(moved)
    return found


def begin(tables: Tables, rollout: Rollout, members: Sequence[Member]) -> Rollout:
    """Save a rollout with its members, and say so in the log.

    Raises:
        Conflict: it would move devices up to what is archived.
    """
    check_assignable(tables, rollout)
    tables.rollouts.save(rollout)
    tables.rollouts.save_members(replace(member, rollout=rollout.id) for member in members)
    to = f" to {rollout.version}" if rollout.version else ""
    what = {
        Intent.UPGRADE: f"{rollout.model} {rollout.version} assigned to",
        Intent.ROLLBACK: f"{rollout.model} goes back{to} on",
        Intent.REMOVE: f"{rollout.model} is taken from",
        Intent.UNKNOWN: f"{rollout.model} changes on",
    }[rollout.intent]
    n = sum(member.state is not MemberState.SKIPPED for member in members)
    reason = f": {rollout.reason}" if rollout.reason else ""
    more = ", and on more in the next steps" if rollout.backlog is not None else ""
    facts = {"intent": rollout.intent.value, "selector": rollout.selector, "devices": str(n)}
    tables.events.append(
        Event(
            at_s=rollout.created_at_s,
            kind=EventKind.ROLLOUT_CREATED,
            actor=rollout.actor,
            summary=f"{what} {n} device{'s' * (n != 1)}{more}{reason}",
            model=rollout.model,
            version=rollout.version,
            rollout=rollout.id,
            data=facts | ({"halts": rollout.halts} if rollout.halts else {}),
        )
    )
    return rollout


def backwards(
    tables: Tables,
    model: ModelName,
    members: Sequence[Member],
    *,
    ids: tuple[RolloutId, RolloutId],
    actor: str,
    reason: str,
    now: float,
    halts: RolloutId | None = None,
    backlog: Backlog | None = None,
) -> Rollout:
    """Begin the rollback of these members, and beside it the removal of those that go nowhere; return the rollback, or
    the removal where there is nothing else. ``backlog``: whom the rollback takes in later."""
    kept, removed = apart(members)
    only = only_version(tables, kept)
    rollback = Rollout(
        id=ids[0],
        model=model,
        version=only.version if only else None,
        release=only.release if only else None,
        intent=Intent.ROLLBACK,
        selector=_named([member.device for member in kept]),
        policy=observing.terms_text(ROLLBACK_TERMS),
        state=RolloutState.ACTIVE,
        reason=reason,
        halts=halts,
        actor=actor,
        created_at_s=now,
    )
    removal = replace(
        rollback,
        id=ids[1],
        version=None,
        release=None,
        intent=Intent.REMOVE,
        selector=_named([member.device for member in removed]),
    )
    if removed:
        begin(tables, removal, removed)
    if removed and not kept and backlog is None:
        return removal
    if backlog is not None:
        rollback = replace(rollback, backlog=replace(backlog, beside=removal.id if removed else None))
    return begin(tables, rollback, kept)


def apart(members: Sequence[Member]) -> tuple[list[Member], list[Member]]:
    """Return those that go back, or are left as they are, and those that go nowhere and lose the model."""
    removed = [member for member in members if member.release is None and member.state is MemberState.WAITING]
    return [member for member in members if member not in removed], removed


def only_version(tables: Tables, members: Sequence[Member]) -> Version | None:
    """Return the version that all of these go back to; None: they go to several, or nowhere."""
    releases = {member.release for member in members if member.release is not None}
    return tables.versions.of_release(next(iter(releases))) if len(releases) == 1 else None


def _named(devices: Sequence[DeviceId]) -> str:
    shown = str(selector.of_devices(tuple(devices[: selector.VALUES_MAX]))) if devices else ""
    return shown if len(devices) <= selector.VALUES_MAX else f"{shown} …"


def _nowhere(device: Device, slot: Slot | None, now: float) -> Member:
    held = ", ".join(good.version for good in slot.state.last_good) if slot else ""
    detail = f"it holds {held} as good, and none may be used" if held else "it holds no other release as good"
    return Member(
        rollout=RolloutId(""),
        device=device.id,
        release=None,
        state=MemberState.SKIPPED,
        cause=Cause.NO_FALLBACK,
        detail=detail,
        changed_at_s=now,
    )
