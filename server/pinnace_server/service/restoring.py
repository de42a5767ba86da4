"""Putting a server back from a backup: it begins a new era, and believes nothing of a device that is not said again.

For a server that does not run: what it would do in between would be planned from what is no longer true.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pinnace_contract.ids import DeviceId
from pinnace_server.domain import eras
from pinnace_server.domain.aliases import REASON_CHARS_MAX
from pinnace_server.domain.queries import DeviceQuery, Page
from pinnace_server.domain.records import Device, DeviceState, Event, EventKind, Severity
from pinnace_server.errors import Refused
from pinnace_server.service.ports import Clock, Signing, Store, Tables

_PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """A device of which the signer knows more than the database."""

    device: DeviceId
    signed: int
    known: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The era that began, how many devices must say first what they run, and how many only the signer knows."""

    era: int
    devices: int
    unknown: int


class Restoring:
    """Finds out whether a database is older than what was signed, and begins a new era."""

    def __init__(self, store: Store, signing: Signing, clock: Clock) -> None:
        self._store, self._signing, self._clock = store, signing, clock

    def behind(self) -> Behind | None:
        """Return a device that shows that the database was put back, or that a restore was not finished; None: none.

        A generation is in the database before it is signed, so the signer never knows of a higher one by itself.
        """
        least = eras.base_of(self._signing.era())
        # What was signed before the era is what the restore that began it has answered for.
        signed = {device: each for device, each in self._signing.generations().items() if each >= least}
        with self._store.read() as tables:
            known = {device.id: device for device in _everyone(tables)}
        for device, generation in sorted(signed.items()):
            if device not in known or known[device].generation < generation:
                return Behind(device=device, signed=generation, known=_generation(known.get(device)))
        for device, found in sorted(known.items()):
            if found.state is not DeviceState.DECOMMISSIONED and found.generation < least:
                return Behind(device=device, signed=least, known=found.generation)
        return None

    def restore(self, *, era: int | None = None, reason: str = "", actor: str) -> Restored:
        """Begin a new era: no generation below it is ever signed again, and no device is planned for before it has
        said what it runs. ``era`` where devices follow a later one than anybody here remembers.

        Raises:
            Refused: the era is not a later one.
        """
        if len(reason) > REASON_CHARS_MAX:
            raise Refused(f"expected a reason of at most {REASON_CHARS_MAX} characters, found {len(reason)}")
        signed, now = self._signing.generations(), self._clock.now()
        with self._store.read() as tables:
            known = [max(each.generation, each.reported_generation) for each in _everyone(tables)]
        highest = max(self._signing.era(), *map(eras.era_of, (0, *known, *signed.values())))
        begun = highest + 1 if era is None else era
        if not highest < begun <= eras.ERA_MAX:
            raise Refused(
                f"expected an era of {highest + 1} to {eras.ERA_MAX}, found {begun}",
                hint="this server or its signer has been in that era already",
            )
        self._signing.raise_era(begun)  # first: if the rest is lost, nothing is signed, and ``behind`` says why
        with self._store.write() as tables:
            everyone = _everyone(tables)
            present = [each for each in everyone if each.state is not DeviceState.DECOMMISSIONED]
            for device in present:
                _hold(tables, device, eras.base_of(begun), now)
            unknown = len(signed.keys() - {each.id for each in everyone})
            restored = Restored(era=begun, devices=len(present), unknown=unknown)
            tables.events.append(_event(restored, now, reason, actor))
        return restored


def _hold(tables: Tables, device: Device, base: int, now: float) -> None:
    tables.devices.save(replace(device, generation=max(device.generation, base), unadopted=True, online=False))
    desired = tables.assignments.desired(device.id)
    if desired is not None and desired.signed_at_s is None:
        # Of an era that is over: it is never signed. The device's next set, once it has spoken, says it instead.
        tables.assignments.save_desired(replace(desired, signed_at_s=now))


def _everyone(tables: Tables) -> list[Device]:
    found: list[Device] = []
    while True:
        page = Page(limit=_PAGE, offset=len(found))
        rows = tables.devices.listing(DeviceQuery(now_s=0.0, states=tuple(DeviceState), page=page)).rows
        found += rows
        if len(rows) < _PAGE:
            return found


def _generation(device: Device | None) -> int | None:
    return device.generation if device is not None else None


def _event(restored: Restored, now: float, reason: str, actor: str) -> Event:
    n = restored.devices
    unknown = f"; {restored.unknown} more enrolled since, and must enrol again" if restored.unknown else ""
    return Event(
        at_s=now,
        kind=EventKind.SERVER_RESTORED,
        actor=actor,
        summary=(
            f"put back from a backup, era {restored.era} begins: {n} device{'s' * (n != 1)} must say first what they "
            f"run{unknown}{f' ({reason})' if reason else ''}"
        )[:500],
        severity=Severity.WARNING,
        data={"era": str(restored.era), "devices": str(n), "unknown": str(restored.unknown), "reason": reason},
    )
