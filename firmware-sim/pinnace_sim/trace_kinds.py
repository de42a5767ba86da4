"""Made traces: links as fleets have them, drawn from a seed, for those who have none recorded.

``mobile`` is a Gilbert-Elliott link (Gilbert 1960, Elliott 1963): it is there or dark, for times that are drawn from an
exponential distribution, and what it carries while it is there changes by and by, with a lognormal distribution.
``plant-wifi`` follows the shifts of a plant and loses its access point now and then; ``nightly`` is there in a
window of the night alone. A trace begins at midnight.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Final

from pinnace_sim import chance as chances
from pinnace_sim.links import LinkRow
from pinnace_sim.traces import Trace

HOUR_S: Final = 3_600.0
DAY_S: Final = 86_400.0

MOBILE_GOOD_S: Final = 2.5 * HOUR_S  # mean time with a network, and without
MOBILE_DARK_S: Final = 0.4 * HOUR_S
MOBILE_STEADY_S: Final = 0.75 * HOUR_S  # mean time between two rates
MOBILE_DOWN_BYTES_S: Final = 250_000.0  # median, 2 Mbit/s
MOBILE_SPREAD: Final = 1.0  # sigma of the rate's logarithm
MOBILE_UP_SHARE: Final = (0.1, 0.5)
MOBILE_DELAY_S: Final = (0.04, 0.4)
MOBILE_LOSS: Final = (0.0, 0.03)

PLANT_SHIFT_S: Final = (6 * HOUR_S, 22 * HOUR_S)  # when machines have power
PLANT_JITTER_S: Final = 0.4 * HOUR_S
PLANT_ROAM_S: Final = 2.0 * HOUR_S  # mean time between two access points
PLANT_GAP_S: Final = (5.0, 120.0)
PLANT_BYTES_S: Final = 2_500_000.0
PLANT_SPREAD: Final = 0.5
PLANT_DELAY_S: Final = (0.002, 0.03)

NIGHT_S: Final = (1 * HOUR_S, 5 * HOUR_S)
NIGHT_JITTER_S: Final = 0.5 * HOUR_S
NIGHT_BYTES_S: Final = 1_000_000.0

_Rows = Callable[[random.Random, str, float], Iterator[LinkRow]]


class TraceKind(StrEnum):
    """What links are like."""

    MOBILE = "mobile"
    PLANT_WIFI = "plant-wifi"
    NIGHTLY = "nightly"


def make(kind: TraceKind, *, devices: int, hours: float, seed: int) -> Trace:
    """Return a trace of ``device-000`` and so on, which repeats after its hours."""
    draws, found = _DRAWS[kind], list[LinkRow]()
    for number in range(devices):
        name = f"device-{number:03d}"
        chance = chances.stream(seed, f"trace {kind} {name}")
        found += {row.at_s: row for row in draws(chance, name, hours * HOUR_S)}.values()  # of one second the last
    return Trace(rows=tuple(sorted(found, key=lambda row: (row.at_s, row.device))), repeat_s=hours * HOUR_S)


def remarks(kind: TraceKind, *, devices: int, hours: float, seed: int) -> tuple[str, ...]:
    """Return what a made file says of itself."""
    return (
        f"pinnace-sim trace make --kind {kind} --devices {devices} --hours {hours:g} --seed {seed}",
        "a row holds from its second on; a rate of 0 is dark",
    )


def _mobile(chance: random.Random, name: str, end_s: float) -> Iterator[LinkRow]:
    at_s, there = 0.0, chance.random() < MOBILE_GOOD_S / (MOBILE_GOOD_S + MOBILE_DARK_S)
    while at_s < end_s:
        until_s = at_s + chance.expovariate(1 / (MOBILE_GOOD_S if there else MOBILE_DARK_S))
        if not there:
            yield _dark(at_s, name)
        while there and at_s < min(until_s, end_s):
            down = MOBILE_DOWN_BYTES_S * chance.lognormvariate(0.0, MOBILE_SPREAD)
            yield _row(
                at_s,
                name,
                up=down * chance.uniform(*MOBILE_UP_SHARE),
                down=down,
                delay_s=chance.uniform(*MOBILE_DELAY_S),
                loss=chance.uniform(*MOBILE_LOSS),
            )
            at_s += chance.expovariate(1 / MOBILE_STEADY_S)
        at_s, there = until_s, not there


def _plant_wifi(chance: random.Random, name: str, end_s: float) -> Iterator[LinkRow]:
    yield _dark(0.0, name)
    for day in range(int(-(-end_s // DAY_S))):
        on_s, off_s = (day * DAY_S + at_s + chance.uniform(0.0, PLANT_JITTER_S) for at_s in PLANT_SHIFT_S)
        at_s = on_s
        while at_s < min(off_s, end_s):
            rate = PLANT_BYTES_S * chance.lognormvariate(0.0, PLANT_SPREAD)
            yield _row(at_s, name, up=rate, down=rate, delay_s=chance.uniform(*PLANT_DELAY_S), loss=0.0)
            at_s += chance.expovariate(1 / PLANT_ROAM_S)
            if at_s < min(off_s, end_s):
                yield _dark(at_s, name)
            at_s += chance.uniform(*PLANT_GAP_S)
        if off_s < end_s:
            yield _dark(off_s, name)


def _nightly(chance: random.Random, name: str, end_s: float) -> Iterator[LinkRow]:
    yield _dark(0.0, name)
    for day in range(int(-(-end_s // DAY_S))):
        on_s, off_s = (day * DAY_S + at_s + chance.uniform(0.0, NIGHT_JITTER_S) for at_s in NIGHT_S)
        if on_s < end_s:
            yield _row(on_s, name, up=NIGHT_BYTES_S / 4, down=NIGHT_BYTES_S, delay_s=0.03, loss=0.0)
        if off_s < end_s:
            yield _dark(off_s, name)


def _row(at_s: float, name: str, *, up: float, down: float, delay_s: float, loss: float) -> LinkRow:
    """Round as a file does, so that a trace is the same before and after it was written."""
    return LinkRow(
        at_s=float(int(at_s)),
        device=name,
        up_bytes_s=float(max(1, round(up))),
        down_bytes_s=float(max(1, round(down))),
        delay_s=round(delay_s * 1000) / 1000,
        loss=round(loss, 3),
    )


def _dark(at_s: float, name: str) -> LinkRow:
    return LinkRow(at_s=float(int(at_s)), device=name, up_bytes_s=0.0, down_bytes_s=0.0)


_DRAWS: Final[dict[TraceKind, _Rows]] = {
    TraceKind.MOBILE: _mobile,
    TraceKind.PLANT_WIFI: _plant_wifi,
    TraceKind.NIGHTLY: _nightly,
}
