"""One telemetry message: counts and histograms over a window. CBOR with integer keys, because it is sent every minute.

The integer keys are the wire names: never changed, only added to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pinnace_contract.fields import count, limited
from pinnace_contract.ids import BootId, DeviceId, Digest, IncarnationId, ModelName, ReleaseId
from pinnace_contract.v1.enums import Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyCounts:
    """A base-2 exponential histogram of seconds at scale 4 (``histogram.py``): first bucket, counts as varints."""

    zero: int = count(0, key=1)
    offset: int = limited(0, smallest=-1024, largest=1024, key=2)
    counts: bytes = limited(b"", largest=8192, key=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureCounts:
    """Counts in the bins of one baseline: per feature its bins, then the missing ones, as varints; sums and squares."""

    baseline: Digest = limited(key=1)
    counts: bytes = limited(b"", largest=32_768, key=2)
    sums: tuple[float, ...] = limited((), largest=64, key=3)
    squares: tuple[float, ...] = limited((), largest=64, key=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Classes and top-1 confidence. ``below`` counts answers under the release's own signed threshold."""

    n: int = count(0, key=1)
    below: int = count(0, key=2)
    confidence: tuple[int, ...] = limited((), largest=16, smallest=0, key=3)
    classes: bytes = limited(b"", largest=8192, key=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Ground truth that an application gave for answers of this window."""

    n: int = count(0, key=1)
    errors: int = count(0, key=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCount:
    """Failed inferences of one class (``runtime``, ``bad_request``, ``timeout``, ``crash``)."""

    name: str = limited(chars=32, key=1)
    n: int = count(key=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowCounts:
    """Pairs answered by both arms, and those in which they differed beyond tolerance.

    ``dropped`` are copies that the candidate was too slow for: they were never asked, and are no pairs.
    """

    pairs: int = count(0, key=1)
    disagreements: int = count(0, key=2)
    dropped: int = count(0, key=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCounts:
    """Labelled answers of one declared group. ``positives`` are answers of any class but the first."""

    name: str = limited(chars=64, key=1)
    n: int = count(key=2)
    errors: int = count(0, key=3)
    positives: int = count(0, key=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeCounts:
    """The business metric that an application reports, under the name that the application gives it."""

    trials: int = count(0, key=1)
    successes: int = count(0, key=2)
    metric: str = limited("", chars=64, key=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Everything counted for one (model, release, variant, arm) in the window."""

    model: ModelName = limited(key=1)
    release: ReleaseId = limited(key=2)
    variant: Digest = limited(key=3)
    arm: Arm = limited(Arm.SERVING, key=4)
    n: int = count(0, key=5)
    errors: tuple[ErrorCount, ...] = limited((), largest=16, key=6)
    slow: int = count(0, key=7)
    latency: LatencyCounts = limited(LatencyCounts(), key=8)
    processing: LatencyCounts = limited(LatencyCounts(), key=9)
    features: FeatureCounts | None = limited(None, key=10)
    predictions: Predictions | None = limited(None, key=11)
    labels: Labels | None = limited(None, key=12)
    shadow: ShadowCounts | None = limited(None, key=13)
    groups: tuple[GroupCounts, ...] = limited((), largest=16, key=14)
    outcome: OutcomeCounts | None = limited(None, key=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The system in the window. ``None``: this board does not tell."""

    cpu_share: float | None = count(None, key=1)
    memory_free_bytes: int | None = count(None, key=2)
    disk_free_bytes: int | None = count(None, key=3)
    temperature_c: float | None = limited(None, key=4)
    sent_bytes: int | None = count(None, key=5)
    received_bytes: int | None = count(None, key=6)
    throttled: bool | None = limited(None, key=7)
    memory_total_bytes: int | None = count(None, key=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedRange:
    """Reports that the device had to throw away, so that every sequence number is accounted for."""

    boot: BootId = limited(key=1)
    seq_from: int = count(key=2)
    seq_to: int = count(key=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One window of one boot. ``seq_from..seq_to`` is one number unless never-sent reports were merged."""

    KIND: ClassVar[str] = "report"
    BYTES_MAX: ClassVar[int] = 64 * 1024

    device: DeviceId = limited(key=1)
    incarnation: IncarnationId = limited(key=2)
    boot: BootId = limited(key=3)
    seq_from: int = count(key=4)
    seq_to: int = count(key=5)
    from_s: float = count(key=6)
    to_s: float = count(key=7)
    blocks: tuple[Block, ...] = limited((), largest=64, key=8)
    health: Health = limited(Health(), key=9)
    dropped: tuple[DroppedRange, ...] = limited((), largest=64, key=10)
