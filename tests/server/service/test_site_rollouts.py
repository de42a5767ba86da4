"""Rollouts that move whole sites, over the real services: what is decided is written down, then said, and only once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from pinnace_contract.latest import Cause, Intent, Outcome, Phase, Running, SiteVerdict
from pinnace_contract.topics import Up
from pinnace_server.domain import sites
from pinnace_server.domain.plans import WaitingOn
from pinnace_server.domain.records import DeviceState, EventKind, MemberState, Rollout, RolloutState
from pinnace_server.domain.sites import MARGIN_S, Site
from pinnace_server.domain.why import Answer, StepKind
from pinnace_server.errors import Conflict
from pinnace_server.service.controller import Controller
from pinnace_server.service.siting import Siting
from pinnace_server.service.whys import Whys
from tests.server.world import Server, TestedDevice

LEASE_S = 900
SITES: dict[str, Any] = {
    "strategy": {"kind": "site_atomic", "lease_s": LEASE_S},
    "waves": ["rest"],
    "holdback": None,
}
COMMIT, REVERT = SiteVerdict.COMMIT, SiteVerdict.REVERT


class Plant:
    """Devices at sites that serve the first version; the second is rolled out to them."""

    def __init__(self, server: Server, *, lyon: int = 3, kiel: int = 0, alone: int = 0) -> None:
        self.server = server
        self.first, self.second = server.version("1"), server.version("2")
        self.lyon = [server.device(f"lyon-{n}", labels={"site": "lyon"}) for n in range(lyon)]
        self.kiel = [server.device(f"kiel-{n}", labels={"site": "kiel"}) for n in range(kiel)]
        self.alone = [server.device(f"alone-{n}") for n in range(alone)]
        self.devices = [*self.lyon, *self.kiel, *self.alone]
        server.assign(self.first)
        for device in self.devices:
            device.commit()
        server.controller.tick()

    def begin(self, **policy: Any) -> Rollout:
        return self.server.climb(self.second, **SITES | policy)

    def prepare(self, *devices: TestedDevice, left_s: int = LEASE_S) -> None:
        for device in devices:
            entry = device.entry()
            assert entry is not None
            assert entry.release == self.second.release
            candidate = Running(
                release=self.second.release,
                variant=entry.variants[0],
                version=self.second.version,
                sequence=self.second.sequence,
            )
            state = device.state(
                generation=entry.generation, phase=Phase.PREPARED, candidate=candidate, lease_left_s=left_s
            )
            device.say(state)
        self.server.controller.tick()

    def pass_time(self, seconds: float) -> None:
        """Let everybody be heard each minute while time goes by."""
        end_s = self.server.clock.now() + seconds
        while self.server.clock.now() < end_s:
            self.server.clock.move(min(60.0, end_s - self.server.clock.now()))
            for device in self.devices:
                device.birth()
            self.server.controller.tick()

    def word(self, device: TestedDevice) -> SiteVerdict | None:
        """What a device's set says about its site, and about the entry that it has."""
        told, entry = device.told(), device.entry()
        assert told is not None
        assert entry is not None
        for each in told.site_decisions:
            assert (each.rollout, each.site, each.generation) == (entry.rollout, entry.site, entry.generation)
            return each.verdict
        return None

    def site(self, rollout: Rollout, name: str = "lyon") -> Site:
        return next(each for each in self.server.rollouts.progress(rollout.id).sites if each.name == name)

    def states(self, rollout: Rollout) -> dict[str, MemberState]:
        return {str(device).rsplit("-", 1)[0]: each.state for device, each in self.server.members(rollout).items()}

    def why(self, device: TestedDevice) -> Answer:
        (answer,) = Whys(self.server.world).of_device(device.id)
        return answer


def test_every_device_of_a_site_is_told_at_once_and_waits_for_it(server: Server) -> None:
    plant = Plant(server, alone=1)
    plant.begin()
    for device in plant.lyon:
        entry = device.entry()
        assert entry is not None
        assert (entry.site_atomic, entry.site, entry.lease_s) == (True, "lyon", LEASE_S)
    (alone,) = plant.alone
    entry = alone.entry()
    assert entry is not None
    assert (entry.site_atomic, entry.site, entry.lease_s) == (False, "", 0)


def test_a_site_commits_when_its_last_device_is_prepared(server: Server) -> None:
    plant = Plant(server, kiel=1)
    rollout = plant.begin()
    generations = [device.told().generation for device in plant.lyon]  # type: ignore[union-attr]
    plant.prepare(*plant.lyon[:2])
    assert {plant.word(device) for device in plant.devices} == {None}
    plant.prepare(plant.lyon[2])
    assert {plant.word(device) for device in plant.lyon} == {COMMIT}
    assert plant.word(plant.kiel[0]) is None
    assert [device.told().generation for device in plant.lyon] == generations  # type: ignore[union-attr]
    (event,) = server.events(EventKind.SITE_DECIDED)
    assert event.summary == "site lyon commits as a whole with digits 2: every device of it is prepared"
    for device in plant.lyon:
        device.commit()
    server.controller.tick()
    site = plant.site(rollout)
    assert (site.keeping, site.mixed) == (3, False)


def test_why_says_who_is_waited_for(server: Server) -> None:
    plant = Plant(server)
    rollout = plant.begin()
    plant.prepare(plant.lyon[0])
    answer = plant.why(plant.lyon[0])
    others = ", ".join(device.id for device in plant.lyon[1:])
    assert (answer.waiting_on, answer.step.kind) == (WaitingOn.SITE_DECISION, StepKind.SITE)
    assert answer.why == f"prepared; waits for 2 of 3 at site lyon ({others})"
    about = Whys(server.world).of_rollout(rollout.id)
    assert (about.waiting_on, about.step.kind) == (WaitingOn.SITE_DECISION, StepKind.SITE)
    assert about.why == f"site lyon: 1 of 3 prepared; waits for 2 of 3 at site lyon ({others})"


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.REVERTED, Outcome.REJECTED])
def test_one_failure_takes_the_whole_site_back(server: Server, outcome: Outcome) -> None:
    plant = Plant(server, kiel=1)
    rollout = plant.begin()
    plant.prepare(plant.lyon[0], *plant.kiel)
    plant.lyon[1].end(outcome, Cause.CRASHED)
    server.controller.tick()
    assert plant.word(plant.lyon[0]) is REVERT
    assert plant.word(plant.lyon[2]) is REVERT
    assert plant.word(plant.kiel[0]) is COMMIT
    plant.lyon[0].end(Outcome.REVERTED, Cause.SITE_REVERTED)
    plant.lyon[2].end(Outcome.CANCELLED, Cause.SITE_REVERTED)
    server.controller.tick()
    verdicts = [event.data["verdict"] for event in server.events(EventKind.SITE_DECIDED)]
    assert sorted(verdicts) == ["commit", "revert"]
    assert not plant.site(rollout).mixed


def test_who_went_back_with_its_site_is_no_failed_install(server: Server) -> None:
    plant = Plant(server, lyon=4)
    rollout = plant.begin()
    plant.prepare(*plant.lyon[:3])
    plant.lyon[3].end(Outcome.FAILED, Cause.NO_ROOM)
    server.controller.tick()
    for device in plant.lyon[:3]:
        device.end(Outcome.REVERTED, Cause.SITE_REVERTED)
    plant.pass_time(600)
    assert server.rollout(rollout).state is RolloutState.ACTIVE
    assert not server.events(EventKind.GATE_FIRED)


def test_no_commit_is_signed_two_minutes_before_the_first_lease_ends(server: Server) -> None:
    plant = Plant(server)
    plant.begin()
    plant.prepare(plant.lyon[0])
    plant.pass_time(LEASE_S - MARGIN_S - 61)
    assert plant.word(plant.lyon[0]) is None
    plant.pass_time(62)
    assert {plant.word(device) for device in plant.lyon} == {REVERT}
    plant.prepare(*plant.lyon[1:])
    assert {plant.word(device) for device in plant.lyon} == {REVERT}
    (event,) = server.events(EventKind.SITE_DECIDED)
    assert "the lease runs out, and 2 of 3 are not prepared" in event.summary


def test_a_device_that_waited_long_before_it_was_heard_shortens_the_lease(server: Server) -> None:
    plant = Plant(server)
    plant.begin()
    plant.prepare(plant.lyon[0], left_s=int(MARGIN_S) - 1)
    assert plant.word(plant.lyon[0]) is REVERT


# --- who counts ---------------------------------------------------------------------------------------------------


def test_a_site_waits_for_a_device_that_is_away_and_says_so(server: Server) -> None:
    plant = Plant(server)
    plant.lyon[1].will()
    plant.begin()
    assert all(device.entry().release == plant.first.release for device in plant.lyon)  # type: ignore[union-attr]
    answer = plant.why(plant.lyon[0])
    assert (answer.waiting_on, answer.step.kind) == (WaitingOn.SITE, StepKind.SITE)
    assert answer.why == f"site lyon moves whole, and 1 of 3 cannot yet ({plant.lyon[1].id}: DEVICE_OFFLINE)"
    plant.lyon[1].birth()
    server.controller.tick()
    assert all(device.entry().release == plant.second.release for device in plant.lyon)  # type: ignore[union-attr]


def test_a_device_that_is_decommissioned_keeps_its_site_no_longer(server: Server) -> None:
    plant = Plant(server)
    plant.begin()
    plant.prepare(*plant.lyon[:2])
    server.fleet.decommission(plant.lyon[2].id, actor="test")
    server.controller.tick()
    assert plant.word(plant.lyon[0]) is COMMIT


def test_a_device_that_was_let_go_keeps_its_site_no_longer(server: Server) -> None:
    plant = Plant(server)
    plant.lyon[2].will()
    rollout = plant.begin()
    server.fleet.label(plant.lyon[2].id, {"site": "lyon", "spare": "yes"}, "test")
    from pinnace_server.domain import selector

    server.steering.change_cohort(rollout.id, selector.parse("lacks spare"), actor="test")
    server.controller.tick()
    plant.prepare(*plant.lyon[:2])
    assert plant.word(plant.lyon[0]) is COMMIT


def test_one_that_was_heard_to_be_prepared_may_be_away_when_its_site_commits(server: Server) -> None:
    plant = Plant(server)
    rollout = plant.begin()
    plant.prepare(plant.lyon[0])
    plant.lyon[0].will()
    plant.prepare(*plant.lyon[1:])
    assert {plant.word(device) for device in plant.lyon} == {COMMIT}
    for device in plant.lyon[1:]:
        device.commit()
    server.controller.tick()
    site = plant.site(rollout)
    assert (site.keeping, site.mixed) == (2, True)
    # It went back when its lease ended, and hears now that its site committed.
    plant.lyon[0].birth()
    plant.lyon[0].end(Outcome.REVERTED, Cause.LEASE_ENDED)
    server.controller.tick()
    assert server.members(rollout)[plant.lyon[0].id].state is MemberState.ASSIGNED
    assert plant.word(plant.lyon[0]) is COMMIT
    plant.lyon[0].commit()
    server.controller.tick()
    assert server.members(rollout)[plant.lyon[0].id].state is MemberState.COMMITTED
    assert not plant.site(rollout).mixed


def test_one_that_vanished_before_it_was_prepared_is_waited_for_until_the_lease_ends(server: Server) -> None:
    plant = Plant(server)
    plant.begin()
    plant.lyon[0].will()
    plant.devices = plant.lyon[1:]
    plant.prepare(*plant.lyon[1:])
    plant.pass_time(LEASE_S - MARGIN_S - 60)
    assert plant.word(plant.lyon[1]) is None
    plant.pass_time(120)
    assert {plant.word(device) for device in plant.lyon} == {REVERT}


def test_who_joins_a_site_that_committed_hears_so_with_its_first_word(server: Server) -> None:
    plant = Plant(server, lyon=2)
    server.climb(plant.second, **SITES | {"cohort": {"selector": "", "membership": "dynamic"}})
    plant.prepare(*plant.lyon)
    late = server.device("late", labels={"site": "lyon"})
    server.clock.move(301)
    for device in plant.lyon:
        device.birth()
    late.birth()
    server.controller.tick()
    entry = late.entry()
    assert entry is not None
    assert entry.release == plant.second.release
    assert plant.word(late) is COMMIT


# --- once ---------------------------------------------------------------------------------------------------------


def test_a_decision_is_written_down_before_it_is_said(server: Server) -> None:
    plant = Plant(server)
    rollout = plant.begin()
    plant.prepare(*plant.lyon[:2])
    server.controller.sign()
    device, entry = plant.lyon[2], plant.lyon[2].entry()
    assert entry is not None
    device.say(device.state(generation=entry.generation, phase=Phase.PREPARED, lease_left_s=LEASE_S))
    Siting(server.world).decide_all()  # and the server is killed before it signs
    assert plant.word(device) is None
    server.restart()
    with server.store.read() as tables:
        (ruling,) = tables.rollouts.site_rulings(rollout.id)
    assert ruling.verdict is COMMIT
    server.controller.tick()
    assert {plant.word(each) for each in plant.lyon} == {COMMIT}
    assert len(server.events(EventKind.SITE_DECIDED)) == 1


def test_of_two_controllers_one_decides(server: Server) -> None:
    plant = Plant(server)
    rollout = plant.begin()
    plant.prepare(*plant.lyon[:2])
    device, entry = plant.lyon[2], plant.lyon[2].entry()
    assert entry is not None
    device.say(device.state(generation=entry.generation, phase=Phase.PREPARED, lease_left_s=LEASE_S))
    first, second = Siting(server.world), Siting(server.world)
    with server.store.read() as tables:
        found = tables.rollouts.get(rollout.id)
        assert found is not None
        (due,) = first._due(tables, found)
    assert due.name == "lyon"
    second.decide_all()  # between this one's look and its write; and a device fails
    plant.lyon[0].end(Outcome.REVERTED, Cause.CRASHED)
    with server.store.write() as tables:
        assert first._decide(tables, rollout.id, due) == []
    Controller(server.world, server.rollouts).tick()
    assert [event.data["verdict"] for event in server.events(EventKind.SITE_DECIDED)] == ["commit"]
    assert plant.word(device) is COMMIT


def test_a_database_takes_no_second_ruling(server: Server) -> None:
    plant = Plant(server)
    rollout = plant.begin()
    plant.prepare(*plant.lyon)
    with server.store.read() as tables:
        (ruling,) = tables.rollouts.site_rulings(rollout.id)
    with pytest.raises(Exception, match=r"UNIQUE|decided already"), server.store.write() as tables:
        tables.rollouts.add_site_ruling(rollout.id, ruling)


# --- what it costs ------------------------------------------------------------------------------------------------


def test_a_tick_calls_the_roll_once_however_many_sites_it_decides_about(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, calls = Plant(server, kiel=2), Counter[str]()
    rollout = plant.begin()
    with server.store.read() as tables:
        of = type(tables.rollouts)
    for call in ("muster", "mustered_near"):
        _counted(monkeypatch, of, call, calls)
    _counted(monkeypatch, sites, "waits", calls)
    plant.prepare(*plant.lyon, *plant.kiel)
    assert {plant.word(device) for device in plant.devices} == {COMMIT}
    assert calls == {"mustered_near": 1}
    server.rollouts.progress(rollout.id)
    assert calls["waits"] == 2  # once for each site, and not for each device
    for device in plant.devices:
        device.commit()
    server.steering.pause(rollout.id, reason="lunch", actor="test")
    calls.clear()
    server.controller.tick()
    assert not calls


def _counted(monkeypatch: pytest.MonkeyPatch, of: Any, name: str, calls: Counter[str]) -> None:
    real = getattr(of, name)

    def counted(*args: Any) -> Any:
        calls[name] += 1
        return real(*args)

    monkeypatch.setattr(of, name, counted)


def test_a_decision_reads_the_devices_of_its_site_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, asked = Plant(server, kiel=2), []
    plant.begin()
    with server.store.read() as tables:
        of = type(tables.devices)
    real = of.slots

    def noted(self: Any, devices: Any, model: Any = None) -> Any:
        names = list(devices)
        asked.append(len(names))
        return real(self, names, model)

    for device in plant.lyon:
        entry = device.entry()
        assert entry is not None
        device.say(device.state(generation=entry.generation, phase=Phase.PREPARED, lease_left_s=LEASE_S))
    monkeypatch.setattr(of, "slots", noted)
    Siting(server.world).decide_all()
    assert asked == [5, 3]  # the look, and the decision


# --- and then -----------------------------------------------------------------------------------------------------


def test_a_retry_is_of_the_whole_site(server: Server) -> None:
    plant = Plant(server)
    rollout = plant.begin()
    plant.prepare(plant.lyon[0])
    plant.lyon[1].end(Outcome.FAILED, Cause.NO_ROOM)
    server.controller.tick()
    plant.lyon[0].end(Outcome.REVERTED, Cause.SITE_REVERTED)
    plant.lyon[2].end(Outcome.CANCELLED, Cause.SITE_REVERTED)
    assert server.steering.retry(rollout.id, (plant.lyon[1].id,), actor="test") == 3
    server.controller.tick()
    assert {plant.word(device) for device in plant.lyon} == {None}
    assert [device.entry().attempt for device in plant.lyon] == [2, 2, 2]  # type: ignore[union-attr]
    plant.prepare(*plant.lyon)
    assert {plant.word(device) for device in plant.lyon} == {COMMIT}


@pytest.mark.parametrize("hears_first", [False, True], ids=["back before it is told", "told before it went back"])
def test_a_retry_takes_along_who_has_not_gone_back_yet(server: Server, hears_first: bool) -> None:
    plant = Plant(server)
    rollout = plant.begin()
    plant.prepare(plant.lyon[0])
    plant.lyon[0].will()
    plant.lyon[1].end(Outcome.FAILED, Cause.NO_ROOM)
    server.controller.tick()
    assert plant.word(plant.lyon[0]) is REVERT
    late = plant.lyon[0].receipt(Outcome.REVERTED, cause=Cause.SITE_REVERTED)
    plant.lyon[2].end(Outcome.CANCELLED, Cause.SITE_REVERTED)
    assert server.steering.retry(rollout.id, actor="test") == 3
    server.controller.tick()
    assert plant.word(plant.lyon[0]) is REVERT  # as it was signed, until there is another generation
    assert plant.why(plant.lyon[1]).waiting_on is WaitingOn.SITE
    plant.lyon[0].birth()
    if not hears_first:
        plant.lyon[0].send(Up.RECEIPT, late)
    server.controller.tick()
    if hears_first:
        plant.lyon[0].send(Up.RECEIPT, late)
        server.controller.tick()
    entries = [device.entry() for device in plant.lyon]
    assert all(entry is not None and entry.release == plant.second.release for entry in entries)
    assert entries[0].generation > late.generation  # type: ignore[union-attr]
    assert {plant.word(device) for device in plant.lyon} == {None}
    plant.prepare(*plant.lyon[1:])
    assert {plant.word(device) for device in plant.lyon} == {None}
    plant.prepare(plant.lyon[0])
    assert {plant.word(device) for device in plant.lyon} == {COMMIT}


def test_no_commit_is_said_of_what_was_told_to_revert(server: Server) -> None:
    plant = Plant(server)
    rollout = plant.begin()
    plant.prepare(plant.lyon[0])
    plant.lyon[1].end(Outcome.FAILED, Cause.NO_ROOM)
    server.controller.tick()
    known = server.known(plant.lyon[0])
    with server.store.write() as tables:  # the site goes on without it
        tables.devices.save(replace(known, state=DeviceState.QUARANTINED))
    plant.lyon[2].end(Outcome.CANCELLED, Cause.SITE_REVERTED)
    server.steering.retry(rollout.id, actor="test")
    server.controller.tick()
    plant.prepare(*plant.lyon[1:])
    assert {plant.word(device) for device in plant.lyon[1:]} == {COMMIT}
    assert plant.word(plant.lyon[0]) is not COMMIT


def test_a_rollback_after_a_retry_takes_along_who_has_not_gone_back_yet(server: Server) -> None:
    plant = Plant(server)
    rollout = plant.begin()
    plant.prepare(plant.lyon[0])
    plant.lyon[0].will()
    plant.lyon[1].end(Outcome.FAILED, Cause.NO_ROOM)
    server.controller.tick()
    server.steering.retry(rollout.id, actor="test")
    server.rollouts.roll_back(rollout.id, reason="worse", actor="test")
    plant.lyon[0].birth()
    server.controller.tick()
    entry = plant.lyon[0].entry()
    assert entry is not None
    assert (entry.intent, entry.release) == (Intent.ROLLBACK, plant.first.release)


def test_a_cancel_leaves_a_site_that_commits_whole(server: Server) -> None:
    plant = Plant(server, kiel=2)
    rollout = plant.begin()
    plant.prepare(*plant.lyon, plant.kiel[0])
    plant.lyon[0].commit()
    server.rollouts.cancel(rollout.id, reason="enough", actor="test")
    server.controller.tick()
    assert {plant.word(device) for device in plant.lyon[1:]} == {COMMIT}
    assert {device.entry().intent for device in plant.kiel} == {Intent.ROLLBACK}  # type: ignore[union-attr]
    for device in plant.lyon[1:]:
        device.commit()
    assert [server.members(rollout)[device.id].state for device in plant.lyon] == [MemberState.COMMITTED] * 3
    with pytest.raises(Conflict):
        server.steering.retry(rollout.id, actor="test")


def test_a_rollback_takes_the_site_with_it(server: Server) -> None:
    plant = Plant(server)
    rollout = plant.begin()
    plant.prepare(*plant.lyon)
    plant.lyon[0].commit()
    server.rollouts.roll_back(rollout.id, reason="worse", actor="test")
    server.controller.tick()
    for device in plant.lyon:
        entry = device.entry()
        assert entry is not None
        assert (entry.intent, entry.release, entry.site_atomic) == (Intent.ROLLBACK, plant.first.release, False)
        assert device.told().site_decisions == ()  # type: ignore[union-attr]
