"""What the demo measured: one value that becomes the JSON document and the lines at the end. Pure.

Owns names and sums. The JSON names are read by scripts: never changed, only added to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pinnace_server.demo.application import Tally
from pinnace_server.demo.story import AsTold
from pinnace_server.demo.versions import DemoVersion, Fate

WORDS = {
    Fate.COMMITTED: "committed",
    Fate.FAILED: "failed its self-test",
    Fate.REVERTED: "reverted in trial",
    Fate.ROLLED_BACK: "rolled back by the server",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Images of a stretch of time: answered by which version, unanswered for which reason."""

    answered: Mapping[str, int] = field(default_factory=dict)
    unanswered: Mapping[str, int] = field(default_factory=dict)
    labels: int = 0

    @property
    def answers(self) -> int:
        """How many got an answer."""
        return sum(self.answered.values())

    @property
    def without_answer(self) -> int:
        """How many got none."""
        return sum(self.unanswered.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """What one version did, and how long it took. ``refused`` is the converter's word, where somebody overrode it."""

    version: DemoVersion
    precisions: tuple[str, ...]
    refused: str
    verdict: AsTold
    images: Images


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The whole demo. ``problem`` is empty if everything happened as told."""

    devices: int
    chapters: tuple[Chapter, ...]
    images: Images
    seconds: float
    console: str
    problem: str = ""


def total(tallies: Iterable[Tally]) -> Images:
    """Add up what the applications noticed."""
    answered: Counter[str] = Counter()
    unanswered: Counter[str] = Counter()
    labels = 0
    for tally in tallies:
        answered.update(tally.answered)
        unanswered.update(tally.unanswered)
        labels += tally.labels
    return Images(answered=dict(answered), unanswered=dict(unanswered), labels=labels)


def since(earlier: Images, later: Images) -> Images:
    """Return what came between two totals."""
    return Images(
        answered=dict(Counter(later.answered) - Counter(earlier.answered)),
        unanswered=dict(Counter(later.unanswered) - Counter(earlier.unanswered)),
        labels=later.labels - earlier.labels,
    )


def document(figures: Figures) -> dict[str, object]:
    """Return the JSON document."""
    return {
        "as_told": not figures.problem,
        "problem": figures.problem or None,
        "devices": figures.devices,
        "seconds": round(figures.seconds, 1),
        "versions": [_chapter(chapter) for chapter in figures.chapters],
        "inferences": _images(figures.images),
        "console": figures.console,
    }


def lines(figures: Figures) -> list[str]:
    """Return the summary for the terminal."""
    images = figures.images
    reasons = ", ".join(f"{n} × {reason}" for reason, n in sorted(images.unanswered.items()))
    return [
        *(line for chapter in figures.chapters for line in _told(chapter)),
        "",
        f"{images.answers:,} images answered on {figures.devices} devices, {images.labels:,} labels told, "
        f"{images.without_answer:,} images without an answer{f' ({reasons})' if reasons else ''}.",
        "Times are from the assignment to the signed receipt of the device in the middle, and of the last one.",
    ]


def _told(chapter: Chapter) -> list[str]:
    verdict, images = chapter.verdict, chapter.images
    noticed = "" if verdict.noticed_s is None else f", noticed after {verdict.noticed_s:.1f} s"
    asked = images.answers + images.without_answer
    return [
        f"version {chapter.version.name}  {chapter.version.title}",
        f"           {WORDS[chapter.version.fate]} in {verdict.seconds_median:.1f} s "
        f"(last device {verdict.seconds_last:.1f} s{noticed}); {images.without_answer:,} of {asked:,} images "
        "without an answer",
        *([f"           {verdict.reason}"] if verdict.reason else []),
    ]


def _chapter(chapter: Chapter) -> dict[str, object]:
    verdict = chapter.verdict
    return {
        "version": chapter.version.name,
        "title": chapter.version.title,
        "fate": str(chapter.version.fate),
        "reason": verdict.reason,
        "seconds_median": round(verdict.seconds_median, 2),
        "seconds_last": round(verdict.seconds_last, 2),
        "seconds_noticed": None if verdict.noticed_s is None else round(verdict.noticed_s, 2),
        "precisions": list(chapter.precisions),
        "converter_refused": chapter.refused or None,
        "force_reason": chapter.version.force_reason or None,
        "inferences": _images(chapter.images),
    }


def _images(images: Images) -> dict[str, object]:
    return {
        "answered": images.answers,
        "answered_by_version": dict(sorted(images.answered.items())),
        "unanswered": images.without_answer,
        "unanswered_by_reason": dict(sorted(images.unanswered.items())),
        "labels": images.labels,
    }
