"""What a conversion runs on: the programs and libraries whose versions can change its result."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from pinnace_contract.fields import limited

# Of those that are not installed nothing is said: none of them took part.
_PACKAGES: Final = ("pinnace", "numpy", "onnx", "onnxruntime", "ai-edge-litert", "tflite-runtime", "protobuf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One of them, with its version."""

    name: str = limited(chars=64)
    version: str = limited(chars=64)


def tools() -> tuple[Tool, ...]:
    """Return what is here, by name. The machine counts too: kernels differ between processors."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return tuple(Tool(name=name, version=version[:64]) for name, version in sorted(found.items()))
