"""The demo's data: handwritten digits that come with scikit-learn, split once, and what a camera makes of them.

Owns the splits and the streams of images that devices see. Leaves training to ``training`` and files to ``versions``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pinnace_server.demo.errors import DemoExtraMissing

SIDE = 8  # pixels of an image's edge
CLASSES = 10
PIXEL_MAX = 16.0  # the scanner's full ink; images are 0..16
FULL_INK = 15.5  # the last step below PIXEL_MAX, so that only fully inked pixels count
SPLIT_SEED = 20_240_401

TRAINING = 1000
CALIBRATION = 250
HELD_OUT = 200  # what is left of the 1,797 images, 347 of them, is the camera's

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImages:
    """Raw images, ``[n, 1, 8, 8]`` float32 in 0..16, and the digit that each shows, ``[n]``."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, keep: NDArray[np.bool_]) -> LabelledImages:
        """Return the images where ``keep`` is true, in their order."""
        return LabelledImages(images=self.images[keep], labels=self.labels[keep])


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """Four sets that share no image: to learn from, to measure on, to compare on, and to meet in service."""

    training: LabelledImages
    calibration: LabelledImages
    heldout: LabelledImages
    camera: LabelledImages


def load_splits() -> Splits:
    """Split the 1,797 bundled digits, the same way every time.

    Raises:
        DemoExtraMissing: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DemoExtraMissing(package="scikit-learn", extra="demo") from error
    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(digits))
    everything = LabelledImages(
        images=np.asarray(pixels, dtype=np.float32)[order].reshape(-1, 1, SIDE, SIDE),
        labels=np.asarray(digits, dtype=np.int64)[order],
    )
    ends = np.cumsum([TRAINING, CALIBRATION, HELD_OUT])
    part = np.searchsorted(ends, np.arange(len(everything)), side="right")
    return Splits(
        training=everything.only(part == 0),
        calibration=everything.only(part == 1),
        heldout=everything.only(part == 2),
        camera=everything.only(part == 3),
    )


def shifted(data: LabelledImages) -> LabelledImages:
    """Move every image one pixel to the left, as a camera does that was mounted a little off."""
    moved = np.zeros_like(data.images)
    moved[..., :-1] = data.images[..., 1:]
    return LabelledImages(images=moved, labels=data.labels)


def full_ink_pixels(images: Images) -> NDArray[np.int64]:
    """Count the fully inked pixels of each image: large where the writer pressed hard."""
    return np.asarray(np.count_nonzero(images >= FULL_INK, axis=(1, 2, 3)), dtype=np.int64)


def camera_stream(camera: LabelledImages, *, seed: int) -> Iterator[tuple[Images, int]]:
    """Yield ``([1, 1, 8, 8], label)`` for ever: every image once a round, each round in another order."""
    chance = np.random.default_rng(seed)
    while True:
        for index in chance.permutation(len(camera)):
            yield camera.images[index : index + 1], int(camera.labels[index])
