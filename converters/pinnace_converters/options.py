"""What a conversion is asked for, and how far its sandbox may go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pinnace_contract.latest import AssetKind, Precision
from pinnace_converters.declaration import Declaration

AGREEMENT_MIN: Final = 0.98
_DECLARES_NOTHING: Final = Declaration()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one child process may use. A hostile model meets these instead of the machine."""

    memory_bytes: int = 4 * 1024**3  # of address space: onnxruntime reserves about one GiB that it never touches
    cpu_s: int = 600
    wall_s: float = 900.0
    file_bytes: int = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetFile:
    """A file that the release carries besides weights; a ``graph`` step names it."""

    name: str
    kind: AssetKind
    path: Path


_DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One conversion.

    ``precisions`` are the builds of an ONNX source; a TFLite source is offered as it is. ``variants`` are ready-made
    TFLite files beside an ONNX source. ``force`` is the reason for offering variants that only the gates on numbers
    refused; it is recorded. With labels, ``accuracy_loss_max`` may take the place of ``agreement_min``.
    """

    declaration: Declaration = _DECLARES_NOTHING
    precisions: tuple[Precision, ...] = (Precision.FP32, Precision.INT8_STATIC)
    variants: tuple[Path, ...] = ()
    assets: tuple[AssetFile, ...] = ()
    force: str = ""
    agreement_min: float = AGREEMENT_MIN
    accuracy_loss_max: float | None = None
    seed: int = 0
    limits: Limits = _DEFAULT_LIMITS
