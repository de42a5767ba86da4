"""The demo's data: splits that do not overlap, and streams that show every image."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

from pinnace_server.demo.digits import PIXEL_MAX, camera_stream, full_ink_pixels, load_splits, shifted
from pinnace_server.demo.errors import DemoExtraMissing


def test_the_splits_hold_every_image_once_and_are_the_same_every_time() -> None:
    splits, again = load_splits(), load_splits()
    parts = [splits.training, splits.calibration, splits.heldout, splits.camera]
    assert sum(map(len, parts)) == 1797
    together = np.concatenate([part.images for part in parts])
    assert together.shape == (1797, 1, 8, 8)
    assert together.dtype == np.float32
    assert together.min() == 0
    assert together.max() == PIXEL_MAX
    from sklearn.datasets import load_digits

    original = load_digits().images.reshape(1797, 64).astype(np.float32)
    assert sorted(map(bytes, together.reshape(1797, 64))) == sorted(map(bytes, original))
    np.testing.assert_array_equal(splits.camera.images, again.camera.images)
    np.testing.assert_array_equal(splits.camera.labels, again.camera.labels)


def test_a_shift_moves_the_ink_one_pixel_to_the_left_and_keeps_the_labels() -> None:
    camera = load_splits().camera
    moved = shifted(camera)
    np.testing.assert_array_equal(moved.images[..., :-1], camera.images[..., 1:])
    assert not moved.images[..., -1].any()
    np.testing.assert_array_equal(moved.labels, camera.labels)


def test_a_camera_shows_every_image_once_a_round_in_an_order_of_its_own() -> None:
    camera = load_splits().camera
    first = list(itertools.islice(camera_stream(camera, seed=1), len(camera)))
    again = list(itertools.islice(camera_stream(camera, seed=1), len(camera)))
    other = list(itertools.islice(camera_stream(camera, seed=2), len(camera)))
    assert sorted(image.tobytes() for image, _ in first) == sorted(row.tobytes() for row in camera.images)
    assert [label for _, label in first] == [label for _, label in again]
    assert [label for _, label in first] != [label for _, label in other]
    assert first[0][0].shape == (1, 1, 8, 8)


def test_full_ink_is_counted_per_image() -> None:
    images = np.zeros((2, 1, 8, 8), np.float32)
    images[1, 0, :2, :3] = PIXEL_MAX
    images[1, 0, 5, 5] = PIXEL_MAX - 1
    assert full_ink_pixels(images).tolist() == [0, 6]


def test_without_scikit_learn_the_error_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DemoExtraMissing, match=r"scikit-learn.*pinnace\[demo\]"):
        load_splits()
