"""Aliases over time: what each pointed at and why, the rule that lets one move, and who approved.

``promotion`` judges a rule. Whether a name is an alias at all is ``service``'s to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pinnace_contract.ids import ModelName, RolloutId, VersionName
from pinnace_server.domain.records import AliasName

REASON_CHARS_MAX: Final = 512  # of anything that a person says about a move; a sentence, not a document
APPROVALS_MAX: Final = 16  # more people than anybody waits for
FAILURES_MAX: Final = 1_000_000  # devices that may have failed: no fleet is larger


class Means(StrEnum):
    """How an alias came to point at a version. Stored for ever: never changed, only added to."""

    SET = "set"
    PROMOTED = "promoted"
    FORCED = "forced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointing:
    """A stretch of time in which an alias pointed at a version. ``until_s`` None: it still does.

    ``number`` is given by the table and only grows; 0 until then. ``rollout`` is what a promotion rests on;
    ``ended_by`` moved it away or removed it.
    """

    number: int = 0
    model: ModelName
    alias: AliasName
    version: VersionName
    from_s: float
    actor: str
    reason: str = ""
    means: Means = Means.SET
    rollout: RolloutId | None = None
    until_s: float | None = None
    ended_by: str = ""
    ended_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasRule:
    """What must be so before an alias moves. An alias that has one is promoted, and set directly only by force.

    ``source`` is the alias that feeds it. ``rollout``: the version must have come through a rollout, in which at most
    ``failures_max`` devices failed. ``approvals`` is how many different people must have approved.
    """

    model: ModelName
    alias: AliasName
    source: AliasName
    rollout: bool = True
    failures_max: int = 0
    approvals: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Somebody said that a version may become what an alias points at.

    It counts once: ``pointing`` is the number of the stretch that it was used for, None while it waits.
    """

    model: ModelName
    alias: AliasName
    version: VersionName
    person: str
    at_s: float
    note: str = ""
    pointing: int | None = None


def in_words(rule: AliasRule) -> str:
    """Return by what rule an alias moves, as "promoted from staging, after …"."""
    failed = f"{rule.failures_max} device{'s' * (rule.failures_max != 1)} that failed"
    most = f"at most {failed}" if rule.failures_max else "no device that failed"
    people = "one person" if rule.approvals == 1 else f"{rule.approvals} different people"
    needs = [
        *([f"a finished rollout with {most}"] if rule.rollout else []),
        *([f"the approval of {people}"] if rule.approvals else []),
    ]
    after = f", after {' and '.join(needs)}" if needs else ", at any time"
    return f"promoted from {rule.source}{after}"
