"""Reads ONNX files without running them: the static check of a hostile one, its border, its census.

Owns what may be in a file at all. Correctness of the graph is the checker pass's part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pinnace_contract.latest import Precision
from pinnace_converters.errors import ModelRefused
from pinnace_converters.jobs import Census
from pinnace_runtime.errors import shortened

if TYPE_CHECKING:
    import onnx

NODES_MAX: Final = 50_000  # the largest known vision and language exports have a few thousand
INITIALIZERS_MAX: Final = 50_000
DEPTH_MAX: Final = 8  # of graphs inside If, Loop and Scan
DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml"})
COMPUTING: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Border:
    """Names, element types and shapes of a graph's inputs and outputs."""

    inputs: tuple[tuple[str, int, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, int, tuple[int, ...]], ...]


def parse(content: bytes) -> onnx.ModelProto:
    """Return the parsed file.

    Raises:
        ModelRefused: no ONNX model.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's DecodeError, or what it makes of text that is no UTF-8
        raise ModelRefused("not an ONNX model: the file is no protobuf message of that kind") from error
    if not model.HasField("graph") or not model.opset_import or not model.graph.node:
        raise ModelRefused("not an ONNX model: it has no graph, no operator set, or no operators")
    return model


def check(model: onnx.ModelProto) -> None:
    """Refuse what no release may hold.

    Raises:
        ModelRefused: says what was found and what would help.
    """
    if model.functions:
        raise ModelRefused(f"{len(model.functions)} local functions found; expected none: inline them when exporting")
    nodes = initializers = 0
    for graph, depth in _graphs(model.graph):
        if depth > DEPTH_MAX:
            raise ModelRefused(f"graphs nested deeper than {DEPTH_MAX}")
        nodes += len(graph.node)
        initializers += len(graph.initializer) + len(graph.sparse_initializer)
        if nodes > NODES_MAX or initializers > INITIALIZERS_MAX:
            raise ModelRefused(
                f"expected at most {NODES_MAX} operators and {INITIALIZERS_MAX} constants, "
                f"found {nodes} and {initializers} or more"
            )
        for node in graph.node:
            if node.domain not in DOMAINS:
                raise ModelRefused(
                    f"operator {shortened(node.op_type)!r} of the domain {shortened(node.domain)!r} found; expected "
                    "standard ONNX operators only: export the model without custom operators or prior optimization"
                )
    for tensor in _tensors(model):
        if tensor.data_location == tensor.EXTERNAL or tensor.external_data:
            raise ModelRefused(
                f"tensor {shortened(tensor.name)!r} lies in another file; expected one file that holds everything"
            )


def border(model: onnx.ModelProto) -> Border:
    """Return what the graph takes and gives; constants listed as inputs (IR version 3) are none."""
    constant = {tensor.name for tensor in model.graph.initializer}
    return Border(
        inputs=tuple(_value(value) for value in model.graph.input if value.name not in constant),
        outputs=tuple(_value(value) for value in model.graph.output),
    )


def opset(model: onnx.ModelProto) -> int:
    """Return the version of the standard operator set."""
    return max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)


def operators(model: onnx.ModelProto) -> Counter[str]:
    """Return how often each operator stands in the graph, nested ones included."""
    return Counter(node.op_type for graph, _ in _graphs(model.graph) for node in graph.node)


def used_names(model: onnx.ModelProto) -> set[str]:
    """Return every tensor that an operator takes or the graph gives, nested graphs included."""
    taken = {name for graph, _ in _graphs(model.graph) for node in graph.node for name in node.input}
    return taken | {value.name for graph, _ in _graphs(model.graph) for value in graph.output}


def census(model: onnx.ModelProto) -> Census:
    """Return what the file is made of, and from that its precision: tensors decide, never the file's name."""
    from onnx import TensorProto

    sizes: Counter[int] = Counter()
    kinds: dict[str, int] = {}
    for tensor in _tensors(model):
        sizes[tensor.data_type] += _size_bytes(tensor)
        kinds[tensor.name] = tensor.data_type
    eight_bit = (TensorProto.INT8, TensorProto.UINT8)
    restored = {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and kinds.get(node.input[0]) in eight_bit
    }
    quantized = sum(
        1
        for node in model.graph.node
        if node.op_type in ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "QGemm")
        or (node.op_type in COMPUTING and any(name in restored for name in node.input))
    )
    used = operators(model)
    int8_bytes = sum(sizes[kind] for kind in eight_bit)
    float32_bytes, float16_bytes = sizes[TensorProto.FLOAT], sizes[TensorProto.FLOAT16]
    if quantized and (used["QuantizeLinear"] or used["QLinearConv"] or used["QLinearMatMul"]):
        precision = Precision.INT8_STATIC
    elif quantized:
        precision = Precision.INT8_DYNAMIC
    else:
        precision = Precision.FP16 if float16_bytes > float32_bytes else Precision.FP32
    return Census(
        nodes=sum(used.values()),
        quantized=quantized,
        weights_float32_bytes=float32_bytes,
        weights_float16_bytes=float16_bytes,
        weights_int8_bytes=int8_bytes,
        weights_other_bytes=sum(sizes.values()) - float32_bytes - float16_bytes - int8_bytes,
        precision=precision,
    )


def _graphs(graph: onnx.GraphProto, depth: int = 0) -> Iterator[tuple[onnx.GraphProto, int]]:
    """Give a graph and those inside it, one level beyond the limit at most."""
    yield graph, depth
    if depth > DEPTH_MAX:
        return
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _graphs(inner, depth + 1)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph, _ in _graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                if attribute.HasField("sparse_tensor"):
                    yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
                for sparse in attribute.sparse_tensors:
                    yield from (sparse.values, sparse.indices)


def _value(value: onnx.ValueInfoProto) -> tuple[str, int, tuple[int, ...]]:
    kind = value.type.tensor_type
    shape = tuple(int(size.dim_value) if size.HasField("dim_value") else -1 for size in kind.shape.dim)
    return value.name, int(kind.elem_type), shape


def _size_bytes(tensor: onnx.TensorProto) -> int:
    """Return the bytes of a tensor's content as the file holds it."""
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    return (
        4 * len(tensor.float_data)
        + 8 * len(tensor.double_data)
        + 8 * len(tensor.int64_data)
        + 4 * len(tensor.int32_data)
    )
