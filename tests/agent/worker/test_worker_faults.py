"""Workers that die, hang, eat memory or are lied about: each is an event, and the device goes on."""

from __future__ import annotations

import errno
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pinnace_agent.adapters.worker_process import STATEMENTS_MAX
from pinnace_agent.client import Client, ClientError, Unavailable
from pinnace_agent.worker import child, events, protocol
from pinnace_agent.worker.events import ExitCause, WorkerRef
from pinnace_contract.latest import Block, Cause
from tests.agent.worker.building import (
    ANSWER_S,
    MODEL,
    NO_STEPS,
    Hosted,
    OnDisk,
    endless,
    expected,
    linear,
    memory_bomb,
    put_release,
    rows,
    until_obeyed,
)

FULL = np.full((1, 4), 1, np.float32)


def pid_of(host: Hosted, worker: WorkerRef) -> int:
    return next(each.pid for each in host.host.status() if each.worker == worker)


def test_killed_worker_is_reported_clients_get_503_and_the_next_worker_answers(host: Hosted, release: OnDisk) -> None:
    worker = host.serving(release)
    with Client(host.run_dir) as client:
        client.infer(MODEL, {"x": rows(1)})
        os.kill(pid_of(host, worker), signal.SIGKILL)
        ended = host.wait_for(events.WorkerExited, worker)
        assert (ended.cause, ended.loaded, ended.served) == (ExitCause.CRASHED, True, True)
        assert "SIGKILL" in ended.detail
        with pytest.raises(Unavailable, match="the worker of digits has ended"):
            client.infer(MODEL, {"x": rows(1)})
        again = host.serving(release)
        assert again.id != worker.id
        np.testing.assert_allclose(client.infer(MODEL, {"x": rows(1)}).outputs["y"], expected(rows(1)), rtol=1e-5)


def test_shared_memory_client_survives_the_death_of_the_worker(host: Hosted, release: OnDisk) -> None:
    worker = host.serving(release)
    with Client(host.run_dir, shared_memory=True) as client:
        client.infer(MODEL, {"x": rows(1)})
        os.kill(pid_of(host, worker), signal.SIGKILL)
        host.wait_for(events.WorkerExited, worker)
        with pytest.raises(Unavailable):
            client.infer(MODEL, {"x": rows(1)})
        host.serving(release)
        assert client.infer(MODEL, {"x": rows(1)}).version == "1"


@pytest.mark.parametrize("orders_before", range(6))
def test_kill_at_any_step_of_its_life_is_one_event_and_the_next_start_works(
    host: Hosted, release: OnDisk, orders_before: int
) -> None:
    worker = host.host.start(release.start)
    steps: list[Callable[[], object]] = [
        lambda: None,  # while it is loading
        lambda: host.wait_for(events.WorkerStarted, worker),
        lambda: host.host.self_test(worker),
        lambda: host.wait_for(events.SelfTested, worker),
        lambda: host.host.serve(worker),
        lambda: host.wait_for(events.NowServing, worker),
    ]
    for step in steps[: orders_before + 1]:
        step()
    until_obeyed(host)
    os.kill(pid_of(host, worker), signal.SIGKILL)
    ended = host.wait_for(events.WorkerExited, worker)
    assert ended.cause is ExitCause.CRASHED
    host.serving(release)
    assert [type(event) for event in host.seen if getattr(event, "worker", None) == worker].count(
        events.WorkerExited
    ) == 1
    with Client(host.run_dir) as client:
        assert client.infer(MODEL, {"x": rows(1)}).release == release.id


def test_allocation_far_over_the_limit_ends_the_worker_as_memory_exceeded(
    host_with: Callable[..., Hosted], tmp_path: Path
) -> None:
    host = host_with(memory_bytes=300 * 2**20)
    bomb = put_release(tmp_path / "store", memory_bomb(2**31), processing=NO_STEPS)  # 8 GiB
    worker = host.serving(bomb)
    with Client(host.run_dir) as client, pytest.raises(ClientError):
        client.infer(MODEL, {"x": rows(1)})
    ended = host.wait_for(events.WorkerExited, worker)
    assert ended.cause is ExitCause.MEMORY_EXCEEDED
    assert "allocation failed" in ended.detail


def test_memory_that_grows_past_the_limit_bit_by_bit_is_found_by_the_watch(
    host_with: Callable[..., Hosted], release: OnDisk
) -> None:
    host = host_with(watch_every_s=0.02)
    worker = host.host.start(replace(release.start, memory_bytes=20 * 2**20))  # less than an interpreter with numpy
    ended = host.wait_for(events.WorkerExited, worker)
    assert ended.cause is ExitCause.MEMORY_EXCEEDED
    assert "its limit is 20 MiB" in ended.detail


def test_endless_inference_is_hung_and_its_client_is_told(host_with: Callable[..., Hosted], tmp_path: Path) -> None:
    host = host_with(hang_s=0.3, watch_every_s=0.05)
    worker = host.serving(put_release(tmp_path / "store", endless(), processing=NO_STEPS))
    with Client(host.run_dir) as client:
        client.infer(MODEL, {"x": np.zeros((1, 4), np.float32)})
        with pytest.raises(Unavailable, match="went away"):
            client.infer(MODEL, {"x": FULL})
    ended = host.wait_for(events.WorkerExited, worker)
    assert ended.cause is ExitCause.HUNG
    assert "one inference has been running for more than 0.3 s" in ended.detail


def test_stopped_process_is_hung(host_with: Callable[..., Hosted], release: OnDisk) -> None:
    host = host_with(hang_s=2.5, watch_every_s=0.1)
    worker = host.serving(release)
    os.kill(pid_of(host, worker), signal.SIGSTOP)
    ended = host.wait_for(events.WorkerExited, worker)
    assert ended.cause is ExitCause.HUNG
    assert "its loop has not turned" in ended.detail


def test_worker_that_does_not_finish_loading_is_hung(host_with: Callable[..., Hosted], release: OnDisk) -> None:
    host = host_with(load_s=0.0, watch_every_s=0.01)
    worker = host.host.start(release.start)
    ended = host.wait_for(events.WorkerExited, worker)
    assert (ended.cause, ended.loaded) == (ExitCause.HUNG, False)
    assert "had not loaded" in ended.detail


def test_worker_that_does_not_stop_is_killed_and_that_counts_as_ordered(
    host_with: Callable[..., Hosted], release: OnDisk
) -> None:
    host = host_with(stop_s=0.1, watch_every_s=0.02)
    worker = host.serving(release)
    os.kill(pid_of(host, worker), signal.SIGSTOP)
    host.host.stop(worker)
    ended = host.wait_for(events.WorkerExited, worker)
    assert ended.cause is ExitCause.ORDERED
    assert "had not ended" in ended.detail


def test_supervisor_may_kill_with_a_cause_of_its_own(host: Hosted, release: OnDisk) -> None:
    worker = host.serving(release)
    host.host.kill(worker, ExitCause.HUNG, "the self-test took too long")
    ended = host.wait_for(events.WorkerExited, worker)
    assert (ended.cause, ended.detail) == (ExitCause.HUNG, "the self-test took too long")


def test_missing_runtime_is_told_as_such(
    host: Hosted, release: OnDisk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('made for another processor')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    worker = host.host.start(release.start)
    failed = host.wait_for(events.LoadFailed, worker)
    assert failed.cause is Cause.NO_RUNTIME
    assert "made for another processor" in failed.detail


def test_last_words_of_a_worker_come_with_the_event(
    host: Hosted, release: OnDisk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "onnxruntime.py").write_text(
        "import os, sys\nsys.stderr.write('x' * 10_000 + 'the last \\x1b[31mwords')\nsys.stderr.flush()\nos.abort()"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    worker = host.host.start(release.start)
    ended = host.wait_for(events.WorkerExited, worker)
    assert (ended.cause, ended.loaded) == (ExitCause.CRASHED, False)
    assert ended.detail == "ended by SIGABRT"
    assert ended.log.endswith("the last ?[31mwords")
    assert len(ended.log) <= 4096


def test_end_of_a_worker_is_seen_where_the_kernel_has_no_descriptor_for_it(
    host_with: Callable[..., Hosted], release: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(pid: int) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", missing)
    host = host_with(watch_every_s=0.02)
    worker = host.serving(release)
    os.kill(pid_of(host, worker), signal.SIGKILL)
    assert host.wait_for(events.WorkerExited, worker).cause is ExitCause.CRASHED
    again = host.serving(release)
    host.host.stop(again)
    assert host.wait_for(events.WorkerExited, again).cause is ExitCause.ORDERED


def test_signals_of_a_service_manager_leave_the_end_to_the_supervisor(host: Hosted, release: OnDisk) -> None:
    worker = host.serving(release)
    os.kill(pid_of(host, worker), signal.SIGTERM)
    os.kill(pid_of(host, worker), signal.SIGINT)
    with Client(host.run_dir) as client:
        assert client.infer(MODEL, {"x": rows(1)}).version == "1"
    host.host.stop(worker)
    assert host.wait_for(events.WorkerExited, worker).cause is ExitCause.ORDERED


def test_worker_that_talks_without_end_is_ended(host_with: Callable[..., Hosted], release: OnDisk) -> None:
    host = host_with(watch_every_s=60.0)
    worker = host.serving(release)
    held = host.host._workers[worker.id].child
    counted = protocol.Counted(block=Block(model=MODEL, release=worker.release, variant=worker.variant))
    held.hear = lambda: [counted] * (STATEMENTS_MAX + 500)  # type: ignore[method-assign]  # a hostile file said it
    host.host.collect(worker)
    ended = host.wait_for(events.WorkerExited, worker)
    assert ended.cause is ExitCause.CRASHED
    assert f"more than {STATEMENTS_MAX} statements" in ended.detail
    assert sum(isinstance(each, events.Collected) for each in host.seen) <= STATEMENTS_MAX


def test_worker_may_say_whatever_it_is_asked_for(host_with: Callable[..., Hosted], release: OnDisk) -> None:
    host = host_with(watch_every_s=60.0)
    worker = host.loaded(release)
    for _ in range(STATEMENTS_MAX + 10):
        host.host.collect(worker)
        host.wait_for(events.Collected, worker)


def test_order_to_serve_after_the_order_to_stop_changes_nothing(host: Hosted, release: OnDisk) -> None:
    worker = host.serving(release)
    host.host.stop(worker)
    host.host.serve(worker)
    assert host.wait_for(events.WorkerExited, worker).cause is ExitCause.ORDERED


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"[" + b"[1]," * 900_000 + b"[1]]", id="a million lists"),
        pytest.param(b"[" + b'"ab",' * 800_000 + b'"ab"]', id="a million texts"),
        pytest.param(b"[" + b"0.5," * 1_000_000 + b"0.5]", id="a million numbers"),
        pytest.param(b"[" + b"0.5," * 4_000_000 + b"0.5]", id="more than is read"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="one list in another"),
    ],
)
def test_json_that_wants_much_memory_is_refused_and_the_worker_lives(
    host_with: Callable[..., Hosted], release: OnDisk, data: bytes
) -> None:
    host = host_with(memory_bytes=160 * 2**20, watch_every_s=0.02)
    worker = host.serving(release)
    body = b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":%s}]}' % data
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(host.socket))
        client.sendall(b"POST /v2/models/digits/infer HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 400")
    with Client(host.run_dir) as client_after:
        client_after.infer(MODEL, {"x": rows(1)})
    assert [each.worker for each in host.host.status()] == [worker]


def test_interpreter_that_cannot_be_started_is_a_failed_load(
    host: Hosted, release: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    worker = host.host.start(release.start)
    failed = host.wait_for(events.LoadFailed, worker)
    assert "could not be started" in failed.detail


def test_worker_dies_with_its_supervisor(release: OnDisk, run_dir: Path) -> None:
    program = """
import sys, queue, pickle
from tests.agent.worker.building import hosted, MODEL
from pathlib import Path
start = pickle.loads(sys.stdin.buffer.read())
made = hosted(Path(sys.argv[1]))
made.host.open(MODEL)
from pinnace_agent.worker import child, events
worker = made.host.start(start)
made.host.serve(worker)
made.wait_for(events.NowServing, worker)
print(made.host.status()[0].pid, flush=True)
sys.stdin = None
import time
time.sleep(600)
"""
    supervisor = subprocess.Popen(
        [sys.executable, "-c", program, str(run_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert supervisor.stdin is not None
    assert supervisor.stdout is not None
    supervisor.stdin.write(pickle.dumps(release.start))
    supervisor.stdin.close()
    worker_pid = int(supervisor.stdout.readline())
    ended = os.pidfd_open(worker_pid)
    supervisor.kill()
    supervisor.wait()
    assert select.select([ended], [], [], ANSWER_S)[0], "the worker lives on without its supervisor"
    os.close(ended)


def test_worker_inherits_nothing_but_what_it_needs(
    host: Hosted, release: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINNACE_SECRET", "hunter2")
    worker = host.serving(release)
    process = Path(f"/proc/{pid_of(host, worker)}")
    environment = dict(pair.partition(b"=")[::2] for pair in (process / "environ").read_bytes().split(b"\0") if pair)
    assert set(environment) <= {
        b"PYTHONPATH",
        b"LC_ALL",
        b"OPENBLAS_NUM_THREADS",
        b"OMP_NUM_THREADS",
        b"ORT_DISABLE_TELEMETRY",
    }
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Threads"].strip() == "1"
    limits = (process / "limits").read_text()
    assert " 0 " in next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert " 0 " in next(line for line in limits.splitlines() if line.startswith("Max processes"))
    assert "unlimited" not in next(line for line in limits.splitlines() if line.startswith("Max data size"))
    opened = {str(link.readlink()) for link in (process / "fd").iterdir()}
    kinds = {name.partition(":")[0] for name in opened}
    assert kinds <= {"/dev/null", "socket", "pipe", "anon_inode", "/memfd"}


def test_import_of_the_host_brings_no_numpy() -> None:
    program = "import sys; import pinnace_agent.adapters.worker_process, pinnace_agent.adapters.local_socket; " + (
        "print([m for m in ('numpy', 'asyncio', 'pinnace_runtime') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_resident_memory_of_a_process_that_is_gone_is_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert child.resident_bytes(gone.pid) == 0
    assert child.resident_bytes(os.getpid()) > 2**20


def test_model_that_fills_memory_while_it_loads_is_memory_exceeded(
    host_with: Callable[..., Hosted], tmp_path: Path
) -> None:
    weights = np.zeros((4, 3), np.float32)
    release = put_release(tmp_path / "store", linear(weights))
    host = host_with(watch_every_s=0.02, memory_bytes=30 * 2**20)
    worker = host.host.start(release.start)
    assert host.wait_for(events.WorkerExited, worker).cause is ExitCause.MEMORY_EXCEEDED
