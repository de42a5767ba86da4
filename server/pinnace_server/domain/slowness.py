"""What is slow on one device: what takes longer than 95 in 100 of its own answers took before the switch.

A device counts slow answers against a threshold that is another one for each release, and a first release has none. So
its histograms are counted again here: past and present, on either arm, by the bound of one bucket.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from pinnace_contract.histogram import INDEX_MIN, bucket_of
from pinnace_server.domain import packed_histogram
from pinnace_server.domain.gates.evidence import Counts, Series
from pinnace_server.domain.gates.streams import Tally
from pinnace_server.domain.packed_histogram import PackedHistogram
from pinnace_server.domain.stretches import Stretch

KNOWN_FROM: Final = 500  # inferences: 25 of them are slow, which places a p95 to about a fifth of its rank
QUANTILE: Final = 0.95
# Buckets of 4.4 % each that an answer may take longer than the p95 before it is slow. A board whose latencies hardly
# vary has all of them in a bucket or two, and a hundredth more would carry half of them over the p95.
ROOM: Final = 1


def bound(past: Iterable[Stretch]) -> int | None:
    """Return the bucket above which answers are slow: the p95's and the room beyond it; None: too few to know.

    How much of the past lies above it is for the caller to count, and never more than 5 %.
    """
    return _bound(tuple(row.latency for row in past))


@lru_cache(maxsize=1_024)  # the past of a device is the same at each look: at most ten KiB each
def _bound(past: tuple[PackedHistogram, ...]) -> int | None:
    total = packed_histogram.together(past)
    if total.n < KNOWN_FROM:
        return None
    p95_s = total.quantile(QUANTILE)
    assert p95_s is not None
    return _bucket(p95_s) + ROOM


def expected_bound(p95_ms: float) -> int:
    """Return the bucket above which answers are slower than a release promises to be."""
    return _bucket(p95_ms / 1000)


def series(past: Sequence[Stretch], lately_from: int, now: Sequence[Stretch], bucket: int) -> Series:
    """Count what is slow before and after a switch. ``lately_from`` is the number of a stretch of the past.

    A burst of slow answers that outlives the switch is no news.
    """
    before = _tally((row for row in past if row.number < lately_from), bucket, Tally())
    lately = _tally((row for row in past if row.number >= lately_from), bucket, before.restarted())
    since = _tally(now, bucket, lately.restarted())
    return Series(past=before.counts + lately.counts, lately=lately.counts, now=since.counts)


def counts(rows: Iterable[Stretch], bucket: int) -> Counts:
    """Count what is slow in stretches of one device, oldest first."""
    return _tally(rows, bucket, Tally()).counts


def bad(rows: Iterable[Stretch], bucket: int) -> list[tuple[int, int]]:
    """Return number and slow answers of each stretch in which anything was measured."""
    measured = ((row.number, row.latency.above(bucket)) for row in rows)
    return [(number, slow) for number, (n, slow) in measured if n]


def _tally(rows: Iterable[Stretch], bucket: int, tally: Tally) -> Tally:
    return tally.over(row.latency.above(bucket) for row in rows)


def _bucket(seconds: float) -> int:
    found = bucket_of(seconds)
    return INDEX_MIN - 1 if found is None else found
