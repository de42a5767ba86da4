"""Loading a variant with whatever runtime this device has for it. Each library is imported when it is first needed."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

from pinnace_contract.latest import Runtime
from pinnace_runtime.adapters import onnx_runtime, tflite
from pinnace_runtime.adapters.model import LoadedModel as LoadedModel
from pinnace_runtime.adapters.model import Quantization as Quantization
from pinnace_runtime.adapters.model import Tensor as Tensor
from pinnace_runtime.errors import RuntimeMissing


def load(runtime: Runtime, path: Path, threads: int = 1) -> LoadedModel:
    """Load a model file.

    Raises:
        RuntimeMissing: this device has no working library for it.
        LoadFailed: the library refuses the file.
    """
    match runtime:
        case Runtime.ONNX:
            return onnx_runtime.OnnxModel(path, threads)
        case Runtime.TFLITE:
            return tflite.TfliteModel(path, threads)
        case Runtime.UNKNOWN:
            raise RuntimeMissing("unknown", "nothing", "the release names a runtime that this program does not know")
        case _:
            assert_never(runtime)


def available() -> tuple[Runtime, ...]:
    """Return the runtimes that load and run a tiny model in this process; a broken library may end it."""
    found = []
    for runtime, probe in ((Runtime.ONNX, onnx_runtime.probe), (Runtime.TFLITE, tflite.probe)):
        try:
            probe()
        except RuntimeMissing:
            continue
        found.append(runtime)
    return tuple(found)
