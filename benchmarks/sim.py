"""What the simulator costs, what it finds, and that it writes the same log twice.

One process plays one world; times are of this machine. Mutations are hunted as the tests do, each with one seed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import figures
from figures import Figure

from pinnace_sim import mutations, stories
from pinnace_sim.faults import EVERYTHING, USUAL
from pinnace_sim.plan import Plan
from pinnace_sim.world import World

HOURLY_S = 3_600


def main() -> None:
    """Measure and print."""
    parts = {each.__name__: each for each in (repeated, month, day, found_bugs)}
    figures.measure("sim", parts, figures.arguments(__doc__ or "", parts))


def repeated(quick: bool) -> Iterator[Figure]:
    """Two runs of a world write the same bytes."""
    plan = stories.one_update(11, hours=6.0 if quick else 24.0)
    first, second = (World(plan, keeps_log=True).run() for _ in range(2))
    yield Figure(figure="same_log_twice", value=float(first.lines == second.lines), unit="bool", aim=">= 1")


def month(quick: bool) -> Iterator[Figure]:
    """A hundred devices for thirty days, see ``_large``."""
    del quick  # never easier work
    return _large("sim_100_devices_30_days", devices=100, hours=720.0, aim="<= 60")


def day(quick: bool) -> Iterator[Figure]:
    """A thousand devices for a day, see ``_large``."""
    del quick
    return _large("sim_1000_devices_1_day", devices=1_000, hours=24.0, aim="<= 120")


def _large(name: str, *, devices: int, hours: float, aim: str) -> Iterator[Figure]:
    """Play a fleet with hourly reports and the faults of one in good order (three a device and day), and once more with
    everything that ``explore`` lets go wrong (thirty)."""
    for suffix, faults, held_to in (("", USUAL, aim), ("_everything_wrong", EVERYTHING, "")):
        plan = stories.many_updates(1, devices=devices, hours=hours, report_every_s=HOURLY_S, faults=faults)
        took_s, events = _played(plan)
        yield Figure(figure=f"{name}{suffix}", value=round(took_s, 1), unit="s", aim=held_to)
        yield Figure(figure=f"{name}{suffix}_events", value=round(events / took_s), unit="1/s")


def _played(plan: Plan) -> tuple[float, int]:
    began = time.perf_counter()
    outcome = World(plan).run()
    if outcome.violation is not None:
        raise RuntimeError(f"seed {plan.seed}: {outcome.violation}")
    return time.perf_counter() - began, outcome.events


def found_bugs(quick: bool) -> Iterator[Figure]:
    """How many of the deliberate bugs a world with a known seed finds."""
    del quick
    caught = sum(bool(mutations.hunt(each, first_seed=each.found_by, seeds=1).rule) for each in mutations.MUTATIONS)
    yield Figure(figure="mutations_found", value=float(caught), unit="count", aim=">= 12")
    yield Figure(figure="mutations_tried", value=float(len(mutations.MUTATIONS)), unit="count")


if __name__ == "__main__":
    main()
