"""Both metadata repositories in memory, made with python-tuf's own classes: the language of the trust tests.

Every file is signed from plain values, so a test can make exactly the wrong one that it is about.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from pinnace_contract import codec
from pinnace_contract.desired import ASSIGNMENT_FIELD, Desired
from pinnace_contract.ids import ReleaseId, digest_of
from pinnace_contract.latest import AssignmentSet, Entry, Release

NOW_S = 1_800_000_000
ROLES = ("root", "timestamp", "snapshot", "targets")


def expires(now_s: float) -> datetime:
    return datetime.fromtimestamp(int(now_s), tz=UTC)


@dataclass
class Side:
    """One repository and its keys."""

    keys: dict[str, CryptoSigner] = field(
        default_factory=lambda: {role: CryptoSigner.generate_ed25519() for role in ROLES}
    )
    roots: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.add_root()

    def add_root(self, *, version: int | None = None, signers: list[CryptoSigner] | None = None) -> bytes:
        signed = Root(version=version or len(self.roots) + 1, expires=expires(NOW_S + 10**8))
        for role, signer in self.keys.items():
            signed.add_key(signer.public_key, role)
        metadata = Metadata(signed)
        for signer in signers or [self.keys["root"]]:
            metadata.sign(signer, append=True)
        self.roots.append(metadata.to_bytes())
        return self.roots[-1]

    def sealed(self, signed: Signed, *, role: str | None = None) -> bytes:
        metadata = Metadata(signed)
        metadata.sign(self.keys[role or signed.type])
        return metadata.to_bytes()

    def files(
        self,
        targets: dict[str, TargetFile],
        *,
        version: int = 1,
        fields: dict[str, Any] | None = None,
        expires_s: float = NOW_S + 1000,
        timestamp_version: int | None = None,
    ) -> tuple[bytes, bytes, bytes]:
        """Return timestamp, snapshot and targets of one version, by default all with the same number."""
        until = expires(expires_s)
        aims = self.sealed(Targets(version=version, expires=until, targets=targets, unrecognized_fields=fields))
        shot = self.sealed(Snapshot(version=version, expires=until, meta={"targets.json": meta(version, aims)}))
        stamp = self.sealed(
            Timestamp(version=timestamp_version or version, expires=until, snapshot_meta=meta(version, shot))
        )
        return stamp, shot, aims


def meta(version: int, data: bytes) -> MetaFile:
    return MetaFile(version=version, length=len(data), hashes={"sha256": digest_of(data)})


def target(release: Release) -> tuple[str, TargetFile]:
    data = codec.to_json(release)
    digest = digest_of(data)
    path = f"models/{release.model}/{digest}.json"
    return path, TargetFile(len(data), {"sha256": digest}, path)


def entry_for(release: Release, **fields: Any) -> Entry:
    data = codec.to_json(release)
    return Entry(
        model=release.model,
        release=ReleaseId(digest_of(data)),
        release_size_bytes=len(data),
        variants=tuple(variant.digest for variant in release.variants),
        **({"generation": 1} | fields),
    )


def desired(
    side: Side, assignments: AssignmentSet, releases: list[Release], *, version: int = 1, **options: Any
) -> Desired:
    fields = {ASSIGNMENT_FIELD: codec.plain(assignments)}
    stamp, shot, aims = side.files(dict(map(target, releases)), version=version, fields=fields, **options)
    return Desired(timestamp=stamp, snapshot=shot, targets=aims)
