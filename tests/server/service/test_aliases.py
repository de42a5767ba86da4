"""Aliases over time: history, rules, approvals, promotion."""

from __future__ import annotations

import pytest

from pinnace_contract.latest import Outcome
from pinnace_server.domain.aliases import AliasRule, Means
from pinnace_server.domain.queries import Page
from pinnace_server.domain.records import AliasName, EventKind, Rollout, Severity
from pinnace_server.errors import Code, Conflict, NotFound, Refused
from pinnace_server.service.aliases import Stretch
from tests.server.world import MODEL, NOON, Server, TestedDevice

PRODUCTION = AliasName("production")


def history(server: Server, alias: str = "production") -> list[Stretch]:
    return list(server.aliases.history(MODEL, Page(), alias=alias).rows)


def ruled(server: Server, **terms: object) -> AliasRule:
    rule = AliasRule(model=MODEL, alias=PRODUCTION, source=AliasName("staging"), **terms)  # type: ignore[arg-type]
    return server.aliases.set_rule(rule, "admin")


def promote(server: Server, version: str = "1", actor: str = "ann") -> str | None:
    moved = server.aliases.promote(MODEL, "production", source="staging", version=version, actor=actor, reason="good")
    return moved.aliases.get(PRODUCTION)


def rolled_out(server: Server, name: str, *devices: TestedDevice, ends: Outcome = Outcome.COMMITTED) -> Rollout:
    rollout = server.assign(server.catalogue.version(MODEL, name))
    for device in devices:
        if ends is Outcome.COMMITTED:
            device.commit()
        else:
            device.end(ends)
    server.controller.tick()
    return server.rollout(rollout)


class TestHistory:
    def test_alias_tells_what_it_pointed_at_and_who_moved_it_and_why(self, server: Server) -> None:
        server.version("1")
        server.version("2")
        server.aliases.point(MODEL, "production", "1", "ann", reason="the first")
        server.clock.move(10)
        server.aliases.point(MODEL, "production", "2", "bob", reason="better at night")
        server.clock.move(10)
        server.aliases.unpoint(MODEL, "production", "cid", reason="recalled")
        second, first = (each.pointing for each in history(server))
        assert (first.version, first.from_s, first.until_s) == ("1", NOON, NOON + 10)
        assert (first.actor, first.reason, first.ended_by, first.ended_reason) == (
            "ann",
            "the first",
            "bob",
            "better at night",
        )
        assert (second.version, second.from_s, second.until_s) == ("2", NOON + 10, NOON + 20)
        assert (second.ended_by, second.ended_reason) == ("cid", "recalled")

    def test_pointing_again_at_the_same_version_changes_nothing(self, server: Server) -> None:
        server.version("1")
        server.aliases.point(MODEL, "production", "1", "ann")
        server.aliases.point(MODEL, "production", "1", "bob")
        assert [each.pointing.actor for each in history(server)] == ["ann"]
        assert len(server.events(EventKind.ALIAS_MOVED)) == 1

    def test_history_of_every_alias_can_be_asked_by_version(self, server: Server) -> None:
        for name in ("1", "2"):
            server.version(name)
            server.aliases.point(MODEL, "staging", name, "ann")
        server.aliases.point(MODEL, "production", "1", "ann")
        found = server.aliases.history(MODEL, Page(), version="1")
        assert [(each.pointing.alias, each.pointing.version) for each in found.rows] == [
            ("production", "1"),
            ("staging", "1"),
        ]
        assert server.aliases.history(MODEL, Page(limit=1)).total == 3

    def test_alias_that_never_was_has_no_history(self, server: Server) -> None:
        server.version("1")
        with pytest.raises(NotFound, match="never had it"):
            history(server)

    def test_reason_has_a_limit(self, server: Server) -> None:
        server.version("1")
        with pytest.raises(Refused, match="at most 512"):
            server.aliases.point(MODEL, "production", "1", "ann", reason="x" * 513)


class TestRules:
    def test_alias_with_a_rule_is_not_set_by_hand(self, server: Server) -> None:
        server.version("1")
        ruled(server)
        with pytest.raises(Conflict, match="promoted from staging") as refused:
            server.aliases.point(MODEL, "production", "1", "ann")
        assert refused.value.code is Code.ALIAS_RULED
        with pytest.raises(Refused, match="needs a reason"):
            server.aliases.point(MODEL, "production", "1", "ann", force=True, reason=" ")
        assert server.catalogue.model(MODEL).aliases == {}

    def test_force_moves_it_and_is_in_the_log(self, server: Server) -> None:
        server.version("1")
        ruled(server)
        server.aliases.point(MODEL, "production", "1", "ann", force=True, reason="the line stands still")
        assert [each.pointing.means for each in history(server)] == [Means.FORCED]
        (event,) = server.events(EventKind.ALIAS_FORCED)
        assert (event.severity, event.actor, event.data["reason"]) == (
            Severity.WARNING,
            "ann",
            "the line stands still",
        )
        assert server.events(EventKind.ALIAS_MOVED) == []

    def test_alias_with_a_rule_is_removed_by_force_only(self, server: Server) -> None:
        server.version("1")
        server.aliases.point(MODEL, "production", "1", "ann")
        ruled(server)
        with pytest.raises(Conflict):
            server.aliases.unpoint(MODEL, "production", "ann")
        server.aliases.unpoint(MODEL, "production", "ann", force=True, reason="recalled")
        assert len(server.events(EventKind.ALIAS_FORCED)) == 1

    def test_force_without_a_rule_is_no_force(self, server: Server) -> None:
        server.version("1")
        server.aliases.point(MODEL, "production", "1", "ann", force=True)
        assert [each.pointing.means for each in history(server)] == [Means.SET]

    def test_rule_is_set_shown_and_taken_away_in_the_log(self, server: Server) -> None:
        server.version("1")
        rule = ruled(server, approvals=2)
        assert server.aliases.rules(MODEL) == [rule]
        assert "the approval of 2 different people" in server.events(EventKind.ALIAS_RULE_SET)[0].summary
        server.aliases.remove_rule(MODEL, "production", "ann")
        assert server.events(EventKind.ALIAS_RULE_REMOVED)[0].severity is Severity.WARNING
        server.aliases.point(MODEL, "production", "1", "ann")
        with pytest.raises(NotFound):
            server.aliases.remove_rule(MODEL, "production", "ann")

    @pytest.mark.parametrize(
        "terms", [{"source": "production"}, {"source": "No"}, {"source": "staging", "approvals": 17}]
    )
    def test_rule_that_cannot_be_is_refused(self, server: Server, terms: dict[str, object]) -> None:
        server.version("1")
        with pytest.raises(Refused):
            server.aliases.set_rule(
                AliasRule(model=MODEL, alias=PRODUCTION, **terms),  # type: ignore[arg-type]
                "ann",
            )


class TestPromotion:
    def test_version_that_came_through_a_rollout_is_promoted(self, server: Server) -> None:
        server.version("1")
        device = server.device()
        server.aliases.point(MODEL, "staging", "1", "ann")
        ruled(server)
        with pytest.raises(Conflict, match="none has ended") as refused:
            promote(server)
        assert refused.value.code is Code.RULE_NOT_MET
        rollout = rolled_out(server, "1", device)
        assert promote(server) == "1"
        (stretch,) = history(server)
        assert (stretch.pointing.means, stretch.pointing.rollout) == (Means.PROMOTED, rollout.id)
        assert (stretch.pointing.actor, stretch.pointing.reason) == ("ann", "good")
        assert promote(server) == "1"
        assert len(history(server)) == 1

    def test_active_and_cancelled_rollouts_prove_nothing(self, server: Server) -> None:
        server.version("1")
        server.device()
        server.aliases.point(MODEL, "staging", "1", "ann")
        ruled(server)
        rollout = server.assign(server.catalogue.version(MODEL, "1"))
        assert server.aliases.standing(MODEL, "production").verdict.lacks
        server.rollouts.cancel(rollout.id, reason="", actor="ann")
        with pytest.raises(Conflict, match="none has ended"):
            promote(server)

    @pytest.mark.parametrize("ends", [Outcome.FAILED, Outcome.REVERTED])
    def test_rollout_with_a_device_that_failed_is_not_enough(self, server: Server, ends: Outcome) -> None:
        server.version("1")
        good, bad = server.device("good"), server.device("bad")
        server.aliases.point(MODEL, "staging", "1", "ann")
        ruled(server)
        server.assign(server.catalogue.version(MODEL, "1"))
        good.commit()
        bad.end(ends)
        server.controller.tick()
        with pytest.raises(Conflict, match=f"found 1 {ends}"):
            promote(server)
        ruled(server, failures_max=1)
        assert promote(server) == "1"

    def test_rollout_that_was_rolled_back_afterwards_is_not_enough(self, server: Server) -> None:
        server.version("1")
        server.version("2")
        device = server.device()
        rolled_out(server, "1", device)
        server.aliases.point(MODEL, "staging", "2", "ann")
        ruled(server)
        rollout = rolled_out(server, "2", device)
        assert server.aliases.standing(MODEL, "production").verdict.lacks == ()
        server.rollouts.roll_back(rollout.id, reason="worse in service", actor="ann")
        with pytest.raises(Conflict, match="was halted: worse in service"):
            promote(server, "2")

    def test_success_of_another_version_is_not_enough(self, server: Server) -> None:
        server.version("1")
        server.version("2")
        rolled_out(server, "1", server.device())
        server.aliases.point(MODEL, "staging", "2", "ann")
        ruled(server)
        with pytest.raises(Conflict, match="none has ended"):
            promote(server, "2")

    def test_different_people_approve_and_history_names_them(self, server: Server) -> None:
        server.version("1")
        server.aliases.point(MODEL, "staging", "1", "ann")
        ruled(server, rollout=False, approvals=2)
        server.aliases.approve(MODEL, "production", "1", "ann", "checked")
        server.aliases.approve(MODEL, "production", "1", "ann", "checked again")
        with pytest.raises(Conflict, match=r"2 different people must approve, 1 did \(ann\)"):
            promote(server)
        server.aliases.approve(MODEL, "production", "1", "bob")
        assert promote(server) == "1"
        (stretch,) = history(server)
        assert [(each.person, each.note) for each in stretch.approvals] == [("ann", "checked again"), ("bob", "")]
        assert server.events(EventKind.ALIAS_MOVED)[-1].data["approved_by"] == "ann, bob"
        assert len(server.events(EventKind.PROMOTION_APPROVED)) == 3

    def test_approval_counts_for_one_promotion(self, server: Server) -> None:
        for name in ("1", "2"):
            server.version(name)
        ruled(server, rollout=False, approvals=1)
        server.aliases.point(MODEL, "staging", "1", "ann")
        server.aliases.approve(MODEL, "production", "1", "ann")
        promote(server)
        server.aliases.point(MODEL, "production", "2", "ann", force=True, reason="trouble")
        with pytest.raises(Conflict, match="nobody did"):
            promote(server)

    def test_approval_is_of_the_version_in_line_and_of_no_other(self, server: Server) -> None:
        for name in ("1", "2"):
            server.version(name)
        ruled(server, rollout=False, approvals=1)
        server.aliases.point(MODEL, "staging", "1", "ann")
        with pytest.raises(Conflict, match="points at 1, not at 2"):
            server.aliases.approve(MODEL, "production", "2", "ann")
        server.aliases.approve(MODEL, "production", "1", "ann")
        server.aliases.point(MODEL, "staging", "2", "ann")
        with pytest.raises(Conflict, match="points at 2, not at 1"):
            promote(server, "1")
        with pytest.raises(Conflict, match="nobody did"):
            promote(server, "2")

    def test_approval_can_be_taken_back(self, server: Server) -> None:
        server.version("1")
        server.aliases.point(MODEL, "staging", "1", "ann")
        ruled(server, rollout=False, approvals=1)
        server.aliases.approve(MODEL, "production", "1", "ann")
        server.aliases.withdraw(MODEL, "production", "1", "ann")
        with pytest.raises(Conflict, match="nobody did"):
            promote(server)
        with pytest.raises(NotFound):
            server.aliases.withdraw(MODEL, "production", "1", "ann")

    def test_promotion_without_a_rule_or_from_elsewhere_is_refused(self, server: Server) -> None:
        server.version("1")
        server.aliases.point(MODEL, "staging", "1", "ann")
        with pytest.raises(NotFound, match="alias rule"):
            promote(server)
        ruled(server, rollout=False)
        with pytest.raises(Conflict, match="fed by staging, not by edge"):
            server.aliases.promote(MODEL, "production", source="edge", version="1", actor="ann")
