"""Eras: numbers of an older one are always the smaller, and what is left of an assignment after a restore."""

from __future__ import annotations

import pytest

from pinnace_contract.latest import Cause, ModelState, Outcome, Phase
from pinnace_server.domain import eras
from tests.server.db.contract.rows import DIGITS, assignment

NOW = 9.0


def state(generation: int) -> ModelState:
    return ModelState(model=DIGITS, generation=generation, phase=Phase.IDLE)


def test_every_number_of_an_era_is_above_those_of_the_one_before() -> None:
    assert eras.base_of(0) == 0
    assert eras.era_of(eras.base_of(3) + 7) == 3
    assert eras.base_of(4) > eras.base_of(3) + 2**31
    assert eras.base_of(eras.ERA_MAX + 1) == 2**53


@pytest.mark.parametrize(
    ("said", "outcome", "generation"),
    [
        pytest.param(None, None, 99, id="of a model that it does not know"),
        pytest.param(state(0), None, 99, id="before it was followed"),
        pytest.param(state(1), None, 99, id="followed, and its receipt is lost"),
        pytest.param(state(2), Outcome.SUPERSEDED, 1, id="overtaken by a newer word"),
    ],
)
def test_what_had_not_ended_is_said_again_unless_it_was_overtaken(
    said: ModelState | None, outcome: Outcome | None, generation: int
) -> None:
    found = eras.adopted(assignment(1, DIGITS, "r1"), said, 99, NOW)
    assert (found.outcome, found.entry.generation) == (outcome, generation)
    assert (found.cause is Cause.GENERATION_SUPERSEDED) == (outcome is not None)


def test_what_had_ended_stays_as_it_is() -> None:
    ended = assignment(1, DIGITS, "r1", outcome=Outcome.COMMITTED)
    assert eras.adopted(ended, state(7), 99, NOW) is ended
