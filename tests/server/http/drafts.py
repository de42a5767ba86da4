"""A draft file such as the converter writes."""

from __future__ import annotations

from pinnace_contract import ids
from pinnace_contract.ids import VersionName
from pinnace_contract.latest import Expectations, Precision, Processing, Requirements, Runtime
from pinnace_converters import chunks
from pinnace_converters.draft import Candidate, ConversionReport, Draft, Source
from pinnace_converters.jobs import Census
from tests.server.world import MODEL, MadeDraft


def draft_file(made: MadeDraft) -> bytes:
    """Return ``draft.json`` of a made draft."""
    release = made.release(model=MODEL, version=VersionName("0"), sequence=1, epoch=0, created_at_s=0)
    source = Source(
        name="model.onnx",
        digest=ids.digest_of(b""),
        size_bytes=1,
        runtime=Runtime.ONNX,
        census=Census(nodes=1, precision=Precision.FP32),
    )
    draft = Draft(
        contract=release.contract,
        processing=Processing(),
        variants=release.variants,
        golden=release.golden,
        baseline=chunks.cut(made.baseline),
        expectations=Expectations(),
        requirements=Requirements(),
        report=ConversionReport(
            source=source,
            candidates=(Candidate(name="onnx fp32", runtime=Runtime.ONNX, offered=True, precision=Precision.FP32),),
            calibration_rows=8,
            heldout_rows=8,
            held_out=True,
        ),
    )
    return draft.to_json()
