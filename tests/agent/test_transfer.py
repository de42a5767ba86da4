"""What a device asks for, and when it asks again."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from pinnace_agent import transfer
from pinnace_contract.ids import digest_of

BLOB = digest_of(b"weights")


def wish(chunks: int, missing: set[int] | None = None) -> transfer.Wish:
    return transfer.Wish(
        blob=BLOB, chunks=chunks, missing=frozenset(range(chunks)) if missing is None else frozenset(missing)
    )


def test_every_missing_chunk_is_in_the_bitmap() -> None:
    asked, bits = transfer.ask(wish(20, {0, 9, 19}), 0.0, random.Random(1))
    assert bits == bytes([0b1, 0b10, 0b1000])
    assert asked.asked == {0, 9, 19}


def test_it_does_not_ask_again_while_an_answer_may_come() -> None:
    asked, _ = transfer.ask(wish(20), 0.0, random.Random(1))
    assert transfer.ask(asked, 1.0, random.Random(1)) == (asked, None)


def test_it_asks_again_when_the_window_has_come() -> None:
    asked, _ = transfer.ask(wish(20), 0.0, random.Random(1))
    for index in range(transfer.WINDOW_CHUNKS):
        asked = transfer.arrived(asked, index, 0.5)
    asked, bits = transfer.ask(asked, 0.5, random.Random(1))
    assert bits is not None
    assert asked.asked == {16, 17, 18, 19}


def test_overdue_questions_back_off_to_a_minute() -> None:
    now, questions, state = 0.0, [], wish(3)
    while now < 1000:
        state, bits = transfer.ask(state, now, random.Random(1))
        if bits is not None:
            questions.append(now)
        now += 0.5
    gaps = [later - earlier for earlier, later in itertools.pairwise(questions)]
    assert gaps == sorted(gaps)
    assert 45 <= gaps[-1] <= 75


def test_a_link_that_needs_longer_for_a_chunk_is_not_asked_again_meanwhile() -> None:
    state, _ = transfer.ask(wish(16), 0.0, random.Random(1))
    for index, now in enumerate((3.0, 6.0, 9.0)):
        state = transfer.arrived(state, index, now)
        assert transfer.ask(state, now + 2.9, random.Random(1)) == (state, None)
    late, bits = transfer.ask(state, 9.0 + 2 * transfer.PACES * 3.0, random.Random(1))
    assert bits is not None
    assert late.tries == 1


def test_what_a_link_once_took_is_forgotten_as_it_gets_faster() -> None:
    state, _ = transfer.ask(wish(40), 0.0, random.Random(1))
    state = transfer.arrived(state, 0, 10.0)
    assert state.pace_s == 10.0
    for index in range(1, 16):
        state = transfer.arrived(state, index, 10.0 + index * 0.01)
    assert state.pace_s < 0.5


def test_a_chunk_resets_the_back_off() -> None:
    state, _ = transfer.ask(wish(40), 0.0, random.Random(1))
    state, bits = transfer.ask(state, 100.0, random.Random(1))
    assert bits is not None
    assert state.tries == 1
    assert transfer.arrived(state, 0, 101.0).tries == 0


def test_a_whole_blob_asks_nothing() -> None:
    assert transfer.ask(wish(1, set()), 0.0, random.Random(1))[1] is None


@given(st.integers(1, 100), st.floats(0, 0.9), st.integers(0, 2**32))
def test_any_loss_and_duplication_ends_with_every_chunk(chunks: int, loss: float, seed: int) -> None:
    chance = random.Random(seed)
    state, now = wish(chunks), 0.0
    for _ in range(20_000):
        state, bits = transfer.ask(state, now, chance)
        if bits is not None:
            sent = [index for index in range(chunks) if bits[index // 8] >> index % 8 & 1][: transfer.WINDOW_CHUNKS]
            for index in [*sent, *sent[:2]]:
                if chance.random() >= loss:
                    state = transfer.arrived(state, index, now)
        if state.complete:
            break
        now += 1.0
    assert state.complete
