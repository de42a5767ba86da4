"""Files smaller than they are, where a fleet's would not fit into memory: one byte stands for several.

Chunks are smaller by the same factor, so that there are as many of them and each takes its time on the line; a disk's
room and the server's pace are too. Messages that are no files keep their size.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pinnace_contract import codec
from pinnace_contract.errors import ContractError
from pinnace_contract.ids import Digest, ModelName, VersionName, digest_of
from pinnace_contract.latest import (
    CHUNK_BYTES_MAX,
    Baseline,
    Blob,
    Chunk,
    ConfidenceBaseline,
    Data,
    Datatype,
    Expectations,
    Golden,
    IoContract,
    Precision,
    Release,
    Requirements,
    TensorSpec,
    Tolerance,
    Variant,
)
from pinnace_contract.topics import Down, DownTopic, parse
from pinnace_server.service.wishes import Rates
from pinnace_sim.network import Message
from pinnace_sim.rehearsal.snapshot import FleetVersion
from pinnace_sim.temper import BELOW_SHARE

MEMORY_BYTES_MAX: Final = 384 * 1024 * 1024  # of the files on all disks of one world
COPIES: Final = 2  # what a device serves, and what comes
FACTOR_MAX: Final = 256  # chunks of 256 bytes; beyond, their headers would weigh too much
SMALLEST_BYTES: Final = 16
_CONFIDENCE: Final = ConfidenceBaseline(
    output="y", samples=1_000, threshold=0.6, share_below=BELOW_SHARE, bins=(0,) * 16
)
_BASELINE: Final = codec.to_json(Baseline(confidence=_CONFIDENCE))
"""What a twin promises of its own answers, so that gates have something to hold it against."""


def factor_for(devices: int, largest_bytes: int) -> int:
    """Return how many bytes one stands for: a power of two, 1 where everything fits."""
    factor = 1
    while factor < FACTOR_MAX and devices * COPIES * largest_bytes / factor > MEMORY_BYTES_MAX:
        factor *= 2
    return factor


def rates(factor: int, share: float) -> Rates:
    """Return the server's pace: of all devices together only the share that is played."""
    usual = Rates()
    return Rates(
        device_bytes_s=usual.device_bytes_s / factor,
        device_burst_bytes=usual.device_burst_bytes / factor,
        total_bytes_s=usual.total_bytes_s / factor * share,
        total_burst_bytes=usual.total_burst_bytes / factor,
    )


class Weights:
    """Says what a message weighs on the line."""

    def __init__(self, factor: int) -> None:
        self._factor = factor
        self._files: set[Digest] = set()

    def add(self, digest: Digest) -> None:
        """Let a file weigh more than it has bytes."""
        self._files.add(digest)

    def of(self, message: Message) -> int:
        """Return the bytes that a message stands for."""
        size = len(message.payload)
        if self._factor == 1 or message.qos != 0:
            return size
        topic = parse(message.topic)
        if not isinstance(topic, DownTopic) or topic.channel is not Down.DATA:
            return size
        try:
            data = Data.from_bytes(message.payload)
        except ContractError:  # damaged on the way
            return size
        return size + len(data.payload) * (self._factor - 1) if data.blob in self._files else size


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinDraft:
    """A version whose sizes are real and whose content is drawn: ``catalogue.Draft``."""

    variants: tuple[Variant, ...]
    golden: Golden
    baseline: Blob
    expectations: Expectations
    requirements: Requirements
    contents: Mapping[Digest, bytes]

    def release(
        self, *, model: ModelName, version: VersionName, sequence: int, epoch: int, created_at_s: int
    ) -> Release:
        """Return the release file's content."""
        return Release(
            model=model,
            version=version,
            sequence=sequence,
            epoch=epoch,
            created_at_s=created_at_s,
            contract=IoContract(
                inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 1)),),
                outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(-1, 1)),),
            ),
            variants=self.variants,
            golden=self.golden,
            baseline=self.baseline,
            expectations=self.expectations,
            requirements=self.requirements,
        )


def draft(version: FleetVersion, chance: random.Random, factor: int, *, is_served: bool = False) -> TwinDraft:
    """Return the twin of a version. One that ``is_served`` already comes in chunks as large as can be, and fits all."""
    chunk_bytes = CHUNK_BYTES_MAX if is_served else CHUNK_BYTES_MAX // factor
    contents: dict[Digest, bytes] = {}

    def kept(content: bytes) -> Blob:
        made = _cut(content, chunk_bytes)
        contents[made.digest] = content
        return made

    def blob(size_bytes: int) -> Blob:
        return kept(chance.randbytes(max(SMALLEST_BYTES, size_bytes // factor)))

    baseline = kept(_BASELINE)
    golden = blob(version.other_bytes - len(_BASELINE) * factor)
    variants = tuple(
        Variant(
            blob=blob(each.size_bytes),
            runtime=each.runtime,
            precision=_precision(each.precision),
            peak_memory_bytes=each.peak_memory_bytes,
        )
        for each in version.variants
    )
    kinds = dict.fromkeys((each.runtime, each.precision) for each in variants)
    tolerances = tuple(Tolerance(runtime=runtime, precision=precision) for runtime, precision in kinds)
    return TwinDraft(
        variants=variants,
        golden=Golden(blob=golden, vectors=8, tolerances=tolerances[:16]),
        baseline=baseline,
        expectations=version.expects,
        requirements=Requirements() if is_served else version.requires,
        contents=contents,
    )


def _cut(content: bytes, chunk_bytes: int) -> Blob:
    pieces = [content[at : at + chunk_bytes] for at in range(0, len(content), chunk_bytes)]
    return Blob(
        digest=digest_of(content),
        size_bytes=len(content),
        chunks=tuple(Chunk(digest=digest_of(piece), size_bytes=len(piece)) for piece in pieces),
    )


def _precision(word: str) -> Precision:
    return Precision(word) if word in {each.value for each in Precision} else Precision.FP32
