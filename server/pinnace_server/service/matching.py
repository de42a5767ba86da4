"""Which devices can take a version, and why the others cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pinnace_contract.ids import DeviceId, Digest
from pinnace_server.domain.records import Device, DeviceState, Version
from pinnace_server.errors import Code, Refused
from pinnace_server.service import going_back
from pinnace_server.service.ports import Tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What an assignment would touch: devices by id, and those left out by reason."""

    devices: tuple[Device, ...]
    already_on_it: tuple[DeviceId, ...]
    excluded: Mapping[DeviceId, str]


def match(tables: Tables, version: Version, devices: Sequence[Device], *, bytes_max: int | None = None) -> Match:
    """Sort devices into those that can take a version and those that cannot."""
    taken: list[Device] = []
    on_it: list[DeviceId] = []
    excluded: dict[DeviceId, str] = {}
    serving = {
        slot.device: slot.state.current.release
        for slot in tables.devices.slots((device.id for device in devices), version.model)
        if slot.state.current
    }
    for device in devices:
        if device.state is DeviceState.QUARANTINED:
            excluded[device.id] = f"quarantined: {device.cause}"
        elif device.runtimes and not going_back.variants_for(version, device):
            excluded[device.id] = f"no variant for its runtimes ({', '.join(device.runtimes)})"
        elif not variants_within(version, device, bytes_max):
            excluded[device.id] = f"no variant for it has at most {bytes_max} bytes"
        else:
            taken.append(device)
            if serving.get(device.id) == version.release:
                on_it.append(device.id)
    return Match(devices=tuple(taken), already_on_it=tuple(on_it), excluded=excluded)


def variants_within(version: Version, device: Device, bytes_max: int | None) -> tuple[Digest, ...]:
    """Return the variants that a device can run and that are not larger than a budget, in the order to try."""
    sizes = {each.digest: each.blob.size_bytes for each in version.body.variants}
    found = going_back.variants_for(version, device)
    return tuple(digest for digest in found if bytes_max is None or sizes[digest] <= bytes_max)


def some(found: Match) -> Match:
    """Return what was found.

    Raises:
        Refused: no device can take the version.
    """
    if found.devices:
        return found
    raise Refused(
        f"no device to assign: {_why_none(found)}",
        hint="see what the selector means with: pinnace device list --selector …",
        code=Code.NO_DEVICES,
    )


def _why_none(found: Match) -> str:
    if not found.excluded:
        return "the selector means none"
    reasons = ", ".join(f"{device} is {reason}" for device, reason in list(found.excluded.items())[:3])
    return f"the selector means {len(found.excluded)} that cannot take it ({reasons})"
