"""What applications ask for, however often and for whatever model: the agent goes on, and keeps room for the rest."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Callable
from typing import Any

import pytest

from pinnace_agent.core import events
from pinnace_agent.core.device import SLOTS_MAX
from pinnace_agent.daemon import ARRIVALS_MAX, arrivals
from pinnace_agent.outcomes import NotTaken, Outcomes
from pinnace_agent.parts import QUEUE_MAX
from pinnace_agent.requests import MODELS_MAX, SAVED_MAX, SAVED_WITHIN_S, WAITING_MAX, Desk, Request
from pinnace_contract.ids import Digest, ModelName

DIGITS = ModelName("digits")
ACCEPTS = (Digest("a" * 64),)


def desk_with(*models: ModelName) -> tuple[Desk, queue.Queue[Any]]:
    happened: queue.Queue[Any] = queue.Queue(QUEUE_MAX)
    minutes = itertools.count()
    desk = Desk(
        happened,
        lambda _model, _truths: None,
        Outcomes(lambda _: None, lambda _: (), lambda: 0.0),
        lambda: next(minutes) * SAVED_WITHIN_S,
    )
    desk.models = frozenset(models)
    return desk, happened


@pytest.mark.parametrize(
    "ask",
    [lambda desk: desk.veto(DIGITS, 5, ""), lambda desk: desk.lift_veto(DIGITS), lambda desk: desk.accept(DIGITS, ())],
    ids=["veto", "lift", "accept"],
)
def test_who_asks_faster_than_the_agent_works_is_told_so_and_leaves_room_for_workers(
    ask: Callable[[Desk], bool],
) -> None:
    desk, happened = desk_with(DIGITS)
    for _ in range(WAITING_MAX):
        assert ask(desk)
    with pytest.raises(NotTaken, match="busy") as refused:
        ask(desk)
    assert (refused.value.status, refused.value.retry_after_s) == (503, 2)
    assert happened.qsize() == WAITING_MAX < QUEUE_MAX / 2
    happened.get()
    assert ask(desk)


def test_what_is_saved_is_taken_so_often_and_no_oftener() -> None:
    """Each veto is written to the flash, twice; an application in a loop would wear it out."""
    desk, happened = desk_with(DIGITS)
    now_s = 0.0
    desk._clock = lambda: now_s
    for number in range(SAVED_MAX):
        now_s = number / 2
        assert desk.veto(DIGITS, 5, "")
    with pytest.raises(NotTaken, match="60 times a minute") as refused:
        desk.accept(DIGITS, ())
    assert (refused.value.status, refused.value.retry_after_s) == (503, 31)
    assert happened.qsize() == SAVED_MAX
    now_s = SAVED_WITHIN_S
    assert desk.lift_veto(DIGITS)


def test_a_turn_ends_however_much_happens() -> None:
    class Flooded(queue.Queue[Any]):
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            return Request(model=DIGITS, event=events.VetoLifted())

    assert len(list(arrivals(Flooded(), 0.0))) == ARRIVALS_MAX


def test_a_turn_takes_what_there_is_and_waits_for_no_more() -> None:
    happened: queue.Queue[Any] = queue.Queue()
    assert list(arrivals(happened, 0.0)) == []
    for number in range(3):
        happened.put(number)
    assert list(arrivals(happened, 60.0)) == [0, 1, 2]


def test_a_veto_is_for_a_model_that_is_here() -> None:
    """A slot for each name that an application thinks of would leave none for what is assigned."""
    desk, happened = desk_with()
    assert not desk.veto(DIGITS, 5, "")
    assert not desk.lift_veto(DIGITS)
    assert happened.empty()


def test_declared_models_leave_room_for_assigned_ones() -> None:
    desk, happened = desk_with(DIGITS)
    for number in range(MODELS_MAX - 1):
        assert desk.accept(ModelName(f"m{number}"), ACCEPTS)
        assert desk.accept(ModelName(f"m{number}"), ACCEPTS), "the same one again takes no place"
    with pytest.raises(NotTaken, match=f"no model 'one-more', and {MODELS_MAX} others already") as refused:
        desk.accept(ModelName("one-more"), ACCEPTS)
    assert refused.value.status == 409
    assert desk.accept(DIGITS, ACCEPTS)
    assert MODELS_MAX <= SLOTS_MAX / 2
    assert happened.qsize() == 2 * (MODELS_MAX - 1) + 1
