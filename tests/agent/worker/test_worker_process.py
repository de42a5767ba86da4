"""The supervisor's side: every order and what comes of it, with real worker processes."""

from __future__ import annotations

from pinnace_agent.worker import events
from pinnace_agent.worker.events import ExitCause
from tests.agent.worker.building import Hosted, OnDisk


def test_worker_loads_tests_itself_serves_and_ends_in_order(host: Hosted, release: OnDisk) -> None:
    worker = host.host.start(release.start)
    started = host.wait_for(events.WorkerStarted, worker)
    assert started.runtime.startswith("onnxruntime ")
    assert started.peak_memory_bytes > 2**20
    host.host.self_test(worker)
    tested = host.wait_for(events.SelfTested, worker)
    assert tested.result.passed
    assert tested.result.vectors == 8
    host.host.serve(worker)
    host.wait_for(events.NowServing, worker)
    host.host.stop(worker)
    host.wait_for(events.Collected, worker)
    ended = host.wait_for(events.WorkerExited, worker)
    assert (ended.cause, ended.loaded, ended.served) == (ExitCause.ORDERED, True, True)
