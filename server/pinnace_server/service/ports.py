"""What the services need of the world: a database, blobs, a signer, a broker, a clock. Shells implement these.

``Store`` gives transactions; inside one, ``Tables`` gives a repository per kind of record. Everything that comes out is
a frozen value of ``domain.records``; nothing is written outside ``Store.write``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol

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
from pinnace_contract.latest import Arm, AssignmentSet, Blob, MessageKey, Receipt, Want, WithdrawnRelease
from pinnace_contract.topics import Topic
from pinnace_server.domain.aliases import AliasRule, Approval, Pointing
from pinnace_server.domain.lineage import Origin
from pinnace_server.domain.muster import Mustered
from pinnace_server.domain.queries import DeviceQuery, EventQuery, Listing, Page, ReceiptQuery, RolloutQuery
from pinnace_server.domain.ramp import Agreement, SiteOthers, Wave
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
    Status,
    TokenId,
    Version,
    Withdrawal,
)
from pinnace_server.domain.selector import Selector
from pinnace_server.domain.sites import SiteRuling
from pinnace_server.domain.stretches import Stretch
from pinnace_server.domain.variants import ProfileSource, VariantProfile

# --- the database -------------------------------------------------------------------------------------------------


class Models(Protocol):
    """Model families and their aliases."""

    def get(self, name: ModelName) -> Model | None: ...
    def add(self, model: Model) -> None: ...
    def describe(self, name: ModelName, description: str) -> None: ...
    def require_card(self, name: ModelName, fields: Sequence[str]) -> None:
        """Say which fields the card of a new version must have."""
        ...

    def archive(self, name: ModelName, at_s: float | None) -> None:
        """Archive a model; None takes it back."""
        ...

    def listing(self, page: Page, text: str = "", *, archived: bool = True) -> Listing[Model]: ...
    def point(self, name: ModelName, alias: AliasName, version: VersionName) -> None: ...
    def unpoint(self, name: ModelName, alias: AliasName) -> bool: ...


class Aliases(Protocol):
    """What aliases pointed at. ``Models`` holds what they point at now."""

    def begin(self, pointing: Pointing) -> int:
        """Write that an alias points at a version from now on, and return the row's number.

        The one that is open must have been ended before.
        """
        ...

    def end(self, model: ModelName, alias: AliasName, *, at_s: float, actor: str, reason: str) -> None:
        """Write when, by whom and why what is open ended; nothing where nothing is."""
        ...

    def history(
        self, model: ModelName, page: Page, *, alias: AliasName | None = None, version: VersionName | None = None
    ) -> Listing[Pointing]:
        """Return what a model's aliases pointed at, the newest first."""
        ...

    def rules(self, model: ModelName) -> Sequence[AliasRule]:
        """Return a model's rules, by alias."""
        ...

    def rule(self, model: ModelName, alias: AliasName) -> AliasRule | None: ...
    def save_rule(self, rule: AliasRule) -> None: ...
    def remove_rule(self, model: ModelName, alias: AliasName) -> bool: ...
    def approve(self, approval: Approval) -> None:
        """Note an approval that waits; who approved the same before is noted with the newer time."""
        ...

    def withdraw(self, model: ModelName, alias: AliasName, version: VersionName, person: str) -> bool:
        """Forget an approval that waits; tell whether there was one."""
        ...

    def waiting(self, model: ModelName, alias: AliasName, version: VersionName) -> Sequence[Approval]:
        """Return the approvals that were not used yet, by time and person."""
        ...

    def use(self, model: ModelName, alias: AliasName, version: VersionName, pointing: int) -> None:
        """Say what the approvals that wait were used for."""
        ...

    def used(self, pointings: Iterable[int]) -> Sequence[Approval]:
        """Return the approvals that were used for these, by number, time and person."""
        ...


class Versions(Protocol):
    """Immutable versions, and which blobs their releases list."""

    def get(self, model: ModelName, version: VersionName) -> Version | None: ...
    def of_release(self, release: ReleaseId) -> Version | None: ...
    def add(self, version: Version) -> None: ...
    def archive(self, model: ModelName, version: VersionName, at_s: float | None) -> None:
        """Archive a version; None takes it back."""
        ...

    def withdraw(self, model: ModelName, version: VersionName, withdrawal: Withdrawal) -> None:
        """Write that a version is withdrawn, in place of what was written before."""
        ...

    def withdrawn(self, models: Iterable[ModelName]) -> Sequence[WithdrawnRelease]:
        """Return what is withdrawn of these models, the newest withdrawal first."""
        ...

    def least_epoch(self, model: ModelName) -> int:
        """Return the least security epoch of a new version that any withdrawal of the model asks for."""
        ...

    def origin(self, model: ModelName, version: VersionName) -> Origin | None: ...
    def add_origin(self, origin: Origin) -> None: ...
    def listing(self, model: ModelName, page: Page, *, archived: bool = True) -> Listing[Version]: ...
    def wanted_on(self, releases: Iterable[ReleaseId]) -> Sequence[DeviceId]:
        """Return the devices whose newest assignment of a model is one of these releases, by id."""
        ...

    def had_by(self, model: ModelName, version: VersionName, page: Page) -> Listing[DeviceId]:
        """Return the devices that said, in a receipt that counts, that they keep a version, by id."""
        ...

    def next_sequence(self, model: ModelName) -> int: ...
    def list_blob(self, blob: Blob) -> None:
        """Let devices ask for a blob besides those that releases list: a release file itself."""
        ...

    def blob(self, digest: Digest) -> Blob | None:
        """Return size and chunk list of a blob that some release lists, or of a release file; None otherwise."""
        ...


class Devices(Protocol):
    """Devices, the stores they showed, and what each said of its models."""

    def get(self, device: DeviceId) -> Device | None: ...
    def some(self, devices: Sequence[DeviceId]) -> Sequence[Device]:
        """Return these devices, in this order; each of them is there."""
        ...

    def of_key(self, key: KeyId) -> Device | None: ...
    def save(self, device: Device) -> None: ...
    def listing(self, query: DeviceQuery) -> Listing[Device]: ...
    def by_status(self, query: DeviceQuery) -> Mapping[Status, int]:
        """Count what the query matches without its status filter."""
        ...

    def matching(self, selector: Selector) -> Sequence[Device]:
        """Return every device that is not decommissioned and that the selector means, ordered by id."""
        ...

    def decommissioned(self) -> frozenset[DeviceId]: ...
    def unadopted(self) -> frozenset[DeviceId]:
        """Return devices of which nothing was heard since this server was put back from a backup."""
        ...

    def silent(self, now_s: float, limit: int) -> Sequence[Device]:
        """Return devices that count as there, were silent for too long, and whose silence was not told yet."""
        ...

    def label_keys(self) -> Sequence[str]: ...
    def incarnations(self, device: DeviceId) -> Sequence[Incarnation]: ...
    def save_incarnation(self, incarnation: Incarnation) -> None: ...
    def slot(self, device: DeviceId, model: ModelName) -> Slot | None: ...
    def slots(self, devices: Iterable[DeviceId], model: ModelName | None = None) -> Sequence[Slot]: ...
    def save_slots(self, device: DeviceId, slots: Sequence[Slot]) -> None:
        """Replace everything that was known of the device's models."""
        ...

    def serving(self, model: ModelName | None = None) -> Sequence[tuple[ModelName, VersionName | None, int]]:
        """Count active devices by what serves: (model, version, devices); version None is ``no_model``."""
        ...


class Assignments(Protocol):
    """The newest word for each (device, model), and the signed sets made of them."""

    def get(self, device: DeviceId, model: ModelName) -> Assignment | None: ...
    def of(self, devices: Iterable[DeviceId]) -> Sequence[Assignment]: ...
    def save(self, assignment: Assignment) -> None: ...
    def desired(self, device: DeviceId) -> DesiredSet | None: ...
    def save_desired(self, desired: DesiredSet) -> None: ...
    def unsigned(self, limit: int) -> Sequence[DesiredSet]:
        """Return sets that are planned and not signed yet, oldest first; before all others those that decide about a
        site, whose devices wait under a lease, and after all others those that move a device on: what moves one back,
        or says what is withdrawn, does not wait for them."""
        ...

    def owe(self, devices: Iterable[DeviceId]) -> None:
        """Note that devices must get a new set, those that were named first before the others; once is enough."""
        ...

    def owed(self, limit: int) -> Sequence[DeviceId]:
        """Return devices that must get a new set, in the order in which they are to get it."""
        ...

    def settle(self, device: DeviceId) -> None:
        """Note that a device has got the set that it was owed."""
        ...

    def stale(self, limit: int, among: Iterable[DeviceId] | None = None) -> Sequence[DesiredSet]:
        """Return sets made for another incarnation than their device now has, of devices that may get new ones."""
        ...


class Rollouts(Protocol):
    """Rollouts and their devices."""

    def get(self, rollout: RolloutId) -> Rollout | None: ...
    def save(self, rollout: Rollout) -> None: ...
    def listing(self, query: RolloutQuery) -> Listing[Rollout]: ...
    def active(self) -> Sequence[Rollout]:
        """Return active rollouts, oldest first."""
        ...

    def owning(self) -> Sequence[Rollout]:
        """Return active and finished upgrades that still own an assignment: those whose release is being judged."""
        ...

    def members(self, rollout: RolloutId) -> Sequence[Member]: ...
    def members_in(self, rollout: RolloutId, states: Collection[MemberState]) -> Sequence[Member]:
        """Return the members in one of these states, by wave and device."""
        ...

    def members_after(self, rollout: RolloutId, after: DeviceId, limit: int) -> Sequence[Member]:
        """Return the first members behind a device, by device."""
        ...

    def member_of(self, device: DeviceId, model: ModelName, generation: int) -> Member | None:
        """Return the member that an assignment of this generation was made for."""
        ...

    def member(self, rollout: RolloutId, device: DeviceId) -> Member | None: ...
    def some_members(self, rollout: RolloutId, devices: Iterable[DeviceId]) -> Sequence[Member]:
        """Return those of these devices that are members, by wave and device."""
        ...

    def muster(self, rollout: RolloutId) -> Sequence[Mustered]:
        """Return every member in few words, by wave and device."""
        ...

    def mustered_near(self, rollout: RolloutId, waves: Collection[int]) -> Sequence[Mustered]:
        """Return the members of these waves, and those of others that are under way, in the same words and order."""
        ...

    def mustered_at(self, rollout: RolloutId, sites: Iterable[str]) -> Sequence[Mustered]:
        """Return the members at these sites (label ``site``), in the same words and order."""
        ...

    def some_mustered(self, rollout: RolloutId, devices: Iterable[DeviceId]) -> Sequence[Mustered]:
        """Return those of these devices that are members, in the same words and order."""
        ...

    def waiting_behind(self, rollout: RolloutId, wave: int) -> Sequence[DeviceId]:
        """Return who waits in a later wave and is not in quarantine, by wave and device."""
        ...

    def site_rest(self, rollout: RolloutId, begun: Collection[int], now_s: float) -> Mapping[str, SiteOthers]:
        """Return by site (label ``site``; empty: none) the members of other waves than these that are not under way,
        and how many of them are there and not degraded."""
        ...

    def site_others(self, rollout: RolloutId, now_s: float) -> Mapping[str, SiteOthers]:
        """Return by site (label ``site``) the active devices that are there and no members of the rollout; sites
        without one are left out."""
        ...

    def wave_counts(self, rollout: RolloutId) -> Mapping[int, Mapping[MemberState, int]]:
        """Count members by wave and state."""
        ...

    def anybody_waits(self, rollout: RolloutId, waves: Collection[int]) -> bool:
        """Tell whether a member of one of these waves is not assigned yet."""
        ...

    def save_members(self, members: Iterable[Member]) -> None: ...
    def waves(self, rollout: RolloutId) -> Sequence[Wave]:
        """Return what was decided about each wave, by number; none for a plain assignment."""
        ...

    def save_wave(self, rollout: RolloutId, wave: Wave) -> None: ...
    def agreements(self, rollout: RolloutId) -> Sequence[Agreement]:
        """Return who agreed to which wave, by wave and person."""
        ...

    def save_agreement(self, rollout: RolloutId, agreement: Agreement) -> None:
        """Note that somebody agreed; who agreed before is noted with the newer time and roles."""
        ...

    def site_rulings(self, rollout: RolloutId) -> Sequence[SiteRuling]:
        """Return what was decided about sites, by name."""
        ...

    def site_ruling(self, rollout: RolloutId, site: str) -> SiteRuling | None: ...
    def add_site_ruling(self, rollout: RolloutId, ruling: SiteRuling) -> None:
        """Write down what was decided about a site.

        Raises:
            IntegrityError: something was decided before, which stands.
        """
        ...

    def drop_site_ruling(self, rollout: RolloutId, site: str) -> None:
        """Forget what was decided, because the site tries again."""
        ...

    def counts(self, rollouts: Iterable[RolloutId]) -> Mapping[RolloutId, Mapping[str, int]]:
        """Count members by state."""
        ...

    def evidence(self, rollout: RolloutId) -> Counts:
        """Return what counted devices answered on this rollout's release since they were assigned it."""
        ...

    def add_evidence(self, rollout: RolloutId, device: DeviceId, counts: Counts) -> None: ...


class Receipts(Protocol):
    """Signed outcomes."""

    def get(self, receipt: ReceiptId) -> ReceiptRecord | None: ...
    def of_counter(self, device: DeviceId, incarnation: IncarnationId, counter: int) -> ReceiptRecord | None: ...
    def add(self, receipt: ReceiptRecord) -> None: ...
    def has_later(self, receipt: Receipt) -> bool:
        """Tell whether the same store gave a later receipt, by its counter, for the same generation of the model."""
        ...

    def listing(self, query: ReceiptQuery) -> Listing[ReceiptRecord]: ...
    def attempts(self, devices: Iterable[DeviceId], release: ReleaseId) -> Mapping[DeviceId, int]:
        """Return the highest attempt of a release that each device gave a receipt for."""
        ...

    def outcomes(self, model: ModelName) -> Mapping[tuple[VersionName, str], int]:
        """Count receipts that count by (version, outcome)."""
        ...

    def count(self, device: DeviceId, incarnation: IncarnationId) -> Sequence[Receipt]:
        """Let the newest receipts of a store that did not count do so, and return them by counter.

        At most ``queries.UNCOUNTED_MAX``; of two with one counter only the one that ``of_counter`` returns may.
        """
        ...


class Reports(Protocol):
    """Telemetry: which report numbers are accounted for, and what was counted, merged per minute."""

    def ranges(self, device: DeviceId, boot: BootId) -> Sequence[ReceivedRange]: ...
    def add_range(self, received: ReceivedRange) -> None: ...
    def received(self, page: Page, device: DeviceId | None = None) -> Listing[ReceivedRange]:
        """Return the numbers that are accounted for, by device and boot."""
        ...

    def merge(self, minute: Minute) -> None: ...
    def minutes(
        self, device: DeviceId, model: ModelName | None, minute_from: int, minute_to: int
    ) -> Sequence[Minute]: ...
    def fleet_minutes(self, minute_from: int, minute_to: int, model: ModelName | None = None) -> Iterable[Minute]: ...
    def counts(self, devices: Iterable[DeviceId], release: ReleaseId) -> Counts:
        """Add up what these devices counted for a release, over everything that is kept."""
        ...

    def answered(self, device: DeviceId, minute_from: int, minute_to: int) -> Mapping[ModelName, Counts]:
        """Count what a device answered to applications in these minutes, and how much of it failed (``n`` and
        ``errors``), by model, and not what a shadow answered."""
        ...

    def stretch(
        self, device: DeviceId, model: ModelName, release: ReleaseId, arm: Arm, number: int
    ) -> Stretch | None: ...
    def save_stretch(self, stretch: Stretch) -> None: ...
    def stretches(
        self, devices: Iterable[DeviceId], model: ModelName, number_from: int, number_to: int
    ) -> Sequence[Stretch]:
        """Return what these devices counted, by device, number, release and arm; both ends are included."""
        ...

    def count_arrival(self, device: DeviceId, number: int, reports: int) -> None:
        """Count reports of a device whose windows ended in ten minutes of this number (see ``domain.stretches``)."""
        ...

    def arrivals(
        self, devices: Iterable[DeviceId], number_from: int, number_to: int
    ) -> Mapping[DeviceId, Mapping[int, int]]:
        """Return how many reports came of each device, by number; both ends are included."""
        ...

    def keep_raw(self, device: DeviceId, boot: BootId, seq: int, received_at_s: float, envelope: bytes) -> None: ...
    def prune(self, *, minute_before: int, stretch_before: int, raw_before_s: float) -> int:
        """Forget what is older; return how many rows went."""
        ...


class Profiles(Protocol):
    """What variants take on classes of hardware; see ``service.variant_profiles``."""

    def get(
        self, release: ReleaseId, variant: Digest, hardware: str, runtime: str, source: ProfileSource
    ) -> VariantProfile | None: ...
    def of_release(self, release: ReleaseId) -> Sequence[VariantProfile]:
        """Return every row of a release, by variant, hardware, runtime and source."""
        ...

    def save(self, profile: VariantProfile) -> None: ...


class Events(Protocol):
    """The append-only log."""

    def append(self, event: Event) -> int:
        """Write the next line and return its number."""
        ...

    def listing(self, query: EventQuery) -> Listing[Event]: ...
    def last_number(self) -> int: ...


class Claims(Protocol):
    """Claim tokens."""

    def get(self, token: TokenId) -> ClaimRecord | None: ...
    def of_hash(self, secret_hash: str) -> ClaimRecord | None: ...
    def save(self, claim: ClaimRecord) -> None: ...
    def remove(self, token: TokenId) -> bool: ...
    def listing(self, page: Page) -> Listing[ClaimRecord]: ...


class Jobs(Protocol):
    """Long work."""

    def get(self, job: JobId) -> Job | None: ...
    def save(self, job: Job) -> None: ...
    def listing(self, page: Page, model: ModelName | None = None) -> Listing[Job]: ...
    def unfinished(self) -> Sequence[Job]:
        """Return queued and running jobs, oldest first."""
        ...


class Tables(Protocol):
    """Every repository, inside one transaction."""

    @property
    def models(self) -> Models: ...
    @property
    def aliases(self) -> Aliases: ...
    @property
    def versions(self) -> Versions: ...
    @property
    def devices(self) -> Devices: ...
    @property
    def assignments(self) -> Assignments: ...
    @property
    def rollouts(self) -> Rollouts: ...
    @property
    def receipts(self) -> Receipts: ...
    @property
    def profiles(self) -> Profiles: ...
    @property
    def reports(self) -> Reports: ...
    @property
    def events(self) -> Events: ...
    @property
    def claims(self) -> Claims: ...
    @property
    def jobs(self) -> Jobs: ...


class Store(Protocol):
    """Transactions. Safe for use by many threads; writers wait for each other."""

    def read(self) -> AbstractContextManager[Tables]:
        """One consistent look; nothing written in it is kept."""
        ...

    def write(self) -> AbstractContextManager[Tables]:
        """One transaction: committed and on disk when the block ends, nothing kept when it raises."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """Commit all writes of this thread inside the block at its end, with one wait for the disk.

        Each write is still by itself: one that raises leaves nothing, and what comes after sees those before. Nothing
        is on disk, and nobody else sees it, before the block has ended; when the block raises nothing is kept at all.
        """
        ...


# --- the world outside the database -------------------------------------------------------------------------------


class Clock(Protocol):
    """Unix seconds."""

    def now(self) -> float: ...


class Blobs(Protocol):
    """Content-addressed bytes. Safe for use by many threads."""

    def add(self, source: BinaryIO | Path | bytes, *, size_bytes_max: int | None = None) -> Digest:
        """Store content and return its digest; on disk before it returns. Adding the same again changes nothing.

        Raises:
            TooLarge: more than ``size_bytes_max``; nothing is kept.
            Unavailable: no room.
        """
        ...

    def has(self, digest: Digest) -> bool: ...
    def size(self, digest: Digest) -> int:
        """Return the size in bytes.

        Raises:
            NotFound
        """
        ...

    def read(self, digest: Digest, offset: int = 0, size: int | None = None) -> bytes:
        """Return a stretch; shorter at the end.

        Raises:
            NotFound
        """
        ...

    def open(self, digest: Digest) -> BinaryIO:
        """Open for reading.

        Raises:
            NotFound
        """
        ...


class SignatureState(StrEnum):
    """Whether the image repository's signatures stand behind a release."""

    VERIFIED = "verified"
    UNSIGNED = "unsigned"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What the signed metadata says of a release: which keys signed, and until when."""

    state: SignatureState
    keys: tuple[str, ...] = ()
    expires_at: datetime | None = None


class Signing(Protocol):
    """The signer: both repositories and the message key. Safe for use by many threads."""

    def message_key(self) -> MessageKey: ...
    def sign_message(self, signed_bytes: bytes) -> bytes: ...
    def image_roots(self) -> tuple[bytes, ...]: ...
    def director_roots(self) -> tuple[bytes, ...]: ...
    def add_release(self, release: bytes) -> ReleaseId:
        """Make a release a target of the image repository: persisted atomically before this returns.

        Raises:
            SigningRefused
        """
        ...

    def image_metadata(self) -> tuple[tuple[Topic, bytes], ...]:
        """Return all that is retained under ``meta/``, in the order to publish it; an empty payload clears a topic."""
        ...

    def renew_image(self) -> bool:
        """Sign the image repository anew when its expiry comes near; True: publish ``image_metadata()``."""
        ...

    def listed(self, model: ModelName, release: ReleaseId) -> Listed:
        """Check the image repository's own signatures and return what they say of a release."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """Persist all that ``desired`` returns inside the block when the block ends; nobody may see it before."""
        ...

    def desired(self, assignments: AssignmentSet, releases: Mapping[ReleaseId, bytes]) -> bytes:
        """Return the payload of ``down/{id}/desired``; the highest generation is persisted before this returns.

        Raises:
            SigningRefused: a smaller generation, or an equal one with another set.
        """
        ...

    def era(self) -> int:
        """Return the era below which no generation is signed."""
        ...

    def raise_era(self, era: int) -> None:
        """Begin a later era: persisted before this returns, and so is metadata that grows with it."""
        ...

    def generations(self) -> Mapping[DeviceId, int]:
        """Return the highest generation that was ever signed for each device."""
        ...

    def refresh_due(self, now_s: float) -> tuple[DeviceId, ...]:
        """Return the devices whose ``desired`` should be refreshed and published again, the oldest first."""
        ...

    def refresh(self, device: DeviceId) -> bytes | None:
        """Return the device's ``desired`` with a fresh timestamp; None: it never had one."""
        ...

    def all_desired(self) -> Iterable[tuple[Topic, bytes]]:
        """Yield every device's ``desired`` as it should stand on the broker."""
        ...


class Publisher(Protocol):
    """Sends to devices. Safe for use by many threads, never blocks for long."""

    def publish(self, topic: Topic, payload: bytes, *, retained: bool = False, qos: int = 1) -> None: ...


class Delivery(Protocol):
    """Serves chunks of blobs."""

    def wanted(self, want: Want) -> None: ...


class DeviceKeys(Protocol):
    """Checks what devices sign."""

    def check(self, public_key_pem: str, signed_bytes: bytes, signature: bytes) -> None:
        """Check a device's signature.

        Raises:
            SignatureInvalid
        """
        ...

    def of_request(self, csr_pem: str) -> tuple[KeyId, str]:
        """Return the key (id, PEM) of a PKCS#10 request that proves possession of it.

        Raises:
            Refused: not a request, not P-256, or not signed by its own key.
        """
        ...


class Chance(Protocol):
    """Unguessable values: secrets and ids."""

    def secret_hex(self, size_bytes: int) -> str: ...


class Conversion(Protocol):
    """Runs one conversion in a child process with limits of its own."""

    def run(
        self, request: str, folder: Path, progress: Callable[[str, float], None], cancelled: Callable[[], bool]
    ) -> str:
        """Convert what lies in ``folder`` into a draft in ``folder/draft``; return the report as JSON.

        ``request`` is the JSON of ``conversions.ConversionRequest``; ``progress`` is told the stage and a share.

        Raises:
            Refused: the converter refused the model, or ``cancelled`` said so and the child is gone.
            Unavailable: the child ended by itself.
        """
        ...


class Changes(Protocol):
    """Tells listeners which topics changed, after the commit.

    Topics: ``devices``, ``device:ID``, ``models``, ``model:NAME``, ``rollouts``, ``rollout:ID``, ``events``, ``jobs``,
    ``job:ID``.
    """

    def notify(self, topics: Iterable[str]) -> None: ...

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call ``listener`` with each topic, from any thread; it must return at once. Returns how to stop."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything outside, in one hand. ``endpoints`` are the broker URLs that devices are told."""

    store: Store
    blobs: Blobs
    signing: Signing
    publisher: Publisher
    device_keys: DeviceKeys
    chance: Chance
    clock: Clock
    changes: Changes
    endpoints: tuple[str, ...]
