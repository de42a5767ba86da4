"""What each declared step does to an array, and which steps are refused before there is any."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    Scale,
    Softmax,
    Step,
    Transpose,
    UnknownStep,
)
from pinnace_runtime import steps
from pinnace_runtime.arrays import Array, dtype_of
from pinnace_runtime.errors import ContractMismatch, StepUnsupported

F32 = np.float32


def run(step: Step, x: Array) -> Array:
    values = {"x": x}
    for each in steps.prepare([step], {}):
        each(values)
    return values["x"]


CASES: list[tuple[str, Step, Array, Array]] = [
    (
        "a cast clips to the range and cuts towards zero",
        Cast(tensor="x", datatype=Datatype.UINT8),
        np.array([-3.5, 2.9, 300.0, np.nan, np.inf], F32),
        np.array([0, 2, 255, 0, 255], np.uint8),
    ),
    (
        "a cast of integers clips too",
        Cast(tensor="x", datatype=Datatype.INT8),
        np.array([-300, 5, 300], np.int32),
        np.array([-128, 5, 127], np.int8),
    ),
    (
        "the largest integers survive a cast",
        Cast(tensor="x", datatype=Datatype.INT64),
        np.array([1e30, -1e30], np.float64),
        np.array([9223372036854774784, -9223372036854775808], np.int64),
    ),
    ("scale works in float32", Scale(tensor="x", factor=0.5, offset=1), np.array([2], np.uint8), np.array([2], F32)),
    (
        "normalize works along its axis",
        Normalize(tensor="x", axis=-1, mean=(1.0, 2.0), std=(2.0, 4.0)),
        np.array([[3.0, 10.0]], F32),
        np.array([[1.0, 2.0]], F32),
    ),
    ("clip keeps floats", Clip(tensor="x", low=0, high=1), np.array([-1, 0.5, 2], F32), np.array([0, 0.5, 1], F32)),
    (
        "clip keeps integers, limits outside their range included",
        Clip(tensor="x", low=-5, high=1000.5),
        np.array([0, 255], np.uint8),
        np.array([0, 255], np.uint8),
    ),
    (
        "transpose",
        Transpose(tensor="x", axes=(0, 2, 1)),
        np.arange(6).reshape(1, 2, 3),
        np.array([[[0, 3], [1, 4], [2, 5]]]),
    ),
    ("reshape works one size out", Reshape(tensor="x", shape=(-1, 2)), np.arange(6), np.arange(6).reshape(3, 2)),
    (
        "softmax sums to one",
        Softmax(tensor="x"),
        np.array([[0.0, 0.0], [1e4, 0.0]], F32),
        np.array([[0.5, 0.5], [1, 0]], F32),
    ),
    ("argmax is int64", ArgMax(tensor="x"), np.array([[1, 3, 2]], F32), np.array([1], np.int64)),
    (
        "nearest takes the pixel under each centre and keeps the type",
        Resize(tensor="x", layout="HW", height=1, width=4, method=ResizeMethod.NEAREST),
        np.array([[10, 20]], np.uint8),
        np.array([[10, 10, 20, 20]], np.uint8),
    ),
    (
        "bilinear mixes around each centre and repeats the edge",
        Resize(tensor="x", layout="HW", height=1, width=4),
        np.array([[0, 100]], np.uint8),
        np.array([[0, 25, 75, 100]], F32),
    ),
]


@pytest.mark.parametrize(("step", "x", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_step(step: Step, x: Array, expected: Array) -> None:
    found = run(step, x)

    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_resize_touches_the_image_axes_only(layout: str) -> None:
    shape = {"NHWC": (2, 8, 6, 3), "NCHW": (2, 3, 8, 6)}[layout]
    x = np.random.default_rng(1).random(shape, np.float32)

    found = run(Resize(tensor="x", layout=layout, height=4, width=3), x)

    # Half the size with centres at half is the mean of each block of four.
    axis = layout.index("H")
    blocks = x.reshape(*shape[:axis], 4, 2, 3, 2, *shape[axis + 2 :]).mean(axis=(axis + 1, axis + 3))
    np.testing.assert_allclose(found, blocks, rtol=1e-5)


@given(st.sampled_from(list(Datatype)[:-1]), st.sampled_from(list(Datatype)[:-1]), st.lists(st.integers(-300, 300)))
def test_a_cast_never_wraps_around(source: Datatype, target: Datatype, numbers: list[int]) -> None:
    x = steps.cast(np.array(numbers, np.int64), dtype_of(source))

    found = steps.cast(x, dtype_of(target))

    if Datatype.BOOL not in (source, target):
        wanted = np.clip(x.astype(np.float64), *_range(target))
        np.testing.assert_array_equal(found.astype(np.float64), wanted)


def _range(datatype: Datatype) -> tuple[float, float]:
    dtype = dtype_of(datatype)
    info = np.finfo(dtype.name) if dtype.kind == "f" else np.iinfo(dtype.name)
    return float(info.min), float(info.max)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (UnknownStep(op="blur"), "does not know it"),
        (Cast(tensor="x", datatype=Datatype.UNKNOWN), "datatype"),
        (Resize(tensor="x", layout="HW", height=1, width=1, method=ResizeMethod.UNKNOWN), "method"),
        (Resize(tensor="x", layout="WHAT", height=1, width=1), "layout"),
        (Normalize(tensor="x", axis=0, mean=(1.0,), std=(1.0, 2.0)), "as many"),
        (Normalize(tensor="x", axis=0, mean=(1.0,), std=(0.0,)), "zero"),
        (Graph(asset="pre.onnx"), "no asset"),
    ],
)
def test_a_step_that_cannot_be_done_is_refused_before_any_data(step: Step, says: str) -> None:
    with pytest.raises(StepUnsupported, match=says):
        steps.prepare([step], {"labels.txt": Path("labels.txt")})


@pytest.mark.parametrize(
    "step",
    [
        Scale(tensor="y", factor=1.0),
        Reshape(tensor="x", shape=(7, -1)),
        Transpose(tensor="x", axes=(0, 1, 2)),
        Softmax(tensor="x", axis=5),
        Normalize(tensor="x", axis=1, mean=(1.0,), std=(1.0,)),
        Resize(tensor="x", layout="NHWC", height=1, width=1),
    ],
)
def test_a_step_that_does_not_fit_its_tensor_says_so(step: Step) -> None:
    with pytest.raises(ContractMismatch, match=step.OP):
        run(step, np.zeros((2, 3), np.float32))
