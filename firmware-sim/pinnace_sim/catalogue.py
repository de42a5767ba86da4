"""Versions for simulated servers: releases whose weights are bytes of a seed, small and of the right form."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from pinnace_contract import codec
from pinnace_contract.ids import Digest, ModelName, VersionName, digest_of
from pinnace_contract.latest import (
    P95,
    Baseline,
    ConfidenceBaseline,
    Datatype,
    Expectations,
    Golden,
    IoContract,
    Precision,
    Release,
    Runtime,
    TensorSpec,
    Tolerance,
    Variant,
)
from pinnace_converters import chunks
from pinnace_sim.runtime import PEAK_BYTES
from pinnace_sim.temper import BELOW_SHARE, LATENCY_S

P95_MS_MAX = LATENCY_S * 1000 * 10  # what is slow is ten times slower still
ERROR_RATE_MAX = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class SimDraft:
    """What a converter would have handed over: ``catalogue.Draft``. ``contents`` are its files."""

    epoch: int
    weights: bytes
    golden: bytes
    baseline: bytes

    @property
    def contents(self) -> Mapping[Digest, bytes]:
        """Every file by its digest."""
        return {digest_of(each): each for each in (self.weights, self.golden, self.baseline)}

    def release(
        self, *, model: ModelName, version: VersionName, sequence: int, epoch: int, created_at_s: int
    ) -> Release:
        """Return the release file's content."""
        variant = Variant(
            blob=chunks.cut(self.weights),
            runtime=Runtime.ONNX,
            precision=Precision.FP32,
            peak_memory_bytes=PEAK_BYTES,
        )
        tolerance = Tolerance(runtime=Runtime.ONNX, precision=Precision.FP32, max_abs=0.1)
        return Release(
            model=model,
            version=version,
            sequence=sequence,
            epoch=max(epoch, self.epoch),
            created_at_s=created_at_s,
            contract=IoContract(
                inputs=(TensorSpec(name="image", datatype=Datatype.FP32, shape=(-1, 64)),),
                outputs=(TensorSpec(name="digit", datatype=Datatype.FP32, shape=(-1, 10)),),
            ),
            variants=(variant,),
            golden=Golden(blob=chunks.cut(self.golden), vectors=8, tolerances=(tolerance,)),
            baseline=chunks.cut(self.baseline),
            expectations=Expectations(error_rate_max=ERROR_RATE_MAX, p95=(P95(hardware="*", p95_ms=P95_MS_MAX),)),
        )


def draft(chance: random.Random, weights_bytes: int, epoch: int) -> SimDraft:
    """Return a draft whose files are drawn."""
    confidence = ConfidenceBaseline(
        output="digit", samples=1000, threshold=0.6, share_below=BELOW_SHARE, bins=(0,) * 16
    )
    return SimDraft(
        epoch=epoch,
        weights=chance.randbytes(weights_bytes),
        golden=chance.randbytes(1_000),
        baseline=codec.to_json(Baseline(confidence=confidence)),
    )
