"""What a conversion that is run again is compared by. The whole road is in ``test_registry_verbs``."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pinnace_contract.ids import digest_of
from pinnace_contract.latest import Blob, Chunk, PassRecord, Precision, Runtime, Variant
from pinnace_server.cli.reproduction import compare, other_tools


def variant(content: bytes, precision: Precision = Precision.FP32, *steps: PassRecord) -> Variant:
    digest = digest_of(content)
    chunk = Chunk(digest=digest, size_bytes=len(content))
    blob = Blob(digest=digest, size_bytes=len(content), chunks=(chunk,))
    return Variant(blob=blob, runtime=Runtime.ONNX, precision=precision, peak_memory_bytes=1, provenance=steps)


def step(name: str, output: bytes, tool: str = "onnx 1.17") -> PassRecord:
    return PassRecord(name=name, tool=tool, input=digest_of(b"in"), output=digest_of(output))


CLEAN: Final = step("clean-up", b"clean")
QUANTIZED: Final = step("quantize-static", b"a", "onnxruntime 1.20")


def test_same_bytes_are_the_same() -> None:
    (found,) = compare([variant(b"a")], [variant(b"a")])
    assert (found.variant, found.same, found.first_difference) == ("onnx fp32", True, "")
    assert found.recorded == found.made == digest_of(b"a")


def test_first_step_that_differs_is_named_with_its_tools() -> None:
    other = step("quantize-static", b"b", "onnxruntime 1.21")
    then, now = variant(b"a", Precision.FP32, CLEAN, QUANTIZED), variant(b"b", Precision.FP32, CLEAN, other)
    (found,) = compare([then], [now])
    assert not found.same
    assert found.first_difference == "quantize-static with onnxruntime 1.20 then, onnxruntime 1.21 now"


def test_step_that_differs_with_the_same_tool_says_so() -> None:
    then = variant(b"a", Precision.FP32, QUANTIZED)
    now = variant(b"b", Precision.FP32, replace(QUANTIZED, output=digest_of(b"b")))
    assert compare([then], [now])[0].first_difference == "quantize-static with onnxruntime 1.20, as then"
    told = variant(b"b", Precision.FP32, replace(QUANTIZED, output=digest_of(b"b"), parameters="rows=3"))
    assert "told '' then, 'rows=3' now" in compare([then], [told])[0].first_difference


def test_variant_that_only_one_side_has_is_different() -> None:
    missing, extra = compare([variant(b"a")], [variant(b"b", Precision.INT8_STATIC)])
    assert (missing.same, missing.made, missing.first_difference) == (False, None, "it was not offered this time")
    assert (extra.same, extra.recorded, extra.first_difference) == (False, None, "it was not offered then")


def test_tools_of_other_versions_are_named() -> None:
    found = other_tools({"numpy": "1.26", "onnx": "1.17", "tflite-runtime": "2.14"}, {"numpy": "2.0", "onnx": "1.17"})
    assert [(each.name, each.recorded, each.here) for each in found] == [
        ("numpy", "1.26", "2.0"),
        ("tflite-runtime", "2.14", None),
    ]
    assert other_tools({}, {"numpy": "2.0"}) == []
