"""What the signing tests share: a clock that is moved by hand, releases, assignment sets, and TUF's own verifier."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from pinnace_contract import codec
from pinnace_contract.desired import Desired
from pinnace_contract.ids import DeviceId, ReleaseId, VersionName, digest_of
from pinnace_contract.latest import AssignmentSet, Endpoint, Entry
from pinnace_contract.topics import MetadataTopic, TimestampTopic
from pinnace_server.signing.local import LocalSigning
from tests.contract.examples import INCARNATION, MODEL, RELEASE

START_S = 1_795_000_000.0
DEVICE = DeviceId("line-1-camera-07")


@dataclass(slots=True)
class HandClock:
    """Seconds since 1970, moved by the test."""

    now_s: float = START_S

    def __call__(self) -> float:
        return self.now_s


def release_file(version: str) -> bytes:
    return codec.to_json(replace(RELEASE, version=VersionName(version)))


def release_id(version: str) -> ReleaseId:
    return ReleaseId(digest_of(release_file(version)))


def assignment(
    generation: int, version: str = "1.0", device: DeviceId = DEVICE, url: str = "mqtt://10.0.0.1:1883"
) -> AssignmentSet:
    return AssignmentSet(
        device=device,
        incarnation=INCARNATION,
        generation=generation,
        issued_at_s=int(START_S),
        entries=(
            Entry(
                model=MODEL,
                generation=generation,
                release=release_id(version),
                release_size_bytes=len(release_file(version)),
                variants=(RELEASE.variants[0].digest, digest_of(b"another variant")),
            ),
        ),
        endpoints=(Endpoint(url=url),),
    )


def issue(signing: LocalSigning, assignments: AssignmentSet) -> Desired:
    releases = {release_id(version): release_file(version) for version in ("1.0", "2.0")}
    return Desired.from_bytes(signing.desired(assignments, releases))


def open_signing(folder: Path, clock: HandClock) -> LocalSigning:
    return LocalSigning.open(folder, clock)


def trusted(root: bytes, now_s: float) -> TrustedMetadataSet:
    verifier = TrustedMetadataSet(root, EnvelopeType.METADATA)
    verifier.reference_time = datetime.fromtimestamp(now_s, tz=UTC)
    return verifier


def verify_desired(root: bytes, desired: Desired, now_s: float) -> TrustedMetadataSet:
    verifier = trusted(root, now_s)
    verifier.update_timestamp(desired.timestamp)
    verifier.update_snapshot(desired.snapshot)
    verifier.update_targets(desired.targets)
    return verifier


def verify_image(signing: LocalSigning, now_s: float) -> TrustedMetadataSet:
    """Walk the retained messages as a device does: each file under the version that the one before names."""
    retained = dict(signing.image_metadata())
    verifier = trusted(signing.image_roots()[0], now_s)
    timestamp = verifier.update_timestamp(retained[TimestampTopic()])
    snapshot = verifier.update_snapshot(
        retained[MetadataTopic(role="snapshot", version=timestamp.snapshot_meta.version)]
    )
    verifier.update_targets(retained[MetadataTopic(role="targets", version=snapshot.meta["targets.json"].version)])
    return verifier
