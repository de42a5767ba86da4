"""Whether a release is signed, in the console's words; the signer checks it with the repository's own metadata."""

from __future__ import annotations

from pinnace_contract.ids import ModelName, ReleaseId
from pinnace_contract.latest import TrustLevel
from pinnace_server.console import shown
from pinnace_server.service.ports import Signing

# Which keys stand behind a model is one level for all, until the trust levels of models are declared.
TRUST = TrustLevel.DEV


def signature(signing: Signing, model: ModelName, release: ReleaseId) -> shown.Signature:
    """Return who stands behind a release."""
    found = signing.listed(model, release)
    return shown.Signature(state=found.state, keys=found.keys, trust=TRUST, expires_at=found.expires_at)
