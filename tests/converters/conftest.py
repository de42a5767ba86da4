"""Files that several tests of the converters share."""

from pathlib import Path

import numpy as np
import pytest

from pinnace_converters import Draft, Options, Progress, convert, declaration
from tests.converters.graphs import CLASSES, digits, digits_mlp


def quiet(progress: Progress) -> None:
    """For callers who do not look."""


@pytest.fixture(scope="session")
def digit_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``model.onnx``, ``calibration.npz``, ``heldout.npz`` of a small classifier of digits."""
    folder = tmp_path_factory.mktemp("digits")
    x, y = digits()
    (folder / "model.onnx").write_bytes(digits_mlp())
    np.savez_compressed(folder / "calibration.npz", x=x[:150])
    np.savez_compressed(folder / "heldout.npz", x=x[1000:1300], labels=y[1000:1300])
    return folder


@pytest.fixture(scope="session")
def digit_draft(digit_files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Draft, Path]:
    """The conversion of those files, and the folder it left."""
    out = tmp_path_factory.mktemp("draft") / "out"
    declared = declaration.parse(
        b'{"inputs": [{"name": "x", "unit": "share of ink"}],'
        b' "outputs": [{"name": "scores", "classes": ["%s"]}]}' % '","'.join(CLASSES).encode()
    )
    draft = convert(
        digit_files / "model.onnx",
        digit_files / "calibration.npz",
        digit_files / "heldout.npz",
        Options(declaration=declared),
        out,
        quiet,
    )
    return draft, out
