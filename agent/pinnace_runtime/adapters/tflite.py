"""Runs TFLite files with LiteRT, or with tflite-runtime where that is what the board has: one interface, two packages.

tflite-runtime imports with numpy 2 and then fails at the first ``Interpreter``, so the probe makes one. A hostile or
damaged file may end this process: both packages trust the file ("Model files are hostile", docs/architecture.md).
"""

from __future__ import annotations

import base64
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from pinnace_contract.latest import Datatype
from pinnace_runtime.adapters.model import Quantization, Tensor
from pinnace_runtime.arrays import Array, datatype_of
from pinnace_runtime.errors import LoadFailed, RunFailed, RuntimeMissing

# Package that holds ``interpreter.py`` → distribution, in the order of preference.
PACKAGES: Final = {"ai_edge_litert": "ai-edge-litert", "tflite_runtime": "tflite-runtime"}

# One FULLY_CONNECTED from ``x`` [1, 4] to ``y`` [1, 3] in float32; tests/runtime/tflite_writer.py makes it.
PROBE_MODEL: Final = base64.b64decode(
    "CAAAAFRGTDNa////FAAAAIAAAACQAAAA3AEAAAMAAAADAAAAaAAAACgAAAAEAAAA5v///wQAAAAMAAAAAAAAPwAAgL4AAAAAAAAGAAgABAAGAA"
    "AABAAAADAAAAAAAIA/AAAAAAAAAL8AAIA+AACAvwAAAD8AAAA/AAAAAAAAAEAAAIC+AAAAAAAAgD+A////DAAAAHBpbm5hY2UgdGVzdAAAAAAB"
    "AAAAFAAAAAAADgAYABQAEAAMAAgABAAOAAAAFAAAABwAAABkAAAAaAAAAGwAAAAEAAAAbWFpbgAAAAABAAAAFAAAAAAADgAUAAAAEAAMAAsABA"
    "AOAAAAFAAAAAAAAAgQAAAAFAAAAAQABAAEAAAAAQAAAAMAAAADAAAAAAAAAAEAAAACAAAAAQAAAAMAAAABAAAAAAAAAAQAAACUAAAAXAAAACgA"
    "AAAEAAAAiP///wgAAAAMAAAAAQAAAHkAAAACAAAAAQAAAAMAAADc////DAAAAAIAAAAQAAAABAAAAGJpYXMAAAAAAQAAAAMAAAAMABAADAAAAA"
    "gABAAMAAAADAAAAAEAAAAQAAAABwAAAHdlaWdodHMAAgAAAAMAAAAEAAAADAAMAAgAAAAAAAQADAAAAAgAAAAMAAAAAQAAAHgAAAACAAAAAQAA"
    "AAQAAAABAAAAEAAAAAwADAALAAAAAAAEAAwAAAAJAAAAAAAACQ=="
)


class TfliteModel:
    """One interpreter with its tensors allocated."""

    def __init__(self, source: Path | bytes, threads: int, packages: tuple[str, ...] = tuple(PACKAGES)) -> None:
        interpreter, self._library, self.version = _library(packages)
        content = {"model_path": str(source)} if isinstance(source, Path) else {"model_content": source}
        try:
            self._interpreter = interpreter(**content, num_threads=threads)
            self._interpreter.allocate_tensors()
            given, taken = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        except Exception as error:  # ValueError, RuntimeError, or numpy's ImportError, whichever gave up first
            raise LoadFailed(self._library, f"{type(error).__name__}: {error}") from error
        self.inputs = tuple(self._tensor(details) for details in given)
        self.outputs = tuple(self._tensor(details) for details in taken)
        for tensors in (self.inputs, self.outputs):
            if len({tensor.name for tensor in tensors}) != len(tensors):
                raise LoadFailed(self._library, "two of its inputs or outputs have the same name")
        self._input_indices = {details["name"]: int(details["index"]) for details in given}
        self._output_indices = {details["name"]: int(details["index"]) for details in taken}
        self._shapes = {details["name"]: tuple(int(size) for size in details["shape"]) for details in given}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; inputs whose declared size is free are resized first."""
        try:
            self._resize(feeds)
            for name, value in feeds.items():
                self._interpreter.set_tensor(self._input_indices[name], value)
            self._interpreter.invoke()
            return {name: self._interpreter.get_tensor(index) for name, index in self._output_indices.items()}
        except Exception as error:  # ValueError and RuntimeError, by operator
            raise RunFailed(self._library, str(error)) from error

    def _resize(self, feeds: Mapping[str, Array]) -> None:
        changed = {name: value.shape for name, value in feeds.items() if value.shape != self._shapes[name]}
        if changed:
            for name, shape in changed.items():
                self._interpreter.resize_tensor_input(self._input_indices[name], list(shape), strict=True)
            self._interpreter.allocate_tensors()
            self._shapes.update(changed)

    def _tensor(self, details: Any) -> Tensor:
        datatype = datatype_of(details["dtype"])
        if datatype is Datatype.UNKNOWN:
            found = getattr(details["dtype"], "__name__", "?")
            raise LoadFailed(self._library, f"tensor {details['name']!r} is of type {found}; expected numbers")
        signature = details.get("shape_signature", details["shape"])
        # A scalar's signature is empty; so is that of files older than signatures, whose shape then stands.
        shape = tuple(int(size) for size in (signature if len(signature) else details["shape"]))
        return Tensor(
            name=details["name"], datatype=datatype, shape=shape, quantization=_quantization(datatype, details)
        )


def probe(packages: tuple[str, ...] = tuple(PACKAGES)) -> None:
    """Construct an interpreter and run one tiny model.

    Raises:
        RuntimeMissing: not installed, or not working here.
    """
    try:
        TfliteModel(PROBE_MODEL, 1, packages).run({"x": np.ones((1, 4), np.float32)})
    except (LoadFailed, RunFailed) as error:
        raise RuntimeMissing("tflite", " or ".join(PACKAGES.values()), str(error)) from error


def _library(packages: tuple[str, ...]) -> tuple[Any, str, str]:
    problems = []
    for package in packages:
        try:
            interpreter = importlib.import_module(f"{package}.interpreter").Interpreter
            version = str(importlib.import_module(package).__version__)  # importlib.metadata would cost 2 MiB
        except Exception as error:  # a wheel for another processor or numpy fails in many ways
            problems.append(f"{PACKAGES[package]}: {type(error).__name__}: {error}")
            continue
        name = PACKAGES[package]
        return interpreter, name, f"{name} {version}"
    raise RuntimeMissing("tflite", " or ".join(PACKAGES.values()), "; ".join(problems))


def _quantization(datatype: Datatype, details: Any) -> Quantization | None:
    scale, zero_point = details["quantization"]
    integers = (Datatype.INT8, Datatype.UINT8, Datatype.INT16)
    if datatype not in integers or not scale > 0:
        return None
    return Quantization(scale=float(scale), zero_point=int(zero_point))
