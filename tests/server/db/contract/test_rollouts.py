"""Assignments, signed sets, rollouts and members, over both databases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from pinnace_contract.ids import DeviceId, RolloutId
from pinnace_contract.latest import Cause, Intent, Outcome, SiteDecision, SiteVerdict
from pinnace_server.db import batches
from pinnace_server.domain.muster import Mustered
from pinnace_server.domain.queries import Page, RolloutQuery
from pinnace_server.domain.ramp import Agreement, SiteOthers, Wave
from pinnace_server.domain.records import Backlog, Counts, DeviceState, Leaves, MemberState, PlanId, RolloutState
from pinnace_server.domain.sites import SiteRuling
from pinnace_server.service.ports import Store
from tests.server.db.contract.rows import (
    DIGITS,
    FIRST,
    NOW,
    SECOND,
    VIOLATED,
    WORDS,
    assignment,
    camera,
    desired,
    device,
    entry,
    fleet,
    member,
    rollout,
    running,
    undone,
    written,
)

R1, R2, R3 = RolloutId("r1"), RolloutId("r2"), RolloutId("r3")
STATES = list(DeviceState)


class TestAssignments:
    @pytest.fixture(autouse=True)
    def devices(self, store: Store) -> None:
        fleet(store, 3)

    def test_newest_word_replaces_the_one_before(self, store: Store) -> None:
        ended = assignment(
            1,
            before=running("0"),
            outcome=Outcome.FAILED,
            cause=Cause.NO_FALLBACK,
            detail="why",
            ended_at_s=NOW,
            entry=entry(DIGITS, None),
        )
        written(store, lambda tables: tables.assignments.save(assignment(1)))
        written(store, lambda tables: tables.assignments.save(ended))
        with store.read() as tables:
            assert tables.assignments.get(camera(1), DIGITS) == ended
            assert tables.assignments.get(camera(1), WORDS) is None
            assert tables.assignments.get(camera(9), DIGITS) is None

    def test_they_are_ordered_by_device_and_model(self, store: Store) -> None:
        with store.write() as tables:
            for n, model in ((2, WORDS), (1, WORDS), (2, DIGITS), (1, DIGITS), (3, DIGITS)):
                tables.assignments.save(assignment(n, model))
        with store.read() as tables:
            found = tables.assignments.of(iter([camera(2), camera(1), camera(9), camera(2)]))
            assert [(each.device, each.model) for each in found] == [
                (camera(n), model) for n in (1, 2) for model in (DIGITS, WORDS)
            ]
            assert list(tables.assignments.of([])) == []

    def test_assignment_of_a_device_that_is_not_there_is_refused(self, store: Store) -> None:
        with pytest.raises(VIOLATED):
            written(store, lambda tables: tables.assignments.save(assignment(9)))


class TestSets:
    @pytest.fixture(autouse=True)
    def devices(self, store: Store) -> None:
        fleet(store, 4)

    def unsigned(self, store: Store, limit: int = 10) -> list[str]:
        with store.read() as tables:
            return [each.device for each in tables.assignments.unsigned(limit)]

    def stale(self, store: Store, limit: int = 10, among: Sequence[DeviceId] | None = None) -> list[str]:
        with store.read() as tables:
            return [each.device for each in tables.assignments.stale(limit, among)]

    def test_last_set_is_kept(self, store: Store) -> None:
        with store.write() as tables:
            tables.assignments.save_desired(desired(1, 1, signed=True))
            tables.assignments.save_desired(desired(1, 2))
        with store.read() as tables:
            assert tables.assignments.desired(camera(1)) == desired(1, 2)
            assert tables.assignments.desired(camera(2)) is None
        with pytest.raises(VIOLATED):
            written(store, lambda tables: tables.assignments.save_desired(desired(9)))

    def test_unsigned_are_the_oldest_generations_first(self, store: Store) -> None:
        with store.write() as tables:
            for n, generation in ((3, 1), (2, 2), (1, 2), (4, 0)):
                tables.assignments.save_desired(desired(n, generation))
            tables.assignments.save_desired(desired(4, signed=True))
        assert self.unsigned(store) == [camera(3), camera(1), camera(2)]
        assert self.unsigned(store, limit=2) == [camera(3), camera(1)]

    def test_what_is_said_about_sites_is_signed_first(self, store: Store) -> None:
        decided = SiteDecision(rollout=R1, site="lyon", generation=9, verdict=SiteVerdict.COMMIT)
        with store.write() as tables:
            for n, generation in ((1, 1), (2, 2), (3, 9), (4, 8)):
                found = desired(n, generation)
                said = replace(found.assignments, site_decisions=(decided,) if n > 2 else ())
                tables.assignments.save_desired(replace(found, assignments=said))
        assert self.unsigned(store) == [camera(4), camera(3), camera(1), camera(2)]
        assert self.unsigned(store, limit=3) == [camera(4), camera(3), camera(1)]

    def test_what_moves_a_device_back_is_signed_before_what_moves_others_on(self, store: Store) -> None:
        with store.write() as tables:
            tables.rollouts.save(rollout("r1"))
            tables.rollouts.save(rollout("r2", intent=Intent.ROLLBACK))
            for n, name in ((1, "r1"), (2, "r2"), (3, "r1")):
                found = assignment(n, rollout=name)
                tables.assignments.save(replace(found, entry=replace(found.entry, generation=n)))
                tables.assignments.save_desired(desired(n, n))
        assert self.unsigned(store) == [camera(2), camera(1), camera(3)]
        written(store, lambda tables: tables.assignments.save_desired(desired(3, 4)))  # it says what is withdrawn
        assert self.unsigned(store) == [camera(2), camera(3), camera(1)]

    def test_nothing_is_signed_for_a_decommissioned_device(self, store: Store) -> None:
        written(store, lambda tables: tables.assignments.save_desired(desired(1)))
        for state in STATES:
            written(store, lambda tables, state=state: tables.devices.save(device(1, state=state)))  # type: ignore[misc]
            assert self.unsigned(store) == [camera(1)] * (state is not DeviceState.DECOMMISSIONED)

    def test_set_is_stale_when_its_device_has_another_store(self, store: Store) -> None:
        with store.write() as tables:
            tables.assignments.save_desired(desired(1))
            tables.assignments.save_desired(desired(2, made_for=SECOND))
            tables.assignments.save_desired(desired(3, made_for=None))
        assert self.stale(store) == [camera(2)]
        written(store, lambda tables: tables.devices.save(device(1, incarnation=SECOND)))
        written(store, lambda tables: tables.devices.save(device(3, incarnation=SECOND)))
        assert self.stale(store) == [camera(1), camera(2)]
        assert self.stale(store, limit=1) == [camera(1)]
        assert self.stale(store, among=[camera(3), camera(2)]) == [camera(2)]
        assert self.stale(store, limit=1, among=[camera(2), camera(1)]) == [camera(1)]
        assert self.stale(store, among=[]) == []
        written(store, lambda tables: tables.assignments.save_desired(desired(1, 2, made_for=SECOND)))
        written(store, lambda tables: tables.devices.save(device(2, incarnation=SECOND)))
        assert self.stale(store) == []

    def test_staleness_that_was_undone_is_not(self, store: Store) -> None:
        written(store, lambda tables: tables.assignments.save_desired(desired(1)))
        undone(store, lambda tables: tables.devices.save(device(1, incarnation=SECOND)))
        undone(store, lambda tables: tables.assignments.save_desired(desired(1, made_for=SECOND)))
        assert self.stale(store) == []
        written(store, lambda tables: tables.devices.save(device(1, incarnation=SECOND)))
        undone(store, lambda tables: tables.devices.save(device(1, incarnation=FIRST)))
        assert self.stale(store) == [camera(1)]

    def test_stale_are_only_devices_that_may_get_new_ones(self, store: Store) -> None:
        with store.write() as tables:
            for n, state in enumerate(STATES, 1):
                tables.devices.save(device(n, state=state))
                tables.assignments.save_desired(desired(n, made_for=SECOND))
        may = {DeviceState.PENDING, DeviceState.ACTIVE}
        assert self.stale(store) == [camera(n) for n, state in enumerate(STATES, 1) if state in may]


class TestRollouts:
    def test_rollout_comes_back_whole_and_is_replaced(self, store: Store) -> None:
        said = rollout(
            "r1",
            version=None,
            release=None,
            intent=Intent.REMOVE,
            selector="site=lyon",
            policy='{"a": 1}',
            state=RolloutState.HALTED,
            reason="why",
            verdict={"n": "7", "a": "1"},
            halts=R2,
            plan=PlanId("p"),
            ended_at_s=NOW,
        )
        with store.write() as tables:
            tables.rollouts.save(rollout("r1"))
            tables.rollouts.save(said)
        with store.read() as tables:
            assert tables.rollouts.get(R1) == said
            assert tables.rollouts.get(R2) is None
            assert list(tables.rollouts.active()) == []

    @pytest.mark.parametrize("beside", [None, RolloutId("r3")])
    def test_a_rollback_knows_whom_it_has_yet_to_take_in(self, store: Store, beside: RolloutId | None) -> None:
        backlog = Backlog(leaves=Leaves.UNDER_WAY, removes=True, after=camera(2), beside=beside)
        said = rollout("r2", intent=Intent.ROLLBACK, halts=R1, backlog=backlog)
        written(store, lambda tables: tables.rollouts.save(said))
        with store.read() as tables:
            assert tables.rollouts.get(R2) == said
        written(store, lambda tables: tables.rollouts.save(replace(said, backlog=None)))
        with store.read() as tables:
            assert tables.rollouts.get(R2) == replace(said, backlog=None)

    def test_listing_is_newest_first(self, store: Store) -> None:
        with store.write() as tables:
            tables.rollouts.save(rollout("a", created_at_s=1.0))
            tables.rollouts.save(rollout("b", created_at_s=1.0, state=RolloutState.HALTED))
            tables.rollouts.save(rollout("c", created_at_s=3.0, model=WORDS))
            tables.rollouts.save(rollout("d", created_at_s=2.0))
        expected = {
            RolloutQuery(): "cdba",
            RolloutQuery(model=DIGITS): "dba",
            RolloutQuery(state=RolloutState.ACTIVE): "cda",
            RolloutQuery(state=RolloutState.HALTED, model=WORDS): "",
        }
        with store.read() as tables:
            for query, names in expected.items():
                found = tables.rollouts.listing(query)
                assert ("".join(each.id for each in found.rows), found.total) == (names, len(names))
            second = tables.rollouts.listing(RolloutQuery(page=Page(limit=2, offset=1)))
            assert ([each.id for each in second.rows], second.total) == (["d", "b"], 4)
            assert [each.id for each in tables.rollouts.active()] == ["a", "d", "c"]

    def test_rollout_owns_while_an_assignment_names_it(self, store: Store) -> None:
        def owning() -> list[str]:
            with store.read() as tables:
                return [each.id for each in tables.rollouts.owning()]

        fleet(store, 2)
        with store.write() as tables:
            tables.rollouts.save(rollout("r1", created_at_s=2.0))
            tables.rollouts.save(rollout("r2", created_at_s=1.0, state=RolloutState.FINISHED))
            tables.rollouts.save(rollout("r3", created_at_s=1.0))
            tables.assignments.save(assignment(1, DIGITS, "r1"))
            tables.assignments.save(assignment(2, DIGITS, "r1"))
            tables.assignments.save(assignment(1, WORDS, "r2"))
            tables.assignments.save(assignment(2, WORDS, "unknown"))
        assert owning() == ["r2", "r1"]
        undone(store, lambda tables: tables.assignments.save(assignment(1, WORDS, "r3")))
        assert owning() == ["r2", "r1"]
        written(store, lambda tables: tables.assignments.save(assignment(1, WORDS, "r3")))
        assert owning() == ["r3", "r1"]
        written(store, lambda tables: tables.assignments.save(assignment(1, DIGITS, "r3")))
        assert owning() == ["r3", "r1"]
        written(store, lambda tables: tables.assignments.save(assignment(2, DIGITS, "r3")))
        assert owning() == ["r3"]

    @pytest.mark.parametrize("state", RolloutState)
    @pytest.mark.parametrize("intent", Intent)
    def test_upgrades_that_were_not_stopped_are_judged(self, store: Store, state: RolloutState, intent: Intent) -> None:
        fleet(store, 1)
        with store.write() as tables:
            tables.rollouts.save(rollout("r1", state=state, intent=intent))
            tables.assignments.save(assignment(1))
        judged = state in (RolloutState.ACTIVE, RolloutState.FINISHED) and intent is Intent.UPGRADE
        with store.read() as tables:
            assert [each.id for each in tables.rollouts.owning()] == ["r1"] * judged


class TestMembers:
    @pytest.fixture(autouse=True)
    def rollouts(self, store: Store) -> None:
        fleet(store, 4)
        with store.write() as tables:
            tables.rollouts.save(rollout("r1", created_at_s=1.0))
            tables.rollouts.save(rollout("r2", created_at_s=2.0))
            tables.rollouts.save(rollout("r3", created_at_s=2.0, model=WORDS))

    def test_member_is_replaced_as_it_goes_on(self, store: Store) -> None:
        said = member(
            "r1",
            1,
            wave=2,
            release=None,
            variants=(),
            state=MemberState.FAILED,
            generation=7,
            cause=Cause.NO_FALLBACK,
            detail="why",
        )
        written(store, lambda tables: tables.rollouts.save_members([member("r1", 1)]))
        written(store, lambda tables: tables.rollouts.save_members(iter([said, member("r1", 2)])))
        with store.read() as tables:
            assert tables.rollouts.member(R1, camera(1)) == said
            assert tables.rollouts.member(R1, camera(2)) == member("r1", 2)
            assert tables.rollouts.member(R1, camera(3)) is None
            assert tables.rollouts.member(R2, camera(1)) is None

    def test_members_are_ordered_by_wave_and_device(self, store: Store) -> None:
        with store.write() as tables:
            tables.rollouts.save_members(
                [member("r1", n, wave=wave) for n, wave in ((4, 0), (2, 1), (1, 1), (3, 0))] + [member("r2", 1)]
            )
        with store.read() as tables:
            assert [each.device for each in tables.rollouts.members(R1)] == [camera(n) for n in (3, 4, 1, 2)]
            assert list(tables.rollouts.members(R3)) == []

    def test_members_behind_a_device_are_ordered_by_device(self, store: Store) -> None:
        members = [member("r1", 3, wave=0), member("r1", 1, wave=2), member("r1", 2, wave=2), member("r2", 4)]
        written(store, lambda tables: tables.rollouts.save_members(members))
        with store.read() as tables:
            found = [
                [each.device for each in tables.rollouts.members_after(R1, after, 2)]
                for after in (DeviceId(""), camera(1), camera(3))
            ]
        assert found == [[camera(1), camera(2)], [camera(2), camera(3)], []]

    def test_some_members_are_those_of_the_rollout_in_order(self, store: Store) -> None:
        members = [member("r1", 3, wave=1), member("r1", 1, wave=2), member("r1", 2, wave=2), member("r2", 1)]
        written(store, lambda tables: tables.rollouts.save_members(members))
        with store.read() as tables:
            found = tables.rollouts.some_members(R1, [camera(2), camera(3), camera(9)])
            assert [(each.wave, each.device) for each in found] == [(1, camera(3)), (2, camera(2))]
            assert tables.rollouts.some_members(R1, []) == []

    def test_who_waits_behind_a_wave_is_in_a_later_one_and_not_in_quarantine(self, store: Store) -> None:
        members = [
            member("r1", 1, wave=3),
            member("r1", 2, wave=1),
            member("r1", 3, wave=2),
            member("r1", 4, wave=2),
            member("r1", 5, wave=2, state=MemberState.SKIPPED),
        ]
        written(store, lambda tables: tables.devices.save(device(5)))
        written(store, lambda tables: tables.devices.save(device(4, state=DeviceState.QUARANTINED)))
        written(store, lambda tables: tables.rollouts.save_members(members))
        with store.read() as tables:
            assert list(tables.rollouts.waiting_behind(R1, 0)) == [camera(2), camera(3), camera(1)]
            assert list(tables.rollouts.waiting_behind(R1, 1)) == [camera(3), camera(1)]
            assert list(tables.rollouts.waiting_behind(R1, 3)) == []

    def test_the_rest_of_a_site_is_who_is_in_no_wave_that_began_and_not_under_way(self, store: Store) -> None:
        there = {"online": True, "seen_at_s": NOW, "report_every_s": 30, "labels": {"site": "lyon"}}
        seen = [
            device(1, **there),
            device(2, **there | {"degraded": True}),
            device(3, **there | {"seen_at_s": NOW - 91.0}),
            device(4, **there | {"labels": {}}),
        ]
        for each in seen:
            written(store, lambda tables, each=each: tables.devices.save(each))
        members = [member("r1", n, wave=2) for n in (1, 2, 3, 4)]
        written(store, lambda tables: tables.rollouts.save_members(members))
        with store.read() as tables:
            rest = {"lyon": SiteOthers(devices=3, healthy=1), "": SiteOthers(devices=1, healthy=1)}
            assert tables.rollouts.site_rest(R1, (1,), NOW) == tables.rollouts.site_rest(R1, (), NOW) == rest
            assert tables.rollouts.site_rest(R1, (1, 2), NOW) == {}
            assert tables.rollouts.site_rest(R1, (1,), NOW - 1.0)["lyon"] == SiteOthers(devices=3, healthy=2)
        written(store, lambda tables: tables.rollouts.save_members([replace(members[0], state=MemberState.ASSIGNED)]))
        with store.read() as tables:
            assert tables.rollouts.site_rest(R1, (1,), NOW)["lyon"] == SiteOthers(devices=2, healthy=0)

    def test_the_roll_call_says_of_each_member_what_waves_ask_for(self, store: Store) -> None:
        seen = device(
            2,
            hardware="pi4",
            labels={"site": "lyon", "zone": "Europe/Paris", "line": "2"},
            online=True,
            degraded=True,
            seen_at_s=NOW,
            health_at_s=NOW - 5,
            report_every_s=30,
        )
        written(store, lambda tables: tables.devices.save(seen))
        members = [member("r1", 2, wave=2, state=MemberState.FAILED, cause=Cause.NO_ROOM), member("r1", 1, wave=1)]
        written(store, lambda tables: tables.rollouts.save_members(members))
        with store.read() as tables:
            plain, whole = tables.rollouts.muster(R1)
            assert list(tables.rollouts.some_mustered(R1, [camera(2), camera(1), camera(3)])) == [plain, whole]
            assert list(tables.rollouts.some_mustered(R1, iter([camera(2)]))) == [whole]
            assert list(tables.rollouts.some_mustered(R1, [])) == []
            assert list(tables.rollouts.mustered_near(R1, (2,))) == [whole]
            assert list(tables.rollouts.mustered_near(R1, ())) == []
            assert list(tables.rollouts.mustered_at(R1, ["lyon", "kiel"])) == [whole]
            assert list(tables.rollouts.mustered_at(R1, [])) == []
        under_way = replace(members[0], state=MemberState.ASSIGNED)
        written(store, lambda tables: tables.rollouts.save_members([under_way]))
        with store.read() as tables:
            assert [each.device for each in tables.rollouts.mustered_near(R1, (1,))] == [camera(1), camera(2)]
        written(store, lambda tables: tables.rollouts.save_members(members[:1]))
        assert (plain.device, plain.wave, plain.site, plain.seen_at_s) == (camera(1), 1, "", None)
        assert whole == Mustered(
            device=camera(2),
            wave=2,
            state=MemberState.FAILED,
            cause=Cause.NO_ROOM,
            changed_at_s=NOW,
            device_state=DeviceState.ACTIVE,
            hardware="pi4",
            site="lyon",
            zone="Europe/Paris",
            online=True,
            degraded=True,
            seen_at_s=NOW,
            reported_at_s=NOW - 5,
            report_every_s=30,
        )

    def test_the_rest_of_a_site_is_counted_while_it_is_there(self, store: Store) -> None:
        def others(rollout: RolloutId) -> Mapping[str, SiteOthers]:
            with store.read() as tables:
                return tables.rollouts.site_others(rollout, NOW)

        lyon = {"labels": {"site": "lyon"}, "online": True, "seen_at_s": NOW, "report_every_s": 30}
        states = [
            {},
            {"degraded": True},
            {"updating": True},
            {"seen_at_s": NOW - 91},
            {"online": False},
            {"state": DeviceState.QUARANTINED},
            {"labels": {"zone": "Europe/Paris"}},
        ]
        for n, each in enumerate(states, start=2):
            there = device(n, **{**lyon, **each})
            written(store, lambda tables, there=there: tables.devices.save(there))
        written(store, lambda tables: tables.devices.save(device(1, **lyon)))
        assert others(R1) == {"lyon": SiteOthers(devices=4, healthy=2)}
        written(store, lambda tables: tables.rollouts.save_members([member("r1", n) for n in (1, 3)]))
        assert others(R1) == {"lyon": SiteOthers(devices=2, healthy=1)}
        everybody = [member("r1", n) for n in range(1, 2 + len(states))]
        written(store, lambda tables: tables.rollouts.save_members(everybody))
        assert others(R1) == {}

    def test_members_are_counted_by_wave_and_state(self, store: Store) -> None:
        members = [member("r1", n, wave=1 + n // 3) for n in (1, 2, 3)]
        written(store, lambda tables: tables.rollouts.save_members(members))
        written(store, lambda tables: tables.rollouts.save_members([member("r1", 2, wave=1, state=MemberState.FAILED)]))
        with store.read() as tables:
            assert tables.rollouts.wave_counts(R1) == {
                1: {MemberState.WAITING: 1, MemberState.FAILED: 1},
                2: {MemberState.WAITING: 1},
            }
            assert tables.rollouts.wave_counts(R3) == {}

    def test_members_are_found_by_state_in_order(self, store: Store) -> None:
        written(
            store,
            lambda tables: tables.rollouts.save_members(
                [
                    member("r1", 1, wave=2, state=MemberState.ASSIGNED),
                    member("r1", 2, wave=1),
                    member("r1", 3, wave=1, state=MemberState.FAILED),
                    member("r2", 1, wave=1),
                ]
            ),
        )
        with store.read() as tables:
            under_way = tables.rollouts.members_in(R1, (MemberState.ASSIGNED, MemberState.WAITING))
            assert [each.device for each in under_way] == [camera(2), camera(1)]
            assert [each.device for each in tables.rollouts.members_in(R1, (MemberState.FAILED,))] == [camera(3)]
            assert list(tables.rollouts.members_in(R1, ())) == []

    @pytest.mark.parametrize(
        ("waves", "expected"), [((1,), False), ((2,), True), ((1, 2), True), ((3,), False), ((), False)]
    )
    def test_somebody_waits_only_in_a_wave_with_a_member_that_waits(
        self, store: Store, waves: tuple[int, ...], expected: bool
    ) -> None:
        members = [
            member("r1", 1, wave=1, state=MemberState.ASSIGNED),
            member("r1", 2, wave=2),
            member("r2", 3, wave=1),
        ]
        written(store, lambda tables: tables.rollouts.save_members(members))
        with store.read() as tables:
            assert tables.rollouts.anybody_waits(R1, waves) is expected

    @pytest.mark.parametrize("wrong", [member("unknown", 1), member("r1", 9)])
    def test_member_of_nothing_is_refused(self, store: Store, wrong: object) -> None:
        with pytest.raises(VIOLATED):
            written(store, lambda tables: tables.rollouts.save_members([wrong]))  # type: ignore[list-item]

    def test_member_is_found_by_generation_the_newest_rollout_first(self, store: Store) -> None:
        def of(n: int, generation: int) -> str | None:
            with store.read() as tables:
                found = tables.rollouts.member_of(camera(n), DIGITS, generation)
                return found.rollout if found else None

        with store.write() as tables:
            tables.rollouts.save_members([member(name, 1, generation=5) for name in ("r1", "r2", "r3")])
        assert of(1, 5) == R2
        assert of(1, 4) is None
        assert of(2, 5) is None
        with store.read() as tables:
            assert tables.rollouts.member_of(camera(1), WORDS, 5) == member("r3", 1, generation=5)
        undone(store, lambda tables: tables.rollouts.save_members([member("r2", 1, generation=6)]))
        assert of(1, 5) == R2
        written(store, lambda tables: tables.rollouts.save_members([member("r2", 1, generation=6)]))
        assert (of(1, 5), of(1, 6)) == (R1, R2)

    def test_equally_old_rollouts_are_told_apart_by_id(self, store: Store) -> None:
        with store.write() as tables:
            for name in ("b", "c", "a"):
                tables.rollouts.save(rollout(name, created_at_s=9.0))
                tables.rollouts.save_members([member(name, 1, generation=5)])
        with store.read() as tables:
            found = tables.rollouts.member_of(camera(1), DIGITS, 5)
            assert found is not None
            assert found.rollout == "c"

    def test_members_are_counted_by_state(self, store: Store) -> None:
        with store.write() as tables:
            tables.rollouts.save_members([member("r1", n) for n in (1, 2, 3)] + [member("r2", 1)])
            tables.rollouts.save_members([member("r1", 1, state=MemberState.COMMITTED)])
            tables.rollouts.save_members([member("r1", 2, state=MemberState.ASSIGNED)])
            tables.rollouts.save_members([member("r1", 2, state=MemberState.COMMITTED)])
        undone(store, lambda tables: tables.rollouts.save_members([member("r1", 3, state=MemberState.FAILED)]))
        with store.read() as tables:
            found = tables.rollouts.counts([R2, R1, R3, R1])
            assert found == {R1: {"committed": 2, "waiting": 1}, R2: {"waiting": 1}}
            assert [list(found), list(found[R1])] == [[R1, R2], ["committed", "waiting"]]
            assert tables.rollouts.counts([]) == {}

    def test_counts_come_in_order_from_more_rollouts_than_one_statement_takes(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batches, "IN_MAX", 2)
        names = [RolloutId(f"x{n}") for n in range(5)]
        with store.write() as tables:
            for name in names:
                tables.rollouts.save(rollout(name))
            tables.rollouts.save_members([member(name, 1) for name in names])
        with store.read() as tables:
            assert list(tables.rollouts.counts(reversed(names))) == names

    def test_evidence_adds_up(self, store: Store) -> None:
        some = Counts(n=10, errors=1, predictions=9, below=2, labels=3, label_errors=1)
        with store.write() as tables:
            assert tables.rollouts.evidence(R1) == Counts()
            tables.rollouts.add_evidence(R1, camera(1), some)
            tables.rollouts.add_evidence(R1, camera(1), some)
            tables.rollouts.add_evidence(R1, camera(2), Counts(n=1))
            tables.rollouts.add_evidence(R2, camera(2), Counts(n=5))
        undone(store, lambda tables: tables.rollouts.add_evidence(R1, camera(1), some))
        with store.read() as tables:
            assert tables.rollouts.evidence(R1) == some.plus(some).plus(Counts(n=1))
            assert tables.rollouts.evidence(RolloutId("unknown")) == Counts()

    @pytest.mark.parametrize(("name", "n"), [("unknown", 1), ("r1", 9)])
    def test_evidence_of_nothing_is_refused(self, store: Store, name: str, n: int) -> None:
        with pytest.raises(VIOLATED):
            written(store, lambda tables: tables.rollouts.add_evidence(RolloutId(name), camera(n), Counts(n=1)))


class TestWaves:
    @pytest.fixture(autouse=True)
    def rollouts(self, store: Store) -> None:
        written(store, lambda tables: tables.rollouts.save(rollout("r1", rules='{"a":1}', paused="ann: lunch")))

    def test_a_rollout_keeps_its_rules_and_its_pause(self, store: Store) -> None:
        with store.read() as tables:
            found = tables.rollouts.get(R1)
        assert found is not None
        assert (found.rules, found.paused) == ('{"a":1}', "ann: lunch")

    def test_waves_are_ordered_by_number_and_the_newest_word_counts(self, store: Store) -> None:
        first, second = Wave(number=1, devices=3), Wave(number=2, devices=5, verdict="{}")
        begun = Wave(number=1, devices=3, started_at_s=NOW, promoted_by="proven", promoted_at_s=NOW + 1)
        for wave in (second, first, begun):
            written(store, lambda tables, wave=wave: tables.rollouts.save_wave(R1, wave))
        with store.read() as tables:
            assert list(tables.rollouts.waves(R1)) == [begun, second]
            assert list(tables.rollouts.waves(R2)) == []

    def test_who_agrees_twice_to_a_wave_is_noted_once(self, store: Store) -> None:
        ann, bob = (
            Agreement(wave=2, person="ann", at_s=NOW),
            Agreement(wave=1, person="bob", at_s=NOW, roles=("a", "b")),
        )
        later = Agreement(wave=2, person="ann", at_s=NOW + 5, roles=("approver",))
        for agreement in (ann, bob, later):
            written(store, lambda tables, agreement=agreement: tables.rollouts.save_agreement(R1, agreement))
        with store.read() as tables:
            assert list(tables.rollouts.agreements(R1)) == [bob, later]

    def test_what_is_decided_about_a_site_is_written_down_once(self, store: Store) -> None:
        lyon = SiteRuling(
            site="lyon", verdict=SiteVerdict.COMMIT, why="all are", decided_at_s=NOW, prepared=3, counted=3
        )
        kiel = replace(lyon, site="kiel", verdict=SiteVerdict.REVERT, why="camera-1: CRASHED", prepared=1)
        for ruling in (lyon, kiel):
            written(store, lambda tables, ruling=ruling: tables.rollouts.add_site_ruling(R1, ruling))
        with pytest.raises(VIOLATED), store.write() as tables:
            tables.rollouts.add_site_ruling(R1, replace(kiel, site="lyon"))
        with store.read() as tables:
            assert list(tables.rollouts.site_rulings(R1)) == [kiel, lyon]
            assert tables.rollouts.site_ruling(R1, "lyon") == lyon
            assert tables.rollouts.site_ruling(R1, "paris") is None
        written(store, lambda tables: tables.rollouts.drop_site_ruling(R1, "kiel"))
        with store.read() as tables:
            assert list(tables.rollouts.site_rulings(R1)) == [lyon]

    def test_a_wave_has_a_rollout(self, store: Store) -> None:
        with pytest.raises(VIOLATED), store.write() as tables:
            tables.rollouts.save_wave(R2, Wave(number=1, devices=0))
        with pytest.raises(VIOLATED), store.write() as tables:
            tables.rollouts.save_agreement(R2, Agreement(wave=1, person="ann", at_s=NOW))
        ruling = SiteRuling(site="x", verdict=SiteVerdict.COMMIT, why="", decided_at_s=NOW, prepared=1, counted=1)
        with pytest.raises(VIOLATED), store.write() as tables:
            tables.rollouts.add_site_ruling(R2, ruling)
