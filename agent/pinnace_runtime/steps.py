"""The declared steps before and after the model, in numpy. Owns what each step means; ``pipeline.py`` owns their order.

Everything that can be known without data is checked when the steps are prepared, so that a release with a step that
this program does not know is refused before it is activated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

import numpy as np

from pinnace_contract.latest import (
    ArgMax,
    Cast,
    Clip,
    Datatype,
    Graph,
    Normalize,
    Reshape,
    Resize,
    ResizeMethod,
    Runtime,
    Scale,
    Softmax,
    Step,
    Transpose,
    UnknownStep,
)
from pinnace_runtime import adapters
from pinnace_runtime.arrays import Array, as_text, datatype_of, dtype_of
from pinnace_runtime.errors import ContractMismatch, InferenceError, RuntimeMissing, StepUnsupported

if TYPE_CHECKING:
    from numpy.typing import NDArray

Values: TypeAlias = dict[str, Array]
Prepared: TypeAlias = Callable[[Values], None]
"""Changes the values in place: a tensor is replaced, a graph adds its outputs."""

_LAYOUTS: Final = frozenset({"NHWC", "NCHW", "HWC", "CHW", "NHW", "HW"})


def prepare(steps: Sequence[Step], assets: Mapping[str, Path]) -> tuple[Prepared, ...]:
    """Return one function per step.

    Raises:
        StepUnsupported: a step, or an option of it, that this program or device cannot do.
    """
    return tuple(_prepared(step, assets) for step in steps)


def _prepared(step: Step, assets: Mapping[str, Path]) -> Prepared:
    if isinstance(step, UnknownStep):
        raise StepUnsupported(step.op, "this program does not know it; a newer agent may")
    if isinstance(step, Graph):
        return _graph(step, assets)
    change = _change(step)
    tensor, name = step.tensor, step.OP

    def run(values: Values) -> None:
        value = values.get(tensor)
        if value is None:
            raise ContractMismatch(f"step {name!r} is for the tensor {tensor!r}; there are {_names(values)}")
        try:
            values[tensor] = change(value)
        except (ValueError, IndexError) as error:  # numpy's words for a shape or axis that does not fit
            shown = as_text(datatype_of(value.dtype), value.shape)
            raise ContractMismatch(f"step {name!r} does not fit {tensor!r}, which is {shown}: {error}") from error

    return run


_OneTensor: TypeAlias = Cast | Scale | Normalize | Clip | Transpose | Reshape | Resize | Softmax | ArgMax


def _change(step: _OneTensor) -> Callable[[Array], Array]:
    match step:
        case Cast():
            if step.datatype is Datatype.UNKNOWN:
                raise StepUnsupported(step.OP, "its datatype is one that this program does not know")
            dtype = dtype_of(step.datatype)
            return lambda x: cast(x, dtype)
        case Scale():
            factor, offset = np.float32(step.factor), np.float32(step.offset)
            return lambda x: x.astype(np.float32) * factor + offset
        case Normalize():
            return _normalize(step)
        case Clip():
            return lambda x: clip(x, step.low, step.high)
        case Transpose():
            return lambda x: np.ascontiguousarray(x.transpose(step.axes))
        case Reshape():
            return lambda x: x.reshape(step.shape)
        case Resize():
            return _resize(step)
        case Softmax():
            return lambda x: softmax(x, step.axis)
        case ArgMax():
            return lambda x: argmax(x, step.axis)
        case _:
            assert_never(step)


def cast(x: Array, dtype: np.dtype[np.generic]) -> Array:
    """Change the element type as ONNX Cast does (towards zero), with values outside the type's range clipped to it.

    NaN becomes 0 in an integer type.
    """
    if dtype == x.dtype:
        return x
    if dtype.kind == "b" or x.dtype.kind == "b":
        return x.astype(dtype)
    if dtype.kind == "f":
        limit = np.finfo(dtype.name).max
        wide = x.astype(np.float64)
        return np.where(np.isinf(wide), wide, np.clip(wide, -limit, limit)).astype(dtype)
    info = np.iinfo(dtype.name)
    if x.dtype.kind == "f":
        wide = np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf)
        # The largest 64-bit integers are no doubles; the next smaller double is.
        high = float(info.max) if float(info.max) <= info.max else float(np.nextafter(float(info.max), 0.0))
        return np.clip(np.trunc(wide), float(info.min), high).astype(dtype)
    own = np.iinfo(x.dtype.name)
    low, high_int = max(info.min, own.min), min(info.max, own.max)
    return np.clip(x, np.array(low, x.dtype), np.array(high_int, x.dtype)).astype(dtype)


def clip(x: Array, low: float, high: float) -> Array:
    """Limit values to ``low..high`` in the tensor's own type."""
    if x.dtype.kind == "f":
        return np.clip(x, np.array(low, x.dtype), np.array(high, x.dtype))
    return cast(np.clip(x.astype(np.float64), np.ceil(low), np.floor(high)), x.dtype)


def softmax(x: Array, axis: int) -> NDArray[np.float32]:
    """Return exponentials that sum to one along ``axis``."""
    wide = x.astype(np.float32)
    powers = np.exp(wide - wide.max(axis=axis, keepdims=True))
    shares: NDArray[np.float32] = powers / powers.sum(axis=axis, keepdims=True)
    return shares


def argmax(x: Array, axis: int) -> Array:
    """Return the index of the largest value along ``axis``, int64."""
    places: Array = np.asarray(x.argmax(axis=axis)).astype(np.int64)
    return places


def _normalize(step: Normalize) -> Callable[[Array], Array]:
    mean, std = np.array(step.mean, np.float32), np.array(step.std, np.float32)
    if mean.shape != std.shape:
        raise StepUnsupported(step.OP, f"expected as many means as deviations, found {mean.size} and {std.size}")
    if not (std != 0).all():
        raise StepUnsupported(step.OP, "a deviation of zero divides by zero")

    def change(x: Array) -> Array:
        along = [1] * x.ndim
        along[step.axis] = mean.size
        if x.shape[step.axis] != mean.size:
            raise ValueError(f"axis {step.axis} has {x.shape[step.axis]} elements and there are {mean.size} means")
        return (x.astype(np.float32) - mean.reshape(along)) / std.reshape(along)

    return change


def _resize(step: Resize) -> Callable[[Array], Array]:
    layout = step.layout.upper()
    if layout not in _LAYOUTS:
        raise StepUnsupported(step.OP, f"expected a layout of {', '.join(sorted(_LAYOUTS))}, found {step.layout!r}")
    if step.method is ResizeMethod.UNKNOWN:
        raise StepUnsupported(step.OP, "its method is one that this program does not know")
    along = _nearest if step.method is ResizeMethod.NEAREST else _bilinear
    rows, columns = layout.index("H"), layout.index("W")

    def change(x: Array) -> Array:
        if x.ndim != len(layout):
            raise ValueError(f"the layout {layout} has {len(layout)} axes")
        return along(along(x, rows, step.height), columns, step.width)

    return change


def _nearest(x: Array, axis: int, size: int) -> Array:
    """Take the source pixel under each target pixel's centre; the element type stays."""
    centres = (np.arange(size) + 0.5) * (x.shape[axis] / size)
    picked: Array = x.take(np.minimum(centres.astype(np.int64), x.shape[axis] - 1), axis=axis)
    return picked


def _bilinear(x: Array, axis: int, size: int) -> Array:
    """Mix the two source pixels around each target pixel's centre; float32. Edges repeat."""
    given = x.shape[axis]
    centres = np.clip((np.arange(size) + 0.5) * (given / size) - 0.5, 0, given - 1)
    left = np.floor(centres).astype(np.int64)
    shape = [1] * x.ndim
    shape[axis] = size
    weight = (centres - left).astype(np.float32).reshape(shape)
    wide = x.astype(np.float32)
    right = np.minimum(left + 1, given - 1)
    mixed: NDArray[np.float32] = wide.take(left, axis=axis) * (1 - weight) + wide.take(right, axis=axis) * weight
    return mixed


def _graph(step: Graph, assets: Mapping[str, Path]) -> Prepared:
    path = assets.get(step.asset)
    if path is None:
        raise StepUnsupported(step.OP, f"the release carries no asset {step.asset!r}; it has {_names(assets)}")
    try:
        model = adapters.load(Runtime.ONNX, path)
    except RuntimeMissing as error:
        raise StepUnsupported(step.OP, str(error)) from error
    except InferenceError as error:
        raise StepUnsupported(step.OP, f"asset {step.asset!r}: {error}") from error

    def run(values: Values) -> None:
        missing = [tensor.name for tensor in model.inputs if tensor.name not in values]
        if missing:
            raise ContractMismatch(f"graph {step.asset!r} wants {missing[0]!r}; there are {_names(values)}")
        for tensor in model.inputs:
            found = datatype_of(values[tensor.name].dtype)
            if found is not tensor.datatype:
                raise ContractMismatch(
                    f"graph {step.asset!r} wants {tensor.name!r} as {tensor.datatype}, found {found}; "
                    "a cast step before it is missing"
                )
        values.update(model.run({tensor.name: values[tensor.name] for tensor in model.inputs}))

    return run


def _names(names: Mapping[str, object]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
