"""Golden vectors: recorded raw inputs with the answers of the source model, asked again on this device.

Owns the file's names (``input:NAME``, ``output:NAME``; the first axis counts vectors), how far two answers are apart,
and the verdict. Making the vectors is the converters' part.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from pinnace_contract.latest import Golden, GoldenResult, Tolerance, Variant
from pinnace_runtime import array_file
from pinnace_runtime.arrays import Array
from pinnace_runtime.errors import ArraysInvalid, ContractMismatch
from pinnace_runtime.pipeline import Pipeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

GOLDEN_BYTES_MAX: Final = 64 * 1024 * 1024  # sixteen images of a megapixel as float32 with room to spare
VECTORS_MAX: Final = 1024
INPUT: Final = "input:"
OUTPUT: Final = "output:"

MARGIN_MIN: Final = 0.1  # of the range of the reference's values: below it the reference itself was nearly undecided
SNR_DB_LIMIT: Final = 200.0  # beyond what doubles can tell: stands for "no error", and negated for "not a number"
_KIND_ANSWERS: Final = ("INT32", "INT64", "UINT32", "UINT64", "BOOL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """Golden vectors as arrays; every array has the same first axis."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far one answer is from its reference. ``None``: this number says nothing about this pair."""

    max_abs: float | None = None
    snr_db: float | None = None
    agrees: bool | None = None


def read(npz_bytes: bytes) -> Vectors:
    """Read golden vectors.

    Raises:
        ArraysInvalid: no such file, or not these names and sizes.
    """
    arrays = array_file.read(npz_bytes, size_bytes_max=GOLDEN_BYTES_MAX)
    inputs = {name.removeprefix(INPUT): array for name, array in arrays.items() if name.startswith(INPUT)}
    outputs = {name.removeprefix(OUTPUT): array for name, array in arrays.items() if name.startswith(OUTPUT)}
    if not inputs or not outputs or len(inputs) + len(outputs) != len(arrays):
        raise ArraysInvalid(f"expected arrays {INPUT}NAME and {OUTPUT}NAME, found {sorted(arrays)}")
    counts = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
    if len(counts) != 1 or not 1 <= max(counts) <= VECTORS_MAX:
        raise ArraysInvalid(f"expected 1 to {VECTORS_MAX} vectors, as many in every array, found {sorted(counts)}")
    return Vectors(inputs=inputs, outputs=outputs, count=counts.pop())


def write(inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> bytes:
    """Return the file of these vectors."""
    named = {INPUT + name: array for name, array in inputs.items()}
    return array_file.write(named | {OUTPUT + name: array for name, array in outputs.items()})


def tolerance_for(golden: Golden, variant: Variant) -> Tolerance:
    """Return how far this variant may answer from the reference.

    Raises:
        ContractMismatch: the release does not say.
    """
    for tolerance in golden.tolerances:
        if (tolerance.runtime, tolerance.precision) == (variant.runtime, variant.precision):
            return tolerance
    raise ContractMismatch(f"the release has no golden tolerance for {variant.runtime} {variant.precision}")


def check(pipeline: Pipeline, npz_bytes: bytes, tolerance: Tolerance) -> GoldenResult:
    """Ask every vector, one at a time as applications do, and compare.

    Raises:
        ArraysInvalid: the file is no golden file.
        InferenceError: the model or the release failed on a vector.
    """
    vectors = read(npz_bytes)
    differences = [difference for i in range(vectors.count) for difference in _compared(pipeline, vectors, i)]
    return judge(differences, vectors.count, tolerance)


def judge(differences: list[Difference], vectors: int, tolerance: Tolerance) -> GoldenResult:
    """Return the worst of each number and whether all are within the tolerance."""
    max_abs = max((each.max_abs for each in differences if each.max_abs is not None), default=None)
    snr_db = min((each.snr_db for each in differences if each.snr_db is not None), default=None)
    votes = [each.agrees for each in differences if each.agrees is not None]
    agreement = sum(votes) / len(votes) if votes else None
    passed = (
        _at_most(max_abs, tolerance.max_abs)
        and _at_least(snr_db, tolerance.snr_db_min)
        and _at_least(agreement, tolerance.agreement_min)
    )
    return GoldenResult(vectors=vectors, passed=passed, max_abs=max_abs, snr_db=snr_db, agreement=agreement)


def compare(expected: Array, found: Array) -> Difference:
    """Compare one vector's output with its reference.

    Whole numbers of 32 bits and more, and truth values, are answers: equal or not. Everything else is a measurement;
    where its last axis has two or more values, their largest is compared too, unless the reference was undecided.
    """
    if str(expected.dtype).upper() in _KIND_ANSWERS:
        return Difference(agrees=bool(np.array_equal(expected, found)))
    reference, answer = expected.astype(np.float64), found.astype(np.float64)
    return Difference(
        max_abs=_max_abs(reference, answer), snr_db=_snr_db(reference, answer), agrees=_agrees(reference, answer)
    )


def _compared(pipeline: Pipeline, vectors: Vectors, i: int) -> list[Difference]:
    answer = pipeline.infer({name: array[i : i + 1] for name, array in vectors.inputs.items()})
    compared = []
    for name, array in vectors.outputs.items():
        expected, found = array[i : i + 1], answer.get(name)
        if found is None or found.shape != expected.shape:
            raise ContractMismatch(
                f"golden output {name!r} is {list(expected.shape)}; the model answers "
                f"{'nothing of that name' if found is None else list(found.shape)}"
            )
        compared.append(compare(expected, found))
    return compared


def _max_abs(reference: NDArray[np.float64], answer: NDArray[np.float64]) -> float | None:
    if not reference.size:
        return None
    same = (reference == answer) | (np.isnan(reference) & np.isnan(answer))  # infinity less infinity is no number
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.where(same, 0.0, np.abs(reference - answer))
    worst = float(apart.max())
    return worst if np.isfinite(worst) else sys.float_info.max  # a receipt carries finite numbers only


def _snr_db(reference: NDArray[np.float64], answer: NDArray[np.float64]) -> float | None:
    if not np.isfinite(reference).all():
        return None
    signal = float(np.square(reference).sum())
    if signal == 0:
        return None
    if not np.isfinite(answer).all():
        return -SNR_DB_LIMIT
    noise = float(np.square(reference - answer).sum())
    if noise == 0:
        return SNR_DB_LIMIT
    return float(np.clip(10 * np.log10(signal / noise), -SNR_DB_LIMIT, SNR_DB_LIMIT))


def _agrees(reference: NDArray[np.float64], answer: NDArray[np.float64]) -> bool | None:
    if reference.ndim != 2 or reference.shape[1] < 2:
        return None
    if not decided(reference).all():
        return None
    return bool((reference.argmax(axis=1) == answer.argmax(axis=1)).all())


def decided(reference: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell for each row whether its largest value leads the second by more than ``MARGIN_MIN`` of the row's range."""
    second, first = np.sort(reference, axis=1)[:, -2:].T
    leads: NDArray[np.bool_] = first - second > MARGIN_MIN * (first - reference.min(axis=1))
    return leads


def _at_most(found: float | None, limit: float | None) -> bool:
    return limit is None or found is None or found <= limit


def _at_least(found: float | None, limit: float | None) -> bool:
    return limit is None or found is None or found >= limit
