"""Calibration and held-out data: read with limits, split by a seed, refused with what was expected."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pinnace_converters import data
from pinnace_converters.errors import DataInvalid

X = np.arange(200, dtype=np.float32).reshape(100, 2)
LABELS = np.arange(100)


def file(path: Path, **arrays: NDArray[np.generic]) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_without_held_out_data_a_fifth_is_kept_apart_and_said_so(tmp_path: Path) -> None:
    path = file(tmp_path / "c.npz", x=X, labels=LABELS)

    split = data.load(path, None, seed=4)

    kept, taken = split.heldout, split.calibration
    assert (taken.count, kept.count, split.held_out) == (80, 20, False)
    assert sorted([*taken.inputs["x"][:, 0], *kept.inputs["x"][:, 0]]) == X[:, 0].tolist()
    assert kept.labels is not None
    np.testing.assert_array_equal(kept.inputs["x"], X[kept.labels])
    assert "20 of 100 calibration rows were kept apart (seed 4)" in split.notes[0]


def test_the_seed_decides_the_split(tmp_path: Path) -> None:
    path = file(tmp_path / "c.npz", x=X)

    first, again, other = (data.load(path, None, seed).heldout.inputs["x"] for seed in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_held_out_data_of_its_own_is_taken_whole(tmp_path: Path) -> None:
    split = data.load(file(tmp_path / "c.npz", x=X), file(tmp_path / "h.npz", x=X[:30], labels=LABELS[:30]), 0)

    assert (split.calibration.count, split.heldout.count, split.held_out) == (100, 30, True)
    assert split.notes == ()


def test_more_rows_than_enough_are_thinned_evenly_and_said_so(tmp_path: Path) -> None:
    many = np.arange(2000, dtype=np.float32).reshape(2000, 1)

    split = data.load(file(tmp_path / "c.npz", x=many), file(tmp_path / "h.npz", x=many), 0)

    used = split.calibration.inputs["x"][:, 0]
    assert (len(used), used[0], used[-1]) == (data.CALIBRATION_ROWS_MAX, 0, 1999)
    assert np.ptp(np.diff(used)) <= 1
    assert "512 of 2000 calibration rows" in split.notes[0]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"labels": LABELS}, "an array per raw input"),
        ({"x": X, "z": X[:50]}, "as many rows in every array"),
        ({"x": X[:5]}, "at least 8 rows, found 5"),
        ({"x": X, "labels": LABELS[:50]}, "100 whole class numbers"),
        ({"x": X, "labels": LABELS.astype(float)}, "whole class numbers.*found FP64"),
        ({"x": X.astype(object)}, "plain numbers"),
        ({"x": np.float32(1)}, "at least 8 rows, found 0"),
    ],
    ids=["labels only", "unequal", "few", "too few labels", "labels that are no classes", "objects", "a scalar"],
)
def test_data_of_another_form_is_refused(arrays: dict[str, NDArray[np.generic]], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=says):
        data.load(file(tmp_path / "c.npz", **arrays), None, 0)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"z": X}, r"\['x'\], found \['z'\]"),
        ({"x": X[:, :1]}, r"'x' as FP32 \[\?, 2\], found FP32 \[\?, 1\]"),
        ({"x": X.astype(np.float64)}, "found FP64"),
    ],
)
def test_held_out_data_must_be_like_the_calibration_data(
    arrays: dict[str, NDArray[np.generic]], says: str, tmp_path: Path
) -> None:
    with pytest.raises(DataInvalid, match=says):
        data.load(file(tmp_path / "c.npz", x=X), file(tmp_path / "h.npz", **arrays), 0)


def test_a_file_that_is_no_npz_or_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.npz").write_bytes(b"no")

    with pytest.raises(DataInvalid, match=r"calibration data c\.npz: not a readable"):
        data.load(tmp_path / "c.npz", None, 0)
    with pytest.raises(DataInvalid, match=r"no such file.*gone\.npz"):
        data.load(tmp_path / "gone.npz", None, 0)
