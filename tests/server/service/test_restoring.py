"""A server that was put back from yesterday's backup: a new era, and nothing for a device before it has spoken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from pinnace_contract.latest import AssignmentSet, Intent, Outcome, WithdrawMode
from pinnace_contract.topics import Down, DownTopic, Up
from pinnace_server.db.store import SqlStore
from pinnace_server.domain import eras
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.records import DeviceState, EventKind, MemberState, RolloutState
from pinnace_server.errors import Refused
from pinnace_server.service.retained import retained
from pinnace_server.service.whys import Whys
from pinnace_sim.memory.store import MemoryStore
from tests.server.world import MODEL, ClosableStore, Server, TestedDevice

ERA = eras.base_of(1)


class Backup(Protocol):
    """Keeps a copy of the database, and puts it back."""

    def __call__(self) -> None: ...
    def put_back(self) -> None: ...


class Copies:
    """``Backup`` of either database; the signer and the broker stay as they are."""

    def __init__(self, server: Server, kind: str, disks: list[MemoryStore]) -> None:
        self._server, self._kind, self._disks = server, kind, disks
        self._copy: bytes | MemoryStore = b""

    def __call__(self) -> None:
        if self._kind == "memory":
            self._copy = self._disks[0].copied()
            return
        self._server.store.close()
        self._copy = (self._server.folder / "pinnace.db").read_bytes()
        self._server.restart()

    def put_back(self) -> None:
        if isinstance(self._copy, MemoryStore):
            self._disks[0] = self._copy.copied()
        else:
            self._server.store.close()
            for rest in ("-wal", "-shm"):
                (self._server.folder / f"pinnace.db{rest}").unlink(missing_ok=True)
            (self._server.folder / "pinnace.db").write_bytes(self._copy)
        self._server.restart()


@pytest.fixture(params=["sql", "memory"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, Copies]]:
    disks = [MemoryStore()]

    def opened() -> ClosableStore:
        if request.param == "memory":
            return disks[0]
        return SqlStore(tmp_path / "pinnace.db", durable=False)

    server = Server(tmp_path, opened)
    yield server, Copies(server, request.param, disks)
    server.close()


@pytest.fixture
def server(kept: tuple[Server, Copies]) -> Server:
    return kept[0]


@pytest.fixture
def backup(kept: tuple[Server, Copies]) -> Copies:
    return kept[1]


def restored(server: Server, backup: Copies) -> None:
    backup.put_back()
    server.restoring.restore(reason="the disk died", actor="ann")
    server.controller.tick()


def waits(server: Server, device: TestedDevice) -> WaitingOn | None:
    return Whys(server.world).of_device(device.id)[0].waiting_on


def installed(server: Server, version: str, device: TestedDevice) -> None:
    server.assign(server.version(version), f"device={device.id}")
    device.commit()
    server.controller.tick()


def last_set(server: Server, device: TestedDevice) -> AssignmentSet:
    found = server.broker.desired(device.id)
    assert found is not None
    return found


def test_signer_that_knows_more_than_the_database_is_noticed(server: Server, backup: Copies) -> None:
    device = server.device()
    installed(server, "1", device)
    backup()
    assert server.restoring.behind() is None
    installed(server, "2", device)
    assert server.restoring.behind() is None
    backup.put_back()
    behind = server.restoring.behind()
    assert behind is not None
    assert (behind.device, behind.signed, behind.known) == (device.id, 3, 2)
    server.restoring.restore(actor="ann")
    assert server.restoring.behind() is None


def test_device_that_enrolled_since_is_noticed_and_told_of(server: Server, backup: Copies) -> None:
    server.device("old")
    backup()
    fresh = server.device("fresh")
    server.controller.tick()
    backup.put_back()
    behind = server.restoring.behind()
    assert behind is not None
    assert (behind.device, behind.known) == (fresh.id, None)
    done = server.restoring.restore(actor="ann")
    assert (done.era, done.devices, done.unknown) == (1, 1, 1)
    assert "1 more enrolled since" in server.events(EventKind.SERVER_RESTORED)[0].summary
    assert server.restoring.behind() is None


def test_nothing_is_said_to_a_device_before_it_has_spoken(server: Server, backup: Copies) -> None:
    device = server.device()
    installed(server, "1", device)
    server.version("2")
    backup()
    server.assign(server.catalogue.version(MODEL, "2"))
    stands = last_set(server, device)
    restored(server, backup)
    rollout = server.assign(server.catalogue.version(MODEL, "2"))
    server.clock.move(3_600)
    server.controller.tick()
    assert last_set(server, device) == stands
    assert server.members(rollout)[device.id].state is MemberState.WAITING
    assert [each.waiting_on for each in server.rollouts.progress(rollout.id).report.devices] == [WaitingOn.RESTORED]
    assert waits(server, device) is WaitingOn.RESTORED
    device.say(generation=3)
    server.controller.tick()
    entry = device.entry()
    assert entry is not None
    assert (entry.release, entry.generation) == (server.catalogue.version(MODEL, "2").release, ERA + 2)
    assert waits(server, device) is not WaitingOn.RESTORED


def test_what_stands_on_the_broker_is_left_there_until_the_device_has_spoken(server: Server, backup: Copies) -> None:
    device = server.device()
    installed(server, "1", device)
    backup()
    restored(server, backup)
    topic = DownTopic(device=device.id, channel=Down.DESIRED)
    server.signer.all_desired = lambda: [(topic, b"of before")]  # type: ignore[method-assign]
    assert list(retained(server.signer, server.store)) == []
    device.say()
    assert list(retained(server.signer, server.store)) == [(topic, b"of before")]


def test_what_it_was_told_meanwhile_is_not_taken_from_it(server: Server, backup: Copies) -> None:
    device = server.device()
    installed(server, "1", device)
    backup()
    installed(server, "2", device)
    newer = device.entry()
    restored(server, backup)
    device.say(device.state(generation=3), generation=3)
    server.controller.tick()
    told = last_set(server, device)
    assert newer is not None
    assert (told.generation, [entry.generation for entry in told.entries]) == (ERA + 1, [2])
    assert told.entries[0].generation < newer.generation, "which a device leaves alone"
    adopted = server.events(EventKind.DEVICE_ADOPTED)
    assert [event.summary for event in adopted] == [f"{device.id} says that it runs digits 2, and is planned for again"]
    with server.store.read() as tables:
        slot = tables.devices.slot(device.id, MODEL)
    assert slot is not None
    assert slot.state.current is not None
    assert slot.state.current.version == "2"


def test_receipt_that_the_lost_server_took_is_asked_for_again(server: Server, backup: Copies) -> None:
    device = server.device()
    rollout = server.assign(server.version("1"))
    backup()
    device.commit()
    restored(server, backup)
    device.say(device.state(generation=2), generation=2)
    server.controller.tick()
    entry = device.entry()
    assert entry is not None
    assert (entry.generation, entry.intent) == (ERA + 1, Intent.UPGRADE)
    device.commit()
    server.controller.tick()
    assert server.rollout(rollout).state is RolloutState.FINISHED
    assert server.members(rollout)[device.id].state is MemberState.COMMITTED


def test_assignment_that_a_newer_word_overtook_does_not_hold_its_rollout_up(server: Server, backup: Copies) -> None:
    device = server.device()
    rollout = server.assign(server.version("1"))
    server.version("2")
    backup()
    device.commit()
    installed_since = server.assign(server.catalogue.version(MODEL, "2"))
    device.commit()
    restored(server, backup)
    device.say(device.state(generation=3), generation=3)
    server.controller.tick()
    assert server.rollout(rollout).state is RolloutState.FINISHED
    assert server.members(rollout)[device.id].state is MemberState.SUPERSEDED
    assert rollout.id != installed_since.id


def test_word_that_is_known_is_enough_when_it_comes_again(server: Server, backup: Copies) -> None:
    device = server.device()
    installed(server, "1", device)
    said = server.fleet.device(device.id).seen.device
    backup()
    restored(server, backup)
    device.seq -= 1
    device.say()  # what the broker has kept
    assert device.seq == said.reported_seq
    assert not server.known(device).unadopted
    assert server.known(device).seen_at_s == said.seen_at_s, "which does not say that it is there"


def test_older_word_is_not(server: Server, backup: Copies) -> None:
    device = server.device()
    installed(server, "1", device)
    backup()
    restored(server, backup)
    device.seq -= 2
    device.say()
    device.birth()
    assert server.known(device).unadopted


def test_store_that_is_new_since_the_backup_is_told_everything(server: Server, backup: Copies) -> None:
    device = server.device()
    installed(server, "1", device)
    backup()
    server.clock.move(7_200)
    device.new_store()
    device.birth()
    device.say()
    server.controller.tick()
    device.commit()
    restored(server, backup)
    server.clock.move(7_200)
    device.say(device.state(generation=3), generation=3)
    server.controller.tick()
    assert server.known(device).state is DeviceState.ACTIVE, "a generation of the lost server makes it no clone"
    told = device.told()
    assert told is not None
    assert eras.era_of(told.generation) == 1
    assert [entry.intent for entry in told.entries] == [Intent.UPGRADE]


def test_suspected_clone_is_believed_and_told_nothing(server: Server, backup: Copies) -> None:
    device = server.device()
    installed(server, "1", device)
    mine, device.incarnation = device.incarnation, type(device.incarnation)("f" * 32)
    device.birth()
    device.incarnation = mine
    backup()
    stands = last_set(server, device)
    restored(server, backup)
    device.say(generation=2)
    server.controller.tick()
    known = server.known(device)
    assert (known.unadopted, known.state) == (False, DeviceState.QUARANTINED)
    assert last_set(server, device) == stands
    server.fleet.readmit(device.id, None, "ann")
    server.assign(server.version("2"))
    assert last_set(server, device).generation == ERA + 1


def test_set_that_was_never_signed_waits_for_the_next_one(server: Server, backup: Copies) -> None:
    device = server.device()
    installed(server, "1", device)
    server.rollouts.assign(model=MODEL, version=server.version("2").version, selected="", actor="ann")
    server.controller.plan_all()
    backup()
    restored(server, backup)
    assert server.events(EventKind.SIGNING_REFUSED) == []
    device.say(generation=2)
    server.controller.tick()
    entry = device.entry()
    assert entry is not None
    assert (entry.release, eras.era_of(entry.generation)) == (server.catalogue.version(MODEL, "2").release, 1)


def test_device_that_enrols_afterwards_begins_in_the_new_era(server: Server, backup: Copies) -> None:
    backup()
    restored(server, backup)
    device = server.device()
    installed(server, "1", device)
    assert last_set(server, device).generation == ERA + 2
    assert server.events(EventKind.SIGNING_REFUSED) == []


def test_withdrawal_reaches_a_device_that_has_not_spoken_as_soon_as_it_does(server: Server, backup: Copies) -> None:
    device = server.device()
    installed(server, "1", device)
    backup()
    restored(server, backup)
    server.withdrawing.withdraw(model=MODEL, version="1", mode=WithdrawMode.RETIRE, reason="why", actor="ann")
    server.controller.tick()
    assert last_set(server, device).withdrawn == ()
    device.say()
    server.controller.tick()
    assert [each.mode for each in last_set(server, device).withdrawn] == [WithdrawMode.RETIRE]


def test_decommissioned_device_stays_so(server: Server, backup: Copies) -> None:
    device = server.device()
    server.fleet.decommission(device.id, "ann")
    backup()
    restored(server, backup)
    assert not server.known(device).unadopted
    assert server.restoring.behind() is None


def test_restoring_twice_begins_two_eras_and_a_later_one_may_be_named(server: Server, backup: Copies) -> None:
    device = server.device()
    backup()
    assert server.restoring.restore(actor="ann").era == 1
    assert server.restoring.restore(actor="ann").era == 2
    assert server.restoring.restore(era=9, actor="ann").era == 9
    for wrong in (9, 0, -1, eras.ERA_MAX + 1):
        with pytest.raises(Refused, match="expected an era of 10 to"):
            server.restoring.restore(era=wrong, actor="ann")
    assert server.known(device).generation == eras.base_of(9)


def test_device_of_a_later_era_raises_an_alarm_and_stays_as_it_is(server: Server, backup: Copies) -> None:
    device = server.device()
    installed(server, "1", device)
    backup()
    restored(server, backup)
    device.say(generation=eras.base_of(3) + 7)
    known = server.known(device)
    assert (known.unadopted, known.state) == (True, DeviceState.ACTIVE)
    assert "pinnace restore --era 4" in server.events(EventKind.GENERATION_BEHIND)[0].summary
    server.restoring.restore(era=4, actor="ann")
    device.say(generation=eras.base_of(3) + 7)
    server.controller.tick()
    assert last_set(server, device).generation == eras.base_of(4) + 1


def test_receipts_and_reports_count_before_it_has_spoken(server: Server, backup: Copies) -> None:
    device = server.device()
    rollout = server.assign(server.version("1"))
    backup()
    restored(server, backup)
    device.send(Up.RECEIPT, device.receipt(Outcome.COMMITTED))
    assert server.members(rollout)[device.id].state is MemberState.COMMITTED


def test_restore_that_was_cut_off_is_noticed(server: Server, backup: Copies) -> None:
    device = server.device()
    backup()
    server.signer.raise_era(1)  # and then the power went
    behind = server.restoring.behind()
    assert behind is not None
    assert (behind.device, behind.signed) == (device.id, ERA)
    assert server.restoring.restore(actor="ann").era == 2
