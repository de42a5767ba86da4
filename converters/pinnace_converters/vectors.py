"""Golden vectors: which held-out rows a device is asked again, and how far each kind of variant may be from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pinnace_contract.latest import IoContract, Precision, Runtime, Tolerance
from pinnace_converters.data import Rows
from pinnace_runtime import golden
from pinnace_runtime.arrays import Array
from pinnace_runtime.predictions import class_output, top1

VECTORS: Final = 16
_BYTES_MAX: Final = 4 * 1024 * 1024  # every device fetches them; large images get fewer vectors
_VECTORS_MIN: Final = 4

# A device's kernels are not ours: other instructions, another order of additions, saturating 16-bit sums without VNNI.
_ALLOWANCE_DB: Final = 6.0
_SNR_DB_MIN: Final = {Precision.FP32: 60.0, Precision.FP16: 30.0}
_INT8_SNR_DB_MIN: Final = 10.0
_INT8_SNR_DB_ASKED: Final = 20.0  # a file offered as it is has no error here, and rounds otherwise on another kernel
_AGREEMENT_MIN: Final = {Precision.FP32: 1.0, Precision.FP16: 0.95}
_INT8_AGREEMENT_MIN: Final = 0.9
_MAX_ABS_SHARE: Final = 1e-3  # of the largest expected value, for conversions that change no number format


def choose(contract: IoContract, heldout: Rows, expected: Mapping[str, Array]) -> NDArray[np.int64]:
    """Return rows in ascending order: one class after the other where there are classes, clear answers first."""
    size_bytes = sum(array[:1].nbytes for array in (*heldout.inputs.values(), *expected.values()))
    wanted = int(min(VECTORS, heldout.count, max(_VECTORS_MIN, _BYTES_MAX // max(1, size_bytes))))
    name = class_output(contract)
    told = None if name is None else top1(expected[name])
    if name is None or told is None:
        return np.linspace(0, heldout.count - 1, wanted).round().astype(np.int64)
    classes = told[0]
    unclear = ~_clear(expected[name])
    turn = np.zeros(heldout.count, np.int64)
    for each in np.unique(classes):
        rows = np.flatnonzero(classes == each)
        turn[rows[np.argsort(unclear[rows], kind="stable")]] = np.arange(len(rows))
    order = np.lexsort((classes, turn, unclear))
    return np.sort(order[:wanted])


def make(heldout: Rows, expected: Mapping[str, Array], chosen: NDArray[np.int64]) -> bytes:
    """Return the golden file."""
    return golden.write(heldout.only(chosen).inputs, {name: array[chosen] for name, array in expected.items()})


def tolerance(
    runtime: Runtime,
    precision: Precision,
    expected: Mapping[str, Array],
    found: Mapping[str, Array],
    chosen: NDArray[np.int64],
    forced: bool,
) -> Tolerance:
    """Return how far a device may be from the vectors.

    It follows from what was measured here only for variants that passed the gates: what was forced meets the same
    demands on the device that it did not meet here.
    """
    if precision in _SNR_DB_MIN:
        floats = [array[chosen] for array in expected.values() if array.dtype.kind == "f"]
        largest = max((float(np.abs(array).max(initial=0.0)) for array in floats), default=1.0)
        return Tolerance(
            runtime=runtime,
            precision=precision,
            max_abs=max(largest, 1e-6) * _MAX_ABS_SHARE if precision is Precision.FP32 else None,
            snr_db_min=_SNR_DB_MIN[precision],
            agreement_min=_AGREEMENT_MIN[precision],
        )
    return Tolerance(
        runtime=runtime,
        precision=precision,
        snr_db_min=_INT8_SNR_DB_MIN if forced else _allowed_snr_db(expected, found, chosen),
        agreement_min=_INT8_AGREEMENT_MIN,
    )


def _allowed_snr_db(
    expected: Mapping[str, Array], found: Mapping[str, Array], chosen: NDArray[np.int64]
) -> float | None:
    """Return the worst vector's ratio here less the allowance; None where no output is a measurement."""
    worst = [
        difference.snr_db
        for name, reference in expected.items()
        for row in chosen
        if (difference := golden.compare(reference[row : row + 1], found[name][row : row + 1])).snr_db is not None
    ]
    return min(_INT8_SNR_DB_ASKED, round(min(worst) - _ALLOWANCE_DB, 1)) if worst else None


def _clear(scores: Array) -> NDArray[np.bool_]:
    if scores.ndim != 2 or scores.shape[1] < 2:
        return np.ones(len(scores), np.bool_)
    return golden.decided(scores.astype(np.float64))
