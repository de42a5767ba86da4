"""The demo's figures: sums over devices, differences in time, and a document that scripts can rely on."""

from __future__ import annotations

import json

from pinnace_server.demo import figures
from pinnace_server.demo.application import Tally
from pinnace_server.demo.figures import Chapter, Figures, Images
from pinnace_server.demo.story import AsTold
from pinnace_server.demo.versions import VERSIONS

IMAGES = Images(answered={"1": 310, "4": 1122}, unanswered={"status 503": 3}, labels=1440)
CHAPTER = Chapter(
    version=VERSIONS[3],
    precisions=("fp32",),
    refused="",
    verdict=AsTold(seconds=(13.0, 13.5, 14.04), reason="57.1% of 340 answers", noticed_s=11.65),
    images=IMAGES,
)
FIGURES = Figures(devices=5, chapters=(CHAPTER,), images=IMAGES, seconds=61.25, console="http://127.0.0.1:8080")


def test_devices_are_added_up_and_stretches_are_differences() -> None:
    earlier = figures.total([Tally(answered={"1": 2}, unanswered={"status 503": 1}, labels=2), Tally()])
    later = figures.total(
        [
            Tally(answered={"1": 2, "2": 1}, unanswered={"status 503": 1}, labels=3),
            Tally(answered={"1": 4}, unanswered={"connection lost": 1}),
        ]
    )
    assert (later.answers, later.without_answer) == (7, 2)
    assert figures.since(earlier, later) == Images(
        answered={"1": 4, "2": 1}, unanswered={"connection lost": 1}, labels=1
    )


def test_the_document_is_json_and_says_what_became_of_each_version() -> None:
    document = json.loads(json.dumps(figures.document(FIGURES)))
    assert (document["as_told"], document["problem"], document["devices"]) == (True, None, 5)
    (version,) = document["versions"]
    assert version["fate"] == "rolled_back"
    assert (version["seconds_median"], version["seconds_last"], version["seconds_noticed"]) == (13.5, 14.04, 11.65)
    assert version["inferences"]["answered_by_version"] == {"1": 310, "4": 1122}
    assert version["inferences"]["unanswered"] == 3


def test_a_problem_is_said_with_what_was_measured_until_then() -> None:
    failed = Figures(devices=5, chapters=(), images=Images(), seconds=3.0, console="", problem="version 2 committed")
    document = figures.document(failed)
    assert (document["as_told"], document["problem"], document["versions"]) == (False, "version 2 committed", [])


def test_the_summary_names_times_reasons_and_images_without_an_answer() -> None:
    text = "\n".join(figures.lines(FIGURES))
    for words in (
        "version 4  trained on images shifted by one pixel",
        "rolled back by the server in 13.5 s (last device 14.0 s, noticed after 11.7 s)",
        "3 of 1,435 images without an answer",
        "57.1% of 340 answers",
        "1,432 images answered on 5 devices, 1,440 labels told, 3 images without an answer (3 × status 503)",
    ):
        assert words in text
