"""When a version may be promoted."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from pinnace_contract.ids import ModelName, RolloutId, VersionName
from pinnace_server.domain.aliases import AliasRule, Approval
from pinnace_server.domain.promotion import Need, Tried, judge
from pinnace_server.domain.records import AliasName, RolloutState

ONE: Final = VersionName("1")
RULE: Final = AliasRule(model=ModelName("digits"), alias=AliasName("production"), source=AliasName("staging"))
GOOD: Final = Tried(rollout=RolloutId("r-1"), state=RolloutState.FINISHED, ended_at_s=10, devices={"committed": 3})
BAD: Final = replace(GOOD, rollout=RolloutId("r-2"), state=RolloutState.HALTED, reason="it was worse", ended_at_s=20)


def approved(*people: str) -> list[Approval]:
    return [
        Approval(model=RULE.model, alias=RULE.alias, version=ONE, person=person, at_s=n)
        for n, person in enumerate(people)
    ]


@pytest.mark.parametrize(
    ("tried", "said"),
    [
        pytest.param([], "none has ended", id="no rollout"),
        pytest.param([BAD], "r-2 was halted: it was worse", id="halted"),
        pytest.param([BAD, GOOD], "r-2 was halted", id="halted after a success"),
        pytest.param([replace(GOOD, devices={"skipped": 3})], "no device committed", id="nobody committed"),
        pytest.param([replace(GOOD, devices={"committed": 3, "failed": 1})], "found 1 failed", id="one failed"),
        pytest.param([replace(GOOD, devices={"committed": 3, "reverted": 2})], "found 2 reverted", id="two reverted"),
        pytest.param([replace(GOOD, devices={"committed": 3, "rejected": 1})], "found 1 rejected", id="one refused"),
    ],
)
def test_rollout_that_did_not_succeed_lacks_and_says_why(tried: list[Tried], said: str) -> None:
    (lack,) = judge(RULE, ONE, tried, []).lacks
    assert lack.need is Need.ROLLOUT
    assert said in lack.words


@pytest.mark.parametrize(
    "tried",
    [
        pytest.param([GOOD], id="a success"),
        pytest.param([BAD, replace(GOOD, ended_at_s=30)], id="a success after a halt"),
        pytest.param([replace(GOOD, devices={"committed": 1, "superseded": 1, "skipped": 4})], id="one committed"),
    ],
)
def test_success_that_ended_last_is_enough(tried: list[Tried]) -> None:
    verdict = judge(RULE, ONE, tried, [])
    assert (verdict.lacks, verdict.rollout) == ((), "r-1")


def test_rule_may_allow_some_failures() -> None:
    rule = replace(RULE, failures_max=2)
    some = replace(GOOD, devices={"committed": 9, "failed": 1, "reverted": 1})
    assert judge(rule, ONE, [some], []).lacks == ()
    assert judge(replace(rule, failures_max=1), ONE, [some], []).lacks


def test_approvals_are_of_different_people() -> None:
    rule = replace(RULE, rollout=False, approvals=2)
    (lack,) = judge(rule, ONE, [], approved("ann", "ann")).lacks
    assert (lack.need, lack.words) == (Need.APPROVALS, "2 different people must approve, 1 did (ann)")
    verdict = judge(rule, ONE, [], approved("bob", "ann"))
    assert (verdict.lacks, verdict.approved_by, verdict.rollout) == ((), ("ann", "bob"), None)


def test_everything_that_lacks_is_named_at_once() -> None:
    lacks = judge(replace(RULE, approvals=1), ONE, [], []).lacks
    assert [lack.need for lack in lacks] == [Need.ROLLOUT, Need.APPROVALS]


def test_nothing_is_in_line_where_the_source_points_nowhere() -> None:
    (lack,) = judge(RULE, None, [GOOD], approved("ann")).lacks
    assert (lack.need, lack.words) == (Need.SOURCE, "staging points at no version")
