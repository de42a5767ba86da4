"""Parity, gates, golden vectors and baselines: numbers in, decisions out, no model needed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pinnace_contract.codec import to_json
from pinnace_contract.histogram import unpack_varints
from pinnace_contract.ids import digest_of
from pinnace_contract.latest import (
    Datatype,
    FeatureKind,
    IoContract,
    Parity,
    Precision,
    Runtime,
    TensorSpec,
)
from pinnace_converters import baselines, gates, parity, vectors
from pinnace_converters.data import Rows
from pinnace_converters.gates import Evidence, Policy
from pinnace_runtime import golden
from pinnace_runtime.features import FeatureCounter

RNG = np.random.default_rng(5)


def contract(classes: int = 3, datatype: Datatype = Datatype.FP32) -> IoContract:
    shape = (-1, classes) if classes > 1 else (-1, 1)
    return IoContract(
        inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 2)),),
        outputs=(TensorSpec(name="y", datatype=datatype, shape=shape),),
    )


def shares(rows: int, classes: int = 3, sharpness: float = 4.0, seed: int = 1) -> NDArray[np.float32]:
    scores = np.random.default_rng(seed).normal(size=(rows, classes)) * sharpness
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    made: NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return made


# --- parity -----------------------------------------------------------------------------------------


def test_equal_answers_have_no_noise() -> None:
    y = shares(50)

    found = parity.compare(contract(), {"y": y}, {"y": y.copy()}, y.argmax(axis=1), held_out=True)

    assert found.problems == ()
    assert (found.parity.max_abs, found.parity.snr_db, found.parity.agreement) == (0.0, 200.0, 1.0)
    assert (found.parity.accuracy, found.parity.cosine) == (1.0, pytest.approx(1.0))


def test_known_noise_gives_known_numbers() -> None:
    y = np.tile(np.array([[3.0, 4.0]], np.float32), (20, 1)) * np.arange(1, 21, dtype=np.float32)[:, None]

    found = parity.compare(contract(2), {"y": y}, {"y": y * np.float32(1.1)}, None, held_out=False).parity

    assert found.snr_db == pytest.approx(20.0, abs=1e-3)
    assert found.max_abs == pytest.approx(8.0, rel=1e-4)
    assert (found.cosine, found.accuracy) == (pytest.approx(1.0), None)


def test_an_undecided_reference_does_not_count_against_agreement_with_margin() -> None:
    y = np.array([[0.5, 0.49, 0.01], [0.9, 0.05, 0.05]], np.float32)
    flipped = y[:, [1, 0, 2]].copy()
    flipped[1] = y[1]

    found = parity.compare(contract(), {"y": y}, {"y": flipped}, None, held_out=True).parity

    assert (found.agreement, found.agreement_with_margin) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (np.full((50, 3), np.nan, np.float32), "not a number"),
        (np.full((50, 3), 0.3, np.float32), "same for every input"),
        (shares(50).astype(np.float64), "another shape or type"),
    ],
)
def test_answers_that_no_number_describes_are_problems(answer: NDArray[np.float32], says: str) -> None:
    problems = parity.compare(contract(), {"y": shares(50)}, {"y": answer}, None, held_out=True).problems

    assert any(says in problem for problem in problems)


# --- gates --------------------------------------------------------------------------------------------


def evidence(**changes: object) -> Evidence:
    values: dict[str, object] = {
        "precision": Precision.INT8_STATIC,
        "parity": Parity(samples=100, snr_db=20.0, agreement=0.99),
        "problems": (),
        "source_accuracy": None,
        "size_bytes": 300,
        "source_size_bytes": 1000,
        "speedup": 1.5,
        "same_runtime": True,
        "source_precision": Precision.FP32,
    }
    return Evidence(**{**values, **changes})  # type: ignore[arg-type]


POLICY = Policy(agreement_min=0.98)

JUDGED: list[tuple[str, Evidence, Policy, list[str]]] = [
    ("a good int8", evidence(), POLICY, []),
    ("int8 that disagrees", evidence(parity=Parity(samples=9, agreement=0.97)), POLICY, ["agreement"]),
    ("int8 whose noise only warns", evidence(parity=Parity(samples=9, agreement=0.99, snr_db=3.0)), POLICY, []),
    ("int8 without classes under noise", evidence(parity=Parity(samples=9, snr_db=9.0)), POLICY, ["signal-to-noise"]),
    (
        "fp32 that is not what it was",
        evidence(precision=Precision.FP32, parity=Parity(samples=9, snr_db=79.0, agreement=1.0)),
        POLICY,
        ["signal-to-noise"],
    ),
    (
        "fp32 that swaps a class",
        evidence(precision=Precision.FP32, parity=Parity(samples=9, snr_db=100.0, agreement=0.99)),
        POLICY,
        ["agreement"],
    ),
    (
        "int8 that keeps its accuracy where that was asked for",
        evidence(source_accuracy=0.95, parity=Parity(samples=9, agreement=0.9, accuracy=0.945)),
        Policy(agreement_min=0.98, accuracy_loss_max=0.01),
        [],
    ),
    (
        "int8 that loses more accuracy than allowed",
        evidence(source_accuracy=0.95, parity=Parity(samples=9, agreement=0.9, accuracy=0.93)),
        Policy(agreement_min=0.98, accuracy_loss_max=0.01),
        ["agreement"],
    ),
    ("int8 that is larger and slower", evidence(size_bytes=1001, speedup=1.05), POLICY, ["neither smaller"]),
    ("int8 that is larger and faster", evidence(size_bytes=1001, speedup=1.2), POLICY, []),
    ("a larger file for another runtime", evidence(size_bytes=1001, speedup=0.5, same_runtime=False), POLICY, []),
    (
        "the source itself",
        evidence(is_source=True, size_bytes=1000, speedup=1.0, parity=Parity(samples=9)),
        POLICY,
        [],
    ),
    ("answers that are no numbers", evidence(problems=("not a number",)), POLICY, ["not a number"]),
]


@pytest.mark.parametrize(("found", "policy", "says"), [j[1:] for j in JUDGED], ids=[j[0] for j in JUDGED])
def test_gate(found: Evidence, policy: Policy, says: list[str]) -> None:
    refusals = gates.judge(found, policy)

    assert len(refusals) == len(says)
    for refusal, words in zip(refusals, says, strict=True):
        assert words in refusal.reason


def test_only_a_matter_of_degree_can_be_forced() -> None:
    refusals = gates.judge(evidence(problems=("no number",), parity=Parity(samples=9, agreement=0.1)), POLICY)

    assert [refusal.can_be_forced for refusal in refusals] == [False, True]


# --- golden vectors -----------------------------------------------------------------------------------


def test_vectors_come_from_every_class_and_are_clear() -> None:
    y = shares(400, classes=10)
    rows = Rows(inputs={"x": RNG.normal(size=(400, 2)).astype(np.float32)})

    chosen = vectors.choose(contract(10), rows, {"y": y})

    assert len(chosen) == vectors.VECTORS
    assert set(y[chosen].argmax(axis=1)) == set(range(10))
    assert golden.decided(y[chosen].astype(np.float64)).all()
    assert np.array_equal(chosen, vectors.choose(contract(10), rows, {"y": y}))


def test_without_classes_vectors_are_spread_evenly() -> None:
    rows = Rows(inputs={"x": np.zeros((100, 2), np.float32)})

    chosen = vectors.choose(contract(1), rows, {"y": np.arange(100, dtype=np.float32)[:, None]})

    assert (chosen[0], chosen[-1], len(chosen)) == (0, 99, 16)


def test_large_inputs_get_fewer_vectors() -> None:
    rows = Rows(inputs={"x": np.zeros((20, 1024, 1024), np.uint8)})

    assert len(vectors.choose(contract(1), rows, {"y": np.zeros((20, 1), np.float32)})) == 4


def test_what_was_forced_meets_the_demands_that_it_failed() -> None:
    y = shares(40)
    worse = {"y": shares(40, seed=2)}
    chosen = np.arange(16)

    forced = vectors.tolerance(Runtime.ONNX, Precision.INT8_STATIC, {"y": y}, worse, chosen, forced=True)
    passed = vectors.tolerance(Runtime.ONNX, Precision.INT8_STATIC, {"y": y}, {"y": y * 0.99}, chosen, forced=False)

    assert (forced.snr_db_min, forced.agreement_min) == (10.0, 0.9)
    assert passed.snr_db_min == 20.0
    differences = [golden.compare(y[i : i + 1], worse["y"][i : i + 1]) for i in chosen]
    assert not golden.judge(differences, 16, forced).passed


def test_an_int8_variant_may_be_as_far_as_it_was_here_and_a_little_more() -> None:
    y = np.array([[1.0, 2.0]], np.float32).repeat(20, axis=0)
    noisy = y * np.float32(1.2)  # 14 dB

    found = vectors.tolerance(Runtime.ONNX, Precision.INT8_STATIC, {"y": y}, {"y": noisy}, np.arange(8), forced=False)

    assert found.snr_db_min == pytest.approx(14 - 6, abs=0.1)


# --- baselines ----------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(8, 60), st.booleans(), st.integers(0, 5))
def test_calibration_data_counted_against_its_own_baseline_gives_its_shares(
    columns: int, rows: int, ties: bool, seed: int
) -> None:
    x = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    x = np.round(x) if ties else x
    baseline = baselines.make(contract(), Rows(inputs={"x": x}), [{"y": shares(10)}])
    counter = FeatureCounter(baseline, digest_of(to_json(baseline)))

    counter.observe({"x": x})
    taken = counter.take()

    numbers = unpack_varints("counts", taken.counts) if taken else []
    for feature in baseline.features:
        bins = len(feature.edges) + 1
        assert [n / rows for n in numbers[:bins]] == pytest.approx(list(feature.shares))
        assert all(feature.shares), "no bin that calibration data never met"
        numbers = numbers[bins + 1 :]


def test_a_table_has_a_feature_per_column_and_an_image_has_summaries() -> None:
    table = baselines.make(contract(), Rows(inputs={"x": RNG.normal(size=(50, 7))}), [{"y": shares(9)}])
    image = baselines.make(contract(), Rows(inputs={"x": RNG.normal(size=(50, 1, 16, 16))}), [{"y": shares(9)}])

    assert [feature.kind for feature in table.features] == [FeatureKind.ELEMENT] * 7
    kinds = [feature.kind for feature in image.features]
    assert kinds[:5] == ["mean", "std", "minimum", "maximum", "gradient"]
    assert kinds[5:] == [FeatureKind.ELEMENT] * 8


def test_what_never_varies_is_no_feature() -> None:
    x = RNG.normal(size=(50, 3))
    x[:, 1] = 4.0

    made = baselines.make(contract(), Rows(inputs={"x": x}), [{"y": shares(9)}])

    assert [feature.index for feature in made.features] == [0, 2]


def test_missing_values_have_a_share() -> None:
    x = RNG.normal(size=(50, 1))
    x[:10] = np.nan

    feature = baselines.make(contract(), Rows(inputs={"x": x}), [{"y": shares(9)}]).features[0]

    assert feature.missing_share == pytest.approx(0.2)
    assert sum(feature.shares) == pytest.approx(1.0)


def test_a_tenth_of_held_out_answers_is_below_the_confidence_threshold() -> None:
    found = baselines.make(contract(), Rows(inputs={"x": RNG.normal(size=(50, 2))}), [{"y": shares(400)}]).confidence

    assert found is not None
    assert found.share_below == pytest.approx(0.1, abs=0.005)
    assert (found.samples, sum(found.bins), sum(found.class_shares)) == (400, 400, pytest.approx(1.0))


def test_the_least_sure_variant_sets_the_confidence_of_all() -> None:
    rows = Rows(inputs={"x": RNG.normal(size=(50, 2))})
    sure, unsure = {"y": shares(400, sharpness=9.0)}, {"y": shares(400, sharpness=2.0)}

    both = baselines.make(contract(), rows, [sure, unsure]).confidence

    assert both == baselines.make(contract(), rows, [unsure]).confidence


def test_answers_that_are_no_shares_have_no_confidence() -> None:
    rows = Rows(inputs={"x": RNG.normal(size=(50, 2))})

    assert baselines.make(contract(), rows, [{"y": shares(50) * 5}]).confidence is None
