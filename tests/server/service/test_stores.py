"""One identity, several stores: a device that was reinstalled, and one that may be two."""

from __future__ import annotations

import pytest

from pinnace_contract.ids import IncarnationId
from pinnace_contract.latest import Cause, Intent, Outcome
from pinnace_contract.topics import Up
from pinnace_server.domain.identity import CLONE_WINDOW_S
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.queries import ReceiptQuery
from pinnace_server.domain.records import DeviceState, EventKind, MemberState
from pinnace_server.errors import Code, Conflict, NotFound
from tests.server.world import MODEL, Server, TestedDevice


def committed(server: Server, *versions: str) -> TestedDevice:
    device = server.device()
    for name in versions or ("1",):
        server.assign(server.version(name))
        device.commit()
    server.controller.tick()
    return device


def second_store(server: Server, device: TestedDevice) -> TestedDevice:
    """The same identity from another store."""
    twin = TestedDevice(server, device.name)
    twin._key, twin.id = device._key, device.id
    return twin


class TestReinstalled:
    def reinstall(self, server: Server, device: TestedDevice) -> None:
        server.clock.move(CLONE_WINDOW_S + 1)
        device.new_store()
        device.birth()
        device.say(generation=0)
        server.controller.tick()

    def test_device_is_told_everything_again_under_a_new_generation(self, server: Server) -> None:
        device = committed(server)
        before = server.broker.desired(device.id)
        self.reinstall(server, device)
        told = device.told()
        assert told is not None
        assert before is not None
        assert told.generation > before.generation
        assert [(entry.release, entry.generation) for entry in told.entries] == [
            (before.entries[0].release, told.generation)
        ]
        assert [event.device for event in server.events(EventKind.DEVICE_REINSTALLED)] == [device.id]
        assert server.known(device).state is DeviceState.ACTIVE

    def test_what_the_old_store_said_is_believed_no_more(self, server: Server) -> None:
        device = committed(server)
        self.reinstall(server, device)
        seen = server.fleet.device(device.id).seen
        assert seen.slots == ()
        assert seen.device.reported_generation == 0

    def test_rollback_is_told_again_as_a_plain_entry(self, server: Server) -> None:
        device = committed(server, "1", "2")
        server.rollouts.revert(device=device.id, model=MODEL, actor="test")
        server.controller.tick()
        device.commit()
        self.reinstall(server, device)
        entry = device.entry()
        assert entry is not None
        assert entry.intent is Intent.UPGRADE

    def test_it_can_commit_again(self, server: Server) -> None:
        device = committed(server)
        self.reinstall(server, device)
        device.commit()
        assert server.fleet.receipts(ReceiptQuery(outcome=Outcome.COMMITTED)).total == 2
        assert not server.known(device).updating

    def test_new_store_that_claims_the_old_ones_generation_is_a_suspected_clone(self, server: Server) -> None:
        device = committed(server)
        server.clock.move(CLONE_WINDOW_S + 1)
        device.new_store()
        device.birth()
        device.say(generation=1)
        assert server.known(device).cause is Cause.CLONE_SUSPECTED


class TestCloneSuspected:
    def test_two_stores_within_the_hour_put_the_device_in_quarantine(self, server: Server) -> None:
        device = committed(server)
        second_store(server, device).birth()
        known = server.known(device)
        assert (known.state, known.cause) == (DeviceState.QUARANTINED, Cause.CLONE_SUSPECTED)
        assert known.incarnation == device.incarnation
        (told,) = server.events(EventKind.CLONE_SUSPECTED)
        assert "pinnace device readmit" in told.summary

    def test_receipt_number_that_is_used_twice_does_too(self, server: Server) -> None:
        device = committed(server)
        server.assign(server.version("2"))
        device.counter -= 1
        device.end(Outcome.FAILED, Cause.NO_ROOM)
        assert server.known(device).cause is Cause.CLONE_SUSPECTED
        assert not server.fleet.receipts(ReceiptQuery(outcome=Outcome.FAILED)).rows[0].counted

    def test_device_gets_no_assignment_and_the_rollout_says_why(self, server: Server) -> None:
        device = committed(server)
        other = server.device("other")
        second_store(server, device).birth()
        before = server.broker.desired(device.id)
        second = server.version("2")
        rollout = server.assign(second)
        assert server.broker.desired(device.id) == before
        assert other.entry() is not None
        excluded = server.rollouts.match(MODEL, "2", "").excluded
        assert excluded == {device.id: "quarantined: CLONE_SUSPECTED"}
        assert device.id not in server.members(rollout)

    def test_device_that_is_quarantined_before_it_was_told_waits(self, server: Server) -> None:
        device = server.device()
        version = server.version()
        rollout = server.rollouts.assign(model=MODEL, version=version.version, selected="", actor="test")
        second_store(server, device).birth()
        server.controller.tick()
        assert device.entry() is None
        (report,) = server.rollouts.progress(rollout.id).report.devices
        assert report.waiting_on is WaitingOn.CLONE_SUSPECTED
        server.fleet.readmit(device.id, None, "test")
        server.controller.tick()
        assert device.entry() is not None

    def test_receipts_are_kept_acknowledged_and_not_counted(self, server: Server) -> None:
        device = server.device()
        rollout = server.assign(server.version())
        second_store(server, device).birth()
        receipt = device.receipt(Outcome.COMMITTED)
        device.send(Up.RECEIPT, receipt)
        (record,) = server.fleet.receipts(ReceiptQuery()).rows
        assert (record.id, record.counted) == (receipt.id, False)
        assert [ack.receipts for ack in device.acks()] == [(receipt.id,)]
        assert server.members(rollout)[device.id].state is MemberState.ASSIGNED

    def test_words_of_the_other_store_change_nothing_that_is_believed(self, server: Server) -> None:
        device = committed(server)
        twin = second_store(server, device)
        twin.birth()
        twin.say(generation=0)
        seen = server.fleet.device(device.id).seen
        assert [slot.state.current for slot in seen.slots] == [device.current]

    def test_revert_is_refused(self, server: Server) -> None:
        device = committed(server, "1", "2")
        second_store(server, device).birth()
        with pytest.raises(Conflict) as refused:
            server.rollouts.revert(device=device.id, model=MODEL, actor="test")
        assert refused.value.code is Code.CLONE_SUSPECTED


class TestReadmit:
    def test_operator_chooses_the_store_that_is_the_device(self, server: Server) -> None:
        device = committed(server)
        twin = second_store(server, device)
        twin.birth()
        server.fleet.readmit(device.id, twin.incarnation, "test")
        server.controller.tick()
        known = server.known(device)
        assert (known.state, known.incarnation) == (DeviceState.ACTIVE, twin.incarnation)
        assert twin.entry() is not None

    def test_receipts_of_the_chosen_store_count_from_then_on(self, server: Server) -> None:
        """They were acknowledged, so they are not said again: without them the rollout would never end."""
        device = server.device()
        rollout = server.assign(server.version())
        twin = second_store(server, device)
        twin.birth()
        device.commit()
        server.fleet.readmit(device.id, device.incarnation, "test")
        server.controller.tick()
        assert server.members(rollout)[device.id].state is MemberState.COMMITTED
        assert [record.counted for record in server.fleet.receipts(ReceiptQuery()).rows] == [True]
        assert not server.known(device).updating

    def test_store_that_was_not_chosen_and_speaks_again_is_a_clone_again(self, server: Server) -> None:
        device = committed(server)
        twin = second_store(server, device)
        twin.birth()
        server.fleet.readmit(device.id, None, "test")
        assert server.known(device).state is DeviceState.ACTIVE
        twin.birth()
        assert server.known(device).cause is Cause.CLONE_SUSPECTED

    def test_store_that_never_spoke_cannot_be_chosen(self, server: Server) -> None:
        device = committed(server)
        second_store(server, device).birth()
        with pytest.raises(NotFound):
            server.fleet.readmit(device.id, IncarnationId("f" * 32), "test")

    def test_device_that_is_fine_has_nothing_to_readmit(self, server: Server) -> None:
        with pytest.raises(Conflict):
            server.fleet.readmit(committed(server).id, None, "test")
