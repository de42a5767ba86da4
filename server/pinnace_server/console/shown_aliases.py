"""What a model's page shows of its aliases: where they point, by which rule they move, and where they pointed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointing:
    """A stretch of time in which an alias pointed at a version. ``means`` is a key of ``words.MEANS_WORDS``;
    ``rollout`` is what a promotion rests on; ``until`` None: it still points there."""

    alias: str
    version: str
    since: datetime
    means: str
    by: str
    reason: str = ""
    rollout: str = ""
    approved_by: tuple[str, ...] = ()
    until: datetime | None = None
    ended_by: str = ""
    ended_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasRow:
    """An alias today. ``version`` and ``now`` are empty where it points at nothing.

    Where it has a rule, ``rule`` says it, ``in_line`` is the version that its source points at, ``missing`` what that
    one lacks, and ``command`` promotes it.
    """

    alias: str
    version: str = ""
    now: Pointing | None = None
    rule: str = ""
    in_line: str = ""
    missing: tuple[str, ...] = ()
    approved_by: tuple[str, ...] = ()
    command: str = ""
