"""The onnxruntime adapter on small real graphs."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the environment of tflite-runtime has no onnx")
pytest.importorskip("onnxruntime", reason="the environment of tflite-runtime has no onnxruntime")

import onnx
from onnx import TensorProto, helper

from pinnace_contract.latest import Datatype, Graph, Processing, Runtime
from pinnace_runtime import adapters
from pinnace_runtime.adapters import LoadedModel
from pinnace_runtime.errors import ContractMismatch, LoadFailed, RunFailed, RuntimeMissing, StepUnsupported
from pinnace_runtime.pipeline import Pipeline
from tests.runtime.releases import FakeModel, release, spec, tensor


def save(path: Path, node: onnx.NodeProto, x: onnx.ValueInfoProto, y: onnx.ValueInfoProto) -> Path:
    graph = helper.make_graph([node], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def value(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


@pytest.fixture
def relu(tmp_path: Path) -> Path:
    x, y = value("x", TensorProto.FLOAT, "N", 2), value("y", TensorProto.FLOAT, "N", 2)
    return save(tmp_path / "relu.onnx", helper.make_node("Relu", ["x"], ["y"]), x, y)


def test_a_model_tells_its_tensors_and_answers(relu: Path) -> None:
    model: LoadedModel = adapters.load(Runtime.ONNX, relu)

    assert [(t.name, t.datatype, t.shape) for t in model.inputs] == [("x", Datatype.FP32, (-1, 2))]
    assert [(t.name, t.shape) for t in model.outputs] == [("y", (-1, 2))]
    assert model.version.startswith("onnxruntime ")
    assert model.run({"x": np.array([[-1, 2]], np.float32)})["y"].tolist() == [[0, 2]]


def test_this_device_says_that_it_runs_onnx() -> None:
    assert Runtime.ONNX in adapters.available()


@pytest.mark.parametrize("content", [b"", b"\x08\x07garbage", b"no model"])
def test_what_is_no_model_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(content)

    with pytest.raises(LoadFailed, match="onnxruntime does not load"):
        adapters.load(Runtime.ONNX, tmp_path / "m.onnx")


def test_tensors_of_text_are_refused(tmp_path: Path) -> None:
    x, y = value("x", TensorProto.STRING, 1), value("y", TensorProto.STRING, 1)
    path = save(tmp_path / "m.onnx", helper.make_node("Identity", ["x"], ["y"]), x, y)

    with pytest.raises(LoadFailed, match=r"tensor\(string\)"):
        adapters.load(Runtime.ONNX, path)


def test_a_model_that_asks_for_more_memory_than_there_is_fails_and_lives_on(tmp_path: Path) -> None:
    x, y = value("x", TensorProto.INT64, 1), value("y", TensorProto.FLOAT, "N")
    model = adapters.load(
        Runtime.ONNX, save(tmp_path / "m.onnx", helper.make_node("ConstantOfShape", ["x"], ["y"]), x, y)
    )

    with pytest.raises(RunFailed):
        model.run({"x": np.array([1 << 46])})
    assert model.run({"x": np.array([2])})["y"].tolist() == [0, 0]


def test_an_unknown_runtime_is_missing(relu: Path) -> None:
    with pytest.raises(RuntimeMissing, match="does not know"):
        adapters.load(Runtime.UNKNOWN, relu)


def test_a_graph_of_the_release_runs_as_a_step(relu: Path) -> None:
    of = release((spec("x", -1, 2),), (spec("z", -1, 2),), Processing(before=(Graph(asset="relu"),)))
    model = FakeModel((tensor("y", -1, 2),), (tensor("z", -1, 2),), lambda feeds: {"z": feeds["y"]})

    answer = Pipeline(of, of.variants[0], model, {"relu": relu}).infer({"x": np.array([[-1, 2]], np.float32)})

    assert answer["z"].tolist() == [[0, 2]]


def test_a_graph_that_wants_another_type_says_so(relu: Path) -> None:
    of = release(
        (spec("x", -1, 2, datatype=Datatype.UINT8),), (spec("z", -1, 2),), Processing(before=(Graph(asset="relu"),))
    )
    model = FakeModel((tensor("y", -1, 2),), (tensor("z", -1, 2),), lambda feeds: {"z": feeds["y"]})

    with pytest.raises(ContractMismatch, match="cast step before it"):
        Pipeline(of, of.variants[0], model, {"relu": relu}).infer({"x": np.array([[1, 2]], np.uint8)})


def test_a_graph_that_does_not_load_is_an_unsupported_step(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    of = release((spec("x", -1, 2),), (spec("z", -1, 2),), Processing(before=(Graph(asset="bad"),)))
    model = FakeModel((tensor("y", -1, 2),), (tensor("z", -1, 2),), lambda feeds: {"z": feeds["y"]})

    with pytest.raises(StepUnsupported, match="bad"):
        Pipeline(of, of.variants[0], model, {"bad": tmp_path / "bad.onnx"})
