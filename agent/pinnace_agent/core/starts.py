"""How often a candidate's worker may be started.

``left`` goes down before each start and is saved with it; a minute of health, or an orderly stop, gives it back.
"""

from __future__ import annotations

from dataclasses import replace

from pinnace_agent.core import health
from pinnace_agent.core.slot import Reason, Start, Work, because
from pinnace_agent.core.surroundings import Surroundings
from pinnace_contract.latest import Cause


def started(work: Work, around: Surroundings) -> Work:
    """Return the attempt with one start used up; saved before the worker starts."""
    return replace(work, left=work.left - 1, start=Start(boot=around.host.boot))


def no_starts_left(work: Work, cause: Cause) -> Reason | None:
    """Return why a candidate is not started again, or None."""
    if work.left > 0:
        return None
    return because(cause, f"{work.entry.trial.starts} starts ended without a minute of health")


def with_start_given_back(work: Work) -> Work:
    """A start that lived a minute does not count, so a power cut after it costs nothing."""
    lived, start = work.trial or work.shadow, work.start
    if lived is None or start is None or start.given_back or not lived.up or lived.up_s < health.HEALTH_S:
        return work
    return replace(work, left=work.left + 1, start=replace(start, given_back=True))


def stopped_in_order(work: Work) -> Work:
    """An orderly stop says nothing about the candidate: its start does not count."""
    if work.start is None or work.start.given_back:
        return work
    return replace(work, left=work.left + 1, start=replace(work.start, given_back=True))


def no_starts_left_after_loss(work: Work) -> Reason | None:
    """Return why a candidate is not started again after the device or the agent went down with it."""
    return no_starts_left(work, Cause.CRASHED)
