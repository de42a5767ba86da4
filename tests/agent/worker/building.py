"""Releases on a disk, with real tiny ONNX files, ready for a worker."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pinnace_agent.adapters.worker_process import WorkerHost
from pinnace_agent.worker import events
from pinnace_agent.worker.hosting import HostSettings, Start
from pinnace_contract import codec
from pinnace_contract.ids import Digest, ModelName, ReleaseId, VersionName, digest_of
from pinnace_contract.latest import (
    Asset,
    Baseline,
    Blob,
    Chunk,
    ConfidenceBaseline,
    Datatype,
    FeatureBaseline,
    FeatureKind,
    Golden,
    IoContract,
    Precision,
    Processing,
    Release,
    Runtime,
    Scale,
    Softmax,
    TensorSpec,
    Tolerance,
    Variant,
)
from pinnace_runtime import golden

MODEL = ModelName("digits")
WEIGHTS = np.array([[1.0, -1.0, 2.0], [0.0, 0.5, -0.25], [-0.5, 0.5, 0.0], [0.25, 0.0, 1.0]], np.float32)
# Raw pixels 0..255 are scaled, the model multiplies, softmax makes shares.
STEPS = Processing(before=(Scale(tensor="x", factor=1 / 255),), after=(Softmax(tensor="y"),))
NO_STEPS = Processing()

ANSWER_S = 60.0  # to wait for an event: a limit for a broken test, not a time that anything should take

E = TypeVar("E")


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDisk:
    """A release as a device's store has it."""

    release: Release
    id: ReleaseId
    start: Start


def expected(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the linear release answers to raw rows."""
    scores = (rows / np.float32(255)) @ WEIGHTS
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: NDArray[np.float32] = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    return result


def linear(weights: NDArray[np.float32] = WEIGHTS) -> bytes:
    """``y = x W``, any batch."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return _file([node], ["batch", 4], ["batch", 3], [numpy_helper.from_array(weights, "w")])


def memory_bomb(values: int) -> bytes:
    """Asks for ``4 * values`` bytes at inference, whatever the input: the size comes from the data."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Mul", ["largest", "zero"], ["nothing"]),
        helper.make_node("Cast", ["nothing"], ["nothing_whole"], to=TensorProto.INT64),
        helper.make_node("Add", ["nothing_whole", "size"], ["shape"]),
        helper.make_node("Expand", ["ones", "shape"], ["huge"]),
        helper.make_node("ReduceMean", ["huge"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("Mul", ["scores", "mean"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(np.array([values], np.int64), "size"),
        numpy_helper.from_array(np.ones(1, np.float32), "ones"),
        numpy_helper.from_array(WEIGHTS, "w"),
    ]
    return _file(nodes, ["batch", 4], ["batch", 3], constants)


def endless() -> bytes:
    """Turns a loop for longer than any limit when the first value is 255, and is quick otherwise."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["carried", "carried_more"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1]),
        ],
        [numpy_helper.from_array(np.zeros(1, np.float32), "carried_more")],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("GreaterOrEqual", ["largest", "full"], ["endless"]),
        helper.make_node("Where", ["endless", "for_ever", "once"], ["trips"]),
        helper.make_node("Loop", ["trips", "", "start"], ["zero"], body=body),
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("Add", ["scores", "zero"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(1, np.float32), "full"),
        numpy_helper.from_array(np.array(2**60, np.int64), "for_ever"),
        numpy_helper.from_array(np.array(1, np.int64), "once"),
        numpy_helper.from_array(np.zeros(1, np.float32), "start"),
        numpy_helper.from_array(WEIGHTS, "w"),
    ]
    return _file(nodes, ["batch", 4], ["batch", 3], constants)


def fails_on_full() -> bytes:
    """Gathers outside the table when the first value is 255: a runtime error for one input."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["zero"], axis=0),
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("Add", ["scores", "zero"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.zeros(1, np.float32), "table"),
        numpy_helper.from_array(WEIGHTS, "w"),
    ]
    return _file(nodes, ["batch", 4], ["batch", 3], constants)


def copies() -> bytes:
    """``y = x``, any length."""
    return _file([helper.make_node("Identity", ["x"], ["y"])], ["n"], ["n"], [])


def _file(
    nodes: list[onnx.NodeProto], source: list[int | str], target: list[int | str], constants: list[onnx.TensorProto]
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, source)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, target)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


# --- a store ------------------------------------------------------------------------------------------------------

CONTRACT = IoContract(
    inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 4), unit="grey level 0..255"),),
    outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(-1, 3), classes=("zero", "one", "two")),),
)
BASELINE = Baseline(
    features=(
        FeatureBaseline(
            name="x0", kind=FeatureKind.ELEMENT, tensor="x", index=0, edges=(50.0, 150.0), shares=(0.3, 0.4, 0.3)
        ),
        FeatureBaseline(name="mean", kind=FeatureKind.MEAN, tensor="x", edges=(100.0,), shares=(0.5, 0.5)),
    ),
    confidence=ConfidenceBaseline(output="y", samples=100, threshold=0.5, share_below=0.1, bins=(0,) * 16),
)


def rows(n: int, seed: int = 1) -> NDArray[np.float32]:
    """Raw inputs below 200."""
    values: NDArray[np.float32] = np.random.default_rng(seed).integers(0, 200, (n, 4)).astype(np.float32)
    return values


def put_release(
    folder: Path,
    model_file: bytes,
    *,
    version: str = "1",
    runtime: Runtime = Runtime.ONNX,
    processing: Processing = STEPS,
    contract: IoContract = CONTRACT,
    vectors: tuple[NDArray[Any], NDArray[Any]] | None = None,
    baseline: Baseline | None = BASELINE,
    assets: Mapping[str, tuple[Asset, bytes]] | None = None,
    tolerance: float = 1e-4,
) -> OnDisk:
    """Write a release and its blobs."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[Digest, Path] = {}

    def put(content: bytes) -> Blob:
        blob = _blob(content)
        path = folder / blob.digest
        path.write_bytes(content)
        paths[blob.digest] = path
        return blob

    given, answers = vectors or (rows(8), expected(rows(8)))
    variant = Variant(blob=put(model_file), runtime=runtime, precision=Precision.FP32, peak_memory_bytes=2**20)
    release = Release(
        model=MODEL,
        version=VersionName(version),
        sequence=1,
        created_at_s=1,
        contract=contract,
        processing=processing,
        variants=(variant,),
        assets=tuple(replace(asset, blob=put(content)) for asset, content in (assets or {}).values()),
        golden=Golden(
            blob=put(golden.write({contract.inputs[0].name: given}, {contract.outputs[0].name: answers})),
            vectors=len(given),
            tolerances=(Tolerance(runtime=runtime, precision=Precision.FP32, max_abs=tolerance),),
        ),
        baseline=put(codec.to_json(baseline)) if baseline is not None else None,
    )
    content = codec.to_json(release)
    release_id = ReleaseId(digest_of(content))
    path = folder / f"{release_id}.json"
    path.write_bytes(content)
    start = Start(model=MODEL, release=release_id, release_path=path, variant=variant.digest, blobs=paths)
    return OnDisk(release=release, id=release_id, start=start)


def _blob(content: bytes) -> Blob:
    digest = digest_of(content)
    size = 64 * 1024
    pieces = [content[i : i + size] for i in range(0, len(content), size)]
    chunks = tuple(Chunk(digest=digest_of(piece), size_bytes=len(piece)) for piece in pieces)
    return Blob(digest=digest, size_bytes=len(content), chunks=chunks)


# --- a host -------------------------------------------------------------------------------------------------------


@dataclass
class Hosted:
    """A worker host and the events it has sent, in their order."""

    host: WorkerHost
    run_dir: Path
    arrived: queue.SimpleQueue[events.WorkerEvent]
    seen: list[events.WorkerEvent] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        return self.run_dir / f"{MODEL}.sock"

    def wait_for(self, kind: type[E], worker: events.WorkerRef | None = None) -> E:
        """The next event of this kind (of this worker); others are put into ``seen`` on the way."""
        while True:
            event = self.arrived.get(timeout=ANSWER_S)
            self.seen.append(event)
            if isinstance(event, events.HostFailed):
                raise AssertionError(event.detail)
            if isinstance(event, kind) and (worker is None or getattr(event, "worker", None) == worker):
                return event
            if isinstance(event, events.LoadFailed | events.WorkerExited) and worker in (None, event.worker):
                raise AssertionError(f"expected {kind.__name__}, found {event}")

    def loaded(self, on_disk: OnDisk) -> events.WorkerRef:
        """Start a worker and wait until its model is loaded."""
        worker = self.host.start(on_disk.start)
        self.wait_for(events.WorkerStarted, worker)
        return worker

    def serving(self, on_disk: OnDisk) -> events.WorkerRef:
        """Start a worker and let it answer the socket."""
        worker = self.loaded(on_disk)
        self.host.serve(worker)
        self.wait_for(events.NowServing, worker)
        return worker


def until_obeyed(made: Hosted) -> None:
    """Return when every order given so far has been carried out."""
    obeyed = threading.Event()
    made.host._ask(obeyed.set)
    if not obeyed.wait(ANSWER_S):
        raise AssertionError("the host's thread is stuck")


def hosted(run_dir: Path, settings: HostSettings | None = None) -> Hosted:
    """Start a host and make the model's socket."""
    arrived: queue.SimpleQueue[events.WorkerEvent] = queue.SimpleQueue()
    host = WorkerHost(settings or HostSettings(run_dir=run_dir), arrived.put)
    return Hosted(host=host, run_dir=run_dir, arrived=arrived)
