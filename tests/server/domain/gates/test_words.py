"""That a verdict can be read."""

from dataclasses import replace

import pytest

from pinnace_server.domain.gates import verdicts, words
from pinnace_server.domain.gates.evidence import Guard
from pinnace_server.domain.gates.settings import Settings
from pinnace_server.domain.gates.verdicts import Ground, Reason
from tests.server.domain.gates.fleets import arms, wave


def test_a_rollback_names_the_devices_it_was_made_from() -> None:
    verdict = verdicts.judge(wave(arms([(120, 6)] * 8 + [(120, 9)], [(120, 1)] * 4)), Settings())
    said = words.describe(verdict)
    assert said[0].startswith("errors got worse: evidence ×")
    assert said[1].startswith("most of errors came from candidate-8 (9, expected")


@pytest.mark.parametrize(
    ("guard", "says"),
    [
        (Guard.OUTCOME, "outcome got worse: evidence"),
        (Guard.FAIRNESS, "the gap between groups grew: evidence"),
        (Guard.PREDICTIONS, "predictions moved away from the control's: evidence"),
    ],
)
def test_each_guard_has_its_own_words(guard: Guard, says: str) -> None:
    verdict = verdicts.judge(wave(()), Settings())
    ground = Ground(reason=Reason.REGRESSION, found=9.0, needed=8.0, guard=guard)
    (said,) = words.describe(replace(verdict, grounds=(ground,)))
    assert said.startswith(says)


@pytest.mark.parametrize(
    ("ground", "says"),
    [
        pytest.param(
            Ground(reason=Reason.NOT_TOLD, guard=Guard.OUTCOME, needed=1, metric="acepted"),
            "no device of the wave has told outcome 'acepted' of the release: an application tells it under that name "
            "(POST /v1/models/MODEL/outcomes), or a policy names the metric that they tell",
            id="outcome",
        ),
        pytest.param(
            Ground(reason=Reason.NOT_TOLD, guard=Guard.FAIRNESS, found=1, needed=2),
            "answers of 1 of at least 2 groups were labelled on the release: an application tells the truth with its "
            "group (POST /v1/models/MODEL/labels), or a policy goes without fairness",
            id="fairness",
        ),
        pytest.param(
            Ground(reason=Reason.NOT_TOLD, guard=Guard.PREDICTIONS, needed=1),
            "no class of the release's answers was counted: it is asked and answers with classes, or a policy goes "
            "without predictions",
            id="predictions",
        ),
    ],
)
def test_what_nobody_tells_is_named_with_what_would_change_it(ground: Ground, says: str) -> None:
    verdict = verdicts.judge(wave(()), Settings())
    assert words.describe(replace(verdict, grounds=(ground,))) == (says,)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence(reason: Reason) -> None:
    verdict = verdicts.judge(wave(()), Settings())
    ground = Ground(reason=reason, found=100.0, needed=0.9, guard=Guard.ERRORS)
    said = words.describe(
        verdicts.Verdict(
            decision=verdict.decision,
            kind=verdict.kind,
            grounds=(ground,),
            readings=(),
            thresholds=verdict.thresholds,
            installs=verdict.installs,
        )
    )
    assert len(said) == 1
