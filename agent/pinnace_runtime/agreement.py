"""Whether two models that were asked the same say the same: by class where they tell classes, else by how far apart.

Owns what a pair is and when it disagrees. How many disagreements are too many is the server's part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pinnace_contract.latest import IoContract
from pinnace_runtime import golden
from pinnace_runtime.arrays import Array
from pinnace_runtime.predictions import class_output, top1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """How many answers were compared, and in how many of them the two differed."""

    pairs: int = 0
    disagreements: int = 0


class Agreement:
    """Compares in the terms of the candidate's release."""

    def __init__(self, contract: IoContract, max_abs: float | None, classes_in: str | None = None) -> None:
        """``max_abs`` is how far apart numbers may be, None if the release does not say; ``classes_in`` the output
        that tells classes, by default the contract's.
        """
        self._max_abs = max_abs
        self._classes_in = class_output(contract) if classes_in is None else classes_in

    def compare(self, control: Mapping[str, Array], candidate: Mapping[str, Array] | None) -> Pairs:
        """Compare the answers to one request; None is no answer, which agrees with nothing.

        Classes are compared row by row, by their place, as applications see them. Other outputs make one pair: whole
        numbers are equal or not, real ones are at most ``max_abs`` apart, and no pair where nobody said how far.
        """
        classes = self._classes(control)
        if classes is not None:
            return _classes_compared(classes, None if candidate is None else self._classes(candidate))
        if candidate is None:
            return Pairs(pairs=1, disagreements=1)
        verdicts = [self._agrees(expected, candidate.get(name)) for name, expected in control.items()]
        if all(verdict is None for verdict in verdicts):
            return Pairs()
        return Pairs(pairs=1, disagreements=int(False in verdicts))

    def _classes(self, outputs: Mapping[str, Array]) -> Array | None:
        scores = outputs.get(self._classes_in) if self._classes_in is not None else None
        found = None if scores is None else top1(scores)
        return None if found is None else found[0]

    def _agrees(self, expected: Array, found: Array | None) -> bool | None:
        if found is None or found.shape != expected.shape:
            return False
        difference = golden.compare(expected, found)
        if difference.max_abs is None:
            return difference.agrees
        return None if self._max_abs is None else difference.max_abs <= self._max_abs


def _classes_compared(control: Array, candidate: Array | None) -> Pairs:
    if candidate is None or candidate.shape != control.shape:
        return Pairs(pairs=len(control), disagreements=len(control))
    return Pairs(pairs=len(control), disagreements=int((control != candidate).sum()))
