"""What every runtime adapter gives: a loaded model with its tensors and one call. Knows no runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pinnace_contract.latest import Datatype
from pinnace_runtime.arrays import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """``real = (stored - zero_point) * scale``, for a whole tensor."""

    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output as the model file has it. ``-1`` in the shape is any size."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    quantization: Quantization | None = None


class LoadedModel(Protocol):
    """A model ready to run. Used by one thread at a time."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What ``run`` wants."""
        ...

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What ``run`` gives."""
        ...

    @property
    def version(self) -> str:
        """The library and its version, ``onnxruntime 1.20.1``."""
        ...

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; every input by name, in the tensor's own type.

        Raises:
            RunFailed: the runtime gave up.
        """
        ...
