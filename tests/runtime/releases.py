"""Releases and stand-in models for tests of the runtime; imports neither onnx nor any runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pinnace_contract.ids import Digest, ModelName, VersionName, digest_of
from pinnace_contract.latest import (
    Binding,
    Blob,
    Chunk,
    Datatype,
    Golden,
    IoContract,
    Precision,
    Processing,
    Release,
    Runtime,
    TensorSpec,
    Tolerance,
    Variant,
)
from pinnace_runtime.adapters import Tensor
from pinnace_runtime.arrays import Array

NO_STEPS = Processing()


@dataclass
class FakeModel:
    """A model whose answer is a function; remembers what it was fed."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    answer: Callable[[Mapping[str, Array]], dict[str, Array]]
    version: str = "fake 1"

    def __post_init__(self) -> None:
        self.fed: list[dict[str, Array]] = []

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.fed.append(dict(feeds))
        return self.answer(feeds)


def blob(content: bytes) -> Blob:
    digest = digest_of(content)
    return Blob(digest=digest, size_bytes=len(content), chunks=(Chunk(digest=Digest(digest), size_bytes=len(content)),))


def spec(name: str, *shape: int, datatype: Datatype = Datatype.FP32, classes: tuple[str, ...] = ()) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=shape, classes=classes)


def tensor(name: str, *shape: int, datatype: Datatype = Datatype.FP32) -> Tensor:
    return Tensor(name=name, datatype=datatype, shape=shape)


def variant(
    runtime: Runtime = Runtime.ONNX,
    precision: Precision = Precision.FP32,
    inputs: tuple[Binding, ...] = (),
    outputs: tuple[Binding, ...] = (),
) -> Variant:
    return Variant(
        blob=blob(b"weights"),
        runtime=runtime,
        precision=precision,
        peak_memory_bytes=0,
        inputs=inputs,
        outputs=outputs,
    )


def release(
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    processing: Processing = NO_STEPS,
    of: Variant | None = None,
) -> Release:
    return Release(
        model=ModelName("m"),
        version=VersionName("1"),
        sequence=1,
        created_at_s=0,
        contract=IoContract(inputs=inputs, outputs=outputs),
        processing=processing,
        variants=(of or variant(),),
        golden=Golden(
            blob=blob(b"golden"), vectors=1, tolerances=(Tolerance(runtime=Runtime.ONNX, precision=Precision.FP32),)
        ),
    )
