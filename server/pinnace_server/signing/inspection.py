"""Whether a release is signed for: checked with the repository's own metadata, not taken from a database row."""

from __future__ import annotations

from collections.abc import Iterable

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets

from pinnace_contract.desired import target_path
from pinnace_contract.ids import ModelName, ReleaseId
from pinnace_contract.topics import MetadataTopic, Topic
from pinnace_server.service.ports import Listed, SignatureState

UNSIGNED = Listed(state=SignatureState.UNSIGNED)


def listed(
    roots: tuple[bytes, ...], retained: Iterable[tuple[Topic, bytes]], model: ModelName, release: ReleaseId
) -> Listed:
    """Check that the newest targets of the image repository are signed by its newest root and name this release."""
    try:
        root = Metadata[Root].from_bytes(roots[-1])
        targets = _newest_targets(retained)
        if targets is None:
            return UNSIGNED
        root.signed.verify_delegate(Targets.type, targets.signed_bytes, targets.signatures)
    except RepositoryError:
        return Listed(state=SignatureState.INVALID)
    found = targets.signed.targets.get(target_path(model, release))
    if found is None or found.hashes.get("sha256") != release:
        return UNSIGNED
    keys = tuple(keyid for keyid in root.signed.roles[Targets.type].keyids if keyid in targets.signatures)
    return Listed(state=SignatureState.VERIFIED, keys=keys, expires_at=targets.signed.expires)


def _newest_targets(retained: Iterable[tuple[Topic, bytes]]) -> Metadata[Targets] | None:
    found = [
        (topic.version, payload)
        for topic, payload in retained
        if isinstance(topic, MetadataTopic) and topic.role == Targets.type and payload
    ]
    return Metadata[Targets].from_bytes(max(found)[1]) if found else None
