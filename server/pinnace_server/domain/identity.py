"""Which of a device's words count: whose store spoke, and which of two statements is the newer.

An incarnation is one store of a device. A new one after the old has been silent for an hour is a reinstalled device;
two within an hour, or a new store that claims generations it was never given, is a suspected clone.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from pinnace_contract.ids import IncarnationId
from pinnace_contract.latest import Presence, Reported
from pinnace_server.domain.records import Device, Incarnation

CLONE_WINDOW_S: Final = 3600.0


class Speaker(StrEnum):
    """Who spoke."""

    CURRENT = "current"
    REINSTALLED = "reinstalled"
    CLONE = "clone"


def speaker_of(device: Device, said: IncarnationId, known: Sequence[Incarnation], now_s: float) -> Speaker:
    """Tell who spoke: the store that the server believes in, a new one in its place, or one beside it.

    A store that was replaced earlier and speaks again is a clone whenever it speaks.
    """
    if said == device.incarnation:
        return Speaker.CURRENT
    if any(each.incarnation == said for each in known):
        return Speaker.CLONE
    current = next((each for each in known if each.incarnation == device.incarnation), None)
    if current is not None and now_s - current.last_seen_s < CLONE_WINDOW_S:
        return Speaker.CLONE
    return Speaker.REINSTALLED


def claims_foreign_generation(reported: Reported, incarnation: Incarnation) -> bool:
    """Tell whether a store says to have applied a generation that was never made for it."""
    return 0 < reported.generation < incarnation.first_generation


def presence_counts(device: Device, presence: Presence) -> bool:
    """Tell whether a birth or will is the newest word of its incarnation.

    Connection numbers are saved before each CONNECT, so they grow over boots. A will ends its own connection only.
    """
    if device.boot is None or device.incarnation != presence.incarnation:
        return True
    if presence.connection != device.connection:
        return presence.connection > device.connection
    return presence.boot == device.boot


def reported_counts(device: Device, reported: Reported) -> bool:
    """Tell whether a ``reported`` is newer than the one that is known.

    By its number alone, which grows over a store's boots: which boot is alive may not be known yet, where the birth was
    overtaken by what came after it.
    """
    if device.incarnation != reported.incarnation or device.reported_boot is None:
        return True
    return reported.seq > device.reported_seq


def is_known_word(device: Device, reported: Reported) -> bool:
    """Tell whether a ``reported`` is the very one that is known, said or brought again."""
    return (device.incarnation, device.reported_boot, device.reported_seq) == (
        reported.incarnation,
        reported.boot,
        reported.seq,
    )
