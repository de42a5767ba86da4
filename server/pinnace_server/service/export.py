"""The fleet as a snapshot: what each device is like and how its link behaves, what it runs, and how large versions are.

For those who plan, as ``pinnace-sim rehearse`` does. No keys, tokens, serial numbers, names or addresses are in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pinnace_contract.ids import DeviceId, ModelName
from pinnace_server.domain import link, statuses
from pinnace_server.domain.link import Link
from pinnace_server.domain.queries import DeviceQuery, EventQuery, Listing, Page
from pinnace_server.domain.records import AliasName, Counts, Device, Version
from pinnace_server.service.fleet import Seen, seen
from pinnace_server.service.ports import Tables, World

LINK_WINDOW_S: Final = 7 * 86_400.0
LINK_CHANGES_MAX: Final = 400  # of one device: one that comes and goes more often is looked at for less long
RATE_WINDOW_S: Final = 86_400.0
HOUR_S: Final = 3_600.0
VERSIONS_MAX: Final = 1_000  # of one model, the newest ones
MODELS_MAX: Final = 1_000
ANONYMOUS_CHARS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One device as it is exported. ``link`` None: never there. ``answered_an_hour`` has what was counted, and
    ``error_share`` how much of it failed."""

    id: str
    labels: Mapping[str, str]
    seen: Seen
    online: bool
    link: Link | None
    answered_an_hour: Mapping[ModelName, float]
    error_share: Mapping[ModelName, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """One version with the names that point at it."""

    version: Version
    aliases: tuple[AliasName, ...]


class Export:
    """Reads the snapshot in stretches."""

    def __init__(self, world: World) -> None:
        self._world = world

    def devices(self, page: Page, salt: str | None = None) -> Listing[Profile]:
        """Return devices that are not decommissioned. With a salt their ids are hashes and they have no labels."""
        now = self._world.clock.now()
        with self._world.store.read() as tables:
            found = tables.devices.listing(DeviceQuery(now_s=now, page=page))
            rows = tuple(_profile(tables, each, now, salt) for each in seen(tables, found.rows))
            return Listing(rows=rows, total=found.total)

    def versions(self) -> tuple[Offered, ...]:
        """Return every version by model, the newest first."""
        with self._world.store.read() as tables:
            found: list[Offered] = []
            for model in tables.models.listing(Page(limit=MODELS_MAX)).rows:
                for version in tables.versions.listing(model.name, Page(limit=VERSIONS_MAX)).rows:
                    aliases = tuple(alias for alias, name in model.aliases.items() if name == version.version)
                    found.append(Offered(version=version, aliases=aliases))
            return tuple(found)

    def now(self) -> float:
        """Return the time that ages are judged by."""
        return self._world.clock.now()


def anonymous(device: DeviceId, salt: str) -> str:
    """Return what stands for a device where its id must not: the same under the same salt, worth nothing without it."""
    return hashlib.sha256(f"{salt} {device}".encode()).hexdigest()[:ANONYMOUS_CHARS]


def _profile(tables: Tables, each: Seen, now: float, salt: str | None) -> Profile:
    device = each.device
    answered, hours = _answered(tables, device, now)
    return Profile(
        id=device.id if salt is None else anonymous(device.id, salt),
        labels=device.labels if salt is None else {},
        seen=each,
        online=statuses.is_online(device, now),
        link=_link(tables, device, now),
        answered_an_hour={model: counts.n / hours for model, counts in answered.items()},
        error_share={model: counts.errors / counts.n for model, counts in answered.items() if counts.n},
    )


def _link(tables: Tables, device: Device, now: float) -> Link | None:
    if device.seen_at_s is None:
        return None
    from_s = max(now - LINK_WINDOW_S, device.enrolled_at_s)
    query = EventQuery(kinds=link.CHANGES, device=device.id, since_s=from_s, page=Page(limit=LINK_CHANGES_MAX))
    newest = tables.events.listing(query)
    if newest.total > len(newest.rows):
        from_s = newest.rows[-1].at_s
    return link.link_of(reversed(newest.rows), online=statuses.is_online(device, now), from_s=from_s, now_s=now)


def _answered(tables: Tables, device: Device, now: float) -> tuple[Mapping[ModelName, Counts], float]:
    """Return what was counted in the last day that the device was there, and in how many hours: one that is away has
    not stopped answering for that."""
    if device.seen_at_s is None:
        return {}, 0.0
    to_s = min(device.seen_at_s, now)
    from_s = max(to_s - RATE_WINDOW_S, device.enrolled_at_s)
    hours = (to_s - from_s) / HOUR_S
    if hours <= 0:
        return {}, 0.0
    return tables.reports.answered(device.id, int(from_s // 60), int(to_s // 60)), hours
