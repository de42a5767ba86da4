"""The contract that applications see, whatever a variant's file looks like inside."""

from collections.abc import Mapping

import numpy as np
import pytest

from pinnace_contract.latest import (
    ArgMax,
    Binding,
    Datatype,
    Processing,
    Release,
    Scale,
    Softmax,
    UnknownStep,
)
from pinnace_runtime.adapters import Quantization, Tensor
from pinnace_runtime.arrays import Array
from pinnace_runtime.errors import BadInput, ContractMismatch, StepUnsupported
from pinnace_runtime.pipeline import Pipeline
from tests.runtime.releases import FakeModel, release, spec, tensor, variant


def double(feeds: Mapping[str, Array]) -> dict[str, Array]:
    return {"y": feeds["x"] * 2}


def pipeline(model: FakeModel, of: Release) -> Pipeline:
    return Pipeline(of, of.variants[0], model, {})


def plain(*shape: int) -> tuple[FakeModel, Release]:
    model = FakeModel((tensor("x", *shape),), (tensor("y", *shape),), double)
    return model, release((spec("x", -1, *shape[1:]),), (spec("y", -1, *shape[1:]),))


def test_declared_steps_run_before_and_after_the_model() -> None:
    model, _ = plain(-1, 2)
    of = release(
        (spec("x", -1, 2, datatype=Datatype.UINT8),),
        (spec("y", -1, datatype=Datatype.INT64),),
        Processing(before=(Scale(tensor="x", factor=0.5),), after=(Softmax(tensor="y"), ArgMax(tensor="y"))),
    )

    answer = pipeline(model, of).infer({"x": np.array([[2, 8]], np.uint8)})

    assert model.fed[0]["x"].tolist() == [[1.0, 4.0]]
    assert answer["y"].tolist() == [1]


def test_prepared_inputs_skip_both_sides() -> None:
    model, _ = plain(-1, 2)
    of = release(
        (spec("x", -1, 2, datatype=Datatype.UINT8),),
        (spec("y", -1, datatype=Datatype.INT64),),
        Processing(before=(Scale(tensor="x", factor=0.5),), after=(ArgMax(tensor="y"),)),
    )

    answer = pipeline(model, of).infer({"x": np.array([[2, 8]], np.float32)}, raw=False)

    assert answer["y"].tolist() == [[4.0, 16.0]]


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({}, r"'x': expected FP32 \[\?, 3\], found no such input"),
        ({"x": np.zeros((1, 4), np.float32)}, r"expected FP32 \[\?, 3\], found FP32 \[1, 4\]"),
        ({"x": np.zeros((1, 3), np.float64)}, r"expected FP32 \[\?, 3\], found FP64 \[1, 3\]"),
        ({"x": np.zeros((1, 3), np.float32), "z": np.zeros(1)}, "input 'z': expected only 'x'"),
    ],
)
@pytest.mark.parametrize("raw", [True, False])
def test_a_wrong_input_names_what_was_expected_and_found(inputs: dict[str, Array], says: str, raw: bool) -> None:
    with pytest.raises(BadInput, match=says):
        pipeline(*plain(-1, 3)).infer(inputs, raw=raw)


def test_a_file_made_for_one_row_answers_a_batch() -> None:
    model, of = plain(1, 2)

    answer = pipeline(model, of).infer({"x": np.arange(6, dtype=np.float32).reshape(3, 2)})

    assert [len(fed["x"]) for fed in model.fed] == [1, 1, 1]
    assert answer["y"].tolist() == [[0, 2], [4, 6], [8, 10]]


def test_an_empty_batch_for_such_a_file_is_the_callers_fault() -> None:
    with pytest.raises(BadInput, match="at least one"):
        pipeline(*plain(1, 2)).infer({"x": np.zeros((0, 2), np.float32)})


def test_bindings_rename_and_permute_both_ways() -> None:
    model = FakeModel((tensor("in", 1, 4, 5, 3),), (tensor("out", 1, 4, 5, 3),), lambda feeds: {"out": feeds["in"]})
    of = release(
        (spec("x", -1, 3, 4, 5),),
        (spec("y", -1, 3, 4, 5),),
        of=variant(
            inputs=(Binding(name="x", tensor="in", permutation=(0, 2, 3, 1)),),
            outputs=(Binding(name="y", tensor="out", permutation=(0, 3, 1, 2)),),
        ),
    )
    x = np.random.default_rng(1).random((1, 3, 4, 5), np.float32)

    for raw in (True, False):
        answer = pipeline(model, of).infer({"x": x}, raw=raw)

        assert model.fed[-1]["in"].shape == (1, 4, 5, 3)
        np.testing.assert_array_equal(answer["y"], x)


INT8_IN = Tensor(name="x", datatype=Datatype.INT8, shape=(1, 2), quantization=Quantization(scale=0.5, zero_point=-1))
INT8_OUT = Tensor(name="y", datatype=Datatype.INT8, shape=(1, 2), quantization=Quantization(scale=2.0, zero_point=1))


def test_real_numbers_are_quantized_for_integer_tensors_and_back() -> None:
    model = FakeModel((INT8_IN,), (INT8_OUT,), lambda feeds: {"y": feeds["x"]})

    answer = pipeline(model, release((spec("x", -1, 2),), (spec("y", -1, 2),))).infer(
        {"x": np.array([[1.0, 1000.0]], np.float32)}
    )

    assert model.fed[0]["x"].tolist() == [[1, 127]]
    assert answer["y"].tolist() == [[0.0, 252.0]]


def test_a_contract_in_integers_gets_the_integers_themselves() -> None:
    model = FakeModel((INT8_IN,), (INT8_OUT,), lambda feeds: {"y": feeds["x"]})
    of = release((spec("x", -1, 2, datatype=Datatype.INT8),), (spec("y", -1, 2, datatype=Datatype.INT8),))

    answer = pipeline(model, of).infer({"x": np.array([[3, -4]], np.int8)})

    assert answer["y"].tolist() == [[3, -4]]
    assert answer["y"].dtype == np.int8


def test_steps_after_the_model_see_real_numbers() -> None:
    model = FakeModel((INT8_IN,), (INT8_OUT,), lambda feeds: {"y": feeds["x"]})
    of = release(
        (spec("x", -1, 2, datatype=Datatype.INT8),),
        (spec("y", -1, 2),),
        Processing(after=(Scale(tensor="y", factor=10.0),)),
    )

    assert pipeline(model, of).infer({"x": np.array([[3, 1]], np.int8)})["y"].tolist() == [[40.0, 0.0]]


def test_a_half_precision_tensor_is_fed_from_float32() -> None:
    model = FakeModel(
        (tensor("x", -1, 2, datatype=Datatype.FP16),),
        (tensor("y", -1, 2),),
        lambda feeds: {"y": feeds["x"].astype(np.float32)},
    )

    pipeline(model, release((spec("x", -1, 2),), (spec("y", -1, 2),))).infer({"x": np.ones((1, 2), np.float32)})

    assert model.fed[0]["x"].dtype == np.float16


@pytest.mark.parametrize(
    ("of", "says"),
    [
        (release((spec("z", -1, 2),), (spec("y", -1, 2),)), "contract's inputs"),
        (release((spec("x", -1, 2),), (spec("z", -1, 2),)), "contract's outputs"),
        (
            release((spec("x", -1, 2),), (spec("y", -1, 2),), of=variant(inputs=(Binding(name="x", tensor="q"),))),
            "bound to",
        ),
        (
            release(
                (spec("x", -1, 2),),
                (spec("y", -1, 2),),
                of=variant(inputs=(Binding(name="x", tensor="x", permutation=(0, 0)),)),
            ),
            "permutes no 2 axes",
        ),
    ],
    ids=["input name", "output name", "bound to nothing there", "permutation"],
)
def test_a_release_that_does_not_fit_its_variant_is_refused_without_data(of: Release, says: str) -> None:
    with pytest.raises(ContractMismatch, match=says):
        pipeline(plain(-1, 2)[0], of)


def test_an_unknown_step_is_refused_without_data() -> None:
    model, _ = plain(-1, 2)
    of = release((spec("x", -1, 2),), (spec("y", -1, 2),), Processing(after=(UnknownStep(op="sort"),)))

    with pytest.raises(StepUnsupported, match="sort"):
        pipeline(model, of)


def test_an_answer_that_the_contract_does_not_describe_is_refused() -> None:
    model, _ = plain(-1, 2)

    with pytest.raises(ContractMismatch, match=r"says FP32 \[\?, 3\], .* FP32 \[1, 2\]"):
        pipeline(model, release((spec("x", -1, 2),), (spec("y", -1, 3),))).infer({"x": np.ones((1, 2), np.float32)})


def test_a_type_that_no_step_explains_is_the_releases_fault() -> None:
    model, _ = plain(-1, 2)
    of = release((spec("x", -1, 2, datatype=Datatype.UINT8),), (spec("y", -1, 2),))

    with pytest.raises(ContractMismatch, match="cast step is missing"):
        pipeline(model, of).infer({"x": np.ones((1, 2), np.uint8)})
