"""Writes the shapes that follow from the inputs' into the file: the quantizer needs the types of inner tensors."""

from __future__ import annotations

from pinnace_converters import onnx_file
from pinnace_converters.passes import versions
from pinnace_converters.passes.model_pass import ModelBytes, Pass, Result


class InferShapes(Pass):
    """Types and shapes of inner tensors, as far as they follow."""

    name = "infer-shapes"
    parameters = "data_prop"

    @property
    def tool(self) -> str:
        return versions.onnx()

    def run(self, model: ModelBytes) -> Result:
        import onnx

        inferred = onnx.shape_inference.infer_shapes(onnx_file.parse(model.content), data_prop=True)
        content = inferred.SerializeToString(deterministic=True)
        return Result(model=ModelBytes(content=content), modified=content != model.content)

    def ensures(self, before: ModelBytes, after: ModelBytes) -> str | None:
        old, new = onnx_file.parse(before.content), onnx_file.parse(after.content)
        if onnx_file.operators(old) != onnx_file.operators(new):
            return "operators changed"
        return None
