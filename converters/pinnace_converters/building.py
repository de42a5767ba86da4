"""The list of passes that makes a precision of an ONNX source; inside the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pinnace_contract.latest import Precision, Runtime
from pinnace_converters import asking, inspection, jobs
from pinnace_converters.passes.checker import Checker
from pinnace_converters.passes.clean_up import CleanUp
from pinnace_converters.passes.flatten_bias import FlattenBias
from pinnace_converters.passes.infer_shapes import InferShapes
from pinnace_converters.passes.model_pass import Pass
from pinnace_converters.passes.quantize_static import QuantizeStatic
from pinnace_converters.passes.static_check import StaticCheck
from pinnace_converters.passes.upgrade_opset import UpgradeOpset
from pinnace_converters.terms import Bound, Terms
from pinnace_runtime import adapters
from pinnace_runtime.arrays import Array
from pinnace_runtime.pipeline import Pipeline


def passes(job: jobs.Build, calibration: Mapping[str, Array], folder: Path) -> list[Pass]:
    """Return what to run, in order; the source's own precision needs no calibration."""
    clean: list[Pass] = [StaticCheck(), Checker(), UpgradeOpset(), InferShapes(), CleanUp()]
    if job.precision is Precision.INT8_STATIC and not job.keep_precision:
        return [*clean, FlattenBias(), QuantizeStatic(_feeds(job, calibration, folder)), Checker()]
    return [*clean, Checker()]


def _feeds(job: jobs.Build, calibration: Mapping[str, Array], folder: Path) -> list[dict[str, Array]]:
    """Return the model's own inputs, one row each, as the declared steps make them."""
    model = adapters.load(Runtime.ONNX, folder / jobs.SOURCE)
    terms = Terms(contract=job.contract, processing=job.processing)
    source = Pipeline(terms, Bound(), model, inspection.checked_assets(job.assets, folder))
    return [source.feeds(asking.rows(calibration, i, i + 1)) for i in range(asking.count(calibration))]
