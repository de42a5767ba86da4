"""The committed TFLite files are what their writer writes."""

import pytest

from pinnace_runtime.adapters.tflite import PROBE_MODEL
from tests.needs import need_module
from tests.runtime.tflite_writer import DATA, FILES


@pytest.mark.parametrize("name", FILES)
def test_the_writer_still_writes_the_committed_file(name: str) -> None:
    need_module("ai_edge_litert")

    assert FILES[name]() == (DATA / name).read_bytes()


def test_the_probe_carries_one_of_them() -> None:
    assert (DATA / "linear_fp32.tflite").read_bytes() == PROBE_MODEL
