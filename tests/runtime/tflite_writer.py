"""Writes tiny TFLite files by hand with the schema classes that come with LiteRT; results are committed in ``data``.

Committed, because the environment that tests tflite-runtime has no LiteRT. ``test_tflite_files.py`` keeps both equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).parent / "data"

# y = x W^T + b with numbers that int8 holds well; the third class wins for a positive first input.
WEIGHTS = np.array([[1.0, 0.0, -0.5, 0.25], [-1.0, 0.5, 0.5, 0.0], [2.0, -0.25, 0.0, 1.0]], np.float32)
BIAS = np.array([0.5, -0.25, 0.0], np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    scale: float
    zero_point: int


INPUT_INT8 = Quantized(scale=1 / 32, zero_point=-3)
OUTPUT_INT8 = Quantized(scale=1 / 16, zero_point=5)
WEIGHTS_SCALE = 2.0 / 127


def linear_fp32() -> bytes:
    """Input ``x`` ``[1, 4]``, output ``y`` ``[1, 3]``, both float32."""
    return _linear(WEIGHTS, BIAS, None, None)


def linear_int8() -> bytes:
    """The same in int8, inside and at its border."""
    weights = np.clip(np.rint(WEIGHTS / WEIGHTS_SCALE), -127, 127).astype(np.int8)
    bias = np.rint(BIAS / (WEIGHTS_SCALE * INPUT_INT8.scale)).astype(np.int32)
    return _linear(weights, bias, INPUT_INT8, OUTPUT_INT8)


def endless() -> bytes:
    """A file that passes every check of its form and ends its runtime by SIGSEGV while it loads, each time.

    After the float model comes an ``IF`` whose branches are the graph that it stands in: the runtime prepares graph
    within graph until its stack is used up.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(linear_fp32(), 0)
    graph = model.subgraphs[0]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.IF
    code.version = 1
    model.operatorCodes.append(code)
    model.buffers.append(_buffer(schema, b"\x01"))
    condition = _tensor(schema, "condition", [1], schema.TensorType.BOOL, len(model.buffers) - 1, None)
    result = _tensor(schema, "result", [1, 3], schema.TensorType.FLOAT32, 0, None)
    graph.tensors += [condition, result]
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = [len(graph.tensors) - 2, 0], [len(graph.tensors) - 1]
    operator.builtinOptionsType = schema.BuiltinOptions.IfOptions
    operator.builtinOptions = schema.IfOptionsT()
    operator.builtinOptions.thenSubgraphIndex = operator.builtinOptions.elseSubgraphIndex = 0
    graph.operators.append(operator)
    return _packed(model)


def _packed(model: object) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _linear(weights: NDArray, bias: NDArray, source: Quantized | None, target: Quantized | None) -> bytes:
    from ai_edge_litert import schema_py_generated as schema

    buffers = [_buffer(schema, b""), _buffer(schema, weights.tobytes()), _buffer(schema, bias.tobytes())]
    quantized = source is not None and target is not None
    border = schema.TensorType.INT8 if quantized else schema.TensorType.FLOAT32
    bias_type = schema.TensorType.INT32 if quantized else schema.TensorType.FLOAT32
    inner = Quantized(scale=WEIGHTS_SCALE, zero_point=0) if quantized else None
    outer = Quantized(scale=WEIGHTS_SCALE * source.scale, zero_point=0) if source else None
    graph = schema.SubGraphT()
    graph.name = b"main"
    graph.tensors = [
        _tensor(schema, "x", [1, 4], border, 0, source),
        _tensor(schema, "weights", [3, 4], border, 1, inner),
        _tensor(schema, "bias", [3], bias_type, 2, outer),
        _tensor(schema, "y", [1, 3], border, 0, target),
    ]
    graph.inputs, graph.outputs = [0], [3]
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, 2], [3]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    graph.operators = [operator]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 4 if quantized else 1
    model = schema.ModelT()
    model.version, model.description = 3, b"pinnace test"
    model.operatorCodes, model.subgraphs, model.buffers = [code], [graph], buffers
    return _packed(model)


def _buffer(schema: object, content: bytes) -> object:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8) if content else None
    return buffer


def _tensor(schema: object, name: str, shape: list[int], kind: int, buffer: int, quantized: Quantized | None) -> object:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), shape, kind, buffer
    if quantized:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = [quantized.scale]
        tensor.quantization.zeroPoint = [quantized.zero_point]
    return tensor


FILES = {"linear_fp32.tflite": linear_fp32, "linear_int8.tflite": linear_int8, "endless.tflite": endless}

if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    for name, write in FILES.items():
        (DATA / name).write_bytes(write())
