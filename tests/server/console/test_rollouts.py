"""Rollouts in waves over the server's own services: what the screens say is what the tables hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from pinnace_contract.ids import RolloutId
from pinnace_contract.latest import Cause, Outcome, Phase
from pinnace_server.console import mount
from pinnace_server.console.query import EventQuery, RolloutQuery
from pinnace_server.console.reading.latency import LatencyCache
from pinnace_server.console.reading.overview import OverviewReads
from pinnace_server.console.reading.releases import ReleaseCache
from pinnace_server.console.reading.reports import FRESH_S, KEPT_MAX, SMALL_DEVICES, ReportCache
from pinnace_server.console.reading.rollouts import RolloutReads
from pinnace_server.domain.records import MemberState, Rollout, RolloutState
from pinnace_server.service.door import TokenDoor, hash_of
from pinnace_server.service.whys import Whys
from tests.server.console.conftest import HOST, sign_in
from tests.server.console.fleet import TOKEN
from tests.server.console.page import form, read
from tests.server.world import MODEL, Server, TestedDevice

HOUR_S = 3_600.0


@pytest.fixture
def devices(server: Server) -> list[TestedDevice]:
    """Six devices that serve the first version; there is a second."""
    made = [server.device(f"camera-{n}", labels={"site": "lyon"}) for n in range(6)]
    server.assign(server.version("1"))
    for device in made:
        device.commit()
        device.send_birth(600)
    server.version("2")
    pass_time(server, made, HOUR_S)
    return made


def pass_time(server: Server, devices: list[TestedDevice], seconds: float) -> None:
    end = server.clock.now() + seconds
    while server.clock.now() < end:
        server.clock.move(600)
        for device in devices:
            device.answers(600)
        server.controller.tick()
        obey(server, devices)


def obey(server: Server, devices: list[TestedDevice]) -> None:
    for device in devices:
        entry = device.entry()
        if entry is not None and device.current is not None and entry.release != device.current.release:
            device.commit()
    server.controller.tick()


@pytest.fixture
def reads(server: Server) -> RolloutReads:
    return RolloutReads(server.world, server.steering)


@pytest.fixture
def overview(server: Server) -> OverviewReads:
    return OverviewReads(server.world, ReleaseCache(), LatencyCache())


@pytest.fixture
def operator(server: Server) -> Iterator[TestClient]:
    app = FastAPI()
    console = mount(
        app,
        world=server.world,
        rollouts=server.rollouts,
        steering=server.steering,
        whys=Whys(server.world),
        door=TokenDoor(hash_of(TOKEN)),
        version="0.1.0",
    )
    with TestClient(app, base_url=HOST, follow_redirects=False) as client:
        sign_in(client)
        yield client
    console.close()


def climb(server: Server, **policy: object) -> Rollout:
    with server.store.read() as tables:
        version = tables.versions.get(MODEL, "2")  # type: ignore[arg-type]
    assert version is not None
    return server.climb(version, **{"waves": [2, "rest"], "holdback": 1, "gates": {"soak_s": 7200}} | policy)


def test_waves_carry_their_devices_and_the_holdback_is_named(
    server: Server, devices: list[TestedDevice], reads: RolloutReads
) -> None:
    one = reads.rollout(climb(server).id)
    assert [(wave.number, wave.devices, wave.holdback, wave.look) for wave in one.waves] == [
        (1, 2, False, "begun"),
        (2, 3, False, "not_begun"),
        (3, 1, True, "not_begun"),
    ]
    assert (one.waves[0].under_way, one.waves[1].waiting) == (2, 3)
    assert (one.progress.strategy, one.progress.wave, one.progress.need) == ("canary", "1 of 3", "")
    assert one.current == one.waves[0]
    assert one.current.gates is not None
    assert one.current.gates.decision == "hold"
    assert one.to_promote == one.current


def test_a_device_that_is_ready_for_its_switch_is_under_way(
    server: Server, devices: list[TestedDevice], reads: RolloutReads
) -> None:
    rollout = climb(server, strategy="blue_green")
    told = [(device, entry) for device in devices if (entry := device.entry()) is not None and entry.arms is not None]
    device, entry = told[0]
    device.say(device.state(generation=entry.generation, phase=Phase.READY))
    server.controller.tick()
    wave = reads.rollout(rollout.id).waves[0]
    assert (len(told), wave.under_way, wave.waiting) == (2, 2, 0)
    assert server.rollouts.counts([rollout.id])[rollout.id][MemberState.READY] == 1


def test_gates_are_shown_with_evidence_thresholds_and_sentences(
    server: Server, devices: list[TestedDevice], reads: RolloutReads
) -> None:
    rollout = climb(server)
    obey(server, devices)
    pass_time(server, devices, HOUR_S)
    wave = reads.rollout(rollout.id).waves[0]
    assert (wave.look, wave.committed) == ("watched", 2)
    assert wave.switched is not None
    assert wave.gates is not None
    assert wave.gates.devices["committed"] == 2
    assert any("of soak time" in sentence for sentence in wave.gates.sentences)
    assert {guard.guard for guard in wave.gates.guards} >= {"errors", "installs", "missing"}
    assert wave.gates.roll_back > wave.gates.proven > 0
    errors = next(guard for guard in wave.gates.guards if guard.guard == "errors")
    assert (errors.trials > 0, errors.bad) == (True, 0)


def test_wave_that_collects_says_when_the_policy_decides(
    server: Server, devices: list[TestedDevice], reads: RolloutReads
) -> None:
    rollout = climb(server, gates={"soak_s": 600, "hold_timeout_s": 7200, "promote_on": "proven"})
    obey(server, devices)
    pass_time(server, devices, HOUR_S / 2)
    why = reads.rollout(rollout.id).why
    assert (why.at, why.until is not None) == (None, True)
    assert why.until is not None
    assert 0 < why.until.timestamp() - server.clock.now() < 7200


def test_promoted_wave_says_which_verdict_promoted_it(
    server: Server, devices: list[TestedDevice], reads: RolloutReads
) -> None:
    rollout = climb(server)
    obey(server, devices)
    pass_time(server, devices, 3 * HOUR_S)
    first, second, _ = reads.rollout(rollout.id).waves
    assert first.look == "promoted"
    assert first.promoted_by in ("unrefuted", "proven")
    assert second.begun is not None
    server.steering.promote(rollout.id, 2, reason="line 3 was checked", actor="ana")
    assert reads.rollout(rollout.id).waves[1].promoted_by == "person:ana"


def test_pause_says_who_when_and_why(server: Server, devices: list[TestedDevice], reads: RolloutReads) -> None:
    rollout = climb(server)
    server.steering.pause(rollout.id, reason="audit: line 3", actor="ana")
    one = reads.rollout(rollout.id)
    assert one.pause is not None
    assert (one.pause.by, one.pause.why) == ("ana", "audit: line 3")
    assert one.pause.since is not None
    assert one.pause.since.timestamp() == server.clock.now()
    assert one.to_promote is None
    assert one.why.command == f"pinnace rollout resume {rollout.id}"


def test_pause_of_the_gates_says_that_it_is_theirs(
    server: Server, devices: list[TestedDevice], reads: RolloutReads, overview: OverviewReads
) -> None:
    gates = {"soak_s": 600, "hold_timeout_s": 3600, "promote_on": "proven"}
    rollout = climb(server, gates=gates)
    obey(server, devices)
    pass_time(server, devices, 2 * HOUR_S)
    one = reads.rollout(rollout.id)
    assert one.pause is not None
    assert one.pause.by == "server"
    assert one.pause.why.startswith("not decided 1 hours after its soak time")
    assert overview.overview().concerns[0].text == f"Rollout of {MODEL} 2 is paused, wave 1 of 3"


def test_approval_is_asked_for_and_counted(
    server: Server, devices: list[TestedDevice], reads: RolloutReads, overview: OverviewReads
) -> None:
    rollout = climb(server, approvals=[{"before": 1, "count": 2}])
    one = reads.rollout(rollout.id)
    assert one.progress.need == "approval"
    approves = one.to_approve("ana")
    assert approves is not None
    assert (approves.number, approves.agreements, approves.agreed) == (1, 2, ())
    server.steering.approve(rollout.id, 1, actor="ana")
    one = reads.rollout(rollout.id)
    assert one.to_approve("ana") is None
    assert one.to_approve("bo") is not None
    first = overview.overview().concerns[0]
    assert (first.text, first.address) == (
        f"Rollout of {MODEL} 2 waits for approval, wave 1 of 3",
        f"/rollouts/{rollout.id}",
    )
    assert "one more person must agree before wave 1 begins" in first.detail


def test_wave_whose_time_is_over_waits_for_a_person(
    server: Server, devices: list[TestedDevice], reads: RolloutReads, overview: OverviewReads
) -> None:
    rollout = climb(server, gates={"soak_s": 0, "hold_timeout_s": 60, "on_hold_timeout": "ask"})
    next(device for device in devices if _is_told(device)).commit()
    server.clock.move(600)
    server.controller.tick()
    one = reads.rollout(rollout.id)
    assert (one.progress.need, one.waves[0].look) == ("decision", "asked")
    first = overview.overview().concerns[0]
    assert first.text == f"Rollout of {MODEL} 2 waits for a person to decide, wave 1 of 3"
    assert first.since is not None


def test_failed_installs_are_grouped_and_stopped_ones_stand_first(
    server: Server, devices: list[TestedDevice], reads: RolloutReads, overview: OverviewReads
) -> None:
    rollout = climb(server, strategy="all_at_once", waves=["rest"], holdback=None)
    for device in devices[:2]:
        device.end(Outcome.FAILED, Cause.CRASHED, "three crashes within 12 s")
    server.clock.move(60)
    server.controller.tick()
    server.clock.move(60)
    server.controller.tick()
    one = reads.rollout(rollout.id)
    [group] = one.failures
    assert (group.devices, group.cause, group.detail) == (2, Cause.CRASHED, "three crashes within 12 s")
    assert set(group.names) == {device.id for device in devices[:2]}
    assert one.to_retry == 2
    assert one.progress.need == "installs"
    assert overview.overview().concerns[0].text == f"Rollout of {MODEL} 2 stopped installing, wave 1 of 1"
    assert overview.overview().concerns[0].severity == "bad"


def test_plain_assignment_has_no_waves_and_says_what_it_waits_on(
    server: Server, devices: list[TestedDevice], reads: RolloutReads
) -> None:
    made = server.rollouts.assign(model=MODEL, version="2", selected="", actor="test")
    one = reads.rollout(made.id)
    assert (one.progress.strategy, one.progress.wave, one.waves, one.policy) == ("plain", "", (), "")
    assert one.why.why.startswith("its devices wait: 6 for")
    assert not one.steerable
    halted = server.rollouts.roll_back(made.id, reason="wrong", actor="ana")
    assert reads.rollout(halted.id).halts == made.id


def test_large_rollout_is_reported_on_once_for_everybody_while_that_is_fresh(
    server: Server, devices: list[TestedDevice]
) -> None:
    rollout, cache, many = server.rollout(climb(server)), ReportCache(), SMALL_DEVICES + 1
    now = server.clock.now()
    with server.store.read() as tables:
        first = cache.get(tables, rollout, many, now)
        assert cache.get(tables, rollout, many, now + FRESH_S - 1) is first
        assert cache.get(tables, rollout, many, now + FRESH_S) is not first
        assert cache.get(tables, replace(rollout, state=RolloutState.HALTED), many, now) is not first
        small = cache.get(tables, rollout, SMALL_DEVICES, now)
        assert cache.get(tables, rollout, SMALL_DEVICES, now) is not small


def test_reports_of_many_rollouts_do_not_pile_up(server: Server, devices: list[TestedDevice]) -> None:
    rollout, cache = server.rollout(climb(server)), ReportCache()
    with server.store.read() as tables:
        first = cache.get(tables, rollout, SMALL_DEVICES + 1, 1.0)
        for n in range(KEPT_MAX):
            cache.get(tables, replace(rollout, id=RolloutId(f"r-{n}")), SMALL_DEVICES + 1, 1.0)
        assert cache.get(tables, rollout, SMALL_DEVICES + 1, 1.0) is not first


def test_list_and_log_are_filtered_by_rollout(
    server: Server, devices: list[TestedDevice], reads: RolloutReads, overview: OverviewReads
) -> None:
    rollout = climb(server)
    assert [row.rollout for row in reads.rollouts(RolloutQuery(state=RolloutState.ACTIVE)).rows] == [rollout.id]
    page = reads.rollouts(RolloutQuery(model="nothing"))
    assert (page.total, page.all) == (0, 2)
    events = overview.events(EventQuery(rollout=rollout.id))
    assert {event.kind for event in events.rows} >= {"rollout_created", "wave_started"}
    assert events.total == reads.rollout(rollout.id).history_total


def test_device_page_says_why_and_what_comes_next(
    server: Server, devices: list[TestedDevice], operator: TestClient
) -> None:
    rollout = climb(server)
    waiting = next(each for each, member in server.members(rollout).items() if member.wave == 2)
    page = read(operator.get(f"/devices/{waiting}").text)
    assert "it is in wave 2, and wave 1 is not promoted yet" in page.words
    assert f"pinnace rollout promote {rollout.id} 1 --reason …" in page.words
    assert f"/rollouts/{rollout.id}" in [link.attributes.get("href") for link in page.all("a")]


def test_rollout_is_begun_steered_and_ended_from_the_console(
    server: Server, devices: list[TestedDevice], operator: TestClient
) -> None:
    page = operator.get(f"/rollouts/new?model={MODEL}&version=2").text
    policy = "cohort: site=lyon\nwaves: [2, rest]\nholdback: 1\napprovals: [{before: last}]\n"
    sent = form(page, "/rollouts/new") | {"version": "2", "policy": policy, "reason": "retrained"}
    preview = operator.post("/rollouts/preview", data=sent)
    words = read(preview.text).words
    assert "this fleet can notice" in words
    assert "test: 2" in words
    assert "one person must agree before wave 2 begins" in words
    begun = operator.post("/rollouts/new", data=form(preview.text, "/rollouts/new"))
    address = begun.headers["location"]
    server.controller.tick()
    for step, fields in (
        ("pause", {"reason": "lunch"}),
        ("resume", {}),
        ("approve", {}),
        ("promote", {"reason": "line 3 was checked"}),
        ("cancel", {"reason": "enough"}),
    ):
        at = f"{address}/{step}"
        answer = operator.post(at, data=form(operator.get(at).text, at) | fields)
        assert answer.status_code == 303, (step, read(answer.text).words)
        server.controller.tick()
    with server.store.read() as tables:
        rollout = tables.rollouts.get(address.rpartition("/")[2])
    assert rollout is not None
    assert (rollout.state, rollout.reason, rollout.actor) == (RolloutState.CANCELLED, "enough", "admin")
    kinds = [str(event.kind) for event in server.events() if event.rollout == rollout.id]
    for kind in ("rollout_paused", "rollout_resumed", "wave_approved", "wave_promoted", "rollout_cancelled"):
        assert kind in kinds
    assert "This rollout is cancelled already." in operator.get(f"{address}/pause").text


def test_stale_form_is_refused_by_the_service_in_words(
    server: Server, devices: list[TestedDevice], operator: TestClient
) -> None:
    rollout = climb(server)
    at = f"/rollouts/{rollout.id}/promote"
    fields = form(operator.get(at).text, at) | {"reason": "checked"}
    server.steering.promote(rollout.id, 1, reason="I was faster", actor="ana")
    answer = operator.post(at, data=fields)
    assert answer.status_code == 409
    assert "wave 1 is promoted already" in read(answer.text).words


def test_version_that_was_never_registered_is_refused_at_the_preview(
    server: Server, devices: list[TestedDevice], operator: TestClient
) -> None:
    fields = form(operator.get(f"/rollouts/new?model={MODEL}").text, "/rollouts/new")
    answer = operator.post("/rollouts/preview", data=fields | {"version": "99"})
    assert answer.status_code == 422
    assert "there is no version" in read(answer.text).words


def _is_told(device: TestedDevice) -> bool:
    entry = device.entry()
    return entry is not None and (device.current is None or entry.release != device.current.release)
