"""Gives the bias of a matrix product its plain form: onnxruntime's quantizer fails on one of shape ``[1, n]``.

Fusing MatMul and Add leaves such a bias (found on a CNTK export; the quantizer's per-channel check then compares arrays
as if they were numbers). ``[1, n]`` and ``[n]`` broadcast alike, so answers do not change.
"""

from __future__ import annotations

from pinnace_converters import onnx_file
from pinnace_converters.passes import versions
from pinnace_converters.passes.model_pass import ModelBytes, Pass, Result


class FlattenBias(Pass):
    """Constant biases of Gemm have one axis."""

    name = "flatten-bias"
    parameters = ""

    @property
    def tool(self) -> str:
        """The ``onnx`` package."""
        return versions.onnx()

    def run(self, model: ModelBytes) -> Result:
        """Add a flat copy of each such bias; what others use stays as it is."""
        parsed = onnx_file.parse(model.content)
        constants = {tensor.name: tensor for tensor in parsed.graph.initializer}
        flattened = 0
        for node in parsed.graph.node:
            bias = constants.get(node.input[2]) if node.op_type == "Gemm" and len(node.input) == 3 else None
            if bias is None or len(bias.dims) != 2 or bias.dims[0] != 1 or bias.dims[1] == 1:
                continue
            flat_name = f"{bias.name}_flat"
            if flat_name not in constants:
                flat = parsed.graph.initializer.add()
                flat.CopyFrom(bias)
                flat.name = flat_name
                del flat.dims[0]
                constants[flat_name] = flat
            node.input[2] = flat_name
            flattened += 1
        if not flattened:
            return Result(model=model, modified=False)
        used = onnx_file.used_names(parsed)
        for tensor in [tensor for tensor in parsed.graph.initializer if tensor.name not in used]:
            parsed.graph.initializer.remove(tensor)
        content = parsed.SerializeToString(deterministic=True)
        return Result(model=ModelBytes(content=content), modified=True, notes=(f"{flattened} flattened",))

    def ensures(self, before: ModelBytes, after: ModelBytes) -> str | None:
        """Inputs, outputs and operators are the same."""
        old, new = onnx_file.parse(before.content), onnx_file.parse(after.content)
        if onnx_file.border(old) != onnx_file.border(new) or onnx_file.operators(old) != onnx_file.operators(new):
            return "more than a bias changed"
        return None
