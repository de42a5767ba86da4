"""Tries one candidate: builds it or takes it ready, measures it, judges it. A failure refuses it and nothing else."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pinnace_contract.ids import digest_of
from pinnace_contract.latest import PassRecord, Precision, Runtime, Tolerance, Variant
from pinnace_converters import chunks, data, gates, jobs, parity, sandbox, vectors
from pinnace_converters.draft import Candidate
from pinnace_converters.errors import ConversionError, ModelRefused
from pinnace_converters.given import Given
from pinnace_converters.jobs import Built, Census, Inspected, Measured
from pinnace_converters.progress import Steps
from pinnace_runtime.arrays import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The source as it was found, its answers to the held-out rows, and the rows that become golden vectors."""

    found: Inspected
    answers: dict[str, Array]
    accuracy: float | None
    chosen: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A candidate: a precision to build, or a ready file, whose precision its tensors will tell."""

    name: str
    runtime: Runtime
    precision: Precision | None = None
    content: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A variant with its bytes and answers, and how far a device may be from the golden vectors with it."""

    variant: Variant
    content: bytes
    answers: dict[str, Array]
    tolerance: Tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What became of a candidate."""

    candidate: Candidate
    offered: Offered | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    content: bytes
    records: tuple[PassRecord, ...]
    census: Census | None


def wanted(given: Given, census: Census) -> list[Wanted]:
    """Return what to try, in the order of the report."""
    if given.runtime is Runtime.TFLITE:
        return [Wanted(name=given.name, runtime=Runtime.TFLITE, content=given.content)]
    # A source that is int8 or fp16 already is cleaned up and offered as what it is.
    precisions = given.options.precisions if census.precision is Precision.FP32 else (census.precision,)
    built = [Wanted(name=f"onnx {each}", runtime=Runtime.ONNX, precision=each) for each in dict.fromkeys(precisions)]
    ready = [Wanted(name=each.name, runtime=Runtime.TFLITE, content=each.content) for each in given.ready]
    return built + ready


def attempt(want: Wanted, given: Given, reference: Reference, steps: Steps) -> Tried:
    """Try one candidate."""
    try:
        made = _made(want, given, reference, steps)
        measured, answers = _measure(want, made.content, given, reference, steps)
    except ConversionError as error:
        return Tried(candidate=_refused(want, str(error)))
    census = measured.census or made.census
    if census is None:
        return Tried(candidate=_refused(want, "nobody counted its tensors"))
    return _judged(want, made, measured, answers, census, given, reference)


def _made(want: Wanted, given: Given, reference: Reference, steps: Steps) -> _Made:
    if want.content is not None:
        digest = digest_of(want.content)
        record = PassRecord(name="as-it-is", parameters=want.name, input=digest, output=digest)
        return _Made(content=want.content, records=(record,), census=None)
    assert want.precision is not None, "what is not ready has a precision to build"
    tick = steps.begin(f"build {want.name}")
    job = jobs.Build(
        precision=want.precision,
        keep_precision=reference.found.census.precision is not Precision.FP32,
        contract=reference.found.contract,
        processing=given.options.declaration.processing,
        assets=given.asset_names,
    )
    work = sandbox.Work(
        name=f"build {want.name}",
        job=job,
        files=given.files({jobs.CALIBRATION: data.as_bytes(given.rows.calibration)}),
        wanted={jobs.VARIANT: chunks.BLOB_BYTES_MAX},
    )
    built, files = sandbox.run(work, Built, given.options.limits, tick)
    return _Made(content=files[jobs.VARIANT], records=built.records, census=built.census)


def _measure(
    want: Wanted, content: bytes, given: Given, reference: Reference, steps: Steps
) -> tuple[Measured, dict[str, Array]]:
    tick = steps.begin(f"measure {want.name}")
    job = jobs.Measure(
        runtime=want.runtime,
        source_runtime=given.runtime,
        source_inputs=reference.found.inputs,
        source_outputs=reference.found.outputs,
        contract=reference.found.contract,
        processing=given.options.declaration.processing,
        assets=given.asset_names,
    )
    work = sandbox.Work(
        name=f"measure {want.name}",
        job=job,
        files=given.files({jobs.VARIANT: content, jobs.HELDOUT: data.as_bytes(given.rows.heldout)}),
        wanted={jobs.ANSWERS: data.DATA_BYTES_MAX},
    )
    measured, files = sandbox.run(work, Measured, given.options.limits, tick)
    return measured, answers_of(files[jobs.ANSWERS], reference.found, given.rows.heldout.count)


def answers_of(content: bytes, found: Inspected, rows: int) -> dict[str, Array]:
    """Read the answers that a child left: one row for each row asked, under the contract's names.

    Raises:
        ModelRefused: they are not that.
    """
    answers = data.from_bytes(content)
    names = {spec.name for spec in found.contract.outputs}
    if set(answers) != names or any(array.ndim == 0 or len(array) != rows for array in answers.values()):
        raise ModelRefused(f"expected {rows} rows of the outputs {sorted(names)}, found {sorted(answers)}")
    return answers


def _judged(
    want: Wanted,
    made: _Made,
    measured: Measured,
    answers: dict[str, Array],
    census: Census,
    given: Given,
    reference: Reference,
) -> Tried:
    rows, options = given.rows, given.options
    compared = parity.compare(reference.found.contract, reference.answers, answers, rows.heldout.labels, rows.held_out)
    evidence = gates.Evidence(
        precision=census.precision,
        parity=compared.parity,
        problems=compared.problems,
        source_accuracy=reference.accuracy,
        size_bytes=len(made.content),
        source_size_bytes=len(given.content),
        speedup=measured.speedup,
        same_runtime=want.runtime is given.runtime,
        source_precision=reference.found.census.precision,
        is_source=made.content == given.content,
    )
    policy = gates.Policy(agreement_min=options.agreement_min, accuracy_loss_max=options.accuracy_loss_max)
    refusals = gates.judge(evidence, policy)
    forced = bool(refusals and options.force and all(each.can_be_forced for each in refusals))
    found = dataclasses.replace(compared.parity, forced=options.force if forced else "")
    variant = Variant(
        blob=chunks.cut(made.content),
        runtime=want.runtime,
        precision=census.precision,
        peak_memory_bytes=measured.peak_memory_bytes,
        runtime_version=measured.runtime_version,
        inputs=measured.inputs,
        outputs=measured.outputs,
        parity=found,
        provenance=made.records,
    )
    candidate = Candidate(
        name=want.name,
        runtime=want.runtime,
        offered=forced or not refusals,
        precision=census.precision,
        variant=variant.digest,
        size_bytes=len(made.content),
        parity=found,
        timing=measured.timing,
        source_timing=measured.source_timing,
        speedup=round(measured.speedup, 3),
        census=census,
        reasons=tuple(each.reason for each in refusals),
    )
    if not candidate.offered:
        return Tried(candidate=candidate)
    tolerance = vectors.tolerance(
        variant.runtime, variant.precision, reference.answers, answers, reference.chosen, forced
    )
    return Tried(
        candidate=candidate,
        offered=Offered(variant=variant, content=made.content, answers=answers, tolerance=tolerance),
    )


def _refused(want: Wanted, reason: str) -> Candidate:
    return Candidate(
        name=want.name, runtime=want.runtime, offered=False, precision=want.precision, reasons=(reason[:2048],)
    )
