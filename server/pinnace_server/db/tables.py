"""The tables. Columns are what queries filter and sort by; bodies that somebody signed are kept whole beside them.

Rows never leave this package: repositories turn them into the values of ``domain.records``.
"""

# pyright: reportAssignmentType=false
# SQLModel declares __tablename__ as a descriptor and lets it be set to a text, which its documentation tells to do.

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, LargeBinary, MetaData, Text, text
from sqlmodel import Field, SQLModel

# Constraints have names, so that a later migration can find them.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
METADATA: MetaData = SQLModel.metadata


class ModelRow(SQLModel, table=True):
    __tablename__ = "models"

    name: str = Field(primary_key=True)
    description: str = ""
    created_at_s: float
    updated_at_s: float
    card_required: str = Field(default="", sa_column=Column(Text, nullable=False))
    archived_at_s: float | None = None


class AliasRow(SQLModel, table=True):
    __tablename__ = "aliases"

    model: str = Field(primary_key=True, foreign_key="models.name")
    alias: str = Field(primary_key=True)
    version: str


_OPEN = text("until_s IS NULL")


class PointingRow(SQLModel, table=True):
    __tablename__ = "pointings"
    __table_args__ = (
        Index("ix_pointings_open", "model", "alias", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index("ix_pointings_model_alias", "model", "alias"),
        {"sqlite_autoincrement": True},
    )

    number: int | None = Field(default=None, primary_key=True)
    model: str = Field(foreign_key="models.name")
    alias: str
    version: str
    from_s: float
    actor: str
    reason: str = Field(sa_column=Column(Text, nullable=False))
    means: str
    rollout: str | None = None
    until_s: float | None = None
    ended_by: str
    ended_reason: str = Field(sa_column=Column(Text, nullable=False))


class AliasRuleRow(SQLModel, table=True):
    __tablename__ = "alias_rules"

    model: str = Field(primary_key=True, foreign_key="models.name")
    alias: str = Field(primary_key=True)
    source: str
    rollout: bool
    failures_max: int
    approvals: int


_WAITING = text("pointing IS NULL")


class ApprovalRow(SQLModel, table=True):
    __tablename__ = "approvals"
    __table_args__ = (
        Index(
            "ix_approvals_waiting",
            "model",
            "alias",
            "version",
            "person",
            unique=True,
            sqlite_where=_WAITING,
            postgresql_where=_WAITING,
        ),
    )

    number: int | None = Field(default=None, primary_key=True)
    model: str = Field(foreign_key="models.name")
    alias: str
    version: str
    person: str
    at_s: float
    note: str = Field(sa_column=Column(Text, nullable=False))
    pointing: int | None = Field(default=None, foreign_key="pointings.number", index=True)


class VersionRow(SQLModel, table=True):
    __tablename__ = "versions"
    __table_args__ = (Index("ix_versions_model_sequence", "model", "sequence", unique=True),)

    model: str = Field(primary_key=True, foreign_key="models.name")
    version: str = Field(primary_key=True)
    release: str = Field(unique=True)
    sequence: int
    epoch: int
    size_bytes: int = Field(sa_type=BigInteger)
    body: str = Field(sa_column=Column(Text, nullable=False))
    created_at_s: float
    actor: str
    card: str = Field(default="", sa_column=Column(Text, nullable=False))
    share_below: float | None = None
    withdrawn: str | None = None
    withdrawn_at_s: float | None = None
    withdrawn_by: str = ""
    withdrawn_reason: str = Field(default="", sa_column=Column(Text, nullable=False))
    least_next_epoch: int = 0
    card_fields: str = Field(default="{}", sa_column=Column(Text, nullable=False))
    lineage: str = Field(default="{}", sa_column=Column(Text, nullable=False))
    archived_at_s: float | None = None


class OriginRow(SQLModel, table=True):
    __tablename__ = "origins"
    __table_args__ = (ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),)

    model: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    request: str = Field(sa_column=Column(Text, nullable=False))
    report: str = Field(sa_column=Column(Text, nullable=False))
    kept: bool


class BlobRow(SQLModel, table=True):
    __tablename__ = "blobs"

    digest: str = Field(primary_key=True)
    body: str = Field(sa_column=Column(Text, nullable=False))


class DeviceRow(SQLModel, table=True):
    __tablename__ = "devices"

    id: str = Field(primary_key=True)
    name: str = Field(index=True)
    serial: str
    key: str = Field(unique=True)
    public_key_pem: str = Field(sa_column=Column(Text, nullable=False))
    state: str = Field(index=True)
    cause: str
    reported_labels: str = Field(sa_column=Column(Text, nullable=False))
    hardware: str
    runtimes: str
    agent_version: str
    incarnation: str
    generation: int = Field(sa_type=BigInteger)
    enrolled_at_s: float
    online: bool
    silent: bool
    boot: str | None = None
    connection: int = Field(sa_type=BigInteger)
    report_every_s: int
    seen_at_s: float | None = Field(default=None, index=True)
    reported_generation: int = Field(sa_type=BigInteger)
    reported_cause: str
    reported_detail: str
    reported_boot: str | None = None
    reported_seq: int = Field(sa_type=BigInteger)
    degraded: bool
    updating: bool
    p95_ms: float | None = None
    health: str | None = Field(default=None, sa_column=Column(Text))
    health_at_s: float | None = None
    unadopted: bool = False


class LabelRow(SQLModel, table=True):
    __tablename__ = "labels"
    __table_args__ = (Index("ix_labels_key_value", "key", "value"),)

    device: str = Field(primary_key=True, foreign_key="devices.id")
    key: str = Field(primary_key=True)
    value: str


class IncarnationRow(SQLModel, table=True):
    __tablename__ = "incarnations"

    device: str = Field(primary_key=True, foreign_key="devices.id")
    incarnation: str = Field(primary_key=True)
    first_seen_s: float
    last_seen_s: float
    first_generation: int = Field(sa_type=BigInteger)
    seq: int = Field(sa_type=BigInteger)


class SlotRow(SQLModel, table=True):
    __tablename__ = "slots"
    __table_args__ = (Index("ix_slots_model_version", "model", "version"),)

    device: str = Field(primary_key=True, foreign_key="devices.id")
    model: str = Field(primary_key=True)
    version: str | None = None
    release: str | None = Field(default=None, index=True)
    body: str = Field(sa_column=Column(Text, nullable=False))
    incarnation: str
    seq: int = Field(sa_type=BigInteger)
    said_at_s: float
    lease_until_s: float | None = None


class ClaimRow(SQLModel, table=True):
    __tablename__ = "claims"

    id: str = Field(primary_key=True)
    secret_hash: str = Field(unique=True)
    note: str
    uses_left: int
    expires_s: float
    serial_pattern: str
    labels: str = Field(sa_column=Column(Text, nullable=False))
    actor: str
    created_at_s: float


class AssignmentRow(SQLModel, table=True):
    __tablename__ = "assignments"

    device: str = Field(primary_key=True, foreign_key="devices.id")
    model: str = Field(primary_key=True)
    release: str | None = Field(default=None, index=True)
    generation: int = Field(sa_type=BigInteger)
    entry: str = Field(sa_column=Column(Text, nullable=False))
    rollout: str = Field(index=True)
    actor: str
    assigned_at_s: float
    before: str | None = Field(default=None, sa_column=Column(Text))
    outcome: str | None = None
    cause: str
    detail: str
    ended_at_s: float | None = None


class DesiredRow(SQLModel, table=True):
    __tablename__ = "desired"

    device: str = Field(primary_key=True, foreign_key="devices.id")
    generation: int = Field(sa_type=BigInteger)
    incarnation: str | None = None
    body: str = Field(sa_column=Column(Text, nullable=False))
    decides: bool = Field(default=False)
    signed_at_s: float | None = Field(default=None, index=True)


class OwedRow(SQLModel, table=True):
    __tablename__ = "owed_sets"

    number: int | None = Field(default=None, primary_key=True)
    device: str = Field(foreign_key="devices.id", unique=True)


class RolloutRow(SQLModel, table=True):
    __tablename__ = "rollouts"

    id: str = Field(primary_key=True)
    model: str = Field(index=True)
    version: str | None = None
    release: str | None = None
    intent: str
    selector: str = Field(sa_column=Column(Text, nullable=False))
    policy: str = Field(sa_column=Column(Text, nullable=False))
    rules: str = Field(sa_column=Column(Text, nullable=False))
    paused: str
    state: str = Field(index=True)
    reason: str
    verdict: str = Field(sa_column=Column(Text, nullable=False))
    backlog: str | None = Field(default=None, sa_column=Column(Text))
    halts: str | None = None
    plan: str | None = None
    actor: str
    created_at_s: float = Field(index=True)
    ended_at_s: float | None = None


class MemberRow(SQLModel, table=True):
    __tablename__ = "members"
    __table_args__ = (
        Index("ix_members_device_generation", "device", "generation"),
        Index("ix_members_muster", "rollout", "wave", "device", "state", "cause", "changed_at_s"),
    )

    rollout: str = Field(primary_key=True, foreign_key="rollouts.id")
    device: str = Field(primary_key=True, foreign_key="devices.id")
    wave: int
    release: str | None = None
    variants: str = Field(sa_column=Column(Text, nullable=False))
    state: str
    generation: int = Field(sa_type=BigInteger)
    cause: str
    detail: str
    changed_at_s: float
    chosen: str = Field(sa_column=Column(Text, nullable=False, server_default=""))


class VariantProfileRow(SQLModel, table=True):
    __tablename__ = "variant_profiles"

    release: str = Field(primary_key=True)
    variant: str = Field(primary_key=True)
    hardware: str = Field(primary_key=True)
    runtime: str = Field(primary_key=True)
    source: str = Field(primary_key=True)
    p50_ms: float
    p95_ms: float
    peak_memory_bytes: int | None = Field(default=None, sa_type=BigInteger)
    inferences: int = Field(sa_type=BigInteger)
    results: int = Field(sa_type=BigInteger)
    at_s: float


class WaveRow(SQLModel, table=True):
    __tablename__ = "waves"

    rollout: str = Field(primary_key=True, foreign_key="rollouts.id")
    number: int = Field(primary_key=True)
    devices: int
    started_at_s: float | None = None
    ready_at_s: float | None = None
    told_at_s: float | None = None
    switched_at_s: float | None = None
    promoted_at_s: float | None = None
    promoted_by: str
    asked_at_s: float | None = None
    verdict: str = Field(sa_column=Column(Text, nullable=False))


class AgreementRow(SQLModel, table=True):
    __tablename__ = "agreements"

    rollout: str = Field(primary_key=True, foreign_key="rollouts.id")
    wave: int = Field(primary_key=True)
    person: str = Field(primary_key=True)
    at_s: float
    roles: str = Field(sa_column=Column(Text, nullable=False))


class SiteRulingRow(SQLModel, table=True):
    __tablename__ = "site_rulings"

    rollout: str = Field(primary_key=True, foreign_key="rollouts.id")
    site: str = Field(primary_key=True)
    verdict: str
    why: str = Field(sa_column=Column(Text, nullable=False))
    decided_at_s: float
    prepared: int
    counted: int


class EvidenceRow(SQLModel, table=True):
    __tablename__ = "evidence"

    rollout: str = Field(primary_key=True, foreign_key="rollouts.id")
    device: str = Field(primary_key=True, foreign_key="devices.id")
    n: int = Field(sa_type=BigInteger)
    errors: int = Field(sa_type=BigInteger)
    predictions: int = Field(sa_type=BigInteger)
    below: int = Field(sa_type=BigInteger)
    labels: int = Field(sa_type=BigInteger)
    label_errors: int = Field(sa_type=BigInteger)


class ReceiptRow(SQLModel, table=True):
    __tablename__ = "receipts"
    __table_args__ = (
        Index("ix_receipts_device_incarnation_counter", "device", "incarnation", "counter"),
        Index("ix_receipts_model_version_outcome", "model", "version", "outcome"),
        Index("ix_receipts_release_device", "release", "device"),
    )

    id: str = Field(primary_key=True)
    device: str = Field(foreign_key="devices.id", index=True)
    incarnation: str
    counter: int = Field(sa_type=BigInteger)
    model: str
    version: str | None = None
    release: str | None = None
    generation: int = Field(sa_type=BigInteger)
    attempt: int
    outcome: str
    cause: str
    body: str = Field(sa_column=Column(Text, nullable=False))
    envelope: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    received_at_s: float = Field(index=True)
    counted: bool


class RangeRow(SQLModel, table=True):
    __tablename__ = "report_ranges"

    device: str = Field(primary_key=True, foreign_key="devices.id")
    boot: str = Field(primary_key=True)
    dropped: bool = Field(primary_key=True)
    seq_from: int = Field(primary_key=True, sa_type=BigInteger)
    seq_to: int = Field(sa_type=BigInteger)


class MinuteRow(SQLModel, table=True):
    __tablename__ = "minutes"
    __table_args__ = (Index("ix_minutes_release_device", "release", "device"),)

    device: str = Field(primary_key=True, foreign_key="devices.id")
    model: str = Field(primary_key=True)
    release: str = Field(primary_key=True)
    variant: str = Field(primary_key=True)
    arm: str = Field(primary_key=True)
    minute: int = Field(primary_key=True, index=True)
    n: int = Field(sa_type=BigInteger)
    error_count: int = Field(sa_type=BigInteger)
    errors: str = Field(sa_column=Column(Text, nullable=False))
    slow: int = Field(sa_type=BigInteger)
    latency_zero: int = Field(sa_type=BigInteger)
    latency_offset: int
    latency: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    predictions: int = Field(sa_type=BigInteger)
    below: int = Field(sa_type=BigInteger)
    confidence: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    classes: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    labels: int = Field(sa_type=BigInteger)
    label_errors: int = Field(sa_type=BigInteger)
    pairs: int = Field(sa_type=BigInteger)
    disagreements: int = Field(sa_type=BigInteger)
    outcomes: str = Field(sa_column=Column(Text, nullable=False))
    groups: str = Field(sa_column=Column(Text, nullable=False))
    features: str = Field(sa_column=Column(Text, nullable=False))


class StretchRow(SQLModel, table=True):
    __tablename__ = "stretches"

    device: str = Field(primary_key=True, foreign_key="devices.id")
    model: str = Field(primary_key=True)
    number: int = Field(primary_key=True, index=True)
    release: str = Field(primary_key=True)
    arm: str = Field(primary_key=True)
    n: int = Field(sa_type=BigInteger)
    errors: int = Field(sa_type=BigInteger)
    errors_fresh_n: float
    errors_fresh: int = Field(sa_type=BigInteger)
    errors_stale: int
    predictions: int = Field(sa_type=BigInteger)
    below: int = Field(sa_type=BigInteger)
    latency: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    pairs: int = Field(sa_type=BigInteger)
    disagreements: int = Field(sa_type=BigInteger)
    classes: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    outcomes: str = Field(sa_column=Column(Text, nullable=False))
    groups: str = Field(sa_column=Column(Text, nullable=False))


class ArrivalRow(SQLModel, table=True):
    __tablename__ = "arrivals"

    device: str = Field(primary_key=True, foreign_key="devices.id")
    number: int = Field(primary_key=True, index=True)
    reports: int = Field(sa_type=BigInteger)


class RawReportRow(SQLModel, table=True):
    __tablename__ = "raw_reports"

    device: str = Field(primary_key=True, foreign_key="devices.id")
    boot: str = Field(primary_key=True)
    seq: int = Field(primary_key=True, sa_type=BigInteger)
    received_at_s: float = Field(index=True)
    envelope: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class EventRow(SQLModel, table=True):
    __tablename__ = "events"
    # A number that a deleted or rolled-back row had must never come back: readers remember how far they are.
    __table_args__ = ({"sqlite_autoincrement": True},)

    number: int | None = Field(default=None, primary_key=True)
    at_s: float = Field(index=True)
    kind: str = Field(index=True)
    actor: str
    summary: str = Field(sa_column=Column(Text, nullable=False))
    severity: str = Field(index=True)
    device: str | None = Field(default=None, index=True)
    model: str | None = Field(default=None, index=True)
    version: str | None = None
    rollout: str | None = Field(default=None, index=True)
    data: str = Field(sa_column=Column(Text, nullable=False))


class JobRow(SQLModel, table=True):
    __tablename__ = "jobs"

    id: str = Field(primary_key=True)
    model: str = Field(index=True)
    version: str
    state: str = Field(index=True)
    stage: str
    share: float
    detail: str = Field(sa_column=Column(Text, nullable=False))
    request: str = Field(sa_column=Column(Text, nullable=False))
    report: str = Field(sa_column=Column(Text, nullable=False))
    actor: str
    created_at_s: float = Field(index=True)
    ended_at_s: float | None = None
