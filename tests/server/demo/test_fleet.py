"""What the demo asks of the API and how it reads the answers."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pinnace_contract.latest import Cause, Outcome, Phase
from pinnace_server.demo import fleet as fleet_module
from pinnace_server.demo.errors import ConversionRefused, ServerSaidNo
from pinnace_server.demo.fleet import Assigned, Fleet, Trial
from pinnace_server.demo.story import DeviceView, Ending, Rollback
from pinnace_server.demo.versions import VERSIONS, VersionFiles

NO_MODEL = {"id": "device-2-b", "name": "device-2", "status": "offline", "models": []}
TRYING = {
    "id": "device-1-a",
    "name": "device-1",
    "status": "updating",
    "models": [
        {"model": "digits", "phase": "trial", "cause": "NONE", "current": {"version": "1"}},
    ],
}


class Server(http.server.ThreadingHTTPServer):
    """Answers each address from a table, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[tuple[str, str], list[tuple[int, object]]] = {}
        self.asked: list[tuple[str, str, bytes]] = []

    def will(self, method: str, path: str, *answers: object, status: int = 200) -> None:
        self.answers[method, path] = [(status, answer) for answer in answers]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0].removeprefix("/api/v1")
        self.server.asked.append((self.command, path, body))
        if self.headers["Authorization"] != "Bearer secret":
            return self.reply(401, {"message": "this needs the admin token"})
        answers = self.server.answers[self.command, path]
        return self.reply(*(answers.pop(0) if len(answers) > 1 else answers[0]))

    def reply(self, status: int, tree: object) -> None:
        body = json.dumps(tree).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def fleet(server: Server) -> Fleet:
    return Fleet(url=f"http://127.0.0.1:{server.server_port}", token="secret")


@pytest.fixture
def files(tmp_path: Path) -> VersionFiles:
    found = VersionFiles(
        model=tmp_path / "model.onnx",
        calibration=tmp_path / "calibration.npz",
        heldout=tmp_path / "heldout.npz",
        processing=tmp_path / "processing.json",
    )
    for path in (found.model, found.calibration, found.heldout):
        path.write_bytes(path.name.encode())
    found.processing.write_text('{"after": []}')
    return found


def receipt(device: str, at_s: float, **more: Any) -> dict[str, Any]:
    plain = {"device": device, "version": "2", "outcome": "failed", "cause": "GOLDEN_MISMATCH", "detail": "0.3"}
    return plain | {"received_at_s": at_s} | more


def test_devices_are_read_with_and_without_a_model(server: Server, fleet: Fleet) -> None:
    server.will("GET", "/devices", {"items": [TRYING, NO_MODEL]})
    assert fleet.devices() == (
        DeviceView(id="device-1-a", name="device-1", online=True, serving="1", phase=Phase.TRIAL, cause=Cause.NONE),
        DeviceView(id="device-2-b", name="device-2", online=False, serving=None, phase=Phase.IDLE, cause=Cause.NONE),
    )


def test_only_what_came_after_the_assignment_is_seen(server: Server, fleet: Fleet) -> None:
    server.will("GET", "/devices", {"items": []})
    server.will("GET", "/receipts", {"items": [receipt("b", 101.0), receipt("a", 99.0)]})
    server.will(
        "GET",
        "/rollouts",
        {
            "items": [
                {"id": "r-3", "halts": "r-1", "version": None, "reason": "", "created_at_s": 120.0},
                {"id": "r-2", "halts": "r-0", "version": None, "reason": "", "created_at_s": 90.0},
                {"id": "r-1", "halts": None, "version": "4", "reason": "58% below", "created_at_s": 100.0},
            ]
        },
    )
    seen = fleet.seen(Assigned(rollout="r-1", at_s=100.0))
    assert seen.endings == (
        Ending(
            device="b",
            version="2",
            outcome=Outcome.FAILED,
            cause=Cause.GOLDEN_MISMATCH,
            detail="0.3",
            at_s=101.0,
        ),
    )
    assert seen.rollbacks == (Rollback(version="4", reason="58% below", at_s=120.0),)


def test_a_version_is_uploaded_converted_and_waited_for(
    server: Server, fleet: Fleet, files: VersionFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "JOB_POLL_S", 0)
    server.will("POST", "/uploads", {"digest": "m"}, {"digest": "c"}, {"digest": "h"}, status=201)
    server.will("POST", "/models/digits/versions", {"id": "j-1"}, status=202)
    server.will("GET", "/jobs/j-1", {"state": "running", "stage": "fp32"}, {"state": "done", "stage": ""})
    server.will("GET", "/models/digits/versions/1", {"variants": [{"precision": "fp32"}, {"precision": "int8-static"}]})
    stages: list[str] = []
    assert fleet.register(VERSIONS[0], files, force="", tell=stages.append) == ("fp32", "int8-static")
    assert stages == ["fp32"]
    uploads = [body for method, path, body in server.asked if path == "/uploads"]
    assert uploads == [b"model.onnx", b"calibration.npz", b"heldout.npz"]
    asked = next(json.loads(body) for _, path, body in server.asked if path == "/models/digits/versions")
    assert (asked["source"], asked["calibration"], asked["heldout"]) == ("m", "c", "h")
    assert (asked["declaration"], asked["precisions"]) == ({"after": []}, ["fp32", "int8-static"])


def test_a_refused_conversion_carries_the_converters_words(server: Server, fleet: Fleet, files: VersionFiles) -> None:
    server.will("POST", "/uploads", {"digest": "m"})
    server.will("POST", "/models/digits/versions", {"id": "j-1"})
    server.will("GET", "/jobs/j-1", {"state": "failed", "stage": "", "detail": "agreement 0.305; expected 0.98"})
    with pytest.raises(ConversionRefused, match=r"version 2 .* agreement 0\.305"):
        fleet.register(VERSIONS[1], files, force="", tell=lambda _: None)


def test_an_assignment_goes_to_every_device_with_a_trial(server: Server, fleet: Fleet) -> None:
    server.will("POST", "/assignments", {"id": "r-1", "created_at_s": 100.5}, status=201)
    assert fleet.assign("2", Trial(inferences=50, duration_s=30)) == Assigned(rollout="r-1", at_s=100.5)
    asked = json.loads(server.asked[0][2])
    assert asked == {"model": "digits", "version": "2", "trial": {"inferences": 50, "duration_s": 30}}


def test_a_refusal_is_quoted_with_its_hint(server: Server, fleet: Fleet) -> None:
    server.will("POST", "/models", {"message": "digits is there already", "hint": "choose another"}, status=409)
    with pytest.raises(ServerSaidNo, match=r"POST /models \(status 409\): digits is there already choose another"):
        fleet.add_model("")


def test_a_server_that_is_not_there_yet_is_not_ready(server: Server, fleet: Fleet) -> None:
    server.will("GET", "/ready", {"ready": False}, status=503)
    assert not fleet.ready()
    server.will("GET", "/ready", {"ready": True})
    assert fleet.ready()
    assert not Fleet(url="http://127.0.0.1:1", token="").ready()
