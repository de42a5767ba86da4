"""The tables as dicts, and beside them the indexes that keep frequent questions small.

Rows are the frozen values of ``domain.records``; whoever changes a row keeps its indexes, through the undo journal.
No answer may depend on the order of a dict: a transaction that was undone can leave another one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

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
from pinnace_contract.latest import Arm, Blob
from pinnace_server.domain.aliases import AliasRule, Approval, Pointing
from pinnace_server.domain.lineage import Origin
from pinnace_server.domain.ramp import Agreement, Wave
from pinnace_server.domain.records import (
    AliasName,
    Assignment,
    ClaimRecord,
    Counts,
    DesiredSet,
    Device,
    Event,
    Incarnation,
    Job,
    JobId,
    Member,
    MemberState,
    Minute,
    Model,
    ReceiptRecord,
    ReceivedRange,
    Rollout,
    Slot,
    TokenId,
    Version,
)
from pinnace_server.domain.sites import SiteRuling
from pinnace_server.domain.stretches import Stretch
from pinnace_server.domain.variants import ProfileSource, VariantProfile
from pinnace_sim.memory.undo import Undo

StretchKey: TypeAlias = tuple[ModelName, int, ReleaseId, Arm]
ProfileKey: TypeAlias = tuple[Digest, str, str, ProfileSource]
MinuteKey: TypeAlias = tuple[DeviceId, ModelName, ReleaseId, Digest, Arm]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawReport:
    """A report as it came."""

    boot: BootId
    seq: int
    received_at_s: float
    envelope: bytes


@dataclass(slots=True, kw_only=True)
class Disk:
    """Everything that is stored."""

    undo: Undo = field(default_factory=Undo)

    # catalogue; ``versions_of`` in the order of sequences
    models: dict[ModelName, Model] = field(default_factory=dict)
    versions: dict[tuple[ModelName, VersionName], Version] = field(default_factory=dict)
    versions_of: dict[ModelName, tuple[Version, ...]] = field(default_factory=dict)
    version_of_release: dict[ReleaseId, Version] = field(default_factory=dict)
    blobs: dict[Digest, Blob] = field(default_factory=dict)
    origins: dict[tuple[ModelName, VersionName], Origin] = field(default_factory=dict)
    pointings: dict[int, Pointing] = field(default_factory=dict)
    alias_rules: dict[tuple[ModelName, AliasName], AliasRule] = field(default_factory=dict)
    approvals: list[Approval] = field(default_factory=list)

    # fleet; each device's incarnations and slots in their order
    devices: dict[DeviceId, Device] = field(default_factory=dict)
    device_of_key: dict[KeyId, DeviceId] = field(default_factory=dict)
    incarnations: dict[DeviceId, tuple[Incarnation, ...]] = field(default_factory=dict)
    slots: dict[DeviceId, dict[ModelName, Slot]] = field(default_factory=dict)

    # what devices are told; each device's assignments in their order, ``owned`` counts assignments of a rollout,
    # ``owed`` numbers whom a new set is owed
    assignments: dict[DeviceId, dict[ModelName, Assignment]] = field(default_factory=dict)
    owned: dict[RolloutId, int] = field(default_factory=dict)
    desired: dict[DeviceId, DesiredSet] = field(default_factory=dict)
    unsigned: dict[DeviceId, None] = field(default_factory=dict)
    stale: dict[DeviceId, None] = field(default_factory=dict)
    owed: dict[DeviceId, int] = field(default_factory=dict)

    # rollouts; ``members_at`` says whose members were assigned a device's generation
    rollouts: dict[RolloutId, Rollout] = field(default_factory=dict)
    active: dict[RolloutId, None] = field(default_factory=dict)
    members: dict[RolloutId, dict[DeviceId, Member]] = field(default_factory=dict)
    waves: dict[RolloutId, dict[int, Wave]] = field(default_factory=dict)
    agreements: dict[RolloutId, dict[tuple[int, str], Agreement]] = field(default_factory=dict)
    site_rulings: dict[RolloutId, dict[str, SiteRuling]] = field(default_factory=dict)
    arrivals: dict[DeviceId, dict[int, int]] = field(default_factory=dict)
    stretches: dict[DeviceId, dict[StretchKey, Stretch]] = field(default_factory=dict)
    member_counts: dict[RolloutId, dict[MemberState, int]] = field(default_factory=dict)
    members_at: dict[tuple[DeviceId, int], dict[RolloutId, None]] = field(default_factory=dict)
    evidence: dict[RolloutId, Counts] = field(default_factory=dict)

    # receipts; ``last_counter`` is the highest of a store for a model's generation
    receipts: dict[ReceiptId, ReceiptRecord] = field(default_factory=dict)
    receipt_of_counter: dict[tuple[DeviceId, IncarnationId, int], ReceiptId] = field(default_factory=dict)
    last_counter: dict[tuple[DeviceId, IncarnationId, ModelName, int], int] = field(default_factory=dict)
    attempts: dict[tuple[ReleaseId, DeviceId], int] = field(default_factory=dict)
    profiles: dict[ReleaseId, dict[ProfileKey, VariantProfile]] = field(default_factory=dict)

    # reports; ``minute_numbers`` are the keys of ``minutes`` in order, ``totals`` what all minutes add up to
    ranges: dict[tuple[DeviceId, BootId], tuple[ReceivedRange, ...]] = field(default_factory=dict)
    minutes: dict[int, dict[MinuteKey, Minute]] = field(default_factory=dict)
    minute_numbers: list[int] = field(default_factory=list)
    totals: dict[tuple[ReleaseId, DeviceId], Counts] = field(default_factory=dict)
    raw: dict[DeviceId, tuple[RawReport, ...]] = field(default_factory=dict)

    # the log and the rest
    events: list[Event] = field(default_factory=list)
    claims: dict[TokenId, ClaimRecord] = field(default_factory=dict)
    claim_of_hash: dict[str, TokenId] = field(default_factory=dict)
    jobs: dict[JobId, Job] = field(default_factory=dict)

    def need_device(self, device: DeviceId) -> None:
        """Refuse a row about a device that is not there."""
        if device not in self.devices:
            raise self.undo.violated(f"a row names the device {device!r}, which is not there")

    def need_model(self, model: ModelName) -> None:
        """Refuse a row about a model that is not there."""
        if model not in self.models:
            raise self.undo.violated(f"a row names the model {model!r}, which is not there")

    def need_rollout(self, rollout: RolloutId) -> None:
        """Refuse a row about a rollout that is not there."""
        if rollout not in self.rollouts:
            raise self.undo.violated(f"a row names the rollout {rollout!r}, which is not there")

    def judge_staleness(self, device: DeviceId) -> None:
        """Mark a device whose set was made for another store than it now has; called when either changed."""
        desired, known = self.desired.get(device), self.devices.get(device)
        made_for = desired.assignments.incarnation if desired else None
        self.undo.mark(self.stale, device, made_for is not None and known is not None and made_for != known.incarnation)
