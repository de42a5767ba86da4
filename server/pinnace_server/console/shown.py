"""What the screens show: values only, already worked out. Who finds them is `ports.py`, how they look templates/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pinnace_contract.latest import Cause, EvidenceKind, Intent, Outcome, Phase
from pinnace_server.console.shown_aliases import AliasRow, Pointing
from pinnace_server.console.shown_choices import Choice
from pinnace_server.domain.records import RolloutState, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One release as a device holds it. Runtime and precision are empty where the server does not know the release."""

    version: str
    release: str
    variant: str
    runtime: str = ""
    precision: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One model on one device: what serves, what is on trial, what it goes back to, and how the last try ended.

    ``unanswered``: the device has not said anything to the newest assignment; ``went_back``: it ended, and the device
    serves another release. ``fetched_share`` is None where nothing is being fetched.
    """

    model: str
    phase: Phase
    cause: Cause = Cause.NONE
    detail: str = ""
    active: Build | None = None
    previous: Build | None = None
    candidate: Build | None = None
    standby: Build | None = None
    wanted: Build | None = None
    unanswered: bool = False
    generation: int = 0
    fetched_share: float | None = None
    last_outcome: Outcome | None = None
    last_version: str = ""
    last_cause: Cause = Cause.NONE
    last_detail: str = ""
    last_outcome_at: datetime | None = None
    last_log: str = ""
    evidence: EvidenceKind | None = None
    evidence_inferences: int = 0
    went_back: bool = False

    @property
    def revert_from(self) -> Build | None:
        """What a revert takes the device away from: what it tries or was told to run, else what it serves."""
        return self.candidate or self.wanted or self.active

    @property
    def revert_to(self) -> Build | None:
        """Where a revert takes the device; None where there is nothing, or where it has gone back already."""
        if self.candidate or self.unanswered:
            return self.active or self.previous
        return None if self.went_back else self.previous


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRow:
    """One line of the device list. ``slot`` is that of the model filtered by, else the one that needs attention."""

    id: str
    name: str
    status: Status
    labels: Mapping[str, str]
    slot: Slot | None
    more_models: int = 0
    p95_ms: float | None = None
    last_seen: datetime | None = None
    agent_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePage:
    """One page of the match. ``by_status`` counts it without its status filter; ``fleet`` counts every device."""

    rows: tuple[DeviceRow, ...]
    total: int
    fleet: int
    by_status: Mapping[Status, int]
    models: tuple[str, ...]
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The device's last word about itself. None: this board does not tell."""

    at: datetime
    cpu_share: float | None = None
    memory_free_bytes: int | None = None
    memory_total_bytes: int | None = None
    disk_free_bytes: int | None = None
    temperature_c: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPoint:
    """Percentiles of one window. None: no inferences, which is drawn as a gap."""

    at: datetime
    inferences: int
    errors: int
    p50_ms: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A moment worth a line in a chart."""

    at: datetime
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySeries:
    """One model's latency on one device over the last while, oldest first."""

    model: str
    start: datetime
    end: datetime
    points: tuple[LatencyPoint, ...]
    marks: tuple[Mark, ...] = ()
    limit_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the log. ``actor`` is a person, ``device:ID`` or the server; ``data`` are facts in their order."""

    number: int
    at: datetime
    kind: str
    actor: str
    summary: str
    severity: str = ""
    device: str = ""
    model: str = ""
    version: str = ""
    data: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """One page of the log, newest first."""

    rows: tuple[Event, ...]
    total: int
    log: int
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why a device or a rollout is where it is, and the next thing that would change it.

    ``command`` is what a person may type, empty where it comes by itself; ``at`` is when it comes at the earliest,
    ``until`` when the policy decides otherwise, or, where a wave ``switches``, when those switch that are ready.
    ``waiting_on`` is a code of the planner, empty where nothing is waited for.
    """

    state: str
    why: str
    next: str
    command: str = ""
    at: datetime | None = None
    until: datetime | None = None
    waiting_on: str = ""
    model: str = ""
    version: str = ""
    rollout: str = ""
    switches: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceDetail:
    """Everything the server knows of one device."""

    id: str
    name: str
    status: Status
    why: str
    labels: Mapping[str, str]
    slots: tuple[Slot, ...]
    last_seen: datetime | None
    report_every_s: int
    agent_version: str
    hardware: str
    runtimes: tuple[str, ...]
    incarnation: str
    key_fingerprint: str
    enrolled_at: datetime | None
    generation: int
    health: Health | None
    latency: tuple[LatencySeries, ...]
    history: tuple[Event, ...]
    history_total: int
    whys: tuple[Why, ...] = ()
    choices: tuple[Choice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Concern:
    """Something that needs attention, grouped so that a hundred devices with one trouble are one line."""

    severity: str
    text: str
    detail: str
    address: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a rollout is. ``left_out`` could not be moved or were taken over, and are not part of the total.

    ``wave`` is "2 of 4" where it has waves, ``need`` a key of ``words.NEED_LOOK`` where it waits for a person.
    """

    rollout: str
    model: str
    version: str
    intent: str
    state: str
    committed: int
    under_way: int
    failed: int
    waiting: int
    left_out: int = 0
    reason: str = ""
    actor: str = ""
    since: datetime | None = None
    strategy: str = "plain"
    wave: str = ""
    need: str = ""

    @property
    def can_roll_back(self) -> bool:
        """Whether a person may still move its devices back."""
        return self.intent == Intent.UPGRADE and self.state in (RolloutState.ACTIVE, RolloutState.FINISHED)

    @property
    def total(self) -> int:
        """How many devices should be on it."""
        return self.committed + self.under_way + self.failed + self.waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionShare:
    """How many devices serve one version of a model; ``version`` is empty for devices that serve none."""

    model: str
    version: str
    devices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetLatency:
    """A model's latency over all devices in the last hour."""

    model: str
    inferences: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The whole fleet on one page."""

    fleet: int
    models: int
    by_status: Mapping[Status, int]
    concerns: tuple[Concern, ...]
    progress: tuple[Progress, ...]
    shares: tuple[VersionShare, ...]
    latency: tuple[FleetLatency, ...]
    latency_minutes: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One line of the models list."""

    name: str
    versions: int
    latest: str
    aliases: Mapping[str, str]
    shares: tuple[VersionShare, ...]
    updated_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPage:
    """One page of the models."""

    rows: tuple[ModelRow, ...]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Latency measured on one class of hardware."""

    hardware: str
    samples: int
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """One line of a model's version table; ``reverted`` and ``failed`` count receipts, ``devices`` what serves now."""

    version: str
    release: str
    sequence: int
    created_at: datetime | None
    aliases: tuple[str, ...]
    variants: tuple[str, ...]
    devices: int
    committed: int
    reverted: int
    failed: int
    withdrawn: bool = False
    accuracy: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDetail:
    """A model and one page of its versions, newest first. ``standing`` are its aliases and those that have a rule,
    ``pointings`` the newest stretches of their history."""

    name: str
    description: str
    aliases: Mapping[str, str]
    versions: tuple[VersionRow, ...]
    total: int
    shares: tuple[VersionShare, ...]
    standing: tuple[AliasRow, ...] = ()
    pointings: tuple[Pointing, ...] = ()
    pointings_total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRow:
    """One build. None is "not measured", and is never shown as 0. ``devices`` reported inferences with it lately."""

    digest: str
    runtime: str
    precision: str
    size_bytes: int
    peak_memory_bytes: int
    accuracy: float | None
    agreement: float | None
    snr_db: float | None
    max_abs: float | None
    samples: int
    latency: tuple[Percentiles, ...]
    devices: int
    forced: str = ""
    passes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One input or output as applications see it."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    unit: str = ""
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Who signed the release. ``state`` is ``verified``, ``unsigned`` or ``invalid``."""

    state: str
    keys: tuple[str, ...]
    trust: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDetail:
    """Everything the server knows of one version. ``blocked`` says why it cannot be assigned, or is empty."""

    model: str
    version: str
    release: str
    sequence: int
    epoch: int
    size_bytes: int
    created_at: datetime | None
    aliases: tuple[str, ...]
    variants: tuple[VariantRow, ...]
    latency_minutes: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    assets: tuple[str, ...]
    golden_vectors: int
    has_baseline: bool
    error_rate_max: float
    p95_limits: Mapping[str, float]
    signature: Signature
    blocked: str
    card: str
    provenance: Mapping[str, str]
    progress: Progress | None
    outcomes: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What an assignment would touch, before it is made: the devices it names and those it leaves out, by reason."""

    devices: int
    already_on_it: int
    offline: int
    excluded: Mapping[str, int]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """The outcome of an action, shown once on the page it leads to."""

    severity: str
    text: str
