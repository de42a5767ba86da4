"""Counts of a release's features in the bins of its signed baseline: what a device tells about its inputs.

Owns what each feature measures, the rule of the bins (``edges[k-1] <= x < edges[k]``; what is not finite, or has no
finite square, is missing) and the form on the wire. The converters make baselines with the same functions, so that both
sides count alike. Rows are buffered and counted many at a time: per row it costs a copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from pinnace_contract.histogram import pack_varints
from pinnace_contract.ids import Digest
from pinnace_contract.latest import Baseline, FeatureBaseline, FeatureCounts, FeatureKind
from pinnace_runtime.arrays import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows: TypeAlias = NDArray[np.float64]
    Column: TypeAlias = NDArray[np.float64]
    Places: TypeAlias = NDArray[np.int64]
else:  # numpy.typing costs every worker 1.7 MiB
    Rows = Column = Places = np.ndarray

BUFFERED_ROWS: Final = 256  # 128 KiB with 64 features
MEASURED_ROWS: Final = 4096  # at once, of a larger batch: 2 MiB with 64 features, whatever an application sends
LARGEST: Final = 1e150  # what is beyond has no square, and is missing as what is not finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """What to measure: ``index`` is the element's place in the flattened tensor of one row, and unused otherwise."""

    kind: FeatureKind
    tensor: str
    index: int = 0


class FeatureCounter:
    """Counts since the last ``take``. Not safe for use by two threads at once."""

    def __init__(self, baseline: Baseline, digest: Digest) -> None:
        """Take the features that this program knows; of the others the device reports zero rows."""
        self._digest, self._features = digest, baseline.features
        self._wanted = [Feature(kind=each.kind, tensor=each.tensor, index=each.index) for each in baseline.features]
        self._edges = _edges(baseline.features)
        self._buffer: Rows = np.empty((BUFFERED_ROWS, len(self._wanted)))
        self._plan = _Plan(self._wanted)
        self._clear()

    def observe(self, inputs: Mapping[str, Array]) -> None:
        """Count one inference's raw inputs, one observation per row of the batch. A tensor not there is missing."""
        if not self._features:
            return
        batch = max((len(value) for value in inputs.values() if value.ndim), default=1)
        if batch <= MEASURED_ROWS:
            self._count(self._plan.measure(inputs))
            return
        for start in range(0, batch, MEASURED_ROWS):
            end = start + MEASURED_ROWS
            piece = {name: x[start:end] if x.ndim else x for name, x in inputs.items() if x.ndim or not start}
            self._count(self._plan.measure(piece))

    def _count(self, rows: Rows) -> None:
        for start in range(0, len(rows), BUFFERED_ROWS):
            piece = rows[start : start + BUFFERED_ROWS]
            if self._held + len(piece) > BUFFERED_ROWS:
                self._flush()
            self._buffer[self._held : self._held + len(piece)] = piece
            self._held += len(piece)
            self._seen += len(piece)

    def take(self) -> FeatureCounts | None:
        """Return what was counted and begin anew; None when there was nothing."""
        if not self._seen:
            return None
        self._flush()
        counts: list[int] = []
        for i, feature in enumerate(self._features):
            bins = len(feature.edges) + 1
            counts += self._counts[i, :bins].tolist()
            counts.append(int(self._missing[i]))
        taken = FeatureCounts(
            baseline=self._digest,
            counts=pack_varints(counts),
            sums=tuple(self._sums.tolist()),
            squares=tuple(self._squares.tolist()),
        )
        self._clear()
        return taken

    def _clear(self) -> None:
        features = len(self._features)
        self._counts = np.zeros((features, self._edges.shape[1] + 1), np.int64)
        self._missing = np.zeros(features, np.int64)
        self._sums, self._squares = np.zeros(features), np.zeros(features)
        self._held = self._seen = 0

    def _flush(self) -> None:
        rows = self._buffer[: self._held]
        there = np.abs(rows) <= LARGEST  # and not NaN
        known = np.where(there, rows, 0.0)
        self._missing += (~there).sum(axis=0)
        self._sums += known.sum(axis=0)
        self._squares += np.square(known).sum(axis=0)
        self._counts += bin_counts(known, there, self._edges)
        self._held = 0


class _Plan:
    """Measures the features of a batch; those that pick elements of one tensor do so at once."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._width = len(features)
        self._tensors = sorted({feature.tensor for feature in features})
        self._elements: dict[str, tuple[Places, Places]] = {}
        self._summaries: dict[str, list[tuple[int, FeatureKind]]] = {}
        for tensor in self._tensors:
            own = [(column, each) for column, each in enumerate(features) if each.tensor == tensor]
            picked = sorted((each.index, column) for column, each in own if each.kind is FeatureKind.ELEMENT)
            if picked:
                indices, columns = np.array(picked, np.int64).T
                self._elements[tensor] = (columns, indices)
            others: list[tuple[int, FeatureKind]]
            others = [(column, each.kind) for column, each in own if each.kind is not FeatureKind.ELEMENT]
            if others:
                self._summaries[tensor] = others

    def measure(self, inputs: Mapping[str, Array]) -> Rows:
        there = [inputs[tensor] for tensor in self._tensors if tensor in inputs]
        count = max((len(value) if value.ndim else 1 for value in there), default=0)
        rows = np.full((count, self._width), np.nan)
        for tensor, (columns, indices) in self._elements.items():
            value = inputs.get(tensor)
            if value is not None and value.size:
                flat = value.reshape(len(value) if value.ndim else 1, -1)
                if indices[-1] < flat.shape[1]:  # they are sorted, and in a release that fits all are inside
                    rows[: len(flat), columns] = flat[:, indices]
                else:
                    inside = indices < flat.shape[1]
                    rows[: len(flat), columns[inside]] = flat[:, indices[inside]]
        for tensor, wanted in self._summaries.items():
            value = inputs.get(tensor)
            if value is not None and value.size:
                wide = np.atleast_1d(value).astype(np.float64)
                for column, kind in wanted:
                    rows[: len(wide), column] = _summary(kind, wide)
        return rows


def measure(features: Sequence[Feature], inputs: Mapping[str, Array]) -> Rows:
    """Return each feature (columns) of each row of a batch; NaN where it is missing."""
    return _Plan(features).measure(inputs)


def bin_counts(values: Rows, there: NDArray[np.bool_], edges: Rows) -> NDArray[np.int64]:
    """Return per feature how many rows fall in each bin.

    ``values`` and ``there`` are ``[rows, features]``, ``edges`` is ``[features, most edges]`` filled up with infinity.
    """
    features, widest = edges.shape
    bins = (values[:, :, np.newaxis] >= edges[np.newaxis]).sum(axis=2)
    places = bins + np.arange(features) * (widest + 1)
    return np.bincount(places[there], minlength=features * (widest + 1)).reshape(features, widest + 1)


def _edges(features: Sequence[FeatureBaseline]) -> Rows:
    widest = max((len(feature.edges) for feature in features), default=0)
    edges = np.full((len(features), widest), np.inf)
    for i, feature in enumerate(features):
        edges[i, : len(feature.edges)] = feature.edges
    return edges


def _summary(kind: FeatureKind, value: NDArray[np.float64]) -> Column:
    rows = value.reshape(len(value), -1)
    found: Column
    match kind:
        case FeatureKind.MEAN:
            found = rows.mean(axis=1)
        case FeatureKind.STD:
            found = rows.std(axis=1)
        case FeatureKind.MINIMUM:
            found = rows.min(axis=1)
        case FeatureKind.MAXIMUM:
            found = rows.max(axis=1)
        case FeatureKind.GRADIENT:
            found = _gradient(value)
        case FeatureKind.ELEMENT | FeatureKind.UNKNOWN:
            found = np.full(len(value), np.nan)
    return found


def _gradient(value: NDArray[np.float64]) -> Column:
    """Return the mean absolute difference of neighbours along a row's two longest axes: edges and noise in an image.

    The longest, because a baseline names no layout and an image has few channels.
    """
    axes = sorted(range(1, value.ndim), key=lambda axis: -value.shape[axis])[:2]
    total, count = np.zeros(len(value)), 0
    for axis in axes:
        steps = np.abs(np.diff(value, axis=axis)).reshape(len(value), -1)
        total, count = total + steps.sum(axis=1), count + steps.shape[1]
    return total / max(count, 1)
