"""Each pass on a small graph, and the pipeline's word for what failed."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from pinnace_converters import onnx_file, pipeline
from pinnace_converters.errors import ModelRefused, PassFailed
from pinnace_converters.passes.checker import Checker
from pinnace_converters.passes.clean_up import CleanUp
from pinnace_converters.passes.flatten_bias import FlattenBias
from pinnace_converters.passes.infer_shapes import InferShapes
from pinnace_converters.passes.model_pass import ModelBytes, Pass, Result
from pinnace_converters.passes.quantize_static import QuantizeStatic
from pinnace_converters.passes.static_check import StaticCheck
from pinnace_converters.passes.upgrade_opset import UpgradeOpset
from tests.converters import graphs
from tests.converters.graphs import constant, floats


def quiet(text: str) -> None:
    """For a pipeline that nobody watches."""


def answers(content: bytes, x: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {"x": x})[0]
    return found


def feeds(*shape: int, rows: int = 32) -> list[dict[str, NDArray[np.float32]]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.normal(size=(1, *shape)).astype(np.float32)} for _ in range(rows)]


def test_an_old_model_is_lifted_and_its_constants_are_no_inputs() -> None:
    old = graphs.model(
        [
            helper.make_node("Unsqueeze", ["s"], ["wide"], axes=[1]),
            helper.make_node("Softmax", ["wide"], ["y"], axis=1),
        ],
        [floats("x", 2, 3), floats("c", 3)],
        [floats("y", 2, 1, 3)],
        [constant("c", np.ones(3))],
        opset=8,
    )
    parsed = onnx.load_model_from_string(old)
    parsed.graph.node.insert(0, helper.make_node("Add", ["x", "c"], ["s"]))
    parsed.ir_version = 3
    model = ModelBytes(content=parsed.SerializeToString())
    x = np.arange(6, dtype=np.float32).reshape(2, 3)

    result = UpgradeOpset().run(model)

    lifted = onnx_file.parse(result.model.content)
    assert onnx_file.opset(lifted) == 13
    assert [value.name for value in lifted.graph.input] == ["x"]
    assert UpgradeOpset().ensures(model, result.model) is None
    np.testing.assert_allclose(answers(result.model.content, x), answers(model.content, x), rtol=1e-6)


def test_a_model_new_enough_stays_byte_for_byte() -> None:
    model = ModelBytes(content=graphs.convolution())

    assert UpgradeOpset().run(model).model is model


def test_clean_up_folds_constants_and_keeps_to_standard_operators() -> None:
    model = ModelBytes(
        content=graphs.model(
            [helper.make_node("Add", ["a", "b"], ["c"]), helper.make_node("Mul", ["x", "c"], ["y"])],
            [floats("x", "N", 2)],
            [floats("y", "N", 2)],
            [constant("a", np.ones(2)), constant("b", np.ones(2))],
        )
    )

    cleaned = CleanUp().run(model).model

    parsed = onnx_file.parse(cleaned.content)
    assert dict(onnx_file.operators(parsed)) == {"Mul": 1}
    assert [each.domain for each in parsed.opset_import] == [""]
    assert CleanUp().ensures(model, cleaned) is None


def test_a_bias_of_two_axes_is_flattened_and_then_quantizes() -> None:
    model = ModelBytes(
        content=graphs.model(
            [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
            [floats("x", "N", 4)],
            [floats("y", "N", 3)],
            [constant("w", np.random.default_rng(1).normal(size=(4, 3))), constant("b", np.ones((1, 3)))],
        )
    )
    with pytest.raises(ValueError, match="ambiguous"):  # the defect that the pass is there for
        QuantizeStatic(feeds(4)).run(model)

    flat = FlattenBias().run(model)

    assert flat.modified
    assert FlattenBias().ensures(model, flat.model) is None
    assert QuantizeStatic(feeds(4)).run(flat.model).notes == ("1 of 1 computing operators quantized",)


def test_quantizing_keeps_the_border_and_counts_what_it_did() -> None:
    model = InferShapes().run(ModelBytes(content=graphs.convolution())).model
    quantize = QuantizeStatic(feeds(3, 8, 8))

    quantized = quantize.run(model).model

    assert quantize.ensures(model, quantized) is None
    census = onnx_file.census(onnx_file.parse(quantized.content))
    assert census.quantized == 2
    weights = [t for t in onnx_file.parse(quantized.content).graph.initializer if t.name.startswith("kernel_scale")]
    assert list(weights[0].dims) == [8], "a scale for each of the kernel's eight channels"


@pytest.mark.parametrize("rows", [1, 7, 16, 31])
def test_any_number_of_rows_calibrates(rows: int) -> None:
    model = InferShapes().run(ModelBytes(content=graphs.convolution())).model

    assert QuantizeStatic(feeds(3, 8, 8, rows=rows)).run(model).modified


def test_a_quantized_model_is_not_quantized_again() -> None:
    model = InferShapes().run(ModelBytes(content=graphs.convolution())).model
    quantize = QuantizeStatic(feeds(3, 8, 8))

    assert quantize.requires(model) is None
    assert "int8-static already" in (quantize.requires(quantize.run(model).model) or "")
    assert "calibration data" in (QuantizeStatic([]).requires(model) or "")


def test_the_checker_refuses_a_graph_that_does_not_fit_together() -> None:
    broken = graphs.model([helper.make_node("Relu", ["nowhere"], ["y"])], [floats("x", 1)], [floats("y", 1)])

    with pytest.raises(ModelRefused, match="checker refuses"):
        Checker().run(ModelBytes(content=broken))


def test_a_model_older_than_the_converter_reads_is_refused_with_advice() -> None:
    old = graphs.model([helper.make_node("Relu", ["x"], ["y"])], [floats("x", 1)], [floats("y", 1)], opset=6)

    assert "export the model again" in (UpgradeOpset().requires(ModelBytes(content=old)) or "")


class Broken(Pass):
    name = "broken"
    parameters = ""
    tool = "test"

    def __init__(self, where: str) -> None:
        self._where = where

    def requires(self, model: ModelBytes) -> str | None:
        return "wants something else" if self._where == "requires" else None

    def run(self, model: ModelBytes) -> Result:
        if self._where == "run":
            raise KeyError("of the library")
        return Result(model=ModelBytes(content=b"worse"), modified=True)

    def ensures(self, before: ModelBytes, after: ModelBytes) -> str | None:
        return f"made {after.content!r}" if self._where == "ensures" else None


@pytest.mark.parametrize(
    ("where", "says"), [("requires", "wants something else"), ("run", "KeyError"), ("ensures", "made b'worse'")]
)
def test_a_failure_names_the_pass_and_those_before_it(where: str, says: str) -> None:
    with pytest.raises(PassFailed, match=says) as raised:
        pipeline.run([StaticCheck(), Checker(), Broken(where)], ModelBytes(content=graphs.convolution()), quiet)

    assert (raised.value.name, raised.value.before) == ("broken", ("static-check", "checker"))


def test_records_chain_from_the_source_to_the_result() -> None:
    source = ModelBytes(content=graphs.convolution())

    result, records = pipeline.run([StaticCheck(), InferShapes(), CleanUp()], source, quiet)

    assert [record.name for record in records] == ["static-check", "infer-shapes", "clean-up"]
    assert (records[0].input, records[-1].output) == (source.digest, result.digest)
    assert records[0].output == records[1].input
    assert all(record.tool.startswith("onnx") for record in records)


def test_a_graph_with_a_type_other_than_float_passes_clean_up() -> None:
    value = helper.make_tensor_value_info
    model = graphs.model(
        [helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)],
        [floats("x", "N", 3)],
        [value("y", TensorProto.INT64, ["N"])],
    )

    cleaned, _ = pipeline.run([InferShapes(), CleanUp()], ModelBytes(content=model), quiet)

    assert answers(cleaned.content, np.array([[0, 2, 1]], np.float32)).tolist() == [1]
