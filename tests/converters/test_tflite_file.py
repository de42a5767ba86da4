"""The static check of TFLite files, and what their tensors say they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace_contract.latest import Precision
from pinnace_converters import tflite_file
from pinnace_converters.errors import ModelRefused
from tests.needs import need_module
from tests.runtime.tflite_writer import DATA


@pytest.fixture(autouse=True)
def _litert() -> None:
    need_module("ai_edge_litert")


def test_a_float_file_is_fp32() -> None:
    found = tflite_file.inspect((DATA / "linear_fp32.tflite").read_bytes())

    assert (found.precision, found.nodes, found.quantized) == (Precision.FP32, 1, 0)
    assert found.weights_float32_bytes == (3 * 4 + 3) * 4


def test_an_int8_file_is_static_int8() -> None:
    found = tflite_file.inspect((DATA / "linear_int8.tflite").read_bytes())

    assert (found.precision, found.quantized) == (Precision.INT8_STATIC, 1)
    assert (found.weights_int8_bytes, found.weights_other_bytes) == (12, 12)


@pytest.mark.parametrize("content", [b"", b"TFL3", bytes(8), b"\x1c\0\0\0TFL3", b"\xff\xff\xff\x7fTFL3" + bytes(20)])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(ModelRefused):
        tflite_file.inspect(content)


@given(
    st.sampled_from(["linear_fp32.tflite", "linear_int8.tflite"]),
    st.integers(0, 680),
    st.binary(min_size=1, max_size=8),
)
def test_a_damaged_file_is_refused_or_read_and_never_an_error_of_another_kind(name: str, at: int, noise: bytes) -> None:
    whole = (DATA / name).read_bytes()

    try:
        tflite_file.inspect(whole[:at] + noise + whole[at + len(noise) :])
    except ModelRefused:
        return
