"""What a child process does for each job: load the hostile file, look at it, run it, leave plain data.

Runs inside the sandbox only. Whatever it decides is checked again by the parent's gates.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pinnace_contract import codec
from pinnace_converters import data, jobs, pipeline
from pinnace_converters.errors import ModelRefused, PassFailed
from pinnace_converters.passes.model_pass import ModelBytes
from pinnace_runtime.errors import ArraysInvalid, InferenceError

Say = Callable[[str], None]


def do(kind: str, job: bytes, folder: Path, say: Say) -> jobs.Answer:
    """Do one job.

    Raises:
        ConversionError: the model, the data or the declaration is refused, or a pass failed.
    """
    try:
        match kind:
            case jobs.Inspect.KIND:
                return _inspect(codec.from_json(jobs.Inspect, job), folder, say)
            case jobs.Build.KIND:
                return _build(codec.from_json(jobs.Build, job), folder, say)
            case jobs.Measure.KIND:
                return _measure(codec.from_json(jobs.Measure, job), folder, say)
            case _:
                raise ValueError(f"no such job: {kind}")
    except (InferenceError, ArraysInvalid) as error:
        raise ModelRefused(str(error)) from error


def _inspect(job: jobs.Inspect, folder: Path, say: Say) -> jobs.Inspected:
    from pinnace_converters import inspection

    return inspection.inspect(job, folder, say)


def _build(job: jobs.Build, folder: Path, say: Say) -> jobs.Built:
    from pinnace_converters import building, onnx_file

    source = ModelBytes(content=(folder / jobs.SOURCE).read_bytes())
    calibration = data.from_bytes((folder / jobs.CALIBRATION).read_bytes())
    model, records = pipeline.run(building.passes(job, calibration, folder), source, say)
    census = onnx_file.census(onnx_file.parse(model.content))
    if census.precision is not job.precision:
        raise PassFailed("census", [record.name for record in records], f"the result is {census.precision}")
    (folder / jobs.VARIANT).write_bytes(model.content)
    return jobs.Built(records=records, census=census)


def _measure(job: jobs.Measure, folder: Path, say: Say) -> jobs.Measured:
    from pinnace_converters import measurement

    return measurement.measure(job, folder, say)
