"""Lets the ``onnx`` checker and its strict shape inference look at the graph."""

from __future__ import annotations

from pinnace_converters import onnx_file
from pinnace_converters.errors import ModelRefused
from pinnace_converters.passes import versions
from pinnace_converters.passes.model_pass import ModelBytes, Pass, Result
from pinnace_runtime.errors import shortened


class Checker(Pass):
    """The graph is well-formed: operators known to their set, names defined before use, types and shapes that fit."""

    name = "checker"
    parameters = "full_check"

    @property
    def tool(self) -> str:
        return versions.onnx()

    def run(self, model: ModelBytes) -> Result:
        import onnx

        try:
            onnx.checker.check_model(onnx_file.parse(model.content), full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError, TypeError) as error:
            raise ModelRefused(f"the ONNX checker refuses this model: {shortened(str(error))}") from error
        return Result(model=model, modified=False)
