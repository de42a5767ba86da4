"""What applications tell of answers, and what the answers were, as gates are told it: only where a policy asks.

Outcomes, labelled answers by declared group, and classes. When a device's time on either side of a switch begins is
the witness's matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pinnace_server.domain import telemetry
from pinnace_server.domain.gates.evidence import ClassCounts, Counts, Guard, Series
from pinnace_server.domain.gates.streams import Tally
from pinnace_server.domain.stretches import Stretch

CLASSES_JUDGED_MAX: Final = 8  # the most frequent ones before the switch; all others are judged as one


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """The business metric of a policy; ``higher`` is better, or lower."""

    name: str
    higher: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a policy judges that is off by itself."""

    metric: Metric | None = None
    fairness: bool = False
    predictions: bool = False

    @property
    def guards(self) -> dict[Guard, str]:
        """The guards that are asked for, with the name of the metric, where one has a name."""
        outcome = {} if self.metric is None else {Guard.OUTCOME: self.metric.name}
        others = {Guard.FAIRNESS: self.fairness, Guard.PREDICTIONS: self.predictions}
        return outcome | {guard: "" for guard, wanted in others.items() if wanted}


NOTHING_ASKED: Final = Asked()


def outcome(past: Sequence[Stretch], now: Sequence[Stretch], metric: Metric) -> Series | None:
    """Return the outcomes of one metric; None where nobody told any. Bad is what the metric says is not better."""
    series = Series(past=outcomes(past, metric), now=outcomes(now, metric))
    return series if series.past.trials or series.now.trials else None


def outcomes(rows: Iterable[Stretch], metric: Metric) -> Counts:
    """Return how often the metric was told, and how often it was not the better."""
    trials = successes = 0
    for row in rows:
        more, good = row.outcomes.get(metric.name, (0, 0))
        trials, successes = trials + more, successes + min(good, more)
    return Counts(trials=trials, bad=trials - successes if metric.higher else successes)


def groups(past: Sequence[Stretch], lately: Sequence[Stretch], now: Sequence[Stretch]) -> dict[str, Series]:
    """Return the wrong ones of the labelled answers of each declared group."""
    names = sorted({name for row in (*past, *now) for name in row.groups})
    return {name: Series(past=_wrong(past, name), lately=_wrong(lately, name), now=_wrong(now, name)) for name in names}


def _wrong(rows: Iterable[Stretch], name: str) -> Counts:
    counts = (row.groups.get(name, (0, 0, 0)) for row in rows)
    return Tally().over((n, min(errors, n)) for n, errors, _ in counts).counts


def wrong(rows: Sequence[Stretch]) -> list[list[tuple[int, int]]]:
    """Return wrong answers by the number of their stretch, for each declared group."""
    names = sorted({name for row in rows for name in row.groups})
    return [[(row.number, row.groups[name][1]) for row in rows if name in row.groups] for name in names]


def classes_judged(rows: Iterable[Stretch]) -> tuple[int, ...]:
    """Return the classes that are judged by themselves: by what was answered before the switch alone."""
    total: tuple[int, ...] = ()
    for row in rows:
        total = telemetry.added(total, row.classes)
    by_count = sorted(range(len(total)), key=lambda each: (-total[each], each))
    return tuple(sorted(each for each in by_count[:CLASSES_JUDGED_MAX] if total[each]))


def classes(past: Sequence[Stretch], now: Sequence[Stretch], judged: Sequence[int]) -> ClassCounts | None:
    """Return how often each judged class was answered, then all others together; None where none was counted."""
    found = ClassCounts(past=_classes(past, judged), now=_classes(now, judged))
    return found if any(found.past) or any(found.now) else None


def _classes(rows: Iterable[Stretch], judged: Sequence[int]) -> tuple[int, ...]:
    total: tuple[int, ...] = ()
    for row in rows:
        total = telemetry.added(total, row.classes)
    named = tuple(total[each] if each < len(total) else 0 for each in judged)
    return (*named, sum(total) - sum(named))
