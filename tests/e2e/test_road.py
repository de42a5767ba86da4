"""The whole road with the real server, broker, agents and workers. What the API says is held against what answers."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import sqlite3
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from pinnace_contract import topics
from pinnace_contract.desired import Desired
from pinnace_contract.ids import DeviceId
from tests.brokers import Mosquitto
from tests.e2e import models
from tests.e2e.conftest import Drafts, Enrol, Fleet
from tests.e2e.fleet import Device, Server, running, runs, until

# Several processes start for each test, and two busy cores take their time. The signal lets fixtures end them.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300, method="signal")]

DATA = Path(__file__).parents[1] / "runtime" / "data"


def publish(url: str, topic: topics.Topic, payload: bytes) -> None:
    """Say something on the broker that the server did not say."""
    host, _, port = url.removeprefix("mqtt://").partition(":")
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="stranger", protocol=paho.MQTTv311)
    client.connect(host, int(port))
    client.loop_start()
    client.publish(str(topic), payload, qos=1, retain=True).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def retained(url: str, topic: topics.Topic) -> bytes:
    """What the broker holds for a topic."""
    found: list[bytes] = []
    host, _, port = url.removeprefix("mqtt://").partition(":")
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="reader", protocol=paho.MQTTv311)
    client.on_connect = lambda client, *_: client.subscribe(str(topic), qos=1)
    client.on_message = lambda _client, _data, message: found.append(bytes(message.payload))
    client.connect(host, int(port))
    client.loop_start()
    until(f"{topic} on the broker", lambda: found)
    client.disconnect()
    client.loop_stop()
    return found[0]


def broker_of(server: Server) -> str:
    return str(server.call("GET", "/system")["broker_url"])


def desired_of(camera: Device) -> topics.Topic:
    return topics.DownTopic(device=DeviceId(camera.id), channel=topics.Down.DESIRED)


# --- the road ------------------------------------------------------------------------------------------------------


def test_from_a_model_file_to_committed_devices(server: Server, device: Enrol, drafts: Drafts) -> None:
    """As an operator types it: registered, converted, quantized, signed, pushed, verified, tried, served, reported."""
    said = server.cli(
        *("version", "add", "digits", "1", str(drafts.source)),
        *("--calibration", str(drafts.calibration), "--heldout", str(drafts.held_out)),
    )
    assert "int8-static" in said
    cameras = [device(server, name) for name in ("left", "right")]
    server.cli("assign", "digits", "1", "--trial", "none")
    for camera in cameras:
        receipt = server.outcome(camera.id, "1")
        assert receipt["outcome"] == "committed"
        assert receipt["receipt"]["golden"]["passed"]
        runs(server, camera, "1", drafts.data.held[:1])
    right = [
        int(np.argmax(cameras[0].infer(drafts.data.held[i : i + 1]).outputs["scores"])) == drafts.data.held_labels[i]
        for i in range(100)
    ]
    assert sum(right) > 85, "a least-squares model reads more than 85 of 100 digits"

    def reported() -> bool:
        points = server.call("GET", f"/devices/{cameras[0].id}/latency")["points"]
        return sum(point["inferences"] for point in points) >= 100 and any(point["p95_ms"] for point in points)

    until("the inferences in a report", reported)
    assert "committed" in server.cli("device", "show", cameras[0].id)


def test_a_tflite_release_goes_the_same_road(server: Server, device: Enrol, drafts: Drafts, tmp_path: Path) -> None:
    data = tmp_path / "linear.npz"
    np.savez(data, x=np.random.default_rng(1).normal(size=(80, 4)).astype(np.float32))
    draft = models.convert(tmp_path, "linear", DATA / "linear_fp32.tflite", "--calibration", str(data))
    server.call("POST", "/models", json={"name": "linear"})
    server.add_draft(draft, "1", model="linear")
    camera = device(server, "camera")
    server.assign("1", camera.id, model="linear")
    receipt = server.outcome(camera.id, "1", model="linear")
    assert receipt["outcome"] == "committed", receipt
    assert "litert" in receipt["receipt"]["runtime"] or "tflite" in receipt["receipt"]["runtime"]
    answer = camera.infer(np.ones((1, 4), np.float32), model="linear", name="x")
    assert answer.outputs["y"].shape == (1, 3)


def test_a_live_trial_commits_on_what_applications_asked(fleet: Fleet, drafts: Drafts) -> None:
    server, camera = fleet
    server.assign("2", camera.id, trial={"mode": "live", "inferences": 30, "duration_s": 600})
    digests = server.digests("2")
    until("the candidate answers", lambda: camera.answering(drafts.data.held[:1]) in digests)
    for i in range(40):
        camera.infer(drafts.data.held[i : i + 1])
    receipt = server.outcome(camera.id, "2")
    assert receipt["outcome"] == "committed"
    assert receipt["receipt"]["evidence"]["kind"] == "live"
    runs(server, camera, "2", drafts.data.held[:1])


def test_an_operator_takes_a_version_back(fleet: Fleet, drafts: Drafts) -> None:
    server, camera = fleet
    server.assign("2", camera.id)
    assert server.outcome(camera.id, "2")["outcome"] == "committed"
    server.cli("revert", camera.id, "digits")
    runs(server, camera, "1", drafts.data.held[:1])
    until("the rollback is finished", lambda: "rollback" in server.cli("rollout", "list"))


# --- what is damaged or forged on the way --------------------------------------------------------------------------


def test_a_blob_with_one_flipped_byte_on_the_server_never_runs(fleet: Fleet, drafts: Drafts) -> None:
    server, camera = fleet
    for digest in server.digests("2"):
        _flip_a_byte(server.data / "blobs", digest)
    server.assign("2", camera.id)
    receipt = server.outcome(camera.id, "2")
    assert (receipt["outcome"], receipt["cause"]) == ("failed", "DIGEST_MISMATCH")
    assert "not what the signed release lists" in receipt["detail"]
    runs(server, camera, "1", drafts.data.held[:1])


def _flip_a_byte(folder: Path, digest: str) -> None:
    (blob,) = [path for path in folder.rglob(digest) if path.is_file()]
    blob.chmod(0o600)
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)


def test_a_forged_signature_is_refused_and_shown(fleet: Fleet, drafts: Drafts) -> None:
    server, camera = fleet
    url = broker_of(server)
    files = Desired.from_bytes(retained(url, desired_of(camera)))
    tree = json.loads(files.targets)
    tree["signed"]["x-pinnace-assignments"]["generation"] += 1
    forged = dataclasses.replace(files, targets=json.dumps(tree).encode())
    publish(url, desired_of(camera), forged.to_bytes())
    until("the refusal in the API", lambda: server.device(camera.id)["refused_cause"] == "SIGNATURE_INVALID")
    runs(server, camera, "1", drafts.data.held[:1])


def test_another_devices_assignment_is_refused_and_shown(fleet: Fleet, device: Enrol, drafts: Drafts) -> None:
    server, camera = fleet
    other = device(server, "other")
    server.assign("2", other.id)
    assert server.outcome(other.id, "2")["outcome"] == "committed"
    url = broker_of(server)
    publish(url, desired_of(camera), retained(url, desired_of(other)))
    until("the refusal in the API", lambda: server.device(camera.id)["refused_cause"] == "WRONG_DEVICE")
    runs(server, camera, "1", drafts.data.held[:1])


def test_an_older_message_is_refused_and_shown(fleet: Fleet, drafts: Drafts) -> None:
    server, camera = fleet
    url = broker_of(server)
    old = retained(url, desired_of(camera))
    server.assign("2", camera.id)
    assert server.outcome(camera.id, "2")["outcome"] == "committed"
    publish(url, desired_of(camera), old)
    until("the refusal in the API", lambda: server.device(camera.id)["refused_cause"] == "METADATA_ROLLBACK")
    runs(server, camera, "2", drafts.data.held[:1])


def test_the_same_identity_from_another_store_is_a_suspected_clone(
    fleet: Fleet, drafts: Drafts, tmp_path: Path
) -> None:
    server, camera = fleet
    thief = Device(tmp_path, server, "thief")
    shutil.copytree(camera.store, thief.store, ignore=shutil.ignore_patterns("run", "lock"))
    for name in ("state.json", "state.json.bak"):
        (thief.store / name).unlink()
    _new_incarnation(thief)
    thief.start()
    try:
        until("the alarm", lambda: "CLONE_SUSPECTED" in json.dumps(server.device(camera.id)))
        assert server.device(camera.id)["state"] == "quarantined"
        until("it keeps serving", lambda: camera.answering(drafts.data.held[:1]))
    finally:
        thief.stop()


def _new_incarnation(thief: Device) -> None:
    """What a copied store looks like after somebody 'repaired' it: the same key, a state of its own."""
    from pinnace_agent.adapters.filesystem import Directory
    from pinnace_agent.identity import new_state
    from pinnace_agent.store import Store

    store = Store(Directory(thief.store))
    store.open()
    store.save(new_state())


# --- what goes away ------------------------------------------------------------------------------------------------


def test_a_server_that_is_killed_in_mid_delivery_goes_on_where_it_was(
    fleet: Fleet, drafts: Drafts, tmp_path: Path
) -> None:
    server, camera = fleet
    padding = tmp_path / "table.bin"
    padding.write_bytes(os.urandom(24 * 1024 * 1024))
    draft = models.convert(
        tmp_path,
        "large",
        drafts.source,
        *("--calibration", str(drafts.calibration), "--asset", f"configuration:table={padding}"),
    )
    server.add_draft(draft, "3")
    server.assign("3", camera.id)

    def part_way() -> bool:
        found = server.model_on(camera.id)
        return bool(found and found["phase"] == "fetching" and _held(camera) > 1024 * 1024)

    until("it is fetching", part_way)
    server.kill()
    until("it notices", lambda: (camera.status() or {}).get("connected") is False)
    until("it serves", lambda: camera.answering(drafts.data.held[:1]))
    held = _held(camera)
    assert held > 0
    server.start()
    assert server.outcome(camera.id, "3")["outcome"] == "committed"
    runs(server, camera, "3", drafts.data.held[:1])


def _held(camera: Device) -> int:
    """Bytes of unfinished blobs that are really on the device's disk."""
    parts = list((camera.store / "parts").iterdir())
    return sum(len(path.read_bytes().replace(bytes(4096), b"")) for path in parts)


def test_a_broker_that_is_away_for_a_minute_costs_only_that_minute(
    tmp_path: Path, mosquitto: Mosquitto, device: Enrol, drafts: Drafts
) -> None:
    import time

    with running(tmp_path, "--broker", mosquitto.url) as server:
        server.call("POST", "/models", json={"name": "digits"})
        server.add_draft(drafts.first, "1")
        server.add_draft(drafts.second, "2")
        camera = device(server, "camera")
        server.assign("1", camera.id)
        assert server.outcome(camera.id, "1")["outcome"] == "committed"
        mosquitto.kill()
        gone_at = time.monotonic()
        server.assign("2", camera.id)
        asked = 0
        while time.monotonic() - gone_at < 60:
            asked += camera.answering(drafts.data.held[:1]) is not None
            time.sleep(0.5)
        assert asked > 60, "inference must not notice"
        waiting = (camera.status() or {})["reports_waiting"]
        assert waiting > 10
        mosquitto.start()
        assert server.outcome(camera.id, "2")["outcome"] == "committed"
        runs(server, camera, "2", drafts.data.held[:1])
        until("the spool is empty", lambda: (camera.status() or {}).get("reports_waiting", 99) < 5)
        assert _reported_inferences(server, camera) >= asked


def _reported_inferences(server: Server, camera: Device) -> int:
    points = server.call("GET", f"/devices/{camera.id}/latency")["points"]
    return sum(int(point["inferences"]) for point in points)


def test_a_killed_agent_comes_back_with_the_right_model_and_the_truth(fleet: Fleet, drafts: Drafts) -> None:
    server, camera = fleet
    server.assign("2", camera.id, trial={"mode": "live", "inferences": 1_000_000, "duration_s": 3600})
    digests = server.digests("2")
    until("the trial", lambda: camera.answering(drafts.data.held[:1]) in digests)
    camera.kill()
    until("the will", lambda: server.device(camera.id)["status"] != "online")
    camera.start()
    until("the trial goes on", lambda: camera.answering(drafts.data.held[:1]) in digests)
    until("the API says so", lambda: (server.model_on(camera.id) or {}).get("phase") == "trial")
    server.assign("1", camera.id)
    runs(server, camera, "1", drafts.data.held[:1])


def test_a_killed_worker_is_replaced_and_nobody_else_notices(fleet: Fleet, drafts: Drafts) -> None:
    server, camera = fleet
    assert camera.process is not None
    before = camera.process.pid
    for _ in range(3):
        (worker,) = camera.workers()
        os.kill(worker, signal.SIGKILL)
        until("another worker", lambda gone=worker: [pid for pid in camera.workers() if pid != gone])  # type: ignore[misc]
        runs(server, camera, "1", drafts.data.held[:1])
    assert camera.process.pid == before
    assert camera.process.poll() is None


def test_the_supervisor_never_loads_a_model(fleet: Fleet) -> None:
    _, camera = fleet
    assert camera.process is not None
    mapped = Path(f"/proc/{camera.process.pid}/maps").read_text()
    assert not [name for name in ("onnxruntime", "litert", "numpy", "tflite") if name in mapped]


# --- the server itself ---------------------------------------------------------------------------------------------


def test_everything_is_there_again_after_a_restart_of_the_server(fleet: Fleet, drafts: Drafts) -> None:
    server, camera = fleet
    receipts = server.receipts(device=camera.id)
    assert server.stop() == 0
    server.start()
    assert server.receipts(device=camera.id) == receipts
    until("the device is back", lambda: server.device(camera.id)["status"] == "online")
    server.assign("2", camera.id)
    assert server.outcome(camera.id, "2")["outcome"] == "committed"
    with sqlite3.connect(server.data / "pinnace.db") as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)


def test_a_first_release_that_fails_leaves_no_model_and_the_api_says_why(
    server: Server, device: Enrol, drafts: Drafts, tmp_path: Path
) -> None:
    """The right golden vectors with the wrong weights: what a mixed-up build looks like."""
    mixed = tmp_path / "mixed"
    shutil.copytree(drafts.first, mixed)
    shutil.copytree(drafts.second / "blobs", mixed / "blobs", dirs_exist_ok=True)
    draft = json.loads((drafts.first / "draft.json").read_text())
    draft["variants"] = json.loads((drafts.second / "draft.json").read_text())["variants"]
    (mixed / "draft.json").write_text(json.dumps(draft))
    server.call("POST", "/models", json={"name": "digits"})
    server.add_draft(mixed, "1")
    camera = device(server, "camera")
    said = server.cli("assign", "digits", "1", "--wait", expect=1)
    assert re.search(rf"^{camera.id} +failed +- +GOLDEN_MISMATCH ", said, re.MULTILINE)
    receipt = server.outcome(camera.id, "1")
    assert (receipt["outcome"], receipt["cause"]) == ("failed", "GOLDEN_MISMATCH")
    assert receipt["detail"] in said
    assert (server.model_on(camera.id) or {})["current"] is None
    assert camera.answering(drafts.data.held[:1]) is None
    until("the socket says why", lambda: "GOLDEN_MISMATCH" in _refusal(camera, drafts))


def _refusal(camera: Device, drafts: Drafts) -> str:
    try:
        camera.infer(drafts.data.held[:1])
    except Exception as error:
        return str(error)
    return ""


def test_a_newer_assignment_in_a_trial_goes_back_first_and_then_on(fleet: Fleet, drafts: Drafts) -> None:
    server, camera = fleet
    server.add_draft(drafts.first, "3")
    server.assign("2", camera.id, trial={"mode": "live", "inferences": 1_000_000, "duration_s": 3600})
    until("the trial", lambda: (server.model_on(camera.id) or {}).get("phase") == "trial")
    server.assign("3", camera.id)
    assert server.outcome(camera.id, "2")["outcome"] == "reverted"
    assert server.outcome(camera.id, "3")["outcome"] == "committed"
    runs(server, camera, "3", drafts.data.held[:1])


def test_a_commit_without_a_broker_is_told_when_it_is_back(
    tmp_path: Path, mosquitto: Mosquitto, device: Enrol, drafts: Drafts
) -> None:
    with running(tmp_path, "--broker", mosquitto.url) as server:
        server.call("POST", "/models", json={"name": "digits"})
        server.add_draft(drafts.first, "1")
        camera = device(server, "camera")
        terms = {"trial": {"mode": "live", "inferences": 40, "duration_s": 3600}, "contact": {"mode": "none"}}
        server.assign("1", camera.id, **terms)
        until("the trial", lambda: camera.answering(drafts.data.held[:1]))
        mosquitto.kill()
        for i in range(60):
            camera.infer(drafts.data.held[i : i + 1])
        until("it commits alone", lambda: (camera.status() or {}).get("receipts_waiting") == 1)
        camera.kill()
        camera.start()
        mosquitto.start()
        assert server.outcome(camera.id, "1")["outcome"] == "committed"
        runs(server, camera, "1", drafts.data.held[:1])
        until("it is acknowledged", lambda: (camera.status() or {}).get("receipts_waiting") == 0)
        assert len(server.receipts(device=camera.id)) == 1
