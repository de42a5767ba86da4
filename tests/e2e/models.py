"""Small real models for the end-to-end tests: least squares on scikit-learn's handwritten digits, written as ONNX."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.e2e.fleet import BIN, PATIENCE_S

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """Images as rows of 64 grey levels 0..16, and which digit each is."""

    train: Rows
    train_labels: NDArray[np.int64]
    held: Rows
    held_labels: NDArray[np.int64]


def digits() -> Digits:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(5).permutation(len(images))
    rows, answers = images[order].astype(np.float32), labels[order].astype(np.int64)
    return Digits(train=rows[:1200], train_labels=answers[:1200], held=rows[1200:], held_labels=answers[1200:])


def linear(data: Digits, ridge: float, turned: int = 0) -> bytes:
    """Scores of ten digits, ``x W + b``; another ``ridge`` is another version.

    ``turned``: every digit's score stands so many places further on: as sure as ever, and wrong.
    """
    rows = np.hstack([data.train / 16, np.ones((len(data.train), 1), np.float32)]).astype(np.float64)
    wanted = np.eye(10)[(data.train_labels + turned) % 10] * 10
    solved: Any = np.linalg.solve(rows.T @ rows + ridge * np.eye(65), rows.T @ wanted).astype(np.float32)
    nodes = [
        helper.make_node("Mul", ["image", "scale"], ["scaled"]),
        helper.make_node("Gemm", ["scaled", "w", "b"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])],
        [
            numpy_helper.from_array(np.array(1 / 16, np.float32), "scale"),
            numpy_helper.from_array(solved[:64], "w"),
            numpy_helper.from_array(solved[64], "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def save_data(folder: Path, data: Digits) -> tuple[Path, Path]:
    """Write calibration and held-out data as an operator has them."""
    calibration, held_out = folder / "calibration.npz", folder / "heldout.npz"
    np.savez(calibration, image=data.train[:300])
    np.savez(held_out, image=data.held, labels=data.held_labels)
    return calibration, held_out


def convert(folder: Path, name: str, source: Path, *options: str) -> Path:
    """Run ``pinnace convert`` and return the folder of the draft."""
    out = folder / name
    command = [str(BIN / "pinnace"), "convert", str(source), "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return out
