"""Reads TFLite files without running them: the static check of a hostile one and its census.

The schema classes come with ``ai-edge-litert``. They trust offsets, and a wrong one is an exception here.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any, Final

from pinnace_contract.latest import Precision
from pinnace_converters.errors import ModelRefused
from pinnace_converters.jobs import Census
from pinnace_runtime.errors import shortened

MAGIC: Final = b"TFL3"
SUBGRAPHS_MAX: Final = 64
OPERATORS_MAX: Final = 50_000
TENSORS_MAX: Final = 100_000


def is_tflite(content: bytes) -> bool:
    """Tell whether a file says that it is TFLite."""
    return content[4:8] == MAGIC


def inspect(content: bytes) -> Census:
    """Check a file and return what it is made of.

    Raises:
        ModelRefused: says what was found and what would help.
    """
    if not is_tflite(content):
        raise ModelRefused("not a TFLite model: the identifier TFL3 is missing")
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise ModelRefused("a TFLite model needs the package ai-edge-litert here: install pinnace[litert]") from error
    try:
        model = schema.Model.GetRootAs(content)
        _check(model)
        return _census(model, schema)
    except (
        struct.error,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        UnicodeDecodeError,
    ) as error:
        raise ModelRefused(f"not a readable TFLite model ({type(error).__name__}): an offset points nowhere") from error


def _check(model: Any) -> None:
    if not 1 <= model.SubgraphsLength() <= SUBGRAPHS_MAX:
        raise ModelRefused(f"expected 1 to {SUBGRAPHS_MAX} graphs, found {model.SubgraphsLength()}")
    codes = [model.OperatorCodes(i) for i in range(min(model.OperatorCodesLength(), OPERATORS_MAX))]
    for code in codes:
        custom = code.CustomCode()
        if custom is not None:
            raise ModelRefused(
                f"custom operator {shortened(custom.decode(errors='replace'))!r} found; expected built-in ones only: "
                "convert the model without custom operators"
            )
    graphs = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    operators = sum(graph.OperatorsLength() for graph in graphs)
    tensors = sum(graph.TensorsLength() for graph in graphs)
    if not 1 <= operators <= OPERATORS_MAX or tensors > TENSORS_MAX:
        raise ModelRefused(
            f"expected 1 to {OPERATORS_MAX} operators and at most {TENSORS_MAX} tensors, "
            f"found {operators} and {tensors}"
        )
    for i in range(model.BuffersLength()):
        buffer = model.Buffers(i)
        if getattr(buffer, "Offset", int)() > 1:
            raise ModelRefused(
                "a tensor lies outside the model's own structure; expected one file that holds everything"
            )


def _census(model: Any, schema: Any) -> Census:
    kinds = schema.TensorType
    sizes: Counter[int] = Counter()
    operators = quantized = whole = integers = reals = 0
    for g in range(model.SubgraphsLength()):
        graph = model.Subgraphs(g)
        tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
        lengths = [model.Buffers(tensor.Buffer()).DataLength() for tensor in tensors]
        for tensor, length in zip(tensors, lengths, strict=True):
            sizes[tensor.Type()] += length
            integers += not length and tensor.Type() in (kinds.INT8, kinds.UINT8)
            reals += not length and tensor.Type() in (kinds.FLOAT32, kinds.FLOAT16)
        for o in range(graph.OperatorsLength()):
            operator = graph.Operators(o)
            operators += 1
            used = [operator.Inputs(i) for i in range(operator.InputsLength()) if operator.Inputs(i) >= 0]
            weights = [i for i in used if lengths[i] and tensors[i].Type() in (kinds.INT8, kinds.UINT8)]
            data = [i for i in used if not lengths[i]]
            if weights and data and _computes(model, operator, schema):
                quantized += 1
                whole += tensors[data[0]].Type() in (kinds.INT8, kinds.UINT8, kinds.INT16)
    float32_bytes, float16_bytes = sizes[kinds.FLOAT32], sizes[kinds.FLOAT16]
    int8_bytes = sizes[kinds.INT8] + sizes[kinds.UINT8]
    if quantized:
        precision = Precision.INT8_STATIC if whole * 2 >= quantized else Precision.INT8_DYNAMIC
    elif integers > reals:  # operators without weights, as in an int8 Add
        precision = Precision.INT8_STATIC
    else:
        precision = Precision.FP16 if float16_bytes > float32_bytes else Precision.FP32
    return Census(
        nodes=operators,
        quantized=quantized,
        weights_float32_bytes=float32_bytes,
        weights_float16_bytes=float16_bytes,
        weights_int8_bytes=int8_bytes,
        weights_other_bytes=sum(sizes.values()) - float32_bytes - float16_bytes - int8_bytes,
        precision=precision,
    )


def _computes(model: Any, operator: Any, schema: Any) -> bool:
    builtin = schema.BuiltinOperator
    code = model.OperatorCodes(operator.OpcodeIndex())
    kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    return kind in (
        builtin.CONV_2D,
        builtin.DEPTHWISE_CONV_2D,
        builtin.TRANSPOSE_CONV,
        builtin.FULLY_CONNECTED,
        builtin.BATCH_MATMUL,
    )
