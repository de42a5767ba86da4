"""A rollout in waves, over the real services: it climbs when its gates say so, and goes back when they say so."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from pinnace_contract.ids import DeviceId, Digest
from pinnace_contract.latest import Cause, Intent, Outcome
from pinnace_contract.topics import Up
from pinnace_server.domain import selector, wave_report
from pinnace_server.domain.gates import records
from pinnace_server.domain.gates.verdicts import Decision
from pinnace_server.domain.plans import Observed, WaitingOn
from pinnace_server.domain.ramp import Wave
from pinnace_server.domain.records import Event, EventKind, Member, MemberState, Rollout, RolloutState, Version
from pinnace_server.domain.rollout_policy import reading
from pinnace_server.domain.why import StepKind
from pinnace_server.errors import Conflict, Refused
from pinnace_server.service import climbing, controller, observing, roll_calls
from pinnace_server.service.controller import PLAN_ALL_EVERY_S, PUT_OFF_TICKS_MAX, Controller
from pinnace_server.service.evidence import gather
from pinnace_server.service.ports import Tables
from pinnace_server.service.ramps import Look
from pinnace_server.service.roll_calls import RollCalls
from pinnace_server.service.whys import Whys
from pinnace_sim.contention import Interleaved
from tests.server.world import Server, TestedDevice

HOUR_S = 3_600.0
REPORT_S = 600
QUICK = {"gates": {"soak_s": 3_600}, "holdback": None}


class Plant:
    """Devices that serve the first version, and answer all day."""

    def __init__(self, server: Server, devices: int) -> None:
        self.server = server
        self.first, self.second = server.version("1"), server.version("2")
        self.devices = [server.device(f"camera-{n}") for n in range(devices)]
        self.failed: set[DeviceId] = set()
        server.assign(self.first)
        for device in self.devices:
            device.commit()
            device.send_birth(REPORT_S)
        self.pass_time(2 * HOUR_S)

    def pass_time(self, seconds: float, errors: int = 0, silent: tuple[TestedDevice, ...] = ()) -> None:
        """Let everybody answer; ``errors`` of each report's 600 answers of the second version are wrong."""
        end = self.server.clock.now() + seconds
        while self.server.clock.now() < end:
            self.server.clock.move(REPORT_S)
            for device in self.devices:
                if device not in silent:
                    bad = errors if self.serves(device) == "2" else 0
                    device.answers(600, errors=bad)
            self.server.controller.tick()
            self.obey()

    def obey(self) -> None:
        """Let every device that was told the second version commit it."""
        for device in self.devices:
            entry = device.entry()
            if device.id in self.failed or entry is None:
                continue
            if device.current is None or entry.release != device.current.release:
                device.commit()
        self.server.controller.tick()

    def obey_first(self) -> None:
        """Let every device that was told its first version commit it."""
        for device in self.devices:
            if device.current is None and device.entry() is not None:
                device.commit()
        self.server.controller.tick()

    def answer_first(self, seconds: float, errors: int) -> None:
        """Let those answer that serve; ``errors`` of each report's 600 answers are wrong."""
        end = self.server.clock.now() + seconds
        while self.server.clock.now() < end:
            self.server.clock.move(REPORT_S)
            for device in self.devices:
                if device.current is not None:
                    device.answers(600, errors=errors)
                else:
                    device.send(Up.REPORT, device.report())  # it is there, and serves nothing
            self.server.controller.tick()
            self.obey_first()

    def serves(self, device: TestedDevice) -> str:
        return device.current.version if device.current else ""

    def on(self, version: Version) -> int:
        return sum(self.serves(device) == version.version for device in self.devices)


@pytest.fixture
def plant(server: Server) -> Plant:
    return Plant(server, 6)


def waves(server: Server, rollout: Rollout) -> list[Wave]:
    with server.store.read() as tables:
        return list(tables.rollouts.waves(rollout.id))


def waits(server: Server, rollout: Rollout) -> set[WaitingOn | None]:
    return {each.waiting_on for each in server.rollouts.progress(rollout.id).report.devices}


def told(server: Server, rollout: Rollout, kind: EventKind) -> list[Event]:
    return [each for each in server.events(kind) if each.rollout == rollout.id]


def test_only_the_first_wave_is_told_at_the_start(server: Server, plant: Plant) -> None:
    rollout = server.climb(plant.second, waves=[1, 2, "rest"], **QUICK)
    states = [each.state for each in server.members(rollout).values()]
    assert states.count(MemberState.ASSIGNED) == 1
    assert states.count(MemberState.WAITING) == 5
    assert waits(server, rollout) == {WaitingOn.ANSWER, WaitingOn.EARLIER_WAVE}
    assert [wave.devices for wave in waves(server, rollout)] == [1, 2, 3]


def test_a_good_release_climbs_to_the_last_wave_by_itself(server: Server, plant: Plant) -> None:
    rollout = server.climb(plant.second, waves=[1, 2, "rest"], **QUICK)
    plant.obey()
    seen = []
    for _ in range(60):
        plant.pass_time(REPORT_S)
        seen.append(plant.on(plant.second))
        if server.rollout(rollout).state is not RolloutState.ACTIVE:
            break
    assert server.rollout(rollout).state is RolloutState.FINISHED
    assert sorted(set(seen)) == [1, 3, 6]
    assert {wave.promoted_by for wave in waves(server, rollout)} <= {"unrefuted", "proven"}
    assert [each.data["wave"] for each in told(server, rollout, EventKind.WAVE_STARTED)] == ["1", "2", "3"]


def test_a_wave_begins_after_the_one_before_was_promoted(server: Server, plant: Plant) -> None:
    rollout = server.climb(plant.second, waves=[1, 2, "rest"], **QUICK)
    plant.obey()
    for _ in range(40):
        plant.pass_time(REPORT_S)
        for before, after in zip(waves(server, rollout), waves(server, rollout)[1:], strict=False):
            if after.started_at_s is not None:
                assert before.promoted_at_s is not None
                assert before.promoted_at_s <= after.started_at_s


def test_a_bad_release_goes_back_from_the_first_wave(server: Server) -> None:
    plant = Plant(server, 10)
    rollout = server.climb(plant.second, waves=[4, "rest"], **QUICK)
    plant.obey()
    plant.pass_time(4 * HOUR_S, errors=180)
    assert server.rollout(rollout).state is RolloutState.HALTED
    assert "errors got worse" in server.rollout(rollout).reason
    assert plant.on(plant.second) == 0
    assert len(told(server, rollout, EventKind.WAVE_STARTED)) == 1
    (fired,) = told(server, rollout, EventKind.GATE_FIRED)
    kept = json.loads(server.blobs.read(Digest(fired.data["record"])))
    assert records.holds(kept), "anybody can work the verdict out again"


def test_every_ruling_of_a_gate_can_be_worked_out_again(server: Server, plant: Plant) -> None:
    rollout = server.climb(plant.second, waves=[2, "rest"], **QUICK)
    plant.obey()
    plant.pass_time(4 * HOUR_S)
    promoted = told(server, rollout, EventKind.WAVE_PROMOTED)
    assert promoted
    for event in promoted:
        assert records.holds(json.loads(server.blobs.read(Digest(event.data["record"]))))


def test_a_pause_starts_nothing_and_a_resume_goes_on(server: Server, plant: Plant) -> None:
    rollout = server.climb(plant.second, waves=[1, "rest"], **QUICK)
    plant.obey()
    server.steering.pause(rollout.id, reason="audit", actor="ann")
    plant.pass_time(6 * HOUR_S)
    assert plant.on(plant.second) == 1
    assert WaitingOn.PAUSED in waits(server, rollout)
    with pytest.raises(Conflict, match="is paused already: ann: audit"):
        server.steering.pause(rollout.id, reason="again", actor="bob")
    server.steering.resume(rollout.id, actor="ann")
    plant.pass_time(4 * HOUR_S)
    assert plant.on(plant.second) == 6


def test_a_bad_release_goes_back_in_a_pause(server: Server) -> None:
    plant = Plant(server, 10)
    rollout = server.climb(plant.second, waves=[4, "rest"], **QUICK)
    plant.obey()
    server.steering.pause(rollout.id, reason="lunch", actor="ann")
    plant.pass_time(4 * HOUR_S, errors=180)
    assert server.rollout(rollout).state is RolloutState.HALTED


def test_a_wave_waits_for_whoever_must_agree(server: Server, plant: Plant) -> None:
    rollout = server.climb(plant.second, waves=[1, "rest"], approvals=[{"before": 2, "count": 2}], **QUICK)
    plant.obey()
    plant.pass_time(3 * HOUR_S)
    assert plant.on(plant.second) == 1
    server.steering.approve(rollout.id, None, actor="ann")
    server.steering.approve(rollout.id, 2, actor="ann")
    plant.pass_time(HOUR_S)
    assert plant.on(plant.second) == 1, "one person who agrees twice is one"
    server.steering.approve(rollout.id, 2, actor="bob")
    plant.pass_time(HOUR_S)
    assert plant.on(plant.second) == 6
    with pytest.raises(Conflict, match="began already"):
        server.steering.approve(rollout.id, 2, actor="cy")


def test_nobody_is_asked_where_the_policy_asks_nobody(server: Server, plant: Plant) -> None:
    rollout = server.climb(plant.second, waves=[1, "rest"], **QUICK)
    with pytest.raises(Conflict, match="nobody has to agree"):
        server.steering.approve(rollout.id, 2, actor="ann")


def test_a_person_may_decide_for_the_gates_and_the_log_says_who(server: Server, plant: Plant) -> None:
    rollout = server.climb(plant.second, waves=[1, "rest"], **QUICK)
    plant.obey()
    with pytest.raises(Refused, match="expected a reason"):
        server.steering.promote(rollout.id, 1, reason=" ", actor="ann")
    with pytest.raises(Conflict, match="wave 1, which comes before, is not promoted"):
        server.steering.promote(rollout.id, 2, reason="hurry", actor="ann")
    server.steering.promote(rollout.id, 1, reason="the customer waits", actor="ann")
    server.controller.tick()
    plant.obey()
    assert plant.on(plant.second) == 6
    assert waves(server, rollout)[0].promoted_by == "person:ann"
    (event,) = told(server, rollout, EventKind.WAVE_PROMOTED)
    assert "by ann, and not by its gates: the customer waits" in event.summary


def test_an_undecided_wave_is_paused_when_its_time_is_over(server: Server, plant: Plant) -> None:
    """Nobody answers anything, so nothing is proven: the policy pauses, and a resumed rollout is not paused again."""
    gates = {"soak_s": 600, "hold_timeout_s": 3_600}
    rollout = server.climb(plant.second, waves=[1, "rest"], gates=gates, holdback=None)
    silent = tuple(plant.devices)
    plant.pass_time(3 * HOUR_S, silent=silent)
    assert "not decided 1 hours after its soak time" in server.rollout(rollout).paused
    server.steering.resume(rollout.id, actor="ann")
    plant.pass_time(2 * HOUR_S, silent=silent)
    assert server.rollout(rollout).paused == ""


def test_never_more_devices_are_under_way_than_the_budget_lets(server: Server, plant: Plant) -> None:
    rollout = server.climb(
        plant.second,
        strategy="all_at_once",
        budgets={"devices_in_flight_max": 2, "healthy_per_site_min": None},
    )
    for expected in (2, 2, 2):
        under_way = [each for each in server.members(rollout).values() if each.state is MemberState.ASSIGNED]
        assert len(under_way) == expected
        assert waits(server, rollout) <= {WaitingOn.ANSWER, WaitingOn.BUDGET, None}
        plant.obey()
    assert plant.on(plant.second) == 6


@pytest.mark.parametrize(("ill", "go"), [(0, 3), (1, 2)])
def test_devices_of_later_waves_are_part_of_their_site(server: Server, plant: Plant, ill: int, go: int) -> None:
    for device in plant.devices:
        server.fleet.label(device.id, {"site": "lyon"}, "ann")
    asked = {"waves": [3, "rest"], "budgets": {"healthy_per_site_min": 3}, "holdback": None}
    rollout = server.climb(plant.second, **asked, approvals=[{"before": 1}])
    later = [device for device, each in server.members(rollout).items() if each.wave == 2]
    with server.store.write() as tables:
        for name in later[:ill]:
            found = tables.devices.get(name)
            assert found is not None
            tables.devices.save(replace(found, degraded=True))
    server.steering.approve(rollout.id, 1, actor="bea")
    server.controller.tick()
    under_way = [each for each in server.members(rollout).values() if each.state is MemberState.ASSIGNED]
    assert len(under_way) == go


def test_a_site_does_without_a_device_that_a_rollout_behind_this_one_moves(server: Server, plant: Plant) -> None:
    first, busy = sorted(plant.devices[:2], key=lambda each: each.id)
    for device in (first, busy):
        server.fleet.label(device.id, {"site": "lyon"}, "ann")
    behind = server.climb(plant.second, cohort=f"device = {busy.id}", strategy="all_at_once", priority=10)
    assert server.members(behind)[busy.id].state is MemberState.ASSIGNED
    asked = {"strategy": "all_at_once", "budgets": {"healthy_per_site_min": 1}, "priority": 50}
    ahead = server.climb(server.version("3"), cohort="site = lyon", **asked)
    assert {each.state for each in server.members(ahead).values()} == {MemberState.WAITING}
    busy.commit()
    server.controller.tick()
    assert MemberState.ASSIGNED in {each.state for each in server.members(ahead).values()}


def test_the_round_looks_at_who_is_under_way_and_at_nobody_who_is_held(
    server: Server, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = server.climb(plant.second, waves=[1, "rest"], **QUICK)
    under_way = [device for device, each in server.members(rollout).items() if each.state is MemberState.ASSIGNED]
    server.controller.tick()  # it hears of those that it assigned itself
    looked: list[DeviceId] = []
    observe = observing.observe

    def noting(tables: Tables, rollout: Rollout, members: Sequence[Member]) -> dict[DeviceId, Observed]:
        looked.extend(member.device for member in members)
        return observe(tables, rollout, members)

    monkeypatch.setattr(observing, "observe", noting)
    server.controller.tick()
    assert looked == []
    server.clock.move(PLAN_ALL_EVERY_S)
    server.controller.tick()
    assert looked == under_way


def test_the_round_finds_what_ended_unheard(server: Server, plant: Plant) -> None:
    rollout = server.climb(plant.second, strategy="all_at_once")
    device = plant.devices[0].id
    server.controller.tick()  # it hears of those that it assigned itself
    with server.store.write() as tables:
        found = tables.assignments.get(device, rollout.model)
        assert found is not None
        tables.assignments.save(replace(found, outcome=Outcome.FAILED, cause=Cause.NO_ROOM))
    server.controller.tick()
    assert server.members(rollout)[device].state is MemberState.ASSIGNED
    server.clock.move(PLAN_ALL_EVERY_S)
    server.controller.tick()
    assert server.members(rollout)[device].state is MemberState.FAILED


def test_of_a_large_fleet_who_moves_next_is_worked_out_some_seconds_apart(
    server: Server, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roll_calls, "SMALL", 2)  # devices: six are called three seconds apart
    asked = {"waves": [5, "rest"], "budgets": {"devices_in_flight_max": 2, "healthy_per_site_min": None}}
    rollout = server.climb(plant.second, holdback=None, **asked)

    def told() -> int:
        return sum(each.state is not MemberState.WAITING for each in server.members(rollout).values())

    assert told() == 2
    plant.obey()
    assert told() == 2
    for passed_s in (1.0, 1.0):
        server.clock.move(passed_s)
        server.controller.tick()
        assert told() == 2
    committed = [each for each in server.members(rollout).values() if each.state is MemberState.COMMITTED]
    assert len(committed) == 2  # whoever is under way is looked at all the same
    server.steering.pause(rollout.id, reason="", actor="ann")
    server.controller.tick()
    server.steering.resume(rollout.id, actor="ann")
    server.controller.tick()
    assert told() == 2
    server.clock.move(1.0)
    server.controller.tick()
    assert told() == 4


@pytest.mark.parametrize(("small", "whole"), [(2, [False, True]), (6, [True, False])])
def test_a_large_fleet_s_round_waits_for_the_tick_after_its_gates_looked(
    server: Server, plant: Plant, monkeypatch: pytest.MonkeyPatch, small: int, whole: list[bool]
) -> None:
    monkeypatch.setattr(roll_calls, "SMALL", small)
    server.climb(plant.second, waves=[1, "rest"], **QUICK)
    plant.obey()
    assert whole_looks(server, monkeypatch, (PLAN_ALL_EVERY_S, 1.0)) == whole


def test_the_round_of_a_large_fleet_comes_where_gates_look_in_each_tick(
    server: Server, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.climb(plant.second, waves=[1, "rest"], **QUICK)
    plant.obey()
    looked = server.controller._climbing
    monkeypatch.setattr(looked, "climb_all", lambda: None)
    monkeypatch.setattr(looked, "looked_over", roll_calls.SMALL + 1)
    seconds = [PLAN_ALL_EVERY_S, *[1.0] * PUT_OFF_TICKS_MAX, 1.0]
    assert whole_looks(server, monkeypatch, seconds) == [*[False] * PUT_OFF_TICKS_MAX, True, False]


def whole_looks(server: Server, monkeypatch: pytest.MonkeyPatch, seconds: Sequence[float]) -> list[bool]:
    """Tick after each of these seconds, and tell in which ticks everybody was looked at."""
    asked: list[bool] = []
    in_question = controller._in_question

    def noting(tables: Tables, rollout: Rollout, look: Look | None, changed: Sequence[DeviceId] | None) -> object:
        asked.append(changed is None)
        return in_question(tables, rollout, look, changed)

    monkeypatch.setattr(controller, "_in_question", noting)
    for passed_s in seconds:
        server.clock.move(passed_s)
        server.controller.tick()
    return asked


def test_a_roll_call_is_read_once_in_a_tick_and_anew_in_the_next(server: Server, plant: Plant) -> None:
    rollout, calls = server.climb(plant.second, waves=[1, "rest"], **QUICK), RollCalls()
    with server.store.read() as tables:
        with calls.remembered():
            first = calls.near(tables, rollout.id, {1})
            assert calls.near(tables, rollout.id, {1}) is first
        assert calls.near(tables, rollout.id, {1}) is not first
        assert list(calls.near(tables, rollout.id, {1})) == list(first)


def test_a_device_that_is_away_is_told_when_it_is_back(server: Server, plant: Plant) -> None:
    away = plant.devices[0]
    away.will()
    rollout = server.climb(plant.second, strategy="all_at_once")
    plant.obey()
    assert plant.on(plant.second) == 5
    assert waits(server, rollout) == {None, WaitingOn.DEVICE_OFFLINE}
    away.send_birth(REPORT_S)
    server.controller.tick()
    plant.obey()
    assert plant.on(plant.second) == 6


def test_the_first_golden_failure_stops_its_kind_of_hardware(server: Server, plant: Plant) -> None:
    rollout = server.climb(
        plant.second,
        strategy="all_at_once",
        budgets={"devices_in_flight_max": 1, "healthy_per_site_min": None},
    )
    (told_one,) = [device for device in plant.devices if _is_told(device, plant.second)]
    told_one.end(Outcome.FAILED, Cause.GOLDEN_MISMATCH)
    server.controller.tick()
    assert waits(server, rollout) == {None, WaitingOn.INSTALLS_STOPPED}
    answer = Whys(server.world).of_rollout(rollout.id)
    assert answer.why.startswith("5 devices wait because installs failed and were stopped")
    assert answer.step.kind is StepKind.RETRY
    assert not told(server, rollout, EventKind.ROLLOUT_HALTED)


def test_what_ended_badly_is_tried_again_when_a_person_says_so(server: Server, plant: Plant) -> None:
    rollout = server.climb(plant.second, strategy="all_at_once")
    one, *others = plant.devices
    one.end(Outcome.FAILED, Cause.NO_ROOM)
    for device in others:
        device.commit()
    server.controller.tick()
    assert server.steering.retry(rollout.id, actor="ann") == 1
    server.controller.tick()
    entry = one.entry()
    assert entry is not None
    assert entry.attempt == 2
    with pytest.raises(Conflict, match="no device of rollout"):
        server.steering.retry(rollout.id, actor="ann")


class TestCohorts:
    def test_a_dynamic_cohort_takes_late_joiners_into_the_same_ramp(self, server: Server, plant: Plant) -> None:
        dynamic = {"selector": "", "membership": "dynamic"}
        rollout = server.climb(plant.second, cohort=dynamic, waves=[1, "rest"], **QUICK)
        plant.obey()
        late = server.device("late")
        plant.pass_time(REPORT_S)
        assert late.id in server.members(rollout)
        assert server.members(rollout)[late.id].wave == 2
        assert sum(wave.devices for wave in waves(server, rollout)) == 7

    def test_a_static_cohort_does_not(self, server: Server, plant: Plant) -> None:
        rollout = server.climb(plant.second, waves=[1, "rest"], **QUICK)
        late = server.device("late")
        plant.pass_time(REPORT_S)
        assert late.id not in server.members(rollout)

    def test_narrowing_lets_those_go_who_wait_and_widening_takes_them_back(self, server: Server, plant: Plant) -> None:
        rollout = server.climb(plant.second, waves=[1, "rest"], **QUICK)
        plant.obey()
        kept = ", ".join(device.id for device in plant.devices[:2])
        narrow = reading.read({"cohort": f"device in ({kept})"}).cohort
        joined, gone = server.steering.change_cohort(rollout.id, narrow, actor="ann")
        assert joined == 0
        assert gone in (3, 4)
        joined, gone = server.steering.change_cohort(rollout.id, reading.read({"cohort": ""}).cohort, actor="ann")
        assert (joined, gone) in ((3, 0), (4, 0))


class TestRivals:
    def test_the_older_of_two_keeps_its_devices_until_it_ends(self, server: Server, plant: Plant) -> None:
        first = server.climb(plant.second, waves=[1, "rest"], **QUICK)
        third = server.version("3")
        second = server.climb(third, waves=[1, "rest"], **QUICK)
        plant.obey()
        assert plant.on(third) == 0
        assert WaitingOn.OTHER_ROLLOUT in waits(server, second)
        server.rollouts.cancel(first.id, reason="the other one", actor="ann")
        plant.pass_time(6 * HOUR_S)
        assert plant.on(third) == 6

    def test_one_that_supersedes_takes_over(self, server: Server, plant: Plant) -> None:
        first = server.climb(plant.second, waves=[1, "rest"], **QUICK)
        third = server.version("3")
        server.climb(third, strategy="all_at_once", supersedes=True)
        plant.obey()
        assert plant.on(third) == 6
        assert waits(server, first) <= {WaitingOn.EARLIER_WAVE, WaitingOn.OTHER_ROLLOUT, None}


class TestRollback:
    def test_each_device_goes_back_to_its_own_last_good(self, server: Server, plant: Plant) -> None:
        rollout = server.climb(plant.second, strategy="all_at_once")
        plant.obey()
        made = server.rollouts.roll_back(rollout.id, reason="a bad smell", actor="ann")
        assert made.intent is Intent.ROLLBACK
        server.controller.tick()
        plant.obey()
        assert plant.on(plant.first) == 6

    def test_devices_stay_where_the_policy_says_so(self, server: Server, plant: Plant) -> None:
        rollout = server.climb(plant.second, waves=[2, "rest"], on_rollback="stay", **QUICK)
        plant.obey()
        server.rollouts.roll_back(rollout.id, reason="not now", actor="ann")
        server.controller.tick()
        plant.obey()
        assert plant.on(plant.second) == 2


class TestWindows:
    def test_an_entry_says_when_its_device_may_activate(self, server: Server, plant: Plant) -> None:
        device = plant.devices[0]
        server.fleet.label(device.id, {"site": "lyon", "zone": "Europe/Paris"}, "ann")
        weekly = [{"opens": "02:00", "closes": "04:00"}]
        rollout = server.climb(plant.second, strategy="all_at_once", windows={"weekly": weekly})
        entry = device.entry()
        assert entry is not None
        assert entry.window is not None
        assert entry.window.closes_s - entry.window.opens_s == 2 * HOUR_S
        others = [each for each in server.rollouts.progress(rollout.id).report.devices if each.device != device.id]
        assert {each.waiting_on for each in others} == {WaitingOn.WINDOW}
        assert "nobody named the time zone" in others[0].detail

    def test_a_device_that_misses_its_window_is_told_the_next_one(self, server: Server, plant: Plant) -> None:
        weekly = [{"opens": "02:00", "closes": "04:00"}]
        server.climb(plant.second, strategy="all_at_once", windows={"weekly": weekly, "zone": "UTC"})
        device = plant.devices[0]
        first = device.entry()
        assert first is not None
        assert first.window is not None
        server.clock.move(first.window.closes_s + 60 - server.clock.now())
        device.send_birth(REPORT_S)
        device.end(Outcome.FAILED, Cause.DEADLINE, "the window closed before the release could be activated")
        server.controller.tick()
        again = device.entry()
        assert again is not None
        assert again.window is not None
        assert again.window.opens_s == first.window.opens_s + 24 * HOUR_S
        assert again.attempt == 2


class TestBeginning:
    def test_a_cohort_of_nobody_is_refused(self, server: Server, plant: Plant) -> None:
        with pytest.raises(Refused, match="the selector means none"):
            server.climb(plant.second, cohort="site=nowhere")

    def test_a_preview_says_who_moves_when_and_what_can_be_noticed(self, server: Server, plant: Plant) -> None:
        policy = reading.read({"cohort": "", "waves": [2, "rest"], **QUICK})
        seen = server.steering.preview(model=plant.second.model, version="2", policy=policy)
        assert sorted(seen.dealt.numbers.values()) == [1, 1, 2, 2, 2, 2]
        assert seen.foresight is not None
        assert seen.foresight.hours == 25
        assert server.rollouts.counts([]) == {}


class TestTwoControllers:
    """A second server's controller ticks between the first one's look and its writing."""

    @pytest.fixture
    def contended(self, server: Server) -> Callable[[], None]:
        """Return a tick of a controller that another one forestalls at each writing."""
        second = Controller(server.world, server.rollouts)
        store = Interleaved(server.store, second.tick)
        return Controller(replace(server.world, store=store), server.rollouts).tick

    def test_the_time_of_a_wave_is_over_once(self, server: Server, plant: Plant, contended: Callable[[], None]) -> None:
        gates = {"soak_s": 600, "hold_timeout_s": 3_600}
        rollout = server.climb(plant.second, waves=[1, "rest"], gates=gates, holdback=None)
        plant.obey()
        server.clock.move(3 * HOUR_S)
        contended()
        assert len(told(server, rollout, EventKind.ROLLOUT_PAUSED)) == 1

    def test_a_look_that_was_written_late_leaves_what_a_wave_was_promoted_by(
        self, server: Server, plant: Plant
    ) -> None:
        rollout = server.climb(plant.second, waves=[2, "rest"], **QUICK)
        plant.obey()
        plant.pass_time(0.5 * HOUR_S)
        meanwhile = [HOUR_S]  # in which the other one promotes it
        store = Interleaved(server.store, lambda: plant.pass_time(meanwhile.pop() if meanwhile else 0.0))
        Controller(replace(server.world, store=store), server.rollouts).tick()
        first, _ = waves(server, rollout)
        assert first.promoted_by == "unrefuted"
        report = wave_report.read(first.verdict)
        assert report is not None
        assert report.decision is Decision.PROMOTE_UNREFUTED
        assert [each.data["wave"] for each in told(server, rollout, EventKind.WAVE_PROMOTED)] == ["1"]

    def test_a_silence_is_told_once(self, server: Server, plant: Plant, contended: Callable[[], None]) -> None:
        server.clock.move(3 * HOUR_S)
        contended()
        silent = [each.device for each in server.events(EventKind.DEVICE_OFFLINE)]
        assert sorted(silent) == sorted(device.id for device in plant.devices)


def _is_told(device: TestedDevice, version: Version) -> bool:
    entry = device.entry()
    return entry is not None and entry.release == version.release


class TestFirstRelease:
    """Nothing came before it, so it is held against what it says of itself: at most 2 % errors."""

    @staticmethod
    def fleet(server: Server) -> tuple[Plant, Rollout]:
        plant = Plant.__new__(Plant)
        plant.server, plant.first = server, server.version("1")
        plant.second = plant.first
        plant.devices, plant.failed = [server.device(f"camera-{n}") for n in range(6)], set()
        for device in plant.devices:
            device.send_birth(REPORT_S)
        rollout = server.climb(plant.first, waves=[3, "rest"], **QUICK)
        plant.obey_first()
        return plant, rollout

    def test_one_that_keeps_its_word_climbs(self, server: Server) -> None:
        plant, rollout = self.fleet(server)
        plant.answer_first(4 * HOUR_S, errors=6)
        assert plant.on(plant.first) == 6
        assert server.rollout(rollout).state is RolloutState.FINISHED

    def test_one_that_does_not_is_moved_back_to_no_model(self, server: Server) -> None:
        plant, rollout = self.fleet(server)
        plant.answer_first(4 * HOUR_S, errors=90)
        assert server.rollout(rollout).state is RolloutState.HALTED
        assert "errors got worse" in server.rollout(rollout).reason
        skipped = server.events(EventKind.NO_FALLBACK)
        assert len(skipped) == 3, "there is nothing to go back to, and each device says so"


def test_what_a_wave_is_compared_with_is_kept_until_it_is_decided(server: Server, plant: Plant) -> None:
    """Stretches are kept for two days; a wave may be watched for longer."""
    begun_at = int(server.clock.now() // 600)
    server.climb(plant.second, waves=[1, "rest"], holdback=None, gates={"soak_s": 10 * 86_400})
    plant.obey()
    for _ in range(5):
        server.clock.move(86_400)
        server.controller.tick()
    with server.store.read() as tables:
        kept = tables.reports.stretches([each.id for each in plant.devices], plant.first.model, 0, begun_at)
    assert len({each.device for each in kept}) == 6


class TestFalseAlarms:
    """What must not move a good release back, or promote one unseen."""

    def test_devices_that_are_switched_off_at_night_are_no_failures(self, server: Server) -> None:
        plant = Plant(server, 14)
        for device in plant.devices:
            server.fleet.label(device.id, {"site": "lyon"}, "ann")
        rollout = server.climb(plant.second, waves=[6, "rest"], budgets={"healthy_per_site_min": None}, **QUICK)
        plant.obey()
        moved = [device for device in plant.devices if plant.serves(device) == "2"]
        stayed = [device for device in plant.devices if plant.serves(device) == "1"]
        asleep = (*moved[:5], *stayed[:6])
        plant.pass_time(6 * HOUR_S, silent=asleep)
        assert server.rollout(rollout).state is RolloutState.ACTIVE

    def test_one_unsure_camera_does_not_decide_alone(self, server: Server) -> None:
        plant = Plant(server, 12)
        rollout = server.climb(plant.second, waves=[6, "rest"], **QUICK)
        plant.obey()
        one = next(device for device in plant.devices if plant.serves(device) == "2")
        one.answers(600, below=600)
        server.controller.tick()
        assert server.rollout(rollout).state is RolloutState.ACTIVE

    def test_time_tells_nothing_about_a_release_that_nobody_could_try(self, server: Server, plant: Plant) -> None:
        gates = {"soak_s": 600, "hold_timeout_s": 3_600, "on_hold_timeout": "roll_back"}
        rollout = server.climb(plant.second, waves=[1, "rest"], gates=gates, holdback=None)
        server.clock.move(90 * HOUR_S)
        server.controller.tick()
        assert server.rollout(rollout).state is RolloutState.ACTIVE
        assert waits(server, rollout) >= {WaitingOn.EARLIER_WAVE}

    def test_a_second_try_is_watched_from_its_own_switch_on(self, server: Server, plant: Plant) -> None:
        first = server.climb(plant.second, waves=[1, "rest"], **QUICK)
        plant.obey()
        plant.pass_time(1_200)
        server.rollouts.roll_back(first.id, reason="not yet", actor="ann")
        server.controller.tick()
        plant.obey()
        plant.pass_time(HOUR_S)
        second = server.climb(plant.second, waves=[1, "rest"], **QUICK)
        server.clock.move(60)
        server.controller.tick()
        assert waves(server, second)[0].switched_at_s is None
        plant.obey()
        plant.pass_time(REPORT_S)
        switched = waves(server, second)[0].switched_at_s
        assert switched is not None
        assert switched > server.clock.now() - 2 * REPORT_S

    def test_a_clock_that_is_hours_behind_is_not_silence(self, server: Server) -> None:
        plant = Plant(server, 10)
        rollout = server.climb(plant.second, waves=[4, "rest"], **QUICK)
        plant.obey()
        behind = [device for device in plant.devices if plant.serves(device) == "2"]
        for _ in range(36):
            server.clock.move(REPORT_S)
            for device in plant.devices:
                late_s = 5 * HOUR_S if device in behind else 0.0
                now = server.clock.now() - late_s
                device.send(Up.REPORT, device.report(from_s=now - REPORT_S, to_s=now))
            server.controller.tick()
        assert server.rollout(rollout).state is RolloutState.ACTIVE


class TestWhoIsWaitedFor:
    def test_one_that_failed_holds_no_wave(self, server: Server) -> None:
        plant = Plant(server, 8)
        rollout = server.climb(plant.second, waves=[4, "rest"], budgets={"healthy_per_site_min": None}, **QUICK)
        failing = next(device for device in plant.devices if _is_told(device, plant.second))
        failing.end(Outcome.FAILED, Cause.NO_ROOM)
        plant.failed.add(failing.id)
        plant.pass_time(3 * HOUR_S)
        assert waves(server, rollout)[0].promoted_by == "unrefuted"

    def test_one_that_was_let_go_holds_no_wave(self, server: Server, plant: Plant) -> None:
        away = plant.devices[0]
        away.will()
        rollout = server.climb(plant.second, waves=["rest"], **QUICK)
        plant.obey()
        kept = ", ".join(device.id for device in plant.devices[1:])
        server.steering.change_cohort(rollout.id, selector.parse(f"device in ({kept})"), actor="ann")
        away.send_birth(REPORT_S)
        plant.pass_time(3 * HOUR_S, silent=(away,))
        assert server.rollout(rollout).state is RolloutState.FINISHED

    def test_who_joins_late_joins_no_wave_that_is_over(self, server: Server, plant: Plant) -> None:
        dynamic = {"selector": "", "membership": "dynamic"}
        rollout = server.climb(plant.second, cohort=dynamic, waves=["50%", "rest"], **QUICK)
        plant.pass_time(2 * HOUR_S)
        assert waves(server, rollout)[0].promoted_at_s is not None
        late = [server.device(f"late-{n}") for n in range(8)]
        plant.pass_time(REPORT_S)
        joined = server.members(rollout)
        assert {joined[device.id].wave for device in late} == {2}


def test_a_cancelled_rollout_can_be_moved_back(server: Server, plant: Plant) -> None:
    rollout = server.climb(plant.second, waves=[2, "rest"], **QUICK)
    plant.obey()
    server.rollouts.cancel(rollout.id, reason="enough", actor="ann")
    server.controller.tick()
    assert plant.on(plant.second) == 2
    server.rollouts.roll_back(rollout.id, reason="and back", actor="ann")
    server.controller.tick()
    plant.obey()
    assert plant.on(plant.second) == 0


def test_a_policy_that_asks_for_people_whom_nobody_knows_is_refused(server: Server, plant: Plant) -> None:
    def begin(*approvals: object) -> None:
        policy = reading.read({"cohort": "", "approvals": list(approvals)})
        server.steering.begin(model=plant.second.model, version="2", policy=policy, actor="admin", people=("admin",))

    with pytest.raises(Refused, match=r"expected 2 or more who may agree, found 1 \(admin\)"):
        begin({"before": 2, "count": 2})
    with pytest.raises(Refused, match=r"found 0 \(nobody\): this server does not know ann"):
        begin({"before": 2, "by": ["ann"]})
    begin({"before": 2, "by": ["admin"]})


def test_an_error_of_one_rollout_keeps_no_other_from_going_back(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = Plant(server, 10)
    others = [server.device(f"door-{n}") for n in range(2)]
    names = [", ".join(device.id for device in some) for some in (others, plant.devices)]
    third = server.version("3")
    broken = server.climb(third, cohort=f"device in ({names[0]})", **QUICK)
    rollout = server.climb(plant.second, cohort=f"device in ({names[1]})", waves=[4, "rest"], **QUICK)
    failed = []

    def gathers(tables: Tables, of: Rollout, *rest: object) -> object:
        if of.id == broken.id:
            failed.append(of.id)
            raise ValueError("a bug")
        return gather(tables, of, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(climbing, "gather", gathers)
    plant.obey()
    failed.clear()
    server.clock.move(REPORT_S)
    server.controller.tick()
    assert failed, "the fault happened"
    said = wave_report.read(waves(server, rollout)[0].verdict)
    assert said is not None
    assert said.at_s == server.clock.now(), "the other one was looked at in the same tick"
