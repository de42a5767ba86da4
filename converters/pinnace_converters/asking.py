"""Asks a pipeline many rows and keeps the answers in order; inside the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from pinnace_converters.errors import ModelRefused
from pinnace_runtime.arrays import Array
from pinnace_runtime.errors import RunFailed

ROWS_AT_ONCE: Final = 32
_REPEATED_ROWS: Final = 8

Infer = Callable[[Mapping[str, Array]], dict[str, Array]]


def rows(inputs: Mapping[str, Array], start: int, stop: int) -> dict[str, Array]:
    """Return some rows of every input."""
    return {name: array[start:stop] for name, array in inputs.items()}


def count(inputs: Mapping[str, Array]) -> int:
    """Return how many rows there are."""
    return len(next(iter(inputs.values())))


def takes_batches(infer: Infer, inputs: Mapping[str, Array]) -> bool:
    """Tell whether two rows at once are two answers; some files are made for one row and do not say so."""
    try:
        return all(array.ndim > 0 and len(array) == 2 for array in infer(rows(inputs, 0, 2)).values())
    except RunFailed:
        return False


def all_answers(infer: Infer, inputs: Mapping[str, Array], at_once: int) -> dict[str, Array]:
    """Return the answers to all rows."""
    pieces = [infer(rows(inputs, start, start + at_once)) for start in range(0, count(inputs), at_once)]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def check_repeatable(infer: Infer, inputs: Mapping[str, Array]) -> None:
    """Refuse a model that answers the same input differently.

    Raises:
        ModelRefused
    """
    for i in range(min(_REPEATED_ROWS, count(inputs))):
        first, second = infer(rows(inputs, i, i + 1)), infer(rows(inputs, i, i + 1))
        for name, answer in first.items():
            if not np.array_equal(answer, second[name], equal_nan=answer.dtype.kind == "f"):
                raise ModelRefused(
                    f"output {name!r} differs between two runs on the same input: it has a random operator or reads "
                    "memory that nobody wrote"
                )
