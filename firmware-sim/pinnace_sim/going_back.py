"""Liveness of a rollback: no device runs the release for longer than its next contact, and a minute.

From the moment a rollout in waves is halted, its devices are looked at until each has left the release, somebody wanted
something else of it, or the server names a reason why it stays. Time counts while a device is on, connected over a line
that carries and has not much else to carry first, with a disk that takes writes, a clock that is right and a server
that is there; a fetch has its own time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from pinnace_contract.ids import DeviceId, ModelName, ReleaseId, RolloutId
from pinnace_contract.latest import Phase, WithdrawMode
from pinnace_server.domain.records import DeviceState, MemberState, Rollout
from pinnace_server.domain.rollout_policy.policy import OnRollback
from pinnace_server.service import rules
from pinnace_server.service.ports import Tables
from pinnace_sim.checks import Rule, Violation
from pinnace_sim.contention import Store
from pinnace_sim.device import SimDevice
from pinnace_sim.faults import MessageFaults
from pinnace_sim.network import Network
from pinnace_sim.schedule import Schedule

BACK_S_MAX: Final = 60.0
LOOK_EVERY_S: Final = 15.0
BUSY_S_MAX: Final = 5.0  # a line that needs longer than that for what was sent before is what a word waits for
_FETCHES: Final = frozenset({Phase.OFFERED, Phase.FETCHING, Phase.VERIFYING})
_OWNED: Final = (MemberState.ASSIGNED, MemberState.READY, MemberState.COMMITTED)
_UNDER_WAY: Final = (MemberState.WAITING, MemberState.ASSIGNED, MemberState.READY)


class Place(Protocol):
    """The server that is looked at."""

    @property
    def store(self) -> Store: ...
    @property
    def is_on(self) -> bool: ...
    @property
    def started_s(self) -> float: ...


@dataclass(slots=True, kw_only=True)
class _Watched:
    device: SimDevice
    bad: RolloutId
    release: ReleaseId
    since_s: float  # from when on nothing stood in its way


class GoingBack:
    """Looks at devices after a rollback. ``disturbed_s``: until when incidents of a device's last, by its name."""

    def __init__(
        self,
        place: Place,
        network: Network,
        schedule: Schedule,
        devices: Callable[[], Mapping[DeviceId, SimDevice]],
        *,
        model: ModelName,
        faults: MessageFaults,
        disturbed_s: Mapping[str, float],
        stays: Callable[[RolloutId, DeviceId], bool],
    ) -> None:
        """``stays``: whether the log says that a device of a rollout has nothing to go back to."""
        self._place, self._network, self._schedule = place, network, schedule
        self._devices, self._model, self._disturbed_s, self._stays = devices, model, disturbed_s, stays
        self._most_s = BACK_S_MAX + (3 * faults.slow_s[1] if faults.slow else 0.0)

    def halted(self, name: RolloutId) -> None:
        """A rollout is halted: watch whoever goes back."""
        devices = self._devices()
        with self._place.store.read() as tables:
            rollout = tables.rollouts.get(name)
            if rollout is None or rollout.release is None:
                return
            back = sorted(_back(tables, rollout, self._model, list(devices)))
        for device in back:
            watched = _Watched(device=devices[device], bad=name, release=rollout.release, since_s=self._schedule.now_s)
            self._schedule.after(LOOK_EVERY_S, lambda watched=watched: self._look(watched))  # type: ignore[misc]

    def _look(self, watched: _Watched) -> None:
        device, now_s = watched.device, self._schedule.now_s
        watched.since_s = max(watched.since_s, self.free_s(device))
        with self._place.store.read() as tables:
            if not self._is_to_go(tables, watched):
                return
        runs = _runs(device, self._model, watched.release)
        if runs and now_s - watched.since_s > self._most_s:
            text = f"{watched.bad} was rolled back, and {now_s - watched.since_s:.0f} s later it still runs its release"
            raise Violation(Rule.RAN_ON, device.name, text)
        self._schedule.after(LOOK_EVERY_S, lambda: self._look(watched))

    def _is_to_go(self, tables: Tables, watched: _Watched) -> bool:
        """Tell whether a device is still to leave the release: nobody wants something else, and no reason is named."""
        known = tables.devices.get(watched.device.id)
        assignment = tables.assignments.get(watched.device.id, self._model)
        owner = tables.rollouts.get(assignment.rollout) if assignment is not None else None
        if known is None or known.state is not DeviceState.ACTIVE or owner is None:
            return False
        if owner.id == watched.bad:  # nobody has told it yet
            return not self._stays(watched.bad, known.id)
        member = tables.rollouts.member(owner.id, known.id)
        return owner.halts == watched.bad and member is not None and member.state in _UNDER_WAY

    def free_s(self, device: SimDevice) -> float:
        """Return since when nothing stands in a device's way; now, where something does."""
        now_s, run = self._schedule.now_s, device.run
        contact_s = self._network.in_contact_since(device.id)
        stands = run is None or contact_s is None or not self._place.is_on or device.skew_s != 0.0
        if stands or run is None or contact_s is None:
            return now_s
        slot = run.daemon.state.slot(self._model)
        if slot is not None and slot.phase in _FETCHES:
            return now_s
        until_s = (device.trouble.full_until_s, device.trouble.broken_until_s, self._disturbed_s.get(device.name, 0.0))
        if max(until_s) > now_s or self._network.busy_until_s(device.id) > now_s + BUSY_S_MAX:
            return now_s
        return max(contact_s, run.born_s, self._place.started_s, *until_s)


def _back(tables: Tables, rollout: Rollout, model: ModelName, devices: list[DeviceId]) -> set[DeviceId]:
    """Return which devices go back: the rollout's own, by what they were last told, or its rollback's."""
    policy = rules.policy_of(rollout)
    stays = (policy is not None and policy.on_rollback is OnRollback.STAY) or _is_retired(tables, rollout)
    members = {each.device: each for each in tables.rollouts.members(rollout.id)}
    found = set[DeviceId]()
    for assignment in tables.assignments.of(devices):
        member = members.get(assignment.device)
        is_own = assignment.model == model and assignment.rollout == rollout.id
        if is_own and member is not None and member.state in (_OWNED[:1] if stays else _OWNED):
            found.add(assignment.device)
    for other in tables.rollouts.active():
        if other.halts == rollout.id:
            found |= {each.device for each in tables.rollouts.members(other.id) if each.state in _UNDER_WAY}
    return found & set(devices)


def _is_retired(tables: Tables, rollout: Rollout) -> bool:
    """Tell whether a rollout was halted because its version may not be started any more: what runs it may go on."""
    version = tables.versions.of_release(rollout.release) if rollout.release is not None else None
    withdrawal = version.withdrawal if version is not None else None
    if withdrawal is None or withdrawal.mode is not WithdrawMode.RETIRE:
        return False
    return withdrawal.at_s == rollout.ended_at_s


def _runs(device: SimDevice, model: ModelName, release: ReleaseId) -> bool:
    answering = device.run.workers.answering(model) if device.run is not None else ()
    return any(each.release == release for each in answering)
