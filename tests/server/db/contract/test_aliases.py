"""What aliases pointed at, rules and approvals, over both databases."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from pinnace_contract.ids import RolloutId, VersionName
from pinnace_server.domain.aliases import AliasRule, Approval, Means, Pointing
from pinnace_server.domain.queries import Page
from pinnace_server.domain.records import AliasName
from pinnace_server.service.ports import Store
from tests.server.db.contract.rows import DIGITS, NOW, VIOLATED, WORDS, model, undone, written

STAGING, PRODUCTION = AliasName("staging"), AliasName("production")
ONE, TWO = VersionName("1"), VersionName("2")
FIRST: Final = Pointing(model=DIGITS, alias=STAGING, version=ONE, from_s=NOW, actor="ann", reason="new")
ASKED: Final = Approval(model=DIGITS, alias=PRODUCTION, version=ONE, person="ann", at_s=NOW)


@pytest.fixture(autouse=True)
def models(store: Store) -> None:
    with store.write() as tables:
        tables.models.add(model())
        tables.models.add(model(WORDS))


class TestHistory:
    def test_stretches_follow_each_other_newest_first(self, store: Store) -> None:
        second = replace(FIRST, version=TWO, from_s=NOW + 5, means=Means.PROMOTED, rollout=RolloutId("r-1"))
        with store.write() as tables:
            assert tables.aliases.begin(FIRST) == 1
            tables.aliases.end(DIGITS, STAGING, at_s=NOW + 5, actor="bob", reason="better")
            assert tables.aliases.begin(second) == 2
            tables.aliases.begin(replace(FIRST, alias=PRODUCTION))
            tables.aliases.begin(replace(FIRST, model=WORDS))
        ended = replace(FIRST, number=1, until_s=NOW + 5, ended_by="bob", ended_reason="better")
        with store.read() as tables:
            found = tables.aliases.history(DIGITS, Page(), alias=STAGING)
            assert (found.rows, found.total) == ((replace(second, number=2), ended), 2)
            assert tables.aliases.history(DIGITS, Page()).total == 3
            assert tables.aliases.history(DIGITS, Page(limit=1, offset=1), version=ONE).rows == (ended,)

    def test_alias_points_at_one_version_at_a_time(self, store: Store) -> None:
        written(store, lambda tables: tables.aliases.begin(FIRST))
        with pytest.raises(VIOLATED):
            written(store, lambda tables: tables.aliases.begin(replace(FIRST, version=TWO)))

    def test_what_does_not_point_cannot_end(self, store: Store) -> None:
        written(store, lambda tables: tables.aliases.end(DIGITS, STAGING, at_s=NOW, actor="ann", reason=""))
        with store.read() as tables:
            assert tables.aliases.history(DIGITS, Page()).total == 0

    def test_move_that_was_undone_was_never_there(self, store: Store) -> None:
        written(store, lambda tables: tables.aliases.begin(FIRST))
        undone(store, lambda tables: tables.aliases.end(DIGITS, STAGING, at_s=NOW, actor="ann", reason=""))
        undone(store, lambda tables: tables.aliases.begin(replace(FIRST, alias=PRODUCTION)))
        with store.read() as tables:
            assert tables.aliases.history(DIGITS, Page()).rows == (replace(FIRST, number=1),)


class TestRules:
    def test_rule_is_there_until_it_is_removed(self, store: Store) -> None:
        rule = AliasRule(model=DIGITS, alias=PRODUCTION, source=STAGING, rollout=True, failures_max=3, approvals=2)
        with store.write() as tables:
            tables.aliases.save_rule(rule)
            tables.aliases.save_rule(replace(rule, approvals=1))
            tables.aliases.save_rule(replace(rule, alias=AliasName("edge"), rollout=False))
        with store.read() as tables:
            assert [each.alias for each in tables.aliases.rules(DIGITS)] == ["edge", "production"]
            assert tables.aliases.rule(DIGITS, PRODUCTION) == replace(rule, approvals=1)
            assert tables.aliases.rules(WORDS) == []
        assert written(store, lambda tables: tables.aliases.remove_rule(DIGITS, PRODUCTION))
        assert not written(store, lambda tables: tables.aliases.remove_rule(DIGITS, PRODUCTION))


class TestApprovals:
    def test_person_approves_once_and_can_withdraw(self, store: Store) -> None:
        with store.write() as tables:
            tables.aliases.approve(ASKED)
            tables.aliases.approve(replace(ASKED, at_s=NOW + 9))
            tables.aliases.approve(replace(ASKED, person="bob", note="looks good"))
            tables.aliases.approve(replace(ASKED, version=TWO))
        with store.read() as tables:
            waiting = tables.aliases.waiting(DIGITS, PRODUCTION, ONE)
            assert [(each.person, each.at_s, each.note) for each in waiting] == [
                ("bob", NOW, "looks good"),
                ("ann", NOW + 9, ""),
            ]
        assert written(store, lambda tables: tables.aliases.withdraw(DIGITS, PRODUCTION, ONE, "ann"))
        assert not written(store, lambda tables: tables.aliases.withdraw(DIGITS, PRODUCTION, ONE, "ann"))
        with store.read() as tables:
            assert len(tables.aliases.waiting(DIGITS, PRODUCTION, ONE)) == 1
            assert len(tables.aliases.waiting(DIGITS, PRODUCTION, TWO)) == 1

    def test_approval_counts_once_and_stays_in_history(self, store: Store) -> None:
        with store.write() as tables:
            tables.aliases.approve(ASKED)
            number = tables.aliases.begin(replace(FIRST, alias=PRODUCTION))
            tables.aliases.use(DIGITS, PRODUCTION, ONE, number)
            assert tables.aliases.waiting(DIGITS, PRODUCTION, ONE) == []
            tables.aliases.approve(replace(ASKED, at_s=NOW + 50))
        with store.read() as tables:
            assert tables.aliases.used([number]) == [replace(ASKED, pointing=number)]
            assert tables.aliases.used([]) == []
            assert tables.aliases.waiting(DIGITS, PRODUCTION, ONE) == [replace(ASKED, at_s=NOW + 50)]

    def test_approval_that_was_undone_was_never_given(self, store: Store) -> None:
        written(store, lambda tables: tables.aliases.approve(ASKED))
        undone(store, lambda tables: tables.aliases.withdraw(DIGITS, PRODUCTION, ONE, "ann"))
        undone(store, lambda tables: tables.aliases.approve(replace(ASKED, person="bob")))
        with store.read() as tables:
            assert tables.aliases.waiting(DIGITS, PRODUCTION, ONE) == [ASKED]
