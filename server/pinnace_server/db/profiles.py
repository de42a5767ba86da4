"""What variants take on classes of hardware, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlmodel import Session

from pinnace_contract.ids import Digest, ReleaseId
from pinnace_server.db.rows import Rows
from pinnace_server.db.tables import VariantProfileRow
from pinnace_server.domain.variants import ProfileSource, VariantProfile

_PROFILES: Final = Rows(VariantProfileRow)


class SqlProfiles:
    """``ports.Profiles``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(
        self, release: ReleaseId, variant: Digest, hardware: str, runtime: str, source: ProfileSource
    ) -> VariantProfile | None:
        row = _PROFILES.get(self._session, release, variant, hardware, runtime, source.value)
        return _profile(row) if row else None

    def of_release(self, release: ReleaseId) -> Sequence[VariantProfile]:
        rows = _PROFILES.where(self._session, "release = ? ORDER BY variant, hardware, runtime, source", release)
        return [_profile(row) for row in rows]

    def save(self, profile: VariantProfile) -> None:
        _PROFILES.put(
            self._session,
            release=profile.release,
            variant=profile.variant,
            hardware=profile.hardware,
            runtime=profile.runtime,
            source=profile.source.value,
            p50_ms=profile.p50_ms,
            p95_ms=profile.p95_ms,
            peak_memory_bytes=profile.peak_memory_bytes,
            inferences=profile.inferences,
            results=profile.results,
            at_s=profile.at_s,
        )


def _profile(row: VariantProfileRow) -> VariantProfile:
    return VariantProfile(
        release=ReleaseId(row.release),
        variant=Digest(row.variant),
        hardware=row.hardware,
        runtime=row.runtime,
        source=ProfileSource(row.source),
        p50_ms=row.p50_ms,
        p95_ms=row.p95_ms,
        peak_memory_bytes=row.peak_memory_bytes,
        inferences=row.inferences,
        results=row.results,
        at_s=row.at_s,
    )
