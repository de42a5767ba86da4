"""The static check of ONNX files, and what their tensors say they are."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from pinnace_contract.latest import Precision
from pinnace_converters import onnx_file
from pinnace_converters.errors import ModelRefused
from tests.converters import graphs
from tests.converters.graphs import constant, floats


def external(tensor: onnx.TensorProto) -> onnx.TensorProto:
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return tensor


def nested(depth: int, innermost: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    nodes = innermost
    for _ in range(depth):
        branch = helper.make_graph(nodes, "b", [], [floats(nodes[-1].output[0], 1)])
        nodes = [helper.make_node("If", ["yes"], [nodes[-1].output[0]], then_branch=branch, else_branch=branch)]
    return nodes


def relu(domain: str = "") -> onnx.NodeProto:
    return helper.make_node("Relu", ["x"], ["y"], domain=domain)


X, Y = [floats("x", 1)], [floats("y", 1)]
IN_ATTRIBUTE = helper.make_node("Constant", [], ["y"], value=external(constant("c", np.zeros(1, np.float32))))

HOSTILE: list[tuple[str, bytes, str]] = [
    (
        "weights in another file",
        graphs.model([relu()], X, Y, [external(constant("c", np.zeros(1, np.float32)))]),
        "another file",
    ),
    ("a constant in another file", graphs.model([IN_ATTRIBUTE], X, Y), "another file"),
    ("that inside a branch", graphs.model(nested(2, [IN_ATTRIBUTE]), X, Y), "another file"),
    ("a custom operator", graphs.model([relu("evil.ops")], X, Y, domains=["evil.ops"]), "'evil.ops' found"),
    ("that inside a branch", graphs.model(nested(1, [relu("evil.ops")]), X, Y), "standard ONNX operators"),
    ("graphs without end", graphs.model(nested(onnx_file.DEPTH_MAX + 1, [relu()]), X, Y), "nested deeper"),
    ("operators without end", graphs.model([relu()] * (onnx_file.NODES_MAX + 1), X, Y), "at most 50000 operators"),
]


@pytest.mark.parametrize(("content", "says"), [each[1:] for each in HOSTILE], ids=[each[0] for each in HOSTILE])
def test_what_no_release_may_hold_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(ModelRefused, match=says):
        onnx_file.check(onnx_file.parse(content))


def test_local_functions_are_refused() -> None:
    parsed = onnx_file.parse(graphs.model([relu()], X, Y))
    parsed.functions.append(helper.make_function("f", "F", ["x"], ["y"], [relu()], [helper.make_opsetid("", 17)]))

    with pytest.raises(ModelRefused, match="inline them"):
        onnx_file.check(parsed)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x08\x08", bytes(100)])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(ModelRefused, match="not an ONNX model"):
        onnx_file.parse(content)


@given(st.integers(0, 2000), st.binary(min_size=1, max_size=8))
def test_a_damaged_file_is_refused_or_read_and_never_an_error_of_another_kind(at: int, noise: bytes) -> None:
    whole = graphs.convolution()
    damaged = whole[:at] + noise + whole[at + len(noise) :]

    try:
        parsed = onnx_file.parse(damaged)
        onnx_file.check(parsed)
        onnx_file.census(parsed)
    except ModelRefused:
        return


def test_the_border_leaves_out_constants_that_are_listed_as_inputs() -> None:
    parsed = onnx_file.parse(
        graphs.model(
            [helper.make_node("Add", ["x", "c"], ["y"])],
            [floats("x", "N", 2), floats("c", 2)],
            [floats("y", "N", 2)],
            [constant("c", np.ones(2))],
        )
    )

    assert onnx_file.border(parsed).inputs == (("x", TensorProto.FLOAT, (-1, 2)),)


def _weights(kind: type[np.generic], name: str = "w") -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones((4, 4), kind), name)


DEQUANTIZED = [
    helper.make_node("DequantizeLinear", ["w", "s"], ["wf"]),
    helper.make_node("MatMul", ["x", "wf"], ["y"]),
]


@pytest.mark.parametrize(
    ("content", "precision"),
    [
        (graphs.convolution(), Precision.FP32),
        (graphs.model([helper.make_node("MatMul", ["x", "w"], ["y"])], X, Y, [_weights(np.float16)]), Precision.FP16),
        (graphs.model(DEQUANTIZED, X, Y, [_weights(np.int8), constant("s", np.ones(()))]), Precision.INT8_DYNAMIC),
        (
            graphs.model(
                [helper.make_node("QuantizeLinear", ["a", "s"], ["x"]), *DEQUANTIZED],
                [floats("a", 1)],
                Y,
                [_weights(np.int8), constant("s", np.ones(()))],
            ),
            Precision.INT8_STATIC,
        ),
    ],
    ids=["float weights", "half weights", "int8 weights under a float product", "int8 weights and activations"],
)
def test_tensors_tell_the_precision(content: bytes, precision: Precision) -> None:
    assert onnx_file.census(onnx_file.parse(content)).precision is precision
