"""The demo's network: right gradients, repeatable training, and a file that answers what the network answers."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import onnxruntime
import pytest

from pinnace_server.demo import training
from pinnace_server.demo.digits import PIXEL_MAX, LabelledImages, load_splits
from pinnace_server.demo.onnx_export import INPUT, classifier
from pinnace_server.demo.training import TrainingPlan, Weights, probabilities, train


def few(data: LabelledImages, count: int) -> LabelledImages:
    return LabelledImages(images=data.images[:count], labels=data.labels[:count])


def loss(weights: Weights, data: LabelledImages) -> float:
    chosen = probabilities(weights, data.images)[np.arange(len(data)), data.labels]
    return float(-np.log(chosen.astype(np.float64)).mean())


def off_the_kinks(weights: Weights) -> Weights:
    """A bias of zero puts every blank patch exactly on the corner of the rectifier, where there is no slope."""
    chance = np.random.default_rng(13)

    def some(bias: training.Array) -> training.Array:
        return chance.normal(0, 0.3, bias.shape).astype(np.float32)

    return replace(weights, bias1=some(weights.bias1), bias2=some(weights.bias2))


@pytest.mark.parametrize("name", [field.name for field in fields(Weights)])
def test_each_gradient_is_the_slope_of_the_loss(name: str) -> None:
    data = few(load_splits().training, 16)
    weights = off_the_kinks(training._initial((4, 6), np.random.default_rng(11)))
    gradient = getattr(training._gradients(weights, data.images / np.float32(PIXEL_MAX), data.labels), name)
    direction = np.random.default_rng(12).normal(size=gradient.shape)
    direction = (direction / np.linalg.norm(direction)).astype(np.float32)
    step = 2e-3

    def moved(sign: int) -> Weights:
        return replace(weights, **{name: getattr(weights, name) + np.float32(sign * step) * direction})

    slope = (loss(moved(+1), data) - loss(moved(-1), data)) / (2 * step)
    assert slope == pytest.approx(float((gradient * direction).sum()), rel=0.03, abs=1e-3)


def test_the_same_plan_gives_the_same_weights_and_another_seed_gives_others() -> None:
    data = few(load_splits().training, 96)
    plan = TrainingPlan(seed=1, epochs=2)
    first, again, other = train(data, plan), train(data, plan), train(data, replace(plan, seed=2))
    for field in fields(Weights):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
    assert not np.array_equal(first.kernel1, other.kernel1)


def test_the_exported_file_answers_what_the_network_answers() -> None:
    splits = load_splits()
    weights = train(few(splits.training, 96), TrainingPlan(seed=1, epochs=2))
    session = onnxruntime.InferenceSession(classifier(weights))
    logits = session.run(None, {INPUT: splits.heldout.images / np.float32(PIXEL_MAX)})[0]
    np.testing.assert_allclose(
        training._softmax(logits), probabilities(weights, splits.heldout.images), rtol=1e-4, atol=1e-6
    )


def test_the_exported_file_is_the_same_bytes_for_the_same_weights() -> None:
    weights = training._initial((4, 6), np.random.default_rng(11))
    assert classifier(weights) == classifier(weights)
