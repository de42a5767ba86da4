"""The road over the API: from an upload to a device that went back, as an operator's program would go it."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from pinnace_contract import codec
from pinnace_contract.latest import Cause, Enrolled, Outcome
from pinnace_contract.topics import Up
from pinnace_server.domain.records import EventKind
from pinnace_server.service.conversions import ConversionFailed
from tests.server.http.conftest import UPLOAD_BYTES_MAX, Api
from tests.server.http.drafts import draft_file
from tests.server.world import MODEL, TestedDevice, draft_of


def uploaded(api: Api, content: bytes) -> str:
    answer = api.client.post("/api/v1/uploads", content=content)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["digest"])


def enrolled(api: Api, name: str = "camera", **labels: str) -> TestedDevice:
    made = api.client.post("/api/v1/claim-tokens", json={"labels": labels}).json()
    device = TestedDevice(api.server, name)
    request = codec.plain(device.request(made["token"]))
    answer = api.stranger.post("/api/v1/enrol", json=request)
    assert answer.status_code == 200, answer.text
    device.id = codec.from_json(Enrolled, answer.content).device
    device.birth()
    api.server.controller.tick()
    device.say()
    return device


def get(api: Api, path: str) -> Any:
    answer = api.client.get(f"/api/v1{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


class TestUploads:
    def test_upload_is_named_by_its_digest(self, api_server: Api) -> None:
        assert uploaded(api_server, b"weights") == hashlib.sha256(b"weights").hexdigest()

    def test_announced_digest_is_checked(self, api_server: Api) -> None:
        answer = api_server.client.post(f"/api/v1/uploads?digest={'0' * 64}", content=b"weights")
        assert answer.status_code == 400
        assert list((api_server.server.folder / "quarantine").iterdir()) == []

    def test_upload_over_its_limit_leaves_nothing(self, api_server: Api) -> None:
        answer = api_server.client.post("/api/v1/uploads", content=b"x" * (UPLOAD_BYTES_MAX + 1))
        assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")
        assert list((api_server.server.folder / "quarantine").iterdir()) == []

    def test_all_uploads_together_have_a_limit_too(self, api_server: Api) -> None:
        statuses = [
            api_server.client.post("/api/v1/uploads", content=bytes([n]) * UPLOAD_BYTES_MAX).status_code
            for n in range(6)
        ]
        assert statuses == [201, 201, 201, 201, 413, 413]

    def test_empty_upload_is_refused(self, api_server: Api) -> None:
        assert api_server.client.post("/api/v1/uploads", content=b"").status_code == 400


class TestVersions:
    def convert(self, api: Api, **changes: object) -> Any:
        api.client.post("/api/v1/models", json={"name": "digits"})
        body = {"version": "1", "source": uploaded(api, b"source"), "calibration": uploaded(api, b"data")}
        return api.client.post("/api/v1/models/digits/versions", json=body | changes)

    def test_uploaded_model_becomes_a_signed_version(self, api_server: Api) -> None:
        job = self.convert(api_server).json()
        assert job["state"] == "queued"
        assert api_server.services.conversions.work_once()
        done = get(api_server, f"/jobs/{job['id']}")
        assert (done["state"], done["share"], done["report"]) == ("done", 1.0, {"candidates": []})
        version = get(api_server, "/models/digits/versions/1")
        assert [each["runtime"] for each in version["variants"]] == ["onnx"]
        assert version["expected_share_below"] == pytest.approx(0.1)
        assert get(api_server, "/models/digits")["latest"] == "1"
        assert list((api_server.server.folder / "quarantine").iterdir()) == []
        assert list((api_server.server.folder / "conversions").iterdir()) == []

    def test_files_are_what_was_signed(self, api_server: Api) -> None:
        self.convert(api_server)
        api_server.services.conversions.work_once()
        version = get(api_server, "/models/digits/versions/1")
        release = api_server.client.get("/api/v1/models/digits/versions/1/release").content
        assert hashlib.sha256(release).hexdigest() == version["release"]
        digest = version["variants"][0]["digest"]
        assert get(api_server, "/models/digits/versions/1/variants")["items"] == version["variants"]
        assert get(api_server, f"/models/digits/versions/1/variants/{digest}") == version["variants"][0]
        file = api_server.client.get(f"/api/v1/models/digits/versions/1/variants/{digest}/file").content
        assert hashlib.sha256(file).hexdigest() == digest

    def test_refused_model_says_why_and_is_in_the_log(self, api_server: Api) -> None:
        def refuses(_: Path) -> str:
            raise ConversionFailed("no variant passed its checks", reason="NO_VARIANT", report='{"candidates": [1]}')

        api_server.converter.does = refuses
        job = self.convert(api_server).json()
        api_server.services.conversions.work_once()
        ended = get(api_server, f"/jobs/{job['id']}")
        assert (ended["state"], ended["detail"]) == ("failed", "no variant passed its checks")
        assert ended["report"] == {"candidates": [1]}
        assert len(api_server.server.events(EventKind.VERSION_REFUSED)) == 1
        assert api_server.client.get("/api/v1/models/digits/versions/1").status_code == 404

    def test_waiting_conversion_can_be_cancelled(self, api_server: Api) -> None:
        job = self.convert(api_server).json()
        answer = api_server.client.post(f"/api/v1/jobs/{job['id']}/cancel")
        assert answer.json()["state"] == "cancelled"
        assert not api_server.services.conversions.work_once()
        assert api_server.client.post(f"/api/v1/jobs/{job['id']}/cancel").status_code == 409

    def test_running_conversion_can_be_cancelled(self, api_server: Api) -> None:
        job = self.convert(api_server).json()

        def cancelled_meanwhile(_: Path) -> str:
            api_server.client.post(f"/api/v1/jobs/{job['id']}/cancel")
            raise ConversionFailed("stopped", reason="", report="")

        api_server.converter.does = cancelled_meanwhile
        api_server.services.conversions.work_once()
        assert get(api_server, f"/jobs/{job['id']}")["state"] == "cancelled"
        assert api_server.server.events(EventKind.VERSION_REFUSED) == []

    def test_conversion_that_a_crash_cut_off_is_begun_again(self, api_server: Api) -> None:
        job = self.convert(api_server).json()

        def killed(_: Path) -> str:
            raise KeyboardInterrupt

        api_server.converter.does = killed
        with pytest.raises(KeyboardInterrupt):
            api_server.services.conversions.work_once()
        assert get(api_server, f"/jobs/{job['id']}")["state"] == "running"
        api_server.converter.does = None
        ended = threading.Event()
        unsubscribe = api_server.server.changes.subscribe(
            lambda topic: (
                ended.set() if topic == "jobs" and get(api_server, f"/jobs/{job['id']}")["state"] == "done" else None
            )
        )
        api_server.services.conversions.start()
        assert ended.wait(60)
        api_server.services.conversions.stop()
        unsubscribe()

    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            ({"source": "0" * 64}, 404),
            ({"version": "no good"}, 400),
            ({"declaration": {"befor": []}}, 400),
            ({"precisions": ["fp64"]}, 422),
            ({"precisions": []}, 422),
        ],
    )
    def test_request_that_cannot_be_converted_is_refused_at_once(
        self, api_server: Api, changes: dict[str, object], status: int
    ) -> None:
        assert self.convert(api_server, **changes).status_code == status
        assert get(api_server, "/jobs")["total"] == 0

    def test_version_is_converted_once_at_a_time(self, api_server: Api) -> None:
        assert self.convert(api_server).status_code == 202
        assert self.convert(api_server).status_code == 409

    def test_draft_that_was_converted_elsewhere_becomes_a_version(self, api_server: Api) -> None:
        api_server.client.post("/api/v1/models", json={"name": "digits"})
        made = draft_of("elsewhere")
        body = {"version": "1", "draft": codec.parse_json("draft", draft_file(made), 1024**2), "card": "# Card"}
        assert api_server.client.post("/api/v1/models/digits/drafts", json=body).status_code == 404
        for content in made.contents.values():
            uploaded(api_server, content)
        answer = api_server.client.post("/api/v1/models/digits/drafts", json=body)
        assert (answer.status_code, answer.json()["card"]) == (201, "# Card")
        assert api_server.client.post("/api/v1/models/digits/drafts", json=body).status_code == 409

    def test_draft_that_is_none_is_refused(self, api_server: Api) -> None:
        api_server.client.post("/api/v1/models", json={"name": "digits"})
        answer = api_server.client.post("/api/v1/models/digits/drafts", json={"version": "1", "draft": {"x": 1}})
        assert (answer.status_code, answer.json()["code"]) == (400, "BAD_FIELD")

    def test_alias_names_a_version(self, api_server: Api) -> None:
        api_server.server.version("1")
        answer = api_server.client.put("/api/v1/models/digits/aliases/production", json={"version": "1"})
        assert answer.json()["aliases"] == {"production": "1"}
        assert get(api_server, "/models/digits/versions/@production")["aliases"] == ["production"]
        assert api_server.client.delete("/api/v1/models/digits/aliases/production").status_code == 204
        assert api_server.client.delete("/api/v1/models/digits/aliases/production").status_code == 404


class TestRoad:
    def test_version_is_assigned_committed_and_taken_back(self, api_server: Api) -> None:
        device = enrolled(api_server, site="lyon")
        for name in ("1", "2"):
            api_server.server.version(name)
            rollout = api_server.client.post(
                "/api/v1/assignments", json={"model": "digits", "version": name, "selector": "site=lyon"}
            ).json()
            assert rollout["devices"] == {"waiting": 1}
            api_server.server.controller.tick()
            waiting = get(api_server, f"/rollouts/{rollout['id']}/devices")["items"]
            assert [(each["state"], each["waiting_on"]) for each in waiting] == [("assigned", "ANSWER")]
            device.commit()
            api_server.server.controller.tick()
            assert get(api_server, f"/rollouts/{rollout['id']}")["state"] == "finished"
        shown = get(api_server, f"/devices/{device.id}")
        assert shown["models"][0]["current"]["version"] == "2"
        answer = api_server.client.post(f"/api/v1/devices/{device.id}/models/digits/revert", json={})
        assert (answer.status_code, answer.json()["version"]) == (201, "1")
        api_server.server.controller.tick()
        device.commit()
        assert get(api_server, f"/devices/{device.id}")["models"][0]["current"]["version"] == "1"
        outcomes = get(api_server, "/receipts?model=digits&outcome=committed")
        assert [each["version"] for each in outcomes["items"]] == ["1", "2", "1"]

    def test_report_ranges_tell_which_reports_are_in(self, api_server: Api) -> None:
        device, other = enrolled(api_server), enrolled(api_server, "other")
        for report in (device.report(), device.report()):
            device.send(Up.REPORT, report)
        device.report()  # is lost on the way
        device.send(Up.REPORT, device.report())
        other.send(Up.REPORT, other.report())
        found = get(api_server, f"/report-ranges?device={device.id}")
        assert found["total"] == 2
        assert [(each["boot"], each["seq_from"], each["seq_to"], each["dropped"]) for each in found["items"]] == [
            (device.boot, 1, 2, False),
            (device.boot, 4, 4, False),
        ]
        assert {each["device"] for each in get(api_server, "/report-ranges")["items"]} == {device.id, other.id}
        first = get(api_server, "/report-ranges?limit=1")
        assert (len(first["items"]), first["next"], first["total"]) == (1, 1, 3)
        assert api_server.client.get("/api/v1/report-ranges?device=nobody").status_code == 404

    def test_failure_is_told_with_its_cause(self, api_server: Api) -> None:
        device = enrolled(api_server)
        api_server.server.assign(api_server.server.version())
        receipt = device.end(Outcome.FAILED, Cause.GOLDEN_MISMATCH, "max_abs 3.2")
        shown = get(api_server, f"/receipts/{receipt.id}")
        assert (shown["outcome"], shown["cause"], shown["detail"]) == ("failed", "GOLDEN_MISMATCH", "max_abs 3.2")
        slot = get(api_server, f"/devices/{device.id}")["models"][0]
        assert (slot["outcome"], slot["outcome_cause"]) == ("failed", "GOLDEN_MISMATCH")
        assert get(api_server, "/devices?status=degraded")["total"] == 1

    def test_match_says_what_would_be_touched_and_touches_nothing(self, api_server: Api) -> None:
        device = enrolled(api_server)
        api_server.server.version()
        answer = api_server.client.post("/api/v1/assignments/match", json={"model": "digits", "version": "1"})
        assert answer.json() == {"devices": [device.id], "already_on_it": [], "excluded": {}}
        assert get(api_server, "/rollouts")["total"] == 0

    def test_devices_can_be_named_instead_of_selected(self, api_server: Api) -> None:
        one, other = enrolled(api_server, "one"), enrolled(api_server, "other")
        api_server.server.version()
        body = {"model": "digits", "version": "1", "devices": [one.id]}
        assert api_server.client.post("/api/v1/assignments", json=body).json()["devices"] == {"waiting": 1}
        both = api_server.client.post("/api/v1/assignments", json=body | {"selector": f"device={other.id}"})
        assert both.status_code == 400

    def test_terms_reach_the_device(self, api_server: Api) -> None:
        device = enrolled(api_server)
        api_server.server.version()
        body = {
            "model": "digits",
            "version": "1",
            "trial": {"mode": "none", "inferences": 7},
            "contact": {"mode": "none"},
        }
        api_server.client.post("/api/v1/assignments", json=body)
        api_server.server.controller.tick()
        entry = device.entry()
        assert entry is not None
        assert (entry.trial.mode, entry.trial.inferences, entry.contact.mode) == ("none", 7, "none")

    def test_rollout_can_be_cancelled_and_rolled_back(self, api_server: Api) -> None:
        device = enrolled(api_server)
        rollout = api_server.server.assign(api_server.server.version())
        answer = api_server.client.post(f"/api/v1/rollouts/{rollout.id}/cancel", json={"reason": "no"})
        assert (answer.json()["state"], answer.json()["reason"]) == ("cancelled", "no")
        assert api_server.client.post(f"/api/v1/rollouts/{rollout.id}/rollback", json={}).status_code == 409
        assert device.id in {each["device"] for each in get(api_server, f"/rollouts/{rollout.id}/devices")["items"]}

    def test_latency_is_shown_by_minute(self, api_server: Api) -> None:
        device = enrolled(api_server)
        api_server.server.assign(api_server.server.version())
        device.commit()
        device.answers(100, below=10, p95_ms=4.0)
        (point,) = get(api_server, f"/devices/{device.id}/latency?model=digits")["points"]
        assert (point["version"], point["inferences"], point["below_threshold"]) == ("1", 100, 10)
        assert point["p95_ms"] == pytest.approx(4.0, rel=0.03)

    def test_device_is_named_labelled_and_decommissioned(self, api_server: Api) -> None:
        device = enrolled(api_server)
        changed = api_server.client.patch(
            f"/api/v1/devices/{device.id}", json={"name": "door", "labels": {"site": "lyon"}}
        ).json()
        assert (changed["name"], changed["labels"]) == ("door", {"site": "lyon"})
        assert get(api_server, "/devices?selector=site%3Dlyon&text=door")["total"] == 1
        assert api_server.client.post(f"/api/v1/devices/{device.id}/decommission").status_code == 200
        assert get(api_server, "/devices")["total"] == 0
        assert get(api_server, "/devices?state=decommissioned")["total"] == 1

    def test_suspected_clone_is_readmitted(self, api_server: Api) -> None:
        device = enrolled(api_server)
        device.new_store()
        device.birth()
        shown = get(api_server, f"/devices/{device.id}")
        assert (shown["state"], shown["cause"], len(shown["incarnations"])) == ("quarantined", "CLONE_SUSPECTED", 2)
        answer = api_server.client.post(
            f"/api/v1/devices/{device.id}/readmit", json={"incarnation": device.incarnation}
        )
        assert (answer.json()["state"], answer.json()["incarnation"]) == ("active", device.incarnation)

    def test_claim_token_is_shown_once_and_can_be_revoked(self, api_server: Api) -> None:
        made = api_server.client.post("/api/v1/claim-tokens", json={"note": "line 3"}).json()
        listed = get(api_server, "/claim-tokens")
        assert [each["note"] for each in listed["items"]] == ["line 3"]
        assert made["token"] not in str(listed)
        path = f"/api/v1/claim-tokens/{made['claim']['id']}"
        assert api_server.client.delete(path).status_code == 204
        assert api_server.client.delete(path).status_code == 404
        device = TestedDevice(api_server.server, "late")
        answer = api_server.stranger.post("/api/v1/enrol", json=codec.plain(device.request(made["token"])))
        assert (answer.status_code, answer.json()["code"]) == (403, "TOKEN_REFUSED")

    def test_system_tells_what_runs(self, api_server: Api) -> None:
        enrolled(api_server)
        system = get(api_server, "/system")
        assert system["devices"] == {"online": 1}
        assert system["messages"]["taken"] == 2


class TestLists:
    def test_stretches_make_up_the_whole(self, api_server: Api) -> None:
        for n in range(7):
            api_server.client.post("/api/v1/models", json={"name": f"model-{n}"})
        names, offset = [], 0
        while offset is not None:
            answer = get(api_server, f"/models?limit=3&offset={offset}")
            assert answer["total"] == 7
            names += [each["name"] for each in answer["items"]]
            offset = answer["next"]
        assert names == [f"model-{n}" for n in range(7)]


class TestLog:
    def test_log_is_read_backwards_and_followed_forwards(self, api_server: Api) -> None:
        for n in range(3):
            api_server.client.post("/api/v1/models", json={"name": f"model-{n}"})
        newest = get(api_server, "/events?kind=model_added")
        assert [each["number"] for each in newest["items"]] == [3, 2, 1]
        after = get(api_server, "/events?after=1")
        assert [each["number"] for each in after["items"]] == [2, 3]
        assert after["last"] == 3

    def test_filters_narrow_it(self, api_server: Api) -> None:
        device = enrolled(api_server)
        api_server.server.version()
        assert get(api_server, f"/events?device={device.id}")["total"] == 2
        assert get(api_server, f"/events?model={MODEL}&kind=version_added")["total"] == 1
        assert get(api_server, "/events?severity=error")["total"] == 0
        assert get(api_server, "/events?actor=admin&text=claim")["total"] == 1

    def test_waiting_ends_with_the_next_event(self, api_server: Api) -> None:
        waiting = threading.Event()
        subscribe = api_server.server.changes.subscribe

        def noted(listener: Any) -> Any:
            stop = subscribe(listener)
            waiting.set()
            return stop

        api_server.server.changes.subscribe = noted  # type: ignore[method-assign]

        def act() -> None:
            assert waiting.wait(30)
            api_server.server.catalogue.add_model("late", "", "test")

        thread = threading.Thread(target=act)
        thread.start()
        answer = get(api_server, "/events?after=0&wait_s=30")
        thread.join()
        assert [each["summary"] for each in answer["items"]] == ["model late added"]

    def test_waiting_in_vain_ends_by_itself(self, api_server: Api) -> None:
        assert get(api_server, "/events?after=0&wait_s=0.05")["items"] == []
