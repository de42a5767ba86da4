"""Many rehearsals of one assignment under different seeds, and what they have in common: how long, how much, who not.

Each world plays all devices of the snapshot or a sample of them, another one under each seed. What was assumed is part
of the forecast.
"""

from __future__ import annotations

import math
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any, Final, Self

from pinnace_contract.ids import ModelName
from pinnace_contract.latest import TrialMode
from pinnace_server.domain.policy import Terms
from pinnace_sim import chance as chances
from pinnace_sim.errors import CannotRehearse
from pinnace_sim.faults import NONE, Faults
from pinnace_sim.rehearsal import profiles, scale
from pinnace_sim.rehearsal.profiles import Unknown
from pinnace_sim.rehearsal.snapshot import FleetDevice, FleetVersion, Snapshot
from pinnace_sim.rehearsal.twin import Fate, Part, Scenario, Twin
from pinnace_sim.traces import Trace

SHARES: Final = (0.5, 0.9, 0.99, 1.0)
FORMAT: Final = "pinnace-rehearsal"
FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """Devices of which each world has so many."""

    devices: tuple[FleetDevice, ...]
    played: int

    @property
    def times(self) -> float:
        """How many devices of the fleet one that is played stands for."""
        return len(self.devices) / self.played if self.played else 1.0

    def drawn(self, seed: int) -> tuple[FleetDevice, ...]:
        """Return those that the world of a seed has."""
        if self.played == len(self.devices):
            return self.devices
        chosen = chances.stream(seed, "sample").sample(range(len(self.devices)), self.played)
        return tuple(self.devices[number] for number in sorted(chosen))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What to play. ``sample`` is how many devices of each stratum a world has at most."""

    snapshot: Snapshot
    model: ModelName
    target: FleetVersion
    terms: Terms
    seeds: tuple[int, ...]
    sample: int
    hours: float
    bytes_s: float
    trace: Trace | None = None
    faults: Faults = NONE

    def strata(self) -> tuple[Stratum, Stratum]:
        """Return the devices that can get somewhere, and those of which the snapshot says already that they cannot:
        among so few of so many they would be overlooked."""
        split: tuple[list[FleetDevice], list[FleetDevice]] = ([], [])
        for each in self.snapshot.devices:
            split[not self._can_move(each)].append(each)
        moving, settled = (Stratum(devices=tuple(each), played=min(self.sample, len(each))) for each in split)
        return moving, settled

    def _can_move(self, device: FleetDevice) -> bool:
        if not device.takes_part:
            return False
        if device.runtimes and not {each.runtime for each in self.target.variants} & set(device.runtimes):
            return False
        gone = device.link is not None and device.link.changes_a_day <= 0 and not device.online
        return self.trace is not None or not gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A number over the worlds; None where no world has it."""

    median: float | None
    p90: float | None
    most: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the median, the 90th percentile and the largest of some numbers."""
        if not values:
            return cls(median=None, p90=None)
        ordered = sorted(values)
        return cls(median=median(ordered), p90=ordered[_rank(len(ordered), 0.9)], most=ordered[-1])

    @property
    def has_any(self) -> bool:
        """Whether it is more than nothing in some world."""
        return bool(self.most)

    def tree(self, digits: int = 1) -> dict[str, float | None]:
        """Return it as JSON knows it."""
        return {
            name: None if value is None else round(value, digits)
            for name, value in (("median", self.median), ("p90", self.p90))
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A device that was left behind: in how many of the worlds that it was in, and mostly why."""

    device: str
    fate: Fate
    detail: str
    left: int
    worlds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What the worlds have in common. Durations are of the devices that committed, by their share."""

    rehearsal: Rehearsal
    durations_s: dict[float, Spread]
    committed: Spread
    total_bytes: Spread
    device_bytes: dict[float, float]
    fates: dict[Fate, Spread]
    left: tuple[Left, ...]
    assumptions: tuple[str, ...]

    def tree(self) -> dict[str, Any]:
        """Return the forecast as JSON knows it."""
        asked = self.rehearsal
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "model": asked.model,
            "version": asked.target.version,
            "devices": len(asked.snapshot.devices),
            "played": sum(each.played for each in asked.strata()),
            "seeds": list(asked.seeds),
            "hours": asked.hours,
            "duration_s": {_share_name(share): each.tree() for share, each in self.durations_s.items()},
            "committed": self.committed.tree(),
            "bytes": {
                "total": self.total_bytes.tree(0),
                "device": {f"p{share * 100:.0f}": round(each) for share, each in self.device_bytes.items()},
            },
            "left_behind": {fate.value: each.tree() for fate, each in self.fates.items()},
            "left_devices": [
                {
                    "device": each.device,
                    "reason": each.fate.value,
                    "detail": each.detail,
                    "left": each.left,
                    "worlds": each.worlds,
                }
                for each in self.left
            ],
            "assumptions": list(self.assumptions),
        }


def found_target(snapshot: Snapshot, release: str) -> FleetVersion:
    """Return the version that MODEL@VERSION names.

    Raises:
        CannotRehearse
    """
    model, at, name = release.partition("@")
    if not at or not model or not name:
        raise CannotRehearse(f"--release: expected MODEL@VERSION, found {release!r}")
    found = snapshot.version(model, name)
    if found is None:
        known = ", ".join(f"{each.model}@{each.version}" for each in snapshot.versions[:8]) or "no versions"
        raise CannotRehearse(f"the snapshot does not know {release}; it has {known}")
    if not found.variants:
        raise CannotRehearse(f"{release} has no variant of a runtime that this version knows")
    return found


def rehearse(rehearsal: Rehearsal, *, processes: int = 1, told: Callable[[int], None] = lambda _done: None) -> Forecast:
    """Play every seed's world and sum them up. ``told`` hears how many are done."""
    if not rehearsal.snapshot.devices:
        raise CannotRehearse("the snapshot has no devices")
    worlds: dict[int, tuple[Part, ...]] = {}
    for seed, parts in _played(rehearsal, processes):
        worlds[seed] = parts
        told(len(worlds))
    return summed(rehearsal, [worlds[seed] for seed in rehearsal.seeds])


def play(rehearsal: Rehearsal, seed: int) -> tuple[int, tuple[Part, ...]]:
    """Play one world."""
    return seed, Twin(scenario_of(rehearsal, seed), seed).play()


def scenario_of(rehearsal: Rehearsal, seed: int) -> Scenario:
    """Return what the world of one seed plays."""
    moving, settled = rehearsal.strata()
    return Scenario(
        model=rehearsal.model,
        target=rehearsal.target,
        versions=_served(rehearsal)[0],
        devices=(*moving.drawn(seed), *settled.drawn(seed)),
        terms=rehearsal.terms,
        hours=rehearsal.hours,
        bytes_s=rehearsal.bytes_s,
        share=1 / moving.times,
        trace=rehearsal.trace,
        faults=rehearsal.faults,
    )


def summed(rehearsal: Rehearsal, worlds: Sequence[tuple[Part, ...]]) -> Forecast:
    """Return what worlds have in common."""
    times = {each.id: stratum.times for stratum in rehearsal.strata() for each in stratum.devices}
    took = [sorted(part.took_s for part in parts if part.took_s is not None) for parts in worlds]
    carried = sorted(part.carried_bytes for parts in worlds for part in parts if part.took_s is not None)

    def counted(fate: Fate) -> Spread:
        return Spread.of([sum(times[part.device] for part in parts if part.fate is fate) for parts in worlds])

    return Forecast(
        rehearsal=rehearsal,
        durations_s={share: Spread.of([each[_rank(len(each), share)] for each in took if each]) for share in SHARES},
        committed=counted(Fate.COMMITTED),
        total_bytes=Spread.of([sum(part.carried_bytes * times[part.device] for part in parts) for parts in worlds]),
        device_bytes={share: carried[_rank(len(carried), share)] for share in (0.5, 0.95)} if carried else {},
        fates={fate: counted(fate) for fate in Fate if fate is not Fate.COMMITTED and counted(fate).has_any},
        left=_left(worlds),
        assumptions=tuple(_assumptions(rehearsal)),
    )


def _played(rehearsal: Rehearsal, processes: int) -> Iterator[tuple[int, tuple[Part, ...]]]:
    if processes <= 1 or len(rehearsal.seeds) == 1:
        yield from (play(rehearsal, seed) for seed in rehearsal.seeds)
        return
    with multiprocessing.get_context("spawn").Pool(min(processes, len(rehearsal.seeds))) as pool:
        yield from pool.imap_unordered(partial(play, rehearsal), rehearsal.seeds)


def _served(rehearsal: Rehearsal) -> tuple[tuple[FleetVersion, ...], int]:
    """Return the versions that devices serve now, and of how many the snapshot does not know the size."""
    names = dict.fromkeys(
        each.runs[rehearsal.model] for each in rehearsal.snapshot.devices if rehearsal.model in each.runs
    )
    found, unknown = list[FleetVersion](), 0
    for name in names:
        known = next(
            (each for each in rehearsal.snapshot.versions if (each.model, each.version) == (rehearsal.model, name)),
            None,
        )
        unknown += known is None
        found.append(known or replace(rehearsal.target, version=name, aliases=(), sequence=0))
    return tuple(found), unknown


def _left(worlds: Sequence[tuple[Part, ...]]) -> tuple[Left, ...]:
    parts: dict[str, list[Part]] = {}
    for each in worlds:
        for part in each:
            parts.setdefault(part.device, []).append(part)
    found = []
    for device, of_device in parts.items():
        left = [part for part in of_device if part.fate is not Fate.COMMITTED]
        if left:
            fate, _ = Counter(part.fate for part in left).most_common(1)[0]
            detail = next(part.detail for part in left if part.fate is fate)
            found.append(Left(device=device, fate=fate, detail=detail, left=len(left), worlds=len(of_device)))
    order = list(Fate)
    return tuple(sorted(found, key=lambda each: (-each.left / each.worlds, order.index(each.fate), each.device)))


def _assumptions(rehearsal: Rehearsal) -> Iterator[str]:
    yield from fleet_assumptions(rehearsal)
    yield "the release is good on every device, and what devices answer does not move them back"
    unknown = sum(profiles.unknown_of(each, rehearsal.model).rate for each in rehearsal.snapshot.devices)
    if unknown and rehearsal.terms.trial.mode is not TrialMode.NONE:
        yield f"{unknown} device(s) have counted no inferences: their trials end by time"


def fleet_assumptions(rehearsal: Rehearsal) -> Iterator[str]:
    """Yield what is assumed of devices and links, whatever is played on them."""
    snapshot, unknown = rehearsal.snapshot, Unknown()
    for each in snapshot.devices:
        unknown = unknown.plus(profiles.unknown_of(each, rehearsal.model))
    moving, settled = rehearsal.strata()
    if moving.times > 1:
        yield (
            f"each world has {moving.played} of the {len(moving.devices)} devices that can move, drawn anew; counts "
            f"and bytes are multiplied by {moving.times:.3g}, durations are not, and the server sends to them at their "
            "share of its pace"
        )
    if settled.times > 1:
        yield f"of the {len(settled.devices)} devices that cannot move each world has {settled.played}"
    if rehearsal.trace is None:
        yield f"every link carries {rehearsal.bytes_s:,.0f} bytes a second: the server does not know rates"
        yield (
            "links come and go at random, as often and for as long as in the days before the snapshot; time of day "
            "plays no part"
        )
        if unknown.link:
            yield f"{unknown.link} device(s) have no history of their link: they stay as they were"
    else:
        yield "links are the trace's, from its beginning, and not what the server saw of them"
    yield "a device that is away is on: it goes on serving, and a trial under way goes on"
    served, lost = _served(rehearsal)
    if lost:
        yield f"{lost} version(s) that serve now are not in the snapshot: taken to be as large as the release"
    if unknown.disk:
        yield f"{unknown.disk} device(s) have not said how much disk is free: taken to have room"
    if unknown.memory:
        yield f"{unknown.memory} device(s) have not said how much memory is free: taken to have enough"
    largest = max(each.size_bytes_max for each in (rehearsal.target, *served))
    factor = scale.factor_for(moving.played + settled.played, largest)
    if factor > 1:
        yield f"a byte of a file stands for {factor}: chunks, disks and paces are smaller by as much"
    if rehearsal.faults == NONE:
        yield "nothing breaks: no power cuts, no restarts (see --faults usual)"
    yield f"nothing is looked at after {rehearsal.hours:g} hours"


def _rank(n: int, share: float) -> int:
    """Return the place of the smallest value that has this share at or below it."""
    return max(0, math.ceil(n * share - 1e-9) - 1)


def _share_name(share: float) -> str:
    return "last" if share >= 1.0 else f"{share * 100:.0f}"
