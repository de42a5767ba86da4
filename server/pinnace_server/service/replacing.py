"""One device in the place of another: what the old one was called, and should run, the new one is and runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pinnace_contract.ids import DeviceId, ModelName, ReleaseId, RolloutId
from pinnace_contract.latest import Intent, Outcome
from pinnace_contract.topics import Down, DownTopic
from pinnace_server.domain import selector
from pinnace_server.domain.policy import PLAIN_TERMS
from pinnace_server.domain.records import (
    Assignment,
    Device,
    DeviceState,
    Event,
    EventKind,
    Member,
    Rollout,
    RolloutState,
    Slot,
    Version,
)
from pinnace_server.errors import Conflict, Refused
from pinnace_server.service import going_back, observing
from pinnace_server.service.archive import check_in_use
from pinnace_server.service.catalogue import found_model
from pinnace_server.service.fleet import found_device, take_out
from pinnace_server.service.ports import Tables, World
from pinnace_server.service.rollouts import Rollouts


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """The new device, the rollout that moves each of its models, and why it is not given the others."""

    device: Device
    rollouts: tuple[Rollout, ...]
    left_out: Mapping[ModelName, str] = field(default_factory=dict)


class Replacing:
    """Puts devices in the place of others."""

    def __init__(self, world: World, rollouts: Rollouts) -> None:
        self._world = world
        self._rollouts = rollouts

    def replace(self, old: DeviceId, new: DeviceId, *, reason: str = "", actor: str) -> Replaced:
        """Give a device the name, labels and models of another, which is decommissioned. The history of both stays.

        The new one's own labels give way: they said what it was while it lay in store. Its models are assigned anew,
        under its own generations.

        Raises:
            NotFound
            Refused: a device cannot replace itself.
            Conflict: the new one is not active, or the old one is decommissioned already.
        """
        if old == new:
            raise Refused(f"device {old} cannot replace itself", hint="pinnace device replace OLD NEW")
        now, said = self._world.clock.now(), f": {reason}" if reason else ""
        with self._world.store.write() as tables:
            gone, comes = _checked(found_device(tables, old), found_device(tables, new))
            device = replace(comes, name=gone.name, labels=gone.labels)
            tables.devices.save(device)
            made, left_out = self._assign(tables, gone, device, actor, now)
            tables.events.append(
                Event(
                    at_s=now,
                    kind=EventKind.DEVICE_REPLACED,
                    actor=actor,
                    summary=f"device {new} takes the place of {old}{said}"[:500],
                    device=new,
                    data={
                        "replaces": old,
                        "rollouts": " ".join(each.id for each in made),
                        "reason": reason,
                        **{f"left_out.{model}": why for model, why in left_out.items()},
                    },
                )
            )
            take_out(tables, gone, now, actor, why=f": {new} takes its place{said}", replaced_by=new)
        self._world.publisher.publish(DownTopic(device=old, channel=Down.DESIRED), b"", retained=True)
        topics = ["devices", f"device:{old}", f"device:{new}", "rollouts", "events"]
        self._world.changes.notify([*topics, *(f"model:{each.model}" for each in made)])
        return Replaced(device=device, rollouts=tuple(made), left_out=left_out)

    def _assign(
        self, tables: Tables, gone: Device, device: Device, actor: str, now: float
    ) -> tuple[list[Rollout], dict[ModelName, str]]:
        slots = {slot.model: slot for slot in tables.devices.slots([gone.id])}
        made: list[Rollout] = []
        left_out: dict[ModelName, str] = {}
        for assignment in tables.assignments.of([gone.id]):
            release = _ran(assignment, slots.get(assignment.model))
            if release is None:
                continue
            version = tables.versions.of_release(release)
            why = _why_not(tables, version, device)
            if version is None or why:
                left_out[assignment.model] = why
                continue
            made.append(self._begin(tables, version, gone.id, device, actor, now))
        return made, left_out

    def _begin(
        self, tables: Tables, version: Version, gone: DeviceId, device: Device, actor: str, now: float
    ) -> Rollout:
        rollout = Rollout(
            id=self._rollouts.new_ids()[0],
            model=version.model,
            version=version.version,
            release=version.release,
            intent=Intent.UPGRADE,
            selector=str(selector.of_devices((device.id,))),
            policy=observing.terms_text(PLAIN_TERMS),
            state=RolloutState.ACTIVE,
            reason=f"in the place of {gone}",
            actor=actor,
            created_at_s=now,
        )
        member = Member(
            rollout=RolloutId(""),
            device=device.id,
            release=version.release,
            variants=going_back.variants_for(version, device),
            changed_at_s=now,
        )
        return going_back.begin(tables, rollout, [member])


def _checked(gone: Device, comes: Device) -> tuple[Device, Device]:
    if gone.state is DeviceState.DECOMMISSIONED:
        raise Conflict(
            f"device {gone.id} is decommissioned already: its place is empty",
            hint=f"label {comes.id} and assign it its models by hand",
        )
    if comes.state is not DeviceState.ACTIVE:
        hint = {
            DeviceState.PENDING: "let it connect once, so that it is known to work",
            DeviceState.QUARANTINED: f"decide first which store it is: pinnace device readmit {comes.id}",
        }.get(comes.state, "enrol a device for it")
        raise Conflict(f"device {comes.id} is {comes.state}, and only an active one can take a place", hint=hint)
    return gone, comes


def _ran(assignment: Assignment, slot: Slot | None) -> ReleaseId | None:
    """Return what a device should run, or serves where that ended badly; None: nothing."""
    if assignment.outcome in (None, Outcome.COMMITTED):
        return assignment.release
    return slot.state.current.release if slot and slot.state.current else None


def _why_not(tables: Tables, version: Version | None, device: Device) -> str:
    """Return why a device is not given a version, or nothing."""
    if version is None:
        return "its release is not known here"
    if version.withdrawn is not None:
        return f"version {version.version} was withdrawn"
    if device.runtimes and not going_back.variants_for(version, device):
        return f"version {version.version} has no variant for its runtimes ({', '.join(device.runtimes)})"
    try:
        check_in_use(found_model(tables, version.model), version)
    except Conflict as error:
        return error.message
    return ""
