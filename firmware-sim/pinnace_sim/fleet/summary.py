"""The summary of a run: counts, percentiles and costs, as JSON and as a page of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pinnace_sim.fleet.books import Books
from pinnace_sim.fleet.tally import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run came to. Times are seconds; ``costs`` are those of broker, server and simulator."""

    profile: str
    processes: int
    model_bytes: int
    report_every_s: int
    seconds: dict[str, float]
    percentiles: dict[str, dict[str, float]]
    progress: Progress
    books: Books
    costs: dict[str, dict[str, float]]
    ends: dict[str, int]
    problems: tuple[str, ...] = ()

    @property
    def lost(self) -> int:
        """What is missing; agents that failed count as well, for they should not."""
        return self.books.lost + self.progress.failures

    def tree(self) -> dict[str, Any]:
        """Return the summary as JSON knows it."""
        books = self.books
        return {
            "profile": self.profile,
            "devices": books.devices,
            "processes": self.processes,
            "model_bytes": self.model_bytes,
            "report_every_s": self.report_every_s,
            "lost": self.lost,
            "reports": {
                "received": books.reports,
                "lost": books.reports_lost,
                "unacknowledged": books.reports_waiting,
            },
            "receipts": {
                "committed": books.receipts,
                "lost": books.receipts_lost,
                "twice": books.receipts_twice,
                "uncommitted": books.uncommitted,
            },
            "joined": self.progress.joined,
            "left": self.progress.left,
            "reconnects": self.progress.reconnects,
            "connections_ended": self.ends,
            "agent_failures": self.progress.failures,
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
            "percentiles_s": self.percentiles,
            "costs": self.costs,
            "problems": [*self.problems, *books.told],
        }

    def text(self) -> str:
        """Return the summary for a reader."""
        books, progress = self.books, self.progress
        lines = [
            f"{books.devices:,} devices ({self.profile}) in {self.processes} processes; "
            f"{progress.joined:,} joined, {progress.left:,} left, {progress.reconnects:,} connections were lost",
            f"{books.receipts:,} committed receipts, {books.reports:,} reports; lost: {self.lost:,}",
        ]
        lines += [f"  {name:<22} {seconds:>10.1f} s" for name, seconds in self.seconds.items()]
        lines += [
            f"  {name:<22} " + "  ".join(f"{share} {value:.3g} s" for share, value in each.items())
            for name, each in self.percentiles.items()
            if each
        ]
        lines += [
            f"  {name:<22} {cost['memory_peak_mib']:>10.1f} MiB at most, {cost['cpu_s']:.1f} s of CPU"
            for name, cost in self.costs.items()
        ]
        return "\n".join((*lines, *(f"  wrong: {each}" for each in (*self.problems, *books.told))))


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """Return the median, the tail and the worst; nothing of nothing."""
    if not samples:
        return {}
    ordered = sorted(samples)
    at = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4) for name, share in at.items()}
