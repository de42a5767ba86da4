"""The TFLite adapter under each package that can stand behind it. Imports neither onnx nor LiteRT."""

from pathlib import Path

import numpy as np
import pytest

from pinnace_contract.latest import Datatype, Precision, Runtime, Tolerance
from pinnace_runtime import adapters, golden
from pinnace_runtime.adapters import Quantization
from pinnace_runtime.adapters.tflite import PACKAGES, TfliteModel, probe
from pinnace_runtime.errors import LoadFailed, RuntimeMissing
from pinnace_runtime.pipeline import Pipeline
from tests.needs import need_module
from tests.runtime.releases import release, spec, variant
from tests.runtime.tflite_writer import BIAS, DATA, INPUT_INT8, WEIGHTS

FP32, INT8 = DATA / "linear_fp32.tflite", DATA / "linear_int8.tflite"
X = np.array([[1.0, 0.5, -1.0, 0.25], [-1.0, 2.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0]], np.float32)
Y = (X @ WEIGHTS.T + BIAS).astype(np.float32)


@pytest.fixture(
    params=["ai_edge_litert", pytest.param("tflite_runtime", marks=pytest.mark.tflite_runtime)],
)
def package(request: pytest.FixtureRequest) -> tuple[str, ...]:
    need_module(request.param)
    return (request.param,)


def test_the_probe_runs_a_model(package: tuple[str, ...]) -> None:
    probe(package)


def test_this_device_says_that_it_runs_tflite(package: tuple[str, ...]) -> None:
    assert Runtime.TFLITE in adapters.available()


def test_a_float_model_tells_its_tensors_and_answers(package: tuple[str, ...]) -> None:
    model = TfliteModel(FP32, 1, package)

    assert [(t.name, t.datatype, t.shape, t.quantization) for t in model.inputs] == [("x", Datatype.FP32, (1, 4), None)]
    assert [(t.name, t.shape) for t in model.outputs] == [("y", (1, 3))]
    assert model.version.startswith(PACKAGES[package[0]])
    np.testing.assert_allclose(model.run({"x": X[:1]})["y"], Y[:1], rtol=1e-5)


def test_an_int8_model_answers_a_contract_of_real_numbers(package: tuple[str, ...]) -> None:
    model = TfliteModel(INT8, 1, package)
    of = release((spec("x", -1, 4),), (spec("y", -1, 3),), of=variant(Runtime.TFLITE, Precision.INT8_STATIC))

    found = Pipeline(of, of.variants[0], model, {}).infer({"x": X})["y"]

    assert model.inputs[0].quantization == Quantization(scale=INPUT_INT8.scale, zero_point=INPUT_INT8.zero_point)
    np.testing.assert_allclose(found, Y, atol=0.1)


def test_golden_vectors_pass_on_the_good_file_and_fail_on_another(package: tuple[str, ...]) -> None:
    of = release((spec("x", -1, 4),), (spec("y", -1, 3),), of=variant(Runtime.TFLITE))
    pipeline = Pipeline(of, of.variants[0], TfliteModel(FP32, 1, package), {})
    tolerance = Tolerance(runtime=Runtime.TFLITE, precision=Precision.FP32, max_abs=1e-5)

    assert golden.check(pipeline, golden.write({"x": X}, {"y": Y}), tolerance).passed
    assert not golden.check(pipeline, golden.write({"x": X}, {"y": Y[::-1]}), tolerance).passed


@pytest.mark.parametrize("content", [b"", b"\x1c\0\0\0TFL3" + bytes(64), b"no model at all, however long it may be"])
def test_what_is_no_model_is_refused(package: tuple[str, ...], content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(content)

    with pytest.raises(LoadFailed):
        TfliteModel(tmp_path / "model.tflite", 1, package)


def test_a_file_that_is_gone_is_refused(package: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(LoadFailed):
        TfliteModel(tmp_path / "gone.tflite", 1, package)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinnace_runtime.adapters.tflite.PACKAGES", {"no_such_package": "some-distribution"})

    with pytest.raises(RuntimeMissing, match="some-distribution: ModuleNotFoundError"):
        probe(("no_such_package",))
