"""A latency histogram in a few dozen bytes, as a stretch keeps it: a gate reads sixty thousand of them in a minute.

Two bytes say the first used bucket, then come the contract's varints: what counts as zero, and the buckets from there
on. Equal histograms are equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pinnace_contract.histogram import INDEX_MIN, Histogram, pack_varints, unpack_varints
from pinnace_server.domain.telemetry import COUNT_MAX

_FIRST_BYTES: Final = 2
_WHAT: Final = "packed latency counts"
# A gate asks the same of a device's past at each look: a day of all that may speak, 400 devices, in some 20 MiB. Fewer
# would be no use to it, for whoever asks in turn for more than is remembered finds nothing.
_KNOWN: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedHistogram:
    """``packed`` is what is stored; nothing is unpacked before it is asked for."""

    packed: bytes = b""

    @classmethod
    def of(cls, histogram: Histogram) -> PackedHistogram:
        """Pack a histogram whose buckets lie on the contract's grid."""
        wire = histogram.to_wire()
        if not wire.zero and not wire.counts:
            return cls()
        first = (wire.offset - INDEX_MIN).to_bytes(_FIRST_BYTES, "big")
        return cls(packed=first + pack_varints([wire.zero]) + wire.counts)

    def plus(self, buckets: Mapping[int, int], zero: int) -> PackedHistogram:
        """Return the sum with other counts; exact up to ``COUNT_MAX``, so that no device makes one unreadable."""
        total = together([self])
        total.merge(Histogram(buckets, zero))
        bounded = {index: min(n, COUNT_MAX) for index, n in total.buckets.items()}
        return PackedHistogram.of(Histogram(bounded, min(total.zero, COUNT_MAX)))

    def above(self, bucket: int) -> tuple[int, int]:
        """Return how many observations there are, and how many lie in buckets above this one.

        Raises:
            Malformed: these bytes are no packed histogram.
        """
        return _above(self.packed, bucket) if self.packed else (0, 0)


@lru_cache(maxsize=_KNOWN)
def _above(packed: bytes, bucket: int) -> tuple[int, int]:
    numbers = unpack_varints(_WHAT, packed[_FIRST_BYTES:])
    return sum(numbers), sum(numbers[max(bucket - _first(packed) + 2, 1) :])  # number 0 is what counts as zero


def _first(packed: bytes) -> int:
    return int.from_bytes(packed[:_FIRST_BYTES], "big") + INDEX_MIN


def together(histograms: Iterable[PackedHistogram]) -> Histogram:
    """Return the sum of histograms.

    Raises:
        Malformed: these bytes are no packed histogram.
    """
    total = Histogram()
    buckets = total.buckets
    for each in histograms:
        if not each.packed:
            continue
        zero, *counts = unpack_varints(_WHAT, each.packed[_FIRST_BYTES:])
        total.zero += zero
        for index, n in enumerate(counts, _first(each.packed)):
            if n:
                buckets[index] = buckets.get(index, 0) + n
    return total
