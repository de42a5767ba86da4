"""A real agent process, a real broker and real workers, against a server that can do anything wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pinnace_agent.client import Client
from pinnace_contract import codec, topics
from pinnace_contract.ids import CommandId, DeviceId, Digest, IncarnationId, digest_of
from pinnace_contract.latest import (
    Cause,
    Command,
    CommandKind,
    ContactMode,
    ContactPolicy,
    Data,
    Entry,
    EvidenceKind,
    Outcome,
    Phase,
    Release,
    TrialPolicy,
    Window,
)
from tests.agent.repository import Side
from tests.agent.tiny_server import DEVICE, Agent, TinyServer, until
from tests.agent.worker import building
from tests.agent.worker.building import OnDisk
from tests.brokers import Mosquitto

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300, method="signal")]

DOUBLED = building.WEIGHTS * 2
LONG_TRIAL = TrialPolicy(inferences=1_000_000, duration_s=3600)
HELD_BY_WINDOW = Window(opens_s=4_000_000_000, closes_s=4_000_000_100)


@pytest.fixture
def server(mosquitto: Mosquitto) -> Iterator[TinyServer]:
    made = TinyServer(mosquitto.url)
    yield made
    made.close()


@pytest.fixture
def agent(tmp_path: Path, server: TinyServer, mosquitto: Mosquitto) -> Iterator[Agent]:
    made = Agent(tmp_path / "d", server, mosquitto.url)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()
    print(made.log)


def first(tmp_path: Path, server: TinyServer) -> Release:
    return server.add(building.put_release(tmp_path / "v1", building.linear()), sequence=1)


def second(tmp_path: Path, server: TinyServer, **changes: Any) -> Release:
    """Other weights, twice as large: a blob of its own, the same answers to the golden vectors' argmax."""
    weights = DOUBLED
    vectors = (building.rows(8), _expected(weights))
    made = building.put_release(tmp_path / "v2", building.linear(weights), version="2", vectors=vectors)
    return server.add(made, sequence=2, **changes)


def _expected(weights: Any) -> Any:
    import numpy as np

    scores = (building.rows(8) / np.float32(255)) @ weights
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def weights_of(release: Release) -> Digest:
    return release.variants[0].digest


def answering(agent: Agent) -> Digest | None:
    """The digest that answers inference now, by its own word."""
    try:
        with Client(agent.run_dir) as client:
            return Digest(client.infer("digits", {"x": building.rows(1)}).variant)
    except Exception:  # whatever it is, it is not an answer
        return None


def answers(agent: Agent, release: Release) -> None:
    until(f"version {release.version} answers", lambda: answering(agent) == weights_of(release))


def committed(agent: Agent, server: TinyServer, release: Release, generation: int = 1) -> None:
    """Bring a release to commit the plain way."""
    server.assign(generation, server.entry(release, generation))
    if agent.process is None:
        agent.start()
    receipt = server.wait_for_receipt(generation)
    assert receipt.outcome is Outcome.COMMITTED, receipt
    answers(agent, release)


def saved_phase(agent: Agent) -> str:
    slots = agent.state().get("slots", [])
    return slots[0].get("phase", "idle") if slots else "none"


# --- the road ------------------------------------------------------------------------------------------------------


def test_a_first_release_goes_all_the_way(agent: Agent, server: TinyServer, tmp_path: Path) -> None:
    release = first(tmp_path, server)
    committed(agent, server, release)
    receipt = server.wait_for_receipt(1)
    assert receipt.golden is not None
    assert receipt.golden.passed
    assert receipt.active is not None
    assert receipt.active.variant == weights_of(release)
    assert {each.phase for each in receipt.phases} >= {Phase.FETCHING, Phase.SELF_TEST, Phase.AWAITING_CONTACT}
    until("the receipt is acknowledged", lambda: agent.state().get("outbox", []) == [])
    until("reports arrive", lambda: [block for report in server.reports for block in report.blocks if block.n])
    assert agent.stop() == 0
    assert server.presence is not None
    until("it says goodbye", lambda: server.presence is not None and not server.presence.online)


def test_a_trial_with_live_inferences_says_so(agent: Agent, server: TinyServer, tmp_path: Path) -> None:
    release = first(tmp_path, server)
    server.assign(1, server.entry(release, 1, trial=TrialPolicy(inferences=20, duration_s=600)))
    agent.start()
    answers(agent, release)
    with Client(agent.run_dir) as client:
        for _ in range(30):
            client.infer("digits", {"x": building.rows(1)})
    receipt = server.wait_for_receipt(1)
    assert receipt.outcome is Outcome.COMMITTED
    assert receipt.evidence is not None
    assert receipt.evidence.kind is EvidenceKind.LIVE
    assert receipt.evidence.inferences >= 20
    assert receipt.latency is not None


def test_a_trial_without_traffic_says_that_its_evidence_is_synthetic(
    agent: Agent, server: TinyServer, tmp_path: Path
) -> None:
    server.assign(1, server.entry(first(tmp_path, server), 1, trial=TrialPolicy(inferences=10, duration_s=3)))
    agent.start()
    receipt = server.wait_for_receipt(1)
    assert receipt.outcome is Outcome.COMMITTED
    assert receipt.evidence is not None
    assert receipt.evidence.kind is EvidenceKind.SYNTHETIC


def test_the_supervisor_never_loads_a_model_or_a_runtime(agent: Agent, server: TinyServer, tmp_path: Path) -> None:
    release = first(tmp_path, server)
    committed(agent, server, release)
    assert agent.process is not None
    mapped = Path(f"/proc/{agent.process.pid}/maps").read_text()
    (worker,) = _workers(agent)
    assert "onnxruntime" in Path(f"/proc/{worker}/maps").read_text(), "the look at maps must be able to find it"
    assert not [name for name in ("onnx", "litert", "numpy", "tflite") if name in mapped]
    opened = [str(link.readlink()) for link in Path(f"/proc/{agent.process.pid}/fd").iterdir()]
    assert not [path for path in opened if weights_of(release) in path]


# --- what is wrong with what arrives -------------------------------------------------------------------------------


def test_a_blob_with_one_flipped_byte_never_runs(agent: Agent, server: TinyServer, tmp_path: Path) -> None:
    good, bad = first(tmp_path, server), second(tmp_path, server)
    committed(agent, server, good)

    def flip(data: Data) -> Data:
        if data.blob != weights_of(bad):
            return data
        return dataclasses.replace(data, payload=bytes([data.payload[0] ^ 1]) + data.payload[1:])

    server.spoil = flip
    server.assign(2, server.entry(bad, 2))
    receipt = server.wait_for_receipt(2)
    assert (receipt.outcome, receipt.cause) == (Outcome.FAILED, Cause.DIGEST_MISMATCH)
    assert "not what the signed release lists" in receipt.detail
    answers(agent, good)


def test_a_wrong_signature_changes_nothing_and_is_reported(agent: Agent, server: TinyServer, tmp_path: Path) -> None:
    good, other = first(tmp_path, server), second(tmp_path, server)
    committed(agent, server, good)
    server.assign(2, server.entry(other, 2), side=Side())
    until("the refusal", lambda: server.reported and server.reported.cause is Cause.SIGNATURE_INVALID)
    assert server.receipt(2) is None
    answers(agent, good)
    server.assign(3, server.entry(other, 3))
    assert server.wait_for_receipt(3).outcome is Outcome.COMMITTED
    until("the refusal is over", lambda: server.reported and server.reported.cause is Cause.NONE)


def test_a_release_that_only_the_director_signed_for_never_runs(
    agent: Agent, server: TinyServer, tmp_path: Path
) -> None:
    """The director's keys alone choose among what others signed; they cannot bring in anything new."""
    good, unlisted = first(tmp_path, server), second(tmp_path, server)
    committed(agent, server, good)
    entry = server.entry(unlisted, 2)
    forged = dataclasses.replace(unlisted, created_at_s=2)
    from pinnace_contract.ids import ReleaseId

    data = codec.to_json(forged)
    entry = dataclasses.replace(entry, release=ReleaseId(digest_of(data)), release_size_bytes=len(data))
    server.chunks[digest_of(data)] = [data]
    server.releases[ReleaseId(digest_of(data))] = forged  # for the director's targets; the image is not republished
    server.assign(2, entry)
    until("it is offered", lambda: server.reported and server.reported.models[0].phase is Phase.OFFERED)
    sent = server.sent_chunks
    server.assign(3, server.entry(unlisted, 3))
    assert server.wait_for_receipt(3).outcome is Outcome.COMMITTED
    assert server.sent_chunks > sent
    answers(agent, unlisted)


def test_another_devices_assignment_is_refused(agent: Agent, server: TinyServer, tmp_path: Path) -> None:
    good, other = first(tmp_path, server), second(tmp_path, server)
    committed(agent, server, good)
    server.assign(2, server.entry(other, 2), device=DeviceId("camera-08"))
    until("the refusal", lambda: server.reported and server.reported.cause is Cause.WRONG_DEVICE)
    assert server.reported is not None
    assert "camera-08" in server.reported.detail
    answers(agent, good)


def test_a_set_for_another_store_is_refused(agent: Agent, server: TinyServer, tmp_path: Path) -> None:
    server.assign(1, server.entry(first(tmp_path, server), 1), incarnation=IncarnationId("9" * 32))
    agent.start()
    until("the refusal", lambda: server.reported and server.reported.cause is Cause.WRONG_INCARNATION)


def test_an_older_generation_is_superseded_and_recorded(agent: Agent, server: TinyServer, tmp_path: Path) -> None:
    good, other = first(tmp_path, server), second(tmp_path, server)
    committed(agent, server, good, generation=7)
    server.assign(6, server.entry(other, 6))
    receipt = server.wait_for_receipt(6)
    assert (receipt.outcome, receipt.cause) == (Outcome.SUPERSEDED, Cause.GENERATION_SUPERSEDED)
    answers(agent, good)


def test_a_release_below_the_floor_is_rejected(agent: Agent, server: TinyServer, tmp_path: Path) -> None:
    made = building.put_release(tmp_path / "v1", building.linear())
    secure = server.add(made, sequence=1, epoch=2)
    committed(agent, server, secure)
    server.assign(2, server.entry(second(tmp_path, server, epoch=1), 2))
    receipt = server.wait_for_receipt(2)
    assert (receipt.outcome, receipt.cause) == (Outcome.REJECTED, Cause.BELOW_FLOOR)
    answers(agent, secure)


def test_garbage_on_every_topic_is_survived(agent: Agent, server: TinyServer, tmp_path: Path) -> None:
    good = first(tmp_path, server)
    committed(agent, server, good)
    for topic in (
        *(topics.DownTopic(device=DEVICE, channel=channel) for channel in topics.Down),
        topics.CommandTopic(device=DEVICE, command=CommandId("c")),
        topics.TimestampTopic(),
        topics.MetadataTopic(role="targets", version=99),
        topics.RootTopic(repository=topics.Repository.IMAGE, version=2),
    ):
        server.publish(topic, b"\x00garbage")
        server.publish(topic, b"")
    server.assign(2, server.entry(second(tmp_path, server), 2))
    assert server.wait_for_receipt(2).outcome is Outcome.COMMITTED


def test_a_command_with_a_wrong_signature_is_not_obeyed(agent: Agent, server: TinyServer, tmp_path: Path) -> None:
    committed(agent, server, first(tmp_path, server))
    incarnation = IncarnationId(agent.state()["incarnation"])
    restart = Command(
        device=DEVICE,
        incarnation=incarnation,
        command=CommandId("c-1"),
        kind=CommandKind.RESTART,
        expires_s=time.time() + 60,
    )
    stranger = TinyServer.__new__(TinyServer)
    stranger.message_key, stranger._client = server.message_key, server._client
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    stranger._key = Ed25519PrivateKey.generate()
    stranger.command(restart)
    until("it is refused", lambda: "is refused" in agent.log)
    server.command(restart)
    assert agent.process is not None
    assert agent.process.wait(60) == 75


# --- the model is bad ----------------------------------------------------------------------------------------------


def test_a_first_release_that_fails_leaves_no_model_and_says_why(
    agent: Agent, server: TinyServer, tmp_path: Path
) -> None:
    wrong = (building.rows(8), building.expected(building.rows(8))[:, ::-1].copy())
    made = building.put_release(tmp_path / "v1", building.linear(), vectors=wrong)
    server.assign(1, server.entry(server.add(made, sequence=1), 1))
    agent.start()
    receipt = server.wait_for_receipt(1)
    assert (receipt.outcome, receipt.cause) == (Outcome.FAILED, Cause.GOLDEN_MISMATCH)
    assert receipt.active is None
    until("the socket", lambda: (agent.run_dir / "digits.sock").exists())
    with Client(agent.run_dir) as client, pytest.raises(Exception, match="GOLDEN_MISMATCH"):
        client.infer("digits", {"x": building.rows(1)})


def test_a_model_that_fails_its_golden_vectors_never_serves(agent: Agent, server: TinyServer, tmp_path: Path) -> None:
    good = first(tmp_path, server)
    committed(agent, server, good)
    made = building.put_release(tmp_path / "v2", building.linear(DOUBLED[:, ::-1].copy()), version="2")
    server.assign(2, server.entry(server.add(made, sequence=2), 2))
    receipt = server.wait_for_receipt(2)
    assert (receipt.outcome, receipt.cause) == (Outcome.FAILED, Cause.GOLDEN_MISMATCH)
    answers(agent, good)


@pytest.mark.parametrize(
    ("model", "causes"),
    [
        (lambda: building.memory_bomb(2**30), {Cause.MEMORY_EXCEEDED, Cause.CRASHED}),
        (building.endless, {Cause.HUNG}),
        (building.fails_on_full, {Cause.ERROR_RATE}),
    ],
    ids=["eats memory", "hangs", "errors"],
)
def test_a_model_that_goes_wrong_under_load_is_put_back(
    agent: Agent, server: TinyServer, tmp_path: Path, model: Callable[[], bytes], causes: set[Cause]
) -> None:
    good = first(tmp_path, server)
    server.assign(1, server.entry(good, 1))
    agent.start("--hang-s", "1", "--worker-memory-bytes", str(512 * 1024 * 1024))
    assert server.wait_for_receipt(1).outcome is Outcome.COMMITTED
    content = model()
    if content == building.memory_bomb(2**30):
        content = _busy_bomb()
    made = building.put_release(tmp_path / "v2", content, version="2", processing=building.STEPS)
    server.assign(2, server.entry(server.add(made, sequence=2), 2, trial=LONG_TRIAL))
    until("the trial", lambda: saved_phase(agent) == "trial")
    until("the receipt", lambda: _load(agent) or server.receipt(2))
    receipt = server.wait_for_receipt(2)
    assert receipt.outcome is Outcome.REVERTED, receipt
    assert receipt.cause in causes, receipt
    answers(agent, good)


def _busy_bomb() -> bytes:
    """Eats memory only for an input of 255, so that its golden vectors pass."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Floor", ["largest"], ["full"]),
        helper.make_node("Cast", ["full"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Mul", ["whole", "size"], ["more"]),
        helper.make_node("Add", ["more", "one"], ["shape"]),
        helper.make_node("Expand", ["ones", "shape"], ["huge"]),
        helper.make_node("ReduceMean", ["huge"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("Mul", ["scores", "mean"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([2**30], np.int64), "size"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
        numpy_helper.from_array(np.ones(1, np.float32), "ones"),
        numpy_helper.from_array(building.WEIGHTS, "w"),
    ]
    return building._file(nodes, ["batch", 4], ["batch", 3], constants)


def _load(agent: Agent) -> None:
    """Send what a camera sends: mostly harmless, now and then a full value."""
    import numpy as np

    full = np.full((1, 4), 255, np.float32)
    for _ in range(10):
        with contextlib.suppress(Exception), Client(agent.run_dir) as client:
            client.infer("digits", {"x": full})


def test_a_damaged_release_file_of_what_is_committed_goes_back_to_the_last_good_one(
    agent: Agent, server: TinyServer, tmp_path: Path
) -> None:
    good, new = first(tmp_path, server), second(tmp_path, server)
    committed(agent, server, good)
    committed(agent, server, new, generation=2)
    agent.kill()
    path = agent.store / "releases" / f"{digest_of(codec.to_json(new))}.json"
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)
    agent.start()
    answers(agent, good)
    until("it is told", lambda: server.receipt(2, "reverted"))


# --- the disk, the broker, the other agent -------------------------------------------------------------------------


def test_a_full_disk_is_a_clear_error_and_loses_nothing(
    tmp_path: Path, server: TinyServer, mosquitto: Mosquitto
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    agent = Agent(small / "d", server, mosquitto.url)
    agent.log_path = tmp_path / "agent.log"
    try:
        good = first(tmp_path, server)
        committed(agent, server, good)
        made = building.put_release(tmp_path / "v2", building.linear(), version="2")
        padding = tmp_path / "v2" / "padding"
        padding.write_bytes(os.urandom(3 * 1024 * 1024))
        large = _with_asset(made, padding)
        server.assign(2, server.entry(server.add(large, sequence=2), 2))
        receipt = server.wait_for_receipt(2)
        assert (receipt.outcome, receipt.cause) == (Outcome.FAILED, Cause.NO_ROOM)
        assert "needs" in receipt.detail
        assert "has" in receipt.detail
        answers(agent, good)
        with contextlib.suppress(OSError), (small / "hog").open("wb", buffering=0) as hog:
            while True:
                hog.write(bytes(1024))
        server.assign(3, server.entry(second(tmp_path, server), 3))
        until("the trouble is told", lambda: server.reported and server.reported.cause is Cause.NO_ROOM)
        answers(agent, good)
        (small / "hog").unlink()
        assert server.wait_for_receipt(3).outcome is Outcome.COMMITTED
    finally:
        agent.stop()
        print(agent.log)
        subprocess.run(["umount", "-l", str(small)], check=False)


def _with_asset(made: OnDisk, path: Path) -> OnDisk:
    from pinnace_contract.latest import Asset, AssetKind

    blob = building._blob(path.read_bytes())
    asset = Asset(name="padding", kind=AssetKind.CONFIGURATION, blob=blob)
    start = dataclasses.replace(made.start, blobs={**made.start.blobs, blob.digest: path})
    return dataclasses.replace(made, release=dataclasses.replace(made.release, assets=(asset,)), start=start)


def test_a_broker_that_goes_away_in_mid_fetch_costs_only_time(
    agent: Agent, server: TinyServer, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    good = first(tmp_path, server)
    committed(agent, server, good)
    made = building.put_release(tmp_path / "v2", building.linear(), version="2")
    padding = tmp_path / "v2" / "padding"
    padding.write_bytes(os.urandom(2 * 1024 * 1024))
    large = _with_asset(made, padding)
    server.spoil = lambda data: None if data.index > 20 else data
    server.assign(2, server.entry(server.add(large, sequence=2), 2))
    until("it fetches", lambda: saved_phase(agent) == "fetching" and server.sent_chunks > 20)
    mosquitto.kill()
    until("it notices", lambda: (agent.status() or {}).get("connected") is False)
    answers(agent, good)
    server.spoil = lambda data: data
    before = server.sent_chunks
    mosquitto.start()
    assert server.wait_for_receipt(2).outcome is Outcome.COMMITTED
    chunks = sum(len(server.chunks[blob.digest]) for blob in large.release.blobs(large.release.variants[0]))
    assert server.sent_chunks - before < chunks, "it must go on where it was, not start again"


def test_a_commit_whose_receipt_was_not_sent_yet_is_told_once(
    agent: Agent, server: TinyServer, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    release = first(tmp_path, server)
    entry = server.entry(
        release, 1, trial=TrialPolicy(inferences=50, duration_s=3600), contact=ContactPolicy(mode=ContactMode.NONE)
    )
    server.assign(1, entry)
    agent.start()
    answers(agent, release)
    mosquitto.kill()
    with Client(agent.run_dir) as client:
        for _ in range(60):
            client.infer("digits", {"x": building.rows(1)})
    until("it commits alone", lambda: saved_phase(agent) == "idle" and agent.state().get("outbox"))
    agent.kill()
    mosquitto.start()
    agent.start()
    receipt = server.wait_for_receipt(1)
    assert receipt.outcome is Outcome.COMMITTED
    until("it is acknowledged", lambda: not agent.state().get("outbox"))
    assert len(server.receipts) == 1
    answers(agent, release)


def test_a_second_agent_on_the_same_store_is_refused(agent: Agent, server: TinyServer, tmp_path: Path) -> None:
    committed(agent, server, first(tmp_path, server))
    assert agent.process is not None
    command = [sys.executable, "-m", "pinnace_agent", "run", "--store", str(agent.store)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert f"process {agent.process.pid} already runs an agent" in refused.stderr


# --- kills and newer assignments, phase by phase -------------------------------------------------------------------

Hold = Callable[[TinyServer, Release], dict[str, Any]]


def _withhold(blob: Callable[[Release], Digest]) -> Hold:
    def hold(server: TinyServer, release: Release) -> dict[str, Any]:
        kept = blob(release)
        server.spoil = lambda data: None if data.blob == kept else data
        return {}

    return hold


def _release_file(release: Release) -> Digest:
    return digest_of(codec.to_json(release))


def _without_acks(server: TinyServer, release: Release) -> dict[str, Any]:
    server.acknowledging = False
    return {}


HOLDS: dict[Phase, Hold] = {
    Phase.OFFERED: _withhold(_release_file),
    Phase.FETCHING: _withhold(weights_of),
    Phase.VERIFYING: lambda _server, _release: {},
    Phase.STAGED: lambda _server, _release: {"window": HELD_BY_WINDOW},
    Phase.SELF_TEST: lambda _server, _release: {},
    Phase.TRIAL: lambda _server, _release: {"trial": LONG_TRIAL},
    Phase.AWAITING_CONTACT: _without_acks,
}


def _reach(agent: Agent, server: TinyServer, release: Release, phase: Phase) -> Entry:
    entry = dataclasses.replace(server.entry(release, 2), **HOLDS[phase](server, release))
    server.assign(2, entry)
    end = time.monotonic() + 60
    while saved_phase(agent) != phase:
        assert time.monotonic() < end, f"phase {phase} was never seen; it is {saved_phase(agent)}"
    return entry


@pytest.mark.parametrize("phase", HOLDS, ids=str)
def test_kill_9_of_the_agent_in_a_phase_is_survived(
    agent: Agent, server: TinyServer, tmp_path: Path, phase: Phase
) -> None:
    good, new = first(tmp_path, server), second(tmp_path, server)
    committed(agent, server, good)
    _reach(agent, server, new, phase)
    agent.kill()
    passing = phase in (Phase.VERIFYING, Phase.SELF_TEST)  # short: the kill may come a moment after it
    assert saved_phase(agent) == phase or passing
    server.spoil, server.acknowledging = (lambda data: data), True
    agent.start()
    if phase is Phase.STAGED:
        answers(agent, good)
        until("it is held again", lambda: (agent.status() or {})["models"]["digits"]["phase"] == "staged")
        server.assign(3, server.entry(new, 3))
        assert server.wait_for_receipt(3).outcome is Outcome.COMMITTED
    elif phase is Phase.TRIAL:
        answers(agent, new)
        assert saved_phase(agent) == "trial"
        server.assign(3, server.entry(good, 3, intent="rollback"))
        assert server.wait_for_receipt(2).outcome is Outcome.REVERTED
        answers(agent, good)
        return
    else:
        assert server.wait_for_receipt(2).outcome is Outcome.COMMITTED
    answers(agent, new)
    until("it tells the truth", lambda: server.reported and server.reported.models[0].current is not None)
    assert server.reported is not None
    assert server.reported.models[0].current is not None
    until(
        "what it reports is what answers",
        lambda: (
            server.reported
            and server.reported.models[0].current
            and server.reported.models[0].current.variant == weights_of(new)
        ),
    )


@pytest.mark.parametrize("phase", HOLDS, ids=str)
def test_a_newer_assignment_takes_over_in_a_phase(
    agent: Agent, server: TinyServer, tmp_path: Path, phase: Phase
) -> None:
    good, new = first(tmp_path, server), second(tmp_path, server)
    weights = building.WEIGHTS * 3
    vectors = (building.rows(8), _expected(weights))
    made = building.put_release(tmp_path / "v3", building.linear(weights), version="3", vectors=vectors)
    newest = server.add(made, sequence=3)
    committed(agent, server, good)
    _reach(agent, server, new, phase)
    server.spoil, server.acknowledging = (lambda data: data), True
    server.assign(3, server.entry(newest, 3))
    assert server.wait_for_receipt(3).outcome is Outcome.COMMITTED
    answers(agent, newest)
    interrupted = server.wait_for_receipt(2)
    serving = phase in (Phase.TRIAL, Phase.AWAITING_CONTACT)
    expected = {Outcome.REVERTED} if serving else {Outcome.SUPERSEDED}
    if phase in (Phase.VERIFYING, Phase.SELF_TEST):
        expected |= {Outcome.REVERTED, Outcome.COMMITTED}  # it may have gone on before the newer one came
    if phase is Phase.AWAITING_CONTACT:
        expected |= {Outcome.COMMITTED}  # contact may come first
    assert interrupted.outcome in expected, interrupted


@pytest.mark.parametrize("phase", [Phase.IDLE, Phase.STAGED, Phase.TRIAL], ids=str)
def test_kill_9_of_the_worker_at_any_time_is_survived(
    agent: Agent, server: TinyServer, tmp_path: Path, phase: Phase
) -> None:
    good, new = first(tmp_path, server), second(tmp_path, server)
    committed(agent, server, good)
    serving = good
    if phase is not Phase.IDLE:
        _reach(agent, server, new, phase)
        serving = new if phase is Phase.TRIAL else good
        answers(agent, serving)
    for _ in range(2):
        (pid,) = until("one worker", lambda: _workers(agent) if len(_workers(agent)) == 1 else None)
        os.kill(pid, signal.SIGKILL)
        until("another worker", lambda pid=pid: [each for each in _workers(agent) if each != pid])  # type: ignore[misc]
        answers(agent, serving)
    assert saved_phase(agent) == phase


def _workers(agent: Agent) -> list[int]:
    assert agent.process is not None
    children = Path(f"/proc/{agent.process.pid}/task/{agent.process.pid}/children")
    threads = Path(f"/proc/{agent.process.pid}/task").iterdir()
    found = [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]
    assert children.exists()
    return [pid for pid in found if Path(f"/proc/{pid}").exists()]
