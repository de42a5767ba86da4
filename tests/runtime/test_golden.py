"""Golden vectors: what passes, what does not, and which numbers say so."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pinnace_contract.codec import plain as as_plain
from pinnace_contract.latest import Precision, Runtime, Tolerance
from pinnace_runtime import array_file, golden
from pinnace_runtime.errors import ArraysInvalid, ContractMismatch
from pinnace_runtime.pipeline import Pipeline
from tests.runtime.releases import FakeModel, release, spec, tensor, variant

RNG = np.random.default_rng(7)
X = RNG.normal(size=(16, 4)).astype(np.float32)


def tolerance(**limits: float) -> Tolerance:
    return Tolerance(runtime=Runtime.ONNX, precision=Precision.FP32, **limits)


def pipeline(noise: float = 0.0, swap: bool = False, nan: bool = False) -> Pipeline:
    def answer(feeds: dict) -> dict:
        y = feeds["x"] * 2 + np.float32(noise)
        y = y[:, ::-1] if swap else y
        return {"y": y * np.float32("nan") if nan else y}

    of = release((spec("x", -1, 4),), (spec("y", -1, 4),))
    return Pipeline(of, of.variants[0], FakeModel((tensor("x", -1, 4),), (tensor("y", -1, 4),), answer), {})


def file(x: NDArray[np.float32] = X) -> bytes:
    return golden.write({"x": x}, {"y": x * 2})


def test_equal_answers_pass_with_no_error_at_all() -> None:
    found = golden.check(pipeline(), file(), tolerance(max_abs=0.0, snr_db_min=150.0, agreement_min=1.0))

    assert (found.vectors, found.passed, found.max_abs, found.snr_db, found.agreement) == (16, True, 0.0, 200.0, 1.0)


@pytest.mark.parametrize(
    ("limits", "passes"),
    [
        ({"max_abs": 0.2}, True),
        ({"max_abs": 0.05}, False),
        ({"snr_db_min": 5.0}, True),
        ({"snr_db_min": 80.0}, False),
        ({"agreement_min": 1.0}, True),
        ({}, True),
    ],
)
def test_each_limit_decides_alone(limits: dict[str, float], passes: bool) -> None:
    found = golden.check(pipeline(noise=0.1), file(), tolerance(**limits))

    assert found.passed is passes
    assert found.max_abs == pytest.approx(0.1, rel=1e-4)


def test_swapped_outputs_do_not_agree() -> None:
    found = golden.check(pipeline(swap=True), file(), tolerance(agreement_min=0.9))

    assert not found.passed
    assert found.agreement is not None
    assert found.agreement < 0.5


def test_an_undecided_reference_has_no_vote() -> None:
    close = np.array([[1.0, 0.999, 0.0, 0.0]], np.float32)

    found = golden.check(pipeline(swap=True), file(close), tolerance(agreement_min=1.0))

    assert found.agreement is None
    assert found.passed


def test_not_a_number_fails_and_can_still_be_put_in_a_receipt() -> None:
    found = golden.check(pipeline(nan=True), file(), tolerance(max_abs=1e9, snr_db_min=-100.0))

    assert not found.passed
    assert as_plain(found)["snr_db"] == -200.0


def test_whole_answers_are_equal_or_not() -> None:
    assert golden.compare(np.array([3]), np.array([3])) == golden.Difference(agrees=True)
    assert golden.compare(np.array([3]), np.array([4])) == golden.Difference(agrees=False)


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": X},
        {"input:x": X},
        {"input:x": X, "output:y": X[:3]},
        {"input:x": X[:0], "output:y": X[:0]},
        {"input:x": X, "output:y": X, "labels": X},
    ],
    ids=["no prefix", "no output", "unequal counts", "no vector", "something else"],
)
def test_a_file_of_other_names_or_sizes_is_refused(arrays: dict[str, NDArray[np.float32]]) -> None:
    with pytest.raises(ArraysInvalid):
        golden.read(array_file.write(arrays))


def test_a_golden_output_of_another_shape_is_a_mismatch() -> None:
    with pytest.raises(ContractMismatch, match=r"\[1, 3\].*\[1, 4\]"):
        golden.check(pipeline(), golden.write({"x": X}, {"y": X[:, :3]}), tolerance())


def test_a_variant_without_a_tolerance_is_refused() -> None:
    of = release((spec("x", 1),), (spec("y", 1),))

    assert golden.tolerance_for(of.golden, of.variants[0]).runtime is Runtime.ONNX
    with pytest.raises(ContractMismatch, match="tflite fp32"):
        golden.tolerance_for(of.golden, variant(Runtime.TFLITE))
