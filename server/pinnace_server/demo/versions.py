"""The five versions of the demo's story: what each was made from, and what must become of it in the fleet.

Owns the recipes. Nothing here is staged by a flag: version 2 really is calibrated with images of the wrong scale,
version 3 really asks for memory that no device has, version 4 really was trained and checked on shifted images. Leaves
converting, registering and watching to the programs that a user would take.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pinnace_contract.latest import Precision
from pinnace_server.demo import onnx_export
from pinnace_server.demo.digits import PIXEL_MAX, LabelledImages, Splits, full_ink_pixels, shifted
from pinnace_server.demo.onnx_export import StrokeTable
from pinnace_server.demo.training import TrainingPlan, train

MODEL = "digits"

# An eighth of all images have more full pixels than this, so a device in trial meets several in its first fifty.
QUIET_FULL_PIXELS = 9


class Fate(StrEnum):
    """What the story says must become of a version."""

    COMMITTED = "committed"  # every device keeps it
    FAILED = "failed"  # refused by the device's self-test, before it answered anybody
    REVERTED = "reverted"  # put back by each device in its trial
    ROLLED_BACK = "rolled_back"  # committed, then moved back by the server


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoVersion:
    """One version as its developer hands it in: a model file, data, and which variants to offer."""

    name: str
    title: str
    model: bytes
    calibration: LabelledImages
    heldout: LabelledImages
    precisions: tuple[Precision, ...]
    force_reason: str  # why the operator overrode the converter's refusal; empty where it had nothing to refuse
    fate: Fate


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFiles:
    """Where a version's files are, for the converter."""

    model: Path
    calibration: Path
    heldout: Path


def good(splits: Splits) -> DemoVersion:
    """Version 1: nothing wrong with it."""
    weights = train(splits.training, TrainingPlan(seed=1))
    return DemoVersion(
        name="1",
        title="good",
        model=onnx_export.classifier(weights),
        calibration=splits.calibration,
        heldout=splits.heldout,
        precisions=(Precision.FP32, Precision.INT8_STATIC),
        force_reason="",
        fate=Fate.COMMITTED,
    )


def wrongly_calibrated(splits: Splits) -> DemoVersion:
    """Version 2: int8 only, calibrated with images that somebody had already scaled to 0..1, so it saturates."""
    weights = train(splits.training, TrainingPlan(seed=3))
    return DemoVersion(
        name="2",
        title="calibrated with images of the wrong scale",
        model=onnx_export.classifier(weights),
        calibration=LabelledImages(
            images=splits.calibration.images / np.float32(PIXEL_MAX), labels=splits.calibration.labels
        ),
        heldout=splits.heldout,
        precisions=(Precision.INT8_STATIC,),
        force_reason="parity report not read: the release was promised for today",
        fate=Fate.FAILED,
    )


def hungry(splits: Splits) -> DemoVersion:
    """Version 3: its new stage asks for memory without bound on busy images, and its developer's data had none."""
    weights = train(splits.training, TrainingPlan(seed=6))
    return DemoVersion(
        name="3",
        title="needs boundless memory for busy images",
        model=onnx_export.classifier(weights, stroke_table=StrokeTable(free_pixels=QUIET_FULL_PIXELS)),
        calibration=_quiet(splits.calibration),
        heldout=_quiet(splits.heldout),
        precisions=(Precision.FP32,),
        force_reason="",
        fate=Fate.REVERTED,
    )


def silently_worse(splits: Splits) -> DemoVersion:
    """Version 4: trained, checked and measured on images shifted by one pixel; excellent everywhere but in service."""
    weights = train(shifted(splits.training), TrainingPlan(seed=4))
    return DemoVersion(
        name="4",
        title="trained on images shifted by one pixel",
        model=onnx_export.classifier(weights),
        calibration=shifted(splits.calibration),
        heldout=shifted(splits.heldout),
        precisions=(Precision.FP32,),
        force_reason="",
        fate=Fate.ROLLED_BACK,
    )


def better(splits: Splits) -> DemoVersion:
    """Version 5: a wider network, trained longer, offered as int8 only."""
    weights = train(splits.training, TrainingPlan(seed=5, channels=(16, 32), epochs=30, noise=0.15))
    return DemoVersion(
        name="5",
        title="good, int8",
        model=onnx_export.classifier(weights),
        calibration=splits.calibration,
        heldout=splits.heldout,
        precisions=(Precision.INT8_STATIC,),
        force_reason="",
        fate=Fate.COMMITTED,
    )


# In the order of the story; each is trained when its turn comes, so that the terminal is never quiet for long.
RECIPES: tuple[Callable[[Splits], DemoVersion], ...] = (good, wrongly_calibrated, hungry, silently_worse, better)


def write(version: DemoVersion, folder: Path) -> VersionFiles:
    """Write the files that a developer would hand in into ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    files = VersionFiles(
        model=folder / "model.onnx", calibration=folder / "calibration.npz", heldout=folder / "heldout.npz"
    )
    files.model.write_bytes(version.model)
    for path, data in ((files.calibration, version.calibration), (files.heldout, version.heldout)):
        arrays: dict[str, NDArray[np.float32] | NDArray[np.int64]]
        arrays = {onnx_export.INPUT: data.images, "labels": data.labels}
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # numpy types no names but its own
    return files


def _quiet(data: LabelledImages) -> LabelledImages:
    return data.only(full_ink_pixels(data.images) <= QUIET_FULL_PIXELS)
