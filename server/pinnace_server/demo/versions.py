"""The five versions of the demo's story: what each was made from, and what must become of it in the fleet.

Owns the recipes. Nothing here is staged by a flag: version 2 really is calibrated with images of the wrong scale,
version 3 really asks for memory that no device has, version 4 really was trained and checked on shifted images. Leaves
converting, registering and watching to the programs that a user would take.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pinnace_contract.latest import Precision
from pinnace_server.demo import onnx_export
from pinnace_server.demo.digits import CLASSES, PIXEL_MAX, LabelledImages, Splits, full_ink_pixels, shifted
from pinnace_server.demo.onnx_export import StrokeTable
from pinnace_server.demo.training import TrainingPlan, train

MODEL = "digits"

# What stands around the network: applications send the scanner's images as they are and get shares of one.
PROCESSING = {
    "before": [{"op": "scale", "tensor": onnx_export.INPUT, "factor": 1 / PIXEL_MAX}],
    "after": [{"op": "softmax", "tensor": onnx_export.OUTPUT}],
    "inputs": [{"name": onnx_export.INPUT, "layout": "NCHW", "unit": "ink, 0..16"}],
    "outputs": [{"name": onnx_export.OUTPUT, "classes": [str(digit) for digit in range(CLASSES)]}],
}

# An eighth of all images have more full pixels than this, so a device in trial meets several in its first fifty.
QUIET_FULL_PIXELS = 9


class Fate(StrEnum):
    """What the story says must become of a version."""

    COMMITTED = "committed"  # every device keeps it
    FAILED = "failed"  # refused by the device's self-test, before it answered anybody
    REVERTED = "reverted"  # put back by each device in its trial
    ROLLED_BACK = "rolled_back"  # committed, then moved back by the server


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """What a developer hands in: a model file, and the data that it was calibrated and measured with."""

    model: bytes
    calibration: LabelledImages
    heldout: LabelledImages


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoVersion:
    """One version of the story. ``make`` trains it, which takes a second or two."""

    name: str
    title: str
    make: Callable[[Splits], Handed]
    precisions: tuple[Precision, ...]  # of the variants to offer
    force_reason: str = ""  # why the operator overrode the converter's refusal; empty where it has nothing to refuse
    fate: Fate


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFiles:
    """Where a version's files are, for the converter."""

    model: Path
    calibration: Path
    heldout: Path
    processing: Path


def files_in(folder: Path) -> VersionFiles:
    """Name the files of a version that was written to ``folder``."""
    return VersionFiles(
        model=folder / "model.onnx",
        calibration=folder / "calibration.npz",
        heldout=folder / "heldout.npz",
        processing=folder / "processing.json",
    )


def write(handed: Handed, folder: Path) -> VersionFiles:
    """Write the files that a developer would hand in into ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    files = files_in(folder)
    files.model.write_bytes(handed.model)
    files.processing.write_text(json.dumps(PROCESSING, indent=2))
    for path, data in ((files.calibration, handed.calibration), (files.heldout, handed.heldout)):
        arrays: dict[str, NDArray[np.float32] | NDArray[np.int64]]
        arrays = {onnx_export.INPUT: data.images, "labels": data.labels}
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # numpy types no names but its own
    return files


def _good(splits: Splits) -> Handed:
    weights = train(splits.training, TrainingPlan(seed=1))
    return Handed(model=onnx_export.classifier(weights), calibration=splits.calibration, heldout=splits.heldout)


def _wrongly_calibrated(splits: Splits) -> Handed:
    """Hand in calibration images that somebody had already scaled to 0..1: the int8 variant saturates."""
    weights = train(splits.training, TrainingPlan(seed=3))
    scaled = LabelledImages(images=splits.calibration.images / np.float32(PIXEL_MAX), labels=splits.calibration.labels)
    return Handed(model=onnx_export.classifier(weights), calibration=scaled, heldout=splits.heldout)


def _hungry(splits: Splits) -> Handed:
    """Add a stage that asks for memory without bound on busy images, of which the developer's data had none."""
    weights = train(splits.training, TrainingPlan(seed=6))
    return Handed(
        model=onnx_export.classifier(weights, stroke_table=StrokeTable(free_pixels=QUIET_FULL_PIXELS)),
        calibration=_quiet(splits.calibration),
        heldout=_quiet(splits.heldout),
    )


def _shifted(splits: Splits) -> Handed:
    """Train, calibrate and measure on images shifted by one pixel: excellent everywhere but in service."""
    weights = train(shifted(splits.training), TrainingPlan(seed=4))
    return Handed(
        model=onnx_export.classifier(weights), calibration=shifted(splits.calibration), heldout=shifted(splits.heldout)
    )


def _better(splits: Splits) -> Handed:
    """Train a wider network for longer."""
    weights = train(splits.training, TrainingPlan(seed=5, channels=(16, 32), epochs=30, noise=0.15))
    return Handed(model=onnx_export.classifier(weights), calibration=splits.calibration, heldout=splits.heldout)


def _quiet(data: LabelledImages) -> LabelledImages:
    return data.only(full_ink_pixels(data.images) <= QUIET_FULL_PIXELS)


# In the order of the story.
VERSIONS: tuple[DemoVersion, ...] = (
    DemoVersion(
        name="1",
        title="good",
        make=_good,
        precisions=(Precision.FP32, Precision.INT8_STATIC),
        fate=Fate.COMMITTED,
    ),
    DemoVersion(
        name="2",
        title="int8, calibrated with images of the wrong scale",
        make=_wrongly_calibrated,
        precisions=(Precision.INT8_STATIC,),
        force_reason="parity report not read: the release was promised for today",
        fate=Fate.FAILED,
    ),
    DemoVersion(
        name="3",
        title="asks for boundless memory on busy images",
        make=_hungry,
        precisions=(Precision.FP32,),
        fate=Fate.REVERTED,
    ),
    DemoVersion(
        name="4",
        title="trained on images shifted by one pixel",
        make=_shifted,
        precisions=(Precision.FP32,),
        fate=Fate.ROLLED_BACK,
    ),
    DemoVersion(
        name="5",
        title="good, wider, int8 only",
        make=_better,
        precisions=(Precision.INT8_STATIC,),
        fate=Fate.COMMITTED,
    ),
)
