"""What a device believes: both repositories' metadata, verified from bytes. No disk, no network, no clock.

The workflow is that of the TUF specification (section 5) for the image repository and, per device, for the director; on
top of it stand the checks that the two agree on each release, that the set is for this device and this store, and that
time only moves as far as signed statements may move it. ``Trusted`` is what has been believed so far; the store keeps
it as a unit.
Source: The Update Framework specification 1.0.31; Uptane standard 2.1.0, section 5.4.4 (full verification).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, Targets, Timestamp

from pinnace_agent.errors import NotYet, Refused
from pinnace_contract import codec
from pinnace_contract.desired import ASSIGNMENT_FIELD, Desired, target_path
from pinnace_contract.errors import ContractError
from pinnace_contract.ids import DeviceId, Digest, IncarnationId, ReleaseId, digest_of
from pinnace_contract.latest import RELEASE_BYTES_MAX, AssignmentSet, Cause, Entry, Release

ROOT_BYTES_MAX: Final = 64 * 1024
METADATA_BYTES_MAX: Final = 2 * 1024 * 1024  # the image repository's flat targets: about 4,000 releases
ROOT_STEPS_MAX: Final = 256  # roots that one call walks; a chain longer than that is an attack
_REMEMBERED: Final = 16  # files as read, and as verified: roots, timestamps and snapshots of both repositories
_REMEMBERED_BYTES_MAX: Final = 16 * 1024
TIME_STEP_MAX_S: Final = 24 * 3600  # how far ahead of max(floor, clock) a signed time may raise the floor

_T = TypeVar("_T", Root, Timestamp, Snapshot, Targets)


class SignatureInvalid(Refused):
    """Metadata whose signature, structure or hash is not what the roles above it say."""

    cause = Cause.SIGNATURE_INVALID


class MetadataRollback(Refused):
    """Metadata that is older than what this device has already believed."""

    cause = Cause.METADATA_ROLLBACK


class MetadataExpired(Refused):
    """Metadata past its time. It stops installs; what runs keeps running."""

    cause = Cause.METADATA_EXPIRED


class WrongDevice(Refused):
    """A signed set, but for another device."""

    cause = Cause.WRONG_DEVICE


class WrongIncarnation(Refused):
    """A signed set for this device, but for another store of it."""

    cause = Cause.WRONG_INCARNATION


class MetadataMixed(NotYet):
    """The files do not belong together yet: published one after the other, so wait and try again."""

    cause = Cause.META_INCONSISTENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """The newest files of one repository that this device believes; empty bytes where it has none yet."""

    root: bytes
    timestamp: bytes = b""
    snapshot: bytes = b""
    targets: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """Both repositories. Written to the store as one file, so that a power cut leaves the old or the new."""

    image: Repository
    director: Repository


def first_trust(image_roots: Sequence[bytes], director_roots: Sequence[bytes], pins: tuple[Digest, Digest]) -> Trusted:
    """Return what a device believes after enrolment: the first roots that its claim token names, and all that follow.

    Raises:
        SignatureInvalid: a first root is not the pinned one, or a later root is not signed by the one before it.
    """
    chains = zip(("image", "director"), (image_roots, director_roots), pins, strict=True)
    repositories = []
    for name, roots, pin in chains:
        if not roots or digest_of(roots[0]) != pin:
            raise SignatureInvalid(f"the {name} repository's first root is not the one that the claim token names")
        _read(Root, roots[0], f"{name} root", ROOT_BYTES_MAX)
        _signed_by(roots[0], Root.type, roots[0], f"{name} root")
        repositories.append(update_root(Repository(root=roots[0]), name, roots[1:]))
    return Trusted(image=repositories[0], director=repositories[1])


def update_root(repository: Repository, name: str, roots: Sequence[bytes]) -> Repository:
    """Walk from the believed root over newer ones, each signed by the one before and by itself.

    Roots that are already believed are passed over, so a caller may hand in all that it has, oldest first.

    Raises:
        SignatureInvalid, MetadataRollback
    """
    current = _read(Root, repository.root, f"{name} root", ROOT_BYTES_MAX)
    for data in roots[:ROOT_STEPS_MAX]:
        candidate = _read(Root, data, f"{name} root", ROOT_BYTES_MAX)
        if candidate.signed.version <= current.signed.version:
            continue
        if candidate.signed.version != current.signed.version + 1:
            raise MetadataMixed(
                f"{name} root {current.signed.version + 1} is missing before {candidate.signed.version}"
            )
        for signer in (repository.root, data):
            _signed_by(signer, Root.type, data, f"{name} root {candidate.signed.version}")
        repository, current = replace(repository, root=data), candidate
    return repository


def root_version(repository: Repository) -> int:
    """Return the version of the believed root."""
    return _read(Root, repository.root, "root", ROOT_BYTES_MAX).signed.version


def update_director(
    trusted: Trusted, desired: Desired, *, device: DeviceId, incarnation: IncarnationId, now_s: float
) -> tuple[Trusted, AssignmentSet]:
    """Verify one ``desired`` message and return the new belief and what the director wants.

    ``now_s`` is max(time floor, clock).

    Raises:
        SignatureInvalid, MetadataRollback, MetadataExpired, WrongDevice, WrongIncarnation
    """
    targets = _delegated(trusted.director.root, Targets, desired.targets, "director targets").signed
    try:
        assignments = codec.from_plain(AssignmentSet, targets.unrecognized_fields.get(ASSIGNMENT_FIELD))
    except ContractError as error:
        raise SignatureInvalid(f"the director's targets carry no assignment set: {error}") from error
    # Before the versions: those of another device say nothing here, and this is what an operator has to know.
    if assignments.device != device:
        raise WrongDevice(f"this set is for {assignments.device}, this device is {device}")
    if assignments.incarnation not in (None, incarnation):
        raise WrongIncarnation("this set is for another store of this device; the server will send one for this store")
    files = {"snapshot": desired.snapshot, "targets": desired.targets}
    director = _refresh(trusted.director, "director", desired.timestamp, lambda role, _: files[role], now_s)
    for entry in assignments.entries:
        if entry.release is not None:
            _agrees(targets, entry, "director")
    return replace(trusted, director=director), assignments


def update_image(
    trusted: Trusted, timestamp: bytes, published: Mapping[tuple[str, int], bytes], *, now_s: float
) -> Trusted:
    """Verify the image repository's published files; ``published`` maps (role, version) to bytes.

    Raises:
        SignatureInvalid, MetadataRollback, MetadataExpired
        MetadataMixed: a file that the timestamp or snapshot names has not arrived yet.
    """

    def find(role: str, version: int) -> bytes:
        data = published.get((role, version))
        if data is None:
            raise MetadataMixed(f"image {role} {version} has not arrived yet")
        return data

    return replace(trusted, image=_refresh(trusted.image, "image", timestamp, find, now_s))


def read_release(trusted: Trusted, entry: Entry, data: bytes) -> Release:
    """Return the release of an entry if both repositories name exactly these bytes.

    Raises:
        SignatureInvalid: other bytes, or a release of another model.
        MetadataMixed: the image repository that this device has seen does not list it (yet).
    """
    if ReleaseId(digest_of(data)) != entry.release:
        raise SignatureInvalid(f"these are not the bytes of release {entry.release}")
    check_listed(trusted, entry)
    try:
        release = codec.from_json(Release, data)
    except ContractError as error:
        raise ReleaseInvalid(f"the release cannot be read: {error}") from error
    if release.model != entry.model:
        raise SignatureInvalid(f"the release is of model {release.model}, the assignment says {entry.model}")
    return release


class ReleaseInvalid(Refused):
    """A signed file that is no release; the fault of whoever signed it."""

    cause = Cause.RELEASE_INVALID


def check_listed(trusted: Trusted, entry: Entry) -> None:
    """Check that the image repository lists the entry's release.

    Raises:
        MetadataMixed: it does not, or this device has no image metadata yet.
        SignatureInvalid: it lists another length or hash.
    """
    if not trusted.image.targets:
        raise MetadataMixed("the image repository's metadata has not arrived yet")
    targets = _read(Targets, trusted.image.targets, "image targets", METADATA_BYTES_MAX).signed
    _agrees(targets, entry, "image")


UNIT: Final = "trusted"  # the name of the stored unit


def to_files(trusted: Trusted) -> dict[str, bytes]:
    """Return the belief as named files, to be stored as one unit."""
    sides = (("image", trusted.image), ("director", trusted.director))
    return {
        f"{name}.{field.name}": getattr(repository, field.name)
        for name, repository in sides
        for field in fields(Repository)
    }


def from_files(files: Mapping[str, bytes]) -> Trusted | None:
    """Return the belief that was stored; None where there is none yet."""
    if not files.get("image.root") or not files.get("director.root"):
        return None
    image, director = (
        Repository(**{field.name: files.get(f"{name}.{field.name}", b"") for field in fields(Repository)})
        for name in ("image", "director")
    )
    return Trusted(image=image, director=director)


def time_floor_after(floor_s: float, clock_s: float, signed_s: float) -> float:
    """Return the time floor after a verified signed time: it only grows, and not far ahead of what is known."""
    return max(floor_s, signed_s) if signed_s <= max(floor_s, clock_s) + TIME_STEP_MAX_S else floor_s


def _agrees(targets: Targets, entry: Entry, name: str) -> None:
    listed = None if entry.release is None else targets.targets.get(target_path(entry.model, entry.release))
    if listed is None:
        problem = f"the {name} repository does not list release {entry.release}"
        raise MetadataMixed(problem) if name == "image" else SignatureInvalid(problem)
    if listed.hashes.get("sha256") != entry.release or listed.length != entry.release_size_bytes:
        raise SignatureInvalid(f"the {name} repository lists release {entry.release} with another length or hash")
    if listed.length > RELEASE_BYTES_MAX:
        raise SignatureInvalid(f"release {entry.release} has {listed.length} bytes; the limit is {RELEASE_BYTES_MAX}")


def _refresh(
    old: Repository, name: str, timestamp: bytes, find: Callable[[str, int], bytes], now_s: float
) -> Repository:
    """Verify timestamp, snapshot and targets against the root and against what was believed before."""
    root = _read(Root, old.root, f"{name} root", ROOT_BYTES_MAX)
    stamp = _delegated(old.root, Timestamp, timestamp, f"{name} timestamp")
    if old.timestamp:
        believed = _read(Timestamp, old.timestamp, f"{name} timestamp", METADATA_BYTES_MAX)
        _not_older(f"{name} timestamp", stamp.signed.version, believed.signed.version)
        _not_older(f"{name} snapshot", stamp.signed.snapshot_meta.version, believed.signed.snapshot_meta.version)
        if stamp.signed.version == believed.signed.version and timestamp != old.timestamp:
            raise SignatureInvalid(f"{name} timestamp: version {stamp.signed.version} was signed twice, differently")
    snapshot_bytes = find(Snapshot.type, stamp.signed.snapshot_meta.version)
    _matches(stamp.signed.snapshot_meta, snapshot_bytes, f"{name} snapshot")
    shot = _delegated(old.root, Snapshot, snapshot_bytes, f"{name} snapshot")
    _same_version(f"{name} snapshot", shot.signed.version, stamp.signed.snapshot_meta.version)
    if old.snapshot:
        believed_meta = _read(Snapshot, old.snapshot, f"{name} snapshot", METADATA_BYTES_MAX).signed.meta
        for file, meta in believed_meta.items():
            if file not in shot.signed.meta:
                raise MetadataRollback(f"{name} snapshot no longer names {file}")
            _not_older(f"{name} {file}", shot.signed.meta[file].version, meta.version)
    targets_meta = shot.signed.meta.get("targets.json")
    if targets_meta is None:
        raise SignatureInvalid(f"{name} snapshot names no targets.json")
    targets_bytes = find(Targets.type, targets_meta.version)
    _matches(targets_meta, targets_bytes, f"{name} targets")
    aims = _delegated(old.root, Targets, targets_bytes, f"{name} targets")
    _same_version(f"{name} targets", aims.signed.version, targets_meta.version)
    everything: tuple[Signed, ...] = (root.signed, stamp.signed, shot.signed, aims.signed)
    for signed in everything:
        _not_expired(f"{name} {signed.type}", signed, now_s)
    return replace(old, timestamp=timestamp, snapshot=snapshot_bytes, targets=targets_bytes)


def _read(kind: type[_T], data: bytes, what: str, size_bytes_max: int) -> Metadata[_T]:
    if len(data) > size_bytes_max:
        raise SignatureInvalid(f"{what} has {len(data)} bytes; the limit is {size_bytes_max}")
    metadata: Metadata[Any]
    try:
        metadata = _metadata(data)
    except (RepositoryError, ValueError, RecursionError) as error:
        raise SignatureInvalid(f"{what} is not TUF metadata: {error}"[:200]) from error
    if not isinstance(metadata.signed, kind):
        raise SignatureInvalid(f"{what}: expected the type {kind.type}, found {metadata.signed.type}")
    return metadata


def _metadata(data: bytes) -> Metadata[Any]:
    return _parsed(data) if len(data) <= _REMEMBERED_BYTES_MAX else Metadata.from_bytes(data)


@lru_cache(maxsize=_REMEMBERED)
def _parsed(data: bytes) -> Metadata[Any]:
    """Read what is read again and again: the root with every set, what is believed with everything newer."""
    return Metadata.from_bytes(data)


def _delegated(root: bytes, kind: type[_T], data: bytes, what: str) -> Metadata[_T]:
    metadata = _read(kind, data, what, METADATA_BYTES_MAX)
    _signed_by(root, kind.type, data, what)
    return metadata


def _signed_by(root: bytes, role: str, data: bytes, what: str) -> None:
    try:
        (_verified if max(len(root), len(data)) <= _REMEMBERED_BYTES_MAX else _verify)(root, role, data)
    except (RepositoryError, ValueError) as error:
        raise SignatureInvalid(f"{what}: {error}"[:300]) from error


@lru_cache(maxsize=_REMEMBERED)
def _verified(root: bytes, role: str, data: bytes) -> None:
    """Remember what was signed as it should be; what was not is an error each time."""
    _verify(root, role, data)


def _verify(root: bytes, role: str, data: bytes) -> None:
    signer: Metadata[Root] = _metadata(root)
    metadata = _metadata(data)
    signer.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)


def _matches(meta: MetaFile, data: bytes, what: str) -> None:
    try:
        meta.verify_length_and_hashes(data)
    except RepositoryError as error:
        raise SignatureInvalid(f"{what} is not the file that was signed for: {error}"[:300]) from error


def _not_older(what: str, found: int, believed: int) -> None:
    if found < believed:
        raise MetadataRollback(f"{what} has version {found}; this device has already seen {believed}")


def _same_version(what: str, found: int, named: int) -> None:
    if found != named:
        raise SignatureInvalid(f"{what} has version {found}, the file above it names {named}")


def _not_expired(what: str, signed: Signed, now_s: float) -> None:
    if signed.is_expired(datetime.fromtimestamp(now_s, tz=UTC)):
        raise MetadataExpired(
            f"{what} expired at {signed.expires:%Y-%m-%d %H:%M} UTC; the server must sign anew, or this clock is wrong"
        )
