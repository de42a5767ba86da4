"""Reads every blob of a variant from the disk, beside the loop: gigabytes on a slow card take minutes.

What was found comes back by the loop's queue, as anything else that happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from pinnace_agent.core import effects, events
from pinnace_agent.errors import AgentError
from pinnace_agent.releases import Releases
from pinnace_contract.ids import ModelName
from pinnace_contract.latest import Blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed:
    """Every blob of a variant was read from the disk; ``problem`` is what was wrong."""

    model: ModelName
    ticket: int
    problem: AgentError | None

    @property
    def answer(self) -> events.Verified | events.VerifyFailed:
        """What the lifecycle is told."""
        return events.Verified(ticket=self.ticket) if self.problem is None else _failed(self.ticket, self.problem)


class Disk(Protocol):
    """Where the blobs lie."""

    def finish(self, blobs: Iterable[Blob]) -> None: ...


class Hashing:
    """Carries out ``Verify``. ``beside`` runs work that takes minutes; ``done`` may be called by any thread."""

    def __init__(
        self,
        releases: Releases,
        disk: Disk,
        beside: Callable[[Callable[[], None]], None],
        done: Callable[[Hashed], None],
    ) -> None:
        self._releases, self._disk, self._beside, self._done = releases, disk, beside, done

    def begin(self, effect: effects.Verify) -> events.VerifyFailed | None:
        """Begin to hash; returns why there is nothing to hash, where that is so."""
        try:
            release = self._releases.stored(effect.release)
        except AgentError as error:
            return _failed(effect.ticket, error)
        variant = release.variant(effect.variant)
        assert variant is not None
        blobs = release.blobs(variant)
        self._beside(lambda: self._hash(effect, blobs))
        return None

    def _hash(self, effect: effects.Verify, blobs: tuple[Blob, ...]) -> None:
        problem: AgentError | None = None
        try:
            self._disk.finish(blobs)
        except AgentError as error:
            problem = error
        self._done(Hashed(model=effect.model, ticket=effect.ticket, problem=problem))


def _failed(ticket: int, error: AgentError) -> events.VerifyFailed:
    return events.VerifyFailed(ticket=ticket, cause=error.cause, detail=str(error))
