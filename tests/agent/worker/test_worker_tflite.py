"""A ``.tflite`` release goes the same road; and a file that kills its runtime kills a worker, not the agent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pinnace_agent.client import Client
from pinnace_agent.worker import events
from pinnace_agent.worker.events import ExitCause
from pinnace_contract.latest import Datatype, IoContract, Runtime, TensorSpec
from tests.agent.worker.building import ANSWER_S, MODEL, NO_STEPS, Hosted, linear, put_release, rows
from tests.needs import need_module
from tests.runtime.tflite_writer import BIAS, DATA, WEIGHTS

CONTRACT = IoContract(
    inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 4)),),
    outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(-1, 3)),),
)
ASKED = rows(4) / np.float32(200)
EXPECTED = (ASKED @ WEIGHTS.T + BIAS).astype(np.float32)


@pytest.fixture(autouse=True)
def _litert() -> None:
    need_module("ai_edge_litert")


@pytest.mark.parametrize(("file", "tolerance"), [("linear_fp32.tflite", 1e-5), ("linear_int8.tflite", 0.1)])
def test_tflite_release_is_tested_and_served(host: Hosted, tmp_path: Path, file: str, tolerance: float) -> None:
    release = put_release(
        tmp_path / "store",
        (DATA / file).read_bytes(),
        runtime=Runtime.TFLITE,
        contract=CONTRACT,
        processing=NO_STEPS,
        vectors=(ASKED, EXPECTED),
        tolerance=tolerance,
    )
    worker = host.serving(release)
    host.host.self_test(worker)
    assert host.wait_for(events.SelfTested, worker).result.passed
    with Client(host.run_dir) as client:
        answer = client.infer(MODEL, {"x": ASKED})
        assert client.metadata(MODEL)["platform"] == "tensorflow_tflite"
    np.testing.assert_allclose(answer.outputs["y"], EXPECTED, atol=tolerance)
    assert answer.variant == release.start.variant


def test_file_that_kills_its_runtime_ends_a_worker_and_the_host_goes_on(host: Hosted, tmp_path: Path) -> None:
    killer = put_release(
        tmp_path / "killer",
        (DATA / "endless.tflite").read_bytes(),
        runtime=Runtime.TFLITE,
        contract=CONTRACT,
        processing=NO_STEPS,
        vectors=(ASKED, EXPECTED),
    )
    worker = host.host.start(killer.start)
    last = host.arrived.get(timeout=ANSWER_S)
    assert isinstance(last, events.WorkerExited)
    assert (last.worker, last.cause, last.loaded) == (worker, ExitCause.CRASHED, False)
    assert "SIGSEGV" in last.detail
    good = put_release(tmp_path / "good", linear())
    host.serving(good)
