"""Lifts a model of an old operator set to the oldest that the quantizer's per-channel weights need."""

from __future__ import annotations

from typing import Final

from pinnace_converters import onnx_file
from pinnace_converters.passes import versions
from pinnace_converters.passes.model_pass import ModelBytes, Pass, Result

OPSET_MIN: Final = 13  # per-channel QuantizeLinear and DequantizeLinear came with it
IR_MIN: Final = 4  # before it every constant is also an input
_OLDEST: Final = 7  # what onnx's converter reads


class UpgradeOpset(Pass):
    """Operator set 13 or newer, and constants that are no inputs. A newer model stays as it is."""

    name = "upgrade-opset"
    parameters = f"opset>={OPSET_MIN}"

    @property
    def tool(self) -> str:
        return versions.onnx()

    def requires(self, model: ModelBytes) -> str | None:
        version = onnx_file.opset(onnx_file.parse(model.content))
        if version < _OLDEST:
            return f"operator set {version} found; expected {_OLDEST} or newer: export the model again"
        return None

    def run(self, model: ModelBytes) -> Result:
        from onnx import version_converter

        parsed = onnx_file.parse(model.content)
        version, notes = onnx_file.opset(parsed), []
        constant = {tensor.name for tensor in parsed.graph.initializer}
        listed = [value for value in parsed.graph.input if value.name in constant]
        if version >= OPSET_MIN and not listed:
            return Result(model=model, modified=False)
        if version < OPSET_MIN:
            parsed = version_converter.convert_version(parsed, OPSET_MIN)
            notes.append(f"operator set {version} to {OPSET_MIN}")
        for value in [value for value in parsed.graph.input if value.name in constant]:
            parsed.graph.input.remove(value)
        parsed.ir_version = max(parsed.ir_version, 7 if version < OPSET_MIN else IR_MIN)
        content = parsed.SerializeToString(deterministic=True)
        return Result(model=ModelBytes(content=content), modified=True, notes=tuple(notes))

    def ensures(self, before: ModelBytes, after: ModelBytes) -> str | None:
        old, new = onnx_file.parse(before.content), onnx_file.parse(after.content)
        if onnx_file.border(old) != onnx_file.border(new):
            return "inputs or outputs changed"
        return None if onnx_file.opset(new) >= OPSET_MIN else "the operator set is still too old"
