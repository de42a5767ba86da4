"""Aliases over time, their rules, approvals, and promotions."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, Field

from pinnace_server.domain import aliases as domain
from pinnace_server.domain.aliases import APPROVALS_MAX, FAILURES_MAX, REASON_CHARS_MAX, Means
from pinnace_server.domain.promotion import Need
from pinnace_server.http.schemas.body import asked, like
from pinnace_server.service import aliases as service

_APPROVAL = {
    "alias": "production",
    "version": "2",
    "person": "admin",
    "at_s": 1795438900.0,
    "note": "checked on line 3",
}
_RULE = {"alias": "production", "source": "staging", "needs": ["rollout"], "failures_max": 0, "approvals": 1}
_STRETCH = {
    "alias": "production",
    "version": "2",
    "from_s": 1795439000.0,
    "until_s": None,
    "actor": "admin",
    "reason": "better at night",
    "means": "promoted",
    "rollout": "r-3f9c2ab81d",
    "ended_by": "",
    "ended_reason": "",
    "approvals": [_APPROVAL],
}


class AliasTarget(BaseModel):
    """Where an alias should point, and why."""

    model_config = asked({"version": "2", "reason": "better at night"})

    version: str = Field(max_length=65)
    reason: str = Field(default="", max_length=REASON_CHARS_MAX)
    force: bool = Field(default=False, description="Go over the alias's rule; needs a reason, and is in the log.")


class RuleNeed(StrEnum):
    """What a rule can ask of a version, besides approvals."""

    ROLLOUT = "rollout"


class NewRule(BaseModel):
    """By what rule an alias moves."""

    model_config = asked({"source": "staging", "needs": ["rollout"], "failures_max": 0, "approvals": 1})

    source: str = Field(max_length=63, description="The alias that feeds it.")
    needs: list[RuleNeed] = Field(
        default=[RuleNeed.ROLLOUT],
        max_length=1,
        description="`rollout`: a finished upgrade rollout of the version, with a device that committed.",
    )
    failures_max: int = Field(
        default=0, ge=0, le=FAILURES_MAX, description="Devices of that rollout that may have failed or gone back."
    )
    approvals: int = Field(default=0, ge=0, le=APPROVALS_MAX, description="How many different people must approve.")


class Rule(BaseModel):
    """The rule of an alias."""

    model_config = like(_RULE)

    alias: str
    source: str
    needs: list[RuleNeed]
    failures_max: int
    approvals: int

    @classmethod
    def of(cls, rule: domain.AliasRule) -> Rule:
        """Return a record as a body."""
        return cls(
            alias=rule.alias,
            source=rule.source,
            needs=[RuleNeed.ROLLOUT] if rule.rollout else [],
            failures_max=rule.failures_max,
            approvals=rule.approvals,
        )


class NewApproval(BaseModel):
    """Which version is approved, and why."""

    model_config = asked({"version": "2", "note": "checked on line 3"})

    version: str = Field(max_length=64, description="It must be the one that is in line.")
    note: str = Field(default="", max_length=REASON_CHARS_MAX)


class Approval(BaseModel):
    """Somebody's approval."""

    model_config = like(_APPROVAL)

    alias: str
    version: str
    person: str
    at_s: float
    note: str

    @classmethod
    def of(cls, approval: domain.Approval) -> Approval:
        """Return a record as a body."""
        return cls(
            alias=approval.alias,
            version=approval.version,
            person=approval.person,
            at_s=approval.at_s,
            note=approval.note,
        )


class AliasStretch(BaseModel):
    """A stretch of time in which an alias pointed at a version."""

    model_config = like(_STRETCH)

    alias: str
    version: str
    from_s: float
    until_s: float | None = Field(description="Null: it still does.")
    actor: str
    reason: str
    means: Means
    rollout: str | None = Field(description="The rollout that a promotion rests on.")
    ended_by: str = Field(description="Who moved it away or removed it.")
    ended_reason: str
    approvals: list[Approval] = Field(description="Those that were used for it.")

    @classmethod
    def of(cls, stretch: service.Stretch) -> AliasStretch:
        """Return a record as a body."""
        pointing = stretch.pointing
        return cls(
            alias=pointing.alias,
            version=pointing.version,
            from_s=pointing.from_s,
            until_s=pointing.until_s,
            actor=pointing.actor,
            reason=pointing.reason,
            means=pointing.means,
            rollout=pointing.rollout,
            ended_by=pointing.ended_by,
            ended_reason=pointing.ended_reason,
            approvals=[Approval.of(each) for each in stretch.approvals],
        )


class NewPromotion(BaseModel):
    """What to promote. Both are what the caller means by it: where they are not so any more, nothing moves."""

    model_config = asked({"source": "staging", "version": "2", "reason": "better at night"})

    source: str = Field(max_length=63)
    version: str = Field(max_length=64)
    reason: str = Field(default="", max_length=REASON_CHARS_MAX)


class Lack(BaseModel):
    """One thing that a promotion lacks."""

    model_config = like({"need": "approvals", "words": "1 different people must approve, 0 did"})

    need: Need
    words: str


class Promotion(BaseModel):
    """How a promotion stands."""

    model_config = like(
        {
            "alias": "production",
            "rule": _RULE,
            "current": "1",
            "version": "2",
            "rollout": "r-3f9c2ab81d",
            "approvals": [],
            "ready": False,
            "missing": [{"need": "approvals", "words": "1 different people must approve, 0 did"}],
        }
    )

    alias: str
    rule: Rule
    current: str | None = Field(description="What it points at now.")
    version: str | None = Field(description="What is in line: what its source points at.")
    rollout: str | None = Field(description="The rollout of that version that counts.")
    approvals: list[Approval]
    ready: bool
    missing: list[Lack]

    @classmethod
    def of(cls, standing: service.Standing) -> Promotion:
        """Return a record as a body."""
        verdict = standing.verdict
        return cls(
            alias=standing.rule.alias,
            rule=Rule.of(standing.rule),
            current=standing.current,
            version=standing.version,
            rollout=verdict.rollout,
            approvals=[Approval.of(each) for each in standing.approvals],
            ready=not verdict.lacks,
            missing=[Lack(need=lack.need, words=lack.words) for lack in verdict.lacks],
        )
