"""What the director wants a device to run. It stands inside the signed director targets that ``desired`` carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pinnace_contract.fields import count, limited
from pinnace_contract.ids import (
    DeviceId,
    Digest,
    IncarnationId,
    KeyId,
    ModelName,
    ReleaseId,
    RolloutId,
    StatementId,
    WaveId,
)
from pinnace_contract.v1.enums import (
    ArmMode,
    ContactMode,
    Intent,
    OnNoContact,
    SiteVerdict,
    Swap,
    TrialMode,
    TrustLevel,
    WithdrawMode,
)

_DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPolicy:
    """When a trial is over: ``inferences`` answered, or ``duration_s`` without a failure, whichever comes first.

    A trial that ends by time with fewer inferences counts replayed golden vectors, and its receipt says so.
    """

    mode: TrialMode = TrialMode.LIVE
    inferences: int = limited(100, smallest=1, largest=1_000_000)
    duration_s: int = limited(1_800, smallest=1, largest=30 * _DAY_S)
    crashes_max: int = limited(3, smallest=1, largest=100)
    starts: int = limited(3, smallest=1, largest=100)
    judged_from: int = limited(50, smallest=1, largest=1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactPolicy:
    """Whether a proven release waits for the server before it commits, how long, and what then."""

    mode: ContactMode = ContactMode.REQUIRED
    timeout_s: int = limited(7 * _DAY_S, smallest=1, largest=90 * _DAY_S)
    on_no_contact: OnNoContact = OnNoContact.COMMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a phase may take on the device, in seconds; ``*_by_s`` are points in time (Unix) of the planner."""

    fetch_s: int = limited(_DAY_S, smallest=1, largest=90 * _DAY_S)
    self_test_s: int = limited(600, smallest=1, largest=_DAY_S)
    vetoes_s: int = limited(_DAY_S, smallest=0, largest=90 * _DAY_S)
    force_after_s: int | None = count(None)
    accept_by_s: int | None = count(None)
    commit_by_s: int | None = count(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When a device may activate, as one absolute interval (Unix seconds). The planner works out time zones."""

    opens_s: int = count()
    closes_s: int = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """Two releases resident at once: which one is the control, what share of requests counts, and until when.

    The share is what the control is asked in a split, and what the candidate is shown in a shadow; whole per cent,
    because signed metadata has no fractions. Either lasts ``duration_s`` from its beginning on the device (a shadow at
    most a day), 0 up to ``until_s``, which ends it in any case. A candidate that differed in more than
    ``differing_percent_max`` of its pairs is not put on trial, whether or not the server heard of it; None leaves that
    to the server.

    Of a blue/green pair the share is what the candidate answers: with 0 it is made ready and waits, at most up to
    ``until_s``, with 100 it takes over as soon as it is ready. The control then stays loaded for ``duration_s`` (a week
    at most), up to ``until_s`` in any case, and through the trial, so that going back to it takes no load.
    """

    mode: ArmMode
    control: ReleaseId
    share_percent: int = limited(smallest=0, largest=100)
    until_s: int = count()
    duration_s: int = limited(0, smallest=0, largest=90 * _DAY_S)
    differing_percent_max: int | None = limited(None, smallest=0, largest=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A run of consecutive chunks of one blob in a broadcast."""

    number: int = count()
    blob: Digest
    first_chunk: int = count()
    chunks: int = limited(smallest=1, largest=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Where a wave's chunks are broadcast."""

    wave: WaveId
    segments: tuple[Segment, ...] = limited(largest=512)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model of a device's assignment set.

    ``variants`` are digests in the order to try. ``generation`` is that of the entry's last change, ``attempt`` grows
    to clear a transient verdict. For ``Intent.REMOVE`` the release is None and the device unloads the model.

    With ``site_atomic`` a candidate that proved itself waits for the ``SiteDecision`` of its rollout, site and
    generation, ``lease_s`` from then on (0 up to ``lease_until_s``, Unix, which ends it in any case).
    """

    model: ModelName
    generation: int = count()
    attempt: int = limited(1, smallest=1, largest=1_000)
    intent: Intent = Intent.UPGRADE
    release: ReleaseId | None = None
    release_size_bytes: int = count(0)
    variants: tuple[Digest, ...] = limited((), largest=32)
    trial: TrialPolicy = TrialPolicy()
    contact: ContactPolicy = ContactPolicy()
    deadlines: Deadlines = Deadlines()
    window: Window | None = None
    swap: Swap = Swap.AUTO
    replace: bool = False
    metered: bool = True
    arms: Arms | None = None
    transfer: Transfer | None = None
    rollout: RolloutId | None = None
    site_atomic: bool = False
    site: str = limited("", chars=128)
    lease_s: int = limited(0, smallest=0, largest=7 * _DAY_S)
    lease_until_s: int | None = count(None)
    least_trust: TrustLevel = TrustLevel.DEV


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteDecision:
    """The director's word for the prepared devices of a site."""

    rollout: RolloutId
    site: str = limited(chars=128)
    generation: int = count()
    verdict: SiteVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawnRelease:
    """A release of this model must not start again (``retire``), or must be unloaded now (``stop``)."""

    model: ModelName
    release: ReleaseId
    mode: WithdrawMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One way to the server, in the order to try: ``mqtt://HOST:PORT`` or ``mqtts://HOST:PORT``."""

    url: str = limited(chars=512)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageKey:
    """The server's key for ``ack`` and ``cmd``: Ed25519, 32 bytes as hexadecimal."""

    keyid: KeyId
    public_hex: str = limited(chars=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditHead:
    """The size and root hash of the server's event log; a device remembers it, so a rewritten history is noticed."""

    size: int = count()
    root: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentSet:
    """Everything that one device should run, with the generation that only grows.

    ``incarnation`` binds the set to one store of the device; None means any (a stick made before the device enrolled).
    What is ``withdrawn`` comes before the entries: none of them may begin it. A device never forgets that it was.
    """

    KIND: ClassVar[str] = "assignment-set"
    BYTES_MAX: ClassVar[int] = 8 * 1024

    device: DeviceId
    incarnation: IncarnationId | None = None
    generation: int = count()
    issued_at_s: int = count()
    entries: tuple[Entry, ...] = limited((), largest=32)
    atomic: bool = False
    endpoints: tuple[Endpoint, ...] = limited((), largest=8)
    message_keys: tuple[MessageKey, ...] = limited((), largest=4)
    encryption_key_hex: str = limited("", chars=128)
    audit_head: AuditHead | None = None
    site_decisions: tuple[SiteDecision, ...] = limited((), largest=32)
    withdrawn: tuple[WithdrawnRelease, ...] = limited((), largest=32)

    def entry(self, model: ModelName) -> Entry | None:
        """Return the entry of this model, or None."""
        return next((entry for entry in self.entries if entry.model == model), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowDowngrade:
    """Permission of the offline targets role to go below the floor, once, on one device."""

    OP: ClassVar[str] = "allow_downgrade"
    statement: StatementId
    device: DeviceId
    release: ReleaseId
    expires_s: int = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeReset:
    """The root threshold lowers a device's time floor."""

    OP: ClassVar[str] = "time_reset"
    statement: StatementId
    device: DeviceId | None = None
    floor_s: int = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """No device may start this release again, or must unload it now."""

    OP: ClassVar[str] = "withdrawal"
    statement: StatementId
    model: ModelName
    release: ReleaseId
    mode: WithdrawMode
    least_next_epoch: int = count(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileDelegation:
    """A candidate may be measured on one device for a while; it is never served."""

    OP: ClassVar[str] = "profile"
    statement: StatementId
    device: DeviceId
    release: ReleaseId
    expires_s: int = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownStatement:
    """A statement of a newer server; kept, never acted on."""

    OP: ClassVar[str] = ""
    op: str = limited(chars=64)


StatementBody = AllowDowngrade | TimeReset | Withdrawal | ProfileDelegation | UnknownStatement


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A signed statement that stands by itself, on ``meta/statement/{id}`` and in bundles."""

    KIND: ClassVar[str] = "statement"
    BYTES_MAX: ClassVar[int] = 8 * 1024

    issued_at_s: int = count()
    body: StatementBody
