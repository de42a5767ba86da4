"""Folds constants and removes what has no effect, with onnxruntime's own optimizer.

Saved at BASIC level: it keeps to standard operators, which every onnxruntime in the field reads. What EXTENDED adds is
fused operators of one library's version; the device's session does that step itself when it loads the file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from pinnace_converters import onnx_file
from pinnace_converters.passes import versions
from pinnace_converters.passes.model_pass import ModelBytes, Pass, Result


class CleanUp(Pass):
    """The same answers from fewer operators, all of them standard."""

    name = "clean-up"
    parameters = "level=basic"

    @property
    def tool(self) -> str:
        return versions.onnxruntime()

    def run(self, model: ModelBytes) -> Result:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "cleaned.onnx")
            options.optimized_model_filepath = str(target)
            onnxruntime.InferenceSession(model.content, options, providers=["CPUExecutionProvider"])
            cleaned = onnx_file.parse(target.read_bytes())
        # The session lists every operator set that it knows; an older one on a device refuses sets that it does not.
        used = {node.domain for node in cleaned.graph.node} | {""}
        for each in [each for each in cleaned.opset_import if each.domain not in used]:
            cleaned.opset_import.remove(each)
        del cleaned.graph.value_info[:]  # shapes of inner tensors follow from the inputs'
        content = cleaned.SerializeToString(deterministic=True)
        before, after = onnx_file.parse(model.content), cleaned
        fewer = sum(onnx_file.operators(before).values()) - sum(onnx_file.operators(after).values())
        return Result(model=ModelBytes(content=content), modified=True, notes=(f"{fewer} operators fewer",))

    def ensures(self, before: ModelBytes, after: ModelBytes) -> str | None:
        old, new = onnx_file.parse(before.content), onnx_file.parse(after.content)
        if _names(onnx_file.border(old)) != _names(onnx_file.border(new)):
            return "inputs or outputs changed"
        foreign = {node.domain for node in new.graph.node} - onnx_file.DOMAINS
        return f"operators of {sorted(foreign)} appeared" if foreign else None


def _names(border: onnx_file.Border) -> list[tuple[str, int]]:
    """Free sizes may get another name or a number; name and type may not change."""
    return [(name, kind) for name, kind, _ in (*border.inputs, *border.outputs)]
