"""Withdrawing a version: who serves it is shown first, then in one transaction nobody may start it any more.

What devices are told stands in their sets; the controller makes those that are owed, a few in each tick.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pinnace_contract.ids import DeviceId, ModelName, ReleaseId, RolloutId, VersionName
from pinnace_contract.latest import Cause, Intent, WithdrawMode
from pinnace_server.domain import selector, withdrawal
from pinnace_server.domain.aliases import REASON_CHARS_MAX
from pinnace_server.domain.records import (
    AliasName,
    Device,
    Event,
    EventKind,
    MemberState,
    Rollout,
    Severity,
    Slot,
    Version,
    Withdrawal,
)
from pinnace_server.errors import Code, Conflict, Refused
from pinnace_server.service import going_back
from pinnace_server.service.catalogue import found_model, found_version
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.rollouts import Rollouts

NAMES_SHOWN: Final = 5
MODES: Final = (WithdrawMode.RETIRE, WithdrawMode.STOP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a withdrawal would do, by what devices said last. Devices by id; none of them is decommissioned.

    ``dark`` have nothing else that may run, which only matters with ``stop``; ``told`` get a new set; ``rollouts`` are
    active and would be halted; ``least_next_epoch`` 0: the security epoch stays.
    """

    model: ModelName
    version: VersionName
    mode: WithdrawMode
    before: Withdrawal | None
    serving: tuple[DeviceId, ...]
    dark: tuple[DeviceId, ...]
    told: tuple[DeviceId, ...]
    rollouts: tuple[RolloutId, ...]
    aliases: tuple[AliasName, ...]
    least_next_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """A version that is withdrawn, what that did, and the rollouts that move devices back; none where it was before."""

    version: Version
    preview: Preview
    rollbacks: tuple[RolloutId, ...] = ()


class Withdrawing:
    """Withdraws versions."""

    def __init__(self, world: World, rollouts: Rollouts) -> None:
        self._world = world
        self._rollouts = rollouts

    def preview(self, model: ModelName, version: str, mode: WithdrawMode, *, security: bool = False) -> Preview:
        """Return what a withdrawal would do, without doing it.

        Raises:
            NotFound, Refused. Conflict: it would take back what devices were told.
        """
        with self._world.store.read() as tables:
            return _looked(tables, _withdrawable(tables, model, version, mode), mode, security)[0]

    def withdraw(
        self,
        *,
        model: ModelName,
        version: str,
        mode: WithdrawMode,
        reason: str,
        security: bool = False,
        confirm_dark: int | None = None,
        actor: str,
    ) -> Withdrawn:
        """Let no device start a version again; with ``stop`` it is unloaded now. Doing it again changes nothing.

        With ``security`` the next version gets a security epoch above this one's, so that a device that commits it
        never starts what is below.

        Raises:
            NotFound
            Refused: no reason.
            Conflict: devices would go dark and ``confirm_dark`` does not name how many; or it would take back a stop.
        """
        why, now = _checked(reason), self._world.clock.now()
        with self._world.store.write() as tables:
            found = _withdrawable(tables, model, version, mode)
            seen, slots = _looked(tables, found, mode, security)
            asked = Withdrawal(mode=mode, at_s=now, actor=actor, reason=why, least_next_epoch=seen.least_next_epoch)
            after = withdrawal.stronger(found.withdrawal, asked)
            if after is None:
                return Withdrawn(version=found, preview=seen)
            if mode is WithdrawMode.STOP:
                _check_confirmed(seen, confirm_dark)
            tables.versions.withdraw(model, found.version, after)
            found = found_version(tables, model, found.version)
            tables.events.append(_event(found, after, seen))
            made = self._move_back(tables, found, seen, slots, after)
            # Those that serve it hear of it first.
            tables.assignments.owe([*seen.serving, *(each for each in seen.told if each not in set(seen.serving))])
        topics = ["rollouts", "devices", "events", "models", f"model:{model}"]
        self._world.changes.notify([*topics, *(f"rollout:{each}" for each in (*seen.rollouts, *made))])
        return Withdrawn(version=found, preview=seen, rollbacks=tuple(made))

    def _move_back(
        self, tables: Tables, version: Version, seen: Preview, slots: dict[DeviceId, Slot], said: Withdrawal
    ) -> list[RolloutId]:
        """Halt the rollouts of a version; with ``stop`` move everybody else back who was told to run it."""
        stop, reason = said.mode is WithdrawMode.STOP, f"withdrawn ({said.mode}): {said.reason}"
        made: list[Rollout] = []
        for name in seen.rollouts:
            rollout = tables.rollouts.get(name)
            assert rollout is not None, "it was found in this transaction"
            back = self._rollouts.halt(
                tables, rollout, reason=reason, verdict={}, actor=said.actor, only_under_way=not stop, at_once=True
            )
            made.append(back)
        _let_go(tables, version, said.at_s)
        if stop:
            moved = {member.device for each in made for member in tables.rollouts.members(each.id)}
            left = [each for each in tables.versions.wanted_on([version.release]) if each not in moved]
            members = [
                going_back.back(tables, device, slots.get(device.id), version.release, said.at_s)
                for device in tables.devices.some([each for each in left if each in set(seen.told)])
            ]
            members = [member for member in members if member.state is not MemberState.SKIPPED]
            if members:
                ids = self._rollouts.new_ids()
                made.append(
                    going_back.backwards(
                        tables, version.model, members, ids=ids, actor=said.actor, reason=reason, now=said.at_s
                    )
                )
        return [each.id for each in made]


def _withdrawable(tables: Tables, model: ModelName, version: str, mode: WithdrawMode) -> Version:
    if mode not in MODES:
        raise Refused(f"expected a mode out of retire and stop, found {mode}")
    found = found_version(tables, model, version)
    if withdrawal.takes_back(found.withdrawal, mode):
        raise Conflict(
            f"version {found.version} of {model} was withdrawn with stop, which is not taken back: devices remember it",
            hint="register the same model as a new version",
            code=Code.WITHDRAWN,
        )
    return found


def _looked(
    tables: Tables, version: Version, mode: WithdrawMode, security: bool
) -> tuple[Preview, dict[DeviceId, Slot]]:
    """Return what a withdrawal would do, and the slots of the version's model."""
    known: Sequence[Device] = tables.devices.matching(selector.EVERY_DEVICE)
    names = [device.id for device in known]
    slots = {slot.device: slot for slot in tables.devices.slots(names, version.model)}
    assigned = {each.device for each in tables.assignments.of(names) if each.model == version.model}
    stopped: set[ReleaseId] = {
        each.release for each in tables.versions.withdrawn([version.model]) if each.mode is WithdrawMode.STOP
    }
    epochs = _epochs(tables, slots.values())
    serving, dark = [], []
    for device, slot in slots.items():
        running = withdrawal.serves(slot.state)
        if running is not None and running.release == version.release:
            serving.append(device)
        if withdrawal.goes_dark(slot.state, version.release, stopped, epochs):
            dark.append(device)
    aliases = found_model(tables, version.model).aliases
    preview = Preview(
        model=version.model,
        version=version.version,
        mode=mode,
        before=version.withdrawal,
        serving=tuple(sorted(serving)),
        dark=tuple(sorted(dark)) if mode is WithdrawMode.STOP else (),
        told=tuple(name for name in names if name in slots or name in assigned),
        rollouts=tuple(
            each.id
            for each in tables.rollouts.active()
            if each.release == version.release and each.intent is Intent.UPGRADE
        ),
        aliases=tuple(sorted(alias for alias, target in aliases.items() if target == version.version)),
        least_next_epoch=version.epoch + 1 if security else 0,
    )
    return preview, slots


def _epochs(tables: Tables, slots: Iterable[Slot]) -> dict[ReleaseId, int]:
    """Return the security epoch of everything that devices hold as good, as far as it is known here."""
    held = {good.release for slot in slots for good in slot.state.last_good}
    found = (tables.versions.of_release(release) for release in held)
    return {version.release: version.epoch for version in found if version is not None}


def _let_go(tables: Tables, version: Version, now: float) -> None:
    """Leave devices out of rollbacks that would take them to a version that they may not start any more."""
    detail = f"version {version.version} was withdrawn"
    for rollout in tables.rollouts.active():
        if rollout.model != version.model:
            continue
        waiting = (each for each in tables.rollouts.members(rollout.id) if each.state is MemberState.WAITING)
        tables.rollouts.save_members(
            replace(each, state=MemberState.SKIPPED, cause=Cause.WITHDRAWN, detail=detail, changed_at_s=now)
            for each in waiting
            if each.release == version.release
        )


def _checked(reason: str) -> str:
    why = reason.strip()
    if not why:
        raise Refused("expected a reason, which the log keeps, found none", hint="--reason '…'")
    if len(why) > REASON_CHARS_MAX:
        raise Refused(f"expected a reason of at most {REASON_CHARS_MAX} characters, found {len(why)}")
    return why


def _check_confirmed(seen: Preview, confirmed: int | None) -> None:
    n = len(seen.dark)
    if (n == 0 and confirmed is None) or confirmed == n:
        return
    named = ", ".join(seen.dark[:NAMES_SHOWN]) + (", …" if n > NAMES_SHOWN else "")
    who = f"{n} device{'s' * (n != 1)} would go dark{f' ({named})' if named else ''}, having nothing else that may run"
    asked = "" if confirmed is None else f"; you confirmed {confirmed}"
    raise Conflict(
        f"stopping version {seen.version} of {seen.model}: {who}{asked}",
        hint=f"say that you know it: --confirm-dark {n}",
        code=Code.CONFIRM_DARK,
    )


def _event(version: Version, said: Withdrawal, seen: Preview) -> Event:
    n, dark = len(seen.serving), len(seen.dark)
    does = "is unloaded now" if said.mode is WithdrawMode.STOP else "is started nowhere any more"
    epoch = f"; the next version has security epoch {said.least_next_epoch} or more" if said.least_next_epoch else ""
    serve = f"{n} device{'s serve' if n != 1 else ' serves'} it" + (f", {dark} of them go dark" if dark else "")
    return Event(
        at_s=said.at_s,
        kind=EventKind.WITHDRAWN,
        actor=said.actor,
        summary=f"version {version.version} of {version.model} {does}: {said.reason} ({serve}{epoch})"[:500],
        severity=Severity.WARNING,
        model=version.model,
        version=version.version,
        data={
            "mode": said.mode.value,
            "reason": said.reason,
            "release": version.release,
            "serving": str(n),
            "dark": str(dark),
            "least_next_epoch": str(said.least_next_epoch),
            "rollouts": " ".join(seen.rollouts),
        },
    )
