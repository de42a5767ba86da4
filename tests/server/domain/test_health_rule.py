"""When the plain rule fires, and that its verdict can be worked out again."""

from __future__ import annotations

import pytest

from pinnace_server.domain import health_rule
from pinnace_server.domain.health_rule import Finding
from pinnace_server.domain.records import Counts

NOTHING = Counts()
GOOD_BEFORE = Counts(labels=1000, label_errors=20)


@pytest.mark.parametrize(
    ("candidate", "previous", "expected", "finding"),
    [
        pytest.param(Counts(predictions=299, below=299), NOTHING, 0.1, Finding.COLLECTING, id="one answer short"),
        pytest.param(Counts(predictions=300, below=90), NOTHING, 0.1, Finding.LOW_CONFIDENCE, id="three times"),
        pytest.param(Counts(predictions=300, below=89), NOTHING, 0.1, Finding.GOOD, id="less than three times"),
        pytest.param(Counts(predictions=300, below=300), NOTHING, None, Finding.COLLECTING, id="no baseline"),
        pytest.param(Counts(predictions=300, below=300), NOTHING, 0.0, Finding.COLLECTING, id="baseline of nothing"),
        pytest.param(Counts(labels=500, label_errors=20), GOOD_BEFORE, None, Finding.LABEL_ERRORS, id="twice"),
        pytest.param(Counts(labels=500, label_errors=19), GOOD_BEFORE, None, Finding.GOOD, id="less than twice"),
        pytest.param(Counts(labels=499, label_errors=499), GOOD_BEFORE, None, Finding.COLLECTING, id="one label short"),
        pytest.param(
            Counts(labels=500, label_errors=500),
            Counts(labels=499),
            None,
            Finding.COLLECTING,
            id="few labels before",
        ),
        pytest.param(
            Counts(labels=500, label_errors=0), Counts(labels=500), None, Finding.GOOD, id="no error, before nor after"
        ),
        pytest.param(Counts(labels=500, label_errors=1), Counts(labels=500), None, Finding.GOOD, id="first error ever"),
        pytest.param(
            Counts(labels=500, label_errors=2), Counts(labels=500), None, Finding.LABEL_ERRORS, id="second error ever"
        ),
        pytest.param(
            Counts(predictions=1000, below=50, labels=500, label_errors=400),
            GOOD_BEFORE,
            0.1,
            Finding.LABEL_ERRORS,
            id="sure of itself and wrong",
        ),
    ],
)
def test_rule_finds(candidate: Counts, previous: Counts, expected: float | None, finding: Finding) -> None:
    verdict = health_rule.judge(candidate, previous, expected)
    assert verdict.finding is finding
    assert verdict.fires == (finding in (Finding.LOW_CONFIDENCE, Finding.LABEL_ERRORS))


def test_verdict_carries_all_that_it_was_made_from() -> None:
    candidate = Counts(predictions=400, below=200, labels=600, label_errors=60)
    verdict = health_rule.judge(candidate, GOOD_BEFORE, 0.1)
    inputs = verdict.inputs
    again = health_rule.judge(
        Counts(
            predictions=int(inputs["predictions"]),
            below=int(inputs["below_threshold"]),
            labels=int(inputs["labels"]),
            label_errors=int(inputs["label_errors"]),
        ),
        Counts(labels=int(inputs["previous_labels"]), label_errors=int(inputs["previous_label_errors"])),
        float(inputs["expected_share_below"]),
    )
    assert again == verdict
    assert "50.0%" in verdict.text
