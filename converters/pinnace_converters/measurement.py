"""Runs a variant inside the sandbox: its answers to held-out data, its memory, its latency beside the source's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from pinnace_contract.latest import Runtime
from pinnace_converters import asking, binding, data, inspection, jobs, tflite_file
from pinnace_converters.terms import Bound, Terms
from pinnace_runtime import adapters, array_file
from pinnace_runtime.adapters import LoadedModel, onnx_runtime, tflite
from pinnace_runtime.arrays import Array
from pinnace_runtime.pipeline import Pipeline

ROUNDS_MIN: Final = 20
ROUNDS_MAX: Final = 200
TIMING_S: Final = 2.0
_WARM_UP: Final = 5
_MEMORY_STEP_BYTES: Final = 4 * 1024**2  # what the allocator does between two runs is smaller


class TimedModel:
    """A model that remembers how long each run took."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self.inputs, self.outputs, self.version = model.inputs, model.outputs, model.version
        self.seconds: list[float] = []

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once and keep the time."""
        begin = time.perf_counter()
        answer = self._model.run(feeds)
        self.seconds.append(time.perf_counter() - begin)
        return answer


def measure(job: jobs.Measure, folder: Path, say: Callable[[str], None]) -> jobs.Measured:
    """Do the job.

    Raises:
        ConversionError, InferenceError
    """
    path = folder / jobs.VARIANT
    census = tflite_file.inspect(path.read_bytes()) if job.runtime is Runtime.TFLITE else None
    heldout = data.from_bytes((folder / jobs.HELDOUT).read_bytes())
    (onnx_runtime if job.runtime is Runtime.ONNX else tflite).probe()  # the library itself is not the variant's memory
    say("load")
    source = TimedModel(adapters.load(job.source_runtime, folder / jobs.SOURCE)) if _is_foreign(job) else None
    before_bytes = _memory_begin()
    model = TimedModel(adapters.load(job.runtime, path))
    bound = _bound(job, model, source)
    terms = Terms(contract=job.contract, processing=job.processing)
    assets = inspection.checked_assets(job.assets, folder)
    variant = Pipeline(terms, bound, model, assets)
    say("run")
    variant.infer(asking.rows(heldout, 0, 1))
    peak_bytes = _memory_peak(before_bytes)
    asking.check_repeatable(variant.infer, heldout)
    single = job.contract.inputs[0].shape[0] == 1
    answers = asking.all_answers(variant.infer, heldout, 1 if single else asking.ROWS_AT_ONCE)
    (folder / jobs.ANSWERS).write_bytes(array_file.write(answers))
    say("time")
    source = source or TimedModel(adapters.load(job.source_runtime, folder / jobs.SOURCE))
    source_bound = Bound(inputs=job.source_inputs, outputs=job.source_outputs)
    own, parent = _alternate(heldout, (variant, model), (Pipeline(terms, source_bound, source, assets), source))
    return jobs.Measured(
        inputs=bound.inputs,
        outputs=bound.outputs,
        runtime_version=model.version,
        peak_memory_bytes=peak_bytes,
        timing=_timing(own),
        source_timing=_timing(parent),
        speedup=float(np.median(parent) / max(float(np.median(own)), 1e-9)),
        census=census,
    )


def _is_foreign(job: jobs.Measure) -> bool:
    """A TFLite file beside an ONNX source has names and axes of its own."""
    return job.runtime is not job.source_runtime


def _bound(job: jobs.Measure, model: TimedModel, source: TimedModel | None) -> Bound:
    if source is None:
        return Bound(inputs=job.source_inputs, outputs=job.source_outputs)
    return Bound(
        inputs=binding.match_inputs(model.inputs, source.inputs, job.source_inputs),
        outputs=binding.match_outputs(model.outputs, source.outputs, job.source_outputs),
    )


_Timed = tuple[Pipeline, TimedModel]


def _alternate(inputs: Mapping[str, Array], own: _Timed, parent: _Timed) -> tuple[list[float], list[float]]:
    """Time both on the same rows in turn, so that whatever else the machine does hits both."""
    for pipeline, model in (own, parent):
        for i in range(_WARM_UP):
            pipeline.infer(asking.rows(inputs, i % asking.count(inputs), i % asking.count(inputs) + 1))
        model.seconds.clear()
    deadline = time.monotonic() + TIMING_S
    for done in range(ROUNDS_MAX):
        if done >= ROUNDS_MIN and time.monotonic() > deadline:
            break
        row = asking.rows(inputs, done % asking.count(inputs), done % asking.count(inputs) + 1)
        for pipeline, _ in (own, parent) if done % 2 else (parent, own):
            pipeline.infer(row)
    return own[1].seconds, parent[1].seconds


def _timing(seconds: Sequence[float]) -> jobs.Timing:
    p50, p95 = np.percentile(np.array(seconds) * 1e3, [50, 95])
    return jobs.Timing(runs=len(seconds), p50_ms=round(float(p50), 4), p95_ms=round(float(p95), 4))


def _memory_begin() -> int:
    """Forget the peak so far and return the memory in use; what was imported to get here is not the variant's."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak
    except OSError:
        return _status_bytes("VmHWM")
    return _status_bytes("VmRSS")


def _memory_peak(before_bytes: int) -> int:
    more = max(0, _status_bytes("VmHWM") - before_bytes)
    return max(1, -(-more // _MEMORY_STEP_BYTES)) * _MEMORY_STEP_BYTES


def _status_bytes(field: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0  # no such file system here; the smallest step is reported
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), 0)
