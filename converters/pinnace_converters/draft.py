"""A release to be: everything but its name, number and date; and the report of what was tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from pinnace_contract import codec
from pinnace_contract.fields import count, limited
from pinnace_contract.ids import Digest, ModelName, VersionName
from pinnace_contract.latest import (
    Asset,
    Blob,
    Expectations,
    Golden,
    IoContract,
    Parity,
    Precision,
    Processing,
    Release,
    Requirements,
    Runtime,
    Variant,
)
from pinnace_converters.jobs import Census, Timing
from pinnace_converters.tools import Tool

DRAFT_FILE: Final = "draft.json"
BLOBS_FOLDER: Final = "blobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One variant that was tried. ``reasons`` are against it; offered all the same, it was forced.

    ``precision`` and ``variant`` (its digest) are None where it did not get so far.
    """

    name: str = limited(chars=256)
    runtime: Runtime
    offered: bool
    precision: Precision | None = None
    variant: Digest | None = None
    size_bytes: int = count(0)
    parity: Parity | None = None
    timing: Timing | None = None
    source_timing: Timing | None = None
    speedup: float | None = count(None)
    census: Census | None = None
    reasons: tuple[str, ...] = limited((), largest=32, chars=2048)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The file that was handed in."""

    name: str = limited(chars=256)
    digest: Digest
    size_bytes: int = count()
    runtime: Runtime
    census: Census
    accuracy: float | None = limited(None, smallest=0, largest=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionReport:
    """What was tried on which data, with which tools, and what became of it. Latencies were measured where the
    conversion ran. Reports of before tools were recorded name none.
    """

    source: Source
    candidates: tuple[Candidate, ...] = limited(largest=32)
    calibration_rows: int = count()
    heldout_rows: int = count()
    held_out: bool
    seed: int = count(0)
    force: str = limited("", chars=512)
    notes: tuple[str, ...] = limited((), largest=32, chars=512)
    tools: tuple[Tool, ...] = limited((), largest=32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The contract's parts of a release, by digest; the blobs lie beside it."""

    KIND: ClassVar[str] = "draft"
    BYTES_MAX: ClassVar[int] = 1024 * 1024

    contract: IoContract
    processing: Processing
    variants: tuple[Variant, ...] = limited(largest=32, smallest=1)
    assets: tuple[Asset, ...] = limited((), largest=64)
    golden: Golden
    baseline: Blob
    expectations: Expectations
    requirements: Requirements
    report: ConversionReport

    def release(
        self,
        *,
        model: ModelName,
        version: VersionName,
        sequence: int,
        created_at_s: int,
        epoch: int = 0,
    ) -> Release:
        """Return the release of this draft under a name."""
        return Release(
            model=model,
            version=version,
            sequence=sequence,
            epoch=epoch,
            created_at_s=created_at_s,
            contract=self.contract,
            processing=self.processing,
            variants=self.variants,
            assets=self.assets,
            golden=self.golden,
            baseline=self.baseline,
            expectations=self.expectations,
            requirements=self.requirements,
        )

    def blobs(self) -> tuple[Blob, ...]:
        """Return every blob of the draft once."""
        every = [self.golden.blob, self.baseline, *(asset.blob for asset in self.assets)]
        every += [variant.blob for variant in self.variants]
        return tuple({blob.digest: blob for blob in every}.values())

    def to_json(self) -> bytes:
        """Return what ``draft.json`` holds."""
        return codec.to_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> Draft:
        """Read ``draft.json``.

        Raises:
            ContractError: not a draft.
        """
        return codec.from_json(cls, data)
