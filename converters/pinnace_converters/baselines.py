"""The baseline that a release carries: how inputs and confidence were distributed when the version was made.

Features come from calibration data, confidence from held-out data: a model is surer of what it has seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pinnace_contract.latest import (
    FEATURES_MAX,
    Baseline,
    ConfidenceBaseline,
    FeatureBaseline,
    FeatureKind,
    IoContract,
)
from pinnace_converters.data import Rows
from pinnace_runtime import features
from pinnace_runtime.arrays import Array
from pinnace_runtime.features import Feature
from pinnace_runtime.predictions import CLASSES_MAX, class_output, confidence_bins, top1

DECILES: Final = tuple(i / 10 for i in range(1, 10))
TABLE_COLUMNS_MAX: Final = 64  # a flat input this small is a table: every column is a feature
IMAGE_ELEMENTS: Final = 8  # of anything larger only summaries and a few places, which say what summaries hide
LOW_SHARE: Final = 0.1
_SUMMARIES: Final = (
    FeatureKind.MEAN,
    FeatureKind.STD,
    FeatureKind.MINIMUM,
    FeatureKind.MAXIMUM,
    FeatureKind.GRADIENT,
)


def make(contract: IoContract, calibration: Rows, heldout_answers: Sequence[Mapping[str, Array]]) -> Baseline:
    """Return the baseline of a version, from the answers of each variant that it offers.

    There is one for all: the confidence of the least sure, so that none is flagged for being itself.
    """
    wanted = [feature for name, array in sorted(calibration.inputs.items()) for feature in _features(name, array)]
    measured = features.measure(wanted, calibration.inputs)
    made = [_feature(feature, column) for feature, column in zip(wanted, measured.T, strict=True)]
    confidences = [each for answers in heldout_answers if (each := _confidence(contract, answers)) is not None]
    return Baseline(
        features=tuple(each for each in made if each is not None)[:FEATURES_MAX],
        confidence=min(confidences, key=lambda each: each.threshold, default=None),
    )


def _features(name: str, array: Array) -> Iterator[Feature]:
    flat = array.reshape(len(array), -1)
    if array.ndim <= 2 and flat.shape[1] <= TABLE_COLUMNS_MAX:
        for index in range(flat.shape[1]):
            yield Feature(kind=FeatureKind.ELEMENT, tensor=name, index=index)
        return
    for kind in _SUMMARIES:
        yield Feature(kind=kind, tensor=name)
    varied = np.flatnonzero(flat.astype(np.float64).std(axis=0) > 0)
    places = np.linspace(0, max(0, len(varied) - 1), min(IMAGE_ELEMENTS, len(varied))).round().astype(np.int64)
    for index in varied[places]:
        yield Feature(kind=FeatureKind.ELEMENT, tensor=name, index=int(index))


def _feature(feature: Feature, column: NDArray[np.float64]) -> FeatureBaseline | None:
    """Return deciles and shares; None for what never varies, whose bins could not tell a change from rounding."""
    there = np.isfinite(column)
    known = column[there]
    if not known.size or known.min() == known.max():
        return None
    edges = np.unique(np.quantile(known, DECILES))
    # No bin may be empty: an edge at the smallest value leaves one below it, and few rows leave some between.
    edges = edges[edges > known.min()]
    edges = edges[_counts(known, edges)[1:] > 0]
    counts = _counts(known, edges)
    place = f"[{feature.index}]" if feature.kind is FeatureKind.ELEMENT else f".{feature.kind}"
    return FeatureBaseline(
        name=feature.tensor[:100] + place,
        kind=feature.kind,
        tensor=feature.tensor,
        index=feature.index,
        edges=tuple(edges.tolist()),
        shares=tuple((counts / len(known)).tolist()),
        missing_share=float(1 - there.mean()),
        mean=float(known.mean()),
        std=float(known.std()),
    )


def _counts(known: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    there = np.ones((len(known), 1), np.bool_)
    counts: NDArray[np.int64] = features.bin_counts(known[:, np.newaxis], there, edges[np.newaxis])[0]
    return counts


def _confidence(contract: IoContract, answers: Mapping[str, Array]) -> ConfidenceBaseline | None:
    name = class_output(contract)
    told = None if name is None else top1(answers[name])
    if name is None or told is None:
        return None
    classes, confidence = told
    if confidence is None:
        return None
    threshold = float(np.quantile(confidence, LOW_SHARE))
    shares = np.bincount(classes, minlength=int(classes.max()) + 1) / len(classes)
    return ConfidenceBaseline(
        output=name,
        samples=len(confidence),
        threshold=min(1.0, threshold),
        share_below=float((confidence < threshold).mean()),
        bins=tuple(confidence_bins(confidence).tolist()),
        class_shares=tuple(shares.tolist()[:CLASSES_MAX]),
    )
