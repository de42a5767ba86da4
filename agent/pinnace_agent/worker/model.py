"""The one model of this process: loaded from verified files, asked through its pipeline, and timed at the runtime."""

from __future__ import annotations

import contextlib
import ctypes
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pinnace_agent.worker.protocol import Load, Vitals
from pinnace_agent.worker.verified import NotAsSigned, VerifiedBlobs, read_verified
from pinnace_contract import codec
from pinnace_contract.errors import ContractError
from pinnace_contract.histogram import Histogram
from pinnace_contract.ids import Digest
from pinnace_contract.latest import Baseline, Cause, GoldenResult, LatencyCounts, Release, Variant
from pinnace_runtime import adapters, golden
from pinnace_runtime.adapters import LoadedModel
from pinnace_runtime.arrays import Array
from pinnace_runtime.errors import (
    ArraysInvalid,
    ContractMismatch,
    InferenceError,
    LoadFailed,
    RuntimeMissing,
    StepUnsupported,
)
from pinnace_runtime.pipeline import Pipeline

# How an allocation that failed reads in the errors of the runtimes and of C++.
_NO_MEMORY: Final = ("bad_alloc", "bad allocation", "failed to allocate memory", "out of memory", "cannot allocate")

_CAUSES: Final[dict[type[Exception], Cause]] = {
    RuntimeMissing: Cause.NO_RUNTIME,
    LoadFailed: Cause.LOAD_FAILED,
    StepUnsupported: Cause.UNSUPPORTED_STEP,
    ContractMismatch: Cause.CONTRACT_MISMATCH,
    ArraysInvalid: Cause.RELEASE_INVALID,
    ContractError: Cause.RELEASE_INVALID,
}


class CannotLoad(Exception):
    """The model will not be loaded here; ``cause`` says whose trouble it is."""

    def __init__(self, cause: Cause, problem: str) -> None:
        self.cause = cause
        super().__init__(problem)


class TimedModel:
    """A loaded model that shows the supervisor when it is busy, and tells what its runs took."""

    def __init__(self, inner: LoadedModel, vitals: Vitals) -> None:
        self.inputs, self.outputs, self.version = inner.inputs, inner.outputs, inner.version
        self._run, self._vitals = inner.run, vitals
        self.spent_ns = 0
        self.runs: Histogram | None = None

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once."""
        began = self._vitals.begin()
        try:
            return self._run(feeds)
        finally:
            took_ns = self._vitals.end() - began
            self.spent_ns += took_ns
            if self.runs is not None:
                self.runs.add(took_ns / 1e9)

    @contextlib.contextmanager
    def observed(self) -> Iterator[Histogram]:
        """Collect the latency of each run inside, too."""
        self.runs = runs = Histogram()
        try:
            yield runs
        finally:
            self.runs = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A release's variant, ready to answer."""

    release: Release
    variant: Variant
    baseline: Baseline | None
    blobs: VerifiedBlobs
    timed: TimedModel
    pipeline: Pipeline

    def self_test(self) -> tuple[GoldenResult, LatencyCounts]:
        """Ask every golden vector.

        Raises:
            CannotLoad: the golden file is not what was signed.
            InferenceError: the model does not answer.
        """
        with _causes(), self.timed.observed() as latency:
            content = self.blobs.bytes(self.release.golden.blob, "the golden vectors")
            result = golden.check(self.pipeline, content, golden.tolerance_for(self.release.golden, self.variant))
        return result, latency.to_wire()

    def replay(self, first: int, n: int) -> tuple[GoldenResult, int, LatencyCounts]:
        """Ask ``n`` golden vectors from the ``first`` on, around the end; return how they went and how many failed.

        Raises:
            CannotLoad: the golden file is not what was signed.
            MemoryError: an allocation failed.
        """
        with _causes():
            vectors = golden.read(self.blobs.bytes(self.release.golden.blob, "the golden vectors"))
            tolerance = golden.tolerance_for(self.release.golden, self.variant)
        errors = 0
        differences: list[golden.Difference] = []
        with self.timed.observed() as latency:
            for i in range(first, first + n):
                try:
                    differences += _replayed(self.pipeline, vectors, i % vectors.count)
                except InferenceError as error:
                    if means_no_memory(error):
                        raise MemoryError from error
                    errors += 1
        return golden.judge(differences, n - errors, tolerance), errors, latency.to_wire()


def _replayed(pipeline: Pipeline, vectors: golden.Vectors, i: int) -> list[golden.Difference]:
    answer = pipeline.infer({name: array[i : i + 1] for name, array in vectors.inputs.items()})
    pairs = [(array[i : i + 1], answer.get(name)) for name, array in vectors.outputs.items()]
    if any(found is None or found.shape != expected.shape for expected, found in pairs):
        raise ContractMismatch("a golden vector's answer has another shape")
    return [golden.compare(expected, found) for expected, found in pairs if found is not None]


def load(order: Load, vitals: Vitals) -> Model:
    """Load a release's variant from the paths of an order; every file is hashed first.

    Raises:
        CannotLoad
        MemoryError: an allocation failed.
    """
    with _causes():
        content = read_verified(Path(order.release_path), Digest(order.release), "the release file")
        release = codec.from_json(Release, content)
        variant = release.variant(order.variant)
        if variant is None or release.model != order.model:
            what = f"variant {order.variant[:12]} of {order.model}"
            raise CannotLoad(Cause.RELEASE_INVALID, f"release {order.release[:12]} has no {what}")
        blobs = VerifiedBlobs({each.digest: Path(each.path) for each in order.blobs})
        golden.tolerance_for(release.golden, variant)
        baseline = codec.from_json(Baseline, blobs.bytes(release.baseline, "baseline")) if release.baseline else None
        with contextlib.ExitStack() as files:
            assets = {
                asset.name: files.enter_context(blobs.path(asset.blob, f"asset {asset.name!r}"))
                for asset in release.assets
            }
            path = files.enter_context(blobs.path(variant.blob, "the model file"))
            timed = TimedModel(adapters.load(variant.runtime, path, order.confinement.threads), vitals)
            pipeline = Pipeline(release, variant, timed, assets)
    _give_back_freed_memory()
    return Model(
        release=release,
        variant=variant,
        baseline=baseline,
        blobs=blobs,
        timed=timed,
        pipeline=pipeline,
    )


def peak_memory_bytes() -> int:
    """Return the most memory this process ever had in RAM."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _give_back_freed_memory() -> None:
    """Give the system what loading needed for a moment and glibc would keep: it is scattered between what stays.

    Once, in less than a millisecond, and not while answers are asked for, which would fault it all in again. A worker
    with a convolutional network of 4.6 MB in onnxruntime holds 9.8 MiB less; with one of a few KB, or LiteRT, the same.
    """
    with contextlib.suppress(AttributeError):  # only glibc has this call
        ctypes.CDLL(None).malloc_trim(0)


def means_no_memory(error: BaseException) -> bool:
    """Tell whether an error, or one that it came from, is a failed allocation."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError) or any(words in str(seen).lower() for words in _NO_MEMORY):
            return True
        seen = seen.__cause__
    return False


@contextlib.contextmanager
def _causes() -> Iterator[None]:
    """Turn what may be wrong with files, release and model into one error with a wire cause.

    A model that does not answer is no such error: it goes on as it is, or as MemoryError.
    """
    try:
        yield
    except NotAsSigned as error:
        raise CannotLoad(error.cause, str(error)) from error
    except (InferenceError, ContractError) as error:
        if means_no_memory(error):
            raise MemoryError(str(error)) from error
        cause = next((cause for kind, cause in _CAUSES.items() if isinstance(error, kind)), None)
        if cause is None:
            raise
        raise CannotLoad(cause, str(error)) from error
