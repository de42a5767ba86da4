"""What a device says of itself: presence, what it runs, and the outcome of each assignment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from pinnace_contract.fields import count, limited
from pinnace_contract.ids import (
    BootId,
    DeviceId,
    Digest,
    IncarnationId,
    ModelName,
    ReceiptId,
    ReleaseId,
    VersionName,
    digest_of,
)
from pinnace_contract.v1.assignment import AuditHead
from pinnace_contract.v1.enums import Cause, EvidenceKind, Outcome, Phase, Runtime, TrustLevel

RECEIPT_LOG_CHARS_MAX = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One release on a device: its id, the variant's digest and the version's name."""

    release: ReleaseId
    variant: Digest
    version: VersionName
    sequence: int = count(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveModel:
    """A model and what serves it now; None is ``no_model``."""

    model: ModelName
    running: Running | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Birth and will of one connection. A will whose ``(boot, connection)`` is older than the last birth is ignored."""

    KIND: ClassVar[str] = "presence"
    BYTES_MAX: ClassVar[int] = 16 * 1024

    device: DeviceId
    incarnation: IncarnationId
    seq: int = count()
    boot: BootId
    connection: int = count()
    online: bool
    agent_version: str = limited("", chars=32)
    hardware: str = limited("", chars=64)
    runtimes: tuple[Runtime, ...] = limited((), largest=8)
    report_every_s: int = limited(60, smallest=1, largest=86_400)
    active: tuple[ActiveModel, ...] = limited((), largest=32)
    at_s: float = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standby:
    """What served before a switch and is kept loaded, so that going back to it takes no load.

    ``warm``: it could answer now; if not, ``cause`` and ``detail`` say why. ``until_s``: how long it stays (Unix).
    """

    running: Running
    warm: bool
    until_s: int = count(0)
    cause: Cause = Cause.NONE
    detail: str = limited("", chars=512)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """One model's slot as the server sees it: phase and reason, what serves, what is tried, what could serve again.

    ``lease_left_s``: how long a prepared candidate waited still for its site's decision when this was said.
    ``control`` is what answers a share of the requests beside it, in a split.
    """

    model: ModelName
    generation: int = count()
    attempt: int = limited(1, smallest=1)
    phase: Phase
    cause: Cause = Cause.NONE
    detail: str = limited("", chars=512)
    current: Running | None = None
    candidate: Running | None = None
    last_good: tuple[Running, ...] = limited((), largest=8)
    floor: int = count(0)
    fetched_bytes: int = count(0)
    fetch_bytes: int = count(0)
    accepts: tuple[Digest, ...] = limited((), largest=16)
    lease_left_s: int | None = count(None)
    control: Running | None = None
    standby: Standby | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """The device's retained answer to ``desired``: the generation it applied and the state of every model."""

    KIND: ClassVar[str] = "reported"
    BYTES_MAX: ClassVar[int] = 64 * 1024

    device: DeviceId
    incarnation: IncarnationId
    seq: int = count()
    boot: BootId
    generation: int = count()
    cause: Cause = Cause.NONE
    detail: str = limited("", chars=512)
    models: tuple[ModelState, ...] = limited((), largest=32)
    audit_head: AuditHead | None = None
    at_s: float = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenResult:
    """What the self-test found: vectors tried and the worst of each number over them."""

    vectors: int = count()
    passed: bool
    max_abs: float | None = None
    snr_db: float | None = None
    agreement: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a trial saw. ``inferences`` counts answers and errors together."""

    kind: EvidenceKind
    inferences: int = count()
    errors: int = count(0)
    crashes: int = count(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySummary:
    """Percentiles of inference latency at the runtime, in milliseconds."""

    samples: int = count()
    p50_ms: float = count()
    p95_ms: float = count()
    p99_ms: float = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemHealth:
    """The device at one moment. ``None``: this board does not tell."""

    cpu_share: float | None = count(None)
    memory_free_bytes: int | None = count(None)
    memory_total_bytes: int | None = count(None)
    disk_free_bytes: int | None = count(None)
    temperature_c: float | None = None
    load_1m: float | None = count(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTime:
    """How long one phase of the attempt took."""

    phase: Phase
    seconds: float = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A device's signed statement about the outcome of one assignment of one model; composed before the commit.

    ``switch_ms`` and ``switch_back_ms``: from the decision until the other worker, which was loaded, could answer.
    """

    KIND: ClassVar[str] = "receipt"
    BYTES_MAX: ClassVar[int] = 64 * 1024

    device: DeviceId
    incarnation: IncarnationId
    counter: int = limited(smallest=1)
    boot: BootId
    model: ModelName
    generation: int = count()
    attempt: int = limited(1, smallest=1)
    outcome: Outcome
    cause: Cause = Cause.NONE
    detail: str = limited("", chars=1024)
    release: ReleaseId | None = None
    variant: Digest | None = None
    version: VersionName | None = None
    active: Running | None = None
    previous: Running | None = None
    runtime: str = limited("", chars=64)
    agent_version: str = limited("", chars=32)
    golden: GoldenResult | None = None
    evidence: Evidence | None = None
    latency: LatencySummary | None = None
    load_ms: float | None = count(None)
    swap_gap_ms: float | None = count(None)
    switch_ms: float | None = count(None)
    switch_back_ms: float | None = count(None)
    peak_memory_bytes: int | None = count(None)
    health: SystemHealth | None = None
    phases: tuple[PhaseTime, ...] = limited((), largest=64)
    trust: TrustLevel = TrustLevel.DEV
    audit_head: AuditHead | None = None
    at_s: float = count()
    log: str = limited("", chars=RECEIPT_LOG_CHARS_MAX)

    @property
    def id(self) -> ReceiptId:
        """Hash of device, incarnation, generation, model, attempt and outcome: the same event has the same id."""
        parts = [self.device, self.incarnation, self.generation, self.model, self.attempt, str(self.outcome)]
        return ReceiptId(digest_of(json.dumps(parts, separators=(",", ":")).encode()))
