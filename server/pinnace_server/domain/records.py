"""What the server knows, as values: the rows of its tables and the facts that planner and rules judge.

Bodies that a device or the server signed stay the contract's own types. How rows are stored is ``db``'s, who may change
them is ``service``'s. Times are Unix seconds of the server's clock unless a field says ``device``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NewType

from pinnace_contract.ids import (
    BootId,
    DeviceId,
    Digest,
    IncarnationId,
    KeyId,
    ModelName,
    ReceiptId,
    ReleaseId,
    RolloutId,
    VersionName,
)
from pinnace_contract.latest import (
    Arm,
    AssignmentSet,
    Cause,
    Entry,
    Health,
    Intent,
    ModelState,
    Outcome,
    Receipt,
    Release,
    Running,
    Runtime,
    WithdrawMode,
)
from pinnace_server.domain.lineage import NOTHING_SAID, Lineage

JobId = NewType("JobId", str)
TokenId = NewType("TokenId", str)
PlanId = NewType("PlanId", str)
AliasName = NewType("AliasName", str)

SERVER = "server"  # the actor of what the server does by itself; a device is "device:ID", a person has a name


# --- catalogue ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A named family. ``aliases`` point at versions, ``latest`` is the version of the largest sequence that is not
    archived. ``card_required`` are the fields that a new version's card must have.
    """

    name: ModelName
    description: str = ""
    created_at_s: float
    updated_at_s: float
    aliases: Mapping[AliasName, VersionName] = field(default_factory=dict)
    versions: int = 0
    latest: VersionName | None = None
    card_required: tuple[str, ...] = ()
    archived_at_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """That no device may start a version again, or must unload it now; who said so, when and why.

    ``least_next_epoch`` is the least security epoch of what is registered after it; 0: nothing is asked of it.
    """

    mode: WithdrawMode
    at_s: float
    actor: str
    reason: str = ""
    least_next_epoch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """An immutable, signed version. ``release`` is the id of its release file, whose bytes are a blob of that digest.

    ``share_below`` is what the signed baseline says of confidence: the share of answers under its threshold; None where
    the release has no baseline. One that was archived is hidden from lists and never assigned anew.
    """

    model: ModelName
    version: VersionName
    release: ReleaseId
    body: Release
    size_bytes: int
    created_at_s: float
    actor: str
    card: str = ""
    card_fields: Mapping[str, str] = field(default_factory=dict)
    lineage: Lineage = NOTHING_SAID
    share_below: float | None = None
    withdrawal: Withdrawal | None = None
    archived_at_s: float | None = None

    @property
    def withdrawn(self) -> WithdrawMode | None:
        """How it was withdrawn."""
        return self.withdrawal.mode if self.withdrawal else None

    @property
    def sequence(self) -> int:
        """The growing number of the model's releases."""
        return self.body.sequence

    @property
    def epoch(self) -> int:
        """The security epoch."""
        return self.body.epoch

    @property
    def variants(self) -> tuple[Digest, ...]:
        """The digests of the variants, in the order in which the release lists them."""
        return tuple(variant.digest for variant in self.body.variants)


class JobState(StrEnum):
    """Where a long piece of work stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A conversion: an uploaded model on its way to a version. ``request`` and ``report`` are JSON texts."""

    id: JobId
    model: ModelName
    version: VersionName
    state: JobState
    stage: str = ""
    share: float = 0.0
    detail: str = ""
    request: str = "{}"
    report: str = ""
    actor: str
    created_at_s: float
    ended_at_s: float | None = None


# --- fleet --------------------------------------------------------------------------------------------------------


class DeviceState(StrEnum):
    """Where a device stands with this server. Quarantined: it keeps serving and gets no new assignments."""

    PENDING = "pending"
    ACTIVE = "active"
    QUARANTINED = "quarantined"
    DECOMMISSIONED = "decommissioned"


class Status(StrEnum):
    """A device in one word, in the order of urgency."""

    DEGRADED = "degraded"
    UPDATING = "updating"
    ONLINE = "online"
    OFFLINE = "offline"
    PENDING = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One agent's host: its identity, and the newest of what it said about itself.

    ``generation`` is the highest this server reserved for it. ``online`` is the last birth or will, ``silent`` that
    its silence was noticed and told, ``seen_at_s`` when the last message that it signed arrived (None: never).
    ``p95_ms`` is of the newest report with inferences. ``labels`` were set by operators; ``reported_labels`` the device
    claimed, and no selector looks at them. ``unadopted``: this server was put back from a backup, and has not heard
    since what the device runs.
    """

    id: DeviceId
    name: str = ""
    serial: str = ""
    key: KeyId
    public_key_pem: str
    state: DeviceState
    cause: Cause = Cause.NONE
    labels: Mapping[str, str] = field(default_factory=dict)
    reported_labels: Mapping[str, str] = field(default_factory=dict)
    hardware: str = ""
    runtimes: tuple[Runtime, ...] = ()
    agent_version: str = ""
    incarnation: IncarnationId
    generation: int = 0
    enrolled_at_s: float
    online: bool = False
    silent: bool = False
    boot: BootId | None = None
    connection: int = 0
    report_every_s: int = 60
    seen_at_s: float | None = None
    reported_generation: int = 0
    reported_cause: Cause = Cause.NONE
    reported_detail: str = ""
    reported_boot: BootId | None = None
    reported_seq: int = -1
    degraded: bool = False
    updating: bool = False
    p95_ms: float | None = None
    health: Health | None = None
    health_at_s: float | None = None
    unadopted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Incarnation:
    """One store of a device. ``first_generation`` is the first that this server reserved for it, ``seq`` the highest
    number of its statements: one that is not above it is a repeat, and proves nobody's presence."""

    device: DeviceId
    incarnation: IncarnationId
    first_seen_s: float
    last_seen_s: float
    first_generation: int = 0
    seq: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One model on one device, as the device last said under (``incarnation``, ``seq``).

    ``lease_until_s``: when a prepared device goes back by itself, as the server has to take it.
    """

    device: DeviceId
    model: ModelName
    state: ModelState
    incarnation: IncarnationId
    seq: int
    said_at_s: float
    lease_until_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRecord:
    """A claim token as the server keeps it: never the secret. ``serial_pattern`` is a glob, empty allows any."""

    id: TokenId
    secret_hash: str
    note: str = ""
    uses_left: int
    expires_s: float
    serial_pattern: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    actor: str
    created_at_s: float


# --- what the fleet should run ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The server's newest word for one model on one device, and how the device says it ended.

    ``outcome`` None: still under way. ``before`` is what served when it was made.
    """

    device: DeviceId
    model: ModelName
    entry: Entry
    rollout: RolloutId
    actor: str
    assigned_at_s: float
    before: Running | None = None
    outcome: Outcome | None = None
    cause: Cause = Cause.NONE
    detail: str = ""
    ended_at_s: float | None = None

    @property
    def release(self) -> ReleaseId | None:
        """The release wanted; None removes the model."""
        return self.entry.release


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredSet:
    """What was last said to a device. ``signed_at_s`` None: planned and saved, not signed and published yet."""

    device: DeviceId
    assignments: AssignmentSet
    signed_at_s: float | None = None

    @property
    def generation(self) -> int:
        """The set's generation."""
        return self.assignments.generation


class RolloutState(StrEnum):
    """Where a rollout stands. Halted: a rule or a person ended it; its devices were moved back if they could be."""

    ACTIVE = "active"
    FINISHED = "finished"
    HALTED = "halted"
    CANCELLED = "cancelled"


class Leaves(StrEnum):
    """Which devices of a rollout that was ended go back: all that it told last, those under way, or, where those went
    back before, those that keep the release."""

    TOLD = "told"
    UNDER_WAY = "under_way"
    KEEPING = "keeping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """The devices of a rollout that was ended which its rollback has yet to take in: those behind ``after``, by name.

    ``removes``: one that has nothing to go back to loses the model, by the rollout ``beside``; None: none did yet.
    """

    leaves: Leaves
    removes: bool = False
    after: DeviceId
    beside: RolloutId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A policy that moves devices to a release. ``policy`` is the JSON of ``domain.policy.Policy`` without its targets.

    ``rules`` is the JSON of ``domain.rollout_policy``, empty for a plain assignment, which has one wave and no gates;
    ``paused`` says who paused it and why, empty while it is not. ``halts`` names the rollout that this one, a rollback,
    moves back; ``backlog`` is whom it has yet to take in, None: it has everybody. ``verdict`` holds the inputs of what
    halted it.
    """

    id: RolloutId
    model: ModelName
    version: VersionName | None
    release: ReleaseId | None
    intent: Intent
    selector: str = ""
    policy: str = "{}"
    rules: str = ""
    paused: str = ""
    state: RolloutState
    reason: str = ""
    verdict: Mapping[str, str] = field(default_factory=dict)
    halts: RolloutId | None = None
    backlog: Backlog | None = None
    plan: PlanId | None = None
    actor: str
    created_at_s: float
    ended_at_s: float | None = None


class MemberState(StrEnum):
    """How far one device of a rollout is. ``SKIPPED``: could not be assigned, ``detail`` says why.

    ``READY``: it was told, and waits for the switch of its wave.
    """

    WAITING = "waiting"
    ASSIGNED = "assigned"
    READY = "ready"
    COMMITTED = "committed"
    REVERTED = "reverted"
    FAILED = "failed"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


UNDER_WAY: Final = frozenset({MemberState.ASSIGNED, MemberState.READY})
"""States of a device that was told and is not done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One device of a rollout: where it should go, and how far it is. ``chosen``: why the first of ``variants`` is,
    empty where the order is the release's."""

    rollout: RolloutId
    device: DeviceId
    wave: int = 0
    release: ReleaseId | None
    variants: tuple[Digest, ...] = ()
    state: MemberState = MemberState.WAITING
    generation: int = 0
    cause: Cause = Cause.NONE
    detail: str = ""
    changed_at_s: float
    chosen: str = ""


# --- what devices sent --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptRecord:
    """A receipt and the very bytes that its device signed. ``counted`` false: kept, but not evidence (a clone)."""

    id: ReceiptId
    body: Receipt
    envelope: bytes = b""
    received_at_s: float
    counted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """Everything one device counted in one minute for one (model, release, variant, arm), merged exactly.

    ``minute`` is Unix time // 60, of the device's clock unless that is absurd. ``latency`` holds bucket → count of
    ``pinnace_contract.histogram``; ``features`` the counts as ``FeatureCounts`` carries them, one per baseline.
    ``outcomes`` are trials and successes by metric; ``groups`` are labelled answers, errors and positives by group.
    """

    device: DeviceId
    model: ModelName
    release: ReleaseId
    variant: Digest
    arm: Arm = Arm.SERVING
    minute: int
    n: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    slow: int = 0
    latency_zero: int = 0
    latency: Mapping[int, int] = field(default_factory=dict)
    predictions: int = 0
    below: int = 0
    confidence: tuple[int, ...] = ()
    classes: tuple[int, ...] = ()
    labels: int = 0
    label_errors: int = 0
    pairs: int = 0
    disagreements: int = 0
    outcomes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    features: Mapping[Digest, FeatureTotals] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureTotals:
    """Merged feature counts against one baseline: flat bin counts, and per feature the sums and sums of squares."""

    counts: tuple[int, ...] = ()
    sums: tuple[float, ...] = ()
    squares: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Answers added up over devices and time: the inputs of the health rule."""

    n: int = 0
    errors: int = 0
    predictions: int = 0
    below: int = 0
    labels: int = 0
    label_errors: int = 0

    def plus(self, other: Counts) -> Counts:
        """Return both together."""
        return Counts(
            n=self.n + other.n,
            errors=self.errors + other.errors,
            predictions=self.predictions + other.predictions,
            below=self.below + other.below,
            labels=self.labels + other.labels,
            label_errors=self.label_errors + other.label_errors,
        )

    def minus(self, other: Counts) -> Counts:
        """Return what is left of this without the other, which was added before."""
        return Counts(
            n=self.n - other.n,
            errors=self.errors - other.errors,
            predictions=self.predictions - other.predictions,
            below=self.below - other.below,
            labels=self.labels - other.labels,
            label_errors=self.label_errors - other.label_errors,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRange:
    """Report numbers of one boot that are accounted for; ``dropped``: the device threw them away and said so."""

    device: DeviceId
    boot: BootId
    seq_from: int
    seq_to: int
    dropped: bool = False


# --- the log ------------------------------------------------------------------------------------------------------


class Severity(StrEnum):
    """How urgently a person should look."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class EventKind(StrEnum):
    """What happened. Values are stored for ever: never changed, only added to."""

    SERVER_STARTED = "server_started"
    MODEL_ADDED = "model_added"
    VERSION_ADDED = "version_added"
    VERSION_REFUSED = "version_refused"
    ALIAS_MOVED = "alias_moved"
    ALIAS_REMOVED = "alias_removed"
    ALIAS_FORCED = "alias_forced"
    ALIAS_RULE_SET = "alias_rule_set"
    ALIAS_RULE_REMOVED = "alias_rule_removed"
    PROMOTION_APPROVED = "promotion_approved"
    PROMOTION_APPROVAL_WITHDRAWN = "promotion_approval_withdrawn"
    CARD_REQUIRED = "card_required"
    MODEL_ARCHIVED = "model_archived"
    MODEL_UNARCHIVED = "model_unarchived"
    VERSION_ARCHIVED = "version_archived"
    VERSION_UNARCHIVED = "version_unarchived"
    JOB_STARTED = "job_started"
    JOB_CANCELLED = "job_cancelled"
    CLAIM_TOKEN_CREATED = "claim_token_created"  # noqa: S105 -- a word, not a secret
    CLAIM_TOKEN_REVOKED = "claim_token_revoked"  # noqa: S105
    DEVICE_ENROLLED = "device_enrolled"
    DEVICE_LABELLED = "device_labelled"
    DEVICE_ONLINE = "device_online"
    DEVICE_OFFLINE = "device_offline"
    DEVICE_REINSTALLED = "device_reinstalled"
    DEVICE_DECOMMISSIONED = "device_decommissioned"
    DEVICE_REPLACED = "device_replaced"
    DEVICE_ADOPTED = "device_adopted"
    SERVER_RESTORED = "server_restored"
    CLONE_SUSPECTED = "clone_suspected"
    DEVICE_READMITTED = "device_readmitted"
    GENERATION_BEHIND = "generation_behind"
    ROLLOUT_CREATED = "rollout_created"
    ROLLOUT_FINISHED = "rollout_finished"
    ROLLOUT_HALTED = "rollout_halted"
    ROLLOUT_CANCELLED = "rollout_cancelled"
    ROLLOUT_PAUSED = "rollout_paused"
    ROLLOUT_RESUMED = "rollout_resumed"
    ROLLOUT_RETRIED = "rollout_retried"
    COHORT_CHANGED = "cohort_changed"
    WAVE_STARTED = "wave_started"
    WAVE_SWITCHED = "wave_switched"
    WAVE_PROMOTED = "wave_promoted"
    WAVE_APPROVED = "wave_approved"
    WAVE_ASKED = "wave_asked"
    GATE_FIRED = "gate_fired"
    SITE_DECIDED = "site_decided"
    ASSIGNED = "assigned"
    SIGNING_REFUSED = "signing_refused"
    NO_FALLBACK = "no_fallback"
    SKIPPED = "skipped"
    PHASE_CHANGED = "phase_changed"
    RECEIPT_COMMITTED = "receipt_committed"
    RECEIPT_REVERTED = "receipt_reverted"
    RECEIPT_FAILED = "receipt_failed"
    RECEIPT_REJECTED = "receipt_rejected"
    RECEIPT_SUPERSEDED = "receipt_superseded"
    RECEIPT_CANCELLED = "receipt_cancelled"
    HEALTH_RULE_FIRED = "health_rule_fired"
    REPORTS_DROPPED = "reports_dropped"
    MESSAGE_REFUSED = "message_refused"
    DEVICE_REFUSED = "device_refused"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the append-only log. ``number`` is given by the table and only grows; 0 until then."""

    number: int = 0
    at_s: float
    kind: EventKind
    actor: str
    summary: str
    severity: Severity = Severity.INFO
    device: DeviceId | None = None
    model: ModelName | None = None
    version: VersionName | None = None
    rollout: RolloutId | None = None
    data: Mapping[str, str] = field(default_factory=dict)
