"""What devices say of themselves: who is there, what runs, and whether it is still the same device that speaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pinnace_contract.ids import DeviceId, IncarnationId, ModelName
from pinnace_contract.latest import Cause, ModelState, Phase, Presence, Reported, Runtime
from pinnace_server.domain import eras, identity, sites
from pinnace_server.domain.identity import Speaker
from pinnace_server.domain.records import (
    Device,
    DeviceState,
    Event,
    EventKind,
    Incarnation,
    Severity,
    Slot,
)
from pinnace_server.service.adopting import adopt, out_of_reach
from pinnace_server.service.condition import refreshed
from pinnace_server.service.fleet import believed, found_device
from pinnace_server.service.ports import Tables, World

GENERATIONS_AHEAD_MAX: Final = 2**20  # a server restored from a backup is behind by some; a liar by as much as he likes


class Hearing:
    """Takes ``state`` and ``reported``."""

    def __init__(self, world: World) -> None:
        self._world = world

    def presence(self, presence: Presence) -> None:
        """Take a birth or a will."""
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            device = found_device(tables, presence.device)
            # A will was signed when its connection began: it says nothing about who is there now.
            heard: Heard | None = None
            if presence.online:
                heard = hear(tables, device, presence.incarnation, now, seq=presence.seq)
                if heard is None:
                    return self._told(device.id)
            elif presence.incarnation != device.incarnation:
                return None
            before = heard.device if heard else device
            if not identity.presence_counts(before, presence):
                return None
            after = _present(before, presence, now if heard and heard.fresh else before.seen_at_s)
            tables.devices.save(after)
            if (after.online, after.silent) != (device.online, device.silent):
                tables.events.append(_came_or_went(after, presence, now))
        return self._told(device.id)

    def reported(self, reported: Reported) -> None:
        """Take a device's word on its models, unless a newer one is known."""
        now = self._world.clock.now()
        with self._world.store.write() as tables:
            heard = hear(tables, found_device(tables, reported.device), reported.incarnation, now, seq=reported.seq)
            if heard is None:
                return self._told(reported.device)
            device = heard.device
            if device.unadopted and eras.era_of(reported.generation) > eras.era_of(device.generation):
                tables.events.append(out_of_reach(device, reported.generation, now))
                return self._told(device.id)
            if not identity.reported_counts(device, reported):
                if device.unadopted and identity.is_known_word(device, reported):
                    # All that it has said since is what it is remembered to have said.
                    adopt(tables, self._world, device, tables.devices.slots([device.id]), now)
                return self._told(device.id)
            if reported.generation > device.generation + GENERATIONS_AHEAD_MAX:
                suspect(
                    tables, device, reported.incarnation, "it claims a generation that no server can have made", now
                )
                return self._told(device.id)
            if self._is_foreign(tables, device, reported):
                suspect(tables, device, reported.incarnation, "it claims a generation that was never made for it", now)
                return self._told(device.id)
            before = {slot.model: slot for slot in tables.devices.slots([device.id])}
            slots = [_slot(device, state, reported, now, before.get(state.model)) for state in reported.models]
            tables.devices.save_slots(device.id, slots)
            after = replace(
                _awake(device, now),
                reported_generation=reported.generation,
                reported_cause=reported.cause,
                reported_detail=reported.detail,
                reported_boot=reported.boot,
                reported_seq=reported.seq,
                generation=max(device.generation, reported.generation),
            )
            tables.devices.save(refreshed(tables, after))
            for event in _changes(device, before, slots, reported, now):
                tables.events.append(event)
            if after.unadopted:
                adopt(tables, self._world, after, slots, now)
        return self._told(device.id, *(f"model:{slot.model}" for slot in slots))

    def _is_foreign(self, tables: Tables, device: Device, reported: Reported) -> bool:
        known = next(
            each for each in tables.devices.incarnations(device.id) if each.incarnation == reported.incarnation
        )
        return identity.claims_foreign_generation(reported, known)

    def _told(self, device: DeviceId, *more: str) -> None:
        self._world.changes.notify(["devices", f"device:{device}", "events", *more])


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The device as it is believed to be after a store spoke. Not ``fresh``: the broker repeated what was known."""

    device: Device
    fresh: bool = True


def hear(tables: Tables, device: Device, said: IncarnationId, now: float, *, seq: int | None = None) -> Heard | None:
    """Note which of a device's stores spoke; None where the words of this store are not believed.

    ``seq`` is the number of its statement, None where it has none.
    """
    before = device
    known = tables.devices.incarnations(device.id)
    had = next((each for each in known if each.incarnation == said), None)
    speaker = identity.speaker_of(device, said, known, now)
    if had is not None and seq is not None and seq <= had.seq:
        return Heard(device=device, fresh=False) if speaker is Speaker.CURRENT else None
    if had is None:
        # Its own first generation is the next one: whatever it claims below was made for another store. Or by a server
        # that was lost since, of which this one knows nothing.
        first = device.generation + 1 if speaker is Speaker.REINSTALLED and not device.unadopted else 0
        had = Incarnation(device=device.id, incarnation=said, first_seen_s=now, last_seen_s=now, first_generation=first)
    tables.devices.save_incarnation(replace(had, last_seen_s=now, seq=had.seq if seq is None else seq))
    if speaker is Speaker.CLONE:
        suspect(tables, device, said, "two stores speak under this identity", now)
        return None
    if speaker is Speaker.REINSTALLED:
        device = believed(device, said)
        tables.devices.save_slots(device.id, [])
        tables.events.append(_reinstalled(device, now))
    if device.state is DeviceState.PENDING:
        device = replace(device, state=DeviceState.ACTIVE)
    if device is not before:
        tables.devices.save(device)
    return Heard(device=device)


def suspect(tables: Tables, device: Device, said: IncarnationId, why: str, now: float) -> None:
    """Put a device in quarantine as a suspected clone; telling it once is enough."""
    if device.state is DeviceState.QUARANTINED:
        return
    tables.devices.save(replace(device, state=DeviceState.QUARANTINED, cause=Cause.CLONE_SUSPECTED))
    tables.events.append(
        Event(
            at_s=now,
            kind=EventKind.CLONE_SUSPECTED,
            actor=f"device:{device.id}",
            summary=(
                f"{device.id} may be two devices: {why}. It gets no new assignments and its receipts do not count "
                f"until somebody decides: pinnace device readmit {device.id}"
            ),
            severity=Severity.ERROR,
            device=device.id,
            data={"believed": device.incarnation, "other": said},
        )
    )


def _present(device: Device, presence: Presence, seen_at_s: float | None) -> Device:
    return replace(
        device,
        online=presence.online,
        silent=False if presence.online else device.silent,
        boot=presence.boot,
        connection=presence.connection,
        report_every_s=presence.report_every_s,
        agent_version=presence.agent_version or device.agent_version,
        hardware=presence.hardware or device.hardware,
        runtimes=tuple(each for each in presence.runtimes if each is not Runtime.UNKNOWN) or device.runtimes,
        seen_at_s=seen_at_s,
    )


def _awake(device: Device, now: float) -> Device:
    return replace(device, seen_at_s=now, silent=False)


def _slot(device: Device, state: ModelState, reported: Reported, now: float, before: Slot | None) -> Slot:
    return Slot(
        device=device.id,
        model=state.model,
        state=state,
        incarnation=reported.incarnation,
        seq=reported.seq,
        said_at_s=now,
        lease_until_s=sites.lease_until_s(state, reported.at_s, now, before),
    )


def _came_or_went(device: Device, presence: Presence, now: float) -> Event:
    online = presence.online
    return Event(
        at_s=now,
        kind=EventKind.DEVICE_ONLINE if online else EventKind.DEVICE_OFFLINE,
        actor=f"device:{device.id}",
        summary=f"{device.id} is there" if online else f"{device.id} went away",
        device=device.id,
        data={"why": "birth" if online else "will", "boot": presence.boot, "connection": str(presence.connection)},
    )


def _reinstalled(device: Device, now: float) -> Event:
    return Event(
        at_s=now,
        kind=EventKind.DEVICE_REINSTALLED,
        actor=f"device:{device.id}",
        summary=f"{device.id} has a new store and is told everything again",
        severity=Severity.WARNING,
        device=device.id,
        data={"incarnation": device.incarnation},
    )


def _changes(
    device: Device, before: Mapping[ModelName, Slot], slots: Sequence[Slot], reported: Reported, now: float
) -> list[Event]:
    events = [
        Event(
            at_s=now,
            kind=EventKind.PHASE_CHANGED,
            actor=f"device:{device.id}",
            summary=_moved(device, slot),
            device=device.id,
            model=slot.model,
            data={"phase": slot.state.phase.value, "cause": slot.state.cause.value, "detail": slot.state.detail},
        )
        for slot in slots
        if _shown(slot) != _shown(before.get(slot.model))
    ]
    refusal = (reported.cause, reported.detail)
    if reported.cause is not Cause.NONE and refusal != (device.reported_cause, device.reported_detail):
        events.append(
            Event(
                at_s=now,
                kind=EventKind.DEVICE_REFUSED,
                actor=f"device:{device.id}",
                summary=f"{device.id} refuses what it was sent: {reported.cause} ({reported.detail})"[:500],
                severity=Severity.ERROR,
                device=device.id,
                data={"cause": reported.cause.value, "detail": reported.detail},
            )
        )
    if reported.generation > device.generation:
        events.append(
            Event(
                at_s=now,
                kind=EventKind.GENERATION_BEHIND,
                actor=f"device:{device.id}",
                summary=(
                    f"{device.id} has generation {reported.generation}, this server knows of {device.generation}: "
                    "it may have been restored from an old backup"
                ),
                severity=Severity.ERROR,
                device=device.id,
                data={"have": str(reported.generation), "known": str(device.generation)},
            )
        )
    return events


def _shown(slot: Slot | None) -> tuple[Phase, Cause]:
    return (slot.state.phase, slot.state.cause) if slot else (Phase.IDLE, Cause.NONE)


def _moved(device: Device, slot: Slot) -> str:
    state = slot.state
    of = f" of {state.candidate.version}" if state.candidate else ""
    why = f": {state.cause}" if state.cause is not Cause.NONE else ""
    return f"{device.id} is in phase {state.phase}{of} for {slot.model}{why}"
