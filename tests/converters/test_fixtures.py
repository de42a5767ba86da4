"""Real models from public repositories: the good ones convert, the bad ones are refused and nothing worse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pinnace_contract.latest import Precision, Runtime
from pinnace_converters import Draft, Options, convert
from pinnace_converters.errors import ConversionError, ModelRefused
from tests.converters.conftest import quiet
from tests.needs import need_module

RNG = np.random.default_rng(2)


@pytest.fixture(autouse=True)
def _litert() -> None:
    need_module("ai_edge_litert")


def pictures(models: Path) -> NDArray[np.float32]:
    """Digits blown up to 32 by 32 in three channels of 0..255: no pictures of the training's kind, but pictures."""
    x = np.load(models / "data_digits.npz")["x"]
    grown: NDArray[np.float32] = x.repeat(4, 2).repeat(4, 3).transpose(0, 2, 3, 1).repeat(3, 3) * np.float32(255)
    return grown


def sounds(models: Path) -> NDArray[np.float32]:
    windows = np.load(models / "data_kws.npy").astype(np.float32).reshape(-1, 49, 10, 1)
    found: NDArray[np.float32] = windows[np.random.default_rng(0).permutation(len(windows))]
    return found


def run(source: Path, tmp_path: Path, options: Options, **rows: NDArray[np.generic]) -> Draft:
    np.savez(tmp_path / "data.npz", **rows)  # type: ignore[arg-type]
    return convert(source, tmp_path / "data.npz", None, options, tmp_path / "out", quiet)


def test_resnet8_with_its_tflite_twins(models: Path, tmp_path: Path) -> None:
    draft = run(
        models / "derived_onnx" / "ic_resnet8_fp32.onnx",
        tmp_path,
        Options(variants=(models / "ic_resnet8_fp32.tflite", models / "ic_resnet8_int8.tflite"), agreement_min=0.8),
        input_1=pictures(models)[:300],
    )

    assert [(each.runtime, each.precision) for each in draft.variants] == [
        (Runtime.ONNX, Precision.FP32),
        (Runtime.ONNX, Precision.INT8_STATIC),
        (Runtime.TFLITE, Precision.FP32),
        (Runtime.TFLITE, Precision.INT8_STATIC),
    ]
    fp32, int8, twin, _ = draft.variants
    assert int8.blob.size_bytes * 2.5 < draft.report.source.size_bytes
    assert fp32.parity is not None
    assert twin.parity is not None
    assert fp32.parity.snr_db is not None
    assert fp32.parity.snr_db >= 80
    assert twin.parity.snr_db is not None
    assert twin.parity.snr_db >= 80


def test_digits_keep_their_accuracy_in_int8(models: Path, tmp_path: Path) -> None:
    data = np.load(models / "data_digits.npz")
    np.savez(tmp_path / "held.npz", x=data["x"], labels=data["y"])
    np.savez(tmp_path / "cal.npz", x=data["cal"])

    draft = convert(
        models / "derived_onnx" / "digits_cnn.onnx",
        tmp_path / "cal.npz",
        tmp_path / "held.npz",
        Options(),
        tmp_path / "out",
        quiet,
    )

    int8 = draft.variants[1]
    assert draft.report.source.accuracy is not None
    assert int8.parity is not None
    assert int8.parity.accuracy is not None
    assert int8.parity.accuracy >= draft.report.source.accuracy - 0.005
    assert int8.blob.size_bytes * 3 < draft.report.source.size_bytes


def test_a_file_called_float_that_holds_int8_weights_is_told_by_its_tensors(models: Path, tmp_path: Path) -> None:
    draft = run(models / "kws_dscnn_fp32.tflite", tmp_path, Options(), input_1=sounds(models)[:100])

    assert draft.variants[0].precision is Precision.INT8_DYNAMIC


def test_an_old_export_converts(models: Path, tmp_path: Path) -> None:
    images = RNG.random((60, 1, 28, 28), np.float32) * 255

    draft = run(models / "mnist_cntk.onnx", tmp_path, Options(agreement_min=0.5), Input3=images)

    assert [each.precision for each in draft.variants] == [Precision.FP32, Precision.INT8_STATIC]


REFUSED: list[tuple[str, NDArray[np.generic], type[ConversionError], str]] = [
    (
        "person_detect_int8.tflite",
        RNG.integers(-99, 99, (20, 96, 96, 1)).astype(np.int8),
        ModelRefused,
        "quantized_dim",
    ),
    ("audio_preprocessor_float.tflite", np.zeros((20, 480), np.int16), ModelRefused, "custom operator 'SignalWindow'"),
    ("superres_prepost_op18.onnx", np.zeros((20, 10), np.uint8), ModelRefused, "standard ONNX operators"),
    ("person.bmp", np.zeros((20, 10), np.uint8), ModelRefused, "not an ONNX model"),
]


@pytest.mark.parametrize(("name", "x", "error", "says"), REFUSED, ids=[each[0] for each in REFUSED])
def test_a_model_that_no_device_could_run_is_refused(
    name: str, x: NDArray[np.generic], error: type[ConversionError], says: str, models: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        run(models / name, tmp_path, Options(), x=x)
    assert not (tmp_path / "out").exists()


def test_a_model_that_writes_past_its_memory_is_an_error_at_worst(models: Path, tmp_path: Path) -> None:
    # MLPerf's scrambled keyword model in 8 bits ends its runtime by a signal, mostly at once, at times after many
    # answers, and by chance never. `endless.tflite` is the file that always does; here, that nothing of it reaches us.
    rows = RNG.integers(-99, 99, (20, 96)).astype(np.int16)
    try:
        run(models / "keyword_scrambled_8bit.tflite", tmp_path, Options(), x=rows)
    except ConversionError:
        assert not (tmp_path / "out").exists()
    else:
        assert (tmp_path / "out" / "draft.json").exists()
