"""The screens over the server's own database: every one of them, and what each says is what the tables hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from pinnace_contract.ids import Digest, ReleaseId, VersionName
from pinnace_contract.latest import Cause, ModelState, Phase
from pinnace_server.console import mount
from pinnace_server.console.mounting import Console
from pinnace_server.console.query import DeviceQuery, EventQuery
from pinnace_server.console.reading.catalogue import CatalogueReads
from pinnace_server.console.reading.fleet import FleetReads
from pinnace_server.console.reading.latency import FRESH_S, ROWS_MAX, LatencyCache
from pinnace_server.console.reading.overview import OverviewReads
from pinnace_server.console.reading.releases import ReleaseCache
from pinnace_server.console.reading.rollouts import RolloutReads
from pinnace_server.console.reading.signatures import signature
from pinnace_server.domain.lineage import Lineage
from pinnace_server.domain.records import MemberState, Status
from pinnace_server.errors import NotFound, Refused
from pinnace_server.service.steering import Steering
from pinnace_server.service.whys import Whys
from tests.contract.examples import MODEL
from tests.server.console.conftest import HOST, sign_in
from tests.server.console.page import form, read
from tests.server.console.seeds import NEW, NOW_S, Seeded, device, say, seeded


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Seeded]:
    made = seeded(tmp_path)
    yield made
    made.world.store.close()  # type: ignore[attr-defined]
    made.world.signing.close()  # type: ignore[attr-defined]


def mounted(app: FastAPI, server: Seeded) -> Console:
    return mount(
        app,
        world=server.world,
        rollouts=server.rollouts,
        steering=Steering(server.world),
        whys=Whys(server.world),
        door=server.door,
        version="0.1.0",
    )


@pytest.fixture
def fleet(server: Seeded) -> FleetReads:
    return FleetReads(server.world, ReleaseCache(), Whys(server.world))


@pytest.fixture
def catalogue(server: Seeded) -> CatalogueReads:
    return CatalogueReads(server.world, server.rollouts, LatencyCache())


@pytest.fixture
def overview(server: Seeded) -> OverviewReads:
    return OverviewReads(server.world, ReleaseCache(), LatencyCache())


@pytest.fixture
def rollouts(server: Seeded) -> RolloutReads:
    return RolloutReads(server.world, Steering(server.world))


@pytest.fixture
def operator(server: Seeded) -> Iterator[TestClient]:
    app = FastAPI()

    @app.get("/api/v1/thing")
    def thing() -> dict[str, str]:
        return {}

    mounted(app, server)
    with TestClient(app, base_url=HOST, follow_redirects=False) as client:
        sign_in(client)
        yield client


def test_every_screen_stands_on_the_real_services(operator: TestClient) -> None:
    addresses = ["/", "/devices", "/models", f"/models/{MODEL}", f"/models/{MODEL}/7", "/log", "/rollouts/r-1/rollback"]
    addresses += ["/rollouts", "/rollouts/r-1", "/rollouts/r-1/cancel", "/rollouts/r-1/pause", "/rollouts/new"]
    addresses += [f"/models/{MODEL}/7/assign", *(f"/devices/press-{n}" for n in range(1, 7))]
    addresses += ["/devices/press-1/assign", f"/devices/press-1/revert?model={MODEL}"]
    for address in addresses:
        assert operator.get(address).status_code == 200, address


def test_addresses_of_the_api_stay_the_apis(operator: TestClient) -> None:
    assert operator.get("/api/v1/thing").json() == {}
    assert operator.post("/api/v1/thing").status_code == 405
    missing = operator.get("/api/v1/nothing")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/json"
    assert operator.get("/openapi.json").status_code == 200
    assert operator.get("/nothing").headers["content-type"].startswith("text/html")


def test_devices_are_what_their_rows_say(fleet: FleetReads) -> None:
    page = fleet.devices(DeviceQuery())
    assert [row.status for row in page.rows] == [
        Status.ONLINE,
        Status.UPDATING,
        Status.DEGRADED,
        Status.OFFLINE,
        Status.PENDING,
        Status.DEGRADED,
    ]
    assert page.total == page.fleet == 6
    first, second, *_ = page.rows
    assert first.slot is not None
    assert first.slot.active is not None
    assert (first.slot.active.version, first.slot.active.runtime, first.slot.active.precision) == ("7", "onnx", "fp32")
    assert first.p95_ms == 8.25
    assert second.slot is not None
    assert second.slot.fetched_share == 0.25
    assert second.slot.candidate is not None


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (DeviceQuery(status=Status.DEGRADED), ["press-3", "press-6"]),
        (DeviceQuery(label="site=ulm"), ["press-4", "press-5", "press-6"]),
        (DeviceQuery(model=MODEL, version="7"), ["press-1"]),
        (DeviceQuery(q="SS-2"), ["press-2"]),
        (DeviceQuery(sort="-name", label="site=lyon"), ["press-3", "press-2", "press-1"]),
        (DeviceQuery(page=2), []),
    ],
    ids=["by status", "by label", "by version", "by text", "turned round", "past the end"],
)
def test_device_list_is_filtered_and_sorted(fleet: FleetReads, query: DeviceQuery, names: list[str]) -> None:
    assert [row.name for row in fleet.devices(query).rows] == names


def test_counts_leave_the_status_filter_out(fleet: FleetReads) -> None:
    page = fleet.devices(DeviceQuery(status=Status.OFFLINE, label="site=ulm"))
    assert page.total == 1
    assert sum(page.by_status.values()) == 3


def test_unreadable_selector_is_refused(fleet: FleetReads) -> None:
    with pytest.raises(Refused):
        fleet.devices(DeviceQuery(label="=="))


def test_device_shows_active_previous_and_its_latency_with_gaps(fleet: FleetReads) -> None:
    one = fleet.device("press-1")
    [slot] = one.slots
    assert slot.active is not None
    assert slot.previous is not None
    assert (slot.active.version, slot.previous.version) == ("7", "6")
    assert (slot.last_outcome, slot.last_version, slot.evidence_inferences) == ("committed", "7", 61)
    [series] = one.latency
    p95 = [point.p95_ms for point in series.points]
    assert p95[-1] is not None
    assert p95[-2] is None
    assert p95[-3] == p95[-4] == p95[-1]
    assert series.limit_ms == 40.0
    assert [mark.label for mark in series.marks] == ["7 committed"]
    assert one.health is not None
    assert one.health.memory_free_bytes is None


def test_device_that_went_back_says_why(fleet: FleetReads) -> None:
    [slot] = fleet.device("press-3").slots
    assert slot.last_outcome == "reverted"
    assert slot.last_cause is Cause.CRASHED
    assert slot.last_log == "std::bad_alloc\n"
    assert slot.previous is None


def test_device_that_has_not_answered_says_so(fleet: FleetReads) -> None:
    [slot] = fleet.device("press-4").slots
    assert slot.unanswered
    assert slot.wanted is not None
    assert slot.wanted.version == "7"
    [answered] = fleet.device("press-2").slots
    assert not answered.unanswered


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("press-1", "over MQTT, reports every 60 s"),
        ("press-4", "its connection to the broker ended"),
        ("press-5", "enrolled, and not heard of yet"),
        ("press-6", "quarantined: Two devices answer with the same identity."),
    ],
)
def test_status_has_a_reason(fleet: FleetReads, name: str, said: str) -> None:
    assert fleet.device(name).why == said


def test_device_that_went_silent_says_for_how_long(server: Seeded, fleet: FleetReads) -> None:
    server.clock.now_s += 600
    assert fleet.device("press-1").why == "silent for longer than 180 s"
    assert fleet.device("press-1").status is Status.OFFLINE


def test_unknown_device_model_version_and_rollout_are_not_found(
    fleet: FleetReads, catalogue: CatalogueReads, rollouts: RolloutReads
) -> None:
    for ask in (
        lambda: fleet.device("nobody"),
        lambda: catalogue.model("nothing", 1, 25),
        lambda: catalogue.version(MODEL, "99"),
        lambda: rollouts.rollout("r-9"),
    ):
        with pytest.raises(NotFound):
            ask()


def test_overview_names_what_needs_attention(overview: OverviewReads) -> None:
    seen = overview.overview()
    assert seen.by_status == {
        Status.ONLINE: 1,
        Status.UPDATING: 1,
        Status.DEGRADED: 2,
        Status.OFFLINE: 1,
        Status.PENDING: 1,
    }
    assert [concern.text for concern in seen.concerns] == [
        "press-6 is quarantined: CLONE_SUSPECTED",
        f"1 device went back from {MODEL} 7: CRASHED",
        "1 device offline",
    ]
    assert [(share.version, share.devices) for share in seen.shares] == [("6", 3), ("7", 1)]
    [rollout] = seen.progress
    assert (rollout.committed, rollout.under_way, rollout.failed, rollout.waiting) == (1, 2, 1, 0)
    [latency] = seen.latency
    assert (latency.inferences, latency.errors) == (300, 6)
    assert latency.p95_ms == pytest.approx(8, rel=0.05)


def test_versions_carry_their_receipts_and_latency(catalogue: CatalogueReads) -> None:
    newest, oldest = catalogue.model(MODEL, 1, 25).versions
    assert (newest.version, newest.committed, newest.reverted, newest.devices) == ("7", 1, 1, 1)
    assert newest.p95_ms == pytest.approx(8, rel=0.05)
    assert oldest.p95_ms is None


def test_version_is_measured_per_hardware_and_its_signature_checked(catalogue: CatalogueReads) -> None:
    version = catalogue.version(MODEL, "7")
    [variant] = version.variants
    [measured] = variant.latency
    assert (measured.hardware, measured.samples, variant.devices) == ("pi4", 300, 1)
    assert version.signature.state == "verified"
    assert len(version.signature.keys) == 1
    assert version.blocked == ""


def test_archived_version_is_hidden_and_says_that_it_is_not_assigned(server: Seeded, catalogue: CatalogueReads) -> None:
    with server.world.store.write() as tables:
        tables.versions.archive(MODEL, VersionName("6"), NOW_S)
    assert [row.version for row in catalogue.model(MODEL, 1, 25).versions] == ["7"]
    assert catalogue.version(MODEL, "6").blocked == "archived: it is not assigned any more"
    with server.world.store.write() as tables:
        tables.models.archive(MODEL, NOW_S)
    assert MODEL not in [row.name for row in catalogue.models(1, 25).rows]
    assert catalogue.version(MODEL, "7").blocked == "archived: it is not assigned any more"


def test_card_and_lineage_are_shown_with_what_was_said(server: Seeded, catalogue: CatalogueReads) -> None:
    with server.world.store.write() as tables:
        seen = tables.versions.get(MODEL, VersionName("7"))
        assert seen is not None
        name = VersionName("8")
        body = replace(seen.body, version=name, sequence=seen.sequence + 1)
        lineage = Lineage(code_commit="0123abc", source=Digest("1" * 64))
        said = {"card": "# Free", "card_fields": {"use": "meters"}, "lineage": lineage}
        tables.versions.add(replace(seen, version=name, body=body, release=ReleaseId("8" * 64), **said))  # type: ignore[arg-type]
    shown = catalogue.version(MODEL, "8")
    assert shown.card == "use: meters\n\n# Free"
    assert shown.provenance == {"registered by": seen.actor, "source file": "1" * 64, "code commit": "0123abc"}


def test_release_that_nobody_signed_is_unsigned(server: Seeded) -> None:
    found = signature(server.world.signing, MODEL, ReleaseId("0" * 64))
    assert found.state == "unsigned"
    assert found.keys == ()


def test_log_is_paged_and_filtered(overview: OverviewReads) -> None:
    page = overview.events(EventQuery())
    assert [event.kind for event in page.rows] == ["receipt_reverted", "receipt_committed", "rollout_created"]
    assert [event.severity for event in page.rows] == ["bad", "ok", ""]
    assert overview.events(EventQuery(kind="receipt_reverted")).total == 1
    assert overview.events(EventQuery(device="press-1")).total == 1
    assert overview.events(EventQuery(kind="never_was")).total == 0
    assert page.log == 3


def test_latency_is_merged_once_for_everybody_while_it_is_fresh(server: Seeded) -> None:
    cache = LatencyCache()
    with server.world.store.read() as tables:
        first = cache.get(tables, 6, NOW_S)
        assert cache.get(tables, 6, NOW_S + FRESH_S - 1) is first
        assert cache.get(tables, 6, NOW_S + FRESH_S) is not first
        assert first.minutes == 60
        assert cache.get(tables, ROWS_MAX, NOW_S + 100).minutes == 1


def test_fleet_too_large_to_merge_is_not_merged(server: Seeded) -> None:
    with server.world.store.read() as tables:
        found = LatencyCache().get(tables, ROWS_MAX + 1, NOW_S)
    assert (found.minutes, found.by_model(), found.p95_of_release(NEW.release)) == (0, (), None)


def test_assigning_from_the_console_makes_a_rollout(operator: TestClient, server: Seeded) -> None:
    heard: list[str] = []
    server.world.changes.subscribe(heard.append)
    address = f"/models/{MODEL}/6/assign"
    page = operator.get(f"{address}?selector=site%3Dlyon")
    assert "3 devices" in read(page.text).words
    answer = operator.post(address, data=form(page.text, address))
    assert answer.status_code == 303
    with server.world.store.read() as tables:
        newest = next(rollout for rollout in tables.rollouts.active() if rollout.id != "r-1")
        members = tables.rollouts.members(newest.id)
    assert newest.actor == "admin"
    assert {member.device for member in members} == {"press-1", "press-2", "press-3"}
    assert {"rollouts", "devices", "events", f"model:{MODEL}"} <= set(heard)


def test_assigning_to_nobody_is_refused_with_the_reason(operator: TestClient) -> None:
    address = f"/models/{MODEL}/7/assign"
    page = operator.get(f"{address}?selector=site%3Dmars")
    assert "Assign to 0 devices" in page.text
    answer = operator.post(address, data=form(page.text, address))
    assert answer.status_code == 409
    assert "no device to assign" in read(answer.text).words


def test_quarantined_device_is_left_out_by_name_of_the_reason(operator: TestClient) -> None:
    page = read(operator.get(f"/models/{MODEL}/7/assign").text)
    assert "1: quarantined: CLONE_SUSPECTED" in page.words


def test_reverting_from_the_console_goes_to_the_last_good_release(operator: TestClient, server: Seeded) -> None:
    address = "/devices/press-1/revert"
    answer = operator.post(address, data=form(operator.get(address).text, address))
    assert answer.status_code == 303
    assert f"told to go back to {MODEL} 6" in operator.get("/devices/press-1").text
    assert "already gone back by itself" in operator.get(f"/devices/press-3/revert?model={MODEL}").text


def test_reverting_where_there_is_nothing_to_go_back_to_says_so(operator: TestClient, server: Seeded) -> None:
    address = "/devices/press-1/revert"
    fields = form(operator.get(address).text, address)
    alone = ModelState(model=MODEL, generation=2, phase=Phase.IDLE, current=NEW, last_good=(NEW,))
    with server.world.store.write() as tables:
        say(tables, "press-1", alone)
    answer = operator.post(address, data=fields)
    assert answer.status_code == 409
    assert "no release of defect-detect to go back to" in read(answer.text).words


@pytest.mark.parametrize(
    ("name", "way"),
    [("press-1", ("7", "6")), ("press-2", ("7", "6")), ("press-4", ("7", "6")), ("press-3", None)],
    ids=["committed", "under way", "not answered", "gone back by itself"],
)
def test_revert_leads_from_what_is_tried_to_what_is_good(
    fleet: FleetReads, name: str, way: tuple[str, str] | None
) -> None:
    [slot] = fleet.device(name).slots
    assert slot.revert_from is not None
    found = (slot.revert_from.version, slot.revert_to.version) if slot.revert_to else None
    assert found == way


def test_rolling_back_from_the_console_halts_the_rollout(operator: TestClient, server: Seeded) -> None:
    address = "/rollouts/r-1/rollback"
    answer = operator.post(address, data=form(operator.get(address).text, address))
    assert answer.headers["location"] == "/rollouts/r-1"
    with server.world.store.read() as tables:
        halted = tables.rollouts.get(next(iter(tables.rollouts.active())).halts or "")  # type: ignore[arg-type]
        [back] = tables.rollouts.active()
        waiting = [member.device for member in tables.rollouts.members(back.id) if member.state is MemberState.WAITING]
    assert halted is not None
    assert halted.state == "halted"
    assert "press-1" in waiting
    assert "was halted and its devices moved back" in operator.get("/").text


def test_hostile_device_name_reaches_no_page_as_markup(operator: TestClient, server: Seeded) -> None:
    name = "<img src=x onerror=alert(1)>"
    with server.world.store.write() as tables:
        tables.devices.save(replace(device("press-7"), name=name))
    for address in ("/devices", "/devices/press-7"):
        page = read(operator.get(address).text)
        assert name in page.words
        assert not page.all("img")


def test_change_of_the_server_reaches_the_stream(server: Seeded) -> None:
    app = FastAPI()
    console = mounted(app, server)
    try:
        with TestClient(app, base_url=HOST) as client:
            sign_in_and_follow(client)
            before = version_of(client.get("/").text)
            server.world.changes.notify(["devices"])
            assert version_of(client.get("/").text) > before
    finally:
        console.close()
    server.world.changes.notify(["devices"])


def sign_in_and_follow(client: TestClient) -> None:
    client.follow_redirects = False
    sign_in(client)


def version_of(html: str) -> int:
    marker = next(e for e in read(html).all("div") if "data-version" in e.attributes)
    return int(marker.attributes["data-version"])
