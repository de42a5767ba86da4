"""Latency of the fleet: reports merged over the last while, by release, variant and class of hardware.

Merging reads every device's minutes, so it is done at most once in a while for all consoles together, over fewer
minutes the larger the fleet is, and not at all beyond ``ROWS_MAX`` devices, until minutes are rolled up by cohort; what
it covers is said on the page.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pinnace_contract.histogram import Histogram
from pinnace_contract.ids import DeviceId, Digest, ModelName, ReleaseId
from pinnace_contract.latest import Arm
from pinnace_server.console import shown
from pinnace_server.service.ports import Tables

WINDOW_MIN = 60
ROWS_MAX = 5_000  # device-minutes read at once: about a second of one core
FRESH_S = 15.0
_SERVED = frozenset({Arm.SERVING, Arm.CONTROL, Arm.CANDIDATE})  # a shadow's answers went to nobody
_MS = 1000.0


@dataclass(slots=True)
class Tally:
    """Counts of one (model, release, variant, hardware)."""

    histogram: Histogram = field(default_factory=Histogram)
    errors: int = 0
    devices: set[DeviceId] = field(default_factory=set)


Key = tuple[ModelName, ReleaseId, Digest, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetLatency:
    """What was merged, and over how many minutes; 0: the fleet is too large to merge."""

    minutes: int
    tallies: Mapping[Key, Tally]
    made_at_s: float

    def by_model(self) -> tuple[shown.FleetLatency, ...]:
        """Return each model's latency over everything that serves it."""
        found: dict[str, list[Tally]] = {}
        for (model, _, _, _), tally in self.tallies.items():
            found.setdefault(model, []).append(tally)
        return tuple(_of_model(model, tallies) for model, tallies in sorted(found.items()))

    def p95_of_release(self, release: str) -> float | None:
        """Return a release's p95 in milliseconds over all hardware."""
        return _ms(_merged(tally for key, tally in self.tallies.items() if key[1] == release), 0.95)

    def of_variant(self, release: str, variant: str) -> tuple[shown.Percentiles, ...]:
        """Return a variant's latency on each class of hardware."""
        found = [(key[3], tally) for key, tally in self.tallies.items() if key[1] == release and key[2] == variant]
        return tuple(
            shown.Percentiles(
                hardware=hardware or "unnamed hardware",
                samples=tally.histogram.n,
                p50_ms=_ms(tally.histogram, 0.5),
                p95_ms=_ms(tally.histogram, 0.95),
            )
            for hardware, tally in sorted(found, key=lambda pair: pair[0])
        )

    def devices_of_variant(self, release: str, variant: str) -> int:
        """Return how many devices reported inferences with a variant."""
        return len({d for key, tally in self.tallies.items() if key[1:3] == (release, variant) for d in tally.devices})


class LatencyCache:
    """Keeps the last merge while it is fresh. Safe for use by many threads: the second one waits for the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: FleetLatency | None = None

    def get(self, tables: Tables, devices: int, now_s: float) -> FleetLatency:
        """Return the fleet's latency, at most ``FRESH_S`` old."""
        with self._lock:
            if self._last is None or not 0 <= now_s - self._last.made_at_s < FRESH_S:
                self._last = merged(tables, devices, now_s)
            return self._last


def merged(tables: Tables, devices: int, now_s: float) -> FleetLatency:
    """Merge what the fleet reported last."""
    minutes = min(WINDOW_MIN, ROWS_MAX // max(devices, 1))
    if not minutes:
        return FleetLatency(minutes=0, tallies={}, made_at_s=now_s)
    now_min = int(now_s // 60)
    rows = [row for row in tables.reports.fleet_minutes(now_min - minutes, now_min) if row.arm in _SERVED and row.n]
    names = list(dict.fromkeys(row.device for row in rows))
    hardware = {device.id: device.hardware for device in tables.devices.some(names)}
    tallies: dict[Key, Tally] = {}
    for row in rows:
        tally = tallies.setdefault((row.model, row.release, row.variant, hardware[row.device]), Tally())
        tally.histogram.merge(Histogram(row.latency, row.latency_zero))
        tally.errors += sum(row.errors.values())
        tally.devices.add(row.device)
    return FleetLatency(minutes=minutes, tallies=tallies, made_at_s=now_s)


def _of_model(model: str, tallies: list[Tally]) -> shown.FleetLatency:
    histogram = _merged(tallies)
    return shown.FleetLatency(
        model=model,
        inferences=histogram.n,
        errors=sum(tally.errors for tally in tallies),
        p50_ms=_ms(histogram, 0.5),
        p95_ms=_ms(histogram, 0.95),
    )


def _merged(tallies: Iterable[Tally]) -> Histogram:
    total = Histogram()
    for tally in tallies:
        total.merge(tally.histogram)
    return total


def _ms(histogram: Histogram, share: float) -> float | None:
    seconds = histogram.quantile(share)
    return None if seconds is None else seconds * _MS
