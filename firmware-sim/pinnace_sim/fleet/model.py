"""A model for fleets: a real ONNX file of a wanted size, drawn in a moment, and the draft that registers it.

The file is one fully connected layer, written here field by field because the simulator stands on no ONNX library; its
weights are random, so nothing on the way can make it smaller. No device runs it, so its golden vectors are drawn, too.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

import numpy as np

from pinnace_contract.ids import Digest, ModelName, VersionName, digest_of
from pinnace_contract.latest import Expectations, Precision, Processing, Requirements, Runtime
from pinnace_converters import chunks
from pinnace_converters.draft import Candidate, ConversionReport, Draft, Source
from pinnace_converters.jobs import Census
from pinnace_sim import catalogue
from pinnace_sim.catalogue import SimDraft

CLASSES: Final = 10
IR_VERSION: Final = 8
OPSET: Final = 17
_FLOAT: Final = 1
_ROWS_MIN: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Registrable:
    """A draft and the files that it names."""

    draft: Draft
    files: dict[Digest, bytes]
    model_bytes: int


def drawn(size_bytes: int, seed: int) -> Registrable:
    """Return a model whose file has about so many bytes."""
    rows = max(_ROWS_MIN, round((size_bytes - 200) / (4 * CLASSES)))
    numbers = np.random.default_rng(seed).standard_normal((rows, CLASSES)).astype("<f4")
    weights = onnx_layer(numbers)
    plain = catalogue.draft(random.Random(seed), 1, 0)
    made = SimDraft(epoch=0, weights=weights, golden=plain.golden, baseline=plain.baseline)
    release = made.release(model=ModelName("fleet"), version=VersionName("0"), sequence=1, epoch=0, created_at_s=0)
    source = Source(
        name="layer.onnx",
        digest=digest_of(weights),
        size_bytes=len(weights),
        runtime=Runtime.ONNX,
        census=Census(nodes=1, precision=Precision.FP32),
    )
    draft = Draft(
        contract=release.contract,
        processing=Processing(),
        variants=release.variants,
        golden=release.golden,
        baseline=chunks.cut(made.baseline),
        expectations=Expectations(),  # a fleet's devices differ in latency by design
        requirements=Requirements(),
        report=ConversionReport(
            source=source,
            candidates=(Candidate(name="onnx fp32", runtime=Runtime.ONNX, offered=True, precision=Precision.FP32),),
            calibration_rows=0,
            heldout_rows=0,
            held_out=False,
            seed=seed,
            notes=("drawn by pinnace-sim fleet",),
        ),
    )
    return Registrable(draft=draft, files=dict(made.contents), model_bytes=len(weights))


def onnx_layer(weights: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bytes:
    """Return an ONNX file that multiplies ``image`` ``[N, rows]`` with the weights into ``digit`` ``[N, columns]``."""
    rows, columns = weights.shape
    tensor = _number(1, rows) + _number(1, columns) + _number(2, _FLOAT) + _text(8, "weights")
    tensor += _bytes(9, weights.astype("<f4").tobytes())
    node = _text(1, "image") + _text(1, "weights") + _text(2, "digit") + _text(3, "layer") + _text(4, "MatMul")
    graph = _bytes(1, node) + _text(2, "fleet") + _bytes(5, tensor)
    graph += _bytes(11, _value("image", rows)) + _bytes(12, _value("digit", columns))
    opset = _text(1, "") + _number(2, OPSET)
    return _number(1, IR_VERSION) + _text(2, "pinnace-sim") + _bytes(7, graph) + _bytes(8, opset)


def _value(name: str, size: int) -> bytes:
    shape = _bytes(1, _text(2, "N")) + _bytes(1, _number(1, size))
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, _FLOAT) + _bytes(2, shape)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
