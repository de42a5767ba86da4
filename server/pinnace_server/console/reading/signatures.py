"""Whether a release is signed: checked here with the repository's own metadata, not taken from a database row."""

from __future__ import annotations

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets

from pinnace_contract.desired import target_path
from pinnace_contract.ids import ModelName, ReleaseId
from pinnace_contract.latest import TrustLevel
from pinnace_contract.topics import MetadataTopic
from pinnace_server.console import shown
from pinnace_server.service.ports import Signing

# Which keys stand behind a model is one level for all, until the trust levels of models are declared.
TRUST = TrustLevel.DEV


def signature(signing: Signing, model: ModelName, release: ReleaseId) -> shown.Signature:
    """Check that the newest targets of the image repository are signed by its newest root and name this release."""
    try:
        root = Metadata[Root].from_bytes(signing.image_roots()[-1])
        targets = _newest_targets(signing)
        if targets is None:
            return shown.Signature(state="unsigned", keys=(), trust=TRUST)
        root.signed.verify_delegate(Targets.type, targets.signed_bytes, targets.signatures)
    except RepositoryError:
        return shown.Signature(state="invalid", keys=(), trust=TRUST)
    listed = targets.signed.targets.get(target_path(model, release))
    if listed is None or listed.hashes.get("sha256") != release:
        return shown.Signature(state="unsigned", keys=(), trust=TRUST)
    keys = tuple(keyid for keyid in root.signed.roles[Targets.type].keyids if keyid in targets.signatures)
    return shown.Signature(state="verified", keys=keys, trust=TRUST, expires_at=targets.signed.expires)


def _newest_targets(signing: Signing) -> Metadata[Targets] | None:
    found = [
        (topic.version, payload)
        for topic, payload in signing.image_metadata()
        if isinstance(topic, MetadataTopic) and topic.role == Targets.type and payload
    ]
    return Metadata[Targets].from_bytes(max(found)[1]) if found else None
