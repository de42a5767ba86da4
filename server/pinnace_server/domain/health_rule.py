"""The plain rule that moves a rollout's devices back, until gates with statistics replace it.

It fires when the share of answers under the release's own signed confidence threshold is at least three times what the
release promised, over at least 300 inferences, or when label errors are at least twice those of the previous release,
over at least 500 labels. Inputs are merged report counts of the rollout's devices; the verdict carries them all, so
that anybody can work it out again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pinnace_server.domain.records import Counts

INFERENCES_MIN: Final = 300
CONFIDENCE_FACTOR: Final = 3.0
LABELS_MIN: Final = 500
LABEL_ERRORS_FACTOR: Final = 2.0


class Finding(StrEnum):
    """What the rule says."""

    COLLECTING = "collecting"
    GOOD = "good"
    LOW_CONFIDENCE = "low_confidence"
    LABEL_ERRORS = "label_errors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The finding, in words, and everything it was made from."""

    finding: Finding
    text: str
    inputs: Mapping[str, str]

    @property
    def fires(self) -> bool:
        """Whether the devices must be moved back."""
        return self.finding in (Finding.LOW_CONFIDENCE, Finding.LABEL_ERRORS)


def judge(candidate: Counts, previous: Counts, share_below: float | None) -> Verdict:
    """Judge what a rollout's devices answered on its release (``candidate``) beside the release before (``previous``).

    ``share_below`` is what the signed baseline expects; None: the release has no baseline and only labels count. One
    label error of the previous release is assumed where it made none: twice nothing would fire at the first error.
    """
    inputs = {
        "predictions": str(candidate.predictions),
        "below_threshold": str(candidate.below),
        "expected_share_below": "" if share_below is None else f"{share_below:.6g}",
        "labels": str(candidate.labels),
        "label_errors": str(candidate.label_errors),
        "previous_labels": str(previous.labels),
        "previous_label_errors": str(previous.label_errors),
        "rule": (
            f"share below ≥ {CONFIDENCE_FACTOR:g} × expected over ≥ {INFERENCES_MIN} inferences, or label errors "
            f"≥ {LABEL_ERRORS_FACTOR:g} × the previous release over ≥ {LABELS_MIN} labels"
        ),
    }
    confident = _confidence(candidate, share_below)
    labelled = _labels(candidate, previous)
    for finding, text in (confident, labelled):
        if finding not in (Finding.COLLECTING, Finding.GOOD):
            return Verdict(finding=finding, text=text, inputs=inputs)
    good = confident if confident[0] is Finding.GOOD else labelled
    return Verdict(finding=good[0], text=good[1], inputs=inputs)


def _confidence(candidate: Counts, share_below: float | None) -> tuple[Finding, str]:
    if share_below is None or share_below <= 0:
        return Finding.COLLECTING, "the release has no confidence baseline"
    if candidate.predictions < INFERENCES_MIN:
        return Finding.COLLECTING, f"{candidate.predictions} of {INFERENCES_MIN} inferences"
    share = candidate.below / candidate.predictions
    text = (
        f"{share:.1%} of {candidate.predictions} answers were under the release's confidence threshold, "
        f"{share_below:.1%} were expected"
    )
    return (Finding.LOW_CONFIDENCE if _reaches(share, CONFIDENCE_FACTOR * share_below) else Finding.GOOD), text


def _labels(candidate: Counts, previous: Counts) -> tuple[Finding, str]:
    if candidate.labels < LABELS_MIN or previous.labels < LABELS_MIN:
        n = min(candidate.labels, previous.labels)
        return Finding.COLLECTING, f"{n} of {LABELS_MIN} labels"
    share = candidate.label_errors / candidate.labels
    before = max(previous.label_errors, 1) / previous.labels
    text = (
        f"{share:.1%} of {candidate.labels} labelled answers were wrong, "
        f"{previous.label_errors / previous.labels:.1%} of {previous.labels} with the release before"
    )
    return (Finding.LABEL_ERRORS if _reaches(share, LABEL_ERRORS_FACTOR * before) else Finding.GOOD), text


def _reaches(share: float, limit: float) -> bool:
    return share >= limit * (1 - 1e-9)  # 90 of 300 is three times 0.1, which floats would deny
