"""When two models that were asked the same say the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from pinnace_contract.latest import Datatype, IoContract, TensorSpec
from pinnace_runtime.agreement import Agreement, Pairs

SCORES = IoContract(
    inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 4)),),
    outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(-1, 3), classes=("zero", "one", "two")),),
)
NUMBERS = IoContract(
    inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 4)),),
    outputs=(
        TensorSpec(name="temperature", datatype=Datatype.FP32, shape=(-1, 1)),
        TensorSpec(name="count", datatype=Datatype.INT64, shape=(-1, 1)),
    ),
)


def scores(*rows: list[float]) -> dict[str, Any]:
    return {"y": np.array(rows, np.float32)}


def numbers(temperature: float, count: int = 3) -> dict[str, Any]:
    return {"temperature": np.array([[temperature]], np.float32), "count": np.array([[count]], np.int64)}


@dataclass(frozen=True, kw_only=True)
class Case:
    sentence: str
    contract: IoContract = SCORES
    max_abs: float | None = 0.5
    control: dict[str, Any]
    candidate: dict[str, Any] | None
    found: tuple[int, int]


CASES = [
    Case(
        sentence="the same class with other confidence agrees",
        control=scores([0.9, 0.1, 0.0]),
        candidate=scores([0.4, 0.3, 0.3]),
        found=(1, 0),
    ),
    Case(
        sentence="another class disagrees, however near the numbers are",
        control=scores([0.34, 0.33, 0.33]),
        candidate=scores([0.33, 0.34, 0.33]),
        found=(1, 1),
    ),
    Case(
        sentence="every row of a batch is a pair",
        control=scores([1, 0, 0], [0, 1, 0], [0, 0, 1]),
        candidate=scores([1, 0, 0], [1, 0, 0], [0, 0, 1]),
        found=(3, 1),
    ),
    Case(
        sentence="a batch of another length disagrees in all rows",
        control=scores([1, 0, 0], [0, 1, 0]),
        candidate=scores([1, 0, 0]),
        found=(2, 2),
    ),
    Case(sentence="no answer agrees with nothing", control=scores([1, 0, 0]), candidate=None, found=(1, 1)),
    Case(
        sentence="an answer without the classes agrees with nothing",
        control=scores([1, 0, 0]),
        candidate={},
        found=(1, 1),
    ),
    Case(
        sentence="numbers within the tolerance agree",
        contract=NUMBERS,
        control=numbers(20.0),
        candidate=numbers(20.5),
        found=(1, 0),
    ),
    Case(
        sentence="numbers beyond the tolerance disagree",
        contract=NUMBERS,
        control=numbers(20.0),
        candidate=numbers(20.6),
        found=(1, 1),
    ),
    Case(
        sentence="no number is far from every number",
        contract=NUMBERS,
        control=numbers(20.0),
        candidate=numbers(float("nan")),
        found=(1, 1),
    ),
    Case(
        sentence="whole numbers are equal or not",
        contract=NUMBERS,
        control=numbers(20.0, 3),
        candidate=numbers(20.0, 4),
        found=(1, 1),
    ),
    Case(
        sentence="without a tolerance whole numbers still speak",
        contract=NUMBERS,
        max_abs=None,
        control=numbers(20.0, 3),
        candidate=numbers(90.0, 3),
        found=(1, 0),
    ),
    Case(
        sentence="without a tolerance real numbers are no pair",
        contract=NUMBERS,
        max_abs=None,
        control={"temperature": np.zeros((1, 1), np.float32)},
        candidate={"temperature": np.ones((1, 1), np.float32)},
        found=(0, 0),
    ),
    Case(
        sentence="another shape disagrees",
        contract=NUMBERS,
        control={"temperature": np.zeros((1, 1), np.float32)},
        candidate={"temperature": np.zeros((2, 1), np.float32)},
        found=(1, 1),
    ),
    Case(
        sentence="no answer to numbers disagrees", contract=NUMBERS, control=numbers(1.0), candidate=None, found=(1, 1)
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sentence)
def test_compared(case: Case) -> None:
    pairs, disagreements = case.found
    found = Agreement(case.contract, case.max_abs).compare(case.control, case.candidate)
    assert found == Pairs(pairs=pairs, disagreements=disagreements)
