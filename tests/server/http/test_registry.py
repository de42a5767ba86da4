"""The registry over the API: promotion, cards, lineage, origin, archive, and where versions were."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from pinnace_contract import codec
from tests.server.http.conftest import Api
from tests.server.http.drafts import draft_file
from tests.server.http.test_routes import enrolled, get, uploaded
from tests.server.world import draft_of

MODEL = "/api/v1/models/digits"
LOCK = b"numpy==2.0\n"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def converted(api: Api, **changes: object) -> Any:
    api.client.post("/api/v1/models", json={"name": "digits"})
    body = {"version": "1", "source": uploaded(api, b"source"), "calibration": uploaded(api, b"data")}
    return api.client.post(f"{MODEL}/versions", json=body | changes)


def draft(api: Api, **changes: object) -> Any:
    api.client.post("/api/v1/models", json={"name": "digits"})
    made = draft_of("elsewhere")
    for content in made.contents.values():
        uploaded(api, content)
    body = {"version": "1", "draft": codec.parse_json("draft", draft_file(made), 1024**2)}
    return api.client.post(f"{MODEL}/drafts", json=body | changes)


class TestAliases:
    def test_alias_with_a_rule_is_approved_promoted_and_tells_its_history(self, api_server: Api) -> None:
        api, client = api_server, api_server.client
        device = enrolled(api)
        api.server.version("1")
        client.put(f"{MODEL}/aliases/staging", json={"version": "1", "reason": "new"})
        rule = {"source": "staging", "needs": ["rollout"], "failures_max": 0, "approvals": 1}
        assert client.put(f"{MODEL}/aliases/production/rule", json=rule).json() == rule | {"alias": "production"}
        assert get(api, "/models/digits/rules")["items"] == [rule | {"alias": "production"}]
        refused = client.put(f"{MODEL}/aliases/production", json={"version": "1"})
        assert (refused.status_code, refused.json()["code"]) == (409, "ALIAS_RULED")
        standing = get(api, "/models/digits/aliases/production/promotion")
        assert (standing["version"], standing["ready"]) == ("1", False)
        assert [each["need"] for each in standing["missing"]] == ["rollout", "approvals"]
        asked = {"source": "staging", "version": "1", "reason": "proven"}
        refused = client.post(f"{MODEL}/aliases/production/promotion", json=asked)
        assert (refused.status_code, refused.json()["code"]) == (409, "RULE_NOT_MET")
        assert "none has ended" in refused.json()["message"]
        rollout = client.post("/api/v1/assignments", json={"model": "digits", "version": "1"}).json()["id"]
        api.server.controller.tick()
        device.commit()
        api.server.controller.tick()
        approved = client.post(f"{MODEL}/aliases/production/approvals", json={"version": "1", "note": "checked"})
        assert (approved.status_code, approved.json()["person"]) == (201, "admin")
        promoted = client.post(f"{MODEL}/aliases/production/promotion", json=asked)
        assert promoted.json()["aliases"] == {"production": "1", "staging": "1"}
        (stretch,) = get(api, "/models/digits/aliases/production/history")["items"]
        assert (stretch["means"], stretch["rollout"], stretch["reason"]) == ("promoted", rollout, "proven")
        assert [each["note"] for each in stretch["approvals"]] == ["checked"]
        assert get(api, "/models/digits/alias-history")["total"] == 2
        assert get(api, "/models/digits/alias-history?version=2")["total"] == 0

    def test_alias_with_a_rule_is_forced_with_a_reason_only(self, api_server: Api) -> None:
        client = api_server.client
        api_server.server.version("1")
        client.put(f"{MODEL}/aliases/production/rule", json={"source": "staging"})
        forced = {"version": "1", "force": True}
        assert client.put(f"{MODEL}/aliases/production", json=forced).status_code == 400
        assert client.put(f"{MODEL}/aliases/production", json=forced | {"reason": "fire"}).status_code == 200
        assert client.delete(f"{MODEL}/aliases/production").status_code == 409
        assert client.delete(f"{MODEL}/aliases/production?force=true&reason=fire").status_code == 204
        assert client.delete(f"{MODEL}/aliases/production/rule").status_code == 204
        assert client.get(f"{MODEL}/aliases/production/promotion").status_code == 404

    def test_approval_is_taken_back(self, api_server: Api) -> None:
        client = api_server.client
        api_server.server.version("1")
        client.put(f"{MODEL}/aliases/staging", json={"version": "1"})
        client.put(f"{MODEL}/aliases/production/rule", json={"source": "staging", "needs": [], "approvals": 1})
        client.post(f"{MODEL}/aliases/production/approvals", json={"version": "1"})
        assert get(api_server, "/models/digits/aliases/production/promotion")["ready"]
        assert client.delete(f"{MODEL}/aliases/production/approvals/1").status_code == 204
        assert not get(api_server, "/models/digits/aliases/production/promotion")["ready"]


class TestCard:
    def test_version_without_a_required_field_is_refused_before_it_is_converted(self, api_server: Api) -> None:
        client = api_server.client
        client.post("/api/v1/models", json={"name": "digits"})
        change = {"card_required": ["intended_use", "limitations", "intended_use"]}
        assert client.patch(MODEL, json=change).json()["card_required"] == ["intended_use", "limitations"]
        for asked in (converted, draft):
            refused = asked(api_server, card_fields={"limitations": " "})
            assert (refused.status_code, refused.json()["code"]) == (400, "CARD_INCOMPLETE")
            assert "missing: intended_use, limitations" in refused.json()["message"]
        assert get(api_server, "/jobs")["total"] == 0
        said = {"intended_use": "meters", "limitations": "fog", "licence": "MIT"}
        assert draft(api_server, card="# Card", card_fields=said).status_code == 201
        version = get(api_server, "/models/digits/versions/1")
        assert (version["card"], version["card_fields"]) == ("# Card", said)

    def test_requirement_is_kept_when_the_description_changes(self, api_server: Api) -> None:
        client = api_server.client
        client.post("/api/v1/models", json={"name": "digits"})
        client.patch(MODEL, json={"card_required": ["use"]})
        assert client.patch(MODEL, json={"description": "new"}).json()["card_required"] == ["use"]
        assert client.patch(MODEL, json={"card_required": []}).json()["card_required"] == []
        assert client.patch(MODEL, json={"card_required": ["No good"]}).status_code == 400

    def test_field_that_cannot_be_is_refused(self, api_server: Api) -> None:
        refused = draft(api_server, card_fields={"Intended use": "x"})
        assert (refused.status_code, "field's name" in refused.json()["message"]) == (400, True)


class TestLineage:
    def test_lineage_is_kept_with_a_converted_version(self, api_server: Api) -> None:
        said = {"code_commit": "0123abcdef", "data_digest": "1" * 64, "environment": uploaded(api_server, LOCK)}
        answer = converted(api_server, source_name="digits.onnx", lineage=said | {"environment_file": True})
        assert answer.status_code == 202, answer.text
        assert api_server.services.conversions.work_once()
        version = get(api_server, "/models/digits/versions/1")
        assert version["lineage"] == said | {
            "environment_kept": True,
            "source": digest(b"source"),
            "source_name": "digits.onnx",
        }
        path = f"{MODEL}/versions/1/origin/files"
        assert api_server.client.get(f"{path}/{digest(LOCK)}").content == LOCK
        assert list((api_server.server.folder / "quarantine").iterdir()) == []

    def test_lineage_does_not_change_what_is_signed(self, api_server: Api) -> None:
        draft(api_server, card_fields={"use": "x"}, lineage={"code_commit": "0123abcdef"})
        release = api_server.client.get(f"{MODEL}/versions/1/release").content
        assert b"0123abcdef" not in release
        assert digest(release) == get(api_server, "/models/digits/versions/1")["release"]

    def test_draft_says_its_source_itself(self, api_server: Api) -> None:
        environment = uploaded(api_server, LOCK)
        answer = draft(api_server, lineage={"environment": environment, "environment_file": True})
        assert answer.status_code == 201, answer.text
        lineage = get(api_server, "/models/digits/versions/1")["lineage"]
        assert (lineage["source"], lineage["source_name"]) == (digest(b""), "model.onnx")
        assert (lineage["environment"], lineage["environment_kept"]) == (environment, True)

    @pytest.mark.parametrize(
        ("lineage", "status"),
        [
            ({"code_commit": "main"}, 400),
            ({"code_commit": "0" * 65}, 422),
            ({"data_digest": "0" * 63}, 400),
            ({"environment": "x" * 64}, 400),
            ({"environment_file": True}, 400),
            ({"environment": "0" * 64, "environment_file": True}, 404),
            ({"commit": "0123abc"}, 422),
        ],
    )
    def test_lineage_that_cannot_be_is_refused(self, api_server: Api, lineage: dict[str, object], status: int) -> None:
        for asked in (converted, draft):
            assert asked(api_server, lineage=lineage).status_code == status
        assert get(api_server, "/jobs")["total"] == 0

    def test_environment_that_is_no_lock_file_is_refused(
        self, api_server: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pinnace_server.domain.lineage.ENVIRONMENT_BYTES_MAX", 5)
        said = {"environment": uploaded(api_server, LOCK), "environment_file": True}
        assert "at most 5 bytes" in draft(api_server, lineage=said).json()["message"]
        assert "at most 5 bytes" in converted(api_server, lineage=said).json()["message"]


class TestOrigin:
    def test_request_files_and_report_of_a_conversion_are_kept(self, api_server: Api) -> None:
        converted(api_server, source_name="digits.onnx", seed=7, card="long", lineage={"code_commit": "0123abc"})
        api_server.services.conversions.work_once()
        origin = get(api_server, "/models/digits/versions/1/origin")
        assert (origin["reproducible"], origin["why_not"]) == (True, "")
        assert (origin["request"]["seed"], origin["report"]) == (7, {"candidates": []})
        assert "card" not in origin["request"] or origin["request"]["card"] == ""
        found = {each["name"]: (each["digest"], each["size_bytes"], each["kept"]) for each in origin["files"]}
        assert found == {
            "source-digits.onnx": (digest(b"source"), 6, True),
            "calibration.npz": (digest(b"data"), 4, True),
        }
        path = f"{MODEL}/versions/1/origin/files"
        assert api_server.client.get(f"{path}/{digest(b'source')}").content == b"source"
        assert api_server.client.get(f"{path}/{digest(b'data')}").content == b"data"

    def test_blob_that_is_no_file_of_the_version_is_not_given_out(self, api_server: Api) -> None:
        converted(api_server)
        api_server.services.conversions.work_once()
        other = api_server.server.blobs.add(b"secret")
        assert api_server.client.get(f"{MODEL}/versions/1/origin/files/{other}").status_code == 404

    def test_files_are_forgotten_on_demand_and_the_origin_says_so(self, api_server: Api) -> None:
        converted(api_server, keep_files=False)
        api_server.services.conversions.work_once()
        origin = get(api_server, "/models/digits/versions/1/origin")
        assert not origin["reproducible"]
        assert "its files were not kept: source-model.onnx, calibration.npz" in origin["why_not"]
        assert not api_server.server.blobs.has(digest(b"source"))  # type: ignore[arg-type]
        path = f"{MODEL}/versions/1/origin/files/{digest(b'source')}"
        assert api_server.client.get(path).status_code == 404

    def test_version_of_before_origins_were_kept_says_that_it_is_not_known(self, api_server: Api) -> None:
        api_server.server.version("1")
        origin = get(api_server, "/models/digits/versions/1/origin")
        assert (origin["request"], origin["report"], origin["files"]) == (None, None, [])
        assert "is not known" in origin["why_not"]

    def test_draft_brings_its_report_and_no_request(self, api_server: Api) -> None:
        draft(api_server)
        origin = get(api_server, "/models/digits/versions/1/origin")
        assert origin["report"]["source"]["name"] == "model.onnx"
        assert "converted elsewhere" in origin["why_not"]


class TestArchive:
    def test_archived_version_is_listed_when_asked(self, api_server: Api) -> None:
        client = api_server.client
        for name in ("1", "2"):
            api_server.server.version(name)
        client.put(f"{MODEL}/aliases/production", json={"version": "1"})
        refused = client.post(f"{MODEL}/versions/1/archive", json={})
        assert (refused.status_code, refused.json()["code"]) == (409, "IN_USE")
        archived = client.post(f"{MODEL}/versions/2/archive", json={"reason": "bad"})
        assert archived.json()["archived_at_s"] is not None
        assert [each["version"] for each in get(api_server, "/models/digits/versions")["items"]] == ["1"]
        assert get(api_server, "/models/digits/versions?archived=true")["total"] == 2
        assert get(api_server, "/models/digits")["latest"] == "1"
        refused = client.post("/api/v1/assignments", json={"model": "digits", "version": "2"})
        assert refused.status_code in (400, 409)
        assert client.post(f"{MODEL}/versions/2/unarchive", json={}).json()["archived_at_s"] is None

    def test_archived_version_is_not_assigned(self, api_server: Api) -> None:
        enrolled(api_server)
        api_server.server.version("1")
        api_server.client.post(f"{MODEL}/versions/1/archive", json={})
        refused = api_server.client.post("/api/v1/assignments", json={"model": "digits", "version": "1"})
        assert (refused.status_code, refused.json()["code"]) == (409, "ARCHIVED")
        assert get(api_server, "/rollouts")["total"] == 0

    def test_archived_model_is_listed_when_asked(self, api_server: Api) -> None:
        client = api_server.client
        api_server.server.version("1")
        assert client.post(f"{MODEL}/archive", json={}).json()["archived_at_s"] is not None
        assert get(api_server, "/models")["total"] == 0
        assert get(api_server, "/models?archived=true")["total"] == 1
        assert converted(api_server, version="2").status_code == 409
        client.post(f"{MODEL}/unarchive", json={})
        assert get(api_server, "/models")["total"] == 1


def test_version_tells_on_which_device_it_was_when(api_server: Api) -> None:
    first, second = enrolled(api_server, "a"), enrolled(api_server, "b")
    begun = api_server.server.clock.now()
    for name, devices in (("1", (first, second)), ("2", (second,))):
        version = api_server.server.version(name)
        ids = ", ".join(each.id for each in devices)
        api_server.server.assign(version, f"device in ({ids})")
        for each in devices:
            each.commit()
        api_server.server.controller.tick()
        api_server.server.clock.move(60)
    history = get(api_server, "/models/digits/versions/1/history")
    assert history["total"] == 2
    found = {
        row["device"]: [(s["since_s"], s["until_s"], s["left_for"]) for s in row["stays"]] for row in history["items"]
    }
    assert found == {first.id: [(begun, None, None)], second.id: [(begun, begun + 60, "2")]}
    assert get(api_server, "/models/digits/versions/1/history?limit=1")["next"] == 1
