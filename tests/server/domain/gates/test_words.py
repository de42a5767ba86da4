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
