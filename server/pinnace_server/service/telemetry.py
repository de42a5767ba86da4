"""What devices counted, for those who look: one device's latency and answers by minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pinnace_contract.ids import DeviceId, ModelName, VersionName
from pinnace_server.domain import telemetry
from pinnace_server.domain.queries import Listing, Page
from pinnace_server.domain.records import Counts, Minute, ReceivedRange
from pinnace_server.errors import Refused
from pinnace_server.service.fleet import found_device
from pinnace_server.service.ports import World

MINUTES_MAX: Final = 7 * 24 * 60
_MS: Final = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One model on one device in one minute, all variants together. Percentiles are None without inferences."""

    minute: int
    model: ModelName
    version: VersionName | None
    counts: Counts
    slow: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Telemetry:
    """Reads what was reported."""

    def __init__(self, world: World) -> None:
        self._world = world

    def points(self, device: DeviceId, model: ModelName | None, minutes: int) -> tuple[Point, ...]:
        """Return the last ``minutes`` of a device, oldest first; minutes without a report are left out.

        Raises:
            NotFound, Refused
        """
        if not 1 <= minutes <= MINUTES_MAX:
            raise Refused(f"from 1 to {MINUTES_MAX} minutes can be asked for, found {minutes}")
        last = int(self._world.clock.now() // 60)
        with self._world.store.read() as tables:
            found_device(tables, device)
            rows = tables.reports.minutes(device, model, last - minutes + 1, last + 10)
            versions = {release: tables.versions.of_release(release) for release in {row.release for row in rows}}
        groups: dict[tuple[int, ModelName, VersionName | None], list[Minute]] = {}
        for row in rows:
            version = versions[row.release]
            groups.setdefault((row.minute, row.model, version.version if version else None), []).append(row)
        return tuple(_point(*key, together) for key, together in sorted(groups.items(), key=lambda each: each[0][:2]))

    def received(self, page: Page, device: DeviceId | None = None) -> Listing[ReceivedRange]:
        """Return which reports are accounted for, of one device or of all.

        Raises:
            NotFound
        """
        with self._world.store.read() as tables:
            if device is not None:
                found_device(tables, device)
            return tables.reports.received(page, device)


def _point(minute: int, model: ModelName, version: VersionName | None, rows: Sequence[Minute]) -> Point:
    latency = telemetry.histogram_of(rows)
    counts = Counts()
    for row in rows:
        counts = counts.plus(telemetry.counts_of(row))
    p50, p95, p99 = (latency.quantile(share) for share in (0.5, 0.95, 0.99))
    return Point(
        minute=minute,
        model=model,
        version=version,
        counts=counts,
        slow=sum(row.slow for row in rows),
        p50_ms=None if p50 is None else p50 * _MS,
        p95_ms=None if p95 is None else p95 * _MS,
        p99_ms=None if p99 is None else p99 * _MS,
    )
