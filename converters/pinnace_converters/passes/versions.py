"""The names and versions of the libraries behind the passes, as records carry them."""

from __future__ import annotations

from importlib import metadata


def onnx() -> str:
    """The ``onnx`` package."""
    return f"onnx {metadata.version('onnx')}"


def onnxruntime() -> str:
    """The ``onnxruntime`` package."""
    return f"onnxruntime {metadata.version('onnxruntime')}"
