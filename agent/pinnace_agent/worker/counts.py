"""What is counted for one report block: answers, errors, latency, features, predictions, labels, pairs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from pinnace_agent.worker.model import Model
from pinnace_agent.worker.protocol import REMEMBERED_ANSWERS, Truth
from pinnace_contract.histogram import Histogram
from pinnace_contract.ids import ReleaseId
from pinnace_contract.latest import Arm, Block, ErrorCount, GroupCounts, Labels, ShadowCounts
from pinnace_contract.merging import GROUPS_MAX, OTHER_GROUPS
from pinnace_runtime.agreement import Pairs
from pinnace_runtime.arrays import Array
from pinnace_runtime.features import FeatureCounter
from pinnace_runtime.predictions import PredictionCounter, class_output, top1

ROWS_REMEMBERED_MAX: Final = 256  # of one answer; labels for later rows of a larger batch are not counted

# Answers wait here to be counted together: numpy takes as long for one row as for sixty-four.
WAITING_MAX: Final = 64
WAITING_BYTES_MAX: Final = 1024 * 1024

# Features of inputs larger than this are measured at most for this share of the time, so that statistics never take
# the processor from the application. Which inferences are left out depends on the clock alone, so the sample is fair.
LARGE_INPUT_BYTES: Final = 64 * 1024
LARGE_INPUT_SHARE: Final = 0.1


@dataclass(slots=True)
class _Truths:
    """Ground truth for the answers of one arm: rows, those answered wrongly, and both with positives by group."""

    n: int = 0
    errors: int = 0
    groups: dict[str, list[int]] = field(default_factory=dict)


class Counts:
    """Everything since the last ``take``, and the answers that a label may still come for."""

    def __init__(self, model: Model, release: ReleaseId) -> None:
        self._model, self._release = model, release
        self.arm, self.slow_over_s = Arm.SERVING, float("inf")
        confidence = model.baseline.confidence if model.baseline else None
        blob = model.release.baseline
        self._predictions = PredictionCounter(model.release.contract, confidence)
        self._features = FeatureCounter(model.baseline, blob.digest) if model.baseline and blob else None
        self._class_output = confidence.output if confidence else class_output(model.release.contract)
        self._waiting: list[tuple[int, Array]] = []
        self._waiting_bytes = 0
        self._measure_again_at_s = 0.0
        self._answers: dict[int, tuple[Arm, tuple[int, ...]]] = {}
        self._clear()

    @property
    def empty(self) -> bool:
        """Nothing was counted since the last ``take``."""
        return not (self._n or self._errors or self._truths or self._pairs or self._dropped)

    def answered(
        self,
        request: int,
        inputs: Mapping[str, Array] | None,
        outputs: Mapping[str, Array],
        *,
        total_ns: int,
        run_ns: int,
    ) -> None:
        """Count an answer. ``inputs`` are the raw ones; None when the client prepared them itself."""
        self._n += 1
        run_s = run_ns / 1e9
        self._latency.add(run_s)
        self._processing.add(max(total_ns - run_ns, 0) / 1e9)
        if run_s > self.slow_over_s:
            self._slow += 1
        if inputs is not None and self._features is not None:
            self._measure(self._features, inputs)
        scores = outputs.get(self._class_output) if self._class_output is not None else None
        if scores is None:
            self._remember(request, ())
            return
        self._waiting.append((request, scores))
        self._waiting_bytes += scores.nbytes
        if len(self._waiting) >= WAITING_MAX or self._waiting_bytes >= WAITING_BYTES_MAX:
            self._count_waiting()

    def failed(self, name: str, *, reached_the_model: bool) -> None:
        """Count an error by its class. One that the caller made is no inference."""
        self._n += reached_the_model
        self._errors[name] = self._errors.get(name, 0) + 1

    def compared(self, pairs: Pairs, *, dropped: int) -> None:
        """Count how an answer in the shadow compares, and the copies before it that were never asked."""
        self._pairs += pairs.pairs
        self._disagreements += pairs.disagreements
        self._dropped += dropped

    def label(self, request: int, truth: Truth) -> None:
        """Count ground truth for an answer that is still remembered, once per answer, in the arm that gave it."""
        self._count_waiting()
        arm, classes = self._answers.pop(request, (Arm.UNKNOWN, None))
        if classes is None:
            return
        if truth.correct is not None:
            self._labelled(arm, truth.group, 1, int(not truth.correct), sum(each > 0 for each in classes[:1]))
        elif len(truth.classes) <= len(classes):
            of_these = classes[: len(truth.classes)]
            wrong = sum(a != b for a, b in zip(truth.classes, of_these, strict=True))
            self._labelled(arm, truth.group, len(of_these), wrong, sum(each > 0 for each in of_these))

    def take(self) -> list[Block]:
        """Return what was counted and begin anew: this arm's block, then one for each arm that late labels are of."""
        self._count_waiting()
        mine = replace(
            self._labels_of(self.arm),
            n=self._n,
            errors=tuple(ErrorCount(name=name, n=n) for name, n in sorted(self._errors.items())),
            slow=self._slow,
            latency=self._latency.to_wire(),
            processing=self._processing.to_wire(),
            features=self._features.take() if self._features else None,
            predictions=self._predictions.take(),
            shadow=self._shadow() if self.arm is Arm.SHADOW else None,
        )
        others = [self._labels_of(arm) for arm in self._truths if arm is not self.arm]
        self._clear()
        return [mine, *others]

    def _labels_of(self, arm: Arm) -> Block:
        truths = self._truths.get(arm, _Truths())
        return Block(
            model=self._model.release.model,
            release=self._release,
            variant=self._model.variant.digest,
            arm=arm,
            labels=Labels(n=truths.n, errors=truths.errors) if truths.n else None,
            groups=tuple(
                GroupCounts(name=name, n=n, errors=errors, positives=positives)
                for name, (n, errors, positives) in truths.groups.items()
            ),
        )

    def _labelled(self, arm: Arm, group: str, n: int, errors: int, positives: int) -> None:
        truths = self._truths.setdefault(arm, _Truths())
        truths.n += n
        truths.errors += errors
        if group:
            known = group in truths.groups or len(truths.groups) < GROUPS_MAX - 1
            counts = truths.groups.setdefault(group if known else OTHER_GROUPS, [0, 0, 0])
            for place, more in enumerate((n, errors, positives)):
                counts[place] += more

    def _shadow(self) -> ShadowCounts:
        return ShadowCounts(pairs=self._pairs, disagreements=self._disagreements, dropped=self._dropped)

    def _measure(self, features: FeatureCounter, inputs: Mapping[str, Array]) -> None:
        if sum(array.nbytes for array in inputs.values()) <= LARGE_INPUT_BYTES:
            features.observe(inputs)
            return
        began = time.monotonic()
        if began >= self._measure_again_at_s:
            features.observe(inputs)
            ended = time.monotonic()
            self._measure_again_at_s = ended + (ended - began) * (1 / LARGE_INPUT_SHARE - 1)

    def _count_waiting(self) -> None:
        """Count the classes of the answers that wait, all rows of one shape at once."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        while waiting:
            like = waiting[0][1]
            alike = [each for each in waiting if _alike(each[1], like)]
            waiting = [each for each in waiting if not _alike(each[1], like)]
            rows = np.concatenate([np.atleast_1d(scores) for _, scores in alike])
            self._predictions.observe({self._class_output or "": rows})
            found = top1(rows)
            place = 0
            for request, scores in alike:
                n = len(scores) if scores.ndim else 1
                classes = () if found is None else tuple(found[0][place : place + min(n, ROWS_REMEMBERED_MAX)].tolist())
                self._remember(request, classes)
                place += n

    def _remember(self, request: int, classes: tuple[int, ...]) -> None:
        self._answers[request] = self.arm, classes
        if len(self._answers) > REMEMBERED_ANSWERS:
            del self._answers[next(iter(self._answers))]

    def _clear(self) -> None:
        self._n = self._slow = 0
        self._pairs = self._disagreements = self._dropped = 0
        self._errors: dict[str, int] = {}
        self._truths: dict[Arm, _Truths] = {}
        self._latency, self._processing = Histogram(), Histogram()


def _alike(a: Array, b: Array) -> bool:
    return a.shape[1:] == b.shape[1:] and a.dtype == b.dtype and a.ndim == b.ndim
