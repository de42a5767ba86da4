"""From a device's minutes to counts: which bad events are news, and how far a fleet's bad events come in bursts.

Inferences of one device are not independent: one cause gives many bad answers in a row. A bad event makes the device's
next ``BURST`` inferences stale; they are neither events nor exposure. What is left is the hazard of a *new* bad event,
which does not depend on the length of bursts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pinnace_server.domain.gates.evidence import Counts

BURST: Final = 30  # inferences that one cause may spoil in a row
BLOCK_MIN: Final = 180  # several bursts long at one inference a minute
BURSTS_ASSUMED: Final = 6.0  # events' worth of belief in bursts, before the past tells otherwise
SAFETY: Final = 1.03  # blocks cut bursts in two, which makes them look shorter


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The counts of one device and guard so far; ``stale`` trials are still to be left out."""

    counts: Counts = field(default_factory=Counts)
    stale: int = 0

    def after(self, trials: int, bad: int) -> Tally:
        """Return the tally after one report window.

        Inside a window with k bad of n the first bad one stands, on average, at (n + 1) / (k + 1).
        """
        return self.over(((trials, bad),))

    def over(self, windows: Iterable[tuple[int, int]]) -> Tally:
        """Return the tally after report windows of so many trials and bad events, oldest first."""
        had, stale = self.counts, self.stale
        all_trials, all_bad, fresh_trials, fresh_bad = had.trials, had.bad, had.fresh_trials, had.fresh_bad
        for trials, bad in windows:
            fresh = stale <= 0
            hit = fresh and bad > 0
            all_trials += trials
            all_bad += bad
            fresh_trials += (trials + 1) / (bad + 1) if hit else float(trials) if fresh else 0.0
            fresh_bad += hit
            stale = BURST if hit else max(stale - trials, 0)
        counts = Counts(trials=all_trials, bad=all_bad, fresh_trials=fresh_trials, fresh_bad=fresh_bad)
        return Tally(counts=counts, stale=stale)

    def restarted(self) -> Tally:
        """Return an empty tally that remembers what is stale: a burst that outlives the switch is no news."""
        return Tally(stale=self.stale)


def dispersion(blocks: Iterable[Sequence[int]]) -> float:
    """Return by how much bad events vary more than independent ones would, at least 1.

    ``blocks`` has, for each device, its bad events in equal blocks of its past (three hours). Where few events were
    seen, bursts of ``BURST`` are assumed.
    """
    squares = events = 0.0
    for bad in blocks:
        if len(bad) < 2:
            continue
        mean = sum(bad) / len(bad)
        squares += sum((each - mean) ** 2 for each in bad)
        events += mean * (len(bad) - 1)
    return max(1.0, (SAFETY * squares + BURSTS_ASSUMED * BURST) / (events + BURSTS_ASSUMED))
