"""Feature counts: every row lands in one bin of the baseline, or is missing."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pinnace_contract.histogram import unpack_varints
from pinnace_contract.ids import digest_of
from pinnace_contract.latest import Baseline, FeatureBaseline, FeatureKind
from pinnace_runtime.arrays import Array
from pinnace_runtime.features import BUFFERED_ROWS, Feature, FeatureCounter, measure

DIGEST = digest_of(b"baseline")


def feature(kind: FeatureKind, edges: tuple[float, ...], tensor: str = "x", index: int = 0) -> FeatureBaseline:
    shares = tuple(1 / (len(edges) + 1) for _ in range(len(edges) + 1))
    return FeatureBaseline(name=str(kind), kind=kind, tensor=tensor, index=index, edges=edges, shares=shares)


def counted(baseline: Baseline, *batches: Array) -> list[list[int]]:
    counter = FeatureCounter(baseline, DIGEST)
    for batch in batches:
        counter.observe({"x": batch})
    taken = counter.take()
    assert taken is not None
    numbers = unpack_varints("counts", taken.counts)
    found = []
    for each in baseline.features:
        size = len(each.edges) + 2
        found.append(numbers[:size])
        numbers = numbers[size:]
    assert not numbers
    return found


def test_a_value_on_an_edge_belongs_to_the_bin_above() -> None:
    baseline = Baseline(features=(feature(FeatureKind.ELEMENT, (0.0, 1.0)),))

    assert counted(baseline, np.array([[-1], [0], [0.5], [1], [2], [np.nan], [np.inf]])) == [[1, 2, 2, 2]]


def test_features_with_different_numbers_of_bins_are_kept_apart() -> None:
    baseline = Baseline(
        features=(
            feature(FeatureKind.ELEMENT, (), index=0),
            feature(FeatureKind.ELEMENT, (5.0,), index=1),
            feature(FeatureKind.ELEMENT, (0.0, 1.0, 2.0), index=7),
        )
    )

    assert counted(baseline, np.array([[1.0, 4.0], [1.0, 6.0]])) == [[2, 0], [1, 1, 0], [0, 0, 0, 0, 2]]


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 3 * BUFFERED_ROWS), st.just(3))),
    st.lists(st.floats(-1e3, 1e3), max_size=9, unique=True),
    st.integers(1, 300),
)
def test_counts_do_not_depend_on_how_rows_are_batched(rows: NDArray[np.float32], edges: list[float], size: int) -> None:
    baseline = Baseline(
        features=(
            feature(FeatureKind.ELEMENT, tuple(sorted(edges)), index=2),
            feature(FeatureKind.MAXIMUM, tuple(sorted(edges))),
        )
    )

    found = counted(baseline, *[rows[i : i + size] for i in range(0, len(rows), size)])

    assert [sum(each) for each in found] == [len(rows), len(rows)]
    finite = rows[np.isfinite(rows[:, 2]), 2].astype(np.float64)
    assert (
        found[0][:-1]
        == np.bincount(np.searchsorted(sorted(edges), finite, side="right"), minlength=len(edges) + 1).tolist()
    )


def test_summaries_of_an_image() -> None:
    image = np.array([[[0, 2, 4], [1, 3, 5]]], np.uint8)  # one row, 2 by 3
    kinds = [FeatureKind.MEAN, FeatureKind.STD, FeatureKind.MINIMUM, FeatureKind.MAXIMUM, FeatureKind.GRADIENT]

    found = measure([Feature(kind=kind, tensor="x") for kind in kinds], {"x": image})

    assert found[0].tolist() == pytest.approx([2.5, np.std(np.arange(6)), 0.0, 5.0, (4 * 2 + 3 * 1) / 7])


@pytest.mark.parametrize("shape", [(2, 3, 8, 9), (2, 8, 9, 3)])
def test_the_gradient_looks_along_the_image_and_not_across_channels(shape: tuple[int, ...]) -> None:
    channel = np.argmin(shape[1:]) + 1
    x = np.broadcast_to(
        np.array([0.0, 100.0, 200.0]).reshape([3 if axis == channel else 1 for axis in range(4)]), shape
    )

    assert measure([Feature(kind=FeatureKind.GRADIENT, tensor="x")], {"x": x}).tolist() == [[0.0], [0.0]]


def test_moments_leave_out_what_is_missing() -> None:
    counter = FeatureCounter(Baseline(features=(feature(FeatureKind.ELEMENT, (0.0,)),)), DIGEST)

    counter.observe({"x": np.array([[3.0], [np.nan], [4.0]])})
    taken = counter.take()

    assert taken is not None
    assert (taken.baseline, taken.sums, taken.squares) == (DIGEST, (7.0,), (25.0,))


def test_a_tensor_that_is_not_there_is_missing_and_unknown_features_too() -> None:
    baseline = Baseline(
        features=(
            feature(FeatureKind.ELEMENT, (0.0,)),
            feature(FeatureKind.MEAN, (0.0,), tensor="z"),
            feature(FeatureKind.UNKNOWN, ()),
        )
    )

    assert counted(baseline, np.array([[1.0]])) == [[0, 1, 0], [0, 0, 1], [0, 1]]


def test_taking_begins_anew() -> None:
    counter = FeatureCounter(Baseline(features=(feature(FeatureKind.ELEMENT, (0.0,)),)), DIGEST)
    counter.observe({"x": np.array([[1.0]])})

    assert counter.take() is not None
    assert counter.take() is None


def test_without_features_there_is_nothing_to_tell() -> None:
    counter = FeatureCounter(Baseline(), DIGEST)
    counter.observe({"x": np.ones((2, 2))})

    assert counter.take() is None


def test_a_value_whose_square_is_no_number_is_missing() -> None:
    """A report carries finite numbers only; one such input ended the worker when its counts were collected."""
    baseline = Baseline(features=(feature(FeatureKind.ELEMENT, (1.0,)),))
    counter = FeatureCounter(baseline, DIGEST)
    counter.observe({"x": np.array([[1e200], [-1e308], [3.0]])})
    taken = counter.take()
    assert taken is not None
    assert (taken.sums, taken.squares) == ((3.0,), (9.0,))
    assert unpack_varints("counts", taken.counts) == [0, 1, 2]


def test_a_batch_of_any_size_is_measured_in_little_memory() -> None:
    """A million rows of 16 features are 128 MiB at once; statistics must not be what a worker is killed for."""
    features = tuple(feature(FeatureKind.ELEMENT, (0.5,), index=index) for index in range(4)) * 4
    counter = FeatureCounter(Baseline(features=features), DIGEST)
    batch = np.zeros((200_000, 4), np.float32)
    batch[::2] = 1
    tracemalloc.start()
    try:
        counter.observe({"x": batch})
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
    taken = counter.take()
    assert taken is not None
    assert unpack_varints("counts", taken.counts) == [100_000, 100_000, 0] * 16
    assert taken.sums == (100_000.0,) * 16
