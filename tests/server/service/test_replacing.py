"""A device takes the place of another: its name, its labels and its models, under its own generations."""

from __future__ import annotations

import pytest

from pinnace_contract.ids import DeviceId, ModelName
from pinnace_contract.latest import Cause, Intent, Outcome, WithdrawMode
from pinnace_contract.topics import Down, DownTopic
from pinnace_server.domain.records import DeviceState, EventKind, RolloutState
from pinnace_server.errors import Conflict, NotFound, Refused
from tests.server.world import MODEL, Server, TestedDevice


@pytest.fixture
def old(server: Server) -> TestedDevice:
    device = server.device("old", labels={"site": "lyon", "line": "3"})
    server.fleet.rename(device.id, "camera over line 3")
    server.assign(server.version("1"), f"device={device.id}")
    device.commit()
    server.controller.tick()
    return device


def test_new_one_is_called_labelled_and_runs_as_the_old_one(server: Server, old: TestedDevice) -> None:
    new = server.device("new", labels={"stock": "spare"})
    done = server.replacing.replace(old.id, new.id, reason="lens broken", actor="ann")
    server.controller.tick()
    known = server.known(new)
    assert (known.name, known.labels) == ("camera over line 3", {"site": "lyon", "line": "3"})
    entry = new.entry()
    assert entry is not None
    assert (entry.release, entry.intent, entry.generation) == (
        server.catalogue.version(MODEL, "1").release,
        Intent.UPGRADE,
        2,
    )
    assert server.known(old).state is DeviceState.DECOMMISSIONED
    assert server.broker.retained[DownTopic(device=old.id, channel=Down.DESIRED)] == b""
    new.commit()
    server.controller.tick()
    assert [server.rollout(each).state for each in done.rollouts] == [RolloutState.FINISHED]


def test_events_of_both_name_each_other_and_the_history_stays(server: Server, old: TestedDevice) -> None:
    new = server.device("new")
    server.replacing.replace(old.id, new.id, reason="lens broken", actor="ann")
    took, went = server.events(EventKind.DEVICE_REPLACED)[0], server.events(EventKind.DEVICE_DECOMMISSIONED)[0]
    assert (took.device, took.data["replaces"], took.data["reason"]) == (new.id, old.id, "lens broken")
    assert (went.device, went.data) == (old.id, {"replaced_by": new.id})
    assert "lens broken" in took.summary
    assert new.id in went.summary
    with server.store.read() as tables:
        assert [each.device for each in tables.devices.slots([old.id])] == [old.id]
        assert tables.assignments.get(old.id, MODEL) is not None


def test_what_failed_on_the_old_one_is_not_tried_and_what_served_is(server: Server, old: TestedDevice) -> None:
    server.assign(server.version("2"), f"device={old.id}")
    old.end(Outcome.REVERTED, Cause.ERROR_RATE)
    new = server.device("new")
    done = server.replacing.replace(old.id, new.id, actor="ann")
    assert [each.version for each in done.rollouts] == ["1"]


def test_what_was_on_its_way_to_the_old_one_goes_to_the_new_one(server: Server, old: TestedDevice) -> None:
    server.assign(server.version("2"), f"device={old.id}")
    new = server.device("new")
    assert [each.version for each in server.replacing.replace(old.id, new.id, actor="ann").rollouts] == ["2"]


def test_every_model_has_its_rollout_and_those_that_cannot_come_say_why(server: Server, old: TestedDevice) -> None:
    words, sounds = ModelName("words"), ModelName("sounds")
    for model in (words, sounds):
        server.assign(server.version("1", model=model), f"device={old.id}")
    server.withdrawing.withdraw(model=words, version="1", mode=WithdrawMode.RETIRE, reason="leaks", actor="ann")
    new = server.device("new")
    done = server.replacing.replace(old.id, new.id, actor="ann")
    assert {each.model for each in done.rollouts} == {MODEL, sounds}
    assert done.left_out == {words: "version 1 was withdrawn"}
    assert server.events(EventKind.DEVICE_REPLACED)[0].data["left_out.words"] == "version 1 was withdrawn"
    server.controller.tick()
    told = new.told()
    assert told is not None
    assert {entry.model for entry in told.entries} == {MODEL, sounds}


def test_model_that_was_taken_from_the_old_one_is_not_given(server: Server) -> None:
    old, new = server.device("old"), server.device("new")
    rollout = server.assign(server.version("1"), f"device={old.id}")
    server.rollouts.cancel(rollout.id, reason="no", actor="ann")
    server.controller.tick()
    done = server.replacing.replace(old.id, new.id, actor="ann")
    assert (done.rollouts, done.left_out) == ((), {})


def test_new_one_must_be_there_and_the_old_one_not_gone(server: Server, old: TestedDevice) -> None:
    pending, new = server.device("pending", online=False), server.device("new")
    with pytest.raises(Conflict, match="is pending, and only an active one"):
        server.replacing.replace(old.id, pending.id, actor="ann")
    with pytest.raises(Refused, match="cannot replace itself"):
        server.replacing.replace(old.id, old.id, actor="ann")
    with pytest.raises(NotFound):
        server.replacing.replace(old.id, DeviceId("nobody"), actor="ann")
    server.replacing.replace(old.id, new.id, actor="ann")
    with pytest.raises(Conflict, match="is decommissioned already"):
        server.replacing.replace(old.id, server.device("third").id, actor="ann")
