"""The name of an answer says who gave it, and anything else is no name."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from pinnace_agent.worker.answer_name import AnswerName, named, read, worker_tag
from pinnace_contract.latest import Arm


@pytest.mark.parametrize("arm", [each for each in Arm if each is not Arm.UNKNOWN])
def test_what_a_name_is_made_of_is_read_again(arm: Arm) -> None:
    name = named(worker_tag("5f0c1a2b", 0x1C), arm, 0xC1F)
    assert read(name) == AnswerName(run="5f0c1a2b", worker=0x1C, arm=arm, number=0xC1F)


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", "a-1", "a-1-s", "a-1-1f", "a-1-x1", "a-1-S1", "a--s1", "a-1-s1-", "a-b-1-s1", "a-1-s 1", "a-1-s-1"),
        *(
            "a-1-sg",
            "a-g-s1",
            "a-1-s+1",
            "a-0x1-s1",
            "a-1-s1_0",
            "a-1-s\u0661",
            "a-1-s" + "0" * 17,
            f"a-{'0' * 5000}-s1",
        ),
    ],
)
def test_anything_else_is_no_name(text: str) -> None:
    assert read(text) is None


@given(text=strategies.text(alphabet="0123456789abcdefghs-", max_size=20))
def test_any_text_is_read(text: str) -> None:
    found = read(text)
    assert found is None or found.number >= 0
