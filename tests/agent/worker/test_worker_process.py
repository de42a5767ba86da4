"""The supervisor's side of workers that behave: orders, what comes of them, and swaps that nobody notices."""

from __future__ import annotations

import socket
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pinnace_agent.adapters.worker_process import LABEL_ORDERS_MAX, WorkerHost
from pinnace_agent.client import Client, NotReachable, Unavailable
from pinnace_agent.endpoint import SocketTrouble
from pinnace_agent.worker import events
from pinnace_agent.worker.events import ExitCause
from pinnace_agent.worker.hosting import HostSettings
from pinnace_agent.worker.protocol import Truth
from pinnace_contract.histogram import Histogram, unpack_varints
from pinnace_contract.ids import ModelName
from pinnace_contract.latest import Arm, Cause
from tests.agent.worker.building import (
    MODEL,
    WEIGHTS,
    Hosted,
    OnDisk,
    expected,
    fails_on_full,
    linear,
    put_release,
    rows,
    until_obeyed,
)

FULL = np.full((1, 4), 255, np.float32)


def test_worker_loads_tests_itself_serves_and_ends_in_order(host: Hosted, release: OnDisk) -> None:
    worker = host.host.start(release.start)
    started = host.wait_for(events.WorkerStarted, worker)
    assert started.runtime.startswith("onnxruntime ")
    assert started.peak_memory_bytes > 2**20
    host.host.self_test(worker)
    tested = host.wait_for(events.SelfTested, worker)
    assert tested.result.passed
    assert tested.result.vectors == 8
    assert Histogram.from_wire(tested.latency).n == 8
    host.host.serve(worker)
    host.wait_for(events.NowServing, worker)
    host.host.stop(worker)
    host.wait_for(events.Collected, worker)
    ended = host.wait_for(events.WorkerExited, worker)
    assert (ended.cause, ended.detail, ended.loaded, ended.served) == (ExitCause.ORDERED, "", True, True)


def test_orders_given_before_the_model_is_loaded_are_carried_out_after_it(host: Hosted, release: OnDisk) -> None:
    worker = host.host.start(release.start)
    host.host.self_test(worker)
    host.host.serve(worker)
    host.wait_for(events.WorkerStarted, worker)
    host.wait_for(events.SelfTested, worker)
    host.wait_for(events.NowServing, worker)


def test_wrong_answers_fail_the_golden_vectors(host: Hosted, tmp_path: Path) -> None:
    worker = host.loaded(put_release(tmp_path / "store", linear(-WEIGHTS)))
    host.host.self_test(worker)
    tested = host.wait_for(events.SelfTested, worker)
    assert not tested.result.passed
    assert tested.result.max_abs is not None
    assert tested.result.max_abs > 0.1


def test_a_vector_that_gets_no_answer_fails_the_golden_vectors_and_says_why(host: Hosted, tmp_path: Path) -> None:
    full = np.vstack([rows(3), FULL])
    worker = host.loaded(put_release(tmp_path / "store", fails_on_full(), vectors=(full, expected(full))))
    host.host.self_test(worker)
    tested = host.wait_for(events.SelfTested, worker)
    assert not tested.result.passed
    assert "onnxruntime failed" in tested.detail


def test_replays_go_through_the_vectors_in_turn_and_are_not_counted_as_live(host: Hosted, release: OnDisk) -> None:
    worker = host.serving(release)
    for n in (5, 5, 1):
        host.host.replay(worker, n)
        replayed = host.wait_for(events.VectorsReplayed, worker)
        assert (replayed.n, replayed.errors, replayed.result.passed) == (n, 0, True)
    host.host.collect(worker)
    assert host.wait_for(events.Collected, worker).block.n == 0


def test_block_counts_answers_errors_features_and_predictions(host: Hosted, tmp_path: Path) -> None:
    release = put_release(tmp_path / "store", fails_on_full())
    worker = host.serving(release)
    with Client(host.run_dir) as client:
        for i in range(5):
            client.infer(MODEL, {"x": rows(2, seed=i)})
        with pytest.raises(Exception, match="onnxruntime failed"):
            client.infer(MODEL, {"x": FULL})
        with pytest.raises(Exception, match="expected FP32"):
            client.infer(MODEL, {"x": np.zeros((1, 5), np.float32)})
    host.host.collect(worker)
    block = host.wait_for(events.Collected, worker).block
    assert (block.model, block.release, block.variant, block.arm) == (
        MODEL,
        release.id,
        release.start.variant,
        Arm.SERVING,
    )
    assert block.n == 6  # the caller's own mistake is no inference
    assert {error.name: error.n for error in block.errors} == {"runtime": 1, "bad_request": 1}
    assert Histogram.from_wire(block.latency).n == 5
    assert Histogram.from_wire(block.processing).n == 5
    assert block.predictions is not None
    assert block.predictions.n == 10
    assert sum(unpack_varints("classes", block.predictions.classes)) == 10
    assert sum(block.predictions.confidence) == 10
    assert block.features is not None
    assert release.release.baseline is not None
    assert block.features.baseline == release.release.baseline.digest
    assert sum(unpack_varints("features", block.features.counts)) == 2 * 10
    host.host.collect(worker)
    assert host.wait_for(events.Collected, worker).block.n == 0


def test_inferences_over_the_previous_p95_are_slow(host: Hosted, release: OnDisk) -> None:
    worker = host.serving(release)
    with Client(host.run_dir) as client:
        client.infer(MODEL, {"x": rows(1)})
        host.host.serve(worker, slow_over_s=0.0)
        host.wait_for(events.NowServing, worker)
        client.infer(MODEL, {"x": rows(1)})
    host.host.collect(worker)
    block = host.wait_for(events.Collected, worker).block
    assert (block.n, block.slow) == (2, 1)


def test_change_of_arm_hands_over_what_the_old_one_counted(host: Hosted, release: OnDisk) -> None:
    worker = host.loaded(release)
    host.host.serve(worker, arm=Arm.CANDIDATE)
    host.wait_for(events.NowServing, worker)
    with Client(host.run_dir) as client:
        client.infer(MODEL, {"x": rows(1)})
        host.host.serve(worker, arm=Arm.SERVING)
        before = host.wait_for(events.Collected, worker).block
        host.wait_for(events.NowServing, worker)
        client.infer(MODEL, {"x": rows(1)})
    host.host.collect(worker)
    after = host.wait_for(events.Collected, worker).block
    assert [(before.arm, before.n), (after.arm, after.n)] == [(Arm.CANDIDATE, 1), (Arm.SERVING, 1)]


def test_an_orderly_stop_hands_over_the_last_counts(host: Hosted, release: OnDisk) -> None:
    worker = host.serving(release)
    with Client(host.run_dir) as client:
        client.infer(MODEL, {"x": rows(3)})
        host.host.stop(worker)
        assert host.wait_for(events.Collected, worker).block.n == 1
        host.wait_for(events.WorkerExited, worker)


def test_swap_under_load_loses_no_request_and_every_answer_names_what_gave_it(
    host: Hosted, tmp_path: Path, release: OnDisk
) -> None:
    other = put_release(tmp_path / "other", linear(WEIGHTS * 2), version="2")
    old = host.serving(release)
    answers: list[str] = []
    problems: list[Exception] = []
    over = threading.Event()
    new_seen = threading.Event()

    def ask_all_the_time() -> None:
        with Client(host.run_dir) as client:
            while not over.is_set():
                try:
                    answers.append(client.infer(MODEL, {"x": rows(1)}).release)
                except Exception as problem:
                    problems.append(problem)
                    return
                if answers[-1] == other.id:
                    new_seen.set()

    applications = [threading.Thread(target=ask_all_the_time) for _ in range(4)]
    for application in applications:
        application.start()
    new = host.loaded(other)
    host.host.serve(new)
    serving = host.wait_for(events.NowServing, new)
    host.wait_for(events.StoppedServing, old)
    host.host.stop(old)
    host.wait_for(events.WorkerExited, old)
    assert new_seen.wait(timeout=60)
    over.set()
    for application in applications:
        application.join()
    assert problems == []
    assert serving.gap_ms == 0
    assert {release.id, other.id} == set(answers)


def test_stop_first_measures_the_gap_and_clients_are_told_to_come_back(
    host: Hosted, tmp_path: Path, release: OnDisk
) -> None:
    other = put_release(tmp_path / "other", linear(), version="2")
    old = host.serving(release)
    host.host.stop(old, "version 2 is being loaded", 3)
    host.wait_for(events.WorkerExited, old)
    with Client(host.run_dir) as client:
        with pytest.raises(Unavailable, match="version 2 is being loaded") as told:
            client.infer(MODEL, {"x": rows(1)})
        assert told.value.retry_after_s == 3
        new = host.loaded(other)
        host.host.serve(new)
        assert host.wait_for(events.NowServing, new).gap_ms > 0
        assert client.infer(MODEL, {"x": rows(1)}).version == "2"


def _flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "cause", "says"),
    [
        pytest.param(
            lambda d: _flip_a_byte(d.start.blobs[d.start.variant]),
            Cause.DIGEST_MISMATCH,
            "model file: expected SHA-256",
            id="one bit of the model is another",
        ),
        pytest.param(
            lambda d: d.start.blobs[d.start.variant].unlink(),
            Cause.STORAGE_ERROR,
            "No such file",
            id="the model is gone",
        ),
        pytest.param(
            lambda d: _flip_a_byte(d.start.release_path),
            Cause.DIGEST_MISMATCH,
            "release file: expected SHA-256",
            id="the release file is another",
        ),
        pytest.param(
            lambda d: _flip_a_byte(d.start.blobs[d.release.baseline.digest]),
            Cause.DIGEST_MISMATCH,
            "baseline: expected SHA-256",
            id="the baseline is another",
        ),
    ],
)
def test_file_that_is_not_as_signed_is_not_loaded(
    host: Hosted, release: OnDisk, spoil: Callable[[OnDisk], None], cause: Cause, says: str
) -> None:
    spoil(release)
    worker = host.host.start(release.start)
    found = host.wait_for(events.LoadFailed, worker)
    assert found.cause is cause
    assert says in found.detail


def test_file_that_the_runtime_refuses_is_load_failed(host: Hosted, tmp_path: Path) -> None:
    worker = host.host.start(put_release(tmp_path / "store", b"no model at all").start)
    found = host.wait_for(events.LoadFailed, worker)
    assert found.cause is Cause.LOAD_FAILED
    assert "onnxruntime does not load this model" in found.detail


def test_release_whose_tensors_do_not_fit_the_model_is_a_contract_mismatch(host: Hosted, tmp_path: Path) -> None:
    release = put_release(tmp_path / "store", linear())
    contract = release.release.contract
    wrong = replace(contract, inputs=(replace(contract.inputs[0], name="picture"),))
    worker = host.host.start(put_release(tmp_path / "wrong", linear(), contract=wrong).start)
    assert host.wait_for(events.LoadFailed, worker).cause is Cause.CONTRACT_MISMATCH


def test_model_that_has_no_worker_yet_is_503_and_one_without_socket_is_not_reachable(host: Hosted) -> None:
    with Client(host.run_dir) as client:
        with pytest.raises(Unavailable, match="digits has no model yet"):
            client.infer(MODEL, {"x": rows(1)})
        with pytest.raises(NotReachable, match=r"there is no socket .*other\.sock"):
            client.infer("other", {"x": rows(1)})


def test_closed_endpoint_leaves_no_socket_behind(host: Hosted) -> None:
    other = ModelName("other")
    host.host.open(other)
    assert (host.run_dir / "other.sock").is_socket()
    host.host.close_endpoint(other)
    until_obeyed(host)
    assert not (host.run_dir / "other.sock").exists()


def test_endpoint_that_is_opened_again_at_once_stays(host: Hosted) -> None:
    other = ModelName("other")
    host.host.open(other)
    host.host.close_endpoint(other)
    host.host.open(other, "it is back")
    until_obeyed(host)
    with Client(host.run_dir) as client, pytest.raises(Unavailable, match="it is back"):
        client.infer("other", {"x": rows(1)})


def test_stale_socket_is_replaced_and_is_for_owner_and_group_only(
    host_with: Callable[..., Hosted], run_dir: Path
) -> None:
    first = host_with()
    first.host.close()
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(first.socket))
    second = host_with()
    assert stat.S_IMODE(second.socket.stat().st_mode) == 0o660
    with Client(run_dir) as client, pytest.raises(Unavailable):
        client.infer(MODEL, {"x": rows(1)})


def test_file_in_the_way_of_a_socket_is_not_removed(host: Hosted) -> None:
    (host.run_dir / "other.sock").write_text("mine")
    with pytest.raises(SocketTrouble, match="expected a socket or nothing"):
        host.host.open(ModelName("other"))
    assert (host.run_dir / "other.sock").read_text() == "mine"


def test_run_directory_too_deep_for_a_socket_is_refused_with_its_length(run_dir: Path) -> None:
    deep = run_dir / ("d" * 100)
    deep.mkdir()
    host = WorkerHost(HostSettings(run_dir=deep), lambda event: None)
    try:
        with pytest.raises(SocketTrouble, match="choose a shorter run directory"):
            host.open(MODEL)
    finally:
        host.close()


def test_workers_are_looked_at_however_many_orders_come(run_dir: Path) -> None:
    looks = 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return time.monotonic()

    seen: list[int] = []
    flooded = threading.Event()
    host = WorkerHost(HostSettings(run_dir=run_dir), lambda _event: None, clock)

    def once_more() -> None:
        seen.append(looks)
        if len(seen) < 50:
            host._ask(once_more)
        else:
            flooded.set()

    host._ask(once_more)
    assert flooded.wait(60)
    host.close()
    assert seen[-1] - seen[0] >= 49


def test_labels_that_nobody_can_follow_are_dropped(host: Hosted) -> None:
    go_on = threading.Event()
    host.host._ask(go_on.wait)
    for _ in range(3 * LABEL_ORDERS_MAX):
        host.host.label(MODEL, (Truth(request="a-1-s1", correct=True),))
    waiting = host.host._orders.qsize()
    go_on.set()
    until_obeyed(host)
    assert waiting <= LABEL_ORDERS_MAX + 1
