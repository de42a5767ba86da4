"""Withdrawing a version: who serves it is shown first, and then no device starts it, by whatever way it would come."""

from __future__ import annotations

import pytest

from pinnace_contract.latest import Cause, Intent, Outcome, Phase, Running, WithdrawMode
from pinnace_server.domain.records import EventKind, MemberState, RolloutState, Version
from pinnace_server.errors import Code, Conflict, NotFound, Refused
from pinnace_server.service.controller import BATCH
from pinnace_server.service.delivery import Withheld
from pinnace_server.service.offers import Offers
from pinnace_server.service.sets import WITHDRAWN_MAX
from pinnace_server.service.withdrawing import Withdrawn
from tests.server.world import MODEL, Server, TestedDevice

RETIRE, STOP = WithdrawMode.RETIRE, WithdrawMode.STOP


def withdraw(
    server: Server,
    version: str = "1",
    mode: WithdrawMode = RETIRE,
    *,
    security: bool = False,
    confirm_dark: int | None = None,
) -> Withdrawn:
    done = server.withdrawing.withdraw(
        model=MODEL,
        version=version,
        mode=mode,
        reason="reads zeros as eights",
        security=security,
        confirm_dark=confirm_dark,
        actor="ann",
    )
    server.controller.tick()
    return done


def told(device: TestedDevice) -> dict[str, WithdrawMode]:
    """What a device's newest set withdraws."""
    said = device.told()
    assert said is not None
    return {each.release: each.mode for each in said.withdrawn}


def installed(server: Server, *versions: Version, name: str = "camera") -> TestedDevice:
    device = server.device(name)
    for version in versions:
        server.assign(version, f"device={device.id}")
        device.commit()
    server.controller.tick()
    return device


class TestPreview:
    def test_says_who_serves_it_and_who_would_go_dark_and_changes_nothing(self, server: Server) -> None:
        first, second = server.version("1"), server.version("2")
        had, only = installed(server, first, second, name="had"), installed(server, second, name="only")
        other = installed(server, first, name="other")
        never = server.device("never")
        server.aliases.point(MODEL, "production", "2", "ann")
        before = server.events()
        seen = server.withdrawing.preview(MODEL, "@production", STOP)
        assert (seen.serving, seen.dark) == ((had.id, only.id), (only.id,))
        assert set(seen.told) == {had.id, only.id, other.id}
        assert never.id not in seen.told
        assert (seen.aliases, seen.least_next_epoch, seen.before) == (("production",), 0, None)
        assert server.withdrawing.preview(MODEL, "2", RETIRE, security=True).least_next_epoch == 1
        assert server.events() == before

    def test_candidate_in_its_trial_serves_and_leaves_nothing_behind_it(self, server: Server) -> None:
        version, device = server.version("1"), server.device()
        server.assign(version)
        tried = Running(release=version.release, variant=version.variants[0], version=version.version, sequence=1)
        device.say(device.state(generation=2, phase=Phase.TRIAL, candidate=tried))
        seen = server.withdrawing.preview(MODEL, "1", STOP)
        assert (seen.serving, seen.dark) == ((device.id,), (device.id,))

    def test_what_was_stopped_before_is_nothing_to_fall_back_to(self, server: Server) -> None:
        device = installed(server, server.version("1"), server.version("2"))
        withdraw(server, "1", STOP)
        assert server.withdrawing.preview(MODEL, "2", STOP).dark == (device.id,)

    def test_what_is_below_a_devices_floor_is_nothing_to_fall_back_to(self, server: Server) -> None:
        first = server.version("1")
        withdraw(server, "1", security=True)
        device = installed(server, server.version("2"))
        good = Running(release=first.release, variant=first.variants[0], version=first.version, sequence=1)
        for floor, dark in ((0, ()), (1, (device.id,))):
            device.say(device.state(last_good=(good,), floor=floor))
            assert server.withdrawing.preview(MODEL, "2", STOP).dark == dark

    def test_retired_release_still_is(self, server: Server) -> None:
        installed(server, server.version("1"), server.version("2"))
        withdraw(server, "1", RETIRE)
        assert server.withdrawing.preview(MODEL, "2", STOP).dark == ()

    def test_decommissioned_device_is_not_counted(self, server: Server) -> None:
        device = installed(server, server.version("1"))
        server.fleet.decommission(device.id, "ann")
        seen = server.withdrawing.preview(MODEL, "1", STOP)
        assert (seen.serving, seen.dark, seen.told) == ((), (), ())


class TestRetire:
    def test_what_runs_runs_on_and_its_entry_is_not_touched(self, server: Server) -> None:
        version = server.version("1")
        device = installed(server, version)
        before = device.told()
        assert before is not None
        done = withdraw(server)
        after = device.told()
        assert after is not None
        assert (after.generation, after.entries) == (before.generation + 1, before.entries)
        assert told(device) == {version.release: RETIRE}
        assert done.rollbacks == ()
        assert server.catalogue.version(MODEL, "1").withdrawal == done.version.withdrawal
        assert [event.severity for event in server.events(EventKind.WITHDRAWN)] == ["warning"]

    def test_is_not_assigned_any_more_and_no_alias_points_at_it(self, server: Server) -> None:
        server.version("1")
        server.device()
        withdraw(server)
        for attempt in (
            lambda: server.assign(server.catalogue.version(MODEL, "1")),
            lambda: server.climb(server.catalogue.version(MODEL, "1")),
            lambda: server.aliases.point(MODEL, "production", "1", "ann"),
        ):
            with pytest.raises(Conflict, match="was withdrawn") as refused:
                attempt()
            assert refused.value.code is Code.WITHDRAWN

    def test_active_rollout_is_halted_and_only_who_is_under_way_goes_back(self, server: Server) -> None:
        first, second = server.version("1"), server.version("2")
        done, busy = installed(server, first, name="done"), installed(server, first, name="busy")
        rollout = server.assign(second)
        done.commit()
        made = withdraw(server, "2")
        assert made.preview.rollouts == (rollout.id,)
        halted = server.rollout(rollout)
        assert (halted.state, halted.reason) == (RolloutState.HALTED, "withdrawn (retire): reads zeros as eights")
        back = server.rollouts.progress(made.rollbacks[0]).rollout
        assert set(server.members(back)) == {busy.id}
        entry, stays = busy.entry(), done.entry()
        assert entry is not None
        assert stays is not None
        assert (entry.release, entry.intent, stays.release) == (first.release, Intent.ROLLBACK, second.release)

    def test_rollout_in_waves_is_halted_with_those_that_wait(self, server: Server) -> None:
        version = server.version("1")
        for name in ("one", "other"):
            server.device(name)
        rollout = server.climb(version, waves=[1, "rest"])
        withdraw(server)
        assert server.rollout(rollout).state is RolloutState.HALTED
        server.controller.tick()
        states = [member.state for member in server.members(rollout).values()]
        assert sorted(states) == [MemberState.ASSIGNED, MemberState.WAITING]

    def test_is_nothing_to_roll_back_to_but_where_it_serves(self, server: Server) -> None:
        first, second, third = server.version("1"), server.version("2"), server.version("3")
        gone, stays = installed(server, first, second, name="gone"), installed(server, first, name="stays")
        withdraw(server, "1")
        with pytest.raises(Conflict) as refused:
            server.rollouts.revert(device=gone.id, model=MODEL, actor="ann")
        assert refused.value.code is Code.NO_FALLBACK
        server.assign(third, f"device={stays.id}")
        server.rollouts.revert(device=stays.id, model=MODEL, actor="ann")
        server.controller.tick()
        entry = stays.entry()
        assert entry is not None
        assert (entry.release, entry.intent) == (first.release, Intent.ROLLBACK)

    def test_rollback_that_would_lead_to_it_lets_its_waiting_devices_go(self, server: Server) -> None:
        device = installed(server, server.version("1"), server.version("2"))
        back = server.rollouts.revert(device=device.id, model=MODEL, actor="ann")  # planned at the next tick
        withdraw(server, "1")
        member = server.members(back)[device.id]
        assert (member.state, member.cause) == (MemberState.SKIPPED, Cause.WITHDRAWN)
        assert server.rollout(back).state is RolloutState.FINISHED


class TestStop:
    def test_devices_that_serve_it_go_back_with_the_set_that_stops_it(self, server: Server) -> None:
        first, second = server.version("1"), server.version("2")
        device = installed(server, first, second)
        made = withdraw(server, "2", STOP)
        entry = device.entry()
        assert entry is not None
        assert (entry.release, entry.intent) == (first.release, Intent.ROLLBACK)
        assert told(device) == {second.release: STOP}
        assert server.rollouts.progress(made.rollbacks[0]).rollout.reason.startswith("withdrawn (stop)")

    def test_device_that_has_nothing_else_must_be_confirmed_by_number(self, server: Server) -> None:
        version = server.version("1")
        device = installed(server, version)
        before = server.events(), device.told()
        for wrong in (None, 0, 2):
            with pytest.raises(Conflict, match=r"1 device would go dark \(camera-") as refused:
                withdraw(server, "1", STOP, confirm_dark=wrong)
            assert refused.value.code is Code.CONFIRM_DARK
            assert "--confirm-dark 1" in refused.value.hint
        assert (server.events(), device.told()) == before
        withdraw(server, "1", STOP, confirm_dark=1)
        assert told(device) == {version.release: STOP}
        assert "1 of them go dark" in server.events(EventKind.WITHDRAWN)[0].summary

    def test_number_that_is_confirmed_must_be_true_where_nobody_goes_dark(self, server: Server) -> None:
        server.version("1")
        with pytest.raises(Conflict, match="0 devices would go dark"):
            withdraw(server, "1", STOP, confirm_dark=3)
        assert withdraw(server, "1", STOP).version.withdrawn is STOP

    def test_rollout_that_leaves_what_committed_moves_it_back_all_the_same(self, server: Server) -> None:
        first, second = server.version("1"), server.version("2")
        device = installed(server, first)
        server.climb(second, waves=["rest"], on_rollback="stay", gates={"soak_s": 3600})
        device.commit()
        withdraw(server, "2", STOP)
        entry = device.entry()
        assert entry is not None
        assert (entry.release, entry.intent) == (first.release, Intent.ROLLBACK)

    def test_its_blobs_are_not_handed_out(self, server: Server) -> None:
        version, device = server.version("1"), server.device()
        server.assign(version)
        offers = Offers(server.store)
        assert offers.offered(device.id, version.variants[0]) is not Withheld.GONE
        withdraw(server, "1", STOP)
        assert offers.offered(device.id, version.variants[0]) is Withheld.GONE

    def test_device_under_way_with_its_first_model_is_told_to_stop(self, server: Server) -> None:
        version, device = server.version("1"), server.device()
        server.assign(version)
        withdraw(server, "1", STOP)
        assert told(device) == {version.release: STOP}
        device.end(Outcome.REVERTED, Cause.WITHDRAWN)
        server.controller.tick()
        assert server.known(device).updating is False

    def test_suspected_clone_is_told_too(self, server: Server) -> None:
        version = server.version("1")
        device = installed(server, version)
        device.incarnation, mine = type(device.incarnation)("f" * 32), device.incarnation
        device.birth()
        device.incarnation = mine
        device.say(generation=1)
        assert server.known(device).state == "quarantined"
        withdraw(server, "1", STOP, confirm_dark=1)
        assert told(device) == {version.release: STOP}


class TestAgain:
    def test_doing_it_again_changes_nothing(self, server: Server) -> None:
        device = installed(server, server.version("1"))
        first = withdraw(server)
        server.clock.move(60)
        before = server.events(), device.told()
        again = withdraw(server)
        assert (again.version, again.rollbacks) == (first.version, ())
        assert (server.events(), device.told()) == before

    def test_retired_may_be_stopped_and_not_the_other_way(self, server: Server) -> None:
        version = server.version("1")
        device = installed(server, version)
        withdraw(server)
        withdraw(server, "1", STOP, confirm_dark=1)
        assert told(device) == {version.release: STOP}
        with pytest.raises(Conflict, match="is not taken back") as refused:
            withdraw(server, "1", RETIRE)
        assert refused.value.code is Code.WITHDRAWN
        with pytest.raises(Conflict):
            server.withdrawing.preview(MODEL, "1", RETIRE)

    @pytest.mark.parametrize("reason", ["", "  ", "x" * 600], ids=["none", "blank", "too long"])
    def test_reason_is_asked_for(self, server: Server, reason: str) -> None:
        server.version("1")
        with pytest.raises(Refused, match="reason"):
            server.withdrawing.withdraw(model=MODEL, version="1", mode=RETIRE, reason=reason, actor="ann")

    def test_what_is_not_there_is_not_withdrawn(self, server: Server) -> None:
        server.version("1")
        with pytest.raises(NotFound):
            withdraw(server, "9")
        with pytest.raises(Refused, match="expected a mode"):
            withdraw(server, "1", WithdrawMode.UNKNOWN)


class TestSecurity:
    def test_next_version_has_a_higher_epoch_and_those_after_it_keep_it(self, server: Server) -> None:
        server.version("1")
        assert server.version("2").epoch == 0
        withdraw(server, "2", security=True)
        assert [server.version(name).epoch for name in ("3", "4")] == [1, 1]
        assert "security epoch 1 or more" in server.events(EventKind.WITHDRAWN)[0].summary

    def test_older_version_than_the_newest_does_not_raise_it_above_what_it_must(self, server: Server) -> None:
        server.version("1")
        withdraw(server, "1", security=True)
        server.version("2")
        withdraw(server, "2", security=True)
        server.version("3")
        assert server.version("4").epoch == 2

    def test_may_be_said_later_and_is_not_taken_back(self, server: Server) -> None:
        server.version("1")
        withdraw(server)
        withdraw(server, security=True)
        withdraw(server)
        assert len(server.events(EventKind.WITHDRAWN)) == 2
        assert server.version("2").epoch == 1


class TestPacing:
    def test_only_so_many_are_told_in_one_tick_and_those_that_serve_it_first(self, server: Server) -> None:
        first, second = server.version("1"), server.version("2")
        serves = installed(server, second, name="z")
        older = [server.device(f"a{n}", labels={"site": "lyon"}, online=False) for n in range(BATCH)]
        server.assign(first, "site=lyon")
        server.controller.tick()
        withdraw(server, "2")
        assert told(serves) == {second.release: RETIRE}
        assert sum(bool(told(device)) for device in older) == BATCH - 1
        server.controller.tick()
        assert all(told(device) for device in older)

    def test_crash_before_the_sets_are_made_loses_nobody(self, server: Server) -> None:
        device = installed(server, server.version("1"))
        server.withdrawing.withdraw(model=MODEL, version="1", mode=RETIRE, reason="why", actor="ann")
        server.restart()
        server.controller.tick()
        assert told(device)

    def test_device_that_comes_later_hears_of_it_with_its_first_assignment(self, server: Server) -> None:
        first, second = server.version("1"), server.version("2")
        withdraw(server, "1", STOP)
        device = installed(server, second)
        assert told(device) == {first.release: STOP}

    def test_set_holds_what_the_device_has_and_then_the_newest(self, server: Server) -> None:
        versions = [server.version(str(n)) for n in range(WITHDRAWN_MAX + 3)]
        device = installed(server, versions[0], versions[1])
        for version in versions[:-1]:
            withdraw(server, version.version)
            server.clock.move(1)
        said = told(device)
        assert len(said) == WITHDRAWN_MAX
        assert {versions[0].release, versions[1].release, versions[-2].release} <= set(said)
        assert versions[2].release not in said
