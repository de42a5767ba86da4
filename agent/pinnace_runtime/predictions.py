"""Counts of what a model answered: classes and top-1 confidence, in the terms of the version's own signed baseline.

Owns which class and confidence an answer means and the form on the wire. Judging them is the server's part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from pinnace_contract.histogram import pack_varints
from pinnace_contract.latest import (
    CONFIDENCE_BINS,
    ConfidenceBaseline,
    IoContract,
    Predictions,
    TensorSpec,
)
from pinnace_runtime.arrays import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES_MAX: Final = 2048


class PredictionCounter:
    """Counts since the last ``take``. Not safe for use by two threads at once."""

    def __init__(self, contract: IoContract, confidence: ConfidenceBaseline | None) -> None:
        """Count the output that the baseline names, or else the first that has classes; without either, nothing."""
        self._output = class_output(contract) if confidence is None else confidence.output
        self._threshold = None if confidence is None else confidence.threshold
        named = next((spec for spec in contract.outputs if spec.name == self._output), None)
        self._class_count = len(named.classes) if named else 0
        self._n = self._below = 0
        self._bins: NDArray[np.int64] = np.zeros(CONFIDENCE_BINS, np.int64)
        self._classes: NDArray[np.int64] = np.zeros(self._class_count, np.int64)

    def observe(self, outputs: Mapping[str, Array]) -> None:
        """Count the answers of one inference, one per row of the batch."""
        if self._output is None or self._output not in outputs:
            return
        found = top1(outputs[self._output])
        if found is None:
            return
        classes, confidence = found
        self._n += len(classes)
        widest = max(self._class_count, int(classes.max(initial=-1)) + 1, len(self._classes))
        counts = np.bincount(classes, minlength=widest)
        counts[: len(self._classes)] += self._classes
        self._classes = counts
        if confidence is not None:
            self._bins += confidence_bins(confidence)
            if self._threshold is not None:
                self._below += int((confidence < self._threshold).sum())

    def take(self) -> Predictions | None:
        """Return what was counted and begin anew; None when there was nothing."""
        if not self._n:
            return None
        taken = Predictions(
            n=self._n,
            below=self._below,
            confidence=tuple(self._bins.tolist()) if self._bins.any() else (),
            classes=pack_varints(self._classes.tolist()),
        )
        self._clear()
        return taken

    def _clear(self) -> None:
        self._n = self._below = 0
        self._bins = np.zeros(CONFIDENCE_BINS, np.int64)
        self._classes = np.zeros(self._class_count, np.int64)


def class_output(contract: IoContract) -> str | None:
    """Return the output that tells classes: the first that lists them, else the only one if it is ``[batch, few]``."""
    for spec in contract.outputs:
        if spec.classes:
            return spec.name
    if len(contract.outputs) == 1 and _is_scores(contract.outputs[0]):
        return contract.outputs[0].name
    return None


def _is_scores(spec: TensorSpec) -> bool:
    return len(spec.shape) == 2 and 2 <= spec.shape[1] <= CLASSES_MAX and spec.datatype.startswith("FP")


def top1(answer: Array) -> tuple[NDArray[np.int64], NDArray[np.float64] | None] | None:
    """Return each row's class and its confidence; no confidence where the values are no shares of one.

    ``[batch, classes]`` are scores; ``[batch]`` or ``[batch, 1]`` of whole numbers are classes, of real numbers 0..1
    the share of class 1. None: neither.
    """
    if answer.ndim > 2 or not answer.size:
        return None
    rows = answer.reshape(len(answer), -1) if answer.ndim else answer.reshape(1, 1)
    if rows.shape[1] > 1:
        scores = rows.astype(np.float64)
        if np.isnan(scores).any():
            scores = np.where(np.isnan(scores), -np.inf, scores)
        classes = scores.argmax(axis=1)
        largest = scores.max(axis=1)
        shares = bool(scores.min() >= 0 and largest.max() <= 1)
        return classes, (largest if shares else None)
    single = rows[:, 0]
    if single.dtype.kind in "iub":
        return np.clip(single.astype(np.int64), 0, CLASSES_MAX - 1), None
    positive = np.nan_to_num(single.astype(np.float64), nan=0.5)
    if not ((positive >= 0) & (positive <= 1)).all():
        return None
    return (positive >= 0.5).astype(np.int64), np.maximum(positive, 1 - positive)


def confidence_bins(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return counts in sixteen equal steps of 0..1; exactly 1 is in the last."""
    places = np.minimum((confidence * CONFIDENCE_BINS).astype(np.int64), CONFIDENCE_BINS - 1)
    return np.bincount(places, minlength=CONFIDENCE_BINS)
