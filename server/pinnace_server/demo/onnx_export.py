"""Writes the demo's classifier as an ONNX file, node by node, with nothing but the ``onnx`` package.

Owns the graph. The file takes pixels of 0..1 as ``image`` ``[N, 1, 8, 8]`` and answers ``scores`` ``[N, 10]``; the
scale from the scanner's 0..16 and the softmax are steps of the release, not of the graph. Opset 17 and IR version 8 are
read by every onnxruntime that is still in the field, and by its quantizer without conversion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pinnace_server.demo.digits import CLASSES, FULL_INK, PIXEL_MAX, SIDE
from pinnace_server.demo.training import KERNEL, SIDE_AFTER, STRIDES, Array, Weights

OPSET = 17
IR_VERSION = 8
INPUT = "image"
OUTPUT = "scores"

# A buffer whose size comes out of the data is a common defect in the field; this one is exaggerated on purpose. 2^46
# float32 cells are 256 TiB, more than a process can address: allocation fails at once, before any memory is touched,
# with a limit or without one, so the computer that the demo runs on comes to no harm.
TABLE_CELLS_PER_PIXEL = 1 << 46


@dataclass(frozen=True, slots=True, kw_only=True)
class StrokeTable:
    """A stage that tabulates heavy strokes: nothing to do for an image with at most ``free_pixels`` full pixels."""

    free_pixels: int


def classifier(weights: Weights, *, stroke_table: StrokeTable | None = None) -> bytes:
    """Return the ONNX file of a network; with ``stroke_table`` also the stage that cannot bear busy images."""
    scores = OUTPUT if stroke_table is None else "plain_scores"
    nodes, initializers = _network(weights, scores)
    if stroke_table is not None:
        more_nodes, more_initializers = _table_stage(stroke_table, scores)
        nodes, initializers = nodes + more_nodes, initializers + more_initializers
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", CLASSES])],
        initializers,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="pinnace-demo"
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _network(weights: Weights, scores: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    nodes = [
        _convolution(1, INPUT, "edges"),
        helper.make_node("Relu", ["edges"], ["edges_active"]),
        _convolution(2, "edges_active", "strokes"),
        helper.make_node("Relu", ["strokes"], ["strokes_active"]),
        helper.make_node("Flatten", ["strokes_active"], ["flat"]),
        helper.make_node("Gemm", ["flat", "linear", "offset"], [scores]),
    ]
    initializers = [
        _constant("kernel1", _kernel(weights.kernel1)),
        _constant("bias1", weights.bias1),
        _constant("kernel2", _kernel(weights.kernel2)),
        _constant("bias2", weights.bias2),
        _constant("linear", _channels_first(weights.linear)),
        _constant("offset", weights.offset),
    ]
    return nodes, initializers


def _table_stage(table: StrokeTable, scores: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Count the full pixels of the fullest image and make a table for those above the allowance; its sum is zero."""
    nodes = [
        helper.make_node("GreaterOrEqual", [INPUT, "full"], ["is_full"]),
        helper.make_node("Cast", ["is_full"], ["full_pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["full_pixels", "image_axes"], ["per_image"], keepdims=0),
        helper.make_node("ReduceMax", ["per_image"], ["fullest"], keepdims=1),
        helper.make_node("Sub", ["fullest", "allowance"], ["excess_or_less"]),
        helper.make_node("Relu", ["excess_or_less"], ["excess"]),
        helper.make_node("Cast", ["excess"], ["excess_pixels"], to=TensorProto.INT64),
        helper.make_node("Mul", ["excess_pixels", "cells_per_pixel"], ["cells"]),
        helper.make_node("ConstantOfShape", ["cells"], ["table"], value=_constant("", np.zeros(1, np.float32))),
        helper.make_node("ReduceSum", ["table"], ["correction"], keepdims=0),
        helper.make_node("Add", [scores, "correction"], [OUTPUT]),
    ]
    initializers = [
        _constant("full", np.array(FULL_INK / PIXEL_MAX, np.float32)),
        _constant("image_axes", np.array([1, 2, 3], np.int64)),
        _constant("allowance", np.array(table.free_pixels, np.float32)),
        _constant("cells_per_pixel", np.array(TABLE_CELLS_PER_PIXEL, np.int64)),
    ]
    return nodes, initializers


def _convolution(number: int, source: str, target: str) -> onnx.NodeProto:
    stride = STRIDES[number - 1]
    return helper.make_node(
        "Conv",
        [source, f"kernel{number}", f"bias{number}"],
        [target],
        kernel_shape=[KERNEL, KERNEL],
        strides=[stride, stride],
        pads=[1, 1, 1, 1],
    )


def _kernel(patches: Array) -> Array:
    """Turn ``[(channel, row, column), out]`` into ONNX's ``[out, channel, row, column]``."""
    return patches.T.reshape(patches.shape[1], -1, KERNEL, KERNEL)


def _channels_first(linear: Array) -> Array:
    """Reorder the rows from (row, column, channel) to (channel, row, column), which is how ONNX flattens."""
    return linear.reshape(SIDE_AFTER, SIDE_AFTER, -1, CLASSES).transpose(2, 0, 1, 3).reshape(-1, CLASSES)


def _constant(name: str, value: np.ndarray[tuple[int, ...], np.dtype[np.float32 | np.int64]]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(value), name)
