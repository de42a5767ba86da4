"""The snapshot of the fleet: complete, in stretches, and nothing in it that is nobody's business."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pinnace_contract.latest import Health, Runtime
from pinnace_contract.topics import Up
from pinnace_server.cli import export as export_cli
from pinnace_server.domain.policy import Terms
from pinnace_server.http.schemas.export import FORMAT, FORMAT_VERSION
from pinnace_sim.rehearsal import forecast, snapshot
from pinnace_sim.rehearsal.forecast import Forecast, Rehearsal
from pinnace_sim.rehearsal.twin import Fate
from tests.server.http.conftest import Api
from tests.server.world import MODEL, NOON, TestedDevice

SALT = "0123456789abcdef" * 2
HOUR = 3600.0


def export(api_server: Api, **query: object) -> dict[str, Any]:
    answer = api_server.client.get("/api/v1/fleet/export", params=query)  # type: ignore[arg-type]  # httpx's own type
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def served(api_server: Api) -> TestedDevice:
    """A device with a label that serves version 1, reported its health, and answered 7200 times in two hours."""
    server = api_server.server
    device = server.device("camera", labels={"site": "lyon"})
    server.assign(server.version("1"))
    device.commit()
    server.clock.move(2 * HOUR)
    device.answers(7200, p95_ms=3.0)
    report = device.report()
    device.send(Up.REPORT, dataclasses.replace(report, health=Health(disk_free_bytes=50_000, memory_free_bytes=6_000)))
    return device


class TestDevices:
    def test_device_is_exported_with_what_is_known(self, api_server: Api) -> None:
        device = served(api_server)
        found = export(api_server)
        assert (found["format"], found["format_version"], found["anonymous"]) == (FORMAT, FORMAT_VERSION, False)
        assert (found["total"], found["next"], found["made_at_s"]) == (1, None, NOON + 2 * HOUR)
        (one,) = found["devices"]
        assert (one["id"], one["labels"], one["runtimes"]) == (device.id, {"site": "lyon"}, ["onnx"])
        assert (one["state"], one["online"], one["report_every_s"]) == ("active", True, 60)
        assert (one["disk_free_bytes"], one["memory_free_bytes"], one["memory_total_bytes"]) == (50_000, 6_000, None)
        assert one["p95_ms"] == pytest.approx(3.0, rel=0.1)
        (model,) = one["models"]
        assert (model["model"], model["current"]["version"], model["phase"]) == (MODEL, "1", "idle")
        assert model["answered_an_hour"] == pytest.approx(3600.0)
        assert model["error_share"] == 0.0
        assert found["versions"][0]["expects"] == {"error_rate_max": 0.02, "p95": []}

    def test_link_is_read_from_the_log(self, api_server: Api) -> None:
        device = served(api_server)
        device.will()
        api_server.server.clock.move(6 * HOUR)
        (one,) = export(api_server)["devices"]
        assert one["online"] is False
        assert one["link"]["window_s"] == 8 * HOUR
        assert one["link"]["online_share"] == pytest.approx(0.25)
        assert one["link"]["changes_a_day"] == pytest.approx(6.0)  # it came and it went in a third of a day

    def test_device_that_flaps_is_looked_at_for_less_long(
        self, api_server: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pinnace_server.service.export.LINK_CHANGES_MAX", 2)
        device = served(api_server)
        for _ in range(3):
            device.will()
            api_server.server.clock.move(HOUR)
            device.birth()
            api_server.server.clock.move(HOUR)
        (one,) = export(api_server)["devices"]
        assert one["link"]["window_s"] == 2 * HOUR
        assert one["link"]["online_share"] == pytest.approx(0.5)

    def test_rate_is_of_the_last_day_that_it_was_there(self, api_server: Api) -> None:
        served(api_server).will()
        api_server.server.clock.move(5 * 24 * HOUR)
        (one,) = export(api_server)["devices"]
        assert one["models"][0]["answered_an_hour"] == pytest.approx(3600.0)

    def test_device_that_was_never_there_has_no_facts(self, api_server: Api) -> None:
        api_server.server.device("absent", online=False)
        (one,) = export(api_server)["devices"]
        assert (one["state"], one["online"], one["link"], one["seen_at_s"]) == ("pending", False, None, None)
        assert (one["disk_free_bytes"], one["models"]) == (None, [])

    def test_decommissioned_device_is_left_out(self, api_server: Api) -> None:
        device = served(api_server)
        api_server.server.fleet.decommission(device.id, "test")
        assert export(api_server)["total"] == 0

    def test_fleet_comes_in_stretches(self, api_server: Api) -> None:
        for name in ("a", "b", "c"):
            api_server.server.device(name)
        api_server.server.version("1")
        first = export(api_server, limit=2)
        second = export(api_server, limit=2, offset=first["next"])
        assert len({each["id"] for each in [*first["devices"], *second["devices"]]}) == 3
        assert (first["total"], second["next"]) == (3, None)
        assert (len(first["versions"]), second["versions"]) == (1, [])


class TestVersions:
    def test_versions_are_exported_with_their_sizes(self, api_server: Api) -> None:
        server = api_server.server
        made = server.version("1")
        server.version("2")
        server.aliases.point(MODEL, "production", "1", "test")
        newest, oldest = export(api_server)["versions"]
        assert (newest["version"], oldest["version"], oldest["aliases"]) == ("2", "1", ["production"])
        (variant,) = oldest["variants"]
        assert (variant["runtime"], variant["size_bytes"]) == ("onnx", made.body.variants[0].blob.size_bytes)
        assert oldest["release_bytes"] == made.size_bytes
        assert made.body.baseline is not None
        assert oldest["other_bytes"] == made.body.golden.blob.size_bytes + made.body.baseline.size_bytes


class TestWhatIsNotInIt:
    def test_salt_makes_it_anonymous(self, api_server: Api) -> None:
        device = served(api_server)
        found = export(api_server, salt=SALT)
        (one,) = found["devices"]
        assert (found["anonymous"], one["labels"]) == (True, {})
        assert one["id"] != device.id
        text = json.dumps(found)
        for secret in (device.id, device.name, "lyon"):
            assert secret not in text
        assert export(api_server, salt=SALT)["devices"][0]["id"] == one["id"]
        assert export(api_server, salt=SALT[::-1])["devices"][0]["id"] != one["id"]

    def test_no_key_serial_number_or_store_is_in_it(self, api_server: Api) -> None:
        device = served(api_server)
        known = api_server.server.known(device)
        text = json.dumps(export(api_server))
        for secret in (known.key, known.public_key_pem[40:80], known.incarnation, "PUBLIC KEY"):
            assert secret not in text

    @pytest.mark.parametrize("salt", ["", "short", "not hexadecimal digits, but long enough"])
    def test_salt_that_hides_nothing_is_refused(self, api_server: Api, salt: str) -> None:
        answer = api_server.client.get("/api/v1/fleet/export", params={"salt": salt})
        assert (answer.status_code, answer.json()["code"]) == (422, "INVALID")


class TestRoundTrip:
    def test_exported_fleet_can_be_rehearsed(self, api_server: Api, tmp_path: Path) -> None:
        server, device = api_server.server, served(api_server)
        server.device("never", online=False)
        server.version("2", runtimes=(Runtime.ONNX, Runtime.TFLITE))
        for salt in (None, SALT):
            path = tmp_path / "fleet.json"
            path.write_text(json.dumps(export_cli.snapshot(_Client(api_server), salt)))
            found = snapshot.read(path)
            assert [each.runs for each in found.devices] == [{MODEL: "1"}, {}]
            assert found.devices[0].answered_an_hour == {MODEL: pytest.approx(3600.0)}
            assert [each.version for each in found.versions] == ["2", "1"]
            said = rehearsed(found)
            assert said.committed.median == 0
            assert {each.fate for each in said.left} == {Fate.NO_ROOM, Fate.OFFLINE}
        assert found.devices[0].id != device.id


class _Client:
    """``cli.api.Api`` over a test's client; two devices come in two stretches."""

    def __init__(self, api_server: Api) -> None:
        self._api_server = api_server

    def get(self, path: str, **query: object) -> dict[str, Any]:
        given = {name: value for name, value in query.items() if value is not None} | {"limit": 1}
        answer = self._api_server.client.get(f"/api/v1{path}", params=given)  # type: ignore[arg-type]  # httpx's own type
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def rehearsed(found: snapshot.Snapshot) -> Forecast:
    target = forecast.found_target(found, f"{MODEL}@2")
    return forecast.rehearse(
        Rehearsal(
            snapshot=found,
            model=MODEL,
            target=target,
            terms=Terms(),
            seeds=(1,),
            sample=10,
            hours=2.0,
            bytes_s=1_000_000.0,
        )
    )
