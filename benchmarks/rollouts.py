"""Whole rollouts: a bad release is stopped, a good one on a noisy fleet goes through its last wave without a person.

Each run is a world of the simulator with a day of past (bad releases: six hours, which makes them harder to see): real
agents, the real server, its gates; devices that differ in traffic, latency, errors, site and hardware; lines, power and
the server fail as they usually do, and some devices are away for hours. Policies are the default but for a soak time of
one hour, so that a world is affordable. A run ends when the rollout does, is paused, or after 48 hours (bad releases:
8). A person never steps in.

``--runs`` plays so many worlds of each cell, with the seeds 1, 2, …; ``--quick`` few, of the small cells as well. What
did not end as it should is told on standard error, with its seed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Final, get_args

import figures
import rollout_worlds
from figures import Figure
from rollout_worlds import BAD_HARDWARE, Played, Setup

from pinnace_server.domain.rollout_policy.policy import Strategy
from pinnace_sim.applications import METRIC
from pinnace_sim.climbs import End
from pinnace_sim.plan import Nature

GATES: Final = {"soak_s": 3_600}
UNREFUTED: Final = GATES | {"promote_on": "unrefuted"}
PER: Final = 200  # runs, in which a good release may be stopped once
STRATEGIES: Final = ("canary", "all_at_once", "blue_green")
WHOLE_SITES: Final = "site_atomic"
COMPARED: Final[dict[str, dict[str, object]]] = {
    "shadow": {"gates": GATES},
    "ab": {"gates": GATES | {"guards": {"outcome": {"metric": METRIC}}}},
}
BAD_DEVICES: Final = 40
BAD_PAST_HOURS: Final = 6.0  # a short past makes what is bad harder to see
BAD_HOURS: Final = 8.0
BAD: Final = {
    "errors": Nature.ERRORS_3_PERCENT,
    "slow": Nature.SLOWER_20_PERCENT,
    "silent": Nature.DIES_SILENTLY,
    "golden": Nature.WRONG,
}
SEEN_IN_SHADOW: Final = {"contrary": Nature.CONTRARY}  # passes its golden vectors, and is sure of wrong answers
STOPPED: Final = (End.MOVED_BACK, End.INSTALLS_STOPPED, End.HELD, End.BUDGET_HELD)
Figures = Iterator[Figure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Worlds that differ in their seeds only, and how many of them fit into a full and a quick run."""

    setup: Setup
    runs: int
    runs_quick: int

    @property
    def good(self) -> bool:
        """Tell whether the release is."""
        return self.setup.nature is Nature.GOOD


def _good(devices: int, gates: dict[str, object], runs: int, runs_quick: int) -> Cell:
    setup = Setup(name=f"good_{devices}", devices=devices, policy={"gates": gates})
    return Cell(setup=setup, runs=runs, runs_quick=runs_quick)


def _of_sites(name: str, nature: Nature, runs: int) -> Cell:
    """Three sites, the first of which moves alone."""
    setup = Setup(
        name=f"{name}_{WHOLE_SITES}",
        devices=12,
        policy={"strategy": WHOLE_SITES, "waves": [1, "rest"], "holdback": None, "gates": UNREFUTED},
        nature=nature,
        hardware=BAD_HARDWARE if nature is Nature.WRONG else "",
        past_hours=BAD_PAST_HOURS,
        hours=24.0,
    )
    return Cell(setup=setup, runs=runs, runs_quick=1)


def _bad(name: str, strategy: str) -> Cell:
    nature = (BAD | SEEN_IN_SHADOW)[name]
    setup = Setup(
        name=f"{name}_{strategy}",
        devices=BAD_DEVICES,
        policy={"strategy": strategy, "gates": GATES, **COMPARED.get(strategy, {})},
        nature=nature,
        hardware=BAD_HARDWARE if nature is Nature.WRONG else "",
        past_hours=BAD_PAST_HOURS,
        hours=BAD_HOURS,
        tells=strategy == "ab",  # asks for an outcome, and a gate that nobody tells anything stops whatever there is
    )
    return Cell(setup=setup, runs=6, runs_quick=1)


CELLS: Final = (
    _good(3, UNREFUTED, 200, 2),
    _good(8, UNREFUTED, 200, 1),
    _good(40, UNREFUTED, 200, 1),
    _good(100, GATES, 16, 1),
    *(_bad(name, strategy) for name, strategy in product(BAD, (*STRATEGIES, *COMPARED))),
    *(_bad(name, "shadow") for name in SEEN_IN_SHADOW),
    _of_sites("good", Nature.GOOD, 6),
    *(_of_sites(name, nature, 3) for name, nature in BAD.items()),
)
WHICH: Final = "strategies"


def main() -> None:
    """Measure and print."""
    cells = {each.setup.name: each for each in CELLS}
    chosen = figures.arguments(__doc__ or "", (*cells, WHICH), _options)
    with ProcessPoolExecutor(chosen.processes) as pool:
        parts: dict[str, Callable[[bool], Figures]] = {WHICH: strategies}
        for name, cell in cells.items():
            parts[name] = partial(measured, cell, chosen.runs, pool)
        figures.measure("rollouts", parts, chosen, keeps=not chosen.runs)


def _options(parser: argparse.ArgumentParser) -> None:
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--runs", type=int, default=0, help="worlds of each cell; results are not kept")
    parser.add_argument("--processes", type=int, default=cores, help="that play worlds (default: all cores)")


def strategies(quick: bool) -> Figures:
    """Strategies that the server carries out and no world is played of."""
    del quick
    played = (*STRATEGIES, *COMPARED, WHOLE_SITES)
    missing = sorted(each.KIND for each in get_args(Strategy) if each.KIND not in played)
    for strategy in missing:
        _tell(f"{strategy} is not played")
    yield Figure(figure="strategies_not_played", value=len(missing), unit="count", aim="<= 0")


def measured(cell: Cell, asked: int, pool: ProcessPoolExecutor, quick: bool) -> Figures:
    """Play the worlds of a cell, as many as were asked for, and tell what became of them."""
    name, runs = cell.setup.name, asked or (cell.runs_quick if quick else cell.runs)
    _tell(f"{name}: seeds 1 to {runs}")
    played = []
    for each in pool.map(partial(rollout_worlds.play, cell.setup), range(1, runs + 1)):
        played.append(each)
        if each.problem or (each.end is not End.PROMOTED if cell.good else each.end not in STOPPED):
            _tell(
                f"{name}: seed {each.seed}: {each.end} in wave {each.wave} of {each.waves} after {each.hours:.1f} h: "
                f"{each.problem or each.why}"
            )
    yield from (_of_good if cell.good else _of_bad)(name, played)
    yield Figure(figure=f"runs_{name}", value=len(played), unit="count")
    yield Figure(figure=f"cpu_{name}", value=round(sum(each.cpu_s for each in played), 1), unit="s")


def _of_good(name: str, played: list[Played]) -> Figures:
    devices = name.removeprefix("good_")
    promoted = [each for each in played if each.end is End.PROMOTED]
    moved_back = sum(each.end is End.MOVED_BACK for each in played)
    yield Figure(figure=f"good_promoted_{devices}", value=_percent(len(promoted), played), unit="%", aim=">= 95")
    yield Figure(figure=f"good_stopped_{devices}", value=PER * moved_back / len(played), unit="of 200", aim="<= 1")
    if promoted:
        hours = statistics.median(each.hours for each in promoted)
        yield Figure(figure=f"good_promoted_after_{devices}", value=round(hours, 2), unit="h")


def _of_bad(name: str, played: list[Played]) -> Figures:
    """Stopped is moved back, or installs were stopped, or a wave is held and further devices with it."""
    for figure, ends in (("stopped", STOPPED), ("moved_back", (End.MOVED_BACK,)), ("promoted", (End.PROMOTED,))):
        aim = ">= 95" if figure == "stopped" else ""
        ended = sum(each.end in ends for each in played)
        yield Figure(figure=f"bad_{figure}_{name}", value=_percent(ended, played), unit="%", aim=aim)
    served = [each.served for each in played]
    for figure, value in (("min", min(served)), ("median", statistics.median(served)), ("max", max(served))):
        yield Figure(figure=f"served_{figure}_{name}", value=value, unit="devices")


def _percent(some: int, played: list[Played]) -> float:
    return 100 * some / len(played)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
