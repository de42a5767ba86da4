"""The latency histogram that devices send and the server merges: base-2 exponential buckets at scale 4.

Bucket ``i`` holds values in ``(2^(i/16), 2^((i+1)/16)]`` seconds, the grid of OpenTelemetry's ExponentialHistogram and
of Prometheus native histograms with schema 4, so counts export without re-binning and merge exactly; a percentile read
from it is at most 2.2 % off. On the wire counts are unsigned LEB128 varints from the first used bucket on.
Source: OpenTelemetry data model, "ExponentialHistogram".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

from pinnace_contract.errors import Malformed
from pinnace_contract.v1.report import LatencyCounts

BUCKETS_PER_OCTAVE: Final = 16
INDEX_MIN: Final = -480  # 2^-30 s, about a nanosecond; anything shorter is counted as zero
INDEX_MAX: Final = 319  # 2^20 s; anything longer is counted there
_VARINT_BYTES_MAX: Final = 8


class Histogram:
    """Counts per bucket; grows as values come. Not safe for use by two threads at once."""

    __slots__ = ("buckets", "zero")

    def __init__(self, buckets: Mapping[int, int] | None = None, zero: int = 0) -> None:
        self.buckets: dict[int, int] = dict(buckets or {})
        self.zero = zero

    def add(self, seconds: float) -> None:
        """Count one observation."""
        index = bucket_of(seconds)
        if index is None:
            self.zero += 1
        else:
            self.buckets[index] = self.buckets.get(index, 0) + 1

    def merge(self, other: Histogram) -> None:
        """Add another histogram's counts; exact."""
        self.zero += other.zero
        for index, n in other.buckets.items():
            self.buckets[index] = self.buckets.get(index, 0) + n

    @property
    def n(self) -> int:
        """How many observations there are."""
        return self.zero + sum(self.buckets.values())

    def quantile(self, share: float) -> float | None:
        """Return the value in seconds below which ``share`` of the observations lie; None when there are none."""
        n = self.n
        if n == 0:
            return None
        rank = max(1, math.ceil(share * n))
        if rank <= self.zero:
            return 0.0
        seen = self.zero
        for index in sorted(self.buckets):
            seen += self.buckets[index]
            if seen >= rank:
                return middle_of(index)
        raise AssertionError("the counts do not add up to n")

    def count_above(self, seconds: float) -> int:
        """Return how many observations lie in buckets wholly above ``seconds``."""
        limit = bucket_of(seconds)
        return sum(n for index, n in self.buckets.items() if limit is None or index > limit)

    def to_wire(self) -> LatencyCounts:
        """Return the form that a report carries."""
        used = [index for index, n in self.buckets.items() if n]
        if not used:
            return LatencyCounts(zero=self.zero)
        low, high = min(used), max(used)
        counts = pack_varints(self.buckets.get(index, 0) for index in range(low, high + 1))
        return LatencyCounts(zero=self.zero, offset=low, counts=counts)

    @classmethod
    def from_wire(cls, wire: LatencyCounts) -> Histogram:
        """Read what a report carries.

        Raises:
            Malformed: buckets outside the grid, or not varints.
        """
        counts = unpack_varints("latency counts", wire.counts)
        if counts and not (wire.offset >= INDEX_MIN and wire.offset + len(counts) - 1 <= INDEX_MAX):
            raise Malformed("latency counts", f"buckets must lie in {INDEX_MIN}..{INDEX_MAX}")
        return cls({wire.offset + i: n for i, n in enumerate(counts) if n}, wire.zero)


def bucket_of(seconds: float) -> int | None:
    """Return the bucket of a value; None for what counts as zero."""
    if not seconds > 0:
        return None
    index = math.ceil(math.log2(seconds) * BUCKETS_PER_OCTAVE) - 1
    return None if index < INDEX_MIN else min(index, INDEX_MAX)


def middle_of(index: int) -> float:
    """Return the value in seconds that stands for a bucket: the geometric middle of its bounds."""
    return float(2.0 ** ((index + 0.5) / BUCKETS_PER_OCTAVE))


def upper_bound_of(index: int) -> float:
    """Return the upper bound of a bucket in seconds."""
    return float(2.0 ** ((index + 1) / BUCKETS_PER_OCTAVE))


def pack_varints(numbers: Iterable[int]) -> bytes:
    """Return unsigned LEB128, seven bits a byte, the lowest first."""
    packed = bytearray()
    for number in numbers:
        rest = number
        while rest > 0x7F:
            packed.append(rest & 0x7F | 0x80)
            rest >>= 7
        packed.append(rest)
    return bytes(packed)


def unpack_varints(what: str, data: bytes) -> list[int]:
    """Read unsigned LEB128 numbers.

    Raises:
        Malformed: cut off, or a number over 56 bits.
    """
    if data.isascii():  # every number is one byte, which is what counts of a few minutes are
        return list(data)
    numbers, number, shift = [], 0, 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
            if shift >= 7 * _VARINT_BYTES_MAX:
                raise Malformed(what, "a number has more than 56 bits")
        else:
            numbers.append(number)
            number, shift = 0, 0
    if shift:
        raise Malformed(what, "cut off inside a number")
    return numbers
