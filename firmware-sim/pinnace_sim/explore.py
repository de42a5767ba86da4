"""Many worlds, one seed after another, in as many processes as there are cores; the first broken rule of each is kept.

A world that breaks a rule is played once more with its log, which is written beside the others: the log is enough to
play it again (``replay``) and to find a simpler one (``shrink``).
"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from pinnace_sim import stories, wave_stories
from pinnace_sim.memory.store import MemoryStore
from pinnace_sim.plan import Plan
from pinnace_sim.server import Disk
from pinnace_sim.sql import SqlDisk
from pinnace_sim.world import World

CHUNK: Final = 4  # seeds that a process takes at a time

Story = Callable[[int], Plan]

STORIES: Final[dict[str, Callable[..., Plan]]] = {
    "one": stories.one_update,
    "many": stories.many_updates,
    "waves": wave_stories.waves,
    "told": wave_stories.told,
}
"""One update, a new version every day or two, or rollouts in waves; and such with applications that tell."""

STORES: Final[dict[str, Callable[[], Disk]]] = {"memory": MemoryStore, "sql": SqlDisk}
"""What the server of a world keeps its rows in: the twin in memory, or the real database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How the world of one seed ended. ``rule`` is empty where nothing was broken."""

    seed: int
    rule: str
    text: str
    digest: str
    counts: Counter[str]
    events: int
    hours: float


@dataclass(slots=True)
class Summary:
    """What so many worlds came to."""

    worlds: int = 0
    events: int = 0
    hours: float = 0.0
    took_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    broken: list[Found] = field(default_factory=list)


def story(kind: str, devices: int, hours: float) -> Story:
    """Return how plans are drawn: one of ``STORIES``."""
    return partial(STORIES[kind], devices=devices, hours=hours)


def play(drawn: Story, seed: int, store: str = "memory") -> Found:
    """Play the world of one seed over one of ``STORES``."""
    with closing(STORES[store]()) as disk:
        outcome = World(drawn(seed), store=lambda: disk).run()
    found = outcome.violation
    return Found(
        seed=seed,
        rule=str(found.rule) if found else "",
        text=f"{found.who}: {found.text}" if found else "",
        digest=outcome.digest,
        counts=outcome.counts,
        events=outcome.events,
        hours=outcome.seconds / 3600 * len(outcome.plan.devices),
    )


def explore(
    drawn: Story,
    seeds: range,
    *,
    processes: int,
    told: Callable[[Found, Summary], None],
    broken_max: int,
    store: str = "memory",
) -> Summary:
    """Play every seed's world, or until so many were broken."""
    summary, began_s = Summary(), time.perf_counter()
    for found in _played(partial(play, drawn, store=store), seeds, processes):
        summary.worlds += 1
        summary.events += found.events
        summary.hours += found.hours
        summary.counts.update(found.counts)
        summary.took_s = time.perf_counter() - began_s
        if found.rule:
            summary.broken.append(found)
        told(found, summary)
        if len(summary.broken) >= broken_max:
            break
    return summary


def written(drawn: Story, seed: int, folder: Path, store: str = "memory") -> Path:
    """Play the world of a seed once more over the same store, and write its log."""
    folder.mkdir(parents=True, exist_ok=True)
    with closing(STORES[store]()) as disk:
        outcome = World(drawn(seed), keeps_log=True, store=lambda: disk).run()
    path = folder / f"seed-{seed}.jsonl"
    path.write_text("".join(f"{line}\n" for line in outcome.lines))
    return path


def _played(one: Callable[[int], Found], seeds: range, processes: int) -> Iterator[Found]:
    if processes == 1:
        yield from map(one, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(one, seeds, CHUNK)
