"""Runs ONNX files with onnxruntime, on the CPU, with little memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pinnace_contract.latest import Datatype
from pinnace_runtime.adapters.model import Tensor
from pinnace_runtime.arrays import Array
from pinnace_runtime.errors import LoadFailed, RunFailed, RuntimeMissing

NAME: Final = "onnxruntime"

_DATATYPES: Final = {
    "tensor(bool)": Datatype.BOOL,
    "tensor(uint8)": Datatype.UINT8,
    "tensor(uint16)": Datatype.UINT16,
    "tensor(uint32)": Datatype.UINT32,
    "tensor(uint64)": Datatype.UINT64,
    "tensor(int8)": Datatype.INT8,
    "tensor(int16)": Datatype.INT16,
    "tensor(int32)": Datatype.INT32,
    "tensor(int64)": Datatype.INT64,
    "tensor(float16)": Datatype.FP16,
    "tensor(float)": Datatype.FP32,
    "tensor(double)": Datatype.FP64,
}

# y = Identity(x), one float32, opset 13: what the probe loads and runs.
PROBE_MODEL: Final = (
    b'\x08\x07\x12\x00:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01p'
    b"Z\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01"
    b"B\x04\n\x00\x10\r"
)


class OnnxModel:
    """One inference session."""

    def __init__(self, source: Path | bytes, threads: int) -> None:
        library = _library()
        try:
            self._session = library.InferenceSession(
                str(source) if isinstance(source, Path) else source,
                _options(library, threads),
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:  # its own exception classes share no root of their own
            raise LoadFailed(NAME, str(error)) from error
        self.inputs = tuple(_tensor(each) for each in self._session.get_inputs())
        self.outputs = tuple(_tensor(each) for each in self._session.get_outputs())
        self.version = f"{NAME} {library.__version__}"
        self._names = [tensor.name for tensor in self.outputs]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once."""
        try:
            answers: list[Array] = self._session.run(self._names, dict(feeds))
        except Exception as error:  # as above; a failed allocation is among them
            raise RunFailed(NAME, str(error)) from error
        return dict(zip(self._names, answers, strict=True))


def probe() -> None:
    """Load and run one tiny model.

    Raises:
        RuntimeMissing: not installed, or not working here.
    """
    import numpy as np

    try:
        OnnxModel(PROBE_MODEL, threads=1).run({"x": np.ones(1, np.float32)})
    except (LoadFailed, RunFailed) as error:
        raise RuntimeMissing("onnx", NAME, str(error)) from error


def _library() -> Any:
    # From 1.29 on its Linux builds send names and hashes of models to their maker unless this is set before the import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except Exception as error:  # a wheel for another processor or numpy fails in many ways
        raise RuntimeMissing("onnx", NAME, f"{type(error).__name__}: {error}") from error
    return onnxruntime


def _options(library: Any, threads: int) -> Any:
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = library.ExecutionMode.ORT_SEQUENTIAL
    # ALL rewrites for the processor at hand; EXTENDED is also the most that a variant was saved with.
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    # The arena keeps the largest batch ever seen: after one of 256 a small ResNet held 22 MiB more with it, at the same
    # speed (p50 442 and 442 µs).
    options.enable_cpu_mem_arena = False
    # Spinning threads buy microseconds with a core; a device has other work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # its errors come back as exceptions; the rest would go to the process's stderr
    return options


def _tensor(found: Any) -> Tensor:
    datatype = _DATATYPES.get(found.type)
    if datatype is None:
        raise LoadFailed(NAME, f"tensor {found.name!r} is of type {found.type}; a release's tensors are dense numbers")
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in found.shape)
    return Tensor(name=found.name, datatype=datatype, shape=shape)
