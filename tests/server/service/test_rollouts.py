"""From an operator's wish to what devices are told, and from what they answer to how the rollout ended."""

from __future__ import annotations

import pytest

from pinnace_contract.ids import ModelName
from pinnace_contract.latest import Cause, ContactMode, Intent, Outcome, Phase, Running, Runtime, TrialMode
from pinnace_contract.topics import Up
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.records import EventKind, MemberState, RolloutState
from pinnace_server.errors import Code, Conflict, NotFound, Refused
from tests.server.world import MODEL, Server


def test_a_device_is_told_the_message_key_as_soon_as_it_is_enrolled(server: Server) -> None:
    """Without it no acknowledgement could be believed before the first assignment, and reports would pile up."""
    device = server.device()
    server.controller.tick()
    told = device.told()
    assert told is not None
    assert (told.generation, told.entries) == (1, ())
    assert told.message_keys == (server.signer.message_key(),)


def test_assigned_release_reaches_the_device_under_a_new_generation(server: Server) -> None:
    version, device = server.version(), server.device()
    server.assign(version)
    told = device.told()
    assert told is not None
    assert told.generation == 2
    assert told.incarnation == device.incarnation
    assert told.message_keys == (server.signer.message_key(),)
    assert [(entry.release, entry.generation, entry.intent) for entry in told.entries] == [
        (version.release, 2, Intent.UPGRADE)
    ]
    assert told.entries[0].release_size_bytes == version.size_bytes


def test_rollout_ends_when_every_device_gave_its_receipt(server: Server) -> None:
    version = server.version()
    one, other = server.device("one"), server.device("other")
    rollout = server.assign(version)
    one.commit()
    server.controller.tick()
    assert server.rollout(rollout).state is RolloutState.ACTIVE
    other.end(Outcome.FAILED, Cause.GOLDEN_MISMATCH, "max_abs 3.2 > 0.1")
    server.controller.tick()
    assert server.rollout(rollout).state is RolloutState.FINISHED
    assert {device: member.state for device, member in server.members(rollout).items()} == {
        one.id: MemberState.COMMITTED,
        other.id: MemberState.FAILED,
    }
    assert server.members(rollout)[other.id].cause is Cause.GOLDEN_MISMATCH


def test_tick_without_news_publishes_nothing(server: Server) -> None:
    version, _ = server.version(), server.device()
    server.assign(version)
    before = len(server.broker.sent), server.events()
    for _ in range(3):
        server.controller.tick()
    assert (len(server.broker.sent), server.events()) == before


def test_newer_assignment_takes_the_device_over(server: Server) -> None:
    first, second, device = server.version("1"), server.version("2"), server.device()
    old = server.assign(first)
    server.assign(second)
    server.controller.tick()
    entry = device.entry()
    assert entry is not None
    assert (entry.release, entry.generation) == (second.release, 3)
    assert server.members(old)[device.id].state is MemberState.SUPERSEDED
    assert server.rollout(old).state is RolloutState.FINISHED


def test_device_that_is_there_already_is_not_told_again(server: Server) -> None:
    version, device = server.version(), server.device()
    server.assign(version)
    device.commit()
    again = server.assign(version)
    server.controller.tick()
    told = device.told()
    assert told is not None
    assert told.generation == 2
    assert server.members(again)[device.id].state is MemberState.COMMITTED
    assert server.rollout(again).state is RolloutState.FINISHED


def test_release_that_failed_is_tried_again_under_a_new_attempt(server: Server) -> None:
    version, device = server.version(), server.device()
    server.assign(version)
    device.end(Outcome.FAILED, Cause.NO_ROOM)
    server.assign(version)
    entry = device.entry()
    assert entry is not None
    assert (entry.generation, entry.attempt) == (3, 2)


def test_older_version_goes_only_to_devices_that_committed_it(server: Server) -> None:
    first, second = server.version("1"), server.version("2")
    knows, never = server.device("knows"), server.device("never")
    server.assign(first, f"device={knows.id}")
    knows.commit()
    server.assign(second)
    knows.commit()
    never.commit()
    rollout = server.assign(first)
    entry = knows.entry()
    assert entry is not None
    assert (entry.release, entry.intent) == (first.release, Intent.ROLLBACK)
    skipped = server.members(rollout)[never.id]
    assert (skipped.state, skipped.cause) == (MemberState.SKIPPED, Cause.OLDER_RELEASE)
    assert "committed before" in skipped.detail


def test_device_gets_only_variants_for_its_runtimes(server: Server) -> None:
    version = server.version(runtimes=(Runtime.TFLITE, Runtime.ONNX))
    device = server.device()
    server.assign(version)
    entry = device.entry()
    assert entry is not None
    assert entry.variants == (version.variants[1],)


def test_assignment_that_nobody_can_take_is_refused_with_the_reason(server: Server) -> None:
    version = server.version(runtimes=(Runtime.TFLITE,))
    server.device()
    with pytest.raises(Refused, match="no variant for its runtimes") as refused:
        server.assign(version)
    assert refused.value.code is Code.NO_DEVICES


@pytest.mark.parametrize(("model", "version"), [("digits", "9"), ("letters", "1"), ("digits", "@production")])
def test_assignment_of_what_is_not_there_is_refused(server: Server, model: str, version: str) -> None:
    server.version("1")
    server.device()
    with pytest.raises(NotFound):
        server.rollouts.assign(model=ModelName(model), version=version, selected="", actor="test")


def test_selector_chooses_the_cohort(server: Server) -> None:
    version = server.version()
    lyon, paris = server.device("a", labels={"site": "lyon"}), server.device("b", labels={"site": "paris"})
    server.assign(version, "site=lyon")
    assert lyon.entry() is not None
    assert paris.entry() is None


def test_report_says_what_each_device_waits_on(server: Server) -> None:
    version = server.version()
    waiting, away, fetching, vetoed = (server.device(name) for name in ("waiting", "away", "fetching", "vetoed"))
    never = server.device("never", online=False)
    rollout = server.assign(version)
    away.will()
    for device, phase, cause in ((fetching, Phase.FETCHING, Cause.NONE), (vetoed, Phase.OFFERED, Cause.VETO)):
        entry = device.entry()
        assert entry is not None
        device.say(device.state(generation=entry.generation, phase=phase, cause=cause))
    report = server.rollouts.progress(rollout.id).report
    assert {each.device: each.waiting_on for each in report.devices} == {
        waiting.id: WaitingOn.ANSWER,
        away.id: WaitingOn.DEVICE_OFFLINE,
        fetching.id: WaitingOn.FETCHING,
        vetoed.id: WaitingOn.VETO,
        never.id: WaitingOn.DEVICE_NEVER_SEEN,
    }


class TestRevert:
    def test_device_goes_back_to_what_it_served_before(self, server: Server) -> None:
        first, second, device = server.version("1"), server.version("2"), server.device()
        for version in (first, second):
            server.assign(version)
            device.commit()
        server.rollouts.revert(device=device.id, model=MODEL, actor="test")
        server.controller.tick()
        entry = device.entry()
        assert entry is not None
        assert (entry.release, entry.intent, entry.generation) == (first.release, Intent.ROLLBACK, 4)
        assert (entry.trial.mode, entry.contact.mode) == (TrialMode.NONE, ContactMode.NONE)

    def test_device_in_trial_goes_back_to_what_it_still_holds(self, server: Server) -> None:
        first, second, device = server.version("1"), server.version("2"), server.device()
        server.assign(first)
        device.commit()
        server.assign(second)
        entry = device.entry()
        assert entry is not None
        candidate = Running(release=second.release, variant=second.variants[0], version=second.version)
        device.say(device.state(generation=entry.generation, phase=Phase.TRIAL, candidate=candidate))
        server.rollouts.revert(device=device.id, model=MODEL, actor="test")
        server.controller.tick()
        back = device.entry()
        assert back is not None
        assert back.release == first.release

    def test_device_with_nothing_to_go_back_to_is_told_so(self, server: Server) -> None:
        version, device = server.version(), server.device()
        server.assign(version)
        device.commit()
        with pytest.raises(Conflict) as refused:
            server.rollouts.revert(device=device.id, model=MODEL, actor="test")
        assert refused.value.code is Code.NO_FALLBACK


class TestCancel:
    def test_devices_under_way_go_back_and_others_stay(self, server: Server) -> None:
        first, second = server.version("1"), server.version("2")
        done, under_way = server.device("done"), server.device("under-way")
        server.assign(first)
        done.commit()
        under_way.commit()
        rollout = server.assign(second)
        done.commit()
        server.rollouts.cancel(rollout.id, reason="second thoughts", actor="test")
        server.controller.tick()
        assert server.rollout(rollout).state is RolloutState.CANCELLED
        entry, kept = under_way.entry(), done.entry()
        assert entry is not None
        assert kept is not None
        assert (entry.release, entry.intent) == (first.release, Intent.ROLLBACK)
        assert kept.release == second.release

    def test_first_release_under_way_is_taken_away(self, server: Server) -> None:
        version, device = server.version(), server.device()
        rollout = server.assign(version)
        server.rollouts.cancel(rollout.id, reason="", actor="test")
        server.controller.tick()
        entry = device.entry()
        assert entry is not None
        assert (entry.intent, entry.release) == (Intent.REMOVE, None)

    def test_ended_rollout_cannot_be_cancelled(self, server: Server) -> None:
        version, device = server.version(), server.device()
        rollout = server.assign(version)
        device.commit()
        server.controller.tick()
        with pytest.raises(Conflict, match="finished already"):
            server.rollouts.cancel(rollout.id, reason="", actor="test")


class TestSigning:
    def test_set_that_was_planned_before_a_crash_is_signed_after_it(self, server: Server) -> None:
        version, device = server.version(), server.device()
        server.rollouts.assign(model=MODEL, version=version.version, selected="", actor="test")
        server.controller.plan_all()
        assert device.told() is None
        server.restart()
        server.controller.tick()
        assert device.told() is not None

    def test_refused_set_is_told_and_does_not_stop_the_others(self, server: Server) -> None:
        version = server.version()
        refused, fine = server.device("a-refused"), server.device("b-fine")
        server.signer.refuses = lambda assignments: assignments.device == refused.id
        server.assign(version)
        assert fine.told() is not None
        assert [event.device for event in server.events(EventKind.SIGNING_REFUSED)] == [refused.id]

    def test_generation_grows_over_a_restart(self, server: Server) -> None:
        first, second, device = server.version("1"), server.version("2"), server.device()
        server.assign(first)
        server.restart()
        server.assign(second)
        told = device.told()
        assert told is not None
        assert told.generation == 3


def test_device_that_has_more_than_was_ever_reserved_is_an_alarm_and_is_adopted(server: Server) -> None:
    version, device = server.version(), server.device()
    device.say(generation=40)
    assert [event.data["have"] for event in server.events(EventKind.GENERATION_BEHIND)] == ["40"]
    server.assign(version)
    entry = device.entry()
    assert entry is not None
    assert entry.generation == 41


def test_message_of_the_wrong_kind_on_a_topic_changes_nothing(server: Server) -> None:
    device = server.device()
    before = server.known(device)
    device.send(Up.REPORTED, device.presence())
    assert server.known(device) == before
    assert server.events(EventKind.MESSAGE_REFUSED)[0].data["code"] == "BAD_ENVELOPE"


def test_device_that_was_decommissioned_before_it_was_told_is_told_nothing(server: Server) -> None:
    version, device = server.version(), server.device()
    rollout = server.rollouts.assign(model=MODEL, version=version.version, selected="", actor="test")
    server.controller.plan_all()
    server.fleet.decommission(device.id, "test")
    server.controller.tick()
    assert device.entry() is None
    assert server.rollout(rollout).state is RolloutState.ACTIVE


def test_large_rollout_is_planned_some_devices_at_a_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinnace_server.service.controller.AT_ONCE", 2)
    version = server.version()
    devices = [server.device(f"camera-{n}") for n in range(5)]
    rollout = server.assign(version)
    assert {device.id for device in devices if device.entry()} == set(server.members(rollout))
    plans = [event.data["plan"] for event in server.events(EventKind.ASSIGNED)]
    parents = [event.data["parent"] for event in server.events(EventKind.ASSIGNED)]
    assert len(set(plans)) == 3
    assert list(dict.fromkeys(parents)) == ["", *list(dict.fromkeys(plans))[:2]]


def test_device_that_claims_a_generation_out_of_reach_is_set_aside_and_stops_nobody_else(server: Server) -> None:
    version, liar, honest = server.version(), server.device(), server.device()
    server.controller.tick()
    liar.say(generation=2**53 - 1)
    server.assign(version)
    server.controller.tick()
    told = honest.told()
    assert told is not None
    assert [entry.release for entry in told.entries] == [version.release]
