"""Calibration and held-out data: ``.npz`` files keyed by raw input name, with optional ``labels``.

Owns reading them with limits, the seeded split when there is no held-out file, thinning what is more than enough, and
the errors that say what was expected. The inputs' names and types are compared with the model where it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pinnace_contract.latest import Datatype
from pinnace_converters.errors import DataInvalid
from pinnace_runtime import array_file
from pinnace_runtime.arrays import Array, as_text, datatype_of
from pinnace_runtime.errors import ArraysInvalid

LABELS: Final = "labels"
DATA_BYTES_MAX: Final = 1024**3  # of arrays, unpacked
CALIBRATION_ROWS_MAX: Final = 512  # ranges of activations change little after a few hundred
HELDOUT_ROWS_MAX: Final = 4096  # an agreement of 0.98 is then known to half a point
ROWS_MIN: Final = 8  # fewer say nothing about ranges or agreement
HELDOUT_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Raw inputs by name with one first axis, and the label of each row where there are labels."""

    inputs: Mapping[str, Array]
    labels: NDArray[np.int64] | None = None

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.inputs.values())))

    def only(self, chosen: NDArray[np.int64]) -> Rows:
        """Return these rows in this order."""
        return Rows(
            inputs={name: array[chosen] for name, array in self.inputs.items()},
            labels=None if self.labels is None else self.labels[chosen],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What ranges are taken from, and what answers are judged on; ``held_out`` only if the developer kept it apart."""

    calibration: Rows
    heldout: Rows
    held_out: bool
    notes: tuple[str, ...] = ()


def load(calibration: Path, heldout: Path | None, seed: int) -> Split:
    """Read both files, or split the one.

    Raises:
        DataInvalid: names the file, the array, what was expected and what was found.
    """
    rows = _read(calibration, "calibration data")
    notes: tuple[str, ...] = ()
    if heldout is None:
        taken, kept = _split(rows, seed)
        notes = (f"no held-out data: {kept.count} of {rows.count} calibration rows were kept apart (seed {seed})",)
        held_out = False
    else:
        taken, kept = rows, _read(heldout, "held-out data")
        _check_alike(taken, kept)
        held_out = True
    for name, part, most in (
        ("calibration", taken, CALIBRATION_ROWS_MAX),
        ("held-out", kept, HELDOUT_ROWS_MAX),
    ):
        if part.count > most:
            notes += (f"{most} of {part.count} {name} rows were used, evenly spaced",)
    return Split(
        calibration=_thinned(taken, CALIBRATION_ROWS_MAX),
        heldout=_thinned(kept, HELDOUT_ROWS_MAX),
        held_out=held_out,
        notes=notes,
    )


def as_bytes(rows: Rows) -> bytes:
    """Return the inputs as a file for a child process."""
    return array_file.write(rows.inputs)


def from_bytes(data: bytes) -> dict[str, Array]:
    """Read what ``as_bytes`` wrote."""
    return array_file.read(data, size_bytes_max=DATA_BYTES_MAX)


def _read(path: Path, what: str) -> Rows:
    if not path.is_file():
        raise DataInvalid(f"{what}: no such file: {path}")
    try:
        arrays = array_file.read(path, size_bytes_max=DATA_BYTES_MAX)
    except ArraysInvalid as error:
        raise DataInvalid(f"{what} {path.name}: {error}") from error
    labels = arrays.pop(LABELS, None)
    if not arrays:
        raise DataInvalid(
            f"{what} {path.name}: expected an array per raw input, found {[LABELS] if labels is not None else 'none'}"
        )
    counts = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(counts.values())) != 1:
        raise DataInvalid(f"{what} {path.name}: expected as many rows in every array, found {counts}")
    count = next(iter(counts.values()))
    if count < ROWS_MIN:
        raise DataInvalid(f"{what} {path.name}: expected at least {ROWS_MIN} rows, found {count}")
    return Rows(inputs=arrays, labels=_labels(labels, count, f"{what} {path.name}"))


def _labels(labels: Array | None, count: int, what: str) -> NDArray[np.int64] | None:
    if labels is None:
        return None
    if labels.dtype.kind not in "iu" or labels.size != count:
        found = as_text(datatype_of(labels.dtype), labels.shape)
        raise DataInvalid(f"{what}: expected {count} whole class numbers in {LABELS!r}, found {found}")
    return labels.reshape(count).astype(np.int64)


def _check_alike(calibration: Rows, heldout: Rows) -> None:
    if set(calibration.inputs) != set(heldout.inputs):
        raise DataInvalid(
            f"held-out data: expected the arrays of the calibration data, {sorted(calibration.inputs)}, "
            f"found {sorted(heldout.inputs)}"
        )
    for name, array in heldout.inputs.items():
        like = calibration.inputs[name]
        if array.dtype != like.dtype or array.shape[1:] != like.shape[1:]:
            raise DataInvalid(f"held-out data: expected {name!r} as {_shown(like)}, found {_shown(array)}")


def _shown(array: Array) -> str:
    datatype = datatype_of(array.dtype)
    return as_text(Datatype(datatype), (-1, *array.shape[1:]))


def _split(rows: Rows, seed: int) -> tuple[Rows, Rows]:
    order = np.random.default_rng(seed).permutation(rows.count)
    kept = max(1, round(rows.count * HELDOUT_SHARE))
    return rows.only(np.sort(order[kept:])), rows.only(np.sort(order[:kept]))


def _thinned(rows: Rows, most: int) -> Rows:
    if rows.count <= most:
        return rows
    return rows.only(np.linspace(0, rows.count - 1, most).round().astype(np.int64))
