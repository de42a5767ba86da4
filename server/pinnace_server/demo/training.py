"""Trains the demo's classifier in plain numpy: two convolutions and a linear layer, a second on one core.

Owns the network, its gradients and Adam. Leaves the file format to ``onnx_export`` and what each version does wrong to
``versions``. Layout is channels last inside, because a convolution is then one matrix product over patches.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from pinnace_server.demo.digits import CLASSES, PIXEL_MAX, SIDE, Images, LabelledImages

KERNEL = 3
STRIDES = (1, 2)  # of the two convolutions; the second one halves the image
SIDE_AFTER = SIDE // STRIDES[1]

# Adam, as in Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015), with the paper's constants.
FIRST_MOMENT_DECAY = 0.9
SECOND_MOMENT_DECAY = 0.999
EPSILON = 1e-8

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """Everything that decides what training gives, besides the images."""

    seed: int
    channels: tuple[int, int] = (12, 24)
    epochs: int = 20
    batch: int = 32
    learning_rate: float = 3e-3  # falls to zero along half a cosine
    noise: float = 0.1  # standard deviation added to pixels of 0..1; it keeps the network from being sure of everything


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The network: kernels are ``[patch, channels]`` with a patch in the order (channel, row, column)."""

    kernel1: Array
    bias1: Array
    kernel2: Array
    bias2: Array
    linear: Array  # [row × column × channel, class]
    offset: Array


def train(data: LabelledImages, plan: TrainingPlan) -> Weights:
    """Train on raw images (0..16). The same plan and data give the same weights on the same machine."""
    chance = np.random.default_rng(plan.seed)
    weights = _initial(plan.channels, chance)
    optimizer = _Adam(weights)
    pixels = data.images / np.float32(PIXEL_MAX)
    steps = plan.epochs * -(-len(data) // plan.batch)
    for epoch_start in range(0, steps, steps // plan.epochs):
        order = chance.permutation(len(data))
        for step, first in enumerate(range(0, len(data), plan.batch), start=epoch_start):
            chosen = order[first : first + plan.batch]
            noisy = pixels[chosen] + chance.normal(0, plan.noise, pixels[chosen].shape).astype(np.float32)
            gradients = _gradients(weights, noisy, data.labels[chosen])
            rate = plan.learning_rate * 0.5 * (1 + np.cos(np.pi * step / steps))
            weights = optimizer.improve(weights, gradients, rate)
    return weights


def probabilities(weights: Weights, images: Images) -> Array:
    """Return ``[n, 10]`` for raw images: what the exported file answers behind the release's own steps."""
    return _softmax(_forward(weights, images / np.float32(PIXEL_MAX)).logits)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pass:
    """What the way forward leaves behind for the way back."""

    patches1: Array
    active1: Array
    patches2: Array
    active2: Array
    flat: Array
    logits: Array


def _initial(channels: tuple[int, int], chance: np.random.Generator) -> Weights:
    first, second = channels
    area = KERNEL * KERNEL

    def normal(fan_in: int, fan_out: int, gain: float) -> Array:
        return chance.normal(0, np.sqrt(gain / fan_in), (fan_in, fan_out)).astype(np.float32)

    return Weights(
        kernel1=normal(area, first, 2),
        bias1=np.zeros(first, np.float32),
        kernel2=normal(first * area, second, 2),
        bias2=np.zeros(second, np.float32),
        linear=normal(SIDE_AFTER * SIDE_AFTER * second, CLASSES, 1),
        offset=np.zeros(CLASSES, np.float32),
    )


def _forward(weights: Weights, pixels: Array) -> _Pass:
    count = len(pixels)
    patches1 = _patches(pixels.transpose(0, 2, 3, 1), STRIDES[0])
    active1 = np.maximum(patches1 @ weights.kernel1 + weights.bias1, 0)
    patches2 = _patches(active1.reshape(count, SIDE, SIDE, -1), STRIDES[1])
    active2 = np.maximum(patches2 @ weights.kernel2 + weights.bias2, 0)
    flat = active2.reshape(count, -1)
    logits = flat @ weights.linear + weights.offset
    return _Pass(patches1=patches1, active1=active1, patches2=patches2, active2=active2, flat=flat, logits=logits)


def _gradients(weights: Weights, pixels: Array, labels: NDArray[np.int64]) -> Weights:
    """Return the gradient of the mean cross entropy, in the shape of the weights."""
    seen = _forward(weights, pixels)
    count = len(labels)
    at_logits = _softmax(seen.logits)
    at_logits[np.arange(count), labels] -= 1
    at_logits /= np.float32(count)
    at_active2 = np.where(seen.active2 > 0, (at_logits @ weights.linear.T).reshape(seen.active2.shape), np.float32(0))
    at_image1 = _unpatched(at_active2 @ weights.kernel2.T, count)
    at_active1 = np.where(seen.active1 > 0, at_image1.reshape(seen.active1.shape), np.float32(0))
    return Weights(
        kernel1=seen.patches1.T @ at_active1,
        bias1=at_active1.sum(axis=0),
        kernel2=seen.patches2.T @ at_active2,
        bias2=at_active2.sum(axis=0),
        linear=seen.flat.T @ at_logits,
        offset=at_logits.sum(axis=0),
    )


def _patches(images: Array, stride: int) -> Array:
    """Cut ``[n, h, w, c]`` with a border of zeros into rows of (channel, row, column): im2col."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (KERNEL, KERNEL), axis=(1, 2))[:, ::stride, ::stride]
    return windows.reshape(-1, windows.shape[3] * KERNEL * KERNEL)


def _unpatched(patches: Array, count: int) -> Array:
    """Add the second convolution's patches back to where they were cut from: the transpose of ``_patches``."""
    stride = STRIDES[1]
    pieces = patches.reshape(count, SIDE_AFTER, SIDE_AFTER, -1, KERNEL, KERNEL)
    padded = np.zeros((count, SIDE + 2, SIDE + 2, pieces.shape[3]), np.float32)
    for row in range(KERNEL):
        for column in range(KERNEL):
            padded[:, row : row + SIDE : stride, column : column + SIDE : stride] += pieces[..., row, column]
    return padded[:, 1:-1, 1:-1]


def _softmax(logits: Array) -> Array:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), dtype=np.float32)


class _Adam:
    """Keeps the two moments of each gradient between steps."""

    def __init__(self, weights: Weights) -> None:
        self._names = tuple(field.name for field in fields(weights))
        self._first = {name: np.zeros_like(getattr(weights, name)) for name in self._names}
        self._second = {name: np.zeros_like(getattr(weights, name)) for name in self._names}
        self._steps = 0

    def improve(self, weights: Weights, gradients: Weights, rate: float) -> Weights:
        """Return the weights one step down the gradient."""
        self._steps += 1
        first_left = 1 - FIRST_MOMENT_DECAY**self._steps
        second_left = 1 - SECOND_MOMENT_DECAY**self._steps
        moved: dict[str, Array] = {}
        for name in self._names:
            value, gradient = getattr(weights, name), getattr(gradients, name)
            first, second = self._first[name], self._second[name]
            first += (1 - FIRST_MOMENT_DECAY) * (gradient - first)
            second += (1 - SECOND_MOMENT_DECAY) * (gradient * gradient - second)
            change = rate * (first / first_left) / (np.sqrt(second / second_left) + EPSILON)
            moved[name] = (value - change).astype(np.float32)
        return replace(weights, **moved)
