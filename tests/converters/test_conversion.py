"""The whole way from a model file to a draft that a device can check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from pinnace_contract.ids import ModelName, VersionName, digest_of
from pinnace_contract.latest import AssetKind, Datatype, Precision, Release, Runtime, Variant
from pinnace_converters import Draft, Options, Progress, convert, declaration
from pinnace_converters.errors import (
    DataInvalid,
    DeclarationInvalid,
    ModelRefused,
    NoVariant,
    OutputUnusable,
    SandboxEnded,
)
from pinnace_converters.options import AssetFile, Limits
from pinnace_runtime import adapters, golden
from pinnace_runtime.pipeline import Pipeline
from tests.converters import graphs
from tests.converters.conftest import quiet
from tests.needs import need_module
from tests.runtime.tflite_writer import BIAS, WEIGHTS
from tests.runtime.tflite_writer import DATA as TFLITE

Array = NDArray[np.generic]


def released(draft: Draft) -> Release:
    return draft.release(model=ModelName("m"), version=VersionName("1"), sequence=1, created_at_s=0)


def on_device(release: Release, variant: Variant, out: Path) -> Pipeline:
    """Load a variant from the blobs, as a device does."""
    model = adapters.load(variant.runtime, out / "blobs" / variant.digest)
    assets = {asset.name: out / "blobs" / asset.blob.digest for asset in release.assets}
    return Pipeline(release, variant, model, assets)


def files(folder: Path, model: bytes, name: str = "model.onnx", **rows: Array) -> tuple[Path, Path]:
    (folder / name).write_bytes(model)
    np.savez(folder / "data.npz", **rows)  # type: ignore[arg-type]
    return folder / name, folder / "data.npz"


def rows(*shape: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- what a good model becomes --------------------------------------------------------------------


def test_a_classifier_becomes_two_checked_variants(digit_draft: tuple[Draft, Path]) -> None:
    draft, _ = digit_draft
    fp32, int8 = draft.variants

    assert [(each.runtime, each.precision) for each in draft.variants] == [
        (Runtime.ONNX, Precision.FP32),
        (Runtime.ONNX, Precision.INT8_STATIC),
    ]
    assert fp32.parity is not None
    assert int8.parity is not None
    assert fp32.parity.snr_db is not None
    assert fp32.parity.snr_db >= 80
    assert int8.parity.agreement is not None
    assert int8.parity.agreement >= 0.98
    assert int8.parity.accuracy is not None
    assert int8.parity.accuracy > 0.85
    assert (int8.parity.samples, int8.parity.held_out) == (300, True)
    assert int8.blob.size_bytes < fp32.blob.size_bytes
    assert [record.name for record in int8.provenance][:2] == ["static-check", "checker"]
    assert [record.output for record in int8.provenance][-1] == int8.digest
    for before, after in zip(int8.provenance, int8.provenance[1:], strict=False):
        assert before.output == after.input


def test_the_contract_says_what_applications_send_and_get(digit_draft: tuple[Draft, Path]) -> None:
    contract = digit_draft[0].contract

    assert [(s.name, s.datatype, s.shape, s.unit) for s in contract.inputs] == [
        ("x", Datatype.FP32, (-1, 64), "share of ink")
    ]
    assert [(s.name, s.shape, s.classes) for s in contract.outputs] == [("scores", (-1, 10), graphs.CLASSES)]


def test_every_blob_lies_beside_the_draft_under_its_digest(digit_draft: tuple[Draft, Path]) -> None:
    draft, out = digit_draft

    assert {path.name for path in (out / "blobs").iterdir()} == {blob.digest for blob in draft.blobs()}
    for blob in draft.blobs():
        content = (out / "blobs" / blob.digest).read_bytes()
        assert (digest_of(content), len(content)) == (blob.digest, blob.size_bytes)
    assert Draft.from_json((out / "draft.json").read_bytes()) == draft


def test_a_device_passes_the_golden_vectors_with_each_variant(digit_draft: tuple[Draft, Path]) -> None:
    draft, out = digit_draft
    release = released(draft)
    vectors = (out / "blobs" / release.golden.blob.digest).read_bytes()

    for variant in release.variants:
        tolerance = golden.tolerance_for(release.golden, variant)
        assert golden.check(on_device(release, variant, out), vectors, tolerance).passed
    assert release.golden.vectors == 16


def test_the_variants_mixed_up_fail_the_golden_vectors(digit_draft: tuple[Draft, Path]) -> None:
    draft, out = digit_draft
    release = released(draft)
    fp32, int8 = release.variants

    found = golden.check(
        on_device(release, int8, out),
        (out / "blobs" / release.golden.blob.digest).read_bytes(),
        golden.tolerance_for(release.golden, fp32),
    )

    assert not found.passed


def test_the_same_files_and_seed_give_the_same_bytes(
    digit_files: Path, digit_draft: tuple[Draft, Path], tmp_path: Path
) -> None:
    first, _ = digit_draft

    again = convert(
        digit_files / "model.onnx",
        digit_files / "calibration.npz",
        digit_files / "heldout.npz",
        Options(),
        tmp_path / "out",
        quiet,
    )

    assert {blob.digest for blob in again.blobs()} == {blob.digest for blob in first.blobs()}


# --- declared processing --------------------------------------------------------------------------


def test_raw_input_of_another_type_goes_through_declared_steps(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)
    declared = declaration.parse(
        b'{"before": [{"op": "scale", "tensor": "x", "factor": 0.00392156862745098},'
        b' {"op": "transpose", "tensor": "x", "axes": [0, 3, 1, 2]}],'
        b' "after": [{"op": "argmax", "tensor": "y"}]}'
    )
    model, data = files(tmp_path, graphs.convolution(), x=pixels)

    draft = convert(
        model, data, None, Options(declaration=declared, precisions=(Precision.FP32,)), tmp_path / "o", quiet
    )

    assert [(s.datatype, s.shape) for s in (*draft.contract.inputs, *draft.contract.outputs)] == [
        (Datatype.UINT8, (-1, 8, 8, 3)),
        (Datatype.INT64, (-1,)),
    ]
    release = released(draft)
    vectors = (tmp_path / "o" / "blobs" / release.golden.blob.digest).read_bytes()
    assert golden.read(vectors).inputs["x"].dtype == np.uint8
    pipeline = on_device(release, release.variants[0], tmp_path / "o")
    assert golden.check(pipeline, vectors, release.golden.tolerances[0]).passed


def test_an_image_model_gets_an_int8_variant_through_its_steps(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)
    declared = declaration.parse(
        b'{"before": [{"op": "scale", "tensor": "x", "factor": 0.00392156862745098},'
        b' {"op": "transpose", "tensor": "x", "axes": [0, 3, 1, 2]}]}'
    )
    model, data = files(tmp_path, graphs.convolution(), x=pixels)

    draft = convert(
        model,
        data,
        None,
        Options(declaration=declared, precisions=(Precision.INT8_STATIC,), force="noise has no classes to agree on"),
        tmp_path / "o",
        quiet,
    )

    assert draft.report.candidates[0].census is not None
    assert draft.report.candidates[0].census.quantized == 2
    assert not draft.report.held_out
    assert "kept apart" in draft.report.notes[0]


def test_a_graph_of_the_release_is_a_step(tmp_path: Path) -> None:
    graph = graphs.model(
        [helper.make_node("Relu", ["raw"], ["x"])], [graphs.floats("raw", "N", 4)], [graphs.floats("x", "N", 4)]
    )
    (tmp_path / "pre.onnx").write_bytes(graph)
    model, data = files(tmp_path, graphs.linear(WEIGHTS, BIAS), raw=rows(40, 4))
    options = Options(
        declaration=declaration.parse(b'{"before": [{"op": "graph", "asset": "pre"}]}'),
        assets=(AssetFile(name="pre", kind=AssetKind.GRAPH, path=tmp_path / "pre.onnx"),),
        precisions=(Precision.FP32,),
    )

    draft = convert(model, data, None, options, tmp_path / "o", quiet)

    release = released(draft)
    pipeline = on_device(release, release.variants[0], tmp_path / "o")
    answer = pipeline.infer({"raw": np.array([[-1, -1, -1, -1]], np.float32)})
    np.testing.assert_allclose(answer["y"], [BIAS], rtol=1e-5)


# --- TFLite ---------------------------------------------------------------------------------------


def test_a_tflite_file_is_a_variant_by_itself(tmp_path: Path) -> None:
    need_module("ai_edge_litert")
    model, data = files(tmp_path, (TFLITE / "linear_int8.tflite").read_bytes(), "m.tflite", x=rows(40, 4))

    draft = convert(model, data, None, Options(), tmp_path / "o", quiet)

    variant = draft.variants[0]
    assert (variant.runtime, variant.precision) == (Runtime.TFLITE, Precision.INT8_STATIC)
    assert variant.digest == digest_of((TFLITE / "linear_int8.tflite").read_bytes())
    assert [(s.name, s.datatype) for s in draft.contract.inputs] == [("x", Datatype.FP32)]
    release = released(draft)
    vectors = (tmp_path / "o" / "blobs" / release.golden.blob.digest).read_bytes()
    assert golden.check(on_device(release, variant, tmp_path / "o"), vectors, release.golden.tolerances[0]).passed


def test_a_tflite_file_beside_an_onnx_source_is_compared_with_it(tmp_path: Path) -> None:
    need_module("ai_edge_litert")
    model, data = files(tmp_path, graphs.linear(WEIGHTS, BIAS), x=rows(200, 4))

    draft = convert(
        model,
        data,
        None,
        Options(precisions=(Precision.FP32,), variants=(TFLITE / "linear_fp32.tflite",)),
        tmp_path / "o",
        quiet,
    )

    assert [each.runtime for each in draft.variants] == [Runtime.ONNX, Runtime.TFLITE]
    assert draft.variants[1].parity is not None
    assert draft.variants[1].parity.snr_db is not None
    assert draft.variants[1].parity.snr_db > 100


def test_a_tflite_file_of_another_model_is_refused(tmp_path: Path) -> None:
    need_module("ai_edge_litert")
    model, data = files(tmp_path, graphs.linear(WEIGHTS[::-1].copy(), BIAS), x=rows(200, 4))

    draft = convert(
        model,
        data,
        None,
        Options(precisions=(Precision.FP32,), variants=(TFLITE / "linear_fp32.tflite",)),
        tmp_path / "o",
        quiet,
    )

    assert [each.offered for each in draft.report.candidates] == [True, False]
    assert "signal-to-noise" in draft.report.candidates[1].reasons[0]


# --- what is refused ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wrongly_calibrated(digit_files: Path) -> tuple[Path, Path, Path]:
    """Digits with calibration data of a hundredth of the range."""
    x, _ = graphs.digits()
    np.savez(digit_files / "wrong.npz", x=x[:150] / 100)
    return digit_files / "model.onnx", digit_files / "wrong.npz", digit_files / "heldout.npz"


def test_a_wrongly_calibrated_int8_is_refused_and_the_rest_is_offered(
    wrongly_calibrated: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    draft = convert(*wrongly_calibrated, Options(), tmp_path / "o", quiet)

    assert [each.precision for each in draft.variants] == [Precision.FP32]
    refused = draft.report.candidates[1]
    assert (refused.offered, refused.precision) == (False, Precision.INT8_STATIC)
    assert "agreement with the source" in refused.reasons[0]
    assert "accuracy" in refused.reasons[0]


def test_with_nothing_else_to_offer_the_conversion_fails_and_leaves_nothing(
    wrongly_calibrated: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(NoVariant, match="agreement") as raised:
        convert(*wrongly_calibrated, Options(precisions=(Precision.INT8_STATIC,)), tmp_path / "o", quiet)

    assert not raised.value.report.candidates[0].offered
    assert list(tmp_path.iterdir()) == []


def test_a_forced_variant_carries_its_reason_and_still_fails_on_the_device(
    wrongly_calibrated: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "o"
    draft = convert(
        *wrongly_calibrated, Options(precisions=(Precision.INT8_STATIC,), force="promised for today"), out, quiet
    )

    variant = draft.variants[0]
    assert variant.parity is not None
    assert variant.parity.forced == "promised for today"
    assert draft.report.candidates[0].reasons
    release = released(draft)
    vectors = (out / "blobs" / release.golden.blob.digest).read_bytes()
    assert not golden.check(on_device(release, variant, out), vectors, release.golden.tolerances[0]).passed


def test_labels_may_take_the_place_of_agreement(wrongly_calibrated: tuple[Path, Path, Path], tmp_path: Path) -> None:
    draft = convert(*wrongly_calibrated, Options(accuracy_loss_max=1.0), tmp_path / "o", quiet)

    assert [each.offered for each in draft.report.candidates] == [True, True]
    assert [each.parity.forced for each in draft.variants if each.parity] == ["", ""]


def test_a_model_without_anything_to_quantize_is_offered_as_it_is(tmp_path: Path) -> None:
    relu = graphs.model(
        [helper.make_node("Relu", ["x"], ["y"])], [graphs.floats("x", "N", 4)], [graphs.floats("y", "N", 4)]
    )
    model, data = files(tmp_path, relu, x=rows(40, 4))

    draft = convert(model, data, None, Options(), tmp_path / "o", quiet)

    assert [each.precision for each in draft.variants] == [Precision.FP32]
    assert "pass 'quantize-static' failed: no operator was quantized" in draft.report.candidates[1].reasons[0]


QUICK = Limits(cpu_s=3, wall_s=100.0, memory_bytes=2 * 1024**3)


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (b"no model at all", ModelRefused, "not an ONNX model"),
        (b"\x08\x08", ModelRefused, "not an ONNX model"),
        (b"\x1c\0\0\0TFL3" + bytes(40), ModelRefused, "expected 1 to 64 graphs, found 0"),
        ((TFLITE / "endless.tflite").read_bytes(), SandboxEnded, "SIGSEGV"),
        (graphs.random_answers(), ModelRefused, "differs between two runs"),
        (graphs.endless_loop(), SandboxEnded, "processor"),
        (graphs.memory_bomb(), ModelRefused, "failed|memory|allocate"),
    ],
    ids=[
        "text",
        "an empty message",
        "a hollow tflite",
        "a deep tflite",
        "random answers",
        "an endless loop",
        "a memory bomb",
    ],
)
def test_a_hostile_or_useless_file_is_an_error_and_nothing_worse(
    content: bytes, error: type[Exception], says: str, tmp_path: Path
) -> None:
    if content[4:8] == b"TFL3":
        need_module("ai_edge_litert")
    model, data = files(tmp_path, content, x=rows(20, 4))

    with pytest.raises(error, match=says):
        convert(model, data, None, Options(limits=QUICK), tmp_path / "o", quiet)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"wrong": rows(20, 4)}, DataInvalid, r"expected an array .*'x' as FP32 \[\?, 4\].*found \['wrong'\]"),
        ({"x": rows(20, 5)}, DataInvalid, r"expected FP32 \[\?, 4\].*found FP32 \[\d+, 5\]"),
        ({"x": rows(20, 4).astype(np.float64)}, DataInvalid, "expected FP32 .*found FP64"),
        ({"x": rows(3, 4)}, DataInvalid, "at least 8 rows, found 3"),
    ],
    ids=["name", "shape", "type", "count"],
)
def test_data_that_does_not_fit_the_model_says_what_was_expected(
    given: dict[str, Array], error: type[Exception], says: str, tmp_path: Path
) -> None:
    model, data = files(tmp_path, graphs.linear(WEIGHTS, BIAS), **given)

    with pytest.raises(error, match=says):
        convert(model, data, None, Options(), tmp_path / "o", quiet)


def test_a_step_for_a_tensor_that_is_not_there_says_so(tmp_path: Path) -> None:
    model, data = files(tmp_path, graphs.linear(WEIGHTS, BIAS), x=rows(20, 4))
    declared = declaration.parse(b'{"after": [{"op": "softmax", "tensor": "z"}]}')

    with pytest.raises(DeclarationInvalid, match="for the tensor 'z'; there are 'y'"):
        convert(model, data, None, Options(declaration=declared), tmp_path / "o", quiet)


def test_classes_that_are_not_as_many_as_the_answers_are_refused(tmp_path: Path) -> None:
    model, data = files(tmp_path, graphs.linear(WEIGHTS, BIAS), x=rows(20, 4))
    declared = declaration.parse(b'{"outputs": [{"name": "y", "classes": ["a", "b"]}]}')

    with pytest.raises(DeclarationInvalid, match="3 values and 2 classes"):
        convert(model, data, None, Options(declaration=declared), tmp_path / "o", quiet)


# --- nothing half-done -------------------------------------------------------------------------------


class Cancelled(Exception):
    pass


@pytest.mark.parametrize("at", ["source: load", "build onnx int8-static: quantize-static", "measure onnx fp32: run"])
def test_cancelling_at_any_time_leaves_nothing(at: str, digit_files: Path, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.what == at:
            raise Cancelled

    with pytest.raises(Cancelled):
        convert(
            digit_files / "model.onnx",
            digit_files / "calibration.npz",
            None,
            Options(),
            tmp_path / "o",
            stop,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_anything_else_in_it_is_refused_before_any_work(tmp_path: Path, digit_files: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")

    with pytest.raises(OutputUnusable, match=r"thesis\.tex"):
        convert(digit_files / "model.onnx", digit_files / "calibration.npz", None, Options(), tmp_path, quiet)
    assert (tmp_path / "thesis.tex").exists()


def test_an_earlier_result_is_replaced_as_a_whole(tmp_path: Path) -> None:
    out = tmp_path / "o"
    (out / "blobs").mkdir(parents=True)
    (out / "blobs" / "old").write_text("old")
    model, data = files(tmp_path, graphs.linear(WEIGHTS, BIAS), x=rows(40, 4))

    convert(model, data, None, Options(precisions=(Precision.FP32,)), out, quiet)

    assert not (out / "blobs" / "old").exists()
    assert (out / "draft.json").exists()


def test_progress_counts_up_to_the_end(tmp_path: Path) -> None:
    model, data = files(tmp_path, graphs.linear(WEIGHTS, BIAS), x=rows(40, 4))
    seen: list[Progress] = []

    convert(model, data, None, Options(precisions=(Precision.FP32,)), tmp_path / "o", seen.append)

    assert [each.done for each in seen] == sorted(each.done for each in seen)
    assert (seen[-1].done, seen[-1].total) == (3, 3)
