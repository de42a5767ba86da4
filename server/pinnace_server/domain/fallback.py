"""Where a device goes back to: the release that it serves or served before and that is still allowed there."""

from __future__ import annotations

from collections.abc import Mapping

from pinnace_contract.ids import ReleaseId
from pinnace_contract.latest import Running
from pinnace_server.domain.records import Slot


def fallback(slot: Slot | None, away_from: ReleaseId | None, epochs: Mapping[ReleaseId, int]) -> Running | None:
    """Return what the device should run instead of ``away_from`` (None: instead of what it serves now).

    A device that has not committed ``away_from`` yet still has the old release as its current one; one that has, keeps
    the old ones in ``last_good``, newest first. ``epochs`` holds the security epoch of each release that may be used:
    one that is missing (unknown, withdrawn) or below the device's floor is passed over. None is ``NO_FALLBACK``.
    """
    if slot is None:
        return None
    current = slot.state.current
    leave = away_from if away_from is not None else (current.release if current else None)
    known = ([current] if current else []) + list(slot.state.last_good)
    for running in known:
        epoch = epochs.get(running.release)
        if running.release != leave and epoch is not None and epoch >= slot.state.floor:
            return running
    return None


def candidates_of(slot: Slot | None) -> tuple[ReleaseId, ...]:
    """Return every release that ``fallback`` may ask ``epochs`` for."""
    if slot is None:
        return ()
    current = (slot.state.current,) if slot.state.current else ()
    return tuple(running.release for running in (*current, *slot.state.last_good))
