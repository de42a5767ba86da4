"""What is counted for one report block: answers, errors, latency, features, predictions, labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pinnace_agent.worker.model import Model
from pinnace_agent.worker.protocol import REMEMBERED_ANSWERS, Truth
from pinnace_contract.histogram import Histogram
from pinnace_contract.ids import ReleaseId
from pinnace_contract.latest import Arm, Block, ErrorCount, Labels
from pinnace_runtime.arrays import Array
from pinnace_runtime.features import FeatureCounter
from pinnace_runtime.predictions import PredictionCounter, class_output, top1

ROWS_REMEMBERED_MAX: Final = 256  # of one answer; labels for later rows of a larger batch are not counted


class Counts:
    """Everything since the last ``take``, and the answers that a label may still come for."""

    def __init__(self, model: Model, release: ReleaseId) -> None:
        self._model, self._release = model, release
        self.arm, self.slow_over_s = Arm.SERVING, float("inf")
        confidence = model.baseline.confidence if model.baseline else None
        self._predictions = PredictionCounter(model.release.contract, confidence)
        blob = model.release.baseline
        self._features = FeatureCounter(model.baseline, blob.digest) if model.baseline and blob else None
        self._class_output = confidence.output if confidence else class_output(model.release.contract)
        self._answers = Answers()
        self._clear()

    @property
    def empty(self) -> bool:
        """Nothing was counted since the last ``take``."""
        return not (self._n or self._errors or self._labels or self._label_errors)

    def answered(
        self,
        request: int,
        inputs: Mapping[str, Array] | None,
        outputs: Mapping[str, Array],
        *,
        total_s: float,
        run_s: float,
    ) -> None:
        """Count an answer. ``inputs`` are the raw ones; None when the client prepared them itself."""
        self._n += 1
        self._latency.add(run_s)
        self._processing.add(max(total_s - run_s, 0.0))
        self._slow += run_s > self.slow_over_s
        if inputs is not None and self._features is not None:
            self._features.observe(inputs)
        self._predictions.observe(outputs)
        scores = outputs.get(self._class_output) if self._class_output is not None else None
        found = None if scores is None else top1(scores)
        self._answers.remember(request, tuple(found[0][:ROWS_REMEMBERED_MAX].tolist()) if found else ())

    def failed(self, name: str, *, reached_the_model: bool) -> None:
        """Count an error by its class. One that the caller made is no inference."""
        self._n += reached_the_model
        self._errors[name] = self._errors.get(name, 0) + 1

    def label(self, request: int, truth: Truth) -> None:
        """Count ground truth for an answer that is still remembered, once per answer."""
        classes = self._answers.recall(request)
        if classes is None:
            return
        if truth.correct is not None:
            self._labels += 1
            self._label_errors += not truth.correct
        elif len(truth.classes) <= len(classes):
            self._labels += len(truth.classes)
            self._label_errors += sum(a != b for a, b in zip(truth.classes, classes, strict=False))

    def take(self) -> Block:
        """Return what was counted and begin anew."""
        block = Block(
            model=self._model.release.model,
            release=self._release,
            variant=self._model.variant.digest,
            arm=self.arm,
            n=self._n,
            errors=tuple(ErrorCount(name=name, n=n) for name, n in sorted(self._errors.items())),
            slow=self._slow,
            latency=self._latency.to_wire(),
            processing=self._processing.to_wire(),
            features=self._features.take() if self._features else None,
            predictions=self._predictions.take(),
            labels=Labels(n=self._labels, errors=self._label_errors) if self._labels else None,
        )
        self._clear()
        return block

    def _clear(self) -> None:
        self._n = self._slow = self._labels = self._label_errors = 0
        self._errors: dict[str, int] = {}
        self._latency, self._processing = Histogram(), Histogram()


class Answers:
    """The classes of the last answers by request number."""

    def __init__(self, size: int = REMEMBERED_ANSWERS) -> None:
        self._size = size
        self._answers: dict[int, tuple[int, ...]] = {}

    def remember(self, request: int, classes: tuple[int, ...]) -> None:
        """Keep an answer; the oldest goes. Request numbers grow."""
        self._answers[request] = classes
        if len(self._answers) > self._size:
            del self._answers[next(iter(self._answers))]

    def recall(self, request: int) -> tuple[int, ...] | None:
        """Return an answer's classes and forget it; None when it was labelled already or is too long ago."""
        return self._answers.pop(request, None)
