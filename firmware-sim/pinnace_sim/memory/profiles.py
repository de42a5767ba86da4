"""What variants take on classes of hardware, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from pinnace_contract.ids import Digest, ReleaseId
from pinnace_server.domain.variants import ProfileSource, VariantProfile
from pinnace_sim.memory.tables import Disk


class MemoryProfiles:
    """``ports.Profiles``."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def get(
        self, release: ReleaseId, variant: Digest, hardware: str, runtime: str, source: ProfileSource
    ) -> VariantProfile | None:
        return self._disk.profiles.get(release, {}).get((variant, hardware, runtime, source))

    def of_release(self, release: ReleaseId) -> Sequence[VariantProfile]:
        rows = self._disk.profiles.get(release, {})
        return [rows[key] for key in sorted(rows)]

    def save(self, profile: VariantProfile) -> None:
        rows = self._disk.profiles.get(profile.release)
        if rows is None:
            self._disk.undo.put(self._disk.profiles, profile.release, rows := {})
        key = (profile.variant, profile.hardware, profile.runtime, profile.source)
        self._disk.undo.put(rows, key, profile)
