"""Small real models for the converters' tests: trained on scikit-learn's digits, or built to be refused."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CLASSES = tuple(str(i) for i in range(10))


@cache
def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images ``[n, 64]`` of 0..1 and their labels, shuffled once."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(3).permutation(len(data.target))
    return (data.data[order] / 16).astype(np.float32), data.target[order].astype(np.int64)


@cache
def digits_mlp() -> bytes:
    """A two-layer network for digits: ``x`` ``[N, 64]`` to ``scores`` ``[N, 10]``, which sum to one."""
    from sklearn.neural_network import MLPClassifier

    x, y = digits()
    network = MLPClassifier(hidden_layer_sizes=(24,), max_iter=60, random_state=1, early_stopping=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it could still become better is no concern here
        network.fit(x[:1000], y[:1000])
    (w1, w2), (b1, b2) = network.coefs_, network.intercepts_
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "w2", "b2"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    constants = [constant(name, value) for name, value in (("w1", w1), ("b1", b1), ("w2", w2), ("b2", b2))]
    return model(nodes, [floats("x", "N", 64)], [floats("scores", "N", 10)], constants)


@cache
def convolution() -> bytes:
    """``x`` ``[N, 3, 8, 8]`` to ``y`` ``[N, 4]``: Conv, Relu, mean, Gemm with weights that are not trained."""
    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["edges"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["edges"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["y"]),
    ]
    constants = [constant("kernel", rng.normal(size=(8, 3, 3, 3))), constant("weights", rng.normal(size=(8, 4)))]
    return model(nodes, [floats("x", "N", 3, 8, 8)], [floats("y", "N", 4)], constants)


def linear(weights: NDArray[np.float32], bias: NDArray[np.float32]) -> bytes:
    """``y = x W^T + b``, as the committed TFLite files have it."""
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)]
    constants = [constant("w", weights), constant("b", bias)]
    return model(nodes, [floats("x", "N", weights.shape[1])], [floats("y", "N", weights.shape[0])], constants)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
    opset: int = 17,
    domains: Sequence[str] = (),
) -> bytes:
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(constants))
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    made = helper.make_model(graph, opset_imports=imports, ir_version=8)
    return bytes(made.SerializeToString(deterministic=True))


def floats(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def constant(name: str, value: NDArray[np.float64] | NDArray[np.float32]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name)


def endless_loop() -> bytes:
    """A Loop of 2^50 turns: small, valid, and never done."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["sum", "sum"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            floats("sum", "N", 4),
        ],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), floats("next", "N", 4)],
    )
    constants = [
        numpy_helper.from_array(np.array(1 << 50, np.int64), "turns"),
        numpy_helper.from_array(np.array(True), "yes"),
    ]
    return model(
        [helper.make_node("Loop", ["turns", "yes", "x"], ["y"], body=body)],
        [floats("x", "N", 4)],
        [floats("y", "N", 4)],
        constants,
    )


def memory_bomb() -> bytes:
    """A few bytes that unfold to 64 GiB when constants are folded or the model is run."""
    shape = numpy_helper.from_array(np.array([1 << 34], np.int64), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    return model(nodes, [floats("x", "N", 4)], [floats("y", "N", 4)], [shape])


def random_answers() -> bytes:
    """Adds noise that is new at each run."""
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"]),
        helper.make_node("Add", ["x", "noise"], ["y"]),
    ]
    return model(nodes, [floats("x", "N", 4)], [floats("y", "N", 4)])
