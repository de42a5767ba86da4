"""A device that comes with a new store to a site that moves whole gets what its site has, and is told nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pinnace_contract.latest import Cause, Intent, Outcome, SiteVerdict
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.records import EventKind, Member, MemberState, Rollout, RolloutState
from pinnace_server.service.whys import Whys
from tests.server.service.test_site_rollouts import COMMIT, LEASE_S, SITES, Plant
from tests.server.world import Server, TestedDevice


def reinstall(server: Server, device: TestedDevice) -> None:
    """Lose the store, long after it was last heard of, or it would be taken for two devices."""
    server.clock.move(2 * 3_600)
    device.new_store()
    device.birth()
    device.say(generation=0)
    server.controller.tick()


def silent(server: Server, device: TestedDevice) -> None:
    """Have the device last heard of long ago. Time itself may not pass: the leases of the others would end."""
    with server.store.write() as tables:
        (known,) = tables.devices.incarnations(device.id)
        tables.devices.save_incarnation(replace(known, last_seen_s=known.last_seen_s - 2 * 3_600))


def reinstall_now(server: Server, device: TestedDevice) -> None:
    silent(server, device)
    device.new_store()
    device.birth()
    device.say(generation=0)
    server.controller.tick()


def member(plant: Plant, rollout: Rollout, device: TestedDevice) -> Member:
    return plant.server.members(rollout)[device.id]


def given(device: TestedDevice) -> tuple[object, ...]:
    entry = device.entry()
    assert entry is not None
    return (entry.intent, entry.release, entry.site_atomic)


def gone_back(server: Server) -> tuple[Plant, Rollout]:
    """lyon-0 was prepared, lyon-1 failed, lyon-2 had only begun; all are back on version 1."""
    plant = Plant(server)
    rollout = plant.begin()
    plant.prepare(plant.lyon[0])
    plant.lyon[1].end(Outcome.FAILED, Cause.NO_ROOM)
    server.controller.tick()
    plant.lyon[0].end(Outcome.REVERTED, Cause.SITE_REVERTED)
    plant.lyon[2].end(Outcome.CANCELLED, Cause.SITE_REVERTED)
    server.controller.tick()
    return plant, rollout


# --- a site that went back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 2], ids=["was prepared", "failed", "had begun"])
def test_after_its_site_went_back_it_gets_what_it_served_before(server: Server, n: int) -> None:
    plant, rollout = gone_back(server)
    before = member(plant, rollout, plant.lyon[n])
    reinstall(server, plant.lyon[n])
    assert given(plant.lyon[n]) == (Intent.UPGRADE, plant.first.release, False)
    assert plant.word(plant.lyon[n]) is None
    assert member(plant, rollout, plant.lyon[n]) == before, "what the old store met stays evidence"
    plant.lyon[n].commit()
    server.controller.tick()
    assert not server.known(plant.lyon[n]).degraded
    assert {device.current.release for device in plant.lyon if device.current} == {plant.first.release}


def test_the_log_says_why_it_gets_it(server: Server) -> None:
    plant, rollout = gone_back(server)
    reinstall(server, plant.lyon[0])
    made = server.events(EventKind.ROLLOUT_CREATED)[-1]
    assert made.summary == (
        f"digits goes back to 1 on 1 device: {plant.lyon[0].id} has a new store, and site lyon has not committed "
        f"rollout {rollout.id}"
    )


def test_one_that_had_not_heard_the_word_goes_back_with_its_site(server: Server) -> None:
    plant = Plant(server)
    rollout = plant.begin()
    plant.prepare(plant.lyon[0])
    plant.lyon[0].will()
    plant.lyon[1].end(Outcome.FAILED, Cause.NO_ROOM)
    server.controller.tick()
    reinstall(server, plant.lyon[0])
    assert given(plant.lyon[0]) == (Intent.UPGRADE, plant.first.release, False)
    found = member(plant, rollout, plant.lyon[0])
    assert (found.state, found.cause) == (MemberState.REVERTED, Cause.SITE_REVERTED)


def test_a_retry_takes_it_along_once_it_has_something_to_go_back_to(server: Server) -> None:
    plant, rollout = gone_back(server)
    reinstall(server, plant.lyon[0])
    for device in plant.lyon:
        device.birth()
    assert server.steering.retry(rollout.id, actor="test") == 3
    server.controller.tick()
    assert [device.entry().attempt for device in plant.lyon[1:]] == [1, 1], "the site begins whole"  # type: ignore[union-attr]
    assert given(plant.lyon[0]) == (Intent.UPGRADE, plant.first.release, False)
    plant.lyon[0].commit()
    server.controller.tick()
    server.controller.tick()
    assert {given(device) for device in plant.lyon} == {(Intent.UPGRADE, plant.second.release, True)}
    plant.prepare(*plant.lyon)
    assert {plant.word(device) for device in plant.lyon} == {COMMIT}


def test_after_a_cancel_it_gets_what_its_site_went_back_to(server: Server) -> None:
    plant = Plant(server)
    rollout = plant.begin()
    plant.prepare(plant.lyon[0])
    server.rollouts.cancel(rollout.id, reason="enough", actor="test")
    reinstall_now(server, plant.lyon[0])
    assert given(plant.lyon[0]) == (Intent.UPGRADE, plant.first.release, False)


def test_where_its_site_served_nothing_before_it_gets_nothing(server: Server) -> None:
    version = server.version("1")
    devices = [server.device(f"lyon-{n}", labels={"site": "lyon"}) for n in range(2)]
    server.climb(version, **SITES)
    devices[1].end(Outcome.FAILED, Cause.NO_ROOM)
    server.controller.tick()
    devices[0].end(Outcome.CANCELLED, Cause.SITE_REVERTED)
    server.controller.tick()
    reinstall(server, devices[0])
    assert given(devices[0]) == (Intent.REMOVE, None, False)


# --- a site that committed ----------------------------------------------------------------------------------------


def test_after_its_site_committed_it_gets_the_release_and_the_decision(server: Server) -> None:
    plant = Plant(server)
    rollout = plant.begin()
    plant.prepare(*plant.lyon)
    for device in plant.lyon:
        device.commit()
    server.controller.tick()
    reinstall(server, plant.lyon[0])
    assert given(plant.lyon[0]) == (Intent.UPGRADE, plant.second.release, True)
    assert plant.word(plant.lyon[0]) is COMMIT
    assert member(plant, rollout, plant.lyon[0]).state is MemberState.ASSIGNED
    assert plant.site(rollout).mixed, "until it keeps the release again"
    plant.lyon[0].commit()
    assert member(plant, rollout, plant.lyon[0]).state is MemberState.COMMITTED
    assert not plant.site(rollout).mixed


def test_the_decision_is_there_after_the_rollout_ended_as_well(server: Server) -> None:
    plant = Plant(server, lyon=2)
    rollout = plant.begin()
    plant.prepare(*plant.lyon)
    for device in plant.lyon:
        device.commit()
    server.steering.promote(rollout.id, 1, reason="seen enough", actor="test")
    server.controller.tick()
    assert server.rollout(rollout).state is RolloutState.FINISHED
    reinstall(server, plant.lyon[0])
    assert plant.word(plant.lyon[0]) is COMMIT
    plant.lyon[0].end(Outcome.FAILED, Cause.NO_ROOM)
    assert member(plant, rollout, plant.lyon[0]).state is MemberState.FAILED, "the new store's word counts"


# --- a site of which nothing is decided yet -----------------------------------------------------------------------


def test_while_nothing_is_decided_it_first_gets_what_it_can_go_back_to(server: Server) -> None:
    plant = Plant(server)
    rollout = plant.begin()
    plant.prepare(*plant.lyon[:2])
    reinstall_now(server, plant.lyon[2])
    assert given(plant.lyon[2]) == (Intent.UPGRADE, plant.first.release, False)
    assert member(plant, rollout, plant.lyon[2]).state is MemberState.WAITING
    answer = next(each for each in Whys(server.world).of_device(plant.lyon[2].id) if each.rollout == rollout.id)
    assert answer.waiting_on is WaitingOn.OTHER_ROLLOUT
    assert {plant.word(device) for device in plant.lyon} == {None}, "its site waits for it"
    plant.lyon[2].commit()
    server.controller.tick()
    server.controller.tick()
    assert given(plant.lyon[2]) == (Intent.UPGRADE, plant.second.release, True)
    plant.prepare(plant.lyon[2])
    assert {plant.word(device) for device in plant.lyon} == {COMMIT}


def test_a_prepared_one_that_lost_its_store_counts_as_prepared_no_more(server: Server) -> None:
    plant = Plant(server)
    plant.begin()
    plant.prepare(*plant.lyon[:2])
    reinstall_now(server, plant.lyon[0])
    plant.prepare(plant.lyon[2])
    assert {plant.word(device) for device in plant.lyon} == {None}
    plant.pass_time(LEASE_S)
    assert {plant.word(device) for device in plant.lyon[1:]} == {SiteVerdict.REVERT}
    assert given(plant.lyon[0]) == (Intent.UPGRADE, plant.first.release, False)


def test_one_that_served_nothing_before_goes_on_with_its_site(server: Server) -> None:
    version = server.version("1")
    devices = [server.device(f"lyon-{n}", labels={"site": "lyon"}) for n in range(2)]
    rollout = server.climb(version, **SITES)
    reinstall_now(server, devices[0])
    assert given(devices[0]) == (Intent.UPGRADE, version.release, True)
    entry = devices[0].entry()
    assert entry is not None
    assert server.members(rollout)[devices[0].id].generation == entry.generation
    devices[0].end(Outcome.FAILED, Cause.NO_ROOM)
    assert server.members(rollout)[devices[0].id].state is MemberState.FAILED, "before the next tick"
