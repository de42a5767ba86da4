"""Refuses a hostile or unsupported file before any library builds a graph of it."""

from __future__ import annotations

from pinnace_converters import onnx_file
from pinnace_converters.passes import versions
from pinnace_converters.passes.model_pass import ModelBytes, Pass, Result


class StaticCheck(Pass):
    """No data in other files, standard operators only, bounded sizes and nesting."""

    name = "static-check"
    parameters = f"nodes<={onnx_file.NODES_MAX} constants<={onnx_file.INITIALIZERS_MAX} nesting<={onnx_file.DEPTH_MAX}"

    @property
    def tool(self) -> str:
        return versions.onnx()

    def run(self, model: ModelBytes) -> Result:
        onnx_file.check(onnx_file.parse(model.content))
        return Result(model=model, modified=False)
