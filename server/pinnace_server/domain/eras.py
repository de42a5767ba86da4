"""Eras of generations: a server that was put back from a backup begins a new one, above all that it ever reserved.

A generation is ``era * 2**32 + n``. Nobody counts that far in one era, so that a number of an older one is always the
smaller, whatever the backup has forgotten.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pinnace_contract.latest import Cause, ModelState, Outcome
from pinnace_server.domain.records import Assignment

BITS: Final = 32
ERA_MAX: Final = 2**21 - 1  # so that a generation stays below 2**53: what every JSON reader takes for a whole number


def era_of(generation: int) -> int:
    """Return the era that a generation was reserved in."""
    return generation >> BITS


def base_of(era: int) -> int:
    """Return the number that every generation of an era is above, or is."""
    return era << BITS


def adopted(assignment: Assignment, state: ModelState | None, generation: int, now_s: float) -> Assignment:
    """Return an assignment of before a restore as it stands once the device has said what it runs.

    What had not ended is said again under ``generation``: its receipt may have been given to the server that was lost.
    Where the device follows a newer word than this one, that word stays.
    """
    if assignment.outcome is not None:
        return assignment
    if state is not None and state.generation > assignment.entry.generation:
        return replace(
            assignment,
            outcome=Outcome.SUPERSEDED,
            cause=Cause.GENERATION_SUPERSEDED,
            detail=f"the device follows generation {state.generation}, of before this server was restored",
            ended_at_s=now_s,
        )
    return replace(assignment, entry=replace(assignment.entry, generation=generation))
