"""Prediction counts: classes and top-1 confidence in the terms of the version's own baseline."""

import numpy as np
import pytest

from pinnace_contract.histogram import unpack_varints
from pinnace_contract.latest import ConfidenceBaseline, Datatype, IoContract
from pinnace_runtime.arrays import Array
from pinnace_runtime.predictions import PredictionCounter, class_output, top1
from tests.runtime.releases import spec

X = spec("x", -1, 4)
SCORES = IoContract(inputs=(X,), outputs=(spec("scores", -1, 3, classes=("a", "b", "c")),))
BASELINE = ConfidenceBaseline(output="scores", samples=100, threshold=0.6, share_below=0.1, bins=(0,) * 16)


def test_classes_confidence_and_those_under_the_threshold_are_counted() -> None:
    counter = PredictionCounter(SCORES, BASELINE)

    counter.observe({"scores": np.array([[0.2, 0.8, 0.0], [0.5, 0.3, 0.2]], np.float32)})
    counter.observe({"scores": np.array([[0.0, 1.0, 0.0]], np.float32)})
    taken = counter.take()

    assert taken is not None
    assert (taken.n, taken.below) == (3, 1)
    assert unpack_varints("classes", taken.classes) == [1, 2, 0]
    assert [i for i, n in enumerate(taken.confidence) for _ in range(n)] == [8, 12, 15]
    assert counter.take() is None


def test_scores_that_are_no_shares_of_one_give_classes_only() -> None:
    counter = PredictionCounter(SCORES, None)

    counter.observe({"scores": np.array([[-3.0, 8.0, 0.0]], np.float32)})
    taken = counter.take()

    assert taken is not None
    assert (taken.n, taken.below, taken.confidence) == (1, 0, ())
    assert unpack_varints("classes", taken.classes) == [0, 1, 0]


@pytest.mark.parametrize(
    ("answer", "classes", "confidence"),
    [
        (np.array([4, 2]), [4, 2], None),
        (np.array([[0.9], [0.2]]), [1, 0], [0.9, 0.8]),
        (np.array([[np.nan, 0.5]]), [1], None),
        (np.array([[0.1, 0.7]]), [1], [0.7]),
    ],
    ids=["class numbers", "the share of class 1", "not a number", "shares"],
)
def test_what_an_answer_means(answer: Array, classes: list[int], confidence: list[float] | None) -> None:
    found = top1(answer)

    assert found is not None
    assert found[0].tolist() == classes
    assert (None if found[1] is None else found[1].tolist()) == (
        None if confidence is None else pytest.approx(confidence)
    )


@pytest.mark.parametrize("answer", [np.zeros((1, 4, 4)), np.array([[7.5]]), np.zeros((2, 0))])
def test_an_answer_that_tells_no_class_is_not_counted(answer: Array) -> None:
    assert top1(answer) is None


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ((spec("a", -1, 5), spec("b", -1, 3, classes=("x", "y", "z"))), "b"),
        ((spec("a", -1, 5),), "a"),
        ((spec("a", -1, 5), spec("b", -1, 5)), None),
        ((spec("a", -1, 5, 5),), None),
        ((spec("a", -1, 1),), None),
        ((spec("a", -1, 2, datatype=Datatype.INT64),), None),
    ],
)
def test_which_output_tells_the_class(outputs: tuple, expected: str | None) -> None:
    assert class_output(IoContract(inputs=(X,), outputs=outputs)) == expected


def test_an_empty_batch_counts_nothing() -> None:
    counter = PredictionCounter(SCORES, BASELINE)
    counter.observe({"scores": np.zeros((0, 3), np.float32)})

    assert counter.take() is None
