"""What the agent costs on a device: memory, the way to an answer, imports, and the time from assignment to commit.

Times of inference are those of the worker's path less those of the bare runtime, asked in turn in one run with the same
150 KB tensor. Memory is PSS as the kernel counts it; ``*_alone`` is what it would be if no other Python were running.
Needs mosquitto, and the server for the last figure.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import figures
import numpy as np
from figures import Figure
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pinnace_agent.client import Client  # noqa: E402  # the tests' building blocks are found from the root alone
from pinnace_agent.worker import events  # noqa: E402
from pinnace_contract.latest import (  # noqa: E402
    ArmMode,
    Arms,
    Baseline,
    ConfidenceBaseline,
    ContactMode,
    ContactPolicy,
    Datatype,
    FeatureBaseline,
    FeatureKind,
    Intent,
    IoContract,
    Runtime,
    TensorSpec,
)
from pinnace_runtime import adapters  # noqa: E402
from tests.agent.tiny_server import Agent, TinyServer, until  # noqa: E402
from tests.agent.worker import building  # noqa: E402
from tests.agent.worker.building import MODEL, OnDisk  # noqa: E402
from tests.brokers import running_mosquitto  # noqa: E402
from tests.needs import need  # noqa: E402

PIXELS = (3, 112, 112)  # 150,528 bytes as float32
CLASSES = 10
DEVICES = 5
SETTLED_S = 3.0  # for what an agent does after a commit to be over before its memory is read
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Measure and print."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a device has its byte code; compiling costs memory that stays
    parts = {each.__name__: each for each in (imports, memory, overheads, hops, switches, assignments)}
    figures.measure("agent", parts, figures.arguments(__doc__ or "", parts))


# --- imports --------------------------------------------------------------------------------------------------------


def imports(quick: bool) -> Iterator[Figure]:
    """How long a fresh interpreter takes to import each process's code; the median."""
    for name, modules in (
        ("import_supervisor", "pinnace_agent.cli, pinnace_agent.bootstrap"),
        ("import_worker", "pinnace_agent.worker.loop"),
        ("import_client", "pinnace_agent.client"),
    ):
        times = [_import_s(modules) - _import_s("sys") for _ in range(3 if quick else 11)]
        yield Figure(figure=name, value=round(float(np.median(times)), 3), unit="s")


def _import_s(modules: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
    return time.perf_counter() - began


# --- memory ---------------------------------------------------------------------------------------------------------


def memory(_quick: bool) -> Iterator[Figure]:
    """PSS of a real agent: alone before it has a model, then with one idle worker, for each runtime."""
    with tempfile.TemporaryDirectory(prefix="pb-") as folder:
        for name, aim, release in (
            ("agent_pss_onnx", "<= 95", building.put_release(Path(folder) / "onnx", building.linear())),
            ("agent_pss_litert", "<= 75", _tflite_release(Path(folder) / "tflite")),
        ):
            with _agent(Path(folder) / name) as (agent, server):
                pid = _pid(agent)
                time.sleep(SETTLED_S)
                if name == "agent_pss_onnx":
                    yield Figure(figure="supervisor_pss", value=_pss_mib([pid]), unit="MiB", aim="<= 42")
                    yield Figure(figure="supervisor_alone", value=_alone_mib([pid]), unit="MiB")
                _commit(agent, server, release)
                time.sleep(SETTLED_S)
                pids = [pid, *_children(pid)]
                yield Figure(figure=name, value=_pss_mib(pids), unit="MiB", aim=aim)
                yield Figure(figure=f"{name.replace('_pss', '')}_alone", value=_alone_mib(pids), unit="MiB")


@contextlib.contextmanager
def _agent(folder: Path) -> Iterator[tuple[Agent, TinyServer]]:
    run_dir = Path(tempfile.mkdtemp(prefix="pb-"))
    folder.mkdir()
    with running_mosquitto(need("mosquitto"), folder / "broker") as broker:
        server = TinyServer(broker.url)
        agent = Agent(folder / "device", server, broker.url)
        agent.run_dir = run_dir
        try:
            agent.start()
            until("the agent runs", agent.status)
            yield agent, server
        finally:
            agent.stop()
            server.close()
            shutil.rmtree(run_dir)


def _commit(agent: Agent, server: TinyServer, on_disk: OnDisk) -> None:
    release = server.add(on_disk, sequence=1)
    server.assign(1, server.entry(release, 1))
    receipt = server.wait_for_receipt(1)
    if receipt.outcome != "committed":
        raise RuntimeError(f"expected a commit, found {receipt}")
    with Client(agent.run_dir) as client:
        client.metadata(MODEL)


def _tflite_release(folder: Path) -> OnDisk:
    from tests.runtime.tflite_writer import BIAS, DATA, WEIGHTS

    contract = IoContract(
        inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 4)),),
        outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(-1, 3)),),
    )
    asked = building.rows(4) / np.float32(255)
    return building.put_release(
        folder,
        (DATA / "linear_fp32.tflite").read_bytes(),
        runtime=Runtime.TFLITE,
        contract=contract,
        processing=building.NO_STEPS,
        vectors=(asked, (asked @ WEIGHTS.T + BIAS).astype(np.float32)),
    )


def _pid(agent: Agent) -> int:
    if agent.process is None:
        raise RuntimeError("the agent does not run")
    return agent.process.pid


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]


def _pss_mib(pids: list[int]) -> float:
    """The kernel's own figure."""
    total_kib = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total_kib += int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return round(total_kib / 1024, 1)


def _alone_mib(pids: list[int]) -> float:
    """Each page that one of them has in RAM, once: their PSS if nobody else shared libraries with them. Needs root."""
    pages: set[int] = set()
    private = 0
    for pid in pids:
        with Path(f"/proc/{pid}/pagemap").open("rb") as pagemap:
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                if line.endswith(("[vsyscall]", "[vvar]", "[vdso]", "[vvar_vclock]")):
                    continue
                begin, end = (int(each, 16) for each in line.split()[0].split("-"))
                pagemap.seek(begin // PAGE_BYTES * 8)
                entries = pagemap.read((end - begin) // PAGE_BYTES * 8)
                for (entry,) in struct.iter_unpack("<Q", entries):
                    if entry >> 63:
                        frame = entry & (1 << 55) - 1
                        private += frame == 0  # the kernel hides frames from those without the right to see them
                        pages.add(frame)
    if private:
        return float("nan")
    return round(len(pages) * PAGE_BYTES / 2**20, 1)


# --- overhead -------------------------------------------------------------------------------------------------------


def overheads(quick: bool) -> Iterator[Figure]:
    """p50 of an answer over HTTP and through shared memory, less p50 of the bare runtime; all asked in turn."""
    rounds, each = (10, 100) if quick else (60, 200)
    asked = np.random.default_rng(1).random((1, *PIXELS), dtype=np.float32)
    folder = Path(tempfile.mkdtemp(prefix="pb-"))
    made = building.hosted(folder)
    made.host.open(MODEL)
    try:
        release = _image_release(folder, asked)
        made.serving(release)
        bare = adapters.load(Runtime.ONNX, release.start.blobs[release.start.variant])
        with Client(folder) as sent, Client(folder, shared_memory=True) as shared:
            times = _in_turn(
                {
                    "bare": lambda: bare.run({"x": asked}),
                    "uds_http": lambda: sent.infer(MODEL, {"x": asked}),
                    "shm": lambda: shared.infer(MODEL, {"x": asked}),
                },
                rounds,
                each,
            )
    finally:
        made.host.close()
        shutil.rmtree(folder)
    bare_us = float(np.percentile(times["bare"], 50))
    yield Figure(figure="bare_runtime_p50", value=round(bare_us, 1), unit="us")
    for path, aim in (("uds_http", "<= 250"), ("shm", "<= 100")):
        for share, limit in ((50, aim), (95, "")):
            value = float(np.percentile(times[path], share)) - float(np.percentile(times["bare"], share))
            yield Figure(figure=f"overhead_{path}_p{share}", value=round(value, 1), unit="us", aim=limit)


def _in_turn(paths: dict[str, Callable[[], object]], rounds: int, each: int) -> dict[str, NDArray[np.float64]]:
    """Ask each path for a while, again and again, so that a busy moment of the machine meets all of them."""
    times: dict[str, list[float]] = {name: [] for name in paths}
    for path in paths.values():
        for _ in range(20):
            path()
    for _ in range(rounds):
        for name, path in paths.items():
            for _ in range(each):
                began = time.perf_counter_ns()
                path()
                times[name].append((time.perf_counter_ns() - began) / 1000)
    return {name: np.array(found) for name, found in times.items()}


def _image_release(folder: Path, asked: NDArray[np.float32], version: str = "1") -> OnDisk:
    """An image of 150 KB in, scores out, and a baseline, so that all is counted that is counted in the field."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "w"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["y"]),
    ]
    weights = np.linspace(-1, 1, PIXELS[0] * CLASSES, dtype=np.float32).reshape(PIXELS[0], CLASSES)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *PIXELS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    contract = IoContract(
        inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, *PIXELS)),),
        outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(-1, CLASSES)),),
    )
    kinds = (FeatureKind.MEAN, FeatureKind.STD, FeatureKind.MINIMUM, FeatureKind.MAXIMUM, FeatureKind.GRADIENT)
    baseline = Baseline(
        features=tuple(
            FeatureBaseline(name=kind, kind=kind, tensor="x", edges=(0.25, 0.5, 0.75), shares=(0.25,) * 4)
            for kind in kinds
        ),
        confidence=ConfidenceBaseline(output="y", samples=100, threshold=0.1, share_below=0.1, bins=(0,) * 16),
    )
    on_disk = building.put_release(
        folder / "store",
        bytes(model.SerializeToString()),
        version=version,
        contract=contract,
        processing=building.NO_STEPS,
        vectors=(asked, np.zeros((1, CLASSES), np.float32)),
        baseline=baseline,
    )
    return replace(on_disk)


# --- the hop of a split ---------------------------------------------------------------------------------------------


def hops(quick: bool) -> Iterator[Figure]:
    """What an answer of the arm that does not hold the socket takes, beside one of the arm that does; the medians.

    Both arms have the same model; a request that is asked on is told by the release that its answer names.
    """
    rounds, each = (10, 100) if quick else (60, 200)
    asked = np.random.default_rng(1).random((1, *PIXELS), dtype=np.float32)
    folder = Path(tempfile.mkdtemp(prefix="pb-"))
    made = building.hosted(folder)
    made.host.open(MODEL)
    try:
        front = made.serving(_image_release(folder / "front", asked))
        beside = made.loaded(_image_release(folder / "beside", asked, version="2"))
        made.host.split(front, beside, control_percent=50, beside_is_control=False)
        made.wait_for(events.NowAnswering, beside)
        with Client(folder) as sent, Client(folder, shared_memory=True) as shared:
            times: dict[tuple[str, str], list[float]] = {}

            def ask(path: str, client: Client) -> None:
                began = time.perf_counter_ns()
                answer = client.infer(MODEL, {"x": asked})
                times.setdefault((path, answer.release), []).append((time.perf_counter_ns() - began) / 1000)

            _in_turn({"uds_http": lambda: ask("uds_http", sent), "shm": lambda: ask("shm", shared)}, rounds, each)
    finally:
        made.host.close()
        shutil.rmtree(folder)
    for path in ("uds_http", "shm"):
        own, on = (float(np.percentile(times[path, worker.release], 50)) for worker in (front, beside))
        yield Figure(figure=f"ab_hop_{path}_p50", value=round(on - own, 1), unit="us")
        yield Figure(figure=f"ab_hop_{path}_over_own", value=round(on / own, 2), unit="ratio", aim="<= 2.5")


# --- blue and green -------------------------------------------------------------------------------------------------


def switches(quick: bool) -> Iterator[Figure]:
    """How long a switch between two loaded releases takes, there and back, as receipts say; the medians.

    From the decision, which is saved first, until the other worker answers the model's socket.
    """
    there, back = [], []
    with tempfile.TemporaryDirectory(prefix="pb-") as name, _agent(Path(name) / "switches") as (agent, server):
        blue_on_disk = building.put_release(Path(name) / "blue", building.linear())
        turned = building.linear(building.WEIGHTS[:, ::-1].copy())
        green_on_disk = building.put_release(Path(name) / "green", turned, version="2", vectors=_turned())
        _commit(agent, server, blue_on_disk)
        (blue,) = server.releases.values()
        green = server.add(green_on_disk, sequence=2)
        pair = Arms(
            mode=ArmMode.BLUE_GREEN,
            control=next(iter(server.releases)),
            share_percent=100,
            until_s=int(time.time()) + 3_600,
            duration_s=3_600,
        )
        generation = 1
        for _ in range(5 if quick else 50):
            entries = (
                server.entry(green, generation + 1, arms=pair, contact=ContactPolicy(mode=ContactMode.NONE)),
                server.entry(
                    blue,
                    generation + 2,
                    intent=Intent.ROLLBACK,
                    contact=ContactPolicy(mode=ContactMode.NONE),
                ),
            )
            for entry, times in zip(entries, (there, back), strict=True):
                generation += 1
                server.assign(generation, entry)
                receipt = server.wait_for_receipt(generation)
                if receipt.outcome != "committed" or receipt.switch_ms is None:
                    raise RuntimeError(f"expected a switch between loaded releases, found {receipt}")
                times.append(receipt.switch_ms)
    for figure, times in (("blue_green_switch_ms", there), ("blue_green_switch_back_ms", back)):
        yield Figure(figure=figure, value=round(float(np.median(times)), 2), unit="ms")


def _turned() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The golden vectors of a release whose outputs stand in the other order."""
    asked = building.rows(4)
    return asked, building.expected(asked)[:, ::-1].copy()


# --- from assignment to commit --------------------------------------------------------------------------------------


def assignments(quick: bool) -> Iterator[Figure]:
    """From the call to assign until the server has the last of five devices' signed receipts; the median of rounds.

    Real server, broker, agents and workers, all on this machine; the digits of scikit-learn; ``trial: none``.
    """
    from tests.e2e import models
    from tests.e2e.fleet import Device, running

    need("mosquitto")
    with (
        tempfile.TemporaryDirectory(prefix="pb-") as name,
        contextlib.redirect_stdout(sys.stderr),  # where the server's log is shown; figures have stdout to themselves
        running(Path(name)) as server,
    ):
        folder = Path(name)
        data = models.digits()
        calibration, held_out = models.save_data(folder, data)
        options = ("--calibration", str(calibration), "--heldout", str(held_out))
        drafts = []
        for made, ridge in (("first", 1.0), ("second", 40.0)):
            (folder / f"{made}.onnx").write_bytes(models.linear(data, ridge))
            drafts.append(models.convert(folder, made, folder / f"{made}.onnx", *options))
        server.call("POST", "/models", json={"name": "digits"})
        devices = [Device(folder, server, f"camera-{i}") for i in range(DEVICES)]
        try:
            for device in devices:
                device.enroll()
                device.start()
            times = []
            for number in range(1, (2 if quick else 6) + 1):
                version = str(number)
                server.add_draft(drafts[number % 2], version)
                began = time.perf_counter()
                server.assign(version, *(device.id for device in devices))
                outcomes = [server.outcome(device.id, version)["outcome"] for device in devices]
                times.append(time.perf_counter() - began)
                if outcomes != ["committed"] * DEVICES:
                    raise RuntimeError(f"expected five commits, found {outcomes}")
        finally:
            for device in devices:
                device.stop()
    # The first release is fetched with nothing to serve meanwhile; what an update takes is the others' figure.
    yield Figure(figure="assign_to_commit_first", value=round(times[0], 2), unit="s")
    yield Figure(
        figure="assign_to_commit_trial_none", value=round(float(np.median(times[1:])), 2), unit="s", aim="<= 5"
    )


if __name__ == "__main__":
    main()
