"""TUF metadata as signed bytes: values in, one signed file out. Versions, times and keys are the caller's.

Files refer to each other by length and hash as well as by version: every device's director files are signed with the
same keys, so a version alone would let a hostile broker pair one device's timestamp with another's snapshot.
Source: The Update Framework specification 1.0.31, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, T, TargetFile, Targets, Timestamp
from tuf.api.serialization import SerializationError

from pinnace_contract.ids import Digest, digest_of
from pinnace_server.signing.errors import NotSignable

DAY_S: Final = 86_400
ROOT_LIFE_S: Final = 5 * 365 * DAY_S
IMAGE_LIFE_S: Final = 365 * DAY_S
DIRECTOR_LIFE_S: Final = 365 * DAY_S  # snapshot and targets, renewed with a quarter left
DIRECTOR_TIMESTAMP_LIFE_S: Final = 7 * DAY_S  # what freezes a device's installs when the director falls silent
VERSIONS_AN_ERA: Final = 2**20  # of one file: a server signs one a day, and one for each change
RENEWAL_LEFT: Final = 0.25  # share of a file's life that is left when it is signed anew


def root(*, version: int, signers: Mapping[str, CryptoSigner], now_s: float) -> bytes:
    """Return a root that gives each role the one key of its signer, consistent snapshots on."""
    signed = Root(version=version, expires=_expires(now_s, ROOT_LIFE_S), consistent_snapshot=True)
    for role, signer in signers.items():
        signed.add_key(signer.public_key, role)
    return _sealed(signed, signers[Root.type])


def targets(
    *,
    version: int,
    files: Mapping[str, tuple[int, Digest]],
    signer: CryptoSigner,
    now_s: float,
    life_s: int,
    fields: dict[str, Any] | None = None,
) -> bytes:
    """Return targets listing ``files`` (path to length and digest), with ``fields`` under the same signature."""
    listed = {path: TargetFile(length, {"sha256": digest}, path) for path, (length, digest) in files.items()}
    signed = Targets(version=version, expires=_expires(now_s, life_s), targets=listed, unrecognized_fields=fields)
    return _sealed(signed, signer)


def snapshot(
    *, version: int, targets_version: int, targets: bytes, signer: CryptoSigner, now_s: float, life_s: int
) -> bytes:
    """Return a snapshot of one targets file."""
    meta = {"targets.json": _file(targets_version, targets)}
    return _sealed(Snapshot(version=version, expires=_expires(now_s, life_s), meta=meta), signer)


def timestamp(
    *, version: int, snapshot_version: int, snapshot: bytes, signer: CryptoSigner, now_s: float, life_s: int
) -> bytes:
    """Return a timestamp for one snapshot."""
    meta = _file(snapshot_version, snapshot)
    return _sealed(Timestamp(version=version, expires=_expires(now_s, life_s), snapshot_meta=meta), signer)


def read_targets(data: bytes) -> Targets:
    """Read back targets that this program signed; the store has checked that they are the bytes it wrote."""
    return Metadata[Targets].from_bytes(data).signed


def read_root(data: bytes) -> Root:
    """Read back a root that this program signed."""
    return Metadata[Root].from_bytes(data).signed


def renewal_due(signed_at_s: float, life_s: int, now_s: float) -> bool:
    """Tell whether a file has less of its life left than ``RENEWAL_LEFT``."""
    return now_s - signed_at_s >= life_s * (1 - RENEWAL_LEFT)


def next_version(last: int, era: int) -> int:
    """Return the version after ``last``: above all that were signed before the era began, known here or not."""
    return max(last, era * VERSIONS_AN_ERA) + 1


def _file(version: int, data: bytes) -> MetaFile:
    return MetaFile(version=version, length=len(data), hashes={"sha256": digest_of(data)})


def _expires(now_s: float, life_s: int) -> datetime:
    return datetime.fromtimestamp(int(now_s) + life_s, tz=UTC)


def _sealed(signed: T, signer: CryptoSigner) -> bytes:
    metadata = Metadata(signed)
    try:
        metadata.sign(signer)
    except SerializationError as error:
        raise NotSignable(signed.type) from error
    return metadata.to_bytes()
